"""The claims of lesson 30, each a pure function of its rung's results."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from toykit.lessons.base import Claim, Evidence, Results, at_most, below, printed, sampled_claims, units
from toykit.lessons.compare import leads, rises, trails

# The card's numbers, as it prints them.
CARD_ROOTS = {  # at (beta, p0) of `exact.BALANCES`
    "KL": ("0.547718", "0.970156", "0.272665", "0.819390"),
    "DADS": ("0.587261", "0.970252", "0.364871", "0.824764"),
}
CARD_FLOW = {  # from p0 = 0.05 and 0.8: accuracy at step 200, at the end, KL(ref || pi) and entropy at the end
    "no KL": (("0.7784", "0.9999", "8.616", "0.0021"), ("0.9802", "0.9999", "2.351", "0.0156")),
    "KL": (("0.3631", "0.5462", "0.5827", "1.4579"), ("0.9477", "0.9702", "0.2262", "0.7576")),
    "DADS": (("0.4594", "0.5853", "0.6661", "1.3964"), ("0.9479", "0.9702", "0.2267", "0.7572")),
}
CARD_SHARES = ("0.65", "0.54", "0.23")  # of the accuracy that the KL costs, at steps 50, 100, 200 from p0 = 0.05
CARD_LENGTHS = ("3.750000", "3.749956", "3.578284", "3.341854", "3.178295")
CARD_STEPS = [72, 72, 68, 63, 57]
CARD_FACTORS = ("1.001", "1.00995", "1.0392")  # of answers 100, 1000 and 4000 tokens too long


def falling(row: list[float]) -> bool:
    return all(a > b for a, b in pairwise(row))


def c1a(results: Results) -> Evidence:
    return at_most(results["gradient"]["plain"], 1e-12)


def c1b(results: Results) -> Evidence:
    """The formula holds, and it is not the KL's gradient."""
    found = results["gradient"]
    return Evidence(found["weighted"] <= 1e-12 and found["apart"] > 1e-3, found, "0, apart > 0.001", tolerance=1e-12)


def c2a(results: Results) -> Evidence:
    return at_most(results["balance"]["error"], 1e-8)


def c2b(results: Results) -> Evidence:
    found = [p for arm in CARD_ROOTS for p in results["balance"]["roots"][arm]]
    return printed(found, CARD_ROOTS["KL"] + CARD_ROOTS["DADS"])


def c2c(results: Results) -> Evidence:
    """For three betas: above 0 at every p0, and falling as p0 rises."""
    leads_of = results["balance"]["lead"]
    least = min(min(row) for row in leads_of.values())
    holds = least > 0 and all(map(falling, leads_of.values()))
    first = {f"β = {beta}, p0 = 0.01": row[0] for beta, row in leads_of.items()}
    return Evidence(holds, {"least": least} | first, "> 0, falling", tolerance=0.0)


def c2d(results: Results) -> Evidence:
    """The five answers much later than the table, beside the roots of two."""
    late, roots = results["flow"]["late"], results["balance"]["roots"]
    return at_most(max(abs(a - b) for arm in CARD_ROOTS for a, b in zip(late[arm], roots[arm], strict=False)), 1e-8)


def c3a(results: Results) -> Evidence:
    """All 24 numbers of the card's table."""
    found = results["flow"]
    measured = [
        x
        for arm in CARD_FLOW
        for i in range(2)
        for x in (*found["accuracy"][arm][i][-2:], found["kl"][arm][i], found["entropy"][arm][i])
    ]
    return printed(measured, tuple(x for rows in CARD_FLOW.values() for row in rows for x in row))


def regained(results: Results, start: int) -> list[float]:
    """The share of the accuracy that the KL costs which DADS wins back, at steps 50, 100 and 200."""
    none, whole, light = (results["flow"]["accuracy"][arm][start][1:4] for arm in ("no KL", "KL", "DADS"))
    return [(c - b) / (a - b) for a, b, c in zip(none, whole, light, strict=True)]


def c3b(results: Results) -> Evidence:
    """To one unit of the last digit: 0.6449 is printed as 0.65."""
    shares = regained(results, 0)
    off = max(units(share, there) for share, there in zip(shares, CARD_SHARES, strict=True))
    return Evidence(off <= 1 and falling(shares), shares, CARD_SHARES, tolerance=0.01)


def c3c(results: Results) -> Evidence:
    """DADS less KL at step 200: more than 0.05 from the hard start, less than 0.001 from the easy one."""
    hard, easy = (results["flow"]["accuracy"]["DADS"][i][3] - results["flow"]["accuracy"]["KL"][i][3] for i in range(2))
    share = regained(results, 1)[-1]
    holds = hard > 0.05 and easy < 0.001 and units(share, "0.007") <= 0.501
    return Evidence(holds, {"hard": hard, "easy": easy, "share": share}, "> 0.05, < 0.001, 0.007", tolerance=0.0)


