"""The notebook on the audit: reading an objective's specification sheet, and the bug that one of them shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from toykit._checks import one_of
from toykit.audit import PLANTED, Audit, Probe, Property, as_objective, audit, problem
from toykit.audit.candidates import FORWARD, REVERSE, penalties
from toykit.audit.direction import kl_part
from toykit.audit.findings import EXACT, NONE, short
from toykit.exact import group_weight
from toykit.exercises import Case, Exercise, Mistake, register
from toykit.objectives import KL, Advantage, PolicyGradient
from toykit.plots import Table, explore, figure, legend_below, wipe
from toykit.plots.controls import Choice, Slider
from toykit.plots.explorer import Explorer
from toykit.plots.style import BLACK, BLUE, GREY, VERMILION

FIVE = ("direction.kl.token", "groups.scale", "difficulty.weight", "lengths.weight.correct", "offpolicy.clip")
BETA, EPS = 0.1, 0.2
ORDER = tuple(sorted(PLANTED, key=lambda name: name[::-1]))  # of the sealed sheets: not that of the list of names

WAYS = {  # to write a KL penalty: by what estimate, and where it stands
    "k1 in the loss": KL(BETA, "k1", route="autodiff"),
    "k2 in the loss": KL(BETA, "k2", route="autodiff"),
    "k3 in the loss": KL(BETA, "k3", route="autodiff"),
    "k1 in the reward": KL(BETA, "k1", route="reward"),
    "k3 in the reward": KL(BETA, "k3", route="reward"),
}

RATES = torch.arange(1, 100, dtype=torch.float64) / 100  # success probabilities
SIZES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


def lines(found: Audit, names: tuple[str, ...] = FIVE) -> Table:
    """Some lines of a sheet, in this order."""
    rows = tuple((p.name, p.verdict, p.detail) for p in map(found.__getitem__, names))
    return Table(("property", "verdict", "what was measured"), rows, found.caption())


def update(loss: Callable[..., Tensor]) -> Callable[[str], Tensor]:
    """The exact expected update [B, N, V] of the node logits under a loss, as a function of a problem's name."""
    probe = Probe(as_objective(loss))
    return lambda name: probe.on(problem(name)).gradient


def beside(*audits: Audit) -> Table:
    """The five lines of several sheets in short, a column each."""
    rows = tuple((label, *(read(found) for found in audits)) for label, read in IN_SHORT.items())
    return Table(("", *(found.objective for found in audits)), rows)


def _kl(found: Audit) -> str:
    row = found["direction.kl.token"].measured
    return str(row["best"]) if row else "no reference"


def _sizes(found: Audit) -> str:
    row = found["groups.scale"].measured
    return f"{short(row['2'])} and {short(row['8'])}"


def _difficulty(found: Audit) -> str:
    row = found["difficulty.weight"].measured
    weight = dict(zip(row["p"], row["weight"], strict=True))
    return short(weight[0.02] / weight[0.5])


def _length(found: Audit) -> str:
    return short(found["lengths.weight.correct"].measured["weight"]["3"])


def _clip(found: Audit) -> str:
    said = found["offpolicy.clip"].detail.rpartition(": ")[2]
    return said.replace("of a ", "").replace(" completion", "")


IN_SHORT: dict[str, Callable[[Audit], str]] = {
    "the KL is": _kl,
    "times the gradient of E[r], at G = 2 and 8": _sizes,
    "weight of a prompt of p = 0.02, beside p = 0.5": _difficulty,
    "push on a token at length 3, beside length 1": _length,
    "ratios that have a gradient": _clip,
}


def with_kl(way: str) -> PolicyGradient:
    """RLOO with one of WAYS to write a KL penalty."""
    return PolicyGradient(Advantage(mean="leave_one_out"), kl=WAYS[one_of("way", way, WAYS)])


@cache
def kl_lines(way: str) -> tuple[Property, Property]:
    """The sheet's lines on the KL of one of WAYS: on one token, and on two."""
    probe = Probe(as_objective(with_kl(way)))
    return kl_part(probe, "graded"), kl_part(probe, "steps")


