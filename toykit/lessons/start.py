"""The notebook to start from: strings of two letters, few enough to see all of them at once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from toykit.exact import kl, posterior
from toykit.exercises import Case, Exercise, Mistake, register
from toykit.objectives import KL, Advantage, PolicyGradient
from toykit.plots import explore, figure, wipe
from toykit.plots.controls import Choice, Slider
from toykit.plots.explorer import Explorer
from toykit.plots.tables import Table
from toykit.policies import TabularLM, export
from toykit.rollouts import Enumerated, Sampled, Strategy
from toykit.tasks import Letters
from toykit.tasks.letters import BEGIN, LETTERS
from toykit.training import TrainConfig, Trainer, load_policy

BETA = 0.2
STEPS = 80  # of each rung in the notebook
REWARDS = {"share of vowels": "vowels", "has an a": "contains_a"}


def problem(reward: str = "vowels") -> Letters:
    """Strings of two letters from the grammar; the reward is the share of vowels, or whether there is an "a"."""
    return Letters(reward, horizon=2)


def kl_rl(beta: float = BETA) -> PolicyGradient:
    """KL-regularised RL, E r - beta KL(pi || pi0): the penalty is taken off the reward."""
    return PolicyGradient(Advantage(mean="leave_one_out"), kl=KL(beta, "k1", route="reward"))


def law(policy: nn.Module, task: Letters) -> tuple[Tensor, Tensor]:
    """(log-probabilities [18 * 18], rewards) of every string under any policy, float64: each prefix is read once."""
    everything = Enumerated()(policy, task, task.prompts())
    return everything.old_logp.sum(-1)[0].double(), everything.rewards[0].double()


def rungs() -> dict[str, tuple[nn.Module, Strategy, TrainConfig]]:
    """{rung: (policy that knows the grammar, how completions are made, how it is trained)}, all on the CPU.

    The policy of the llm rung is a transformers LlamaForCausalLM with the weights of the GPT.
    """
    task, gpt = problem(), load_policy("letters")
    return {
        "exact": (TabularLM.of(task, logits=task.node_logits()), Enumerated(), TrainConfig(lr=0.1)),
        "gpt": (gpt, Sampled(256), TrainConfig()),
        "llm": (export(gpt, vocab=task.vocab), Sampled(256), TrainConfig()),
    }


def climb(steps: int = STEPS) -> tuple[Table, dict[str, Tensor]]:
    """Trains the three policies with one objective and one trainer, and holds each against its exact posterior.

    Returns the table of what was found and {rung: log-probabilities [18 * 18]} with the posterior of the first.
    """
    task, rows = problem(), []
    laws: dict[str, Tensor] = {}
    for name, (policy, strategy, config) in rungs().items():
        prior, rewards = law(policy, task)
        target = posterior(prior, rewards, BETA)
        trainer = Trainer(policy, task, kl_rl(), strategy, config)
        trainer.run(steps, progress=False)
        now, _ = law(policy, task)
        laws.setdefault("posterior", target)
        laws[name] = now
        kind = f"{strategy.group_size} samples a step" if isinstance(strategy, Sampled) else "every string, weighted"
        reward = [float((log_p.exp() * rewards).sum()) for log_p in (prior, now, target)]
        distance = [float(kl(log_p, target)) for log_p in (prior, now)]
        rows.append((name, type(policy).__name__, kind, *reward, *distance))
    columns = ("rung", "policy", "completions", "E r before", "E r after", "E r of π*", "KL to π* before", "after")
    return Table(columns, tuple(rows), digits=3), laws


@cache
def _frame() -> tuple[Figure, Any]:
    return figure(3, 1, height=3.3, width=9.0)


def posterior_figure(beta: float = BETA, reward: str = "share of vowels") -> Figure:
    """Prior, evidence and posterior of all strings: the first letter is the row, the second the column."""
    prior, rewards = _prior(reward)
    target = posterior(prior, rewards, beta)
    made, _ = _frame()
    shown = {
        "prior π₀": prior.exp(),
        "evidence exp(r/β), scaled": ((rewards - rewards.max()) / beta).exp(),
        "posterior π*": target.exp(),
    }
    for ax, (title, values) in zip(wipe(made), shown.items(), strict=True):
        _grid(ax, values, title)
    return made


def posterior_words(beta: float = BETA, reward: str = "share of vowels") -> str:
    """What `posterior_figure` shows, in words."""
    prior, rewards = _prior(reward)
    target = posterior(prior, rewards, beta)
    best = target.topk(3).indices.tolist()
    return (
        f"β = {beta:g}: E r is {(prior.exp() * rewards).sum():.3f} under the prior and "
        f"{(target.exp() * rewards).sum():.3f} under the posterior, which is KL(π*, π₀) = {kl(target, prior):.3f} nats "
        f"away. Likeliest strings now: {', '.join(_string(i) for i in best)}."
    )


def posterior_explorer(live: bool | None = None) -> Explorer:
    """How far the evidence moves the prior, by β and by the reward."""
    controls: dict[str, Any] = {
        "beta": Slider(0.02, 5.0, default=BETA, log=23, label="β"),
        "reward": Choice(tuple(REWARDS)),
    }
    presets: dict[str, dict[str, Any]] = {
        "weak evidence": {"beta": 5.0},
        "in between": {"beta": 0.2},
        "the filter": {"beta": 0.02, "reward": "has an a"},
    }
    return explore(posterior_figure, controls, presets, posterior_words, live)


def laws_figure(laws: Mapping[str, Tensor]) -> Figure:
    """The law of each policy beside the exact posterior, as grids of first and second letter."""
    made, axes = figure(len(laws), 1, height=3.0, width=9.6)
    top = float(max(log_p.exp().max() for log_p in laws.values()))
    for ax, (name, log_p) in zip(axes, laws.items(), strict=True):
        _grid(ax, log_p.exp(), name if name == "posterior" else f"{name}, trained", top)
    return made


@cache
def _prior(reward: str) -> tuple[Tensor, Tensor]:
    """The grammar's log-probabilities and the rewards of all strings."""
    task = problem(REWARDS[reward])
    return law(TabularLM.of(task, logits=task.node_logits()), task)


