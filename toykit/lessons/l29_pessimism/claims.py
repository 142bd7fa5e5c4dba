"""The claims of lesson 29, each a pure function of its rung's results.

C1 to C6 and the numbers are the card's (C1b, C6e and X1 are ours), G1 is its criterion; the directions of G2 to G8 and
of L1 to L3 were set down before the first run on their seeds, those of G2 to G8 with runs of the seeds 100 and 101 in
view. C6c and G1 are the card's sentences that do not hold here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from toykit.lessons.base import Claim, Evidence, Results, below, difference, effect, printed, worst_units
from toykit.lessons.compare import leads

Check = Callable[[Results], Evidence]

TABLE = {  # of the card: {share of chance: {method: sub-optimality at N = 50, 200, 1000, 5000}}
    "0.02": {
        "BC": ("0", "0", "0", "0"),
        "naive": ("0.188", "0.646", "0.934", "0.567"),
        "LCB": ("0.040", "0.030", "0", "0.003"),
    },
    "0.3": {
        "BC": ("0.142", "0", "0", "0"),
        "naive": ("0.878", "0.720", "0.201", "0.042"),
        "LCB": ("0.284", "0.045", "0.037", "0.006"),
    },
    "1": {
        "BC": ("2.285", "2.453", "2.714", "2.525"),
        "naive": ("1.252", "0.365", "0.124", "0.021"),
        "LCB": ("0.782", "0.341", "0.097", "0.015"),
    },
}
BY_ROUNDING = (("0.3", "naive", 0), ("1", "naive", 0))  # where a tie of two actions decides


def c1(results: Results) -> Evidence:
    """The card's numbers; what it prints as below 1e-6 is, and the limit of the empirical best is reached to 1e-3."""
    found = results["bandit"]["nearly expert"]
    close = printed(
        [*found["LCB"][:2], *found["empirical best"]],
        ("0.000773", "0.000022", "0.053906", "0.049652", "0.047649", "0.046849"),
    )
    small = max(*found["LCB"][2:], *found["most played"][1:]) < 1e-6 and found["most played"][0] < 1.5e-6
    near = abs(found["empirical best"][-1] - results["bandit"]["limit"]) < 1e-3
    return replace(close, holds=close.holds and small and near)


def c1b(results: Results) -> Evidence:
    return printed([results["bandit"]["limit"]], ("0.04698",))


def c2(results: Results) -> Evidence:
    found = results["bandit"]["uniform"]
    measured = [*found["LCB"], *found["empirical best"], *found["most played"], results["bandit"]["slopes"]["uniform"]]
    there = ("0.04154", "0.02768", "0.01874", "0.01295", "0.03664", "0.02538", "0.01786", "0.01258")
    return printed(measured, (*there, "0.33541", "0.23717", "0.16771", "0.11859", "-0.56"))


def c3a(results: Results) -> Evidence:
    """Hoeffding's and Chernoff's bound of a share of at most one half; the gap is at most 1."""
    found = results["bandit"]
    ratio = max(w / b for w, b in zip(found["wrong"], found["chernoff"], strict=True))
    rounded = printed(found["chernoff"][:2], ("0.011529", "0.000133"))
    return Evidence(ratio <= 1 and rounded.holds is True, {"largest ratio": ratio}, "<= 1", tolerance=0.0)


def c3b(results: Results) -> Evidence:
    """The card's numbers, and that LCB's fall from 80 to 160 is by a factor of 2, most played's by one of 1e6."""
    found = results["bandit"]["C* = 1.25"]
    measured = [*found["LCB"], *found["empirical best"], *found["most played"][:2]]
    there = ("0.005881", "0.003036", "0.001692", "0.000939", "0.04926", "0.034189", "0.02402", "0.016836")
    close = printed(measured, (*there, "0.001059", "0.000006"))
    falls = found["LCB"][2] / found["LCB"][3] < 3 and found["most played"][2] / found["most played"][3] > 1e6
    return replace(close, holds=close.holds and falls)


def c4a(results: Results) -> Evidence:
    found, slopes = results["contextual"]["hard"], results["contextual"]["slopes"]
    measured = [*(x for c in ("1.05", "1.2", "2") for x in found[c]["LCB"]), slopes["1.2"], slopes["2"]]
    there = ("0.00757", "0.00683", "0.00524", "0.0032", "0.02156", "0.01318", "0.0084", "0.00549")
    return printed(measured, (*there, "0.04794", "0.03168", "0.02133", "0.0146", "-0.657", "-0.572"))


def c4b(results: Results) -> Evidence:
    found = results["contextual"]["hard"]
    measured = [*(x for c in ("1.05", "1.2") for x in found[c]["most played"]), found["2"]["most played"][0]]
    measured.append(found["2"]["most played"][-1])
    return printed(measured, (*("0.0250",) * 4, "0.1000", "0.1000", "0.0866", "0.0612", "0.5000", "0.177"))


