"""Lesson 24 on the exact rung: eight answers, of which groups of four are recomposed, and a choice of two lengths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from itertools import count

import torch
from torch import Tensor

from toykit.exact import ascend, ascend_until, enumerate_groups, mean_score
from toykit.lessons.base import Results
from toykit.lessons.trained import trained_table
from toykit.objectives import Advantage, Clip, Method, PolicyGradient, Prepared
from toykit.policies import TabularLM
from toykit.rollouts import of_leaves
from toykit.selection import Recomposition
from toykit.tasks import TreeTask

MEAN = PolicyGradient(Advantage("group"))  # rewards less their mean, summed over tokens, no ratio
CLIPPED = MEAN.with_(ratio="token", clip=Clip())
G, LR, ENOUGH = 4, 0.5, 0.95
HALF = Recomposition()
COSINE = Recomposition(p_comp=1.0, cosine=200)
RATES = ("1", "cosine", "0.5", "0")
PAIRS = ((0.5, 0.9), (0.5, 0.7), (0.6, 0.7))  # how often the short and the long answer are right
BRANCH_RATES = (1.0, 0.5, 0.25, 0.0)
UPDATES = 599
SLOPED = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)  # probabilities of the lengths 1 to 4


def answers(lengths: tuple[int, ...]) -> TreeTask:
    """Right answers of these lengths, 1 first, then wrong ones: the first token decides, the others are forced."""
    n = len(lengths)
    return TreeTask.of(
        {(i, *[1] * (lengths[i % n] - 2), *[0] * (lengths[i % n] > 1)): float(i < n) for i in range(2 * n)}
    )


EIGHT, FOUR = answers((1, 2, 3, 4)), answers((1, 4))
RIGHT, LENGTHS = EIGHT.rewards[0], EIGHT.tree.mask.sum(-1).double()


@dataclass(frozen=True)
class Pushes:
    """Of every group of four of a task's answers: which they are, int64 [M, 4], and how much the priority batch and
    the rest push each answer's log-probability, [M, answers]; `share` of completions that come first, [M]."""

    index: Tensor
    priority: Tensor
    rest: Tensor
    share: Tensor

    def chances(self, pi: Tensor) -> Tensor:
        """The probability [..., M] of each group under laws [..., answers]."""
        return pi[..., self.index].prod(-1)

    def parts(self, pi: Tensor) -> Tensor:
        """The expected pushes [..., 3, answers] of the whole, the priority and the rest."""
        chances = self.chances(pi)
        priority, rest = chances @ self.priority, chances @ self.rest
        return torch.stack([priority + rest, priority, rest], -2)

    def expected(self, pi: Tensor, p_comp: Tensor | float) -> Tensor:
        """The expected pushes [..., answers] with a weight [...] on the rest."""
        _, priority, rest = self.parts(pi).unbind(-2)
        return priority + torch.as_tensor(p_comp, dtype=pi.dtype)[..., None] * rest


