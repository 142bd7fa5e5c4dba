"""Lesson 54 on the exact rung: the shaping on one state, the tracker, and sampled bandits."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor

from toykit.exact import entropy, mean_score
from toykit.lessons.base import Results
from toykit.lessons.l54_mssr.bandits import RULES, one_token, trained
from toykit.lessons.trained import trained_table
from toykit.objectives import EntropyShaping, PolicyGradient, Tracker, forgetting
from toykit.policies import TabularLM
from toykit.tasks.bandit import Bandit

UNCAPPED = 1e-9  # a kappa below which |A| / kappa is never the smaller
CAPPED = 100.0  # an alpha above which it always is
KLS = (0.0, 0.0025, 0.005, 0.01, 0.010001, 0.1)
NOISES = (0.0, 0.1)  # shares of the rewards of the sixteen bandits that are flipped


def run(seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)) -> Results:
    """All exact results of the lesson; `seeds` draw the sixteen bandits (0 to 5 give the card's numbers)."""
    return {
        "bounds": bounds(),
        "state": one_state(),
        "many": many_states(),
        "sampled": sampled_entropy(),
        "tracker": tracker_law(),
        "draws": tracker_draws(),
        "rho": rho_rules(),
        "bandits": {f"{noise:g}": {rule: trained(rule, noise, seeds) for rule in RULES} for noise in NOISES},
        "trainer": trainer_agrees(),
    }


def shaped(shaping: EntropyShaping, advantages: Tensor, logp: Tensor, law: Tensor) -> Tensor:
    """Shaped advantages [..., B, G] of tokens with log-probabilities `logp`, drawn from laws of entropy `law`."""
    entropies = law.expand_as(logp)[..., None]
    return shaping(advantages[..., None], one_token(logp).with_(extras={"token_entropy": entropies}))[..., 0]


def push(log_pi: Tensor, rewards: Tensor, shaping: EntropyShaping) -> tuple[Tensor, Tensor]:
    """The expected gradients [N, V] of r - p, and of what the shaping adds to it, for laws `log_pi` [N, V]."""
    pi = log_pi.exp()
    advantages = rewards - (pi * rewards).sum(-1, keepdim=True)
    more = shaped(shaping, advantages, log_pi, entropy(log_pi)[..., None]) - advantages
    return mean_score(pi, advantages), mean_score(pi, more)


def bounds() -> Results:
    """C1: by how much psi is outside of [0, |A|/2], and whether positives stay in [A, 3A/2] and negatives in [A, A/2].

    Advantages from -3 to 3 and entropies from 0 to ln 64; the largest excess, and the card's exercise.
    """
    a = torch.linspace(-3, 3, 601, dtype=torch.float64)[:, None]
    h = torch.linspace(0, math.log(64), 101, dtype=torch.float64)
    advantages = a.expand(-1, len(h))
    new = shaped(EntropyShaping(entropy="law"), advantages, torch.zeros_like(advantages), h)
    psi, edge = new - advantages, advantages.abs() / 2
    low, high = torch.minimum(advantages, advantages * 1.5), torch.maximum(advantages / 2, advantages * 1.5)
    given = torch.tensor([[-1.2, 0.5]], dtype=torch.float64)
    one = shaped(EntropyShaping(entropy="law"), given, torch.zeros_like(given), torch.ones(1, 1, dtype=torch.float64))
    return {
        "outside": float(torch.cat([-psi, psi - edge, low - new, new - high]).max()),
        "signs": bool((new.sign() == advantages.sign()).all()),
        "exercise": one[0].tolist(),
    }


def card_state() -> tuple[Tensor, Tensor]:
    """log pi [1, 6] of the card's policy, and its rewards."""
    logits = torch.tensor(np.random.default_rng(0).normal(size=6))
    return logits.log_softmax(-1)[None], torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0], dtype=torch.float64)


