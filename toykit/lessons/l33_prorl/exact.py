"""Lesson 33 on the exact rung: a staircase of resets, groups that are kept, skills that compose, and a clip."""

from __future__ import annotations

from functools import partial
from itertools import combinations

import torch
from torch import Tensor

from toykit.diagnostics import exact_pass_at_k
from toykit.exact import ascend, group_expectation, informative, kl, mean_score, reverse_kl_optimum
from toykit.lessons.base import Results
from toykit.lessons.trained import trained_table
from toykit.objectives import KL, Advantage, Clip, PolicyGradient, Reference, method
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated
from toykit.tasks import Bandit
from toykit.training import TrainConfig, Trainer

P0 = torch.tensor([0.01, 0.5, 0.3, 0.15, 0.04], dtype=torch.float64)  # answer 0 is right
REWARD = torch.eye(5, dtype=torch.float64)[0]
BETAS = (0.5, 1.0, 0.2)  # the plain gradient is followed for the first two
CYCLES, INNER = 5, 40_000
KEPT = {0.01: (8, 16, 32, 512), 0.2: (8, 16, 32)}  # group sizes by success rate
SKILLS = 6
STEPS = (0, 500, 3000)
TRAINED = ("the composite", "three skills", "six skills", "six skills, summed", "six skills, pairs, the composite")


def run(seeds: tuple[int, ...] = (0,)) -> Results:
    """All exact results of the lesson; `seeds[0]` draws the success rates of the bound."""
    return {
        "staircase": staircase(),
        "plain": plain_gradient(),
        "kept": kept(),
        "bound": bound(seeds[0]),
        "composition": composition(),
        "clip": clip_path(),
        "estimators": estimators(),
        "trainer": trainer_agrees(),
    }


def optima(beta: float, cycles: int = CYCLES) -> Tensor:
    """Log-probabilities [1 + cycles, 5]: the start, and the regularised optimum after each reset to the one before."""
    laws = [P0.log()]
    for _ in range(cycles):
        laws.append(reverse_kl_optimum(laws[-1], REWARD, beta))
    return torch.stack(laws)


def gradient(logits: Tensor, log_ref: Tensor, beta: Tensor | float) -> Tensor:
    """Of E[R] - beta KL(pi || ref) in the logits [..., 5]."""
    log_pi = logits.log_softmax(-1)
    return mean_score(log_pi.exp(), REWARD - beta * (log_pi - log_ref))


def staircase(rate: float = 0.5, inner: int = 60) -> Results:
    """C1: five cycles of `inner` natural-gradient steps of size `rate` / beta, each towards the policy before it.

    For one law that step is rate / beta (f - E f) in the logits, for f = R - beta log(pi / ref).
    """
    found: Results = {}
    for beta in BETAS:
        closed, logits, laws = optima(beta), P0.log(), [P0.log()]
        for _ in range(CYCLES):
            ref = logits.log_softmax(-1)
            logits = ascend(partial(_natural, log_ref=ref, beta=beta), ref, rate / beta, [inner])[0]
            laws.append(logits.log_softmax(-1))
        path = torch.stack(laws)
        p = path[1:, 0].exp()
        found[f"{beta:g}"] = {
            "p": p.tolist(),
            "log-odds": torch.logit(p).tolist(),
            "law": [float(torch.logit(P0[0])) + (k + 1) / beta for k in range(CYCLES)],
            "off the closed form": float((path - closed).abs().max()),
            "KL to the base": kl(path[1:], path[:1].expand(CYCLES, 5)).tolist(),
            "KL to the reference": kl(path[1:], path[:-1]).tolist(),
        }
    return found


def _natural(logits: Tensor, log_ref: Tensor, beta: float) -> Tensor:
    log_pi = logits.log_softmax(-1)
    values = REWARD - beta * (log_pi - log_ref)
    return values - (log_pi.exp() * values).sum(-1, keepdim=True)