def kl_table() -> Table:
    """What each of WAYS is the gradient of, with its weight."""
    rows = []
    for way in WAYS:
        said = [_best(line) for line in kl_lines(way)]
        rows.append((way, *said))
    return Table(("KL penalty, beta = 0.1", "one token: the gradient of", "two tokens: the gradient of"), tuple(rows))


def _best(line: Property) -> str:
    """The divergence that a KL's update is the gradient of, with its weight, or how far the nearest is away."""
    row = line.measured
    if row["best"] == "0":
        return "nothing: the update is 0"
    if row["best"] is None:
        return f"none; {short(row[row['nearest']]['error'])} away from {row['nearest']}"
    return f"{short(row[row['best']]['weight'])} {row['best']}"


def kl_figure() -> Figure:
    """The expected update of four logits under each of WAYS, rewards equal, beside those of the two divergences."""
    p = problem("graded/ones")
    parts = {name: BETA * penalties(p)[name][0, 0] for name in (REVERSE, FORWARD)}
    words = "; ".join(f"{way}: {_best(kl_lines(way)[0])}" for way in WAYS)
    made, axes = figure(len(WAYS), 1, width=11.0, height=2.7, sharey=True, alt=f"On one token. {words}.")
    at = range(len(p.rewards[0]))
    for ax, way in zip(axes, WAYS, strict=True):
        found = Probe(as_objective(with_kl(way))).on(p.name).gradient[0, 0].numpy()
        ax.bar(at, found, width=0.7, color=GREY, alpha=0.45, label="measured")
        for (name, values), color, marker in zip(parts.items(), (BLUE, VERMILION), ("o", "s"), strict=True):
            ax.plot(
                at, values.numpy(), color=color, marker=marker, linestyle="", fillstyle="none", label=f"along −{name}"
            )
        ax.axhline(0, color=BLACK, linewidth=0.8)
        ax.set(title=way, xlabel="completion", xticks=list(at))
    axes[0].set_ylabel("change of its logit")
    legend_below(made, axes[0], ncols=3)
    return made


@cache
def _frame() -> tuple[Figure, Any]:
    """The explorer's figure with all that stays as it is."""
    made, axes = figure(2, 1, height=2.8, width=9.0)
    for ax in axes:
        ax.set(yscale="log", ylim=(0.4, 12))
        ax.set_yticks([0.5, 1, 2, 5, 10], ["½", "1", "2", "5", "10"])
    axes[0].set(title="at this G", xlabel="success probability p", ylabel="weight of a prompt")
    axes[0].set_xlim(0, 1)
    axes[1].set(title="at this p", xlabel="group size G", xscale="log", xlim=(1.8, 71))
    axes[1].set_xticks([2, 4, 8, 16, 32, 64], ["2", "4", "8", "16", "32", "64"])
    for ax in axes:
        ax.minorticks_off()
    return made, axes


@cache
def _weights(g: int, mean: str, std: str) -> Tensor:
    """The factor [99] by which a prompt of each of RATES is weighted, beside the gradient of E[r]."""
    return group_weight(RATES, g, mean=mean.replace(" ", "_"), std=std) / (RATES * (1 - RATES))


def _at(p: float, g: int, mean: str, std: str) -> float:
    return float(_weights(g, mean, std)[round(100 * p) - 1])


def weight_figure(p: float = 0.1, g: int = 8, mean: str = "group", std: str = "group") -> Figure:
    """How strongly a prompt counts: against its success probability, and against the group's size."""
    made, _ = _frame()
    left, right = wipe(made)
    for ax in (left, right):
        ax.axhline(1, color=GREY, linestyle="--")
    left.plot(RATES, _weights(g, mean, std), color=BLUE)
    right.plot(SIZES, [_at(p, size, mean, std) for size in SIZES], color=BLUE, marker="o", markersize=4)
    for ax, x in ((left, p), (right, g)):
        ax.plot([x], [_at(p, g, mean, std)], color=VERMILION, marker="D")
    return made


