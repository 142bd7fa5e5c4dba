"""The claims of lesson 06 on the exact rung, each a pure function of its results.

C1 to C5 are the card's theorems and B1 to B7 its numbers for fitted Q-iteration; B2 is ours, and so are C5s, X1 and D1
to D3, which the card proposes without numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from math import log2

from toykit.lessons.base import Claim, Evidence, Results, at_most, printed, within, worst_units
from toykit.lessons.l06_mbrcsl.sampled_claims import SAMPLED

CARD = (2, 4, 6)  # the lengths of which the card prints numbers


def tables(results: Results) -> list[tuple[int, Results]]:
    """(u, what was found) for each size of LinearQ."""
    found = results["linear"]
    return [(u, found["tables"][str(u)]) for u in found["sizes"]]


def c1(results: Results) -> Evidence:
    """Q* by dynamic programming, V*(0) = 4u + 2 and one kink for each action, at every size."""
    errors = [max(row["error"], abs(row["start"] - (4 * u + 2))) for u, row in tables(results)]
    found = at_most(max(errors), 1e-12)
    return replace(found, holds=found.holds and all(row["kinks of Q*"] == [1, 1] for _, row in tables(results)))


def c2(results: Results) -> Evidence:
    """The card's u + 3 and u + 2, counted."""
    rows = tables(results)
    kinks = {f"action {a}": [row["kinks of T0"][a] for _, row in rows] for a in range(2)}
    holds = all(row["kinks of T0"] == [u + 3, u + 2] for u, row in rows)
    return Evidence(holds, kinks, "u + 3, u + 2", tolerance=0.0)


def c2w(results: Results) -> Evidence:
    rows = tables(results)
    least = {f"action {a}": [row["breakpoints of T0"][a] for _, row in rows] for a in range(2)}
    holds = all(row["breakpoints of T0"] == [u / 2 + 2] * 2 for u, row in rows)
    return Evidence(holds, least, "u/2 + 2", tolerance=0.0)


def c3(results: Results) -> Evidence:
    """Action 0 up to state u and 1 after it, each with certainty; asked for 4u + 2 it earns that."""
    rows = tables(results)
    errors = [max(abs(row["return"] - (4 * u + 2)), abs(row["target"] - (4 * u + 2))) for u, row in rows]
    threshold = all(row["actions"] == [0] * (u + 1) + [1] * (2 * u + 1) for u, row in rows)
    found = at_most(max(*errors, *(1 - row["certain"] for _, row in rows)), 1e-12)
    return replace(found, holds=found.holds and threshold)


def fits(results: Results, kind: str) -> Results:
    """Fitted Q-iteration of one kind, by size or by weights."""
    found: Results = results["linear"]["fqi"][kind]
    return found


def b1(results: Results) -> Evidence:
    """The card's errors after 1, 10 and 100 horizons of sweeps, and what the greedy policy earns."""
    at = fits(results, "hinges")
    measured = [*at["4"]["error"], *at["8"]["error"], at["4"]["return"][0], at["8"]["return"][0]]
    return printed(measured, ("9.32", "91.8", "916.4", "21.87", "203.3", "2017.7", "17.5", "33.5"))


def b1r(results: Results) -> Evidence:
    """The card's criterion: between 9 and 11."""
    errors = fits(results, "hinges")["4"]["error"]
    return within(errors[1] / errors[0], 10.0, 1.0)


def b2(results: Results) -> Evidence:
    """After 100 horizons of sweeps, at both sizes and with the weights of B4 and B5 too."""
    rows = [*fits(results, "hinges, known end").values(), *fits(results, "nearly best, known end").values()]
    return at_most(max(row["error"][-1] for row in rows), 1e-12)


def b3(results: Results) -> Evidence:
    at = fits(results, "hinges and line")
    measured = [x for u in ("4", "16") for x in (at[u]["error"][0], at[u]["return"][0])]
    return printed(measured, ("0.070", "18.0", "0.240", "66.0"))


