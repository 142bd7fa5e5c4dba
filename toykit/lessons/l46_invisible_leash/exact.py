"""Lesson 46 on the exact rung: what support, the likelier of two right answers, and entropy do along exact flows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from toykit.diagnostics import SupportTable, detectable, in_support, support_table
from toykit.exact import ascend, ascend_until, entropy, filtered, group_values, group_weight, kl, mean_score, posterior
from toykit.lessons.base import Results
from toykit.lessons.l46_invisible_leash import negative, reasons, tree
from toykit.lessons.trained import trained_table
from toykit.objectives import method
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated, Given, Sampled
from toykit.tasks import Bandit
from toykit.training import TrainConfig, Trainer

SEEDS = (0, 1, 2, 3, 4)
MASKED, MASKED_REWARDS = (0.2, 0.3, 0.5, 0.0), (0.0, 0.0, 1.0, 1.0)
TWO, RIGHT_TWO = (0.30, 0.01, 0.69), (1.0, 1.0, 0.0)  # two right answers, one likely
RARE, RIGHT_RARE = (0.90, 0.05, 0.05), (0.0, 1.0, 1.0)  # the card's counterexample: right answers are rare
USUAL, RIGHT_USUAL = (0.4, 0.3, 0.2, 0.1), (0.0, 1.0, 0.0, 0.0)
BETAS = (1.0, 2.0, 4.0, 8.0)


def law(*p: float) -> Tensor:
    return torch.tensor(p, dtype=torch.float64)


def run(seeds: tuple[int, ...] = SEEDS) -> Results:
    """All exact results of the lesson; `seeds` are those of the trees, the first one that of the random problems."""
    return {
        "masked": masked(),
        "random supports": random_supports(seeds[0]),
        "tilt": tilt(seeds[0]),
        "metrics": metrics(seeds[0]),
        "negative": negative.bounds(seeds[0]),
        "negative runs": negative.runs(),
        "winner": winner(),
        "halves": halves(),
        "entropy": entropies(),
        "random entropies": random_entropies(seeds[0]),
        "reasons": reasons.run(),
        "tree": tree.run(seeds),
        "trainer": trainer_agrees(),
    }


def policy_step(rewards: Tensor) -> Callable[[Tensor], Tensor]:
    """The policy gradient [..., V] in logits [..., V]; -inf stays."""
    return lambda logits: mean_score(logits.softmax(-1), rewards)


def group_step(rewards: Tensor) -> Callable[[Tensor], Tensor]:
    """The expected step of GRPO with groups of 8."""

    def step(logits: Tensor) -> Tensor:
        log_pi = logits.log_softmax(-1)
        return mean_score(log_pi.exp(), group_values(log_pi, rewards > 0.5))

    return step


def taught_step(rewards: Tensor) -> Callable[[Tensor], Tensor]:
    """Supervised learning on the right answers, each as often."""
    return lambda logits: rewards / rewards.sum(-1, keepdim=True) - logits.softmax(-1)


def masked(steps: int = 1000, lr: float = 0.1, seed: int = 0) -> Results:
    """C1: an answer of probability 0, and the same answer at 1e-8, after exact and after sampled steps."""
    start, rewards = law(*MASKED).log(), law(*MASKED_REWARDS)
    both = torch.stack([start, law(0.2, 0.3, 0.5 - 1e-8, 1e-8).log()])
    found: Results = {}
    for name, make in (("policy gradient", policy_step), ("GRPO", group_step), ("SFT", taught_step)):
        closed, open_ = ascend(make(rewards), both, lr, [steps])[0].softmax(-1)
        found |= {name: closed.tolist(), f"{name}, open": float(open_[-1])}
    for name in ("reinforce", "grpo", "ppo"):
        task = Bandit(rewards)
        policy = TabularLM.of(task, logits=start[None])
        trainer = Trainer(policy, task, method(name), Sampled(8), TrainConfig(lr=lr, optimizer="sgd", seed=seed))
        trainer.run(20, progress=False)
        found[f"{name}, sampled"] = policy.table.detach()[0].softmax(-1).tolist()
    return found


def random_supports(seed: int, problems: int = 200, answers: int = 8, steps: int = 500) -> Results:
    """C1 and C.2 on random problems with masked answers: what is gained, and the rise of pass@k as k grows."""
    draw = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(problems, answers, generator=draw, dtype=torch.float64)
    logits[torch.rand(logits.shape, generator=draw, dtype=torch.float32) < 0.5] = -torch.inf
    logits[:, 0] = 0.0  # wrong in every problem, so that each has something to say
    rewards = (torch.rand(logits.shape, generator=draw, dtype=torch.float32) < 0.4).double()
    rewards[:, 0] = 0.0
    right, gained, rise = rewards > 0.5, 0.0, 0.0
    before = in_support(logits, correct=right)
    for make in (policy_step, group_step):
        log_pi = ascend(make(rewards), logits, 1.0, [steps])[0].log_softmax(-1)
        after = in_support(log_pi, correct=right)
        gained += float(support_table(before, after, right).gained.sum())
        rise = max(rise, float((after.any(-1).double() - before.any(-1).double()).max()))
    return {"gained": gained, "rise of the limit": rise, "unsolvable": int((~before.any(-1)).sum())}


def tilt(seed: int, problems: int = 50, answers: int = 6) -> Results:
    """C2: the tilt's slope, the laws that do as well, where ascent leads, and the limit; beta is the inverse KL weight.

    `constrained` is the least KL(p || q) - KL(tilt || q) - KL(p || tilt) over laws p of at least the tilt's reward,
    which is 0 for those of the same and positive for better ones.
    """
    draw = torch.Generator().manual_seed(seed)
    log_q = (1.5 * torch.randn(problems, answers, generator=draw, dtype=torch.float64)).log_softmax(-1)
    rewards = (torch.rand(problems, answers, generator=draw, dtype=torch.float32) < 0.4).double()
    rewards[:, :2] = law(1.0, 0.0)
    others = (3 * torch.randn(200, problems, answers, generator=draw, dtype=torch.float64)).log_softmax(-1)
    slope, least, ends = 0.0, torch.inf, 0.0
    for beta in (0.5, 2.0, 5.0):
        best = posterior(log_q, rewards, 1 / beta)

        def step(logits: Tensor, beta: float = beta) -> Tensor:
            log_pi = logits.log_softmax(-1)
            return mean_score(log_pi.exp(), rewards - (log_pi - log_q) / beta)

        slope = max(slope, float(step(best).abs().max()))
        better = (others.exp() * rewards).sum(-1) >= (best.exp() * rewards).sum(-1)
        excess = kl(others, log_q) - kl(best, log_q) - kl(others, best)
        least = min(least, float(excess[better].min()))
        if beta == 2.0:
            end = ascend(step, log_q, 1.0, [5_000])[0].log_softmax(-1)
            ends = float(kl(end, best).max())
    limit = posterior(log_q, rewards, 1 / 200).exp() - filtered(log_q, rewards > 0.5).exp()
    return {"slope": slope, "constrained": least, "ascent": ends, "limit": float(limit.abs().max())}


def metrics(seed: int, tables: int = 500) -> Results:
    """C3: eps at k = 8192, both forms of SDS on random counts, and the rates of the paper's tables."""
    draw = torch.Generator().manual_seed(seed)
    p, e, s, o = torch.randint(1, 500, (4, tables), generator=draw).double()
    other = 2 * p * e / (p**2 + 2 * p * e + e * s)
    paper = SupportTable(*(law(*row) for row in ((2400, 761), (163, 104), (36, 83), (805, 599))))
    rates = {"SRR": paper.retention, "NDR": paper.discovery, "SDS": paper.dynamics, "NSCR": paper.net_change}
    return {
        "eps": detectable(8192),
        "SDS": float((SupportTable(p, s, e, o).dynamics - other).abs().max()),
        "paper": {name: rate.tolist() for name, rate in rates.items()},
    }


