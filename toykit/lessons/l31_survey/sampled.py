"""Lesson 31 on the gpt and llm rungs: the survey's methods on one task, from one base policy, at equal updates."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from toykit._checks import one_of
from toykit.diagnostics import interval, paired_interval
from toykit.lessons.base import Results
from toykit.lessons.compare import Figures, compare, last
from toykit.lessons.llm import Size, facts, pretrained
from toykit.lessons.rungs import QWEN3_60M, TINY, pretrain_60m
from toykit.objectives import ILQL, OfflineMethod, decoding_logits, method
from toykit.policies import device_of
from toykit.policies.base import Output
from toykit.rewards import Judge, LearnedReward, drawn_pairs, labelled, reward_model, scores
from toykit.rollouts import Pairs, Rollouts, Sampled, log_softmax, token_logps, vocab_logps
from toykit.rollouts.examples import take
from toykit.tasks import Sorting
from toykit.training import OfflineConfig, OfflineTrainer, PretrainConfig, TrainConfig, Trainer, load_policy

ON_POLICY = {  # name: of the catalogue
    "REINFORCE": "reinforce",
    "RLOO": "rloo",
    "A2C": "a2c",
    "PPO": "ppo",
    "GRPO": "grpo",
    "Dr. GRPO": "dr_grpo",
}
ON_PAIRS = {"DPO": "dpo", "IPO": "ipo", "ORPO": "orpo"}
ON_LABELS = {"KTO": "kto", "UNA": "una"}
BY_REWARD_MODEL = {"BT + PPO": 0.0, "RLAIF": 0.2}  # name: share of the judge's answers that are turned round
CONTROL = "ILQL, no rewards"  # what its decoding gains by imitation alone
METHODS = (*ON_POLICY, *ON_PAIRS, *ON_LABELS, *BY_REWARD_MODEL, "ILQL")
ARMS = (*METHODS, CONTROL)
LLM_ARMS = ("GRPO", "RLOO", "PPO", "DPO")
GIVEN = 4  # completions a prompt in the data of the methods that learn from given ones
SHARPNESS = 4.0  # beta of ILQL's decoding
GROUPS = (4, 8, 16, 32)


@dataclass(frozen=True)
class Plan:
    """What all methods share.

    prompts, group_size  of a step on policy; methods on given data take as many completions a step
    judged               steps of the reward model, before the policy's first
    stops                updates of the policy at which all are measured
    """

    prompts: int
    group_size: int
    judged: int
    stops: tuple[int, ...]
    lr: float
    autocast: bool = False

    def on_policy(self, seed: int) -> TrainConfig:
        return TrainConfig(lr=self.lr, prompts=self.prompts, max_grad_norm=1.0, autocast=self.autocast, seed=seed)

    def offline(self, seed: int, completions: int) -> OfflineConfig:
        """Rows of so many completions each."""
        rows = self.prompts * self.group_size // completions
        return OfflineConfig(lr=self.lr, batch=rows, max_grad_norm=1.0, autocast=self.autocast, seed=seed)


PLAN = Plan(prompts=32, group_size=8, judged=60, stops=(0, 15, 30, 45, 60), lr=3e-4)  # of the gpt rung


class Decoded(nn.Module):
    """ILQL's policy log pi_data + beta (Q - V), whose softmax V leaves alone; called like a policy."""

    def __init__(self, behaviour: nn.Module, q: nn.Module, beta: float = SHARPNESS) -> None:
        super().__init__()
        self.behaviour, self.q, self.beta, self.vocab_size = behaviour, q, beta, behaviour.vocab_size

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Output:
        logp = log_softmax(self.behaviour(input_ids, attention_mask).logits)
        q = self.q(input_ids, attention_mask).logits
        return Output(decoding_logits(logp, q, torch.zeros_like(logp[..., 0]), self.beta))


def given(base: nn.Module, task: Sorting, seed: int) -> Rollouts:
    """The data: completions of the base policy for every training prompt, with their rewards."""
    prompts = task.prompts().to(device_of(base))
    return Sampled(GIVEN)(base, task, prompts, torch.Generator(prompts.ids.device).manual_seed(seed))


