"""The claims of lesson 47, each a pure function of its rung's results."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import mean, median, pstdev

import torch

from toykit.diagnostics import rank_correlation
from toykit.lessons.base import Claim, Evidence, Results, at_most, below, difference, effect, printed
from toykit.lessons.compare import last, leads
from toykit.lessons.l47_change_points.drift import CHANGES as SWITCHES
from toykit.lessons.l47_change_points.exact import CHANGE, CHANGES

Check = Callable[[Results], Evidence]

# Section B of the card, by setting: the share of streams with a false alarm, the mean delay and its median.
STREAMS = {
    "0.001": ("0", "11.1", "8"),
    "1e-05": ("0", "18.8", "18"),
    "1/n": (".45", "9.0", "7"),
    "0.001, skipped": (".067", "9.6", "7"),
    "1e-05, skipped": ("0", "17.3", "16"),
}
# Section C: regret after 2000, 4000 and 6000 steps, and the standard deviation of the last.
REGRET = {
    "UCRL2": ("58.7", "1062.6", "1846.6", "276"),
    "window": ("89.8", "380.3", "659.1", "82"),
    "R-BOCPD-UCRL2": ("62.5", "121.5", "182.3", "44"),
    "oracle": ("58.7", "101.6", "152.4", "38"),
}


def c1(results: Results) -> Evidence:
    return at_most(results["identities"]["orders"], 1e-12)


def c2a(results: Results) -> Evidence:
    """The farthest sum from 1; the card's is that of three symbols, six of them, split after three."""
    return at_most(max(abs(x - 1) for x in results["identities"]["sums"].values()), 1e-12)


def c2b(results: Results) -> Evidence:
    """Chances over their bounds, the largest of one test and of all, over all sequences of eight symbols."""
    share = results["identities"]["alarms"]["share"]
    return Evidence(max(share.values()) <= 1 + 1e-12, share, "<= 1", tolerance=1e-12)


def c3a(results: Results) -> Evidence:
    """KL, mean delay, its ratio to log(300) / KL, and runs without detection, for the card's four laws; and the KL of
    section B."""
    measured, there = [results["streams"]["kl"]], ["0.6758"]
    rows = (
        ("0.0241", "388", "1.64", "14"),
        ("0.092", "139.5", "2.25", "2"),
        ("0.3527", "18.3", "1.13", "0"),
        ("1.1675", "6.6", "1.35", "0"),
    )
    for one, numbers in zip(results["farther"], rows, strict=True):
        delay = mean(one["delay"])
        measured += [one["kl"], delay, delay * one["kl"] / math.log(CHANGE), one["missed"]]
        there += numbers
    return printed(measured, there)


def c3b(results: Results) -> Evidence:
    """Spearman's correlation of delay and KL over the four laws, one a stream's seed."""
    delays = torch.tensor([one["delay"] for one in results["farther"]], dtype=torch.float64).T
    kls = torch.tensor([one["kl"] for one in results["farther"]], dtype=torch.float64)
    return below(rank_correlation(delays, kls.expand_as(delays)).tolist(), 0.0)


def c3c(results: Results) -> Evidence:
    """Symbols more for each factor e of 1/eta, times KL, one a stream: a line through eta = 1e-3 to 1e-6."""
    rows = [one for one in results["etas"] if one["eta"] <= 1e-3]
    x = torch.tensor([-math.log(one["eta"]) for one in rows], dtype=torch.float64)
    y = torch.tensor([one["delay"] for one in rows], dtype=torch.float64).T
    slopes = ((x - x.mean()) * y).sum(-1) / (x - x.mean()).square().sum()
    found = effect((slopes * results["streams"]["kl"]).tolist(), above=0.5)
    holds = found.interval is not None and found.interval[0] > 0.5 and found.interval[1] < 2
    return replace(found, holds=holds, expected="from 0.5 to 2")


def of_eta(results: Results, eta: float, figure: str) -> list[float]:
    return next(one[figure] for one in results["etas"] if one["eta"] == eta)


def c4a(results: Results) -> Evidence:
    return effect(difference(*(of_eta(results, eta, "false alarms") for eta in (0.1, 1e-3))), above=0.0)


def c4b(results: Results) -> Evidence:
    return effect(difference(*(of_eta(results, eta, "delay") for eta in (1e-6, 1e-3))), above=0.0)