def one_state() -> Results:
    """C2 to C4 on the card's policy."""
    log_pi, rewards = card_state()
    plain, small = push(log_pi, rewards, EntropyShaping(0.05, entropy="law"))
    _, large = push(log_pi, rewards, EntropyShaping(CAPPED, entropy="law"))
    ratio = 1 + large / plain
    _, code = push(log_pi, rewards, EntropyShaping(0.4, UNCAPPED))
    steps = [float((central(log_pi[0], 0.4, h) - code[0]).abs().max()) for h in (1e-4, 1e-5, 1e-6)]
    return {
        "p": float((log_pi.exp() * rewards).sum()),
        "constant": float(small.abs().max()),
        "ratio": ratio[0].tolist(),
        "central": steps,
    }


def potential(pi: Tensor, alpha: float) -> Tensor:
    """What the sampled token's uncapped term ascends: alpha times the sum of pi^2 / 4 - pi^2 log pi / 2, [...]."""
    return alpha * (pi**2 / 4 - pi**2 * pi.log() / 2).sum(-1)


def central(log_pi: Tensor, alpha: float, h: float) -> Tensor:
    """Central differences [V] of `potential` in the logits."""
    moved = log_pi + h * torch.eye(len(log_pi), dtype=torch.float64)
    back = log_pi - h * torch.eye(len(log_pi), dtype=torch.float64)
    return (potential(moved.softmax(-1), alpha) - potential(back.softmax(-1), alpha)) / (2 * h)


def many_states(problems: int = 2000, answers: int = 6, seed: int = 0) -> Results:
    """C3 on random laws, rewards and alphas: the law's term is psi(A+) - psi(A-) times the gradient of p.

    Beside it the error of (1 - 2p) / 2 where the cap always acts, and how far the sampled token's term leaves the
    direction: the least cosine.
    """
    draw = torch.Generator().manual_seed(seed)
    log_pi = (2 * torch.randn(problems, answers, generator=draw, dtype=torch.float64)).log_softmax(-1)
    rewards = (torch.rand(problems, answers, generator=draw, dtype=torch.float64) < 0.4).double()
    rewards[:, :2] = torch.tensor([1.0, 0.0], dtype=torch.float64)  # at least one of each
    pi, alpha = log_pi.exp(), 0.4
    p, h = (pi * rewards).sum(-1, keepdim=True), entropy(log_pi)[:, None]
    plain, law = push(log_pi, rewards, EntropyShaping(alpha, entropy="law"))
    factor = torch.minimum(alpha * h, (1 - p) / 2) - torch.minimum(alpha * h, p / 2)
    _, capped = push(log_pi, rewards, EntropyShaping(1e9, entropy="law"))
    _, code = push(log_pi, rewards, EntropyShaping(alpha))
    cosine = torch.nn.functional.cosine_similarity(plain, plain + code, dim=-1)
    return {
        "law": float((law - factor * plain).abs().max()),
        "capped": float((capped - (1 - 2 * p) / 2 * plain).abs().max()),
        "cosine": float(cosine.min()),
    }


def sampled_entropy(problems: int = 2000, seed: int = 1) -> Results:
    """X1: the sampled token's uncapped term, and which way it moves the entropy of random laws of 6 and 64 tokens.

    By the spread of the logits: the share of laws whose entropy falls along it.
    """
    found: Results = {"spreads": [0.5, 1.0, 2.0]}
    for answers in (6, 64):
        draw = torch.Generator().manual_seed(seed)
        shares = []
        for spread in found["spreads"]:
            log_pi = (spread * torch.randn(problems, answers, generator=draw, dtype=torch.float64)).log_softmax(-1)
            shares.append(float((drift(log_pi) < 0).double().mean()))
        found[str(answers)] = shares
    return found


def drift(log_pi: Tensor) -> Tensor:
    """dH/dt [...] of laws [..., V] along the sampled token's uncapped term, alpha 1; along the law's it is 0."""
    pi = log_pi.exp()
    return (mean_score(pi, -log_pi) * mean_score(pi, -pi * log_pi)).sum(-1)


