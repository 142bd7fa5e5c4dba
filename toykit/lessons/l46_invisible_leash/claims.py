"""The claims of lesson 46 on the exact rung, each a pure function of its results.

C1 to C7 are the card's, with its directions. N1 to N3 are this lesson's own; N3, that the sign depends on k, was seen
on these trees first and then written down, so it describes them and predicts nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from toykit.lessons.base import Claim, Evidence, Results, at_most, below, effect, printed
from toykit.lessons.l46_invisible_leash.sampled_claims import SAMPLED_CLAIMS

SAMPLES = 1024


def c1a(results: Results) -> Evidence:
    """Exact steps of the policy gradient and of GRPO, and sampled ones of three methods; the card's .993."""
    found = results["masked"]
    kept = ("policy gradient", "GRPO", "SFT", "reinforce, sampled", "grpo, sampled", "ppo, sampled")
    last = max(found[name][-1] for name in kept)
    third = printed([found["policy gradient"][2]], ["0.993"])
    return Evidence(last == 0 and third.holds, {"last": last, "third": third.measured[0]}, "0, 0.993", tolerance=0.0)


def c1b(results: Results) -> Evidence:
    found = results["random supports"]
    return at_most(found["gained"] + found["rise of the limit"], 0.0)


def c1c(results: Results) -> Evidence:
    """From 1e-8 the policy gradient and GRPO go down, supervised learning goes to about one half."""
    found = {name: results["masked"][f"{name}, open"] for name in ("policy gradient", "GRPO", "SFT")}
    holds = max(found["policy gradient"], found["GRPO"]) < 1e-8 and found["SFT"] > 0.4
    return Evidence(holds, found, "< 1e-8, < 1e-8, > 0.4", tolerance=0.0)


def c2a(results: Results) -> Evidence:
    found = results["tilt"]
    measured = {name: found[name] for name in ("slope", "ascent", "constrained")}
    holds = found["slope"] <= 1e-12 and found["ascent"] <= 1e-3 and found["constrained"] >= 0
    return Evidence(holds, measured, "0, < 1e-3, >= 0", tolerance=1e-12)


def c2b(results: Results) -> Evidence:
    return at_most(results["tilt"]["limit"], 1e-12)


def c2c(results: Results) -> Evidence:
    """At every k and in every seed nothing is lost by the tilt."""
    lost = [lost for table in results["tree"]["answers"]["tilt"] for lost in table["S"]]
    return at_most(max(lost), 0.0)


def c3a(results: Results) -> Evidence:
    found = results["negative"]
    names = ("of the paper's bound", "of the paper's bound, no condition", "of ours")
    return Evidence(max(found[n] for n in names) <= 1, {n: found[n] for n in names}, "<= 1", tolerance=0.0)


def c3b(results: Results) -> Evidence:
    share = results["negative"]["own"]
    return Evidence(share > 0, share, "> 0", tolerance=0.0)


def c3c(results: Results) -> Evidence:
    """In percent of 2 eta K: the card's 8.4 for the largest of 200 runs, and 19.2 for our bound."""
    found = results["negative runs"]
    return printed([100 * found["largest"], 100 * found["ours"]], ("8.4", "19.2"))


def c3d(results: Results) -> Evidence:
    """eps at k = 8192; SRR, NDR, SDS, NSCR of ProRL's table, NDR of OLMo's."""
    found = results["metrics"]
    rates = [found["paper"][name][0] for name in ("SRR", "NDR", "SDS", "NSCR")]
    card = printed(
        [found["eps"], *rates, found["paper"]["NDR"][1]], ("3.66e-4", ".936", ".015", ".029", "-.049", ".10")
    )
    return Evidence(card.holds and found["SDS"] <= 1e-12, card.measured, card.expected, tolerance=0.501)


def c4a(results: Results) -> Evidence:
    """As the card prints them, and that the steps in plain floats are those of toykit's ascent."""
    found = results["winner"]
    there = ("0.9862", ".00244", "0.99825", ".000736", "0.999786", ".000164", "0.968", "0.032")
    card = printed([x for p in found["kept"] for x in p[:2]] + found["tilt"], there)
    return Evidence(card.holds and found["as ascend"] <= 1e-12, card.measured, card.expected, tolerance=0.501)


def c4b(results: Results) -> Evidence:
    found = results["winner"]
    ratios = [p[0] / p[1] for p in found["kept"]]
    grows = 30 < ratios[0] < ratios[1] < ratios[2] and abs(ratios[2] - 6110) < 5
    lost = found["kept"][-1][1] < results["metrics"]["eps"] < 0.01
    return Evidence(grows and lost, ratios, "growing to 6110, second below eps", tolerance=5)


