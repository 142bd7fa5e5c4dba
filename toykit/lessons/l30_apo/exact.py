"""Lesson 30 on the exact rung: five answers under a KL that is weighted, and eight answers of several lengths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from toykit.exact import ascend, entropy, enumerate_groups, expected_advantage, kl, mean_score
from toykit.lessons.base import Results
from toykit.lessons.trained import trained_table
from toykit.objectives import DADS, STCR, Advantage, PolicyGradient, estimate, method
from toykit.policies import TabularLM
from toykit.rollouts import of_lengths
from toykit.tasks import Bandit

SEEDS = tuple(range(8))
RIGHT = torch.tensor([True, True, False, False, False])
SHARES = torch.tensor([0.7, 0.3, 0.5, 0.3, 0.2], dtype=torch.float64)  # of the mass of the right, of the wrong
STARTS = (0.05, 0.8)
ARMS = ("no KL", "KL", "DADS", "commented out")
CURVES = (None, DADS(), DADS("exponential"))  # of the arms with a KL
LR, STOPS = 0.05, (0, 50, 100, 200, 2999)
LONG = 2_000  # steps of 1, as far as 40,000 of LR
BALANCES = ((1.0, 0.05), (1.0, 0.8), (2.0, 0.05), (0.5, 0.05))  # beta, p0
GRID = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LENGTHS = torch.tensor([1, 2, 3, 4, 1, 2, 4, 8])  # of four right answers and four wrong ones
CORRECT = torch.tensor([True] * 4 + [False] * 4)
FORMATTED = torch.tensor([0.0] * 6 + [0.5] * 2, dtype=torch.float64)  # the long wrong ones look well
LNBS = (0.0, 1e-5, 0.05, 0.2, 1.0)
GROUP, ENOUGH, MOST = 4, 0.9, 150


def run(seeds: tuple[int, ...] = SEEDS) -> Results:
    """All exact results of the lesson; `seeds` are those of the random starts of the answers with lengths."""
    transforms = [(STCR(lnb),) if lnb else () for lnb in LNBS]
    biased = torch.where(CORRECT, 0.0, 0.5).double()[None]
    return {
        "gradient": gradients(),
        "balance": balance(),
        "flow": flow(),
        "trainer": trainer_agrees(),
        "lengths": reached(biased, transforms),
        "random": reached(torch.stack([random_start(seed) for seed in seeds]), transforms),
        "formatted": reached(biased, [(), (STCR(1.0),), (STCR(1.0, strict=True),)], FORMATTED),
        "released": STCR().of(torch.tensor([100.0, 1000.0, 4000.0], dtype=torch.float64)).tolist(),
    }


def gradients() -> Results:
    """C1: k3 of random laws as a loss, at fixed samples, beside the gradient of KL(ref || pi), which is pi - ref.

    With weights w each answer's pull w (pi - ref) is scaled, and their sum is taken off in proportion to pi.
    """
    rng = np.random.default_rng(1)
    pi, ref = (torch.tensor(rng.normal(size=5)).softmax(-1) for _ in range(2))

    def slope(weight: Tensor) -> Tensor:
        logits = pi.log().requires_grad_()
        loss = (pi * weight * estimate("k3", "reverse", ref.log() - logits.log_softmax(-1))).sum()
        return torch.autograd.grad(loss, logits)[0]

    light = torch.where(RIGHT, DADS().of((pi * RIGHT).sum()), 1.0)
    pulls = light * (pi - ref)
    return {
        "plain": float((slope(torch.ones_like(pi)) - (pi - ref)).abs().max()),
        "weighted": float((slope(light) - (pulls - pi * pulls.sum())).abs().max()),
        "apart": float((pulls - pi * pulls.sum() - (pi - ref)).abs().max()),
    }


def weight_of(curve: DADS | None, p: Tensor) -> Tensor:
    """What the KL of right answers counts at success rates p [...]: 1 without a curve."""
    return torch.ones_like(p) if curve is None else curve.of(p)


def gain(p: Tensor) -> Tensor:
    """What the reward moves the logit of "right" by, of two answers, at success rates p [...]."""
    return (p * (1 - p)).sqrt()


def cost(p: Tensor, p0: Tensor, beta: Tensor | float, curve: DADS | None) -> Tensor:
    """What the KL moves it back by."""
    return beta * (p - p0) * (weight_of(curve, p) * (1 - p) + p)


def root(p0: Tensor, beta: Tensor | float, curve: DADS | None) -> Tensor:
    """The success rate [...] above p0 where gain and cost are equal, by bisection."""
    low, high = p0, torch.ones_like(p0)
    for _ in range(60):
        middle = (low + high) / 2
        up = gain(middle) > cost(middle, p0, beta, curve)
        low, high = torch.where(up, middle, low), torch.where(up, high, middle)
    return (low + high) / 2


def follow(log_ref: Tensor, right: Tensor, beta: Tensor, lr: float, keep: Sequence[int]) -> Tensor:
    """Log-probabilities [keep, arms, ..., n] of exact ascent from the reference `log_ref` [..., n].

    Advantages are those of a large group; the KL is beta [..., 1] times k3 as a loss, each answer's times its weight.
    """

    def gradient(logits: Tensor) -> Tensor:
        log_pi = logits.log_softmax(-1)
        pi = log_pi.exp()
        p = (pi * right).sum(-1)
        weights = torch.stack([weight_of(curve, p[i + 1]) for i, curve in enumerate(CURVES)])
        pull = beta * torch.where(right, weights[..., None], 1.0) * (1 - (log_ref - log_pi[1:]).exp())
        values = expected_advantage(p, gain(p), right)
        values[1:] -= pull
        return mean_score(pi, values)

    return ascend(gradient, log_ref.expand(len(ARMS), *log_ref.shape), lr, keep).log_softmax(-1)


def balance() -> Results:
    """C2: where the flow of two answers ends beside the root, and how much higher DADS's is than the KL's."""
    beta, p0 = torch.tensor(BALANCES, dtype=torch.float64).unbind(-1)
    two = torch.stack([p0, 1 - p0], -1).log()
    ends = follow(two, torch.tensor([True, False]), beta[:, None], 1.0, [LONG])[0, 1:, :, 0].exp()
    roots = torch.stack([root(p0, beta, curve) for curve in CURVES])
    grid = torch.tensor(GRID, dtype=torch.float64)
    lead = {f"{b:g}": (root(grid, b, CURVES[1]) - root(grid, b, None)).tolist() for b in (0.5, 1.0, 2.0)}
    error = float((ends - roots).abs().max())
    return {"roots": dict(zip(ARMS[1:], roots.tolist(), strict=True)), "error": error, "lead": lead}


def base(p0: Sequence[float] = STARTS) -> Tensor:
    """Log-probabilities [len(p0), 5] of references that give the right answers a mass of p0."""
    mass = torch.tensor(p0, dtype=torch.float64)[:, None]
    return (torch.where(RIGHT, mass, 1 - mass) * SHARES).log()


def flow(beta: float = 1.0) -> Results:
    """C3: five answers from a hard and an easy start; what is kept at the card's stops, and the way for the figure."""
    log_ref, weight = base(), torch.tensor([beta], dtype=torch.float64)
    every = follow(log_ref, RIGHT, weight, LR, range(STOPS[-1] + 1))  # [steps, arms, starts, 5]
    accuracy = every.exp()[..., RIGHT].sum(-1)
    end, kept = every[-1], list(range(0, 401, 10))
    late = follow(log_ref, RIGHT, weight, 1.0, [LONG])[0].exp()[..., RIGHT].sum(-1)

    def rows(values: Tensor) -> Results:
        return dict(zip(ARMS, values.tolist(), strict=True))

    return {
        "accuracy": rows(accuracy[list(STOPS)].permute(1, 2, 0)),
        "kl": rows(kl(log_ref.expand_as(end), end)),
        "entropy": rows(entropy(end)),
        "late": rows(late),
        "kept": kept,
        "path": rows(accuracy[kept].permute(1, 2, 0)),
    }


