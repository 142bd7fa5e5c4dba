"""Lesson 47 on the gpt and llm rungs: a detector on the outcomes of a run, into whose verifier a bug is put."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from toykit.control.online import detect
from toykit.lessons.compare import Figures, Measure
from toykit.lessons.rungs import QWEN3_60M, TINY, Arm, Comparison, Setup, pretrain_60m, start
from toykit.objectives import method
from toykit.rollouts import Rollouts
from toykit.selection import Selection
from toykit.tasks import ChainSum, Prompts, Task, Vocab
from toykit.tasks.chain_sum import ANSWER, EOS
from toykit.tasks.tree import Tree
from toykit.training import PretrainConfig, Restarting, TrainConfig, Trainer

KINDS = ("format error", "wrong", "right")
ETA = 1e-4  # about one over the symbols of a run


@dataclass(frozen=True)
class Loose:
    """A sum of digits whose verifier has a bug: it takes any answer that is a digit."""

    task: ChainSum
    name: str = "loose_chain_sum"

    @property
    def vocab(self) -> Vocab:
        return self.task.vocab

    @property
    def horizon(self) -> int:
        return self.task.horizon

    @property
    def tree(self) -> Tree:
        return self.task.tree

    def prompts(self, split: str = "train") -> Prompts:
        """Those of the task."""
        return self.task.prompts(split)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """1 where the completion ends in `A d <eos>` with any digit d, else 0; float64 [B, G]."""
        return answers(completions, mask).double()


def answers(completions: Tensor, mask: Tensor) -> Tensor:
    """bool [B, G]: the completions that end in `A d <eos>` with a digit d."""
    place = mask.sum(-1, keepdim=True) + torch.arange(-3, 0, device=mask.device)
    mark, digit, end = completions.gather(-1, place.clamp(min=0)).unbind(-1)
    return (place[..., 0] >= 0) & (mark == ANSWER) & (digit < 10) & (end == EOS)


def outcomes(rollouts: Rollouts) -> Tensor:
    """int64 [B, G], an index of KINDS for each completion, as the run's own verifier has it."""
    said = answers(rollouts.completions, rollouts.mask)
    return torch.where(rollouts.task_rewards > 0, 2, said.long())


@dataclass
class Outcomes:
    """A hook that leaves the rollouts as they are and keeps the outcome of the first completion of each group: those of
    one group have a prompt in common."""

    symbols: list[list[int]] = field(default_factory=list)

    def __call__(self, task: Task, rollouts: Rollouts, again: Callable[[], Rollouts]) -> Rollouts:
        self.symbols.append(outcomes(rollouts)[:, 0].tolist())
        return rollouts

    def state(self) -> dict[str, Tensor]:
        return {"symbols": torch.tensor(self.symbols, dtype=torch.int64)}

    def load(self, state: dict[str, Tensor]) -> None:
        self.symbols = state["symbols"].tolist()


def trainer(base: nn.Module, setup: Setup, seed: int, bug: bool) -> Restarting:
    """GRPO without a KL penalty; the bug comes at the setup's last stop but one."""
    assert isinstance(setup.task, ChainSum)
    grpo, seen = method("grpo"), Outcomes()
    pieces = replace(grpo, objective=grpo.pieces.with_(kl=None))
    made = start(base, setup, seed, pieces, selection=Selection(after=seen))
    made.others["outcomes"] = seen
    return Restarting(made, tasks={setup.stops[-2]: Loose(setup.task)} if bug else None)


def arms() -> Mapping[str, Arm]:
    return {"bug": partial(trainer, bug=True), "no bug": partial(trainer, bug=False)}


def measure(trainer: Trainer, seed: int, bug: int) -> Figures:
    """What the detector made of the steps so far, read one outcome after the other: alarms in the first `bug` steps and
    after them, steps from there to the first alarm (that included; one more than there were where there is none), and
    the shares of the kinds of outcomes in the ten steps before."""
    seen = trainer.others["outcomes"]
    assert isinstance(seen, Outcomes)
    symbols = np.array(seen.symbols, dtype=np.int64)
    steps = np.flatnonzero(detect(symbols.reshape(1, -1), len(KINDS), ETA)[0]) // max(1, symbols[:1].size) + 1
    late = steps[steps > bug] - bug
    return {
        "alarms before": int((steps <= bug).sum()),
        "alarms after": len(late),
        "delay": int(late[0]) if len(late) else max(0, len(symbols) - bug) + 1,
        **{kind: float((symbols[-10:] == i).mean()) if len(symbols) else 0.0 for i, kind in enumerate(KINDS)},
    }


def measuring(base: nn.Module, setup: Setup) -> Measure:
    return partial(measure, bug=setup.stops[-2])


MONITOR = Comparison(
    arms,
    measuring,
    gpt=Setup(
        ChainSum(),
        TrainConfig(lr=1e-4, prompts=16, max_grad_norm=1.0),
        (0, 40, 60),
        base="chain_sum_400",
    ),
    llm={
        "60m": Setup(
            ChainSum(n_digits=(4, 6, 8), horizon=28),
            TrainConfig(lr=1e-5, prompts=64, max_grad_norm=1.0, autocast=True),
            (0, 80, 120),
            base=QWEN3_60M,
            pretrain=pretrain_60m(1_000, batch=256, accuracy=0.7),  # greedy
        ),
        "tiny": Setup(
            ChainSum(n_digits=2, n_train=60, n_test=20, horizon=8),
            TrainConfig(lr=1e-3, prompts=16, max_grad_norm=1.0),
            (0, 3, 5),
            group_size=4,
            base=TINY,
            pretrain=PretrainConfig(steps=60, batch=64, lr=1e-2),
        ),
    },
)
