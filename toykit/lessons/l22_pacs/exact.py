"""Lesson 22 on the exact rung: five answers, three of them right, and every group of them that can be drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from toykit.exact import (
    ascend,
    ascend_until,
    entropy,
    enumerate_groups,
    expected_advantage,
    group_weight,
    informative,
    kl,
    mean_score,
)
from toykit.lessons.base import Results
from toykit.lessons.l22_pacs.flow import GROUP, LR, REFERENCE, RIGHT, Settings, accuracy, among_right
from toykit.lessons.trained import trained_table
from toykit.objectives import PACS
from toykit.policies import TabularLM
from toykit.rollouts import Rollouts
from toykit.tasks import Bandit

NEAR, NEARER = 0.95, 0.99  # accuracies at which policies are compared
BETAS = (0.5, 1.0, 2.0)
SIZES = (2, 3, 5)
INNER = 4
MOVED = 0.01  # nats by which each token has moved in the look at long answers
LONG = tuple(2**i for i in range(13))  # up to 4,096 tokens, the paper's longest


def run(seeds: tuple[int, ...] = (0,)) -> Results:
    """All exact results of the lesson; `seeds[0]` draws the random policies that identities are tried on."""
    return {
        "reference": at_the_reference(seeds[0]),
        "group": all_right(seeds[0]),
        "flows": flows(),
        "near": near(),
        "large": large_groups(),
        "end": end(),
        "long": long_answers(),
        "trainer": trainer_agrees(),
    }


def rollouts(index: Tensor, old: Tensor, ref: Tensor, labels: Tensor = RIGHT, length: int = 1) -> Rollouts:
    """Groups `index` [..., 1, G] of answers of `length` tokens, which share tables [V] of log-probabilities evenly."""
    lead, shape = index.shape[:-1], (*index.shape, length)
    return Rollouts(
        prompts=torch.zeros(*lead, 1, dtype=torch.int64),
        prompt_mask=torch.ones(*lead, 1, dtype=torch.bool),
        prompt_ids=torch.zeros(lead, dtype=torch.int64),
        completions=index[..., None].expand(shape),
        mask=torch.ones(shape, dtype=torch.bool),
        old_logp=(old[index] / length)[..., None].expand(shape),
        ref_logp=(ref[index] / length)[..., None].expand(shape),
        rewards=labels[index],
        weights=torch.full(index.shape, 1 / index.shape[-1], dtype=torch.float64),
    )


def expected(objective: PACS, size: int, logits: Tensor, old: Tensor, ref: Tensor) -> Tensor:
    """The expected step [V] of an objective in the logits, over every group of `size` that the law `old` makes."""
    leaf = logits.clone().requires_grad_()
    index, log_weight = enumerate_groups(old, size)
    prepared = objective.prepare(rollouts(index[:, None], old, ref))
    loss, _ = objective.loss(leaf.log_softmax(-1)[index][:, None, :, None], prepared)
    return -torch.autograd.grad(log_weight.exp() @ loss, leaf)[0]


def laws(seed: int, n: int) -> Tensor:
    """Random log-probabilities [n, 5]."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, len(RIGHT), generator=draw, dtype=torch.float64).log_softmax(-1)


def apart(law: Tensor) -> Tensor:
    """mu+ - mu- [..., 5]: the mean scores of right answers less that of wrong ones."""
    p = (law.exp() * RIGHT).sum(-1, keepdim=True)
    return law.exp() * torch.where(RIGHT > 0, 1 / p, -1 / (1 - p))


def at_the_reference(seed: int, beta: float = 2.0) -> Results:
    """C1, C2: the expected step where the policy is its reference, on the card's law and on random ones."""
    plain, question = 0.0, 0.0
    every = [REFERENCE, *laws(seed, 5)]
    for law in every:
        p = (law.exp() * RIGHT).sum()
        for size in SIZES:
            for reference in ("behaviour", "fixed"):
                found = expected(PACS(beta, reference=reference, weights="none"), size, law, law, law)
                plain = max(plain, float((found - beta * mean_score(law.exp(), RIGHT)).abs().max()))
                found = expected(PACS(beta, reference=reference), size, law, law, law)
                weight = beta * size / (4 * (size - 1)) * informative(p, size)
                question = max(question, float((found - weight * apart(law)).abs().max()))
    here = expected(PACS(), GROUP, REFERENCE, REFERENCE, REFERENCE)
    p = torch.arange(1, 20, dtype=torch.float64) / 20
    return {
        "unweighted": plain,
        "question": question,
        "coefficient": float(here[0] / apart(REFERENCE)[0]),
        "p": p.tolist(),
        "weights": {
            "policy gradient": (p * (1 - p)).tolist(),
            "GRPO": group_weight(p, 8, std="group", ddof=0).tolist(),
            "PACS": (8 / 28 * informative(p, 8)).tolist(),
        },
    }


