"""Lesson 27 on the exact rung: one prompt with a spurious winner, and prompts that share after a faulty verifier."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from toykit.diagnostics import exact_pass_at_k, wrong_answers
from toykit.exact import ascend, group_values, leaf_log_probs, policy_gradient, shared, success_rate
from toykit.lessons.base import Results
from toykit.lessons.l02_reasoning_boundary.exact import Worlds
from toykit.lessons.trained import trained_table
from toykit.objectives import Advantage, Overconfidence, method
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated
from toykit.tasks import Bandit, FeatureBandit, Tree, sft_base

Rule = Callable[[Tensor], Tensor]  # what a wrong completion's advantage is multiplied by, of c

SEEDS = tuple(range(8))
GROUP = 8
KS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LEVELS = tuple(i / 50 for i in range(1, 46))  # of success, at which paths are compared: 0.02 to 0.9


def rule(alpha: float, kind: str = "softplus") -> Rule:
    return Overconfidence(alpha, kind).factor


def attached(c: Tensor) -> Tensor:
    """The factor that is in effect, at alpha = 1, where c keeps its gradient under the surrogate pi / pi_old."""
    return rule(1.0)(c) + c.sigmoid()


GRPO = rule(0.0, "uniform")
SPURIOUS: dict[str, Rule] = {
    "GRPO": GRPO,
    **{f"ACE {alpha:g}": rule(alpha) for alpha in (0.5, 1.0, 2.0, 4.0)},
    "uniform ln 2": rule(math.log(2), "uniform"),
    **{f"uniform {u:g}": rule(u, "uniform") for u in (1.5, 2.0, 3.0)},
    **{f"ReLU {alpha:g}": rule(alpha, "relu") for alpha in (1.0, 2.0)},
    "c attached": attached,
}
MISLED = {  # the size of the features, steps of the second phase, and the rules
    "d = 16": (
        16,
        100,
        {"GRPO": GRPO, "ACE": rule(2.0), "uniform": rule(1.5, "uniform"), "ReLU": rule(2.0, "relu")},
    ),
    "d = 8": (8, 400, {"GRPO": GRPO, "ACE": rule(1.0), "uniform": rule(math.log(2), "uniform")}),
}


def winner(mass: float = 0.8) -> tuple[Tensor, Tensor]:
    """Log-probabilities [10] of a policy and its reference: answer 0 is right, answer 1 a spurious winner of `mass`."""
    ref = torch.tensor([0.10, 0.06, *[0.105] * 8], dtype=torch.float64)
    pi = torch.tensor([0.02, mass, *[(0.98 - mass) / 8] * 8], dtype=torch.float64)
    return pi.log(), (ref / ref.sum()).log()


def run(seeds: tuple[int, ...] = SEEDS) -> Results:
    """All exact results of the lesson; `seeds` are those of the random laws and of the prompts that share."""
    return {
        "decomposition": decomposition(seeds[0]),
        "factor": factors(),
        "spurious": spurious(),
        "misled": {name: misled(seeds, *given) for name, given in MISLED.items()},
        "control": control(seeds[:6]),
        "trainer": trainer_agrees(),
    }


def decomposition(seed: int, laws: int = 50, answers: int = 10, alpha: float = 1.3, step: float = 1e-5) -> Results:
    """C1: ACE's extra direction against the gradient of Omega, for random policies, references, rewards and |A|."""
    draw = torch.Generator().manual_seed(seed)
    logits, ref = torch.randn(2, laws, answers, generator=draw, dtype=torch.float64)
    size, log_ref = torch.rand(laws, answers, generator=draw, dtype=torch.float64), ref.log_softmax(-1)
    wrong = (torch.rand(laws, answers, generator=draw, dtype=torch.float32) < 0.7).double()
    tree, log_pi = Tree(answers, 1), logits.log_softmax(-1)
    c = log_pi - log_ref

    def omega(z: Tensor) -> Tensor:
        log_p = z.log_softmax(-1)
        return (log_p.exp() * wrong * size * (rule(1.0)(log_p - log_ref) - 1)).sum(-1)

    def surrogate(z: Tensor) -> Tensor:
        """What is added to GRPO's where c keeps its gradient, with the ratio of z to the policy as it was."""
        log_p = z.log_softmax(-1)
        return -alpha * (log_pi.exp() * (log_p - log_pi).exp() * wrong * size * (rule(1.0)(log_p - log_ref) - 1)).sum(
            -1
        )

    def mean_score(values: Tensor) -> Tensor:
        return policy_gradient(tree, logits[:, None], values)[:, 0]

    slope, with_c = (
        torch.autograd.grad(f(z := logits.clone().requires_grad_()).sum(), z)[0] for f in (omega, surrogate)
    )
    extra = -alpha * mean_score(wrong * size * (rule(1.0)(c) - 1))
    residual = alpha * mean_score(wrong * size * c.sigmoid())
    moves = step * torch.eye(answers, dtype=torch.float64)[:, None]
    difference = ((omega(logits + moves) - omega(logits - moves)) / (2 * step)).T
    return {
        "error": _most(extra - (residual - alpha * slope)),
        "difference": _most(difference - slope),
        "attached": _most(with_c + alpha * slope),
        "residual": float(residual.abs().max()),
    }


