"""Rung 0 with sampling: 40 prompts whose logits move together, groups of 16 answers, exact pass@k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from toykit.diagnostics import exact_pass_at_k
from toykit.objectives import Advantage

RATES = (0.3, 0.1, 0.02, 0.002)  # of ten prompts each: the base's success
PROMPTS, ANSWERS, FEATURES, GROUP = 40, 16, 10, 16
STEPS, LR, CLIP = 300, 1.0, 10.0
KS = (1, 4, 16, 64, 256, 1024)
ADVANTAGE = Advantage("group", "group", eps=1e-4)


@dataclass(frozen=True)
class Arm:
    """A method: the weight of its penalty, which way it looks, and whether the reference is flattened by success."""

    reverse: float = 0.0
    forward: float = 0.0
    tempered: bool = False


ARMS = {
    "GRPO": Arm(),
    "reverse KL 0.1": Arm(reverse=0.1),
    "reverse KL 0.5": Arm(reverse=0.5),
    "forward KL": Arm(forward=0.3),
    "RAPO": Arm(forward=0.3, tempered=True),
}


@dataclass(frozen=True)
class World:
    """S problems side by side: the base's log-probabilities [S, n, V], right answers [S, n], mixing matrix [S, n, n].

    A step g on the logits of the prompts moves them by `mixing` @ g.
    """

    log_base: Tensor
    right: Tensor
    mixing: Tensor

    @property
    def base(self) -> Tensor:
        """Success rates [S, n] of the base."""
        return self.log_base.gather(-1, self.right[..., None])[..., 0].exp()


def world(seeds: Sequence[int]) -> World:
    """The problem of each seed: ten prompts of each rate, half of every step shared through random features."""
    laws, answers, mixings = [], [], []
    for seed in seeds:
        rng = np.random.default_rng(100 + seed)
        others = 1.5 * torch.tensor(rng.normal(size=(PROMPTS, ANSWERS)))
        right = torch.tensor(rng.integers(0, ANSWERS, PROMPTS))
        features = F.normalize(torch.tensor(rng.normal(size=(PROMPTS, FEATURES))), dim=-1)
        rate = torch.tensor(RATES, dtype=torch.float64).repeat_interleave(PROMPTS // len(RATES))[:, None]
        hit = F.one_hot(right, ANSWERS).bool()
        wrong = others.masked_fill(hit, -torch.inf).log_softmax(-1) + (1 - rate).log()
        laws.append(torch.where(hit, rate.log(), wrong))
        answers.append(right)
        mixings.append(0.5 * torch.eye(PROMPTS, dtype=torch.float64) + 0.5 * features @ features.T)
    return World(torch.stack(laws), torch.stack(answers), torch.stack(mixings))


def train(made: World, arms: Sequence[Arm], seeds: Sequence[int], steps: int = STEPS) -> Tensor:
    """Success rates [steps + 1, A, S, n] of each arm; a seed's answers are drawn by the same numbers in every arm."""
    given = torch.tensor([[a.reverse, a.forward, a.tempered] for a in arms], dtype=torch.float64)
    reverse, forward, tempered = (x.view(-1, 1, 1, 1) for x in given.unbind(1))
    rngs = [np.random.default_rng(seed) for seed in seeds]
    right = made.right[None, :, :, None].expand(len(arms), -1, -1, -1)
    logits = made.log_base.expand(len(arms), *made.log_base.shape).clone()
    share = torch.full((GROUP,), 1 / GROUP, dtype=torch.float64)
    path = []
    for step in range(steps + 1):
        log_pi = logits.log_softmax(-1)
        pi = log_pi.exp()
        path.append(pi.gather(-1, right)[..., 0])
        if step == steps:
            return torch.stack(path)
        drawn = torch.tensor(np.stack([rng.random((PROMPTS, GROUP)) for rng in rngs])).expand(len(arms), -1, -1, -1)
        answer = torch.searchsorted(pi.cumsum(-1), drawn.contiguous()).clamp(max=ANSWERS - 1)
        rewards = (answer == right).double()
        phi = torch.where(tempered > 0, rewards.mean(-1, keepdim=True), 1.0)
        log_ref = (phi * made.log_base).log_softmax(-1).gather(-1, answer)
        log_ratio = log_pi.gather(-1, answer) - log_ref
        penalty = reverse * (log_ratio - log_ratio.mean(-1, keepdim=True))
        cover = forward * ((-log_ratio).exp().clamp(max=CLIP) - 1)
        push = (ADVANTAGE(rewards, share) - penalty + cover) / GROUP
        onto = torch.zeros_like(logits).scatter_add(-1, answer, push)
        logits = logits + LR * made.mixing @ (onto - pi * push.sum(-1, keepdim=True))
    raise AssertionError("unreachable")


def pass_curve(p: Tensor) -> Tensor:
    """pass@k [..., K], the mean over prompts, from success rates [..., n]."""
    ks = torch.tensor(KS, dtype=torch.float64)
    return exact_pass_at_k(p.clamp(max=1.0)[..., None], ks).mean(-2)
