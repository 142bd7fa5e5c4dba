"""Lesson 31 on the exact rung: where preference losses end, what a group's statistics do, and identities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import lgamma

import numpy as np
import torch
from torch import Tensor
from torch.autograd.functional import hessian, jacobian

from toykit.exact import enumerate_groups, kl, posterior
from toykit.lessons.base import Results
from toykit.objectives import DPO, GAE, IPO, UNA, Advantage, OfflineMethod, PolicyGradient, ValueLoss, estimate, method
from toykit.objectives.offline import OfflineLoss, Read, row_losses
from toykit.policies import TabularLM
from toykit.rewards import Judge, every_pair, labelled
from toykit.rollouts import Enumerated, Examples, Rollouts
from toykit.tasks import Bandit
from toykit.training import OfflineConfig, OfflineTrainer

SEEDS = (0, 1, 2, 3, 4)
BETA = TAU = 0.5
CERTAIN = Judge(temperature=0)
STOPS = tuple(sorted({round(10 ** (i / 10)) for i in range(37)} | {50, 500, 5000}))

PI = torch.tensor([0.47667, 0.27104, 0.16164, 0.09065], dtype=torch.float64)
PI = PI / PI.sum()
R = torch.tensor([1.0, 0.0, 0.0, 0.5], dtype=torch.float64)
SCORE = torch.eye(4, dtype=torch.float64) - PI
TRUE = (PI * R) @ SCORE  # the gradient of E R in the logits
ESTIMATORS = {"REINFORCE": "reinforce", "RLOO": "rloo", "centred": "dr_grpo", "group std": "grpo_trl"}
SIZES = (2, 3, 4, 8, 16, 64)


def run(seeds: tuple[int, ...] = SEEDS) -> Results:
    """All exact results of the lesson; `seeds` are those of the random bandits, `seeds[0]` that of the random laws."""
    return {
        "optima": optima(World(0)),
        "certain": certain(World(0)),
        "judge": [judged(World(seed)) for seed in seeds],
        "groups": {name: moments(of) for name, of in ESTIMATORS.items()},
        "shifted": {name: moments(of, R + 5)["variance"] for name, of in ESTIMATORS.items()},
        "sizes": by_size(),
        "binary": binary(seeds[0]),
        "identities": identities(seeds[0]),
    }


class World:
    """Six completions of one prompt: a reference law, rewards, and the posterior pi0 exp(r / beta) / Z."""

    def __init__(self, seed: int) -> None:
        draw = np.random.default_rng(seed)
        self.log_ref = torch.tensor(draw.normal(size=6)).log_softmax(-1)
        self.rewards = torch.tensor(draw.uniform(0, 2, 6))
        self.task = Bandit(self.rewards[None])
        self.best = posterior(self.log_ref, self.rewards, BETA).exp()
        self.log_z = (self.log_ref + self.rewards / BETA).logsumexp(-1)
        self.whole: Rollouts = Enumerated()(self.policy(), self.task, self.task.prompts())

    def policy(self) -> TabularLM:
        return TabularLM.of(self.task, logits=self.log_ref[None])

    def population(self, judge: Judge | None = None, law: Tensor | None = None) -> Examples:
        return every_pair(self.whole, judge, law)

    def optimum(self, loss: OfflineLoss, batch: Examples) -> Tensor:
        """The law [6] that minimises a loss of the catalogue, by Newton's method on the logits from the uniform law."""
        batch = replace(batch, ref_logp=self.log_ref[batch.completions])

        def value(logits: Tensor) -> Tensor:
            read = Read(logp=logits.log_softmax(-1)[batch.completions])
            return (batch.weights * row_losses(loss, read, batch)).sum()

        logits = torch.zeros(6, dtype=torch.float64)
        for _ in range(30):
            gradient = jacobian(value, logits)
            if gradient.abs().max() < 1e-15:
                break
            curvature = hessian(value, logits)
            logits = logits - torch.linalg.pinv(curvature, hermitian=True, rtol=1e-9) @ gradient
        return logits.softmax(-1)

    def ipo(self, judge: Judge) -> Tensor:
        """IPO's closed form pi0 exp(mean_k P(y > y_k) / tau) / Z, the mean over all k with y itself."""
        wins = judge.preference(self.rewards[:, None], self.rewards).mean(-1)
        return (self.log_ref + wins / TAU).softmax(-1)


def distance(law: Tensor, target: Tensor) -> float:
    return float((law - target).abs().max())


def optima(world: World) -> Results:
    """C1, C2, C5: the largest error of a probability at the optimum, against what it should be."""
    uneven = torch.tensor([[0.3, 0.1, 0.2, 0.15, 0.2, 0.05]], dtype=torch.float64)
    even, una = torch.ones(1, 6, dtype=torch.float64), UNA(BETA)
    centred = labelled(world.whole, lambda r: r.rewards - BETA * world.log_z, law=even)
    return {
        "dpo": distance(world.optimum(DPO(BETA), world.population()), world.best),
        "dpo, uneven pairs": distance(world.optimum(DPO(BETA), world.population(law=uneven)), world.best),
        "ipo": distance(world.optimum(IPO(TAU), world.population()), world.ipo(Judge())),
        "ipo from the posterior": distance(world.optimum(IPO(TAU), world.population()), world.best),
        "una, uniform": distance(world.optimum(una, labelled(world.whole, law=even)), world.best),
        "una, by the reference": distance(world.optimum(una, labelled(world.whole)), world.best),
        "una, centred": distance(world.optimum(una, centred), world.best),
        "una, on policy": on_policy(world),
    }