def trainer_agrees(steps: int = 10) -> Results:
    """S1: the Trainer on enumerated answers takes the steps of the flow, with the catalogue's APO at beta = 1."""
    ours = follow(base(), RIGHT, torch.ones(1, dtype=torch.float64), LR, [steps])[0, ARMS.index("DADS")]
    objective = method("apo").with_beta(1.0).pieces.with_(advantage=Advantage("group", "group", eps=0.0))
    errors = []
    for log_ref, expected in zip(base(), ours, strict=True):
        task = Bandit(RIGHT.double())
        table = trained_table(TabularLM.of(task, logits=log_ref[None]), task, objective, LR, steps)
        errors.append(float((table[0].log_softmax(-1) - expected).abs().max()))
    return {"steps": steps, "error": max(errors)}


def random_start(seed: int) -> Tensor:
    """Logits [8]."""
    return torch.tensor(0.5 * np.random.default_rng(seed).normal(size=len(LENGTHS)))


def pushes(index: Tensor, transforms: Sequence[tuple[STCR, ...]], further: Tensor) -> Tensor:
    """[transforms, groups, 8]: how each group pushes each answer, by the objective's own advantages over its size."""
    groups = index.shape[0]
    correct = CORRECT[index].double()
    rewards = correct + further[index]
    batch = of_lengths(LENGTHS[index], rewards).with_(extras={"task_rewards": correct})
    found = []
    for given in transforms:
        objective = PolicyGradient(Advantage("group", "group", eps=1e-9), transforms=given)
        pushed = objective.prepare(batch).advantages[..., 0] / GROUP
        found.append(torch.zeros(groups, len(LENGTHS), dtype=torch.float64).scatter_add(-1, index, pushed))
    return torch.stack(found)


def reached(start: Tensor, transforms: Sequence[tuple[STCR, ...]], further: Tensor | None = None) -> Results:
    """C4: figures [S][transforms] of the first policies that are right with probability 0.9, from logits [S, 8].

    Every group of four answers is written out; `further` [8] is added to the rewards.
    """
    index, _ = enumerate_groups(start[0], GROUP)
    push = pushes(index, transforms, torch.zeros(len(LENGTHS)).double() if further is None else further)

    def gradient(logits: Tensor) -> Tensor:
        log_pi = logits.log_softmax(-1)
        chance = enumerate_groups(log_pi, GROUP)[1].exp()
        onto = torch.einsum("stm,tmk->stk", chance, push)
        return onto - log_pi.exp() * onto.sum(-1, keepdim=True)

    path = ascend(gradient, start[:, None].expand(-1, len(transforms), -1), 0.3, range(MOST + 1)).softmax(-1)
    accuracy = path[..., CORRECT].sum(-1)
    steps = (accuracy < ENOUGH).sum(0)  # accuracy never falls
    pi = path.gather(0, steps[None, ..., None].expand(1, *path.shape[1:]))[0]

    def length(of: Tensor) -> list[list[float]]:
        return ((pi * LENGTHS)[..., of].sum(-1) / pi[..., of].sum(-1)).tolist()

    return {
        "steps": steps.tolist(),
        "wrong": length(~CORRECT),
        "right": length(CORRECT),
        "entropy": entropy(pi.log()).tolist(),
    }
