"""The figures of lesson 01: one explorer, and a picture of each rung's results."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from toykit._checks import one_of
from toykit.exact import elbo, entropy, posterior
from toykit.lessons.base import Results
from toykit.lessons.drawing import draw_runs
from toykit.lessons.l01_kl_as_bayes.exact import OBJECTIVES, flows_by_beta, problem
from toykit.lessons.l01_kl_as_bayes.sampled import METHODS
from toykit.plots import bars, curve_with_interval, explore, figure, panel_labels, role, wipe
from toykit.plots.controls import Choice, Slider
from toykit.plots.explorer import Explorer
from toykit.plots.style import CYCLE

LOOKS = dict(zip(("KL-RL", "plain RL", "GDC", "Jensen-Shannon"), CYCLE, strict=False))
STEPS = (0, 1, 3, 10, 30, 100, 300, 1000)  # of the explorer
TOP, BOTTOM = 0.3, -0.5  # of its panels: what goes beyond is told in words
BETA = Slider(0.02, 5.0, default=0.2, log=23, label="β")


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(2, 1, height=3.1, widths=(3.4, 1))


def _state(beta: float, step: int, objective: str) -> tuple[Tensor, Tensor, Tensor, Any]:
    """(prior, posterior, policy) as log-probabilities [64], and the parts of the bound."""
    kind = OBJECTIVES[one_of("objective", objective, OBJECTIVES)]
    task, _, log_prior = problem()
    rewards = task.rewards[0]
    log_pi = flows_by_beta(BETA.values, STEPS)[kind][STEPS.index(step), BETA.values.index(beta)]
    return log_prior, posterior(log_prior, rewards, beta), log_pi, elbo(log_pi, log_prior, rewards, beta)


def posterior_figure(beta: float = 0.2, step: int = 0, objective: str = "KL-RL") -> Figure:
    """The 64 completions under prior, likelihood, posterior and policy, and the bound with its gap."""
    log_prior, target, log_pi, parts = _state(beta, step, objective)
    likelihood = (problem()[0].rewards[0] / beta).softmax(0)
    order = log_prior.argsort(descending=True)
    made, _ = _frame()
    left, right = wipe(made)
    laws = {"prior π₀": log_prior.exp(), "likelihood exp(r/β), scaled": likelihood, "posterior π*": target.exp()}
    roles = dict(zip(laws, ("prior", "likelihood", "posterior"), strict=True))
    bars(left, {name: p[order].numpy() for name, p in laws.items()}, layout="overlay", roles=roles)
    how = role("policy")
    now = log_pi.exp()[order].numpy()
    left.plot(now.clip(max=TOP), how.marker, color=how.color, markersize=4, label="policy π now", clip_on=False)
    best = int(now.argmax())
    if now[best] > TOP:
        left.annotate(f"{now[best]:.2f} ↑", (best, TOP), (7, -4), textcoords="offset points", va="top", color=how.color)
    left.set(title="completions, sorted by the prior", ylabel="probability", xticks=[], ylim=(0, TOP))
    left.legend(loc="upper right")
    _draw_bound(right, float(parts.value), float(parts.evidence))
    return made


def _draw_bound(ax: Any, value: float, evidence: float) -> None:
    """J from 0 and the gap from J to the ceiling; a label only where there is room for it."""
    ax.bar(0, evidence - value, 0.6, value, facecolor="white", edgecolor=role("policy").color, hatch="////")
    ax.bar(0, value, 0.6, 0, facecolor=role("posterior").color, alpha=0.55)
    ax.axhline(evidence, color="black", linewidth=1.2)
    ax.axhline(0, color="#444444", linewidth=0.8)
    ax.text(0.36, evidence + 0.03, "β log Z", va="bottom")
    ax.text(0.36, max(value / 2, BOTTOM + 0.05), "J", va="center")
    if evidence - value > 0.1:
        ax.text(0.36, (max(value, 0.0) + evidence) / 2, "gap", va="center")
    ax.set(title="the bound", ylabel="reward", xticks=[], xlim=(-0.4, 0.9), ylim=(BOTTOM, 1.15))


def posterior_words(beta: float = 0.2, step: int = 0, objective: str = "KL-RL") -> str:
    """What `posterior_figure` shows, in words."""
    _, target, log_pi, parts = _state(beta, step, objective)
    return (
        f"{objective} after {step} steps, β = {beta:g}: J = {parts.value:.3f} and the gap β KL(π, π*) = "
        f"{parts.gap:.3f} add up to β log Z = {parts.evidence:.3f}. Entropy of the policy {entropy(log_pi):.2f} nats, "
        f"of the posterior {entropy(target):.2f}. Greatest probability {log_pi.exp().max():.2f}."
    )


def posterior_explorer(live: bool | None = None) -> Explorer:
    """β, the training step and the objective: four ways to (or past) the posterior."""
    controls: dict[str, Any] = {
        "beta": BETA,
        "step": Slider.at(STEPS, label="training steps"),
        "objective": Choice(tuple(OBJECTIVES)),
    }
    presets: dict[str, dict[str, Any]] = {
        "prior": {"step": 0, "objective": "KL-RL"},
        "inferred": {"step": 1000, "objective": "KL-RL"},
        "collapsed": {"step": 1000, "objective": "plain RL"},
        "other route": {"step": 1000, "objective": "GDC"},
    }
    return explore(posterior_figure, controls, presets, posterior_words, live)


def collapse_figure(results: Results) -> Figure:
    """Entropy and distance to the posterior along exact ascent on the four objectives."""
    found = results["collapse"]
    made, (left, right) = figure(2)
    for label, kind in OBJECTIVES.items():
        for ax, name in ((left, "entropy"), (right, "kl")):
            curve_with_interval(ax, found["steps"], [found[name][kind]], label, LOOKS[label], markers=10)
    left.axhline(results["numbers"]["posterior_entropy"], color="black", linewidth=0.9)
    left.annotate("posterior", (1, results["numbers"]["posterior_entropy"]), (0, -11), textcoords="offset points")
    left.set(title="entropy of the policy", ylabel="nats", ylim=(0, 4))
    right.set(title="KL(π, π*) to the posterior", ylabel="nats", yscale="log")
    for ax in (left, right):
        ax.set_xscale("symlog", linthresh=1)
        ax.set_xlim(-0.3, 1.5 * found["steps"][-1])
        ax.set_xticks([0, 1, 10, 100, 1000, 10_000], ["0", "1", "10", "100", "1,000", "10,000"])
        ax.set_xlabel("steps of exact gradient ascent")
    left.legend(loc="lower left")
    panel_labels((left, right))
    return made


def modes_figure(results: Results) -> Figure:
    """The best factorised policy under either direction of the KL, over 16 completions of which two are good."""
    found = results["mean_field"]
    laws = {"posterior": np.array(found["posterior"])}
    for label, kind in (("forward KL(π*, π)", "forward_kl"), ("reverse KL(π, π*)", "reverse_kl")):
        ones = torch.tensor(found[kind]["ones"][0])
        bits = torch.arange(16)[:, None] >> torch.arange(3, -1, -1) & 1
        laws[label] = torch.where(bits == 1, ones, 1 - ones).prod(1).numpy()
    roles: dict[str, Any] = dict(zip(laws, ("posterior", *CYCLE[2:4]), strict=True))
    made, ax = figure(height=2.7)
    bars(ax, laws, [f"{i:04b}" for i in range(16)], roles=roles)
    ax.tick_params(axis="x", labelsize=8)
    ax.set(title="two good completions, a policy whose tokens cannot see each other", ylabel="probability")
    ax.legend(loc="upper center")
    return made


PANELS = {"success": "success", "entropy": "entropy, nats", "kl_from_target": "KL(p, π), nats"}


def training_figure(results: Results, live: Results | None = None) -> Figure:
    """Success, entropy and distance from the filtered prior p in training: mean and 95 % interval over the seeds.

    `live` results of one seed are drawn as crosses.
    """
    made, axes = figure(3, height=3.0, width=9.2)
    for label in METHODS:
        for ax, name in zip(axes, PANELS, strict=True):
            draw_runs(ax, results, label, name, LOOKS[label], live)
    for ax, title in zip(axes, PANELS.values(), strict=True):
        ax.set(title=title, xlabel="training steps")
    whole = results["prior"]["filtered_entropy"]
    axes[1].axhline(whole, color="black", linewidth=0.9)
    axes[1].annotate(
        "filtered prior p", (1, whole), (0, -14), axes[1].get_yaxis_transform(), "offset points", ha="right"
    )
    axes[0].set_ylim(0, 1.05)
    axes[1].set_ylim(0, 1.15 * whole)
    axes[2].set_ylim(bottom=0)
    axes[0].legend(loc="lower right")
    panel_labels(axes)
    return made
