"""The claims of lesson 12, each a pure function of its rung's results."""

from __future__ import annotations

from functools import partial

from toykit.lessons.base import Claim, Evidence, Results, at_most, printed, worst_units
from toykit.lessons.l12_dual_rl.sampled_claims import SAMPLED

# The card's numbers, as it prints them; it has one digit more of -0.003105053, a 1 where the exact value has a 5.
DUAL = {"chi2_reverse": ("0.7499511086", "-0.003105053"), "reverse_kl": ("0.8092576668", "0.6552869031")}
RECOIL = {"covered": ("-1.58970007", "-1.45765100"), "not covered": ("-1.40357894", "-2.06994361")}
MAXIMA = {
    "TV": ("1", "2", "3"),
    "chi2, released": ("-1.6667", "0.3333", "1", "2", "3"),
    "chi2, conjugate": ("2.833", "3.9825", "4.798", "4.98"),
    "XQL": ("1.26938", "1.54796", "1.99337", "2.76975"),
    "far below, released": ("6.778", "6.980", "6.998"),
}


def c1(results: Results) -> Evidence:
    """On the card's MDP and 40 others, under both divergences: |dual - primal| and the flow residual."""
    mine = [max(abs(row["dual"] - row["primal"]), row["flow"]) for row in results["duality"].values()]
    return at_most(max(*mine, *(max(row["duality"], row["flow"]) for row in results["others"].values())), 1e-8)


def c1_card(results: Results) -> Evidence:
    """The four numbers that the card prints, and how many pairs d* leaves out."""
    found = results["duality"]
    values = [found[name][row] for name in DUAL for row in ("dual", "dual-Q")]
    zeros = [found[name]["zeros"] for name in DUAL]
    holds = worst_units(values, [x for name in DUAL for x in DUAL[name]]) <= 0.501 and zeros == [5, 0]
    return Evidence(holds, {"values": values, "pairs left out": zeros}, [*DUAL.values(), [5, 0]], tolerance=0.501)


def c2(results: Results) -> Evidence:
    mine = [abs(row["dual-Q"] - row["regularised return"]) for row in results["duality"].values()]
    best = [abs(row["dual-Q at the best policy"] - row["dual"]) for row in results["duality"].values()]
    return at_most(max(*mine, *best, *(row["dual-Q"] for row in results["others"].values())), 1e-7)


def c3(results: Results) -> Evidence:
    """Value and residual of three policies, with and without the expert's actions in the other data."""
    rows = [row[name] for row in results["recoil"].values() for name in ("random", "suboptimal", "expert")]
    return at_most(max(max(abs(row["dual"] - row["primal"]), row["residual"]) for row in rows), 1e-7)


def c3_card(results: Results) -> Evidence:
    found = results["recoil"]
    return printed(
        [found[kind][who]["dual"] for kind in RECOIL for who in ("random", "suboptimal")],
        [x for kind in RECOIL for x in RECOIL[kind]],
    )


def c3_expert(results: Results) -> Evidence:
    """0 at the expert, though its actions have no mass in the other data: there its own law lies outside by .96."""
    found = results["recoil"]["not covered"]
    holds = abs(found["expert"]["dual"]) <= 1e-9 and found["missing mass"] > 0.9
    measured = {"value": found["expert"]["dual"], "mass not covered": found["missing mass"]}
    return Evidence(holds, measured, "0, > 0.9", tolerance=1e-9)


def c4(results: Results) -> Evidence:
    """The slope of XQL's loss at soft value iteration's fixed point, and V(root) on lesson 01's tree."""
    return at_most(max(results["soft"]["slope"], *results["soft"]["tree"]), 1e-8)


def c5(results: Results) -> Evidence:
    """Against a grid of step 1e-3, and the maximum of the support as the level goes to 1."""
    found = results["maximum"]
    return at_most(max(found["quantile"], abs(found["limit"] - 3)), 1e-6)


def c5_card(results: Results) -> Evidence:
    found = results["maximum"]
    return printed([x for name in MAXIMA for x in found[name]], [x for name in MAXIMA for x in MAXIMA[name]])


def c5_pulled(results: Results) -> Evidence:
    """With Q = 0 and 10, each half of the data, and a level of .999: 6.998 as released, 10 with the ReLU."""
    found = results["maximum"]
    holds = found["far below, released"][-1] < 7 and found["far below"] == [10.0, 10.0, 10.0]
    return Evidence(holds, {name: found[name] for name in ("far below, released", "far below")}, "< 7, 10")


def c6(results: Results) -> Evidence:
    found = results["slopes"]
    holds = worst_units([found["Gumbel"] / 1e8], ("4.85",)) <= 0.501 and (found["chi2"], found["TV"]) == (11.0, 1.0)
    return Evidence(holds, found, "4.85e8, 11, 1", tolerance=0.501)


def d_support(results: Results) -> Evidence:
    """TV and chi-square at level .99 reach the best value inside the support, and nothing exceeds it."""
    found = results["support"]
    return at_most(max(found["off"]["TV"], found["off"]["chi2"], found["above"]), 4e-9)


def d_card(results: Results) -> Evidence:
    off = results["support"]["off"]
    return printed([off[f"XQL {alpha}"] for alpha in ("1", "0.1", "0.01")], ("1.497", "1.202", ".163"))


theorem = partial(Claim, kind="theorem", rung="exact")
EXACT = (
    theorem("C1", "the optimum of dual-V is the regularised return of the visitation that it gives", check=c1),
    theorem("C1c", "the card's optima, and that chi-square leaves pairs out where KL leaves none", check=c1_card),
    theorem("C2", "for every policy the minimum of dual-Q is its regularised return", check=c2),
    theorem("C3", "for every policy ReCOIL's minimum is minus the divergence of the mixtures", check=c3),
    theorem("C3c", "the card's numbers of ReCOIL, with and without coverage of the expert", check=c3_card),
    theorem("C3e", "the expert has value 0 though the other data never take its action", check=c3_expert),
    theorem("C4", "XQL's fixed point is soft value iteration; on a tree its root is the log-partition", check=c4),
    theorem("C5", "TV's implicit maximum is the quantile (2 level - 1) / level, and the maximum at level 1", check=c5),
    theorem("C5c", "the card's table of implicit maxima", check=c5_card),
    theorem("C5p", "values far below V pull the released chi-square loss's minimum down", check=c5_pulled),
    theorem("C6", "at x = 20 the slopes are exp(20) - 1, 11 and 1", check=c6),
    theorem("D1", "TV and chi-square reach the best value inside the support, and none exceeds it", check=d_support),
    theorem("D2", "XQL stays below it by the card's amounts", check=d_card),
)
CLAIMS = (*EXACT, *SAMPLED)