def _string(leaf: int) -> str:
    return Letters.vocab.decode(divmod(leaf, BEGIN + 1))


def _grid(ax: Any, values: Tensor, title: str, top: float | None = None) -> None:
    grid = values.view(BEGIN + 1, BEGIN + 1)[:BEGIN, :BEGIN]
    ax.imshow(grid.numpy(), cmap="Blues", vmin=0, vmax=top or float(grid.max()), aspect="equal")
    ax.set(title=title, xlabel="second letter", ylabel="first letter" if ax.get_subplotspec().is_first_col() else "")
    ax.set_xticks(range(BEGIN), LETTERS, fontsize=7)
    ax.set_yticks(range(BEGIN), LETTERS, fontsize=7)
    ax.grid(False)


def objective(log_pi: Tensor, log_prior: Tensor, rewards: Tensor, beta: float) -> Tensor:
    """J = E_pi r - beta KL(pi || pi0), from log-probabilities [L] of all completions."""
    return (log_pi.exp() * (rewards - beta * (log_pi - log_prior))).sum(-1)


def _cases() -> tuple[Case, ...]:
    prior, rewards = torch.tensor([0.4, 0.4, 0.1, 0.1], dtype=torch.float64), torch.tensor([0.5, 0.0, 1.0, 1.0])
    other = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    found = (("the prior itself", prior, 0.2), ("another policy", other, 0.2), ("a large beta", other, 5.0))
    return tuple(Case((p.log(), prior.log(), rewards.double(), beta), label) for label, p, beta in found)


register(
    Exercise(
        name="00.predict",
        reference="ta",
        mistakes=(
            Mistake("That is where a small β leads: the evidence alone would decide.", "ea"),
            Mistake("Its reward is the smallest: no evidence speaks for it.", "nt"),
        ),
        reason="With a large β the evidence weighs little, and the posterior is nearly the prior.",
    )
)
register(
    Exercise(
        name="00.ex1",
        reference=objective,
        cases=_cases(),
        mistakes=(
            Mistake(
                "The expectations are under the policy, not under the prior.",
                lambda p, q, r, b: (q.exp() * (r - b * (p - q))).sum(-1),
            ),
            Mistake(
                "The sign of the penalty is wrong: leaving the prior must cost.",
                lambda p, q, r, b: (p.exp() * (r + b * (p - q))).sum(-1),
            ),
            Mistake(
                "That is the KL with its arguments exchanged: it must be KL(π, π₀).",
                lambda p, q, r, b: (p.exp() * r).sum(-1) - b * (q.exp() * (q - p)).sum(-1),
            ),
            Mistake("The penalty is missing.", lambda p, q, r, b: (p.exp() * r).sum(-1)),
        ),
        reason="At the posterior it equals β log Z, and nowhere is it larger: lesson 01 proves it.",
    )
)