def weight_words(p: float = 0.1, g: int = 8, mean: str = "group", std: str = "group") -> str:
    """What `weight_figure` shows, in words."""
    here, even, hard = (short(_at(q, g, mean, std)) for q in (p, 0.5, 0.01))
    small, large = (short(_at(p, size, mean, std)) for size in (SIZES[0], SIZES[-1]))
    return (
        f"G = {g}: a prompt of p = {p:g} is weighted {here}, one of p = 0.5 {even}, one of p = 0.01 {hard}. "
        f"At p = {p:g} the weight is {small} with G = {SIZES[0]} and {large} with G = {SIZES[-1]}."
    )


def weight_explorer(live: bool | None = None) -> Explorer:
    """The weight of a prompt by its difficulty, the group's size, the mean that is subtracted and the division."""
    controls: dict[str, Any] = {
        "p": Slider(0.01, 0.99, default=0.1, step=0.01),
        "g": Slider.at(SIZES, default=8, label="group size G"),
        "mean": Choice(("group", "leave one out"), label="mean subtracted"),
        "std": Choice(("none", "group"), label="divided by the std of"),
    }
    presets: dict[str, dict[str, Any]] = {
        "RLOO": {"mean": "leave one out", "std": "none"},
        "Dr. GRPO": {"mean": "group", "std": "none"},
        "GRPO": {"mean": "group", "std": "group"},
        "GRPO, large groups": {"mean": "group", "std": "group", "g": 64},
    }
    return explore(weight_figure, controls, presets, weight_words, live)


