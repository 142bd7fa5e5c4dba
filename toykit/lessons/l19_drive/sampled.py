"""Lesson 19 on the gpt and llm rungs: programs from a base that knows how they look, in one stage and in two."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from toykit.diagnostics import exact_pass_at_k, pass_at_k
from toykit.lessons.compare import Figures, Measure
from toykit.lessons.held_out import summary
from toykit.lessons.rungs import QWEN3_60M, TINY, Arm, Comparison, Setup, pretrain_60m, start
from toykit.objectives import Method, method
from toykit.policies import device_of
from toykit.rollouts import Sampled, token_logps
from toykit.selection import Selection
from toykit.tasks import Programs, Task
from toykit.tasks.base import Prompts
from toykit.training import Curriculum, Phase, PretrainConfig, TrainConfig, Trainer

KS = (1, 8, 64)
SAMPLES = 64  # completions a prompt where success is not exact
ASKED = 256  # prompts of a split that are measured, at most, evenly from the easiest to the hardest
LARGER = 8  # times the group size: the groups of stage 2
UNSOLVED = 0.01
THIRDS = ("hard", "medium", "easy")

STEPS = {6: 168, 12: 240, 5: 6}  # of uniform training, by the length of programs
FIRST = 1 / 7  # the card's share of stage 1 among all completions
PHASES = ((1 / 2, 2 / 3), (1 / 3, 2 / 9), (1 / 6, 1 / 9))  # of stage 2: shares of the prompts, and of the stage's steps


def grpo() -> Method:
    """GRPO without its KL, as in the paper."""
    made = method("grpo")
    return replace(made, objective=made.pieces.with_(kl=None))


def plan(n: int, steps: int, group_size: int, first: bool = True, window: int | None = None) -> list[Phase]:
    """Stage 1 on all n prompts, in groups of `group_size` and within `window`, and stage 2; or stage 2 alone."""
    before = round(FIRST * steps) if first else 0
    stage_1 = [Phase(None, before, group_size, window)] if first else []
    sizes = [(max(1, round(kept * n)), max(1, round(share * (steps - before)))) for kept, share in PHASES]
    return stage_1 + [Phase(kept, most, LARGER * group_size) for kept, most in sizes]


def few(trainer: Trainer, completions: int, policy: nn.Module, task: Task, prompts: Prompts) -> Prompts:
    """As many of the prompts as groups of the phase's size make the given number of completions, drawn anew."""
    assert isinstance(trainer.strategy, Sampled)
    n = completions // trainer.strategy.group_size
    if n >= len(prompts):
        return prompts
    return prompts[torch.randperm(len(prompts), generator=trainer.generator, device=trainer.device)[:n]]


def arms() -> dict[str, Arm]:
    """A step of every arm is one update on the same number of completions; only whose they are differs.

    What ranks the prompts is drawn too, so that the arms with phases have fewer steps by as much: all have the same
    number of completions at the end.
    """

    def uniform(base: nn.Module, setup: Setup, seed: int, larger: int = 1) -> Trainer:
        assert setup.train.prompts is not None
        train = replace(setup.train, prompts=setup.train.prompts // larger)
        chosen = replace(setup, train=train, group_size=larger * setup.group_size)
        return start(base, chosen, seed, grpo())

    def led(base: nn.Module, setup: Setup, seed: int, first: bool = True, short: bool = False) -> Curriculum:
        assert isinstance(setup.task, Programs) and setup.train.prompts is not None
        made, length = start(base, setup, seed, grpo()), setup.task.length
        n, completions = len(made.prompts), setup.train.prompts * setup.group_size
        # a step on fewer prompts in larger groups costs what a step of stage 1 costs
        made.selection = Selection(before=partial(few, made, completions))
        steps = STEPS[length] - n * (first + len(PHASES) * LARGER) * setup.group_size // completions
        phases = plan(n, max(4, steps), setup.group_size, first, length - 1 if short else None)
        return Curriculum(made, phases, nested=False, exact=False)

    return {
        "uniform, G = 8": uniform,
        "uniform, G = 64": partial(uniform, larger=LARGER),
        "stage 2 only": partial(led, first=False),
        "two stages": led,
        "two stages, short first": partial(led, short=True),
    }


def measured(task: Programs, split: str) -> Prompts:
    prompts = task.prompts(split)
    return prompts[:: -(-len(prompts) // ASKED)]


@torch.no_grad()
def passes(policy: nn.Module, task: Programs, split: str, seed: int = 0) -> dict[int, Tensor]:
    """{k: pass@k [B]} of a split's `measured` prompts: exact where all right programs are known, else from samples."""
    prompts = measured(task, split).to(device_of(policy))
    if task.drawn is None:
        tokens, mask, known = (x[prompts.ids.cpu()].to(prompts.ids.device) for x in task.right)
        logp = token_logps(policy, prompts.tokens, prompts.mask, tokens, mask).sum(-1).double()
        p = torch.where(known, logp.exp(), 0.0).sum(-1).clamp(max=1.0).cpu()
        return {k: exact_pass_at_k(p, k) for k in KS}
    generator = torch.Generator(prompts.ids.device).manual_seed(seed)
    right = Sampled(SAMPLES)(policy, task, prompts, generator).correct.sum(-1).cpu()
    return {k: pass_at_k(SAMPLES, right, k) for k in KS}


def measure(trainer: Trainer, seed: int, task: Programs, order: Tensor) -> Figures:
    """pass@k of both splits; pass@1 of the training prompts in thirds of the `order` of their success in the base and
    the share that is below 0.01; entropy per token of completions in the whole window."""
    train, test = (passes(trainer.policy, task, split, seed) for split in ("train", "test"))
    generator = torch.Generator(trainer.device).manual_seed(seed)
    asked = measured(task, "train").to(trainer.device)
    made = summary(Sampled(KS[1])(trainer.policy, task, asked, generator))
    thirds = zip(THIRDS, order.tensor_split(len(THIRDS)), strict=True)
    return {
        **{f"pass@{k}": float(p.mean()) for k, p in train.items()},
        **{name: float(train[1][rows].mean()) for name, rows in thirds},
        "unsolved": float((train[1] < UNSOLVED).double().mean()),
        "token entropy": made["token entropy"],
        "length": made["length"],
        **{f"test pass@{k}": float(p.mean()) for k, p in test.items()},
    }


def measuring(base: nn.Module, setup: Setup) -> Measure:
    assert isinstance(setup.task, Programs)
    order = passes(base, setup.task, "train")[1].argsort(stable=True)
    return partial(measure, task=setup.task, order=order)


DRIVE = Comparison(
    arms,
    measuring,
    gpt=Setup(
        Programs(),
        TrainConfig(lr=7e-4, prompts=32, max_grad_norm=1.0),
        (0, 10, 20, 45, 70, 100, 128, 168),  # 20, 100, 128: where the phases of two stages end
        base="programs",
    ),
    llm={
        "60m": Setup(
            Programs(length=12, extra=True, drawn=10_000),
            TrainConfig(lr=3e-5, prompts=128, max_grad_norm=1.0, autocast=True),
            (0, 9, 18, 54, 90, 114, 180, 240),  # 18, 90, 114: where the phases of two stages end
            base=QWEN3_60M,
            pretrain=pretrain_60m(1_500, batch=512),
        ),
        "tiny": Setup(
            Programs(length=5),
            TrainConfig(lr=1e-3, prompts=8, max_grad_norm=1.0),
            (0, 6),
            group_size=2,
            base=TINY,
            pretrain=PretrainConfig(steps=60, batch=64, lr=1e-2),
        ),
    },
)