def b4(results: Results) -> Evidence:
    at = fits(results, "nearly best")
    measured = [*at["0.05"]["error"], *at["0.1"]["error"], at["0.05"]["return"][-1], at["0.1"]["return"][-1]]
    return printed(measured, ("1.36", "2.33", "2.33", "1.27", "1.67", "1.68", "18.0", "18.0"))


def b5(results: Results) -> Evidence:
    """5.6e9 after 150 sweeps."""
    error = fits(results, "nearly best")["0.0005"]["error"][1]
    return replace(printed([error / 1e9], ("5.6",)), measured=error, expected=5.6e9)


def b6(results: Results) -> Evidence:
    return at_most(max(fits(results, "table")["error"]), 1e-12)


def b7(results: Results) -> Evidence:
    found = results["linear"]["fqi"]["residual"]
    measured = [found[u][action] for action in range(2) for u in ("4", "8", "16")]
    return printed(measured, ("4.84", "11.07", "23.67", "4.49", "9.66", "20.11"))


def lengths(results: Results, part: str = "lengths") -> list[tuple[int, Results]]:
    """(H, what was found) for each length."""
    return [(int(h), row) for h, row in results["stitching"][part].items()]


def c4(results: Results) -> Evidence:
    """Every token at every position is in the data, V* = H, and RCSL asked for the data's best return earns H/2."""
    rows = lengths(results)
    errors = [max(abs(row["RCSL"] - h / 2), abs(row["best of data"] - h / 2), abs(row["best"] - h)) for h, row in rows]
    found = at_most(max(errors), 1e-12)
    return replace(found, holds=found.holds and all(row["covered"] for _, row in rows))


def c4u(results: Results) -> Evidence:
    """Asked for the unseen H: 1.25, 2.0625 and 3.015625, as printed."""
    found = dict(lengths(results))
    return printed([found[h]["RCSL, asked for the best"] for h in CARD], ("1.25", "2.0625", "3.015625"))


def c4p(results: Results) -> Evidence:
    rows = lengths(results, "prefixes")
    return at_most(
        max(abs(row[name] - h / 2) for h, row in rows for name in ("RCSL", "RCSL, asked for the best")), 1e-12
    )


def c5(results: Results) -> Evidence:
    """Against the trial of every sequence of actions; some of the MDPs have rollouts that beat their data."""
    rows = results["stitching"]["random"]
    worst = max(max(row[f"{name} error"] for name in ("kept", "best", "return")) for row in rows)
    found = at_most(worst, 1e-12)
    return replace(found, holds=found.holds and sum(row["kept"] > 0 for row in rows) >= 5)


def c5c(results: Results) -> Evidence:
    """Kept 1/4, 5/16, 11/32; mean kept return 2, 3.2, 4.3636; best kept and earned H."""
    found = dict(lengths(results))
    measured = [found[h]["MBRCSL"][name] for h in CARD for name in ("kept", "mean", "best", "return")]
    there = ("0.25", "2.0", "2.0", "2.0", "0.3125", "3.2", "4.0", "4.0", "0.34375", "4.3636", "6.0", "6.0")
    return Evidence(worst_units(measured, there) <= 0.501, measured, [float(x) for x in there], tolerance=0.501)


def c5p(results: Results) -> Evidence:
    """Of log2 of the probability of a perfect rollout, against H."""
    rows = [(h, log2(row["law"][-1])) for h, row in lengths(results)]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(rows)]
    return at_most(max(abs(slope + 1) for slope in slopes), 1e-12)


def c5s(results: Results) -> Evidence:
    """23/12 without the step, 2 with it; the best kept return is 2 in both."""
    found = results["stitching"]["step"]
    errors = [abs(found["without"]["return"] - 23 / 12), abs(found["with"]["return"] - 2)]
    errors += [abs(found[name]["best"] - 2) for name in ("without", "with")]
    return replace(at_most(max(errors), 1e-12), measured=[found[name]["return"] for name in ("without", "with")])


