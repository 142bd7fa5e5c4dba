"""Lesson 33 on the gpt and llm rungs: hidden operators under a KL penalty whose reference is reset, or never."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from toykit.diagnostics import exact_pass_at_k, rank_correlation
from toykit.exact import entropy, kl
from toykit.lessons.compare import Figures, Measure
from toykit.lessons.l02_reasoning_boundary.sampled import law
from toykit.lessons.rungs import QWEN3_60M, TINY, Arm, Comparison, Setup, pretrain_60m, start
from toykit.objectives import KL, Clip, Method, method
from toykit.rollouts import Sampled
from toykit.tasks import Operator
from toykit.training import Plateau, PretrainConfig, Reference, TrainConfig, Trainer

BETA = 1.0  # where a plateau is seen in so few steps; the card's 0.05 hardly holds anything here
CARD_BETA = 0.05
TEMPERATURE = 1.2
EVERY = 40
STOPS = (0, 10, 20, 39, 60, 79, 100, 119)  # 39, 79, 119: right before a reset, where the KL to the reference is most
KS = (1, 16)


def objective(beta: float | None, high: float = 0.4) -> Method:
    """ProRL's objective without its selection, so that all arms learn from the same number of completions."""
    prorl = method("prorl")
    penalty = prorl.pieces.kl
    assert isinstance(penalty, KL)
    pieces = prorl.pieces.with_(kl=None if beta is None else replace(penalty, beta=beta), clip=Clip(0.2, high))
    return replace(prorl, objective=pieces, selection=None, reference=None)


def schedules(every: int) -> dict[str, Reference]:
    """How the reference follows the policy, by the arm's name."""
    return {
        "KL": Reference(),
        "KL, reset, moments kept": Reference("reset", every),
        "ProRL": Reference("reset", every, optimizer=True),
        "ProRL, on plateau": Reference(  # of the steps' mean reward
            "reset", None, optimizer=True, on_plateau=Plateau(max(1, every // 2))
        ),
    }


def arms() -> dict[str, Arm]:
    """Each is drawn at a temperature of 1.2 and takes several updates on its completions; the setup's reference says
    how often it is reset."""

    def trainer(base: nn.Module, setup: Setup, seed: int, given: Method, name: str = "KL") -> Trainer:
        assert setup.train.reference is not None and setup.train.reference.every is not None
        how = schedules(setup.train.reference.every)[name]
        chosen = replace(setup, train=replace(setup.train, reference=how))
        return start(base, chosen, seed, given, strategy=Sampled(setup.group_size, temperature=TEMPERATURE))

    return {
        "GRPO": partial(trainer, given=objective(None, high=0.2)),
        "clip-higher": partial(trainer, given=objective(None)),
        "KL 0.05": partial(trainer, given=objective(CARD_BETA)),
        **{name: partial(trainer, given=objective(BETA), name=name) for name in schedules(EVERY)},
    }


def measure(trainer: Trainer, seed: int, base: Tensor, right: Tensor) -> Figures:
    """Exact pass@k of both splits; entropy, KL to the base and to the current reference, and how a prompt's gain goes
    with the base's pass@128, on the training prompts and in nats of whole answers. The base is [B, L]."""
    task = trainer.task
    assert isinstance(task, Operator)
    now, held_out = law(trainer.policy, task, "train")[0], law(trainer.policy, task, "test")
    rates = {"train": now[right].exp(), "test": held_out[0][held_out[1]].exp()}
    before = base[right].exp()
    gain = rates["train"] - before
    reference = base if trainer.reference is None else law(trainer.reference, task, "train")[0]
    return {
        **{f"{split} pass@{k}": float(exact_pass_at_k(p, k).mean()) for split, p in rates.items() for k in KS},
        "entropy": float(entropy(now).mean()),
        "KL to the base": float(kl(now, base).mean()),
        "KL to the reference": float(kl(now, reference).mean()),
        "gain by base": float(rank_correlation(exact_pass_at_k(before, 128), gain))
        if float(gain.abs().max()) > 1e-6
        else 0.0,
    }


def measuring(base: nn.Module, setup: Setup) -> Measure:
    assert isinstance(setup.task, Operator)
    log_p, right = law(base, setup.task, "train")
    return partial(measure, base=log_p, right=right)


PRORL = Comparison(
    arms,
    measuring,
    gpt=Setup(
        Operator(),
        TrainConfig(lr=3e-4, minibatch=15, max_grad_norm=1.0, reference=Reference("reset", EVERY)),  # four updates
        STOPS,
        base="operator",
    ),
    llm={
        "60m": Setup(
            Operator(),
            TrainConfig(lr=3e-5, minibatch=15, max_grad_norm=1.0, autocast=True, reference=Reference("reset", EVERY)),
            (*STOPS, 140, 159),
            group_size=16,
            base=QWEN3_60M,
            pretrain=pretrain_60m(1_000, batch=512),
        ),
        "tiny": Setup(
            Operator(n_train=16),
            TrainConfig(lr=3e-2, minibatch=4, reference=Reference("reset", 4)),
            (0, 6),
            base=TINY,
            pretrain=PretrainConfig(steps=60, batch=64, lr=1e-2),
        ),
    },
)
