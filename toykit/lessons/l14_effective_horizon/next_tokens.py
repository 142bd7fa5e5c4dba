"""Lesson 14 on the llm rung: values of next tokens by rollouts of the base model, and what GRPO learns first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from toykit._checks import one_of
from toykit.diagnostics import rank_correlation
from toykit.lessons.base import Results
from toykit.lessons.compare import Figures, compare, reaching
from toykit.lessons.llm import Size, facts, pretrained
from toykit.lessons.rungs import QWEN3_60M, SEEDS, TINY, Setup, pretrain_60m, start
from toykit.lessons.sharing import remembered
from toykit.objectives import method
from toykit.policies import device_of
from toykit.policies.base import read
from toykit.rollouts import Sampled, greedy
from toykit.rollouts.sampling import sample
from toykit.tasks import ChainSum, Prompts
from toykit.training import PretrainConfig, TrainConfig, Trainer

LEARNED = 0.5  # the success at which a prompt counts as learned


@dataclass(frozen=True)
class Plan:
    """task  that the base is pretrained on; prompts  others of its kind, of each seed; candidates  next tokens that are
    tried, the likeliest; rollouts  of the base after each; train, stops, group_size  GRPO's"""

    task: ChainSum
    prompts: int
    candidates: int
    rollouts: int
    train: TrainConfig
    stops: tuple[int, ...]
    group_size: int


SIZES = {
    "60m": Size(
        QWEN3_60M,
        pretrain_60m(1_000, batch=256, accuracy=0.7),
        Plan(
            ChainSum(n_digits=(4, 6, 8), horizon=28),
            prompts=64,
            candidates=4,
            rollouts=16,
            train=TrainConfig(lr=1e-5, prompts=64, max_grad_norm=1.0, autocast=True),
            stops=(0, 5, 10, 15, 20, 30, 40, 60, 80, 100),
            group_size=8,
        ),
    ),
    "tiny": Size(
        TINY,
        PretrainConfig(steps=60, batch=64, lr=1e-2),
        Plan(
            ChainSum(n_digits=2, n_train=60, n_test=20, horizon=8),
            prompts=12,
            candidates=3,
            rollouts=4,
            train=TrainConfig(lr=1e-3, prompts=12, max_grad_norm=1.0),
            stops=(0, 1, 2),
            group_size=4,
        ),
    ),
}