def plain_gradient(lr: float = 2.0) -> Results:
    """C1 by the plain gradient on the logits, as on the card: all cycles at once, each from the optimum before it."""
    betas = torch.tensor(BETAS[:2], dtype=torch.float64)[:, None, None]
    laws = torch.stack([optima(beta) for beta in BETAS[:2]])
    start = laws[:, :-1]
    end = ascend(lambda z: gradient(z, start, betas), start, lr, [INNER])[0].log_softmax(-1)
    odds = torch.logit(end[..., 0].exp())
    gained = odds - torch.logit(start[..., 0].exp())
    return {"error": float((gained - 1 / betas[:, :, 0]).abs().max()), "log-odds": odds.tolist()}


def kept() -> Results:
    """C2: how often a group has both rewards, and the same by enumerating all groups of four."""
    found: Results = {f"{p:g}": [float(informative(torch.tensor(p).double(), g)) for g in KEPT[p]] for p in KEPT}
    right = REWARD.bool()
    mixed = group_expectation(lambda leaves: (right[leaves].any(-1) & ~right[leaves].all(-1)).double(), P0.log(), 4)
    return found | {"enumerated": float((mixed - informative(P0[0], 4)).abs())}


def bound(seed: int, vectors: int = 1_000, prompts: int = 40) -> Results:
    """C2: mean pass@k against 1 - ((1 - E rho)^2 + Var rho)^(k/2) for Beta-distributed success rates of many shapes.

    The least slack over k from 3 to 256, the largest error at k = 2 (an identity), and how far it is broken at k = 1.
    """
    draw = torch.Generator().manual_seed(seed)
    shapes = (4 * torch.randn(vectors, 2, 1, generator=draw, dtype=torch.float64)).exp().clamp(1e-2, 1e2)
    sums = torch._standard_gamma(shapes.expand(-1, -1, prompts), generator=draw).clamp(min=1e-300)
    rho = sums[:, 0] / sums.sum(1)
    moment = (1 - rho.mean(-1)) ** 2 + rho.var(-1, correction=0)

    def slack(k: int) -> Tensor:
        return (1 - moment ** (k / 2)) - exact_pass_at_k(rho, k).mean(-1)

    return {
        "least slack": min(float(slack(k).min()) for k in (3, 4, 8, 16, 64, 256)),
        "error at k = 2": float(slack(2).abs().max()),
        "broken at k = 1": float((slack(1) < -1e-6).double().mean()),
    }


def tasks() -> Tensor:
    """bool [22, 6]: the single skills, their pairs, and all six at once."""
    sets = [*combinations(range(SKILLS), 1), *combinations(range(SKILLS), 2), tuple(range(SKILLS))]
    return torch.tensor([[i in s for i in range(SKILLS)] for s in sets])


def successes(skill: Tensor) -> Tensor:
    """The success [..., 22] of every task, the product of its skills [..., 6]."""
    return torch.where(tasks(), skill[..., None, :], 1.0).prod(-1)


def skills_path(weights: Tensor, keep: tuple[int, ...] = STEPS) -> Tensor:
    """Skills [K, ..., 6], 0.1 each at first, under the exact gradient of a weighted sum [..., 22] of successes."""
    needed = tasks().double()

    def slope(z: Tensor) -> Tensor:
        return ((weights * successes(z.sigmoid())) @ needed) * (1 - z.sigmoid())

    start = torch.full((*weights.shape[:-1], SKILLS), 0.1, dtype=torch.float64).logit()
    return ascend(slope, start, 1.0, keep).sigmoid()


def training_sets() -> Tensor:
    """[5, 22]: how much each task counts, in the order of TRAINED."""
    weights = torch.zeros(len(TRAINED), 22, dtype=torch.float64)
    weights[0, -1] = 1
    weights[1, :3] = 1 / 3
    weights[2, :6] = 1 / 6
    weights[3, :6] = 1
    weights[4] = 1 / 22
    return weights


def composition() -> Results:
    """C4: what training on other tasks does to the composite of all six skills."""
    path = successes(skills_path(training_sets()))[..., -1]  # [steps, sets]
    base, after = path[0, 2], path[-1, 2]
    ks = torch.tensor([1, 4, 16, 64, 128, 256, 1024])
    return {
        "composite": dict(zip(TRAINED, path.T.tolist(), strict=True)),
        "base": [float(exact_pass_at_k(base, k)) for k in (128, 1024)],
        "after": float(after),
        "ks": ks.tolist(),
        "fans": {name: exact_pass_at_k(path[-1, i], ks).tolist() for i, name in enumerate(TRAINED)}
        | {"base": exact_pass_at_k(base, ks).tolist()},
    }


