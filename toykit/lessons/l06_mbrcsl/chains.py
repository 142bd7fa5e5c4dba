"""Lesson 06 on the llm rung: chains of running sums whose solutions are each half right, and a language model in roles.

A step is a running sum; it is right where it is the one before plus the next digit. Of every prompt there are two
solutions: in one the odd steps are right, in the other the even ones. The behaviour model writes a step from the
running sum and the digit, a verifier scores it, and the policy writes the chain from the prompt and a return.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from toykit._checks import one_of
from toykit.control.simulation import draw
from toykit.lessons.base import Results
from toykit.lessons.l06_mbrcsl.roles import Plan, fit, law, written
from toykit.lessons.l06_mbrcsl.sampled import turned
from toykit.lessons.llm import facts
from toykit.lessons.rungs import QWEN3_60M, SEEDS, TINY
from toykit.lessons.sharing import remembered
from toykit.policies import device_of
from toykit.policies.hub import check_device
from toykit.policies.qwen3 import qwen3
from toykit.tasks import ChainSum, Vocab

MOST = 9  # the largest return that has a token
WORDS = ChainSum.vocab.tokens
BEHAVIOUR, POLICY, RETURN = (len(WORDS) + i for i in range(3))
VOCAB = Vocab((*WORDS, "<step>", "<chain>", *(f"<{g}>" for g in range(MOST + 1))), pad=ChainSum.vocab.pad)
DIGITS = slice(0, 10)


@dataclass(frozen=True)
class Size:
    """A transformers model of the Qwen3 type, its task, and how it is trained and rolled out.

    rollouts  of each train prompt
    """

    model: dict[str, int]
    task: ChainSum
    step: Plan
    chain: Plan
    rollouts: int


SIZES = {
    "60m": Size(
        dict(QWEN3_60M),
        ChainSum(n_digits=6, n_train=4096, n_test=512),
        Plan(300, lr=3e-4, autocast=True),
        Plan(2_000, lr=3e-4, autocast=True),
        rollouts=16,
    ),
    "tiny": Size(
        dict(TINY), ChainSum(n_digits=2, n_train=60, n_test=20), Plan(40, lr=1e-2), Plan(40, lr=1e-2), rollouts=4
    ),
}


def digits_of(task: ChainSum, split: str) -> Tensor:
    """int64 [N, n] of the prompts."""
    return task.prompts(split).tokens[:, 1:-1]


def rewards(digits: Tensor, sums: Tensor) -> Tensor:
    """The verifier: float64 [N, n], 1 where a running sum is the one before plus the next digit, modulo 10."""
    before = torch.nn.functional.pad(sums[:, :-1], (1, 0))
    return ((before + digits) % 10 == sums).double()


def half_right(digits: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Digits and running sums int64 [2 N, n]: two solutions of each prompt, the steps of one right where those of the
    other are wrong."""
    n = digits.shape[1]
    twice = digits.repeat(2, 1)
    slips = torch.randint(1, 10, twice.shape, generator=generator)
    first = torch.arange(2).repeat_interleave(len(digits))
    wrong = (torch.arange(n) + first[:, None]) % 2 == 1
    return twice, (twice + slips * wrong).cumsum(1) % 10


def steps(digits: Tensor, sums: Tensor) -> Tensor:
    """Rows of the behaviour model: the running sum before, the digit, the running sum after."""
    before = torch.nn.functional.pad(sums[:, :-1], (1, 0))
    return written(BEHAVIOUR, (before, digits, sums))


def chains(asked: Tensor, digits: Tensor, sums: Tensor) -> Tensor:
    """Rows of the policy: the return [N], the prompt's digits, the running sums."""
    return written(POLICY, [column[:, None] for column in (RETURN + asked.long(), *digits.T, *sums.T)])


def roll(model: nn.Module, digits: Tensor, generator: torch.Generator) -> Tensor:
    """Running sums int64 [N, n] that the behaviour model writes step by step."""
    at, sums = torch.zeros(len(digits), dtype=torch.int64), []
    for digit in digits.T:
        rows = written(BEHAVIOUR, (at[:, None], digit[:, None]))
        at = draw(law(model, rows, DIGITS), generator)
        sums.append(at)
    return torch.stack(sums, 1)


@torch.no_grad()
def all_right(policy: nn.Module, digits: Tensor, asked: int) -> float:
    """pass@1: the mean probability of the right chain where a return is asked for, exact."""
    n, right = digits.shape[1], digits.cumsum(1) % 10
    rows = chains(torch.full((len(digits),), asked), digits, right).to(device_of(policy))
    logits = policy(rows[:, :-1]).logits[:, -n:].double()
    return float(logits.log_softmax(-1).gather(-1, rows[:, -n:, None]).sum((1, 2)).exp().mean())


def one(seed: int, size: Size, device: str) -> dict[str, float]:
    """pass@1 on held-out prompts of the policy that learned from the data, asked for its best return and for a perfect
    one, and of the policy that learned from the rollouts which beat the data; and the share of those."""
    generator = torch.Generator().manual_seed(seed)
    prompts, held_out = digits_of(size.task, "train"), digits_of(size.task, "test")
    n = prompts.shape[1]

    def trained(rows: Tensor, learn: list[bool], plan: Plan) -> nn.Module:
        return fit(qwen3(VOCAB, size.model, seed).to(device), rows, learn, plan, seed)

    def conditioned(digits: Tensor, sums: Tensor) -> nn.Module:
        rows = chains(rewards(digits, sums).sum(1), digits, sums)
        return trained(rows, [False] * (1 + n) + [True] * n, size.chain)

    logged = half_right(prompts, generator)
    threshold = rewards(*logged).sum(1).max()
    behaviour = trained(steps(*logged), [False, False, True], size.step)
    again = prompts.repeat(size.rollouts, 1)
    imagined = roll(behaviour, again, generator)
    earned = rewards(again, imagined).sum(1)
    better = earned > threshold
    kept = (again[better], imagined[better]) if bool(better.any()) else logged
    plain, stitched = conditioned(*logged), conditioned(*kept)
    return {
        "RCSL": all_right(plain, held_out, int(threshold)),
        "RCSL, all asked": all_right(plain, held_out, n),
        "MBRCSL": all_right(stitched, held_out, int(rewards(*kept).sum(1).max())),
        "kept": float(better.double().mean()),
    }


def llm(
    seeds: tuple[int, ...] = SEEDS,
    size: str = "60m",
    device: str = "cpu",
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The llm rung: {"pass@1": {policy: [a number for each seed]}, "kept": [...]}, with models of the Qwen3 type.

    With `folder` the seeds that are done are kept there. Raises ValueError for a size or a device that is not there.
    """
    chosen = SIZES[one_of("size", size, SIZES)]
    check_device(device)
    makes = {f"seed_{seed}": partial(one, seed, chosen, device) for seed in seeds}
    found = turned(list(remembered(makes, folder, progress, "seed").values()))
    kept = found.pop("kept")
    return {"pass@1": found, "kept": kept} | facts(size, qwen3(VOCAB, chosen.model))