def decided(rollouts: Rollouts, seed: int, flip: float = 0.0) -> Pairs:
    """Pairs of completions of which one is right and the other wrong; a judge turns round a share `flip` of them."""
    generator = torch.Generator(rollouts.rewards.device).manual_seed(seed)
    pairs = drawn_pairs(rollouts, generator, Judge(temperature=0, flip=flip))
    assert pairs.margins is not None
    kept = take(pairs, pairs.margins != 0)
    return replace(kept, weights=kept.weights / kept.weights.sum())


@torch.enable_grad()
def judge(base: nn.Module, task: Sorting, plan: Plan, seed: int, flip: float) -> nn.Module:
    """The reward model that `plan.judged` updates on Bradley-Terry's loss make."""
    pairs, model = decided(given(base, task, seed), seed, flip), reward_model(base).requires_grad_(True)
    OfflineTrainer(model, task, "bradley_terry", pairs, plan.offline(seed, 2)).run(plan.judged, progress=False)
    return model


def trainers(base: nn.Module, task: Sorting, plan: Plan) -> dict[str, Callable[[int], Any]]:
    """A fresh trainer of a seed for every arm."""

    def own() -> nn.Module:
        return copy.deepcopy(base).requires_grad_(True)

    def on_policy(seed: int, name: str) -> Trainer:
        return Trainer(own(), task, name, Sampled(plan.group_size), plan.on_policy(seed), reference=base)

    def on_pairs(seed: int, name: str) -> OfflineTrainer:
        pairs = decided(given(base, task, seed), seed)
        return OfflineTrainer(own(), task, name, pairs, plan.offline(seed, 2), reference=base)

    def on_labels(seed: int, name: str) -> OfflineTrainer:
        data, each = labelled(given(base, task, seed)), 1
        if name == "kto":
            data, each = data.mismatched(), 2
        return OfflineTrainer(own(), task, name, data, plan.offline(seed, each), reference=base)

    def by_reward_model(seed: int, flip: float) -> Trainer:
        model = judge(base, task, plan, seed, flip)
        how = Sampled(plan.group_size), plan.on_policy(seed)
        return Trainer(own(), task, "ppo_rlhf", *how, shaping=LearnedReward(model), reference=base)

    def on_values(seed: int, share: float) -> OfflineTrainer:
        q, data = own(), labelled(given(base, task, seed), lambda r: share * r.rewards)
        start_at_0(q)
        return OfflineTrainer(q, task, "ilql", data, plan.offline(seed, 1))

    return {
        **{name: partial(on_policy, name=of) for name, of in ON_POLICY.items()},
        **{name: partial(on_pairs, name=of) for name, of in ON_PAIRS.items()},
        **{name: partial(on_labels, name=of) for name, of in ON_LABELS.items()},
        **{name: partial(by_reward_model, flip=flip) for name, flip in BY_REWARD_MODEL.items()},
        "ILQL": partial(on_values, share=1.0),
        CONTROL: partial(on_values, share=0.0),
    }


@torch.no_grad()
def start_at_0(q: nn.Module) -> None:
    """Brings a policy's logits near 0, so that it can be learned as Q: a thousandth of them is left, or nothing but the
    last scale would have a gradient."""
    given: Any = q
    scale = given.norm if hasattr(given, "norm") else given.model.norm.weight
    scale.mul_(0.001)


def by_values(trainer: Any) -> bool:
    """Whether a trainer learns ILQL's Q and V."""
    return isinstance(getattr(trainer, "method", None), OfflineMethod) and isinstance(trainer.loss, ILQL)


def policy_of(trainer: Any, base: nn.Module) -> nn.Module:
    """What a trainer trains, or where that is Q the policy that is decoded with it."""
    return Decoded(base, trainer.policy).eval() if by_values(trainer) else trainer.policy


