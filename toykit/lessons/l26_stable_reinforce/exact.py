"""Lesson 26 on the exact rung: who is an outlier, what is left without them, an overflow, a reward for agreement."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from toykit.exact import ascend, ascend_until, mean_score
from toykit.lessons.base import Results
from toykit.lessons.trained import trained_table
from toykit.objectives import Advantage, Clip, PolicyGradient, SigmaFilter, method
from toykit.policies import TabularLM
from toykit.rewards import Gated, Shaping
from toykit.rollouts import Enumerated, Rollouts, of_lengths
from toykit.tasks import Bandit, TreeTask
from toykit.training import TrainConfig, Trainer

LEVELS = (0.5, 2.0)  # a wrong and a right verdict, both in the right format, the thought consistent
BATCHES = ((256, 255), (256, 231), (256, 230), (10, 9), (11, 10), (128, 116), (128, 115))  # (n, right ones)
BANDIT = torch.tensor([0.05, 0.5, 0.25, 0.2], dtype=torch.float64)  # the first answer is right
TASK = Bandit([LEVELS[1], *[LEVELS[0]] * 3])
FILTERS = {"none": None, "paper": SigmaFilter(), "code": SigmaFilter(about="mean")}
STANDARDISED = method("stable_reinforce").pieces.with_(transforms=())
OLD = -100.0  # log-probability of a token that the log-ratios below start from
THINK_STARTS = {"hard": (0.05, 0.5, 0.3), "easy": (0.3, 0.8, 0.8)}
THINK_STEPS = {"hard": 100, "easy": 400}
THINK_LR = 0.3


def run(seeds: tuple[int, ...] = (0,)) -> Results:
    """All exact results of the lesson; `seeds[0]` draws the random laws."""
    return {
        "table": table(),
        "classes": classes(),
        "slower": slower(seeds[0]),
        "flow": flow(),
        "adam": by_adam(),
        "code": released_code(),
        "overflow": overflow(),
        "markov": markov(seeds[0]),
        "gate": gate(),
        "trainer": trainer_agrees(),
    }


def batch(rewards: Tensor, weights: Tensor | None = None) -> Rollouts:
    """Completions of one token to one prompt, for rewards [..., n]; an enumeration where `weights` are given."""
    given = rewards[..., None, :]
    made = of_lengths(torch.ones_like(given, dtype=torch.int64), given)
    share = made.weights.to(given) if weights is None else weights[..., None, :]
    old = torch.full_like(given, OLD)[..., None]
    return made.with_(rewards=given, old_logp=old, weights=share, enumerated=weights is not None)


def filtered(kept: SigmaFilter | None) -> PolicyGradient:
    """StableReinforce with another filter, or none."""
    return STANDARDISED.with_(transforms=() if kept is None else (kept,))


def standardised(rewards: Tensor, kept: SigmaFilter | None = None, weights: Tensor | None = None) -> Tensor:
    """Advantages [..., n] of StableReinforce for rewards [..., n], in place of its filter `kept`."""
    return filtered(kept).prepare(batch(rewards, weights)).advantages[..., 0, :, 0]


def verdicts(n: int, right: Tensor, levels: tuple[float, float] = LEVELS) -> Tensor:
    """Rewards [..., n] of batches of n of which the first `right` [...] have the higher of two levels."""
    low, high = torch.tensor(levels, dtype=torch.float64)
    return torch.where(torch.arange(n) < right[..., None], high, low)


def table() -> Results:
    """The card's batches: z of the rare class, whether the filter keeps it, and z with the sample's deviation."""
    found: Results = {"batches": [list(b) for b in BATCHES], "z": [], "kept": [], "sample": []}
    for n, successes in BATCHES:
        rewards = verdicts(n, torch.tensor(successes))
        found["z"].append(float(standardised(rewards)[-1]))
        found["kept"].append(bool(standardised(rewards, SigmaFilter())[-1] != 0))
        sample = Advantage("batch", "batch", ddof=1, eps=0.0)(rewards[None], torch.full((1, n), 1 / n).double())
        found["sample"].append(float(sample[0, -1]))
    right = standardised(verdicts(128, torch.tensor(12)), SigmaFilter())
    return found | {"exercise": [float(right[0]), float(right[-1])]}


def classes(most: int = 200) -> Results:
    """C1 on all batches of up to `most` with both verdicts, for three pairs of levels.

    What is removed must be all of a class that is rarer than a tenth, and nothing else.
    """
    error, wrong, smallest, at_tenth, beyond = 0.0, 0, most, 0, 0
    for n in range(2, most + 1):
        right = torch.arange(1, n)
        for levels in (LEVELS, (0.0, 1.0), (-7.0, 0.1)):
            rewards = verdicts(n, right, levels)
            z, kept = standardised(rewards), standardised(rewards, SigmaFilter())
            f = right[:, None].double() / n
            formula = torch.where(rewards == levels[1], ((1 - f) / f).sqrt(), -(f / (1 - f)).sqrt())
            error = max(error, float((z - formula).abs().max()))
            rare = torch.where(rewards == levels[1], right[:, None], n - right[:, None]) * 10 < n
            wrong += int(((kept == 0) != rare).sum())
            if bool(rare.any()):
                smallest = min(smallest, n)
            if n % 10 == 0:
                edge = z[[n // 10 - 1, n - n // 10 - 1]].abs().amax(-1)
                at_tenth, beyond = at_tenth + 2, beyond + int((edge > 3).sum())
    return {"error": error, "wrongly": wrong, "smallest": smallest, "beyond at a tenth": beyond / at_tenth}


def velocity(logits: Tensor, kept: SigmaFilter | None, right: Tensor, levels: tuple[float, float] = LEVELS) -> Tensor:
    """The expected step in logits [..., V] of a bandit whose answers `right` [V] are, in the limit of large batches."""
    pi = logits.softmax(-1)
    low, high = torch.tensor(levels, dtype=torch.float64)
    return mean_score(pi, standardised(torch.where(right, high, low).expand_as(pi), kept, pi))


FIRST = torch.tensor([True, False, False, False])


def slower(seed: int, laws: int = 300, answers: int = 6) -> Results:
    """C2: the gradient with the filter over that without it, on the card's bandit; random ones have two right answers.

    `error` is the largest distance of a gradient from its factor (p below 0.1, 1 - p above 0.9, 1 between) times the
    one without the filter.
    """
    logits = BANDIT.log()
    ratio = velocity(logits, SigmaFilter(), FIRST) / velocity(logits, None, FIRST)
    draw = torch.Generator().manual_seed(seed)
    right = torch.arange(answers) < 2
    raw = torch.randn(laws, answers, generator=draw, dtype=torch.float64)
    p = torch.rand(laws, 1, generator=draw, dtype=torch.float64)
    within = torch.where(right, raw.masked_fill(~right, -torch.inf).logsumexp(-1, True), 0.0)
    within = torch.where(right, within, raw.masked_fill(right, -torch.inf).logsumexp(-1, True))
    made = raw - within + torch.where(right, p.log(), (1 - p).log())
    factor = torch.where(p < 0.1, p, torch.where(p > 0.9, 1 - p, 1.0))
    off = velocity(made, SigmaFilter(), right) - factor * velocity(made, None, right)
    counts = {"rare": int((p < 0.1).sum()), "common": int((p > 0.9).sum())}
    return {"ratio": ratio.tolist(), "error": float(off.abs().max())} | counts


def accuracy(logits: Tensor) -> Tensor:
    return logits.softmax(-1)[..., 0]


def flow(lr: float = 0.1, most: int = 500) -> Results:
    """Steps from the card's bandit to a success of 0.9 and 0.95: without a filter, with the paper's, the code's."""
    goals, both = torch.tensor([0.9, 0.95], dtype=torch.float64), BANDIT.log().expand(2, -1)
    found: Results = {"p": {}, "steps": {}}
    for name, kept in FILTERS.items():
        step = _on_bandit(kept)
        path = accuracy(ascend(step, BANDIT.log(), lr, range(most + 1)))
        found["p"][name] = path[::10].tolist()
        found["steps"][name] = ascend_until(step, both, lr, lambda z: accuracy(z) >= goals)[0].tolist()
    return found | {"kept": list(range(0, most + 1, 10))}