def b1(results: Results) -> Evidence:
    measured: list[float] = []
    there: list[str] = []
    for name, numbers in STREAMS.items():
        one = results["streams"][name]
        measured += [mean(one["false"]), mean(one["delay"]), median(one["delay"])]
        there += numbers
    measured.append(mean(results["streams"]["1/n, skipped"]["false"]))
    return printed(measured, [*there, "1.0"])


def b2(results: Results) -> Evidence:
    one = results["streams"]["0.001"]
    measured = {"false alarms": sum(one["false alarms"]), "mean delay": mean(one["delay"])}
    return Evidence(measured["false alarms"] == 0 and measured["mean delay"] < 16, measured, "0, < 16", tolerance=0.0)


def b3(results: Results) -> Evidence:
    """The theorem's eta against the constant 1e-3."""
    delays = (results["streams"][name]["delay"] for name in ("theorem", "0.001"))
    return effect([a / b for a, b in zip(*delays, strict=True)], above=2.0)


def regret(results: Results, name: str) -> list[float]:
    return results["regret"]["runs"][name]["regret"]


def ratio(results: Results, name: str, other: str, bound: float) -> Evidence:
    """Of two regrets, seed by seed."""
    return below([a / b for a, b in zip(regret(results, name), regret(results, other), strict=True)], bound)


def c5a(results: Results) -> Evidence:
    measured, there = [results["regret"]["gains"][0]], ["0.863158"]
    for name, numbers in REGRET.items():
        measured += [mean(x) for x in results["regret"]["runs"][name]["thirds"]] + [pstdev(regret(results, name))]
        there += numbers
    return printed(measured, there)


def c5d(results: Results) -> Evidence:
    """Runs in which both changes are followed by a restart within 60 steps, and restarts before a change, or later."""
    runs = results["regret"]["runs"]["R-BOCPD-UCRL2"]["restarts"]
    good = sum(all(any(c < r <= c + 60 for r in marks) for c in CHANGES) for marks in runs)
    others = sum(not any(c < r <= c + 60 for c in CHANGES) for marks in runs for r in marks)
    return Evidence(good >= 5, {"runs": good, "of": len(runs), "other restarts": others}, ">= 5 of 6", tolerance=0.0)


def more(results: Results, name: str, other: str) -> Evidence:
    return effect(difference(regret(results, name), regret(results, other)), above=0.0)


def x1(results: Results) -> Evidence:
    """Regret above the oracle's, where no run sees the change within 100 steps."""
    found, change = results["unvisited"], results["unvisited"]["change"]
    soon = sum(any(r <= change + 100 for r in marks) for marks in found["R-BOCPD-UCRL2"]["restarts"])
    lost = effect(difference(*(found[name]["regret"] for name in ("R-BOCPD-UCRL2", "oracle"))), above=0.0)
    return replace(lost, holds=lost.holds and soon == 0)


BOCPD = "R-BOCPD-UCRL2"
EXACT: tuple[tuple[str, str, str, Check], ...] = (
    ("C1", "theorem", "the product of Laplace's predictions is DM of the counts, in any order", c1),
    ("C2a", "theorem", "the evidences for a change at s sum to 1 over all sequences, for every s", c2a),
    (
        "C2b",
        "theorem",
        "so a test fires with chance at most eta, and a run with at most eta times the tests (prior predictive)",
        c2b,
    ),
    ("C3a", "theorem", "the card's delays against KL at eta = 1/n", c3a),
    ("C3b", "effect", "the farther the new law, the shorter the delay", c3b),
    ("C3c", "effect", "a factor e of 1/eta costs about 1/KL symbols", c3c),
    ("C4a", "effect", "a smaller eta gives fewer false alarms (0.1 against 1e-3)", c4a),
    ("C4b", "effect", "and longer delays (1e-6 against 1e-3)", c4b),
    ("B1", "theorem", "the card's table of false alarms and delays, with the first loss and without", b1),
    ("B2", "theorem", "at eta = 1e-3 no false alarm in 60 streams, and a mean delay below 16", b2),
    ("B3", "effect", "the theorem's eta waits more than twice as long as 1e-3", b3),
    ("C5a", "theorem", "the card's regrets, at 2000, 4000 and 6000 steps, with their spread", c5a),
    (
        "C5b",
        "effect",
        "R-BOCPD-UCRL2's regret is below half of the sliding window's",
        partial(ratio, name=BOCPD, other="window", bound=0.5),
    ),
    (
        "C5c",
        "effect",
        "and below a fifth of UCRL2's without restarts",
        partial(ratio, name=BOCPD, other="UCRL2", bound=0.2),
    ),
    ("C5d", "theorem", "both changes are seen within 60 steps in at least 5 of 6 runs", c5d),
    (
        "C5e",
        "effect",
        "its regret is less than 1.5 times that of restarts by an oracle",
        partial(ratio, name=BOCPD, other="oracle", bound=1.5),
    ),
    ("X1", "effect", "a change where the policy does not go is not seen, and costs regret", x1),
    (
        "X2",
        "effect",
        "forgetting only the pair whose law was seen to change costs more than forgetting everything",
        partial(more, name="local restarts", other=BOCPD),
    ),
    (
        "X3",
        "effect",
        "Q-learning, which forgets by itself, has more regret too",
        partial(more, name="Q-learning", other=BOCPD),
    ),
)