def plain_ascent(logits: Sequence[float], lr: float, keep: Sequence[int]) -> list[list[float]]:
    """Logits after the given numbers of steps on three answers of which the first two are right.

    The steps of `ascend` with `policy_step`, in plain floats, for there are 200,000 of them.
    """
    a, b, c = logits
    kept = []
    for step in range(max(keep) + 1):
        if step in keep:
            kept.append([a, b, c])
        top = max(a, b, c)
        x, y, w = math.exp(a - top), math.exp(b - top), math.exp(c - top)
        total = x + y + w
        away = lr * w / total  # of which each logit takes its probability
        a, b, c = a + away * x / total, b + away * y / total, c - away * (x + y) / total
    return kept


def conserved(z: Sequence[float]) -> float:
    return math.exp(-z[0]) - math.exp(-z[1])


def winner(keep: Sequence[int] = (1_000, 10_000, 200_000)) -> Results:
    """C4: two right answers under exact ascent, the tilt's limit beside it, and what the flow conserves."""
    start = law(*TWO).log()
    dense = sorted({round(10 ** (i / 10)) for i in range(54) if 10 ** (i / 10) <= keep[-1]} | {0, *keep})
    path = torch.tensor(plain_ascent(start.tolist(), 0.05, dense), dtype=torch.float64).softmax(-1)
    also = ascend(policy_step(law(*RIGHT_TWO)), start, 0.05, [1_000])[0].softmax(-1)
    ends = {dt: conserved(plain_ascent(start.tolist(), dt, [round(50 / dt)])[0]) for dt in (0.1, 0.01, 0.001)}
    return {
        "steps": dense,
        "path": path.tolist(),
        "kept": [path[dense.index(step)].tolist() for step in keep],
        "as ascend": float((path[dense.index(1_000)] - also).abs().max()),
        "tilt": filtered(start, law(*RIGHT_TWO) > 0.5).exp()[:2].tolist(),
        "conserved": [conserved(start.tolist()), *ends.values()],
    }