def by_adam(start: float = 0.91, goal: float = 0.95, lr: float = 0.02) -> Results:
    """Steps from one success to another above 0.9 by gradient ascent and by Adam, which divides by its size."""
    rest = (1 - start) * BANDIT[1:] / BANDIT[1:].sum()
    logits = torch.cat([torch.tensor([start], dtype=torch.float64), rest]).log()
    found: Results = {"sgd": {}, "adam": {}}
    for name in ("none", "paper"):
        found["sgd"][name] = int(ascend_until(_on_bandit(FILTERS[name]), logits, 0.1, lambda z: accuracy(z) >= goal)[0])
        policy = TabularLM.of(TASK, logits=logits[None])
        trainer = Trainer(policy, TASK, filtered(FILTERS[name]), Enumerated(), TrainConfig(lr=lr))
        while accuracy(policy.table.detach()[0]) < goal:
            trainer.step()
        found["adam"][name] = trainer.done
    return found


def _on_bandit(kept: SigmaFilter | None) -> Callable[[Tensor], Tensor]:
    return lambda logits: velocity(logits, kept, FIRST)


def released_code(n: int = 1000) -> Results:
    """The success from which wrong verdicts are removed, and up to which right ones: about zero, about the mean."""
    right = torch.arange(1, n)
    rewards = verdicts(n, right)
    found: Results = {}
    for name in ("paper", "code"):
        z = standardised(rewards, FILTERS[name])
        found[name] = {
            "right up to": float(right[z[:, 0] == 0].max()) / n,
            "wrong from": float(right[z[:, -1] == 0].min()) / n,
            "largest": float(z.abs().max()),
        }
    return found


