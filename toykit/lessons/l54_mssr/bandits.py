"""Sixteen bandits that share their features, sampled: one completion of each prompt, or eight of two."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from toykit.exact import entropy
from toykit.lessons.base import Results
from toykit.objectives import Advantage, EntropyShaping, Tracker
from toykit.rollouts import Rollouts

RULES: dict[str, tuple[EntropyShaping, ...] | None] = {  # groups, or a tracker and the shaping after it
    "GRPO": None,
    "MVSR": (),
    "MSSR": (EntropyShaping(),),
    "MSSR, law": (EntropyShaping(entropy="law"),),
}
GROUP = Advantage("group", "group", ddof=0)
PROMPTS, ANSWERS, FEATURES, LR = 16, 8, 8, 1.0


def one_token(logp: Tensor, ids: Tensor | None = None, rewards: Tensor | None = None) -> Rollouts:
    """Completions [..., B, G] of one token with log-probabilities `logp`; `ids` are int64 [..., B]."""
    tokens = torch.zeros(*logp.shape, 1, dtype=torch.int64)
    prompts = torch.zeros(*logp.shape[:-1], 1, dtype=torch.int64)
    return Rollouts(
        prompts=prompts,
        prompt_mask=prompts == 0,
        prompt_ids=prompts[..., 0] if ids is None else ids,
        completions=tokens,
        mask=tokens == 0,
        old_logp=logp[..., None],
        rewards=torch.zeros_like(logp) if rewards is None else rewards,
        weights=torch.full_like(logp, 1 / logp.shape[-1]),
    )


def problems(draws: list[np.random.Generator]) -> tuple[Tensor, Tensor]:
    """Unit features [R, 16, 8] and rewards [R, 16, 8] with two right answers a prompt, of one generator each."""
    features = np.stack([draw.normal(size=(PROMPTS, FEATURES)) for draw in draws])
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    rewards = np.zeros((len(draws), PROMPTS, ANSWERS))
    for r, draw in enumerate(draws):
        for x in range(PROMPTS):
            rewards[r, x, draw.choice(ANSWERS, 2, replace=False)] = 1
    return torch.tensor(features), torch.tensor(rewards)


def trained(rule: str, noise: float, seeds: tuple[int, ...], steps: int = 200) -> Results:
    """Plain gradient steps of 16 completions from uniform answers, logits `W @ features`, no clip, rho 0.9175.

    Returns by seed the mean over training of the accuracy and the final entropy of an answer, both over all prompts,
    and the accuracy on the way, a mean over seeds. A share `noise` of the rewards is flipped; the accuracy is true.
    """
    draws = [np.random.default_rng(seed) for seed in seeds]
    features, rewards = problems(draws)
    runs, whole = torch.arange(len(seeds))[:, None], torch.arange(PROMPTS).expand(len(seeds), -1)
    weights = torch.zeros(len(seeds), ANSWERS, FEATURES, dtype=torch.float64)
    tracker, shapings = Tracker("fixed", rho=0.9175), RULES[rule]
    accuracy = []
    for _ in range(steps):
        log_pi = (features @ weights.mT).log_softmax(-1)
        accuracy.append((log_pi.exp() * rewards).sum((-1, -2)) / PROMPTS)
        asked = _pairs(draws) if shapings is None else whole
        laws = log_pi[runs, asked]
        answers = _drawn(laws.exp(), _uniform(draws))
        got, logp = rewards[runs, asked, answers], laws.gather(-1, answers[..., None])[..., 0]
        if noise:
            got = torch.where(_uniform(draws) < noise, 1 - got, got)
        if shapings is None:
            groups = got.view(len(seeds), 2, -1)
            advantages = GROUP(groups, torch.full_like(groups, 1 / groups.shape[-1])).view_as(got)
        else:
            made = one_token(logp[..., None], asked + PROMPTS * runs, got[..., None])
            made = made.with_(extras={"token_entropy": entropy(laws)[..., None, None]})
            advantages = tracker(made.rewards, made)[..., None]
            for shaping in shapings:
                advantages = shaping(advantages, made)
            advantages = advantages.view_as(got)
        score = torch.nn.functional.one_hot(answers, ANSWERS) - laws.exp()
        weights = weights + LR * (advantages[..., None] * score).mT @ features[runs, asked] / PROMPTS
    last, path = (features @ weights.mT).log_softmax(-1), torch.stack(accuracy)
    return {
        "accuracy": path.mean(0).tolist(),
        "entropy": entropy(last).mean(-1).tolist(),
        "path": path.mean(1).tolist(),
    }


def _pairs(draws: list[np.random.Generator]) -> Tensor:
    """Two prompts a run, each eight times: int64 [R, 16]."""
    chosen = np.stack([draw.choice(PROMPTS, 2, replace=False) for draw in draws])
    return torch.tensor(chosen).repeat_interleave(PROMPTS // 2, 1)


def _uniform(draws: list[np.random.Generator]) -> Tensor:
    return torch.tensor(np.stack([draw.random(PROMPTS) for draw in draws]))


def _drawn(pi: Tensor, uniform: Tensor) -> Tensor:
    """Answers int64 [R, 16] by inversion, as numpy's `choice` has them from the same numbers."""
    below = pi.cumsum(-1)
    return torch.searchsorted(below / below[..., -1:], uniform[..., None], right=True)[..., 0]