def c4c(results: Results) -> Evidence:
    """The card's four numbers (its -96.6388 is cut, not rounded), and an error that falls tenfold with the step."""
    start, *ends = results["winner"]["conserved"]
    errors = [abs(end - start) for end in ends]
    linear = all(abs(a / b / 10 - 1) < 0.02 for a, b in pairwise(errors))
    card = printed([start, *ends], ("-96.6667", "-96.6389", "-96.6639", "-96.66639"))
    return Evidence(card.holds and linear, errors, "O(dt)", tolerance=0.02)


def n1(results: Results) -> Evidence:
    """At a success of 0.9 the leads differ by what a step of 0.02 leaves; the times do not agree at all."""
    found = results["halves"]
    spread = max(found["lead"].values()) - min(found["lead"].values())
    apart = max(found["time"].values()) / min(found["time"].values())
    measured = {"spread of the leads": spread, "times": list(found["time"].values())}
    return Evidence(spread <= 2e-3 and apart > 2, measured, "0, apart", tolerance=2e-3)


def n2(results: Results) -> Evidence:
    """The gradient of log pi(y) has no factor pi(y): the growth is below eta, and passes the printed bound."""
    found = results["negative"]
    measured = {"over eta": found["log loss, over eta"], "of the bound": found["log loss, of the paper's bound"]}
    return Evidence(measured["over eta"] <= 1 < measured["of the bound"], measured, "<= 1, > 1", tolerance=0.0)


def c6a(results: Results) -> Evidence:
    """The theorem as it is printed: no update that raises reward raises the entropy. Checked along the tilt."""
    found = results["entropy"]["rare"]
    over = max(found["tilt"]) - found["base"]
    measured = {"H[π] - H[q]": over, "share of 1,000 problems": results["random entropies"]["violated"]}
    return Evidence(over <= 0 and measured["share of 1,000 problems"] == 0, measured, "<= 0, 0", tolerance=1e-9)


def c6b(results: Results) -> Evidence:
    found = results["entropy"]
    rare, usual = found["rare"], found["usual"]
    measured = [rare["base"], *rare["tilt"], rare["limit"], *rare["less KL"][:2], usual["base"]]
    there = (".394", ".702", "1.001", "1.003", ".712", ".693", ".321", "-.013", "1.280")
    return printed(measured, there)


def c6c(results: Results) -> Evidence:
    """Both numbers of the card's differences, and autodiff on random problems; the identity that is true of H - KL."""
    found = results["random entropies"]
    card = printed(results["entropy"]["slope"], (".327204", ".327204"))
    errors = {name: found[name] for name in ("error", "with KL")}
    return Evidence(card.holds and max(errors.values()) <= 1e-12, errors, "0, 0", tolerance=1e-12)


def c6d(results: Results) -> Evidence:
    """Never a rise along the tilt where the covariance is not negative, and none for the card's second base."""
    rises = {
        "random problems": results["random entropies"]["rise where favourable"],
        "the second base": results["entropy"]["usual"]["largest rise"],
    }
    return Evidence(max(rises.values()) <= 1e-12, rises, "<= 0", tolerance=1e-12)


def c6e(results: Results) -> Evidence:
    """Success, answer and token entropy, P(reason) and length before and after 400 steps; the peak at step 10."""
    found = results["reasons"]
    tokens = found["token entropy"]
    there = (".280", ".998", "1.362", ".014", ".875", ".927", ".10", ".999", "2.4", "6.0", "1.098")
    names = ("success", "answer entropy", "token entropy", "reason", "length")
    card = printed([x for name in names for x in (found[name][0], found[name][-1])] + [max(tokens)], there)
    return Evidence(card.holds and tokens.index(max(tokens)) == 10, card.measured, card.expected, tolerance=0.501)


def totals(results: Results) -> list[float]:
    """P, E, S, O of RL over problems, all seeds together."""
    table = results["tree"]["problems"]["RL"]
    return [sum(table[name]) for name in "PESO"]


def c5a(results: Results) -> Evidence:
    return Evidence(totals(results) == [90, 0, 30, 0], totals(results), [90, 0, 30, 0], tolerance=0.0)


def c5b(results: Results) -> Evidence:
    """By problems, as the paper's tables count."""
    return below(results["tree"]["problems"]["RL"]["NSCR"], 0.0)