def losses(log_ratio: Tensor, advantage: float, log_clip: float | None) -> tuple[Tensor, Tensor]:
    """The loss of one token and its gradient in logp, each like `log_ratio` [n], by the method's own objective."""
    rewards = torch.full((len(log_ratio), 1), advantage, dtype=log_ratio.dtype)
    objective = PolicyGradient(Advantage("none"), ratio="token", clip=Clip(), log_clip=log_clip)
    logp = (OLD + log_ratio)[:, None, None, None].requires_grad_()
    loss, _ = objective.loss(logp, objective.prepare(batch(rewards)))
    return loss.detach(), torch.autograd.grad(loss.sum(), logp)[0].flatten()


BOUNDS = {"naive": None, "pre-clip": math.log(1000)}


def overflow() -> Results:
    """C3 in float32: loss and gradient at a log-ratio of 100, as text; losses over log-ratios for A = -1 (None: inf).

    `inside` is the largest difference that the pre-clip makes within its band.
    """
    far = torch.tensor([100.0], dtype=torch.float32)
    inside = torch.linspace(-6.9, 6.9, 200, dtype=torch.float32)
    wide = torch.linspace(-10, 120, 131, dtype=torch.float32)
    found: Results = {"far": {}, "curves": {"log-ratio": wide.tolist()}}
    for name, bound in BOUNDS.items():
        for advantage in (-1.0, 1.0):
            loss, slope = losses(far, advantage, bound)
            found["far"][f"{name}, A = {advantage:+g}"] = [f"{float(loss):.8g}", f"{float(slope):g}"]
        curve = losses(wide, -1.0, bound)[0]
        found["curves"][name] = [float(x) if math.isfinite(x) else None for x in curve]
    pairs = [[losses(inside, advantage, bound) for bound in BOUNDS.values()] for advantage in (-1.0, 1.0)]
    found["inside"] = max(float((a - b).abs().max()) for one, two in pairs for a, b in zip(one, two, strict=True))
    return found


def markov(seed: int, laws: int = 2000, tokens: int = 50) -> Results:
    """How likely a token of the old policy's own has a ratio of c or more: at most 1 / c, for its mean is 1.

    Random pairs of laws, and one that meets the bound: a token of probability 1 / c that becomes certain.
    """
    draw = torch.Generator().manual_seed(seed)
    old, new = (6 * torch.randn(2, laws, tokens, generator=draw, dtype=torch.float64)).log_softmax(-1)
    log_ratio = new - old
    worst = [float(c * (old.exp() * (log_ratio >= math.log(c))).sum(-1).max()) for c in (2.0, 10.0, 1000.0)]
    mean = float(((old + log_ratio).exp().sum(-1) - 1).abs().max())
    over = float((log_ratio + old).max())  # log w <= -log of the old probability
    return {"c times the probability": worst, "mean - 1": mean, "log-ratio over its bound": over}


THINK = TreeTask.of({(0, 0): 1.0, (0, 1): 0.0, (1, 0): 1.0, (1, 1): 0.0})  # think and say: 0 is right, 1 is wrong


