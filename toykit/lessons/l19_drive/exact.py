"""Lesson 19 on the exact rung: what a group sees, all programs of six tokens, and phases at equal rollouts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, partial

import torch
from torch import Tensor

from toykit.diagnostics import exact_pass_at_k
from toykit.exact import expected_group_update, group_expectation, group_weight, informative
from toykit.lessons.base import Results
from toykit.lessons.l19_drive.flow import Programming, Run, V, after, begin, hard_focus
from toykit.objectives import Advantage, PolicyGradient
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated
from toykit.tasks import Programs, stack_machine
from toykit.tasks.stack_machine import END, TAKES
from toykit.tasks.tree import Tree
from toykit.training import Curriculum, Phase, TrainConfig, Trainer, hardest

GROUPS = (8, 64)
HARD = 12  # prompts: a third of those for training
PER_STEP = 360
FIRST = Phase(None, 120, 8)
SECOND = (Phase(18, 120, 64), Phase(12, 60, 64), Phase(6, 60, 64))
SHORT = Phase(None, 120, 8, window=5)
ALONE = (Phase(12, 210, 64), Phase(8, 105, 64), Phase(4, 105, 64))  # stage 2 only, as many rollouts
ALONE_CARD = (Phase(12, 120, 64), Phase(8, 60, 64), Phase(4, 60, 64))  # the card's: 138,240
LADDERS: dict[str, Sequence[Phase]] = {
    "uniform, G = 8": (FIRST, Phase(None, 240, 8), Phase(None, 480, 8)),
    "two stages": (FIRST, *SECOND),
    "stage 2 only": ALONE,
}
MORE = (Phase(24, 90, 64), Phase(16, 45, 64), Phase(8, 45, 64))  # stage 2 on a pool of all 48, as many rollouts


def run(seeds: tuple[int, ...] = (0, 1, 2, 3, 4)) -> Results:
    """All exact results of the lesson; `seeds` draw how difficulty varies."""
    return {
        "counts": counts(),
        "groups": groups(),
        **training(tuple(seeds)),
        "gradient": gradient_agrees(),
        "trainer": trainer_agrees(),
    }


@cache
def programming() -> Programming:
    return Programming(Programs())


def for_training(made: Programming) -> Tensor:
    """bool [n]: the prompts of the training split."""
    return torch.isin(torch.arange(made.n), made.task.prompts().ids)


def counts() -> Results:
    """Every program of six tokens: those without an error, with one value, their functions, prompts and programs."""
    task = Programs()
    tree = task.tree
    depth, fine = torch.zeros(tree.n_leaves, dtype=torch.int64), torch.ones(tree.n_leaves, dtype=torch.bool)
    for t in range(tree.horizon):
        token = torch.where(tree.mask[:, t], tree.tokens[:, t], END)
        fine &= depth >= torch.tensor(TAKES)[token]
        depth = after(depth, token)
    outputs, ok = stack_machine.run(tree.tokens, task.inputs, tree.mask)
    programs = task.functions.counts
    return {
        "without error": int(fine.sum()),
        "one value": int(ok.sum()),
        "functions": len(outputs[ok].unique(dim=0)),
        "prompts": len(programs),
        "programs": int(task.right[2].sum()),
        "fewest and most": [int(programs.min()), int(programs.max())],
        "solved within five tokens": int((Programs(window=5, needs_end=True).right[2]).any(1).sum()),
    }


def groups() -> Results:
    """C1: P(informative), h_G(p) against all groups that there are, the limit of small p, and the card's numbers."""
    errors, rates = [], (0.005, 0.1, 0.5, 0.9)
    for g in (2, 3, 5, 8):
        for p in rates:
            law = torch.tensor([p, 1 - p], dtype=torch.float64).log()  # answer 0 is right
            mixed = group_expectation(lambda i: ((i == 0).any(-1) & (i == 1).any(-1)).double(), law, g)
            errors.append(float((mixed - informative(law[0].exp(), g)).abs()))
            for std in ("group", "none"):
                expected = group_expectation(partial(push, p=p, std=std), law, g)
                errors.append(float((expected - group_weight(law[0].exp(), g, std=std, ddof=0)).abs()))
    tiny, rare = torch.tensor([1e-9, 0.005], dtype=torch.float64)
    weight = {std: [float(group_weight(tiny, g, std=std, ddof=0) / tiny) for g in GROUPS] for std in ("group", "none")}
    return {
        "error": max(errors),
        "limit": max(abs(w / math.sqrt(g - 1) - 1) for w, g in zip(weight["group"], GROUPS, strict=True)),
        "factor": [large / small for small, large in weight.values()],
        "informative": [float(informative(rare, g)) for g in GROUPS],
        "exercise": [math.log(2) / -math.log1p(-0.005), math.sqrt(63)],
    }