def area(results: Results, arm: str) -> list[float]:
    """The mean success after the first change, one a seed; at a change itself the rule is still the one before."""
    after = [i for i, stop in enumerate(results["stops"]) if stop > SWITCHES[0]]
    return [sum(path[i] for i in after) / len(after) for path in results["runs"][arm]["success"]]


def ahead(results: Results, arm: str, other: str, above: float = 0.0) -> Evidence:
    return effect(difference(area(results, arm), area(results, other)), above=above)


def delays(results: Results, arm: str) -> list[float]:
    """Updates from a change to the first restart after it, the mean over the changes, one a seed.

    Of the restarts between two stops the last is known; one that did not come counts as the whole phase.
    """
    ends = (*SWITCHES[1:], results["stops"][-1])
    found = []
    for path in results["runs"][arm]["last restart"]:
        waits = [
            min([r for r in path if start < r <= end], default=end) - start
            for start, end in zip(SWITCHES, ends, strict=True)
        ]
        found.append(sum(waits) / len(waits))
    return found


def soon(results: Results, arm: str, within: float) -> Evidence:
    return below(delays(results, arm), within)


def monitored(check: Check) -> Check:
    """The check of the second experiment's results."""
    return lambda results: check(results["monitor"])


def seen(results: Results, within: float) -> Evidence:
    return below(last(results, "bug", "delay"), within)


def quiet(results: Results) -> Evidence:
    return below(last(results, "bug", "alarms before"), 1.0)


# Set down before the first recorded run. The first of DRIFT is the card's; it names delay and false alarms of the
# second experiment as what is to be reported.
DRIFT: tuple[tuple[str, Check], ...] = (
    (
        "beginning anew at every detected change solves more after the first change than never doing so",
        partial(ahead, arm="detector", other="no reset"),
    ),
    ("so does beginning anew only where the rewards fell", partial(ahead, arm="detector, falls", other="no reset")),
    (
        "only at falls solves more than at every change: learning changes the rewards as well",
        partial(ahead, arm="detector, falls", other="detector"),
    ),
    ("only at falls solves more than every 50 updates", partial(ahead, arm="detector, falls", other="periodic")),
    (
        "only at falls solves less than 0.1 below the oracle",
        partial(ahead, arm="detector, falls", other="oracle", above=-0.1),
    ),
    (
        "the oracle solves more with a raised temperature than without",
        partial(ahead, arm="oracle", other="oracle, not hot"),
    ),
    ("a fall is seen within 10 updates of the change", partial(soon, arm="detector, falls", within=10.0)),
)
MONITOR: tuple[tuple[str, Check], ...] = (
    ("a bug of the verifier is seen within 10 updates", partial(seen, within=10.0)),
    (
        "there are more alarms after the bug than in a run without it",
        partial(leads, method="bug", other="no bug", figure="alarms after"),
    ),
    ("there is less than one alarm before the bug", quiet),
)


def sampled(rows: tuple[tuple[str, Check], ...], rung: str, letter: str) -> tuple[Claim, ...]:
    return tuple(Claim(f"{letter}{i}", text, "effect", rung, check) for i, (text, check) in enumerate(rows, start=1))


WATCHED = tuple((text, monitored(check)) for text, check in MONITOR)
CLAIMS = (
    *(Claim(name, text, kind, "exact", check) for name, kind, text, check in EXACT),
    *sampled((*DRIFT, *WATCHED), "gpt", "G"),
    *sampled(WATCHED, "llm", "L"),
)
