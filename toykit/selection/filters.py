"""Selection: which prompts are asked, and which rollouts are learned from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from toykit._checks import at_least, one_of
from toykit.rollouts import greedy
from toykit.rollouts.batch import Rollouts
from toykit.tasks.base import Prompts, Task

Before = Callable[[nn.Module, Task, Prompts], Prompts]  # fewer prompts, or none: then the step is skipped
After = Callable[[Task, Rollouts, Callable[[], Rollouts]], Rollouts]  # the last argument makes another batch


@dataclass(frozen=True)
class Selection:
    """A hook of the trainer: `before` chooses among the step's prompts, `after` among its rollouts.

    `over` says what the step's mean over prompts is taken over where `before` drops some: those that are "kept", or
    all that were "asked", so that a dropped prompt counts with a loss of 0.
    """

    before: Before | None = None
    after: After | None = None
    over: str = "kept"

    def __post_init__(self) -> None:
        one_of("over", self.over, ("asked", "kept"))


def informative(rollouts: Rollouts) -> Tensor:
    """bool [B]: the prompts whose group has more than one reward of the task's, before any shaping."""
    return rollouts.task_rewards.amax(-1) > rollouts.task_rewards.amin(-1)


def dynamic_sampling(max_batches: int = 10) -> Selection:
    """Drops groups with all rewards equal and draws again until the batch is full (DAPO, arXiv 2503.14476).

    After `max_batches` batches what was found is used; where nothing was, the last batch (its advantages are 0).
    """
    at_least("max_batches", max_batches, 1)

    def after(task: Task, rollouts: Rollouts, again: Callable[[], Rollouts]) -> Rollouts:
        wanted, kept, batches = rollouts.rewards.shape[0], [], 1
        while True:
            if bool((rows := informative(rollouts)).any()):
                kept.append(rollouts.take(rows))
            if sum(k.rewards.shape[0] for k in kept) >= wanted or batches == max_batches:
                break
            rollouts, batches = again(), batches + 1
        return Rollouts.cat(kept).take(slice(0, wanted)) if kept else rollouts

    return Selection(after=after)


def overlong_filter() -> Selection:
    """Leaves completions that were cut at the horizon out of the loss; their rewards stay in the group's statistics."""

    def after(task: Task, rollouts: Rollouts, again: Callable[[], Rollouts]) -> Rollouts:
        last = rollouts.completions.gather(-1, (rollouts.lengths - 1).clamp(min=0)[..., None])[..., 0]
        stop = torch.tensor(task.vocab.stop, device=last.device, dtype=last.dtype)
        cut = (rollouts.lengths >= task.horizon) & ~torch.isin(last, stop)
        return rollouts.with_(extras={"loss_mask": rollouts.loss_mask & ~cut[..., None]})

    return Selection(after=after)


def greedy_failures(over: str, solved: float = 1.0) -> Selection:
    """Keeps the prompts whose greedy completion, decoded by the policy as it is, has a reward below `solved`.

    `over` is that of `Selection`: with "asked" a prompt is pushed alike however many others are dropped, with "kept"
    (the official code's) the fewer there are, the harder. A step that keeps none is skipped. Source: SELF
    (arXiv 2510.02230), whose text and code filter to failures.
    """

    def before(policy: nn.Module, task: Task, prompts: Prompts) -> Prompts:
        return prompts[greedy(policy, task, prompts).rewards[:, 0] < solved]

    return Selection(before=before, over=over)


SELECTIONS: dict[str, Callable[[], Selection]] = {
    "dynamic_sampling": dynamic_sampling,
    "greedy_failures": partial(greedy_failures, "asked"),
    "overlong_filter": overlong_filter,
}


def selection(name: str) -> Selection:
    """The selection of a name, with its defaults."""
    return SELECTIONS[one_of("selection", name, SELECTIONS)]()