@torch.no_grad()
def success(policy: nn.Module, task: Sorting, split: str = "test") -> Tensor:
    """The exact success rate of each prompt of a split, float64 [B]: there is one right completion."""
    prompts = task.prompts(split).to(device_of(policy))
    right = task.right(prompts.ids)[:, None]
    logp = token_logps(policy, prompts.tokens, prompts.mask, right, torch.ones_like(right, dtype=torch.bool))
    return logp.double().sum(-1)[:, 0].exp().clamp(max=1.0).cpu()


@torch.no_grad()
def measure(trainer: Any, seed: int, base: nn.Module, task: Sorting) -> Figures:
    """Of the held-out prompts: accuracy (exact), and KL to the base and entropy of a completion, nats, as sums over
    the vocabulary along two sampled completions a prompt."""
    policy = policy_of(trainer, base)
    prompts = task.prompts("test").to(device_of(base))
    made = Sampled(2)(policy, task, prompts, torch.Generator(prompts.ids.device).manual_seed(seed))
    rows = (made.prompts, made.prompt_mask, made.completions, made.mask)
    own, ref = (vocab_logps(of, *rows).double() for of in (policy, base))
    return {
        "accuracy": float(success(policy, task).mean()),
        "kl": float((own.exp() * (own - ref)).sum((-1, -2)).mean()),
        "entropy": float(-(own.exp() * own).sum((-1, -2)).mean()),
    }


def held(trainer: Any, base: nn.Module) -> float:
    """How many models' parameters a trainer holds while it trains, in units of the base policy's."""
    shaping = getattr(trainer, "shaping", None)
    models = [trainer.policy, trainer.reference, trainer.critic, getattr(shaping, "model", None)]
    count = sum(p.numel() for model in models if model is not None for p in model.parameters())
    if by_values(trainer):
        count += sum(p.numel() for p in base.parameters())  # decoding needs the behaviour policy too
    return count / sum(p.numel() for p in base.parameters())


def noise(base: nn.Module, task: Sorting, seed: int, draws: int, prompts: int = 8) -> list[float]:
    """The standard deviation of RLOO's gradient at the base policy, root of the trace of its covariance over `draws`
    sets of completions of the same prompts, for each of GROUPS completions a prompt."""
    policy = copy.deepcopy(base).requires_grad_(True)
    asked, objective = task.prompts()[:prompts].to(device_of(base)), method("rloo").objective
    generator = torch.Generator(asked.ids.device).manual_seed(seed)

    def gradient(group: int) -> Tensor:
        rollouts = Sampled(group)(policy, task, asked, generator)
        rows = (rollouts.prompts, rollouts.prompt_mask, rollouts.completions, rollouts.mask)
        loss, _ = objective.loss(token_logps(policy, *rows), objective.prepare(rollouts))
        found = torch.autograd.grad(loss, list(policy.parameters()))
        return torch.cat([g.flatten() for g in found]).double()

    return [float(torch.stack([gradient(g) for _ in range(draws)]).var(0).sum().sqrt()) for g in GROUPS]


def slope(stds: Sequence[float]) -> float:
    """The exponent of G in the standard deviation, by least squares on logarithms."""
    return float(np.polyfit(np.log(GROUPS), np.log(stds), 1)[0])


def experiment(
    base: nn.Module,
    task: Sorting,
    seeds: Sequence[int],
    plan: Plan,
    folder: Path | None,
    progress: bool,
    only: Sequence[str],
) -> Results:
    """Every arm from one base policy; see `toykit.lessons.compare`. Raises ValueError for an unknown arm."""
    made = trainers(base, task, plan)
    chosen: Mapping[str, Callable[[int], Any]] = {one_of("only", name, ARMS): made[name] for name in only}
    found = compare(chosen, seeds, plan.stops, partial(measure, base=base, task=task), folder, progress)
    about = {"lr": plan.lr, "completions a step": plan.prompts * plan.group_size, "judged": plan.judged}
    about |= {"base": float(success(base, task).mean())}
    return found | about | {"held": {name: held(make(seeds[0]), base) for name, make in chosen.items()}}