def tracker_law(tries: int = 12, p: float = 0.3) -> Results:
    """C5 over all sequences of outcomes: the errors of the mean p and of p (1 - p) (1 - rho)/(1 + rho) (1 - rho^2n),
    and of rho^n (p - q) as what is left of a value p when the rate is q, for rho = 7/8, whose 1/(1 - rho) is the prior.

    Beside it the bias after a jump for rho = 0.96, where the counts still grow.
    """
    rho, prior = 0.875, 8.0
    outcomes = torch.tensor(list(itertools.product((0.0, 1.0), repeat=tries)), dtype=torch.float64)
    ids = torch.arange(len(outcomes))
    tracker = Tracker("fixed", rho=rho, prior=prior)
    tracker.counts = {i: (prior * p, prior * (1 - p)) for i in ids.tolist()}
    for column in outcomes.unbind(1):
        tracker.see(ids.tolist(), column.tolist(), rho)
    v, right = tracker.values(ids), outcomes.sum(1)
    weight = p**right * (1 - p) ** (tries - right)
    mean = float(weight @ v)
    variance = float(weight @ (v - mean) ** 2)
    wanted = p * (1 - p) * (1 - rho) / (1 + rho) * (1 - rho ** (2 * tries))
    bias = {r: _bias(r, prior, 40) for r in (rho, 0.96)}  # of a value that was at 0.3 when the rate becomes 0.8
    n = torch.arange(1, 41, dtype=torch.float64)
    decay = {r: -0.5 * prior * r**n / (prior * r**n + (1 - r**n) / (1 - r)) for r in bias}
    return {
        "mean": abs(mean - p),
        "variance": abs(variance - wanted),
        "bias": float((bias[rho] + 0.5 * rho**n).abs().max()),
        "with the prior": max(float((bias[r] - decay[r]).abs().max()) for r in bias),
        "left after 20": {f"{r:g}": float(bias[r][19]) / -0.5 for r in bias},
    }


def _bias(rho: float, prior: float, tries: int, before: float = 0.3, after: float = 0.8) -> Tensor:
    """E[v] - after [tries], after each try, where the value was `before` with the weight of the prior."""
    tracker = Tracker("fixed", rho=rho, prior=prior)
    tracker.counts = {0: (prior * before, prior * (1 - before))}
    found = []
    for _ in range(tries):
        tracker.see([0], [after], rho)
        found.append(float(tracker.values(torch.tensor([0]))) - after)
    return torch.tensor(found, dtype=torch.float64)


def tracker_draws(draws: int = 200_000, dropped: int = 1000, p: float = 0.3, seed: int = 1) -> Results:
    """C5 as the card draws it: the variance of v along one long sequence, and in theory, for two rho."""
    outcomes = (np.random.default_rng(seed).random(draws) < p).astype(float).tolist()
    found = {}
    for rho in (0.875, 0.96):
        tracker, path = Tracker("fixed", rho=rho), []
        for outcome in outcomes:
            tracker.see((0,), (outcome,), rho)
            a, b = tracker.counts[0]
            path.append(a / (a + b))
        found[f"{rho:g}"] = [float(np.var(path[dropped:])), p * (1 - p) * (1 - rho) / (1 + rho)]
    return found


def rho_rules() -> Results:
    """C6: rho at the card's KLs, and along 0 to 0.03, under the released and the monotone rule."""
    grid = [i / 10_000 for i in range(301)]
    return {
        "card": [forgetting("released", kl) for kl in KLS],
        "kl": grid,
        **{rule: [forgetting(rule, kl) for kl in grid] for rule in ("released", "monotone")},
    }


def trainer_agrees(steps: int = 10, lr: float = 0.5) -> Results:
    """S1: the Trainer on enumerated answers takes the steps of the flow on the card's state, values and all."""
    log_pi, rewards = card_state()
    task, errors = Bandit(rewards), {}
    for kind in ("law", "sampled"):
        shaping = EntropyShaping(entropy=kind)
        objective = PolicyGradient(Tracker("fixed", rho=0.875, normalise=False), transforms=(shaping,))
        logits, tracker = log_pi.clone(), Tracker("fixed", rho=0.875)
        for _ in range(steps):
            now = logits.log_softmax(-1)
            advantages = rewards - tracker.values(torch.tensor([[0]]))
            logits = logits + lr * mean_score(now.exp(), shaped(shaping, advantages, now, entropy(now)[:, None]))
            tracker.see([0], (now.exp() @ rewards).tolist(), 0.875)
        table = trained_table(TabularLM.of(task, logits=log_pi), task, objective, lr, steps)
        errors[kind] = float((table.log_softmax(-1) - logits.log_softmax(-1)).abs().max())
    return errors
