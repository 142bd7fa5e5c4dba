"""Rewards of completions that are learned from comparisons while a policy trains: PR-LSVI's reward half."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toykit._checks import at_least, shape
from toykit.control.online.asking import answer, disagreement, norm_under
from toykit.control.online.logistic import fit_logistic, gaussian_draw
from toykit.control.online.pr_lsvi import PRLSVI
from toykit.policies.critic import Critic, make_critic
from toykit.rewards import Judge
from toykit.rollouts import Rollouts, outputs

Features = Callable[[Rollouts], Tensor]  # [B, G, D]


class ComparedReward:
    """Stands in the place of a `Shaping`: the reward is a draw of a linear one, learned from comparisons on the way.

    At each step one reward is drawn. Of each prompt's group the first half belongs to the new policy and the second to
    the one before: the best completion of the first half by the new draw is compared with the best of the second half
    by the last one (both by the new draw where `how.partner` is "same"). Pairs are asked by PR-LSVI's rule, one after
    the other, the precision growing with each; the likelihood is fitted once a step. The task's own reward is seen by
    the judge alone. All completions are then rewarded by the new draw.

    features  of the completions, [B, G, D]
    size      D
    how       scale of the draws, threshold or probability of asking, ridge and prior (the rest is not used)
    judge     who answers; None: Bradley and Terry's model of the task's reward

    It keeps its state in checkpoints, where it is among a trainer's `others`. Raises ValueError for a group whose size
    is odd, and features of another shape.
    """

    terms = ("compared",)

    def __init__(self, features: Features, size: int, how: PRLSVI, seed: int = 0, judge: Judge | None = None) -> None:
        self.features, self.how, self.judge = features, how, judge or Judge()
        self.draws = torch.Generator().manual_seed(seed)
        at_least("size", size, 1)
        self.precision = how.prior * torch.eye(size, dtype=torch.float64)
        self.weights, self.older = torch.zeros(2, size, dtype=torch.float64)
        self.kept = torch.zeros(0, size, dtype=torch.float64)
        self.answers = torch.zeros(0, dtype=torch.int64)
        self.earned = torch.zeros(0, 2, dtype=torch.float64)  # the task's reward of both sides, a row a step

    @property
    def asked(self) -> int:
        """Comparisons so far."""
        return len(self.answers)

    @torch.no_grad()
    def __call__(self, rollouts: Rollouts) -> tuple[Rollouts, dict[str, float]]:
        """(rollouts with the drawn reward, the task's mean reward, and how many pairs were asked)."""
        r = rollouts
        (b, g), size = r.rewards.shape, len(self.weights)
        if g % 2:
            raise ValueError(f"group_size must be even for two policies, got {g}")
        phi = shape("features", self.features(r), (b, g, size)).double().cpu()
        task = r.task_rewards.double().cpu()
        noise = torch.randn(size, generator=self.draws, dtype=torch.float64)
        scale = self.how.sigma_r if self.how.randomise else 0.0
        drawn = gaussian_draw(self.weights, self.precision, scale, noise)
        second = drawn if self.how.partner == "same" else self.older
        x, earned = self._pair(phi, task, drawn, second)
        self._learn(x, earned)
        self.older = drawn
        self.earned = torch.cat([self.earned, earned.mean(0)[None]])
        made = r.with_(rewards=(phi @ drawn).to(r.rewards), extras={"task_rewards": r.task_rewards})
        return made.check(), {"reward/task": float(task.mean()), "asked": float(self.asked)}

    def _pair(self, phi: Tensor, task: Tensor, drawn: Tensor, older: Tensor) -> tuple[Tensor, Tensor]:
        """Differences of features [B, D], and the task's reward of both sides [B, 2]."""
        half, rows = phi.shape[1] // 2, torch.arange(len(phi))
        first = (phi[:, :half] @ drawn).argmax(-1)
        second = (phi[:, half:] @ older).argmax(-1) + half
        return phi[rows, first] - phi[rows, second], torch.stack([task[rows, first], task[rows, second]], -1)

    def _learn(self, x: Tensor, earned: Tensor) -> None:
        """Asks what is worth asking, and fits the weights anew where something was."""
        luck = torch.rand(2, len(x), generator=self.draws, dtype=torch.float64)
        bits = answer(self.judge, earned[:, 0], earned[:, 1], luck[0])
        for row, bit, u in zip(x, bits, luck[1], strict=True):
            if self._worth(row, float(u)):
                self.precision = self.precision + row[:, None] * row
                self.kept = torch.cat([self.kept, row[None]])
                self.answers = torch.cat([self.answers, bit[None]])
        if self.asked:
            self.weights = fit_logistic(self.kept, self.answers, self.how.ridge, start=self.weights).weights

    def _worth(self, x: Tensor, u: float) -> bool:
        if self.how.passive is not None:
            return u < self.how.passive and bool((x != 0).any())
        return float(disagreement(norm_under(x, self.precision), self.how.sigma_r)) > self.how.eps

    def state(self) -> dict[str, Tensor]:
        names = ("precision", "weights", "older", "kept", "answers", "earned")
        return {name: getattr(self, name) for name in names} | {"draws": self.draws.get_state()}

    def load(self, state: dict[str, Tensor]) -> None:
        state = dict(state)
        self.draws.set_state(state.pop("draws"))
        for name, value in state.items():
            setattr(self, name, value)


def pooled_states(base: nn.Module, size: int, seed: int = 0) -> Features:
    """Features [B, G, size] of completions: the mean over a completion's tokens of a frozen copy's last hidden states,
    by a random projection of normal entries that keeps squared lengths on average.

    Raises ValueError for a table, which has no hidden states.
    """
    body = make_critic(base)
    if not isinstance(body, Critic):
        raise ValueError(f"base must have hidden states, got {type(base).__name__}")
    width = body.head.in_features
    draw = torch.Generator().manual_seed(seed)
    projection = torch.randn(size, width, generator=draw) / size**0.5
    head = nn.Linear(width, size, bias=False).to(body.head.weight)
    with torch.no_grad():
        head.weight.copy_(projection)
    body.head = head
    body.eval().requires_grad_(False)

    @torch.no_grad()
    def features(r: Rollouts) -> Tensor:
        completions, mask = F.pad(r.completions, (0, 1)), F.pad(r.mask, (0, 1))  # so that the last token is read
        out = outputs(body, r.prompts, r.prompt_mask, completions, mask)[:, :, 1:]
        return (out * r.mask[..., None]).sum(2) / r.lengths.clamp(min=1)[..., None]

    return features
