"""Lesson 26 on the gpt and llm rungs: running sums and a verdict, a referee by rule, false labels, and a shock."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from toykit.lessons.compare import Figures
from toykit.lessons.held_out import held_out, summary
from toykit.lessons.rungs import QWEN3_60M, TINY, Arm, Comparison, Setup, pretrain_60m, start
from toykit.objectives import PolicyGradient, method
from toykit.rewards import Gated, Shaping
from toykit.rollouts import Rollouts, Sampled
from toykit.tasks import ChainSum
from toykit.tasks.chain_sum import ANSWER, EOS
from toykit.training import PretrainConfig, TrainConfig, Trainer

SIZES = (16, 64, 256)  # batches whose advantages are looked at
VOTES, VOTERS = 15, 64  # completions a prompt, and held-out prompts
DRAWN = 512  # training prompts whose advantages are looked at, and of which a step is taken
SHOCK = 100  # times the step's size
STOPS = (0, 10, 20, 30, 40)


def ending(rollouts: Rollouts) -> tuple[Tensor, Tensor, Tensor]:
    """(the answer int64 [B, G], -1 where there is none; the token before its mark; bool: a thought and one answer)."""
    place = rollouts.lengths[..., None] + torch.arange(-4, 0, device=rollouts.mask.device)
    thought, mark, answer, end = rollouts.completions.gather(-1, place.clamp(min=0)).unbind(-1)
    answered = (place[..., 1] >= 0) & (mark == ANSWER) & (answer < 10) & (end == EOS)
    once = ((rollouts.completions == ANSWER) & rollouts.mask).sum(-1) == 1
    return torch.where(answered, answer, -1), thought, answered & once & (place[..., 0] >= 0) & (thought < 10)


def layout(rollouts: Rollouts) -> Tensor:
    """The format's term [B, G]: 1 for running sums and then one answer, else 0."""
    return ending(rollouts)[2].double()


def referee(rollouts: Rollouts) -> Tensor:
    """What the paper's second model judges, by rule [B, G]: 1 where the answer is the last sum written, -1 where it is
    another one, 0 where there is none to read."""
    answer, thought, readable = ending(rollouts)
    return torch.where(readable, torch.where(answer == thought, 1.0, -1.0), 0.0)


REWARD = Shaping({"consistency": (0.5, Gated(referee)), "format": (0.5, layout)})


@dataclass(frozen=True)
class FalseLabels:
    """A reward of labels of which one prompt in `every` has a false one, in batches that are right beyond `solved`."""

    reward: Shaping
    every: int = 100
    solved: float = 0.95

    def __call__(self, rollouts: Rollouts) -> tuple[Rollouts, dict[str, float]]:
        right = rollouts.rewards
        false = (rollouts.prompt_ids % self.every == 0)[:, None] & (right.mean() > self.solved)
        label = torch.where(false, 1 - right, right)
        return self.reward(rollouts.with_(rewards=label, extras={"task_rewards": label}))


def arms() -> Mapping[str, Arm]:
    """StableReinforce, what is left of it without its parts, and without the consistency in its reward."""
    whole = method("stable_reinforce")
    pieces: dict[str, dict[str, Any]] = {
        "Reinforce++": {"transforms": (), "log_clip": None},
        "+ pre-clip": {"transforms": ()},
        "+ filter": {"log_clip": None},
        "StableReinforce": {},
    }
    made: dict[str, Arm] = {
        name: partial(_trainer, objective=whole.pieces.with_(**changed), reward=REWARD)
        for name, changed in pieces.items()
    }
    return made | {"result only": partial(_trainer, objective=whole.pieces, reward=Shaping())}


def _trainer(base: nn.Module, setup: Setup, seed: int, objective: PolicyGradient, reward: Shaping) -> Trainer:
    given = replace(method("stable_reinforce"), objective=objective)
    return start(base, setup, seed, given, shaping=FalseLabels(reward))


def measure(trainer: Trainer, seed: int) -> Figures:
    """Held out: success, that of a vote, consistency, length; in training: advantages, and losses after a shock."""
    made = held_out(trainer, seed, VOTES, VOTERS)
    seen = summary(made)
    found = {name: seen[name] for name in ("success", "length")}
    found |= {"vote": float(voted(made).double().mean()), "consistency": float((referee(made) > 0).double().mean())}
    drawn = fresh(trainer, seed)
    return found | advantages(trainer, drawn) | shocks(trainer, drawn)