def clipped(logits: Tensor, log_old: Tensor, high: Tensor | float, own: bool) -> Tensor:
    """The gradient of the clipped surrogate with advantages R - p and the lower clip at 0.2; `own` leaves only the
    right answer's term."""
    pi = logits.softmax(-1)
    ratio, advantage = pi / log_old.exp(), REWARD - log_old[..., :1].exp()
    live = torch.where(advantage > 0, ratio <= 1 + high, ratio >= 0.8)
    return mean_score(pi, advantage * live * (REWARD if own else 1.0))


def clip_path(steps: int = 4_000, lr: float = 0.2) -> Results:
    """How far inner steps on one batch take the right answer, in units of its old probability."""
    high = torch.tensor([0.2, 0.4], dtype=torch.float64)[:, None]
    start = P0.log().expand(2, 5)
    found: Results = {"eps_high": [0.2, 0.4]}
    for name, own in (("own term", True), ("all terms", False)):
        end = ascend(lambda z, own=own: clipped(z, start, high, own), start, lr, [steps])[0].softmax(-1)  # type: ignore[misc]
        found[name] = (end[:, 0] / P0[0]).tolist()
    return found


def estimators(beta: float = 0.5, lr: float = 1.0) -> Results:
    """k1, k2 and k3 as losses, on policy and with equal rewards: errors against 0 and either KL's gradient."""
    task, ref = Bandit(torch.ones(1, 5)), P0.log().view(1, 1, 5)
    logits = torch.tensor([0.4, -0.3, 0.1, 0.8, -1.0], dtype=torch.float64)
    pi, moves = logits.softmax(-1), {}
    for name in ("k1", "k2", "k3"):
        objective = PolicyGradient(Advantage(mean="group"), kl=KL(beta, name, route="autodiff", level="sequence"))
        policy = TabularLM.of(task, logits=logits.view(1, 1, 5))
        table = trained_table(policy, task, objective, lr, 1, reference=TabularLM.of(task, logits=ref))
        moves[name] = table.view(5) - logits
    reverse = -beta * mean_score(pi, pi.log() - P0.log())
    forward = -beta * (pi - P0)
    return {
        "k1, size": float(moves["k1"].abs().max()),
        "k2, error": float((moves["k2"] - reverse).abs().max()),
        "k3, error": float((moves["k3"] - forward).abs().max()),
        "apart": float((reverse - forward).abs().max()),
    }


def trainer_agrees(steps: int = 12, every: int = 4, lr: float = 0.5, beta: float = 0.5) -> Results:
    """S1: ProRL's penalty on enumerated answers with resets takes the steps of the flow, cycle by cycle."""
    task = Bandit(REWARD[None])
    objective = PolicyGradient(Advantage(mean="group"), kl=_penalty(beta))
    policy = TabularLM.of(task, logits=P0.log().view(1, 1, 5))
    config = TrainConfig(lr=lr, optimizer="sgd", reference=Reference("reset", every))
    Trainer(policy, task, objective, Enumerated(), config).run(steps, progress=False)
    logits = P0.log()
    for _ in range(steps // every):
        ref = logits.log_softmax(-1)
        logits = ascend(partial(gradient, log_ref=ref, beta=beta), logits, lr, [every])[0]
    ours, theirs = logits.log_softmax(-1), policy.table.detach().log_softmax(-1).view(5)
    inner = TabularLM.of(task, logits=P0.log().view(1, 1, 5))
    surrogate = PolicyGradient(Advantage(mean="group"), ratio="token", clip=Clip(0.2, 0.4))
    moved = trained_table(inner, task, surrogate, 5.0, 1, epochs=40).log_softmax(-1).view(5)
    flow = ascend(partial(clipped, log_old=P0.log(), high=0.4, own=False), P0.log(), 5.0, [40])[0].log_softmax(-1)
    return {"resets": float((ours - theirs).abs().max()), "clip": float((moved - flow).abs().max())}


def _penalty(beta: float) -> KL | None:
    return method("prorl").with_beta(beta).pieces.kl