def halves(dt: float = 0.02) -> Results:
    """C4 for group methods: the flows of GRPO, NSR and PSR run along one curve, at other speeds.

    The lead of the first right answer, log pi1/pi2, and the time, where each first reaches a success of 0.9.
    """
    rewards, start = law(*RIGHT_TWO), law(*TWO).log()

    def speeds(p: Tensor) -> Tensor:
        grpo = group_weight(p[1], 8, mean="group", std="group", ddof=0) / (p[1] * (1 - p[1]))
        return torch.stack([torch.ones_like(p[0]), grpo, p[2], 1 - p[3]])

    def success(logits: Tensor) -> Tensor:
        return (logits.softmax(-1) * rewards).sum(-1)

    def step(logits: Tensor) -> Tensor:
        return speeds(success(logits))[:, None] * mean_score(logits.softmax(-1), rewards)

    steps, there = ascend_until(step, start.expand(4, -1), dt, lambda z: success(z) >= 0.9)
    names = ("policy gradient", "GRPO", "NSR", "PSR")
    lead = (there[:, 0] - there[:, 1]).tolist()
    return {
        "time": dict(zip(names, (dt * steps.double()).tolist(), strict=True)),
        "lead": dict(zip(names, lead, strict=True)),
    }


def tilts(log_q: Tensor, rewards: Tensor, betas: Sequence[float] | Tensor) -> Tensor:
    """Log-probabilities [n, V] of q exp(beta R), for n values of beta (0: the base)."""
    return (log_q + torch.as_tensor(betas, dtype=torch.float64)[:, None] * rewards).log_softmax(-1)


def slope(log_pi: Tensor, log_q: Tensor, rewards: Tensor, beta: Tensor | float) -> Tensor:
    """dH/dbeta [...] of the tilt log_pi [..., V] by the law: -beta Var(R) - Cov(R, log q) under the tilt."""
    pi = log_pi.exp()
    off = rewards - (pi * rewards).sum(-1, keepdim=True)
    return -beta * (pi * off**2).sum(-1) - (pi * off * log_q).sum(-1)