def agrees(rollouts: Rollouts) -> Tensor:
    """The referee [B, G]: 1 where the verdict is what was thought, else -1."""
    thought, verdict = rollouts.completions.unbind(-1)
    return torch.where(thought == verdict, 1.0, -1.0).double()


def always(rollouts: Rollouts) -> Tensor:
    return torch.ones_like(rollouts.rewards)


FORMAT = {"format": (0.5, always)}
REWARDS = {
    "result only": Shaping(),
    "multiplicative": Shaping({"consistency": (0.5, Gated(agrees)), **FORMAT}),
    "additive": Shaping({"consistency": (0.5, agrees), **FORMAT}),
}


def paid(reward: Shaping) -> Tensor:
    """Rewards [2, 2] of what was thought and what was said."""
    policy = TabularLM.of(THINK)
    return reward(Enumerated()(policy, THINK, THINK.prompts()))[0].rewards[0].view(2, 2)


def thinking(theta: Tensor, rewards: Tensor) -> Tensor:
    """The gradient [..., 3] of the expected reward in three logits [..., 3], one a choice, for rewards [..., 2, 2]."""
    p = theta.sigmoid()
    slope = p * (1 - p)
    thought = p[..., :1]
    said = p[..., 1:]
    means = said * rewards[..., 0] + (1 - said) * rewards[..., 1]  # [..., 2] by what was thought
    first = slope[..., :1] * (means[..., :1] - means[..., 1:])
    reach = torch.cat([thought, 1 - thought], -1)
    return torch.cat([first, slope[..., 1:] * reach * (rewards[..., 0] - rewards[..., 1])], -1)


def quality(p: Tensor) -> tuple[Tensor, Tensor]:
    """(accuracy, consistency) [...] of probabilities [..., 3] of thinking right and of a right verdict after each."""
    t, a, b = p.unbind(-1)
    return t * a + (1 - t) * b, t * a + (1 - t) * (1 - b)


def gate() -> Results:
    """C4: accuracy and consistency with each reward from each start, one logit a choice; two of them by the Trainer."""
    rewards = torch.stack([paid(reward) for reward in REWARDS.values()])
    found: Results = {"wrong": {name: float(r[0, 1] - r[1, 1]) for name, r in zip(REWARDS, rewards, strict=True)}}
    found["paid"] = {name: r.flatten().tolist() for name, r in zip(REWARDS, rewards, strict=True)}
    for start, at in THINK_STARTS.items():
        logits = torch.tensor(at, dtype=torch.float64).logit().expand(3, 3)
        kept = range(0, THINK_STEPS[start] + 1, THINK_STEPS[start] // 20)
        path = ascend(lambda theta: thinking(theta, rewards), logits, THINK_LR, kept).sigmoid()
        curves = quality(path)
        found[start] = {
            name: {"accuracy": curves[0][:, i].tolist(), "consistency": curves[1][:, i].tolist()}
            for i, name in enumerate(REWARDS)
        } | {"steps": list(kept)}
    found["two logits"] = {name: _two_logits(reward) for name, reward in REWARDS.items()}
    return found


def _two_logits(reward: Shaping) -> list[float]:
    """(accuracy, consistency) from the hard start with a softmax of two logits at each choice, by the Trainer."""
    p = torch.tensor(THINK_STARTS["hard"], dtype=torch.float64)
    logits = torch.stack([p, 1 - p], -1).log()[None]
    policy, objective = TabularLM.of(THINK, logits=logits), PolicyGradient(Advantage("none"))
    trained = trained_table(policy, THINK, objective, THINK_LR, THINK_STEPS["hard"], shaping=reward)
    return [float(x) for x in quality(trained.view(3, -1)[:, :2].softmax(-1)[:, 0])]


def trainer_agrees(steps: int = 30, lr: float = 1.0) -> Results:
    """S1: the catalogue's method on enumerated answers takes the steps of the flow, past where its filter lets go."""
    found: Results = {}
    for name, kept in FILTERS.items():
        ours = ascend(_on_bandit(kept), BANDIT.log(), lr, [steps])[0]
        trained = trained_table(TabularLM.of(TASK, logits=BANDIT.log()[None]), TASK, filtered(kept), lr, steps)
        found[name] = float((trained.flatten()[:4] - ours).abs().max())
    return found | {"success": float(accuracy(ours))}