def net(results: Results, arm: str, k: int) -> list[float]:
    """NSCR over right answers at `k`, seed by seed."""
    return results["tree"]["answers"][arm][results["tree"]["ks"].index(k)]["NSCR"]


def loses(results: Results, arm: str, k: int) -> Evidence:
    return below(net(results, arm, k), 0.0)


def gains(results: Results, arm: str, k: int) -> Evidence:
    return effect(net(results, arm, k), above=0.0)


def moved(results: Results, figure: str) -> list[float]:
    found = results["tree"][figure]
    return [after - before for before, after in zip(found["base"], found["RL"], strict=True)]


def c6f(results: Results) -> Evidence:
    return effect(moved(results, "success"), above=0.0)


def c6g(results: Results) -> Evidence:
    return below(moved(results, "entropy"), 0.0)


def s1(results: Results) -> Evidence:
    return at_most(max(results["trainer"].values()), 1e-12)


EXACT: tuple[tuple[str, str, str, Callable[[Results], Evidence]], ...] = (
    (
        "C1a",
        "theorem",
        "an answer of probability 0 stays there, in exact and in sampled steps",
        c1a,
    ),
    ("C1b", "theorem", "on 200 random problems nothing enters the support, and no limit of pass@k rises", c1b),
    ("C1c", "theorem", "with finite logits supervised learning raises an answer of 1e-8 to one half, RL does not", c1c),
    ("C2a", "theorem", "the tilt is where KL-regularised ascent ends, and the nearest law with its reward", c2a),
    ("C2b", "theorem", "its limit is the base given that the answer is right", c2b),
    (
        "C2c",
        "theorem",
        "the tilt with the trained policy's success loses no right answer, at any k",
        c2c,
    ),
    ("C3a", "theorem", "a step on a sampled wrong token: the paper's bound, its condition not needed, and ours", c3a),
    ("C3b", "theorem", "with the growing token's own probability in the bound it is passed", c3b),
    ("C3c", "theorem", "200 runs of 50 steps: at most 8.4 % of 2 η K; our bound is 19.2 %", c3c),
    ("C3d", "theorem", "eps, both forms of SDS, and the rates of the paper's tables from its counts", c3d),
    ("C4a", "theorem", "two right answers under exact ascent, and in the tilt's limit: the card's numbers", c4a),
    ("C4b", "theorem", "the ratio of two right answers grows from 30 to 6110; the second leaves the support", c4b),
    ("C4c", "theorem", "exp(-z1) - exp(-z2) is conserved, up to the size of the step", c4c),
    ("N1", "theorem", "GRPO, NSR and PSR run along the policy gradient's curve, at other speeds", n1),
    ("N2", "theorem", "a step of REINFORCE on a wrong token passes the printed bound; it raises by less than η", n2),
    ("C6a", "theorem", "as printed: H[π] <= H[q] after any update that raises reward", c6a),
    ("C6b", "theorem", "entropies along two tilts, and what H[q] - KL would be: the card's numbers", c6b),
    ("C6c", "theorem", "the law that holds: dH/dβ = -β Var(R) - Cov(R, log q)", c6c),
    ("C6d", "theorem", "where Cov(R, log q) >= 0 the entropy falls all along the tilt", c6d),
    ("C6e", "theorem", "an answer after reasoning: token entropy rises and answer entropy falls", c6e),
    ("C5a", "theorem", "the trees of lesson 35: P/E/S/O = 90/0/30/0 problems at k = 1,024", c5a),
    ("C5b", "effect", "RL loses more problems than it gains: NSCR < 0", c5b),
    ("C5c", "effect", "counted by answers too", partial(loses, arm="RL", k=SAMPLES)),
    ("N3", "effect", "of the same policies, at k = 16: NSCR > 0", partial(gains, arm="RL", k=16)),
    ("C6f", "effect", "RL raises success there", c6f),
    ("C6g", "effect", "and lowers the answer entropy", c6g),
    ("C7a", "effect", "DAPO loses right answers: NSCR < 0", partial(loses, arm="DAPO", k=SAMPLES)),
    ("C7b", "effect", "supervised learning on them gains: NSCR > 0", partial(gains, arm="SFT", k=SAMPLES)),
    ("S1", "theorem", "the Trainer on enumerated answers takes the steps of the flows", s1),
)

CLAIMS = (*(Claim(name, text, kind, "exact", check) for name, kind, text, check in EXACT), *SAMPLED_CLAIMS)