def push(index: Tensor, p: float, std: str) -> Tensor:
    """(1/G) sum A_i s_i [M] of groups [M, G] of answers 0 (right) and 1, along mu+ - mu-: a right answer's score is
    1 - p there, a wrong one's -p."""
    rewards = (index == 0).double()
    advantage = Advantage("group", std, ddof=0, eps=0.0)(rewards, torch.ones_like(rewards) / rewards.shape[-1])
    return (advantage * (rewards - p)).mean(-1)


def training(seeds: tuple[int, ...]) -> Results:
    """C2 to C6: one base a seed, and every arm on it; figures are lists over seeds, of the 36 training prompts."""
    made, pool = programming(), for_training(programming())
    base = begin(made, made.base(seeds))
    go = partial(hard_focus, made, pool=pool)
    first, short = (go(base, [phase]) for phase in (FIRST, SHORT))
    uniform = go(first, LADDERS["uniform, G = 8"][1:2])
    uniform_64 = go(base, [Phase(None, PER_STEP, 64)])
    arms = {
        "uniform, G = 8": go(uniform, LADDERS["uniform, G = 8"][2:]),
        "uniform, G = 64": at_step(uniform_64, 105),
        "two stages": go(first, SECOND),
        "two stages, nested": go(first, SECOND, nested=True),
        "two stages, short first": go(short, SECOND),
        "two stages, more hard prompts": hard_focus(made, first, MORE, torch.ones_like(pool)),
        "stage 2 only": go(base, ALONE),
        "stage 2 only, the card's": go(base, ALONE_CARD),
    }
    steps = {"uniform, G = 8": uniform, "uniform, G = 64": uniform_64}
    steps |= {f"hard, G = {g}": go(base, [Phase(HARD, PER_STEP, g)]) for g in GROUPS}
    ends = {"base": base, "whole window": first, "short window": short}
    figures = partial(of, start=base.p[0][:, pool])
    return {
        "quantiles": base.p[0, 0].quantile(torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=torch.float64)).tolist(),
        "base": figures(base.p[-1][:, pool]),
        "arms": {name: figures(r.p[-1][:, pool]) for name, r in arms.items()},
        "per step": {name: figures(r.p[-1][:, pool]) for name, r in steps.items()},
        "entropy": {name: made.token_entropy(r.theta)[:, pool].mean(-1).tolist() for name, r in ends.items()},
        "ladder": {name: ladder(arms[name], pool, phases) for name, phases in LADDERS.items()},
    }


def of(p: Tensor, start: Tensor) -> Results:
    """Figures over seeds of pass rates [seeds, 36]; thirds by the rates at the start."""
    order = start.argsort(dim=-1, stable=True)
    thirds = dict(zip(("hard", "medium", "easy"), order.split(HARD, -1), strict=True))
    return {
        "pass@1": p.mean(-1).tolist(),
        "pass@64": exact_pass_at_k(p, 64).mean(-1).tolist(),
        "unsolved": (p < 0.01).double().mean(-1).tolist(),
        "hard, unsolved": (p.gather(-1, thirds["hard"]) < 0.01).double().mean(-1).tolist(),
        **{name: p.gather(-1, rows).mean(-1).tolist() for name, rows in thirds.items()},
    }


def at_step(run: Run, step: int) -> Run:
    """A run as it stood at one of its kept steps, without its parameters."""
    at = run.kept.index(step) + 1
    return Run(run.theta[:0], run.kept[:at], run.p[:at], run.chosen)


def ladder(found: Run, pool: Tensor, phases: Sequence[Phase]) -> Results:
    """The picture of the first seed: pass rates [steps, prompts], the hardest last, and which each phase kept."""
    order = found.p[0, 0, pool].argsort(descending=True, stable=True)
    return {
        "ends": torch.tensor([phase.steps for phase in phases]).cumsum(0).tolist(),
        "p": [[float(f"{x:.4g}") for x in row] for row in found.p[:, 0, pool][:, order].tolist()],
        "chosen": [c[0, pool][order].tolist() for c in found.chosen],
    }