def factors(alpha: float = 1.3) -> Results:
    """C2: the factor over log-ratios from -40 to 40, at both ends beside what it tends to."""
    c = torch.linspace(-40, 40, 8001, dtype=torch.float64)
    value = rule(alpha)(c)
    return {
        "least rise": float(value[(c > -30)].diff().min()),
        "left": float(value[0] - 1),
        "right": float((value[-1] - (1 + 40 * alpha)).abs()),
        "at 0": float((value[4000] - (1 + alpha * math.log(2))).abs()),
    }


def ascent(log_ref: Tensor, correct: Tensor, rules: Sequence[Rule], group: float = GROUP) -> Callable[[Tensor], Tensor]:
    """The exact expected step at logits [A, ..., 1, V], for `ascend`: GRPO's, a rule for each of A on wrong answers."""
    tree = Tree(correct.shape[-1], 1)

    def gradient(logits: Tensor) -> Tensor:
        log_pi = leaf_log_probs(tree, logits)
        factor = torch.stack([r(c) for r, c in zip(rules, log_pi - log_ref, strict=True)])
        values = group_values(log_pi, correct, group)
        return policy_gradient(tree, logits, torch.where(correct, values, factor * values))

    return gradient


def path(rules: Sequence[Rule], keep: Sequence[int], group: float = GROUP, mass: float = 0.8) -> Tensor:
    """Log-probabilities [K, A, 10] after `keep` steps of size 1/2 from a spurious winner of `mass`."""
    log_pi, log_ref = winner(mass)
    right = F.one_hot(torch.tensor(0), 10).bool()
    start = log_pi.expand(len(rules), 1, 10)
    return ascend(ascent(log_ref, right, rules, group), start, 0.5, keep)[:, :, 0].log_softmax(-1)


def spurious(steps: int = 100) -> Results:
    """C3: steps until the right answer has half of the mass, and how the rest is spread at each level of success."""
    log_pi = path(list(SPURIOUS.values()), range(steps + 1))
    right = F.one_hot(torch.tensor(0), 10).bool()
    p, share = log_pi[..., 0].exp(), log_pi[..., 1].exp()
    spread = wrong_answers(log_pi, winner()[1], right).entropy
    found: Results = {"levels": list(LEVELS), "steps": {}, "share": {}, "entropy": {}}
    for i, name in enumerate(SPURIOUS):
        found["steps"][name] = int((p[:, i] > 0.5).long().argmax())
        found["share"][name] = at_levels(p[:, i], share[:, i], LEVELS)
        found["entropy"][name] = at_levels(p[:, i], spread[:, i], LEVELS)
    return found | {"uniform": same_direction()}


def same_direction(u: float = 2.0) -> float:
    """C3c: how far the step under a uniform factor 1 + u is from (1 + u p) times GRPO's, at the spurious winner."""
    log_pi, log_ref = winner()
    right = F.one_hot(torch.tensor(0), 10).bool()
    steps = ascent(log_ref, right, [GRPO, rule(u, "uniform")])(log_pi.expand(2, 1, 10))
    return _most(steps[1] - (1 + u * log_pi[0].exp()) * steps[0])


def at_levels(rising: Tensor, values: Tensor, levels: Sequence[float]) -> list[float]:
    """`values` [K] where `rising` [K] first reaches each level, linear between the steps."""
    return np.interp(levels, rising.numpy(), values.numpy()).tolist()