def on_policy(world: World, steps: int = 60) -> float:
    """The error of UNA on the policy's own law, held: iterated from the reference to its fixed point.

    The gradient in h is 2 beta pi (beta h - r), less its mean: divided by pi it is a step to the posterior.
    """
    batch, logits = labelled(world.whole), world.log_ref.clone()
    for _ in range(steps):
        law = logits.softmax(-1)
        given = replace(batch, weights=law, ref_logp=world.log_ref[batch.completions])

        def value(z: Tensor, given: Examples = given) -> Tensor:
            read = Read(logp=z.log_softmax(-1)[given.completions])
            return (given.weights * row_losses(UNA(BETA), read, given)).sum()

        logits = logits - jacobian(value, logits) / law / (2 * BETA**2)
    return distance(logits.softmax(-1), world.best)


def certain(world: World) -> Results:
    """C2: preferences that are certain. DPO by gradient descent (rate 20 on the mean over 30 ordered pairs), and where
    IPO ends; `trainer` is how far the OfflineTrainer's first 50 steps are from DPO's path."""
    better = (world.rewards[:, None] > world.rewards).double()
    logits, path = world.log_ref.clone(), []
    seen: dict[int, Tensor] = {}
    for step in range(1, max(STOPS) + 1):
        gap = BETA * ((logits - world.log_ref)[:, None] - (logits - world.log_ref))
        push = better * (-gap).sigmoid()
        logits = logits + 20 * BETA / 30 * (push.sum(1) - push.sum(0))
        if step in STOPS:
            seen[step] = law = logits.softmax(-1)
            path.append([float(law.max()), float(kl(law.log(), world.log_ref))])
    # Its weights sum to 1, where the mean over 30 counts 15 certain pairs: the same steps at half the rate.
    ours = world.policy()
    made, pairs = OfflineMethod(DPO(BETA), "card 31"), world.population(CERTAIN)
    OfflineTrainer(ours, world.task, made, pairs, OfflineConfig(10.0, "sgd")).run(50, progress=False)
    law = world.optimum(IPO(TAU), pairs)
    return {
        "steps": list(STOPS),
        "dpo": path,
        "limit": float(-world.log_ref[world.rewards.argmax()]),
        "trainer": distance(ours.table.detach()[0].softmax(-1), seen[50]),
        "ipo": [float(law.max()), float(kl(law.log(), world.log_ref))],
        "ipo error": distance(law, world.ipo(CERTAIN)),
    }


def judged(world: World, flip: float = 0.2) -> dict[str, float]:
    """A judge that turns round a share of its answers: errors of DPO, and of DPO that knows the share."""
    noisy = world.population(Judge(flip=flip))
    losses = {"dpo": DPO(BETA), "robust": DPO(BETA, flip, robust=True)}
    return {name: distance(world.optimum(loss, noisy), world.best) for name, loss in losses.items()}


def moments(name: str, rewards: Tensor = R, size: int = 3, pi: Tensor = PI) -> dict[str, float]:
    """Over all groups of `size`: the mean of (1/G) sum_i A_i (e_i - pi) as its norm's ratio to the true gradient's and
    their cosine, and the trace of its covariance; A as in a method of the catalogue."""
    score = torch.eye(len(pi), dtype=torch.float64) - pi
    true = (pi * rewards) @ score
    index, log_weight = enumerate_groups(pi.log(), size)
    drawn = rewards[index][:, None]
    advantage = method(name).pieces.advantage
    assert isinstance(advantage, Advantage)
    a = advantage(drawn, torch.full_like(drawn, 1 / size))[:, 0]
    return _moments((a[..., None] * score[index]).mean(1), log_weight.exp(), true)


def _moments(estimates: Tensor, probability: Tensor, true: Tensor) -> dict[str, float]:
    mean = probability @ estimates
    return {
        "ratio": float(mean.norm() / true.norm()),
        "cosine": float(torch.cosine_similarity(mean, true, dim=0)),
        "variance": float(probability @ (estimates - mean).square().sum(-1)),
    }


def by_size() -> Results:
    """C4, C7: REINFORCE, RLOO and the group std for groups of up to 64, over how often each completion is drawn."""
    found: Results = {"size": list(SIZES), "1/std": float(1 / std(PI, R))}
    rows = {name: [counted(name, size) for size in SIZES] for name in ("REINFORCE", "RLOO", "group std")}
    found |= {name: {k: [row[k] for row in of] for k in of[0]} for name, of in rows.items()}
    same = [abs(moments(ESTIMATORS[name], size=3)[k] - rows[name][1][k]) for name in rows for k in rows[name][1]]
    predicted = [pair_variance(size) for size in SIZES]
    return found | {"error": max(same), "predicted": predicted}