def voted(made: Rollouts) -> Tensor:
    """bool [B]: whether the answer that most completions of a prompt give is right."""
    answer = ending(made)[0]
    votes = ((answer[:, :, None] == answer[:, None, :]).sum(-1)).masked_fill(answer < 0, 0)
    return made.correct.gather(-1, votes.argmax(-1, keepdim=True))[:, 0]


@torch.no_grad()
def fresh(trainer: Trainer, seed: int) -> Rollouts:
    """One completion to each of some training prompts, with its log-probabilities as the trainer reads them."""
    generator = torch.Generator(trainer.device).manual_seed(seed)
    asked = trainer.prompts[torch.randperm(len(trainer.prompts), generator=generator, device=trainer.device)[:DRAWN]]
    drawn = Sampled(1)(trainer.policy, trainer.task, asked, generator)
    return drawn.with_(old_logp=trainer.reader.all_of(drawn, trainer.reader.logp, trainer.policy))


def advantages(trainer: Trainer, drawn: Rollouts) -> Figures:
    """Of batches of each size that fits: the largest |A|, and the shares that are beyond 3 before a filter."""
    assert isinstance(trainer.objective, PolicyGradient) and isinstance(trainer.shaping, FalseLabels)
    plain, found = trainer.objective.with_(transforms=()), dict[str, float]()
    for size in SIZES:
        cut = torch.arange(len(drawn.prompt_ids)).split(size)
        given = [trainer.shaping(drawn.take(rows))[0] for rows in cut if len(rows) == size]
        own, before = (
            torch.cat([objective.prepare(batch).advantages[:, 0, 0] for batch in given] or [torch.zeros(1)])
            for objective in (trainer.objective, plain)
        )
        found[f"largest |A|, n = {size}"] = float(own.abs().max())
        found |= {
            f"beyond {sign}3, n = {size}": float((beyond > 3 + 1e-9).double().mean())
            for sign, beyond in (("+", before), ("-", -before))
        }
    return found


def shocks(trainer: Trainer, drawn: Rollouts) -> Figures:
    """On one batch, after a fresh optimizer's step on it, of the usual size and of 100 times that: log10 of 1 + |loss|,
    whether that is finite, and the largest log-ratio of a token, nats."""
    assert isinstance(trainer.shaping, FalseLabels)
    batch = drawn.take(slice(0, trainer.config.prompts))
    prepared, found = trainer.objective.prepare(trainer.shaping(batch)[0]), dict[str, float]()
    for name, factor in (("step", 1), ("shock", SHOCK)):
        config = replace(trainer.config, lr=factor * trainer.config.lr, epochs=1)
        policy = copy.deepcopy(trainer.policy)
        other = Trainer(policy, trainer.task, trainer.objective, lambda *_: batch, config, shaping=trainer.shaping)
        other.step()
        with torch.no_grad():
            logp = other.reader.all_of(batch, other.reader.logp, policy)
            loss, _ = other.objective.loss(logp, prepared)
        finite = loss.abs().nan_to_num(nan=torch.finfo(loss.dtype).max)
        found |= {
            f"{name}, loss": float(finite.double().add(1).log10()),
            f"{name}, finite": float(loss.isfinite()),
            f"{name}, log-ratio": float((logp - batch.old_logp).masked_fill(~batch.mask, 0.0).max()),
        }
    return found


STABLE_REINFORCE = Comparison(
    arms,
    lambda base, setup: measure,
    gpt=Setup(
        ChainSum(),
        TrainConfig(lr=1e-3, prompts=256, epochs=2, max_grad_norm=1.0),  # one completion a prompt, two inner steps
        STOPS,
        group_size=1,
        base="chain_sum_400",
    ),
    llm={
        "60m": Setup(
            ChainSum(n_digits=(4, 6, 8), horizon=28),
            TrainConfig(lr=1e-5, prompts=256, epochs=2, max_grad_norm=1.0, autocast=True),
            (0, 20, 40, 60, 80),
            group_size=1,
            base=QWEN3_60M,
            pretrain=pretrain_60m(1_000, batch=256, accuracy=0.7),  # greedy
        ),
        "tiny": Setup(
            ChainSum(n_digits=2, n_train=60, n_test=10, horizon=8),
            TrainConfig(lr=1e-2, prompts=32, epochs=2, max_grad_norm=1.0),
            (0, 2),
            group_size=1,
            base=TINY,
            pretrain=PretrainConfig(steps=60, batch=64, lr=1e-2),
        ),
    },
)