def _grpo_like(surrogate: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A loss like GRPO's without its standard deviation; `surrogate` is of ratios and advantages."""

    def loss(logp: Tensor, old_logp: Tensor, ref_logp: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
        g = rewards.shape[-1]
        advantage = (rewards - rewards.mean(-1, keepdim=True)) * g / (g - 1)
        gain = surrogate((logp - old_logp).exp(), advantage[..., None])
        delta = ref_logp - logp
        gain = gain - 0.04 * (delta.exp() - delta - 1)
        per_token = torch.where(mask, gain, 0.0)
        return -(per_token.sum(-1) / mask.sum(-1).clamp(min=1)).mean()

    return loss


def _clipped_early(ratio: Tensor, advantage: Tensor) -> Tensor:
    return torch.minimum(ratio, ratio.clamp(1 - EPS, 1 + EPS)) * advantage


def _clipped(ratio: Tensor, advantage: Tensor) -> Tensor:
    return torch.minimum(ratio * advantage, ratio.clamp(1 - EPS, 1 + EPS) * advantage)


def somebodys() -> Table:
    """The lines that are not exact in the sheet of a loss with one of PLANTED's bugs; which one is not said."""
    return _worksheet(_grpo_like(_clipped_early), "somebody's loss")


def sealed(number: int) -> Table:
    """The same of one of PLANTED, by a number from 1 to 10 in an order of their own."""
    return _worksheet(loss(number), f"loss {number}")


def loss(number: int) -> Callable[..., Tensor]:
    """The loss of the sheet `sealed(number)`; its whole audit opens the seal. Raises ValueError for another number."""
    if number not in range(1, len(ORDER) + 1):
        raise ValueError(f"number must be from 1 to {len(ORDER)}, got {number}")
    return PLANTED[ORDER[number - 1]][0]


def _worksheet(fn: Callable[..., Tensor], name: str) -> Table:
    kept = [p for p in audit(fn, name).properties if p.verdict not in (EXACT, NONE)]
    rows = tuple((p.name, p.verdict, p.detail) for p in kept)
    return Table(("property", "verdict", "what was measured"), rows, f"{name}: what is not exact")


def bug_names() -> tuple[str, ...]:
    """What the bug may be."""
    return tuple(PLANTED)


_NOT: Mapping[str, str] = {
    "kl_sign": "Read direction.kl.token: beta is 0.04, not −0.04, so the policy is drawn to the reference.",
    "kl_swapped": "Read direction.kl.token: k3 with its arguments swapped would give chi2(pi||ref), not KL(ref||pi).",
    "ratio_attached": "Then no group would have a gradient, and groups.scale would be 0.",
    "mask_missing": "Then edges.masked would find gradients on padding and stand in this table.",
    "mean_over_padding": "Then more padding would change the update, and invariance.padding would stand in this table.",
    "not_centred": "Then equal rewards would move the policy, and lengths.equal_rewards would stand in this table.",
    "shifted": "Then edges.masked would find a token without a gradient and stand in this table.",
    "kl_per_token": "Read direction.kl.tree: of each next token, but KL(ref||pi), which is k3 in the loss, as in grpo.",
    "std_leak": "Then groups.own_reward would stand in this table: the push would not be linear in the own reward.",
}

_MEANT: Mapping[str, tuple[str, ...]] = {  # lines that are biased and no bug
    "Old completions bias every clipped loss: grpo's sheet says so too.": ("offpolicy.bias",),
    "The forward KL comes with k3 in the loss: grpo has it too, by design.": (
        "direction.objective",
        "direction.kl.token",
        "direction.kl.tree",
        "target.posterior",
    ),
    "1 / length comes with the mean over a completion's tokens: a choice, and grpo's too.": (
        "lengths.weight.correct",
        "lengths.weight.wrong",
        "lengths.growth.correct",
        "lengths.growth.wrong",
        "interference.features",
    ),
    "A log-ratio of 100 overflows in every exponential, in grpo's too.": ("edges.overflow",),
}

register(
    Exercise(
        name="audit.predict",
        reference="KL(ref||pi)",
        mistakes=(
            Mistake("That is what k3 estimates. Its derivative does not estimate the derivative.", "KL(pi||ref)"),
            Mistake("That is k1: the mean of a score is 0. The derivative of k3 has another mean.", "nothing"),
        ),
        reason="d k3 = (1 − ref/pi) d log pi, whose mean under pi is the gradient of the FORWARD KL.",
    )
)
register(
    Exercise(
        name="audit.ex1",
        reference="clip_sign",
        mistakes=tuple(Mistake(words, bug) for bug, words in _NOT.items()),
        reason="A wrong completion keeps a gradient up to a ratio of 1.2; it should have one from 0.8 on, without end.",
    )
)
register(
    Exercise(
        name="audit.ex2",
        reference="offpolicy.clip",
        mistakes=tuple(Mistake(words, line) for words, among in _MEANT.items() for line in among),
        reason="Its verdict is a mere note: the sheet cannot know what you want. Hold it beside the line of grpo.",
    )
)
register(
    Exercise(
        name="audit.ex3",
        reference=update(_grpo_like(_clipped)),
        cases=(
            Case(("lengths",), "on policy"),
            Case(("lengths/padding=2",), "with padding"),
            Case(("lengths/stale=8",), "completions 8 steps old"),
            Case(("steps/stale=8",), "two tokens, completions 8 steps old"),
        ),
        mistakes=(
            Mistake(
                "Still as it was: the minimum is taken before the advantage's sign is known.",
                update(_grpo_like(_clipped_early)),
            ),
            Mistake(
                "The maximum lets a ratio run on just where it should stop.",
                update(_grpo_like(lambda r, a: torch.maximum(r * a, r.clamp(1 - EPS, 1 + EPS) * a))),
            ),
            Mistake(
                "The clamp alone also stops what should come back: take the minimum with the ratio itself.",
                update(_grpo_like(lambda r, a: r.clamp(1 - EPS, 1 + EPS) * a)),
            ),
            Mistake(
                "Without clipping nothing holds the new policy near the old.", update(_grpo_like(lambda r, a: r * a))
            ),
        ),
        reason="min(ratio · A, clip(ratio) · A): the advantage goes inside.",
    )
)
