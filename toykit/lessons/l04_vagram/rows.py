"""A world of tokens: a state is a row of tokens of which few matter, and a language model predicts the next row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from toykit._checks import at_least
from toykit.control import ValueGradients, ValueNetwork, unit_mean
from toykit.rollouts import Given, Rollouts
from toykit.tasks import Prompts, Vocab
from toykit.tasks.base import split_of


@dataclass(frozen=True)
class Rows:
    """Rows of `length` digits below `base`, and n + 1 buttons; `relevant` = n of the digits are dials, others noise.

    Button i < n turns dial i up by 1 and the last button turns all dials down by 1, modulo `base`; the noise is drawn
    anew at every step. The goal is that all dials stand at 0. A prompt is a row and a button, its completion is the
    next row, right where the dials are.

    n_train, n_test  how many transitions of random rows and buttons there are of each split
    seed             of the transitions

    Raises ValueError for fewer than 1 dial, or fewer digits than dials.
    """

    length: int = 12
    relevant: int = 3
    base: int = 5
    n_train: int = 8192
    n_test: int = 256
    seed: int = 0
    name: ClassVar[str] = "rows"
    tree: ClassVar[None] = None

    def __post_init__(self) -> None:
        at_least("relevant", self.relevant, 1)
        at_least("length", self.length, self.relevant)

    @property
    def horizon(self) -> int:
        return self.length

    @property
    def buttons(self) -> int:
        return self.relevant + 1

    @property
    def vocab(self) -> Vocab:
        words = (*(str(i) for i in range(self.base)), *(f"b{i}" for i in range(self.buttons)), "_")
        return Vocab(words, pad=len(words) - 1)

    @property
    def dials(self) -> Tensor:
        """int64 [n]: the places of the digits that matter, evenly spread."""
        return ((torch.arange(self.relevant) + 0.5) * self.length / self.relevant).long()

    def prompts(self, split: str = "train") -> Prompts:
        states, buttons, _ = self.transitions
        whole = self.asked(states, buttons)
        return split_of({"train": whole[: self.n_train], "test": whole[self.n_train :]}, split)

    def asked(self, states: Tensor, buttons: Tensor) -> Prompts:
        """The prompts of rows [N, length] and buttons [N]."""
        tokens = torch.cat([states, self.base + buttons[:, None]], -1)
        return Prompts(torch.arange(len(tokens)), tokens, torch.ones_like(tokens, dtype=torch.bool))

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """1 where all dials are those of the observed next row, else 0; float64 [B, G]."""
        places = self.dials.to(completions.device)
        right = self.transitions[2].to(completions.device)[ids.to(completions.device)][:, None, places]
        return ((completions[..., places] == right) & mask[..., places]).all(-1).double()

    @cached_property
    def transitions(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rows [N, length], buttons [N] and next rows [N, length] of both splits, the training ones first."""
        draw = torch.Generator().manual_seed(self.seed)
        n = self.n_train + self.n_test
        states = torch.randint(self.base, (n, self.length), generator=draw)
        buttons = torch.randint(self.buttons, (n,), generator=draw)
        return states, buttons, self.step(states, buttons, draw)

    def step(self, states: Tensor, buttons: Tensor, draw: torch.Generator) -> Tensor:
        """The next rows [N, length] after buttons [N]."""
        turns = torch.cat([torch.eye(self.relevant, dtype=torch.int64), -torch.ones(1, self.relevant).long()])
        after = torch.randint(self.base, states.shape, generator=draw)
        after[:, self.dials] = (states[:, self.dials] + turns[buttons]) % self.base
        return after

    def presses(self, states: Tensor) -> Tensor:
        """int64 [N]: how many presses are needed at least from rows [N, length] to the goal.

        With j presses of the last button, dial x needs (j - x) mod base of its own.
        """
        j = torch.arange(self.base)
        return (j + ((j - states[:, self.dials, None]) % self.base).sum(1)).amin(-1)


def fit_value(task: Rows, steps: int = 1000, batch: int = 256, lr: float = 3e-3) -> ValueNetwork:
    """V of one-hot rows [N, length base] by regression on minus the presses needed, from the training rows; frozen.

    Values are standardised. The network is not told which digits are dials.
    """
    states, wanted = one_hot(task, task.transitions[0][: task.n_train]), -task.presses(task.transitions[0]).float()
    wanted = ((wanted - wanted.mean()) / wanted.std())[: task.n_train]
    value, draw = ValueNetwork(states, (64, 64), seed=task.seed), torch.Generator().manual_seed(task.seed)
    optimizer = torch.optim.Adam(value.parameters(), lr)
    for _ in range(steps):
        rows = torch.randint(len(states), (batch,), generator=draw)
        loss = (value(states[rows]) - wanted[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return value.requires_grad_(False)


def one_hot(task: Rows, states: Tensor) -> Tensor:
    """float [N, length base] of rows [N, length]."""
    return nn.functional.one_hot(states, task.base).float().flatten(1)


def token_weights(value: ValueNetwork, task: Rows, rows: Tensor) -> Tensor:
    """[N, length]: the squared norm of dV/d(one-hot) at each token of observed next rows, divided by the mean of all.

    One-hot vectors sum to 1, so that only the gradient's part that sums to 0 says anything: its mean over the digits is
    taken out.
    """
    gradient = ValueGradients.of(value, one_hot(task, rows)).at()[0].unflatten(-1, (task.length, task.base))
    return unit_mean((gradient - gradient.mean(-1, keepdim=True)).square().sum(-1))


@dataclass(frozen=True)
class Observed:
    """The observed next row of each prompt, with a loss weight for each of its tokens: `weights` [N, length]."""

    given: Given
    weights: Tensor

    @staticmethod
    def of(task: Rows, weights: Tensor) -> Observed:
        after = task.transitions[2][: task.n_train, None]
        return Observed(Given(after, torch.ones_like(after, dtype=torch.bool)), weights)

    def __call__(
        self, policy: nn.Module, task: Rows, prompts: Prompts, generator: torch.Generator | None = None
    ) -> Rollouts:
        made = self.given(policy, task, prompts, generator)
        weights = self.weights[prompts.ids.to(self.weights.device)]
        return made.with_(extras={"loss_weights": weights[:, None].to(made.old_logp)})