def worlds(seeds: Sequence[int], d: int, sft_steps: int) -> Worlds:
    """The prompts that share of lesson 02, one world a seed, with features of size d and a base of its own."""
    tasks = [FeatureBandit(n_features=d, seed=seed) for seed in seeds]
    return Worlds(
        torch.stack([task.features for task in tasks]),
        torch.stack([sft_base(task, sft_steps) for task in tasks])[:, None],
        torch.stack([task.rewards > 0.5 for task in tasks]),
    )


def train(world: Worlds, start: Tensor, believed: Tensor, rules: Sequence[Rule], steps: int) -> Tensor:
    """Weights [A, S, 1, V, d] after exact steps from `start` [S, 1, V, d], where `believed` [S, n, V] is rewarded."""
    gradient = shared(ascent(world.base, believed, rules), world.features)
    return ascend(gradient, start.expand(len(rules), *start.shape), 1.0, [steps])[0]


def faulty(world: Worlds, seeds: Sequence[int], share: float = 0.3) -> Tensor:
    """bool [S, n, V]: what a verifier calls right that on some prompts wants the base's likeliest wrong answer."""
    flipped = [np.random.default_rng(1000 + seed).random(world.correct.shape[-2]) < share for seed in seeds]
    wrong = world.base.masked_fill(world.correct, -torch.inf).argmax(-1)
    return torch.where(torch.tensor(np.stack(flipped))[..., None], F.one_hot(wrong, 8).bool(), world.correct)


def misled(seeds: tuple[int, ...], d: int, steps: int, rules: Mapping[str, Rule]) -> Results:
    """C4, C5: 150 steps of GRPO under a faulty verifier, then `steps` of each rule under the true one."""
    world = worlds(seeds, d, 10)
    start = train(world, world.weights, faulty(world, seeds), [GRPO], 150)[0]
    ends = train(world, start, world.correct, list(rules.values()), steps)
    return {"start": figures(world, start)} | {name: figures(world, end) for name, end in zip(rules, ends, strict=True)}


def control(seeds: tuple[int, ...], steps: int = 2_000) -> Results:
    """C4's negative control: from the base of lesson 02, which no verifier has misled."""
    world, rules = worlds(seeds, 8, 20), {"GRPO": GRPO, "ACE": rule(1.0)}
    ends = train(world, world.weights, world.correct, list(rules.values()), steps)
    return {"start": figures(world, world.weights)} | {
        name: figures(world, end) for name, end in zip(rules, ends, strict=True)
    }


def figures(world: Worlds, weights: Tensor) -> Results:
    """By seed: pass@k [S, K], and means over prompts of what is known of the wrong answers and of the entropy."""
    log_pi = world.laws(weights)
    p, wrong = success_rate(log_pi, world.correct), wrong_answers(log_pi, world.base, world.correct)
    return {
        "pass": exact_pass_at_k(p[..., None], torch.tensor(KS, dtype=p.dtype)).mean(-2).tolist(),
        "overconfident": wrong.overconfident.mean(-1).tolist(),
        "severity": wrong.severity.mean(-1).tolist(),
        "entropy": (-(log_pi.exp() * log_pi).sum(-1)).mean(-1).tolist(),
    }


def trainer_agrees(steps: int = 10) -> Results:
    """S1: the Trainer on enumerated answers, with the catalogue's ACE, takes the steps of the flow of large groups."""
    log_pi, log_ref = winner()
    task = Bandit(F.one_hot(torch.tensor(0), 10).double())
    whole = method("ace").pieces.with_(advantage=Advantage("group", "group", eps=0.0))
    reference, errors = TabularLM.of(task, logits=log_ref[None]), {}
    for kind in ("softplus", "relu", "uniform"):
        policy = TabularLM.of(task, logits=log_pi[None])
        objective = whole.with_(transforms=(Overconfidence(1.0, kind),))
        table = trained_table(policy, task, objective, 0.5, steps, reference=reference)
        ours = path([rule(1.0, kind)], [steps], group=math.inf)[0]
        errors[kind] = _most(table.log_softmax(-1) - ours)
    given = Enumerated()(TabularLM.of(task, logits=log_pi[None]), task, task.prompts()).with_(
        ref_logp=log_ref[None, :, None]
    )
    plain, ace = (o.prepare(given).advantages[0, :, 0] for o in (whole.with_(transforms=()), whole))
    return {"steps": steps, "errors": errors, "right": _most((plain - ace)[0])}


def _most(error: Tensor) -> float:
    return float(error.abs().max())