def c4c(results: Results) -> Evidence:
    """By enumeration: the formula to 1e-12, and the card's numbers and slope."""
    found = results["contextual"]
    exact = [abs(x - (1 - 1 / n) ** n / (2 * n)) for x, n in zip(found["rare"], found["sizes"], strict=True)]
    there = ("0.011127", "0.005657", "0.002851", "0.001431", "-0.986")
    close = printed([*found["rare"], found["slopes"]["rare"]], there)
    return replace(close, holds=close.holds and max(exact) <= 1e-12)


def c5(results: Results) -> Evidence:
    """In all ten draws at both scales, with bounds that say something: the card's mean of max V."""
    found = results["mdp"]["validity"]
    holds = all(all(found[scale]["holds"]) for scale in ("0.01", "0.02"))
    close = printed([found["0.01"]["largest"], found["0.02"]["largest"], found["best"]], ("7.66", "7.53", "7.787"))
    return replace(close, holds=close.holds and holds)


def means(results: Results, share: str, method: str) -> list[float]:
    """The mean over the seeds at each size."""
    return [sum(each) / len(each) for each in results["mdp"]["runs"][share][method]]


def c6a(results: Results) -> Evidence:
    """Within 0.6 units of the last digit: 0.20045, 0.04446 and 0.12347 are printed as 0.201, 0.045 and 0.124."""
    measured, there = [results["mdp"]["value"], *results["mdp"]["coverage"]], ["7.6333", "1.02", "1.37", "4.11"]
    for share, methods in TABLE.items():
        for method, numbers in methods.items():
            for place, (mean, number) in enumerate(zip(means(results, share, method), numbers, strict=True)):
                if (share, method, place) not in BY_ROUNDING:
                    measured.append(mean)
                    there.append(number if "." in number else f"{number}.000")
    return replace(printed(measured, there), holds=worst_units(measured, there) <= 0.6, tolerance=0.6)


def c6c(results: Results) -> Evidence:
    return printed([means(results, s, m)[i] for s, m, i in BY_ROUNDING], [TABLE[s][m][i] for s, m, i in BY_ROUNDING])


def better(results: Results, than: str, settings: tuple[tuple[str, int], ...]) -> Evidence:
    """By how much LCB loses less, the mean over the settings, seed by seed; it must lead on average in each."""
    runs = results["mdp"]["runs"]
    gaps = [difference(runs[share][than][i], runs[share]["LCB"][i]) for share, i in settings]
    found = effect([sum(each) / len(each) for each in zip(*gaps, strict=True)], above=0.0)
    return replace(found, holds=None if found.holds is None else found.holds and all(sum(gap) > 0 for gap in gaps))


def c6e(results: Results) -> Evidence:
    """The mean over the sizes at the behaviour where it is largest."""
    worst = {m: max(sum(means(results, s, m)) / 4 for s in TABLE) for m in ("BC", "naive", "LCB")}
    holds = min(worst["BC"], worst["naive"]) > 0.4 and worst["LCB"] < min(worst["BC"], worst["naive"])
    return Evidence(holds, worst, "LCB least", tolerance=0.0)


def x1(results: Results) -> Evidence:
    """At N = 373 the bound of one pull that paid falls below -1, and the error triples."""
    found, bounds = results["contextual"]["late"], results["contextual"]["bound of one pull"]
    ratio = {n: found[n]["error"] / found[n]["unseen alone"] for n in found}
    holds = bounds[0] > -1 > bounds[1] and abs(ratio["372"] - 1) < 1e-9 and ratio["373"] > 3 and ratio["500"] > 3
    return Evidence(holds, ratio, "1, > 3, > 3", tolerance=1e-9)


def x2(results: Results) -> Evidence:
    return printed(means(results, "1", "LCB, c = 0.1"), ("2.29", "2.44", "0.056", "0.015"))


def x3(results: Results) -> Evidence:
    return printed(means(results, "1", "LCB, folds"), ("1.89", "1.30", "0.91", "0.33"))


def x4(results: Results) -> Evidence:
    same = results["mdp"]["paper's scale is cloning"]
    return Evidence(same, same, True, tolerance=0.0)