def x1(results: Results) -> Evidence:
    rows = lengths(results, "prefixes")
    return at_most(max(max(row["MBRCSL"]["kept"], abs(row["MBRCSL"]["return"] - h / 2)) for h, row in rows), 1e-12)


def by_error(results: Results, name: str) -> list[float]:
    """A figure at each probability of a false reward, from none to 1."""
    return [row[name] for row in results["stitching"]["errors"].values()]


def d1(results: Results) -> Evidence:
    """More is kept, with a larger mean return in the model, at each step of the error."""
    paths = [by_error(results, name) for name in ("kept", "mean")]
    least = min(b - a for path in paths for a, b in pairwise(path))
    return Evidence(least > 0, {"least rise": least}, "> 0", tolerance=0.0)


def d2(results: Results) -> Evidence:
    """The true return falls at each step of the error, while the best imagined one stays 6."""
    path, imagined = by_error(results, "return"), by_error(results, "best")
    falls = all(b < a for a, b in pairwise(path))
    return Evidence(falls and set(imagined) == {6.0}, {"true": path, "imagined": imagined[0]}, "falling, 6", 0.0)


def d3(results: Results) -> Evidence:
    """6 without an error and 3, that of chance, where every step is predicted to pay; there all is kept."""
    path, kept = by_error(results, "return"), by_error(results, "kept")
    return at_most(max(abs(path[0] - 6), abs(path[-1] - 3), abs(kept[-1] - 1)), 1e-12)


theorem = partial(Claim, kind="theorem", rung="exact")
ROWS: tuple[tuple[str, str, Callable[[Results], Evidence]], ...] = (
    ("C1", "LinearQ: dynamic programming gives Q*, of one kink an action, and V*(0) = 4u + 2, for u from 2 to 32", c1),
    ("C2", "T0 = r has u + 3 and u + 2 kinks: at least u for each action", c2),
    ("C2w", "a function of s that equals r needs at least u/2 + 2 breakpoints an action: width linear in u", c2w),
    ("C3", "the policy of returns is one threshold in s, and asked for 4u + 2 it earns just that", c3),
    ("B1", "hinges that hold Q*, uniform weights: the error of fitted Q-iteration grows as on the card", b1),
    ("B1r", "ten times as many sweeps, nine to eleven times the error (u = 4)", b1r),
    (
        "B2",
        "where the last state is known to be worth 0, the same class reaches Q* to 1e-12 with all these weights",
        b2,
    ),
    ("B3", "with the state as one feature more the error after H sweeps is small and the policy best", b3),
    ("B4", "weighted by a nearly best policy's visits the small class stays bounded, and its policy is best", b4),
    ("B5", "with one slip in 2000 it explodes: 5.6e9 after 150 sweeps", b5),
    ("B6", "a table has no error", b6),
    ("B7", "the best fit of T0 by the hinges and the state is off by the card's amounts", b7),
    ("C4", "full coverage, V* = H, and RCSL asked for the best return of the data earns H/2", c4),
    ("C4u", "asked for the unseen return H it earns 1.25, 2.0625 and 3.015625 for H = 2, 4, 6", c4u),
    ("C4p", "with the whole prefix as the state it earns H/2 whatever is asked", c4p),
    ("C5", "the kept set is that of all rollouts that beat the data, and the policy attains its best return", c5),
    ("C5c", "two halves: the card's shares, means and best returns of what is kept; the policy earns V*", c5c),
    ("C5p", "a perfect rollout has probability 2^-H", c5p),
    ("C5s", "where a state is met at two steps, the policy attains the best return only if it knows the step", c5s),
    ("X1", "a behaviour model that sees the whole prefix copies: nothing is kept, and H/2 is earned", x1),
    ("D1", "the more often the model predicts a reward that is not there, the more it keeps and promises", d1),
    ("D2", "and the less its policy earns, while its best promise stays", d2),
    ("D3", "from V* without an error to chance where every step is predicted to pay", d3),
)
CLAIMS = (*(theorem(name, text, check=check) for name, text, check in ROWS), *SAMPLED)