def counted(name: str, size: int) -> dict[str, float]:
    """As `moments`, over the multinomial law of the counts: for groups too large to enumerate."""
    every = torch.cartesian_prod(*[torch.arange(size + 1)] * 3)
    every = every[every.sum(-1) <= size]
    counts = torch.cat([every, size - every.sum(-1, keepdim=True)], -1).double()
    ways = lgamma(size + 1) - torch.lgamma(counts + 1).sum(-1)
    share = counts / size
    mean = (share * R).sum(-1, keepdim=True)
    spread = ((share * (R - mean) ** 2).sum(-1, keepdim=True) * size / (size - 1)).sqrt()
    a = {
        "REINFORCE": R.expand_as(share),
        "RLOO": (R - mean) * size / (size - 1),
        "group std": torch.where(spread > 1e-7, (R - mean) / (spread + 1e-4), 0.0),
    }[name]
    return _moments((share * a) @ SCORE, (ways + (counts * PI.log()).sum(-1)).exp(), TRUE)


def pair_variance(size: int) -> float:
    """RLOO's variance: it is a mean over pairs of h_ij = (R_i - R_j)(s_i - s_j) / 2, a U-statistic (Hoeffding 1948)."""
    h = (R[:, None] - R)[..., None] * (SCORE[:, None] - SCORE) / 2
    one = ((PI @ h) - TRUE).square().sum(-1) @ PI
    two = ((h - TRUE).square().sum(-1) * PI[:, None] * PI).sum()
    return float((4 * (size - 2) * one + 2 * two) / (size * (size - 1)))


def std(pi: Tensor, rewards: Tensor) -> Tensor:
    mean = (pi * rewards).sum(-1, keepdim=True)
    return (pi * (rewards - mean) ** 2).sum(-1).sqrt()


def binary(seed: int, problems: int = 50) -> Results:
    """C4: the group std at random laws: how far the cosine is from 1 with rewards of 0 and 1, and with other ones."""
    draw = torch.Generator().manual_seed(seed)
    off: dict[str, list[float]] = {"binary": [], "other": []}
    for _ in range(problems):
        pi = torch.randn(4, generator=draw, dtype=torch.float64).softmax(-1)
        other = torch.rand(4, generator=draw, dtype=torch.float64)
        for kind, rewards in (("binary", (other > other.median()).double()), ("other", other)):
            off[kind].append(1 - moments("grpo_trl", rewards, 3, pi)["cosine"])
    return {"binary": max(map(abs, off["binary"])), "other": max(off["other"]), "other, least": min(off["other"])}


def identities(seed: int) -> Results:
    """C6: GAE without values and the reward to go, PPO's gradient at ratio 1 and A2C's, the means of k1, k2 and k3."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    mask = torch.arange(5) < torch.tensor([[5, 3, 1], [4, 2, 5]])[..., None]
    rewards, values, logp = (normal(2, 3, 5) * mask for _ in range(3))
    even = torch.full((2, 3), 1 / 3, dtype=torch.float64)
    ours, _ = GAE(lam=1.0, whiten=False)(rewards, torch.zeros_like(values), mask, even)
    to_go = rewards.flip(-1).cumsum(-1).flip(-1) * mask
    tokens = torch.zeros(2, 3, 5, dtype=torch.int64)
    batch = Rollouts(
        prompts=tokens[:, 0, :1],
        prompt_mask=mask[:, 0, :1],
        prompt_ids=torch.arange(2),
        completions=tokens,
        mask=mask,
        old_logp=logp,
        rewards=normal(2, 3),
        weights=even,
        horizon=5,
        extras={"values": values},
    )
    ppo = method("ppo").pieces.with_(advantage=GAE(whiten=False), value=ValueLoss(1.0, None))
    a2c = method("a2c").pieces.with_(penalties=())
    pair = [slopes(objective, batch, logp, values) for objective in (ppo, a2c)]
    log_pi, log_ref = normal(2, 20, 6).log_softmax(-1)
    means = {k: (log_pi.exp() * estimate(k, "reverse", log_ref - log_pi)).sum(-1) for k in ("k1", "k2", "k3")}
    true = kl(log_pi, log_ref)
    return {
        "gae": float((ours - to_go).abs().max()),
        "ppo": max(float((a - b).abs().max()) for a, b in zip(*pair, strict=True)),
        "largest slope": float(pair[0][0].abs().max()),
        **{k: float((mean - true).abs().max()) for k, mean in means.items()},
    }


def slopes(objective: PolicyGradient, batch: Rollouts, logp: Tensor, values: Tensor) -> Sequence[Tensor]:
    """The loss's gradients in the tokens' log-probabilities and in the critic's values."""
    at = [x.clone().requires_grad_() for x in (logp, values)]
    loss, _ = objective.loss(at[0], objective.prepare(batch), values=at[1])
    return torch.autograd.grad(loss, at)