def all_right(seed: int) -> Results:
    """C3: logits, residuals and pushes of a group without a wrong answer, and its loss for random ratios."""
    index, zero, labels = torch.arange(3)[None], torch.zeros(3, dtype=torch.float64), torch.ones(3).double()
    objective = PACS(reference="fixed")
    made = rollouts(index, zero, zero, labels)
    ratios = torch.tensor([0.3, -0.5, 0.0], dtype=torch.float64, requires_grad=True)
    logp = ratios[None, :, None]
    psi = objective.logits(logp, made).detach()[0]
    loss, _ = objective.loss(logp, objective.prepare(made))
    push = -3 * torch.autograd.grad(loss, ratios)[0]
    left = 1 - psi.sigmoid()
    others = (left.sum() - left) / 2
    tried = torch.randn(200, 1, 3, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    many = objective.prepare(rollouts(index.expand(200, 1, 3), zero, zero, labels))
    losses = [objective.loss(x, many)[0] for x in (tried, torch.full_like(tried, 0.7))]
    return {
        "psi": psi.tolist(),
        "left": left.tolist(),
        "error": float((push - (left - others)).abs().max()),
        "least loss": float(losses[0].min()) - math.log(2),
        "loss of equal ratios": float((losses[1] - math.log(2)).abs().max()),
    }


def large_grpo(logits: Tensor) -> Tensor:
    """GRPO's expected step in large groups: (R - p) / sqrt(p (1 - p))."""
    return _grpo(logits, math.inf)


def small_grpo(logits: Tensor) -> Tensor:
    return _grpo(logits, GROUP)


def _grpo(logits: Tensor, size: float) -> Tensor:
    pi = logits.softmax(-1)
    p = (pi * RIGHT).sum(-1)
    weight = group_weight(p, size, mean="group", std="group", ddof=0)
    return mean_score(pi, expected_advantage(p, weight, RIGHT > 0))


def policy_gradient(logits: Tensor) -> Tensor:
    return mean_score(logits.softmax(-1), RIGHT)


FIXED = Settings.of((1.0, 1.0), ("none", "question"))
BEHAVIOUR = Settings.of((1.0, 1.0), ("question", "none"), "behaviour", INNER)


def flows() -> Results:
    """C4: steps of 0.5 to an accuracy of 0.99; the law at the end, and the way there."""
    ways = {
        ("policy gradient",): (policy_gradient, REFERENCE[None]),
        ("GRPO",): (large_grpo, REFERENCE[None]),
        ("GRPO, G = 3",): (small_grpo, REFERENCE[None]),
        ("fixed", "fixed, question"): (FIXED.round(FIXED.in_groups), FIXED.start),
        ("behaviour", "behaviour, unweighted"): (BEHAVIOUR.round(BEHAVIOUR.in_groups), BEHAVIOUR.start),
    }
    found: Results = {"start": float(entropy(among_right(REFERENCE)))}
    for names, (gradient, start) in ways.items():
        steps, logits = ascend_until(gradient, start, LR, lambda z: accuracy(z) >= NEARER)
        for i, name in enumerate(names):
            found[name] = {
                "steps": int(steps[i]),
                "entropy": float(entropy(among_right(logits[i]))),
                "law": logits[i].softmax(-1).tolist(),
            }
    return found


def near(steps: int = 2_000) -> Results:
    """C4 at an accuracy of 0.95 for three betas, with question weights; and the entropy on the way."""
    weights = ("question",) * len(BETAS)
    found: Results = {"betas": list(BETAS)}
    for name, settings in (
        ("fixed", Settings.of(BETAS, weights)),
        ("behaviour", Settings.of(BETAS, weights, "behaviour", INNER)),
    ):
        gradient = settings.round(settings.in_groups)
        reached, logits = ascend_until(gradient, settings.start, LR, lambda z: accuracy(z) >= NEAR)
        found[name] = {"steps": reached.tolist(), "entropy": entropy(among_right(logits)).tolist()}
        found[name] |= way(gradient, settings.start, steps if name == "fixed" else 50)
    found["GRPO"] = way(large_grpo, REFERENCE[None], 50)
    return found


def way(gradient: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> Results:
    """Accuracy and entropy among the right answers [S][...] after numbers of steps at equal ratios; and the least."""
    path = ascend(gradient, start, LR, range(steps + 1))
    success, spread = accuracy(path).T, entropy(among_right(path)).T
    kept = sorted({0, *(round(10 ** (i / 15)) for i in range(60))})
    kept = [step for step in kept if step <= steps]
    least = spread.min(-1)
    return {
        "accuracies": success[:, kept].tolist(),
        "entropies": spread[:, kept].tolist(),
        "least": least.values.tolist(),
        "at": success.gather(1, least.indices[:, None])[:, 0].tolist(),
        "last": spread[:, -1].tolist(),
    }


def large_groups() -> Results:
    """X4: entropy among the right answers at an accuracy of 0.99 in the limit of large groups, by weights."""
    found: Results = {}
    for weights in ("none", "question"):
        settings = Settings.of(BETAS, (weights,) * len(BETAS))
        gradient = settings.round(settings.in_large_groups)
        steps, logits = ascend_until(gradient, settings.start, LR, lambda z: accuracy(z) >= NEARER)
        found[weights] = {"steps": steps.tolist(), "entropy": entropy(among_right(logits)).tolist()}
    return found


def end(steps: int = 1_000) -> Results:
    """X2: policies that are always right. Which of them stay, and where do the others go?

    `home` is the reference given that the answer is right.
    """
    home = torch.where(RIGHT > 0, REFERENCE, -1e4)[None].log_softmax(-1)
    other = torch.tensor([[0.2, 0.3, 0.5, 0.0, 0.0]], dtype=torch.float64).log().clamp(min=-1e4)
    fixed, behaviour = (Settings.of((1.0,), ("question",), *rest) for rest in (("fixed",), ("behaviour", INNER)))
    after = ascend(fixed.round(fixed.in_groups), other, LR, [steps])[0]
    stayed = ascend(behaviour.round(behaviour.in_groups), other, LR, [steps // 10])[0]
    return {
        "step at home": float(fixed.in_groups(home, home, REFERENCE).abs().max()),
        "step elsewhere": float(fixed.in_groups(other, other, REFERENCE).abs().max()),
        "before": float(kl(among_right(REFERENCE), among_right(other[0]))),
        "after": float(kl(among_right(REFERENCE), among_right(after[0]))),
        "behaviour moved": float((stayed - other).abs().max()),
    }


def long_answers() -> Results:
    """X2: what is left of the push on a right answer beside a wrong one, each token of which has moved by 0.01 nats."""
    labels, zero = torch.tensor([1.0, 0.0], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    index = torch.arange(2)[None]
    shift = MOVED * torch.tensor([1.0, -1.0], dtype=torch.float64)[None, :, None]
    found: Results = {"lengths": list(LONG), "left": {}}
    for name in ("1", "0.1", "1 / length"):
        left = []
        for n in LONG:
            objective = PACS(1 / n if "/" in name else float(name), weights="none")
            psi = objective.logits(shift.expand(1, 2, n), rollouts(index, zero, zero, labels, length=n))
            left.append(float(psi[0, 1].sigmoid()))  # 1 - sigma(psi) of the right answer, without its rounding
        found["left"][name] = left
    return found


def trainer_agrees(steps: int = 10) -> Results:
    """S1: the flow's step is that of PACS over all groups, and its large-group limit that of the Trainer."""
    groups, trained = 0.0, 0.0
    settings = [Settings.of((0.5, 2.0), ("none", "question"), *rest) for rest in (("fixed", 1), ("behaviour", INNER))]
    now, old = laws(0, 2), laws(1, 2)
    task = Bandit(RIGHT)
    for chosen in settings:
        base = REFERENCE.expand(2, -1) if chosen.reference == "fixed" else old
        ours = chosen.in_groups(now, old, base)
        limit = ascend(chosen.round(chosen.in_large_groups), chosen.start, LR, [steps])[0].softmax(-1)
        for i, objective in enumerate(chosen.objectives()):
            theirs = expected(objective, GROUP, now[i], old[i], base[i])
            groups = max(groups, float((ours[i] - theirs).abs().max()))
            policy = TabularLM.of(task, logits=REFERENCE[None])
            table = trained_table(policy, task, objective, LR, steps, epochs=chosen.inner)
            trained = max(trained, float((table[0].softmax(-1) - limit[i]).abs().max()))
    return {"groups": groups, "trainer": trained}