def whole(task: TreeTask, prompts: int = 1, objective: PolicyGradient = MEAN) -> Prepared:
    """All groups of four, each a batch [M, prompts, 4 / prompts] of an even policy, with its advantages."""
    n = task.tree.n_leaves
    even = torch.zeros(task.tree.tokens.shape, dtype=torch.float64)
    even[:, 0] = -torch.tensor(n, dtype=torch.float64).log()
    index, _ = enumerate_groups(even[:, 0], G)
    made = of_leaves(task, index.view(-1, G // prompts), even)
    tensors = {f.name: v for f in fields(made) if isinstance(v := getattr(made, f.name), Tensor)}
    return objective.prepare(made.with_(**{k: v.unflatten(0, (-1, prompts)).flatten(1, 2) for k, v in tensors.items()}))


def push(batch: Prepared, logp: Tensor, objective: PolicyGradient = MEAN) -> Tensor:
    """What the objective's own loss pushes each token's log-probability by, [M, B, G, T]."""
    logp = logp.clone().requires_grad_()
    return -torch.autograd.grad(objective.loss(logp, batch)[0].sum(), logp)[0]


@cache
def pushes(task: TreeTask, how: Recomposition = HALF, prompts: int = 1) -> Pushes:
    """Of the first token, which alone a policy can choose."""
    batch = whole(task, prompts)
    index, _ = enumerate_groups(torch.zeros(task.tree.n_leaves), G)
    logp, split = batch.rollouts.old_logp, how.split(batch)
    sums = torch.zeros(2, len(index), task.tree.n_leaves, dtype=torch.float64)
    for into, part in zip(sums, (split.priority, split.rest), strict=True):
        if part is not None:
            into.scatter_add_(1, index, push(part, logp)[..., 0].flatten(1))
    return Pushes(index, sums[0], sums[1], how.share(batch.rollouts).flatten(1).mean(-1))


def run(seeds: tuple[int, ...] = (0,)) -> Results:
    """All exact results of the lesson; `seeds[0]` draws the policies that are random."""
    return {
        "partition": partition(seeds[0]),
        "start": at_start(),
        "drift": drift(),
        "independent": independent(seeds[0]),
        "table": table(),
        "starts": starts(seeds[0]),
        "branch": branch(),
        "small": small_groups(),
        "trainer": trainer_agrees(),
        "delay": delays(),
    }


def partition(seed: int) -> Results:
    """C1: the largest difference of the whole's push and the two parts' sum, on all 8^4 groups, by where the policy
    stands: where it drew them, and elsewhere, with ratios and their clip."""
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for name, objective in (("on policy", MEAN), ("off policy", CLIPPED)):
        worst = 0.0
        for aggregate in ("token_sum", "sequence_mean", "token_mean"):
            chosen = objective.with_(aggregate=aggregate)
            batch = whole(EIGHT, 1, chosen)
            logp = batch.rollouts.old_logp
            if name == "off policy":
                logp = logp + 0.3 * torch.randn(logp.shape, generator=draw, dtype=torch.float64)
            for alpha in (0.2, 0.5, 0.7):
                split = Recomposition(alpha).split(batch)
                assert split.rest is not None
                parts = push(split.priority, logp, chosen) + push(split.rest, logp, chosen)
                worst = max(worst, float((parts - push(batch, logp, chosen)).abs().max()))
        found[name] = worst
    pi = torch.randn(8, generator=draw, dtype=torch.float64).softmax(-1)
    expected = mean_score(pi, RIGHT) * (1 - 1 / G)
    found["expected"] = float((along(pi, pushes(EIGHT).expected(pi, 1.0)) - expected).abs().max())
    return found


def along(pi: Tensor, push: Tensor) -> Tensor:
    """The update [..., answers] of one logit an answer."""
    return push - pi * push.sum(-1, keepdim=True)


def speeds(pi: Tensor, values: Tensor, made: Pushes) -> list[float]:
    """d E[values] / dt along the whole, the priority and the rest."""
    return [float(mean_score(pi, values) @ along(pi, part)) for part in made.parts(pi)]


def at_start() -> Results:
    """The card's numbers at the uniform policy: speeds of E[L] and of accuracy, and the share that comes first."""
    pi = torch.full((8,), 1 / 8, dtype=torch.float64)
    found: Results = {"accuracy": speeds(pi, RIGHT, pushes(EIGHT))}
    for alpha in (0.5, 0.25):
        made = pushes(EIGHT, Recomposition(alpha))
        selected = float(made.chances(pi) @ made.share)
        found[f"alpha {alpha:g}"] = {"length": speeds(pi, LENGTHS, made), "selected": selected}
    return found


def law(p: Tensor, q: Tensor) -> Tensor:
    """Laws [..., 8] of success p [...] and of lengths' probabilities q [..., 4], independent of it."""
    return torch.cat([p[..., None] * q, (1 - p[..., None]) * q], -1)


def coordinates(pi: Tensor, made: Pushes) -> dict[str, Tensor]:
    """dE[L]/dt [..., 3] along the whole, the priority and the rest, by what the policy's parameters are.

    One logit an answer; a logit for each length and two for right and wrong, where lengths have the score
    1{L = l} - q_l; or the natural gradient of the first, whose step in log-probabilities is the push over pi.
    """
    parts = made.parts(pi)
    centred = LENGTHS - (pi * LENGTHS).sum(-1, keepdim=True)
    by_length, q = parts.unflatten(-1, (2, 4)).sum(-2), pi.unflatten(-1, (2, 4)).sum(-2)[..., None, :]
    slope, centred = mean_score(pi, LENGTHS)[..., None, :], centred[..., None, :]
    return {
        "one logit an answer": (slope * along(pi[..., None, :], parts)).sum(-1),
        "logits of lengths": (q * centred[..., :4] * along(q, by_length)).sum(-1),
        "natural gradient": (centred * parts).sum(-1),
    }


def drift() -> Results:
    """C2: the card's three cases of accuracy .3 and independent lengths."""
    p = torch.tensor(0.3, dtype=torch.float64)
    found = {name: speed.tolist() for name, speed in coordinates(law(p, SLOPED), pushes(EIGHT)).items()}
    reverse = coordinates(law(p, SLOPED.flip(0)), pushes(EIGHT))
    return found | {"reversed": reverse["one logit an answer"].tolist()}


def independent(seed: int, laws: int = 200) -> Results:
    """C2 on random laws of independent length: the whole's largest |dE[L]/dt|, the priority's largest and the rest's
    least, by what makes the parameters harmless; and the share of laws on which one logit an answer has a drift."""
    draw = torch.Generator().manual_seed(seed)
    p = 0.1 + 0.8 * torch.rand(laws, generator=draw, dtype=torch.float64)
    q = torch.randn(laws, 4, generator=draw, dtype=torch.float64).softmax(-1)
    made, free, half = pushes(EIGHT), law(p, q), law(torch.full_like(p, 0.5), q)
    speed = coordinates(free, made)
    plain = "one logit an answer"
    cases = {
        "logits of lengths": speed["logits of lengths"],
        "natural gradient": speed["natural gradient"],
        "accuracy 1/2": coordinates(half, made)[plain],
        "equally likely lengths": coordinates(law(p, torch.full_like(q, 0.25)), made)[plain],
    }
    found: Results = {
        name: [float(s[:, 0].abs().max()), float(s[:, 1].max()), float(s[:, 2].min())] for name, s in cases.items()
    }
    coupled = speed[plain]
    return found | {
        "coupled": {
            "whole": float(coupled[:, 0].abs().max()),
            "priority lengthens": int((coupled[:, 1] > 0).sum()),
            "rest shortens": int((coupled[:, 2] < 0).sum()),
        }
    }


def climbing(rates: tuple[str, ...], made: Pushes) -> Callable[[Tensor], Tensor]:
    """The gradient in logits [..., len(rates), 8] with each rate's weight on the rest; "cosine" counts its calls."""
    calls = count()

    def gradient(logits: Tensor) -> Tensor:
        now = COSINE.probability(next(calls))
        pi = logits.softmax(-1)
        weights = torch.tensor([now if r == "cosine" else float(r) for r in rates], dtype=torch.float64)
        return along(pi, made.expected(pi, weights))

    return gradient


def accuracy(logits: Tensor) -> Tensor:
    return (logits.softmax(-1) * RIGHT).sum(-1)


def mean_lengths(logits: Tensor) -> dict[str, Tensor]:
    """E[L] [...] of all, of right and of wrong answers."""
    pi = logits.softmax(-1)
    kinds = {"all": torch.ones_like(RIGHT), "right": RIGHT, "wrong": 1 - RIGHT}
    return {name: (pi * kind * LENGTHS).sum(-1) / (pi * kind).sum(-1) for name, kind in kinds.items()}


def table() -> Results:
    """C3: the first policy whose accuracy is 0.95, by the weight on the rest, and the way there."""
    made = pushes(EIGHT)
    start = torch.zeros(len(RATES), 8, dtype=torch.float64)
    steps, end = ascend_until(climbing(RATES, made), start, LR, lambda z: accuracy(z) >= ENOUGH)
    path = ascend(climbing(RATES, made), start, LR, range(0, 141, 5))
    return {
        "steps": steps.tolist(),
        **{name: of.tolist() for name, of in mean_lengths(end).items()},
        "path": {
            rate: {"accuracy": accuracy(path[:, i]).tolist(), "right": mean_lengths(path[:, i])["right"].tolist()}
            for i, rate in enumerate(RATES)
        },
    }


def starts(seed: int, n: int = 6) -> Results:
    """C3 from random logits: E[L] [n, rates] at the first policy whose accuracy is 0.95, by falling weights."""
    rates = ("1", "0.5", "0.2", "0")
    draw = torch.Generator().manual_seed(seed)
    logits = 0.5 * torch.randn(n, 1, 8, generator=draw, dtype=torch.float64)
    gradient = climbing(rates, pushes(EIGHT))
    steps, end = ascend_until(gradient, logits.expand(-1, len(rates), -1), LR, lambda z: accuracy(z) >= ENOUGH, 2_000)
    return {"rates": rates, "steps": steps.tolist()} | {name: of.tolist() for name, of in mean_lengths(end).items()}


def choosing(
    short: Tensor | float, long: Tensor | float, p_comp: Tensor | float, made: Pushes
) -> Callable[[Tensor], Tensor]:
    """Gradient in the one logit x [...] of the longer answer; short and long are right with these probabilities."""

    def gradient(x: Tensor) -> Tensor:
        s = x.sigmoid()
        laws = [(1 - s) * short, s * long, (1 - s) * (1 - short), s * (1 - long)]
        right_short, right_long, wrong_short, wrong_long = made.expected(torch.stack(laws, -1), p_comp).unbind(-1)
        return (1 - s) * (right_long + wrong_long) - s * (right_short + wrong_short)

    return gradient


def branch() -> Results:
    """C4: P(long) after 599 updates from 1/2, accuracy, and the same for more weights on the rest."""
    made = pushes(FOUR)
    short, long = (torch.tensor(of, dtype=torch.float64)[:, None] for of in zip(*PAIRS, strict=True))
    weights = torch.arange(21, dtype=torch.float64) / 20
    gradient = choosing(short, long, weights, made)
    kept = (*range(0, 600, 25), UPDATES)
    path = ascend(gradient, torch.zeros(len(PAIRS), len(weights), dtype=torch.float64), LR, kept).sigmoid()
    at = [int(20 * rate) for rate in BRANCH_RATES]
    end = path[-1]
    right = short * (1 - end) + long * end
    names = [f"{a:g}, {b:g}" for a, b in PAIRS]
    return {
        "long": dict(zip(names, end[:, at].tolist(), strict=True)),
        "accuracy": dict(zip(names, right[:, at].tolist(), strict=True)),
        "weights": weights.tolist(),
        "curves": dict(zip(names, end.tolist(), strict=True)),
        "steps": list(kept),
        "path": path[:, 1, at].T.tolist(),
    }


def small_groups() -> Results:
    """dE[L]/dt of the priority at the uniform policy where ceil takes all of a small group, and by ranking together.

    Alpha 0.8 in groups of four, and alpha 0.5 in two groups of two; the same two groups ranked as one batch.
    """
    pi = torch.full((8,), 1 / 8, dtype=torch.float64)
    batch = Recomposition(scope="batch")
    cases = {
        "alpha 0.8, G 4": pushes(EIGHT, Recomposition(0.8)),
        "alpha 0.5, G 2": pushes(EIGHT, HALF, 2),
        "alpha 0.5, G 2, batch": pushes(EIGHT, batch, 2),
    }
    return {name: speeds(pi, LENGTHS, made)[1] for name, made in cases.items()}


def of_large_groups(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Priority's and rest's pushes [8] where the group is every answer with its probability."""
    pi = logits.softmax(-1)
    shorter = torch.where(RIGHT > 0, LENGTHS, -LENGTHS)
    alike = RIGHT[:, None] == RIGHT[None, :]
    first = ((shorter[None, :] < shorter[:, None]) & alike).double() @ pi
    share = ((0.5 * (alike.double() @ pi) - first) / pi).clamp(0, 1)
    push = pi * (RIGHT - (pi * RIGHT).sum())
    return share * push, (1 - share) * push


def trainer_agrees(steps: int = 5) -> Results:
    """S1: the Trainer on enumerated answers, with nothing given back and with all of it in a step of its own."""
    errors = {}
    for p_comp in (0.0, 1.0):
        logits = torch.zeros(8, dtype=torch.float64)
        for _ in range(steps):
            priority, rest = of_large_groups(logits)
            logits = logits + LR * along(logits.softmax(-1), priority)
            logits = logits + p_comp * LR * along(logits.softmax(-1), rest)  # what was pushed stays, the policy moved
        given = Method(MEAN, "lesson 24", recomposition=Recomposition(p_comp=p_comp, capacity=0))
        ours = trained_table(TabularLM.of(EIGHT), EIGHT, given, LR, steps)[0]
        errors[f"p_comp {p_comp:g}"] = float((ours - ours.mean() - logits + logits.mean()).abs().max())
    return errors


def delays(late: tuple[int, ...] = (0, 1, 3, 10, 30)) -> Results:
    """E[L | right] at the first policy whose accuracy is 0.95, with all given back, but some steps late.

    What an answer was pushed by stays what it was when its group was drawn; the policy that it moves does not.
    """
    made, before = pushes(EIGHT), [torch.zeros(len(late), 8, dtype=torch.float64)] * max(late)

    def gradient(logits: Tensor) -> Tensor:
        pi = logits.softmax(-1)
        _, priority, rest = made.parts(pi).unbind(-2)
        before.append(rest)
        old = torch.stack([before[-1 - d][i] for i, d in enumerate(late)])
        return along(pi, priority + old)

    start = torch.zeros(len(late), 8, dtype=torch.float64)
    steps, end = ascend_until(gradient, start, LR, lambda z: accuracy(z) >= ENOUGH)
    return {"late": list(late), "steps": steps.tolist(), "right": mean_lengths(end)["right"].tolist()}