EXPERT = tuple((share, i) for share in ("0.02", "0.3") for i in range(3))
UNIFORM = tuple(("1", i) for i in range(4))
NAMED: tuple[tuple[str, str, str, Check], ...] = (
    ("C1", "theorem", "nearly expert data: the empirical best keeps losing 0.047, LCB's loss vanishes", c1),
    ("C1b", "theorem", "the limit of the empirical best's loss is 0.3 P(a Poisson(2) arm looks better) = 0.04698", c1b),
    ("C2", "theorem", "uniform data, worst gap: LCB and the empirical best fall like 1/sqrt(N), most played fails", c2),
    ("C3a", "theorem", "C* = 1.25: most played is wrong with probability at most exp(-N KL)", c3a),
    ("C3b", "theorem", "C* = 1.25: LCB falls polynomially, most played exponentially", c3b),
    ("C4a", "theorem", "contexts: LCB's loss in the hard context, for three C*", c4a),
    ("C4b", "theorem", "contexts: most played is stuck at (C* - 1)/2 until the gaps shrink", c4b),
    ("C4c", "theorem", "C* = 1: a context of mass 1/N costs (1 - 1/N)^N / (2N)", c4c),
    ("C5", "theorem", "V_T <= V^pi <= V* in every state, with small bonuses and N = 20000", c5),
    ("C6a", "theorem", "the card's table of the MDP, but for two of its 40 numbers", c6a),
    (
        "C6b",
        "effect",
        "LCB loses less than naive value iteration at e = 0.02 and 0.3, N <= 1000",
        partial(better, than="naive", settings=EXPERT),
    ),
    ("C6c", "theorem", "naive value iteration at N = 50 loses 0.878 (e = 0.3) and 1.252 (e = 1)", c6c),
    ("C6d", "effect", "LCB loses less than BC at e = 1, for every N", partial(better, than="BC", settings=UNIFORM)),
    ("C6e", "theorem", "over the three behaviours LCB's worst loss is the least", c6e),
    ("X1", "theorem", "from N = 373 on an arm tried once with reward 1 loses to an untried one", x1),
    ("X2", "theorem", "with c = 0.1 VI-LCB is as bad as BC up to N = 200 on uniform data", x2),
    ("X3", "theorem", "with consecutive folds it needs far more data", x3),
    ("X4", "theorem", "with the paper's constant VI-LCB is BC, in all 240 draws", x4),
)


def success(results: Results, rule: str, share: float) -> list[float]:
    """A rule's success at a share of chance, one a seed."""
    place = results["shares"].index(share)
    return [path[place] for path in results["success"][rule]]


def ahead(results: Results, rule: str, other: str, share: float, above: float = 0.0) -> Evidence:
    return effect(difference(success(results, rule, share), success(results, other, share)), above=above)


def nowhere_behind(results: Results) -> Evidence:
    """The card's criterion: c = 1 against the better of BC and c = 0, at the share where it is furthest behind.

    It holds where the interval of the difference reaches 0.
    """
    gaps = []
    for share in results["shares"]:
        better_one = max((success(results, name, share) for name in ("BC", "c = 0")), key=sum)
        gaps.append(difference(success(results, "c = 1", share), better_one))
    found = effect(min(gaps, key=sum), above=0.0)
    if found.interval is None:
        return found
    return replace(found, holds=found.interval[1] >= 0, expected="interval reaches 0")


GPT: tuple[tuple[str, Check], ...] = (
    ("for every share of chance c = 1 is not certainly behind the better of c = 0 and BC", nowhere_behind),
    ("10 % chance: c = 1 is right more often than c = 0", partial(ahead, rule="c = 1", other="c = 0", share=0.1)),
    ("10 % chance: BC is right more often than c = 0", partial(ahead, rule="BC", other="c = 0", share=0.1)),
    ("uniform: c = 1 is right more often than BC", partial(ahead, rule="c = 1", other="BC", share=1.0)),
    (
        "uniform: c = 1 is behind c = 0 by less than 0.05",
        partial(ahead, rule="c = 1", other="c = 0", share=1.0, above=-0.05),
    ),
    ("uniform: c = 4 is right less often than c = 0", partial(ahead, rule="c = 0", other="c = 4", share=1.0)),
    (
        "10 % chance: LCB on counts is right more often than c = 1",
        partial(ahead, rule="counts, LCB", other="c = 1", share=0.1),
    ),
    (
        "uniform: c = 1 is right more often than LCB on counts",
        partial(ahead, rule="c = 1", other="counts, LCB", share=1.0),
    ),
)


def downturn(results: Results) -> Evidence:
    """The last success less the best one on the way."""
    paths = results["runs"]["mean"]["success"]
    return below([path[-1] - max(path) for path in paths], 0.0)


def most_draws(results: Results) -> Evidence:
    """The success of the best of the most draws: by the mean less the std, less that by the mean."""
    found = results["best_of_n"]
    return effect(difference(*([path[-1] for path in found[name]] for name in ("mean - std", "mean"))), above=0.0)


LLM: tuple[tuple[str, Check], ...] = (
    ("following the mean of the reward models, success ends below its best", downturn),
    (
        "following the mean less one std, success ends higher than following the mean",
        partial(leads, method="mean - std", other="mean", figure="success"),
    ),
    ("the best of the most draws is right more often by the mean less one std than by the mean", most_draws),
)

CLAIMS = (
    *(Claim(name, text, kind, "exact", check) for name, kind, text, check in NAMED),
    *(Claim(f"G{i}", text, "effect", "gpt", check) for i, (text, check) in enumerate(GPT, start=1)),
    *(Claim(f"L{i}", text, "effect", "llm", check) for i, (text, check) in enumerate(LLM, start=1)),
)