def gradient_agrees(seed: int = 3, ids: Sequence[int] = (0, 47)) -> Results:
    """S2: the step from right programs alone against `expected_group_update` over every completion of six tokens."""
    made = programming()
    theta, tree = made.base([seed])[0], made.task.tree
    shared, own = made.split(theta)
    t, depth = _nodes(tree)
    table = shared.new_zeros(made.task.length, made.task.length + 1, shared.shape[-1])
    table[made.states[:, 0], made.states[:, 1]] = shared
    errors = {}
    tokens, mask, known = made.task.right
    for g, std in ((64, True), (8, False)):
        chosen = torch.zeros(made.n, dtype=torch.bool)
        chosen[list(ids)] = True
        our_a, our_b = (part[0] for part in made.split(made.gradient(chosen[None], g, std)(theta[None])))
        theirs_a = torch.zeros_like(table)
        error = 0.0
        for x in ids:
            correct = torch.zeros(tree.n_leaves, dtype=torch.bool)
            correct[tree.index(tokens[x][known[x]].masked_fill(~mask[x][known[x]], 0), mask[x][known[x]])] = True
            logits = table[t, depth] + own[x, t]
            step = expected_group_update(tree, logits, correct, g, std="group" if std else "none")
            theirs_a.index_put_((t, depth), step / len(ids), accumulate=True)
            theirs_b = torch.zeros_like(own[x]).index_add(0, t, step)
            error = max(error, float((theirs_b - our_b[x]).abs().max()))
        theirs_s = theirs_a[made.states[:, 0], made.states[:, 1]]
        errors[f"G = {g}{'' if std else ', no std'}"] = max(error, float((theirs_s - our_a).abs().max()))
    return errors


def _nodes(tree: Tree) -> tuple[Tensor, Tensor]:
    """(t, values on the stack), int64 [N] each, of every node."""
    t, depth = (torch.zeros(tree.n_nodes, dtype=torch.int64) for _ in range(2))
    at = torch.zeros(tree.n_leaves, dtype=torch.int64)
    for i in range(tree.horizon):
        here = tree.mask[:, i]
        t[tree.nodes[here, i]], depth[tree.nodes[here, i]] = i, at[here]
        at = torch.where(here, after(at, torch.where(here, tree.tokens[:, i], END)), at)
    return t, depth


def trainer_agrees(seed: int = 5, lr: float = 0.5) -> Results:
    """S1: a Curriculum of the Trainer on every completion of four tokens, against `hard_focus` with A held at 0.

    The Trainer's step is the mean over the prompts that are kept, the flow's one for each: its rate is divided by their
    number. Enumerated groups are those of infinite size.
    """
    task, phases = Programs(length=4), (Phase(4, 3, 8), Phase(2, 3, 8))
    made, ids = Programming(task), task.prompts().ids
    draw = torch.Generator().manual_seed(seed)
    own = torch.randn(made.n, task.length, V, generator=draw, dtype=torch.float64)
    policy = TabularLM.of(task, "position", logits=own[ids].flatten(0, 1))
    trainer = Trainer(
        policy,
        task,
        PolicyGradient(Advantage("group", "group", eps=0.0)),
        Enumerated(),
        TrainConfig(lr=lr, optimizer="sgd"),
    )
    led = Curriculum(trainer, phases)
    asked = [trainer.prompts.ids.tolist() for _ in led]
    silent = torch.zeros(len(made.states), V, dtype=torch.float64)
    theta, among, same = made.join(silent, own)[None], torch.isin(torch.arange(made.n), ids), True
    for i, phase in enumerate(phases):
        rows = among.nonzero()[:, 0]
        kept = rows[hardest(made.rates(theta)[0, rows], phase.prompts)]
        among = torch.isin(torch.arange(made.n), kept)
        same &= asked[3 * i] == kept.tolist()
        gradient = made.gradient(among[None], math.inf)
        for _ in range(phase.steps):
            _, step = made.split(gradient(theta))
            theta = made.join(silent, made.split(theta)[1][0] + lr / len(kept) * step[0])[None]
    ours = made.split(theta)[1][0, ids].flatten(0, 1)
    return {"error": float((policy.table.detach() - ours).abs().max()), "same prompts": same}
