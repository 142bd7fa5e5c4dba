"""One run of the atlas: a method trained on a problem from its reference policy, by one rule for all methods."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from toykit.atlas.problems import Problem
from toykit.diagnostics import detectable, exact_pass_at_k, in_support, support_table
from toykit.exact import entropy, kl, posterior
from toykit.objectives import CATALOGUE, method
from toykit.objectives.offline import OFFLINE, offline_method
from toykit.rewards import demonstrations, drawn_pairs, labelled
from toykit.rollouts import Sampled, Solutions, supplying
from toykit.rollouts.examples import Examples
from toykit.training import TrainConfig, Trainer
from toykit.training.offline import OfflineConfig, OfflineTrainer

GROUP, STEPS = 8, 60
BETA = 0.1  # of the posterior, and the default of the methods that have one
K, SEEN = 8, 1024  # tries of pass@k; samples that would show what counts as support
FIRST_KL = 0.003  # nats that the first update moves the policy by, on average over DRAWS of it
DRAWS, ROUNDS, CLOSE = 16, 8, 0.02  # rounds of the search for that learning rate, and its relative error
FIRST_SEED = 10_000  # of the draws of the search: none of a run's seeds
DATA = 512  # completions of each prompt that an offline method is given

MEASURES = {
    "pass@1": "probability of a right completion",
    f"pass@{K}": f"probability that one of {K} completions is right",
    "entropy": "entropy of the completions, nats",
    "support kept": f"share of the right completions that {SEEN} samples of the reference show and still show",
    "KL to posterior": f"KL(policy || posterior of beta {BETA}), nats",
}


class Steps(Protocol):
    """What trains: a policy and its steps."""

    policy: nn.Module

    def step(self) -> dict[str, float]: ...


def methods() -> tuple[str, ...]:
    """The names of the methods that the atlas trains: those of the catalogue that train a policy."""
    return (*CATALOGUE, *(name for name in OFFLINE if name not in left_out()))


def left_out() -> dict[str, str]:
    """The methods of the catalogue that the atlas does not train, and why."""
    why = {"score": "it trains a reward model and no policy", "q": "it trains values and no policy"}
    reads = {name: made().loss.reads for name, made in OFFLINE.items()}
    return {name: why[what.split()[0]] for name, what in reads.items() if what != "logp"}


def trainer(name: str, problem: Problem, rung: str, lr: float, seed: int) -> Steps:
    """A method at the start of a run; plain gradient descent, so that the learning rate is all there is to choose.

    On policy each step draws a group of GROUP completions for every prompt; a method that learns from solutions too has
    one right completion of each prompt, the first in the tree's order, in the group or beside it. Offline, DATA
    completions a prompt are drawn from the reference beforehand and a step takes as many of them, or of pairs of them,
    as its group would hold.
    """
    policy = problem.reference(rung)
    if name in CATALOGUE:
        strategy = supplying(method(name).data, Sampled(GROUP), Solutions.of(problem.task))
        return Trainer(policy, problem.task, name, strategy, TrainConfig(lr=lr, optimizer="sgd", seed=seed))
    data = given(name, problem, policy, seed)
    completions = GROUP * len(problem.task.asked)
    rows = completions // 2 if offline_method(name).loss.data == "pairs" else completions
    config = OfflineConfig(lr=lr, optimizer="sgd", batch=rows, seed=seed)
    return OfflineTrainer(policy, problem.task, name, data, config)


def given(name: str, problem: Problem, reference: nn.Module, seed: int) -> Examples:
    """The data of an offline method: completions of the reference, judged by Bradley and Terry's law of the rewards
    (pairs), with their rewards (UNA) or 1 for the right ones (KTO), or the right ones alone (SFT)."""
    generator = torch.Generator().manual_seed(seed)
    task, loss = problem.task, offline_method(name).loss
    drawn = Sampled(DATA)(reference, task, task.prompts(), generator)
    right = (drawn.rewards >= problem.task.rewards.max()).to(drawn.rewards)
    if loss.data == "pairs":
        return drawn_pairs(drawn, generator)
    if loss.data == "demonstrations":
        return demonstrations(drawn, right)
    return labelled(drawn, lambda r: right).mismatched() if name == "kto" else labelled(drawn)


def first_kl(name: str, problem: Problem, rung: str, lr: float) -> float:
    """KL(policy after one update || reference), nats, the mean over prompts and over DRAWS draws of the update."""
    before = problem.law(problem.reference(rung))
    found = []
    for i in range(DRAWS):
        made = trainer(name, problem, rung, lr, FIRST_SEED + i)
        made.step()
        found.append(float(kl(problem.law(made.policy), before).mean()))
    return sum(found) / DRAWS


def rate(name: str, problem: Problem, rung: str) -> float:
    """The learning rate with which a method's first update moves the reference by FIRST_KL nats on average.

    Raises ValueError where no update moves it, or none by so much.
    """
    lr = 1.0
    for _ in range(ROUNDS):
        found = _tried(name, problem, rung, lr)
        if abs(found / FIRST_KL - 1) < CLOSE:
            return lr
        if found == 0:
            raise ValueError(f"{name} must move the policy in its first update, got none in {DRAWS} draws")
        lr *= min(max(math.sqrt(FIRST_KL / found), 0.02), 50.0)  # KL goes with the square of a small step
    raise ValueError(
        f"{name} must have a learning rate of a first update by {FIRST_KL} nats, got {found:.3g} at {lr:.3g}"
    )


def _tried(name: str, problem: Problem, rung: str, lr: float) -> float:
    """`first_kl`, and 1 where the update is so large that something is not finite."""
    try:
        found = first_kl(name, problem, rung, lr)
    except ValueError as error:
        if "finite" not in str(error):
            raise
        return 1.0
    return found if math.isfinite(found) else 1.0


def run(name: str, problem: Problem, rung: str, lr: float, seed: int, steps: int = STEPS) -> dict[str, float]:
    """The figures of MEASURES after `steps` updates, exact."""
    made = trainer(name, problem, rung, lr, seed)
    for _ in range(steps):
        made.step()
    return measured(problem, problem.law(made.policy), problem.law(problem.reference(rung)))


def measured(problem: Problem, log_p: Tensor, before: Tensor) -> dict[str, float]:
    """The figures of a law [B, L] that began as the law `before`, means over prompts; the posterior is that of
    `before`."""
    right = problem.right
    success = (log_p.exp() * right).sum(-1).clamp(0, 1)
    seen = detectable(SEEN)
    kept = support_table(in_support(before, seen), in_support(log_p, seen), right)
    away = kl(log_p, posterior(before, problem.task.rewards, BETA))
    found = (success, exact_pass_at_k(success, K), entropy(log_p), kept.retention, away)
    return {measure: float(value.mean()) for measure, value in zip(MEASURES, found, strict=True)}