def c4a(results: Results) -> Evidence:
    found = results["lengths"]
    same = printed(found["wrong"][0], CARD_LENGTHS)
    holds = bool(same.holds) and falling(found["wrong"][0]) and found["steps"][0] == CARD_STEPS
    return Evidence(holds, {"wrong": found["wrong"][0], "steps": found["steps"][0]}, CARD_LENGTHS, tolerance=0.501)


def c4b(results: Results) -> Evidence:
    return at_most(max(abs(x - 2.5) for x in results["lengths"]["right"][0]), 1e-9)


def c4c(results: Results) -> Evidence:
    """lnb = 1 less none; it must also fall from each lnb to the next, at every start."""
    rows = results["random"]["wrong"]
    found = below([row[-1] - row[0] for row in rows], 0.0)
    return Evidence(
        None if found.holds is None else found.holds and all(map(falling, rows)),
        found.measured,
        "< 0, falling at every start",
        interval=found.interval,
    )


def c4d(results: Results) -> Evidence:
    """The largest move among the lnbs, start by start."""
    return below([max(row) - min(row) for row in results["random"]["right"]], 0.02)


def c4e(results: Results) -> Evidence:
    """Mean lengths of wrong answers whose long ones are rewarded for their format: none, STCR as released, strict."""
    none, loose, strict = results["formatted"]["wrong"][0]
    return Evidence(strict < loose < none, [none, loose, strict], "falling", tolerance=0.0)


def c5(results: Results) -> Evidence:
    return printed(results["released"], CARD_FACTORS)


def s1(results: Results) -> Evidence:
    return at_most(results["trainer"]["error"], 1e-12)


EXACT: tuple[tuple[str, str, str, Callable[[Results], Evidence]], ...] = (
    ("C1a", "theorem", "the mean gradient of k3 as a loss is that of KL(ref, π)", c1a),
    ("C1b", "theorem", "with weights each answer's pull is scaled: the gradient of that KL no more", c1b),
    ("C2a", "theorem", "two answers come to rest where sqrt(p(1 - p)) = β (p - p0) (ω (1 - p) + p)", c2a),
    ("C2b", "theorem", "eight such places of rest", c2b),
    ("C2c", "theorem", "DADS's is higher than the KL's, the more the smaller p0 is", c2c),
    ("C2d", "theorem", "five answers come to rest there too, later", c2d),
    ("C3a", "theorem", "five answers after 200 steps and at the end: accuracy, KL(ref, π), entropy (24 numbers)", c3a),
    ("C3b", "theorem", "on a hard question DADS wins back 0.64, 0.54, 0.23 of what the KL costs, less and less", c3b),
    ("C3c", "theorem", "that is more than 0.05 after 200 steps, and on an easy question less than 0.001", c3c),
    ("C4a", "theorem", "wrong answers are the shorter the larger ln b is (five lengths, with their steps)", c4a),
    ("C4b", "theorem", "the right ones' mean length stays, where they begin equally likely", c4b),
    ("C4c", "effect", "the first from random starts too (ln b = 1 less none)", c4c),
    ("C4d", "effect", "and there right answers move by less than 0.02", c4d),
    ("C4e", "theorem", "where long wrong answers get a reward for format, STCR shortens them less unless strict", c4e),
    ("C5", "theorem", "with the released b, 100, 1000 and 4000 tokens too many count 1.001, 1.00995, 1.0392", c5),
    ("S1", "theorem", "the Trainer on enumerated answers takes the steps of the flow (same code)", s1),
)


def sampled() -> tuple[Claim, ...]:
    """The claims of the rungs that sample; their directions are the card's or were set down before the first run."""
    length = "hard wrong length"
    rows: list[tuple[str, Callable[[Results], Evidence]]] = [
        ("GRPO raises success on hard prompts", partial(rises, method="GRPO", figure="hard success")),
        ("the KL costs GRPO success there", partial(trails, method="GRPO + KL", other="GRPO", figure="hard success")),
        (
            "APO ends above GRPO + KL on hard prompts",
            partial(leads, method="APO", other="GRPO + KL", figure="hard success"),
        ),
        (
            "DADS alone does too",
            partial(leads, method="GRPO + KL + DADS", other="GRPO + KL", figure="hard success"),
        ),
        (
            "APO forgets less of the pretraining text than GRPO without KL",
            partial(trails, method="APO", other="GRPO", figure="forgotten"),
        ),
        (
            "APO's wrong answers to hard prompts are shorter than without STCR",
            partial(trails, method="APO", other="GRPO + KL + DADS", figure=length),
        ),
        (
            "STCR alone shortens them too",
            partial(trails, method="GRPO + KL + STCR", other="GRPO + KL", figure=length),
        ),
        ("APO keeps more entropy than GRPO without KL", partial(leads, method="APO", other="GRPO", figure="entropy")),
    ]
    return sampled_claims(rows)


CLAIMS = (
    *(Claim(name, text, kind, "exact", check) for name, kind, text, check in EXACT),
    *sampled(),
)
