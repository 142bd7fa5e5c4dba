"""Lesson 54 on the gpt and llm rungs: sums of digits, one completion a prompt against groups of eight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from torch import nn

from toykit.lessons.compare import Measure
from toykit.lessons.held_out import held_out, summary
from toykit.lessons.rungs import QWEN3_60M, TINY, Arm, Comparison, Setup, pretrain_60m, start
from toykit.objectives import EntropyBonus, EntropyShaping, Method, Tracker, method
from toykit.rollouts import Sampled
from toykit.tasks import ChainSum
from toykit.training import PretrainConfig, TrainConfig, Trainer

STOPS = (0, 10, 20, 30, 40, 50, 60)
HARSH = 4.0  # the learning rate that is to provoke a collapse, in units of the other
SAMPLES = 4  # completions of a held-out prompt


def methods() -> dict[str, Method]:
    """The catalogue's methods and what their names add, without a KL penalty, so that the rho of a tracker is fixed."""
    single = _without_kl("mvsr", advantage=Tracker("fixed"))
    shapings = {"MSSR": EntropyShaping(), "MSSR, law": EntropyShaping(entropy="law")}

    def with_(**changes: object) -> Method:
        return replace(single, objective=single.pieces.with_(**changes))

    return {
        "GRPO": _without_kl("grpo"),
        "REINFORCE++": _without_kl("reinforce_plus_plus"),
        "MVSR": single,
        "MVSR, bonus": with_(penalties=(EntropyBonus(0.01),)),
        **{name: with_(transforms=(shaping,)) for name, shaping in shapings.items()},
    }


def _without_kl(name: str, **changes: object) -> Method:
    given = method(name)
    return replace(given, objective=given.pieces.with_(kl=None, **changes))


def trainer(base: nn.Module, setup: Setup, seed: int, given: Method, speed: float = 1.0) -> Trainer:
    """Single completions of as many prompts as all groups together have completions, or groups where a method needs
    them, with as many completions in a minibatch."""
    train = replace(setup.train, lr=speed * setup.train.lr, seed=seed)
    if given.pieces.needs_group:
        return start(base, setup, seed, given, config=train)
    assert train.prompts is not None and train.minibatch is not None
    train = replace(train, prompts=train.prompts * setup.group_size, minibatch=train.minibatch * setup.group_size)
    return start(base, setup, seed, given, config=train, strategy=Sampled(1))


def arms() -> Mapping[str, Arm]:
    """All methods, and those with a tracker again at the harsh learning rate."""
    made = methods()
    again = {f"{name}, harsh": name for name in made if name.startswith(("MVSR", "MSSR"))}
    return {name: partial(trainer, given=given) for name, given in made.items()} | {
        label: partial(trainer, given=made[name], speed=HARSH) for label, name in again.items()
    }


def measuring(base: nn.Module, setup: Setup) -> Measure:
    """Success, lengths and entropies on held-out prompts."""
    return lambda trainer, seed: summary(held_out(trainer, seed, SAMPLES))


MSSR = Comparison(
    arms,
    measuring,
    gpt=Setup(
        ChainSum(n_train=512),  # so few that each is asked again and again, as a tracker needs it
        TrainConfig(lr=1.5e-4, prompts=8, minibatch=1, max_grad_norm=0.5),  # 64 completions, 8 minibatches
        STOPS,
        base="chain_sum_200",
    ),
    llm={
        "60m": Setup(
            ChainSum(n_digits=(4, 6, 8), n_train=2048, horizon=28),
            TrainConfig(lr=1e-5, prompts=32, minibatch=8, max_grad_norm=0.5, autocast=True),
            (0, 8, 16, 24, 32, 40, 48),
            base=QWEN3_60M,
            pretrain=pretrain_60m(1_000, batch=256, accuracy=0.7),  # greedy
        ),
        "tiny": Setup(
            ChainSum(n_digits=2, n_train=60, n_test=20, horizon=8),
            TrainConfig(lr=1e-3, prompts=2, minibatch=1, max_grad_norm=0.5),
            (0, 2),
            group_size=4,
            base=TINY,
            pretrain=PretrainConfig(steps=60, batch=64, lr=1e-2),
        ),
    },
)