def gpt(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    stops: tuple[int, ...] = PLAN.stops,
    judged: int = PLAN.judged,
    draws: int = 16,
    folder: Path | None = None,
    progress: bool = False,
    only: tuple[str, ...] = ARMS,
) -> Results:
    """The gpt rung: sort five digits, 256 completions an update; and the noise of RLOO's gradient, from
    `draws` sets of completions for each size of the group."""
    base, task = load_policy("sorting").requires_grad_(False), Sorting()
    plan = replace(PLAN, judged=judged, stops=stops)
    found = experiment(base, task, seeds, plan, folder, progress, only)
    return found | {"groups": list(GROUPS), "noise": [noise(base, task, seed, draws) for seed in seeds]}


def gaps(updates: int = 15, seed: int = 0) -> list[dict[str, Any]]:
    """Rows for a table: the log-probabilities of DPO's chosen and rejected completions before the first and the last
    of some updates, and how often the chosen one has gained more on the base."""
    base, task = load_policy("sorting").requires_grad_(False), Sorting()
    path = trainers(base, task, PLAN)["DPO"](seed).run(updates + 1, progress=False)
    names = {"chosen_logp": "chosen", "rejected_logp": "rejected", "margin": "gap of h", "accuracy": "right order"}
    return [{"updates": i} | {label: path[i][name] for name, label in names.items()} for i in (0, updates)]


@torch.no_grad()
def judge_accuracy(flip: float, seed: int = 0) -> float:
    """The share of held-out pairs that the reward model of BT + PPO, or with `flip` of RLAIF, orders rightly."""
    base, task = load_policy("sorting").requires_grad_(False), Sorting()
    prompts = task.prompts("test")
    made = Sampled(GIVEN)(base, task, prompts, torch.Generator().manual_seed(seed))
    pairs, model = decided(made, seed), judge(base, task, PLAN, seed, flip)
    found = scores(model, pairs.prompts, pairs.prompt_mask, pairs.completions, pairs.mask)[..., -1]
    return float((found[:, 0] > found[:, 1]).double().mean())


def rows(results: Results) -> list[dict[str, Any]]:
    """Rows for a table: every arm at the end, mean and 95 % interval over the seeds, and the models it holds."""
    found = []
    for name in (name for name in ARMS if name in results["runs"]):
        row: dict[str, Any] = {"method": name}
        for figure in ("accuracy", "kl", "entropy"):
            values = last(results, name, figure)
            if len(values) > 1:
                at = interval(values)
                row[figure] = f"{at.mean:.3f} ± {at.high - at.mean:.3f}"
            else:
                row[figure] = f"{values[0]:.3f}"
        found.append(row | {"models held": f"{results['held'][name]:.1f}"})
    return found


PAIRS = (
    ("RLOO", "Dr. GRPO"),
    ("RLOO", "REINFORCE"),
    ("GRPO", "RLOO"),
    ("PPO", "RLOO"),
    ("PPO", "BT + PPO"),
    ("RLOO", "DPO"),
    ("DPO", "IPO"),
    ("ILQL", CONTROL),
)


def reported(results: Results) -> list[dict[str, Any]]:
    """Rows for a table: differences of final accuracy for which no direction was assumed, with their intervals."""
    found = []
    for a, b in PAIRS:
        d = paired_interval(last(results, a, "accuracy"), last(results, b, "accuracy"))
        found.append({"first": a, "second": b, "first - second": f"{d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"})
    return found


SIZES = {
    "60m": Size(
        QWEN3_60M,
        pretrain_60m(1_000, batch=512, accuracy=0.6),
        Plan(64, 8, 0, (0, 25, 50, 75, 100), lr=1e-5, autocast=True),
    ),
    "tiny": Size(
        TINY,
        PretrainConfig(steps=40, batch=64, lr=1e-2),
        Plan(8, 4, 0, (0, 1, 2), lr=1e-3),
    ),
}


def llm(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    size: str = "60m",
    device: str = "cpu",
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The llm rung: four of the methods with a transformers model of the Qwen3 type, pretrained here."""
    chosen, task = SIZES[one_of("size", size, SIZES)], Sorting()
    base = pretrained(task, chosen.model, chosen.pretrain, device, folder, progress)
    found = experiment(base, task, seeds, chosen.plan, folder, progress, LLM_ARMS)
    return found | facts(size, base)