def entropies(h: float = 1e-5) -> Results:
    """C6: entropies along the tilt of the card's two bases; what H[q] - KL would be; the slope by differences."""
    found: Results = {"betas": list(BETAS)}
    for name, p, right in (("rare", RARE, RIGHT_RARE), ("usual", USUAL, RIGHT_USUAL)):
        log_q, rewards = law(*p).log(), law(*right)
        path = tilts(log_q, rewards, BETAS)
        fine = torch.arange(0, 12.05, 0.1, dtype=torch.float64)
        curve = entropy(tilts(log_q, rewards, fine))
        found[name] = {
            "base": float(entropy(log_q)),
            "tilt": entropy(path).tolist(),
            "limit": float(entropy(filtered(log_q, rewards > 0.5))),
            "less KL": (entropy(log_q) - kl(path, log_q.expand_as(path))).tolist(),
            "curve": curve.tolist(),
            "largest rise": float(curve.diff().max()),
        }
    found["fine"] = fine.tolist()
    log_q, rewards = law(*RARE).log(), law(*RIGHT_RARE)
    low, middle, high = tilts(log_q, rewards, (1.3 - h, 1.3, 1.3 + h))
    by_differences = float(entropy(high) - entropy(low)) / (2 * h)
    return found | {"slope": [by_differences, float(slope(middle, log_q, rewards, 1.3))]}


def random_entropies(seed: int, problems: int = 1_000, answers: int = 6) -> Results:
    """C6 on random problems: the law's error, how often the printed theorem fails, and where it cannot.

    `favourable` are problems with Cov_q(R, log q) >= 0. For rewards 0 and 1 its sign is that of the tilt's for every
    beta, so that H falls all along. `with KL` is the error of H[pi] = H[q] - KL(pi || q) + E_q log q - E_pi log q.
    """
    draw = torch.Generator().manual_seed(seed)
    log_q = (2 * torch.randn(problems, answers, generator=draw, dtype=torch.float64)).log_softmax(-1)
    rewards = (torch.rand(problems, answers, generator=draw, dtype=torch.float32) < 0.4).double()
    rewards[:, :2] = law(1.0, 0.0)
    base, error, over, rise, gap = entropy(log_q), 0.0, torch.zeros(problems), -torch.inf, 0.0
    favourable = slope(log_q, log_q, rewards, 0.0) <= 0
    before = base
    for beta in torch.arange(0.05, 8.01, 0.05, dtype=torch.float64):
        at = beta.repeat(problems).requires_grad_()
        law_now = (log_q + at[:, None] * rewards).log_softmax(-1)
        (by_autodiff,) = torch.autograd.grad(entropy(law_now).sum(), at)
        log_pi, now = law_now.detach(), entropy(law_now.detach())
        error = max(error, float((by_autodiff - slope(log_pi, log_q, rewards, beta)).abs().max()))
        rise = max(rise, float((now - before)[favourable].max()))
        over = torch.maximum(over, now - base)
        mean = ((log_q.exp() - log_pi.exp()) * log_q).sum(-1)
        gap = max(gap, float((now - (base - kl(log_pi, log_q) + mean)).abs().max()))
        before = now
    return {
        "error": error,
        "violated": float((over > 1e-9).double().mean()),
        "largest": float(over.max()),
        "favourable": float(favourable.double().mean()),
        "rise where favourable": rise,
        "with KL": gap,
    }


def trainer_agrees(steps: int = 10) -> Results:
    """S1: the Trainer on enumerated answers takes the steps of the flows, from the catalogue's methods by name."""
    rewards, start = law(*RIGHT_TWO), law(*TWO).log()
    task = Bandit(rewards)
    given = torch.tensor([[[0], [1]]])

    def half(logits: Tensor, positive: bool) -> Tensor:
        p = (logits.softmax(-1) * rewards).sum(-1, keepdim=True)
        return ((1 - p) if positive else p) * mean_score(logits.softmax(-1), rewards)

    arms: dict[str, tuple[Callable[[Tensor], Tensor], Enumerated | Given]] = {
        "reinforce": (policy_step(rewards), Enumerated()),
        "psr": (partial(half, positive=True), Enumerated()),
        "nsr": (partial(half, positive=False), Enumerated()),
        "SFT": (taught_step(rewards), Given(given, torch.ones_like(given, dtype=torch.bool))),
    }
    errors = {}
    for name, (step, strategy) in arms.items():
        ours = ascend(step, start, 1.0, [steps])[0]
        chosen = "reinforce" if name == "SFT" else name
        table = trained_table(TabularLM.of(task, logits=start[None]), task, chosen, 1.0, steps, strategy=strategy)
        errors[name] = float((table[0] - ours).abs().max())
    return errors