@torch.no_grad()
def values(
    policy: nn.Module, task: ChainSum, prompts: Prompts, written: Tensor, plan: Plan, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(the likeliest next tokens after `written` [B, L], likeliest first; Q^1 of each by rollouts), both [B, C]."""
    tokens = torch.cat([prompts.tokens, written], 1)
    mask = torch.cat([prompts.mask, torch.ones_like(written, dtype=torch.bool)], 1)
    tried = read(policy, tokens, mask).logits[:, -1].topk(plan.candidates).indices
    c, room = plan.candidates, task.horizon - written.shape[1] - 1
    before = torch.cat([written.repeat_interleave(c, 0), tried.view(-1, 1)], 1)
    asked = torch.cat([tokens.repeat_interleave(c, 0), tried.view(-1, 1)], 1)
    seen = nn.functional.pad(mask.repeat_interleave(c, 0), (0, 1), value=True)
    ids = prompts.ids.repeat_interleave(c)
    whole = before[:, None].expand(-1, plan.rollouts, -1)
    kept = torch.ones_like(whole, dtype=torch.bool)
    if room > 0:
        after = sample(policy, Prompts(ids, asked, seen), plan.rollouts, room, task.vocab.stop, generator)
        going = torch.isin(tried.view(-1, 1, 1), tried.new_tensor(task.vocab.stop), invert=True)
        whole, kept = torch.cat([whole, after.tokens], -1), torch.cat([kept, after.mask & going], -1)
    return tried, task.score(ids, whole, kept).mean(-1).view(-1, c)


def acting(policy: nn.Module, task: ChainSum, prompts: Prompts, plan: Plan, generator: torch.Generator) -> float:
    """The success of who takes, token by token, the one of largest Q^1; the likeliest of equals."""
    written = prompts.tokens.new_zeros(len(prompts), 0)
    for _ in range(task.horizon):
        tried, q = values(policy, task, prompts, written, plan, generator)
        written = torch.cat([written, tried.gather(1, q.argmax(1, keepdim=True))], 1)
    ended = torch.isin(written, written.new_tensor(task.vocab.stop)).long()
    mask = ended.cumsum(1) == ended
    return float(task.score(prompts.ids, written[:, None], mask[:, None]).mean())


def ranked(policy: nn.Module, task: ChainSum, prompts: Prompts, plan: Plan, generator: torch.Generator) -> list[float]:
    """For each prompt the share of the places of its chain of running sums where the chain's token has a positive Q^1
    and no other token that is tried has a larger one."""
    chains = [solutions[0] for solutions in task.solutions(prompts.ids)]
    right: list[list[float]] = [[] for _ in chains]
    for t in range(max(map(len, chains))):
        rows = [i for i, chain in enumerate(chains) if len(chain) > t]
        at = torch.tensor(rows, device=prompts.ids.device)
        written = at.new_tensor([chains[i][:t] for i in rows])
        tried, q = values(policy, task, prompts[at], written, plan, generator)
        own = tried == at.new_tensor([chains[i][t] for i in rows])[:, None]
        best = ((own & (q > 0)) * (q >= q.amax(1, keepdim=True))).any(1)
        for i, good in zip(rows, best.tolist(), strict=True):
            right[i].append(float(good))
    return [sum(marks) / len(marks) for marks in right]


def measure(trainer: Trainer, seed: int) -> Figures:
    """Success on every prompt by 32 samples, and on all."""
    generator = torch.Generator(device_of(trainer.policy)).manual_seed(seed)
    found = Sampled(32)(trainer.policy, trainer.task, trainer.prompts, generator).correct.double().mean(-1)
    return {"success": float(found.mean())} | {f"prompt {i}": x for i, x in enumerate(found.tolist())}


def correlations(runs: Results, stops: Sequence[int], shares: Sequence[Sequence[float]]) -> Results:
    """Spearman's correlation, one a seed, of the shares of rightly ranked places [seeds][prompts] with how soon GRPO
    learns a prompt: over all of them, and over those that the base has not learned already; None where there is none.
    """
    found: dict[str, list[float | None]] = {"all": [], "not learned at first": []}
    for seed, share in enumerate(shares):
        paths = [runs[f"prompt {i}"][seed] for i in range(len(share))]
        soon = [-reaching(path, LEARNED, stops, never=math.inf) for path in paths]
        x, y = torch.tensor(share, dtype=torch.float64), torch.tensor(soon, dtype=torch.float64)
        for name, some in (("all", y <= 0), ("not learned at first", y < 0)):
            value = float(rank_correlation(x[some], y[some]))
            found[name].append(None if math.isnan(value) else value)
    return found


def llm(
    seeds: tuple[int, ...] = SEEDS,
    size: str = "60m",
    device: str = "cpu",
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The llm rung: a Qwen3 model that is pretrained here ranks next tokens by its own rollouts, acts on them, and is
    trained by GRPO on the same prompts, which differ from seed to seed."""
    chosen = SIZES[one_of("size", size, SIZES)]
    plan = chosen.plan
    base = pretrained(plan.task, chosen.model, chosen.pretrain, device, folder, progress)
    grpo = method("grpo")
    taken = replace(grpo, objective=grpo.pieces.with_(kl=None))

    def task(seed: int) -> ChainSum:
        return replace(plan.task, n_train=plan.prompts, n_test=1, seed=1 + seed)

    def trainer(seed: int) -> Trainer:
        return start(base, Setup(task(seed), plan.train, plan.stops, plan.group_size), seed, taken)

    def looked(seed: int) -> Results:
        asked, generator = task(seed).prompts().to(device), torch.Generator(device).manual_seed(seed)
        return {
            "ranked": ranked(base, task(seed), asked, plan, generator),
            "Q¹, greedy": acting(base, task(seed), asked, plan, generator),
            "base, greedy": float(greedy(base, task(seed), asked).correct.double().mean()),
        }

    each = list(remembered({f"looked_{seed}": partial(looked, seed) for seed in seeds}, folder).values())
    found = compare({"GRPO": trainer}, seeds, plan.stops, measure, folder, progress)
    shares = [one["ranked"] for one in each]
    return {
        **found,
        "ranked": shares,
        "correlation": correlations(found["runs"]["GRPO"], plan.stops, shares),
        "success": {name: [one[name] for one in each] for name in ("base, greedy", "Q¹, greedy")},
        **facts(size, base),
    }
