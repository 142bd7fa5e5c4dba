"""Lesson 38 on the exact rung: weights by enumeration, a path too rare to be sampled, and prompts that share."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise, product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toykit.diagnostics import exact_pass_at_k
from toykit.exact import (
    ascend,
    ascend_until,
    entropy,
    group_expectation,
    group_weight,
    leaf_log_probs,
    linear_logits,
    node_log_probs,
    shared,
)
from toykit.lessons.base import Results
from toykit.lessons.l38_rl_plus.weights import many_laws, weights
from toykit.lessons.trained import trained_table
from toykit.objectives import (
    MIS,
    Advantage,
    Exploring,
    External,
    Likelihood,
    PolicyGradient,
    Probability,
    Reshaped,
    method,
)
from toykit.policies import TabularLM
from toykit.rollouts import Mixed, Solutions, of_leaves
from toykit.tasks import TreeTask

SEEDS = (0, 1, 2, 3, 4)
V, GROUP = 8, 8  # tokens; rows of a group, of which one is the solution
Coefficient = Callable[[Tensor], Tensor]  # of grad log p, per unit of advantage, at p = p_old


def mis(p: Tensor, u: float, gamma: float) -> Tensor:
    return 4 * p / (3 * p + u) * (1 - p) ** gamma


EXTERNAL: dict[str, Coefficient] = {  # how strongly a token of the solution is pushed
    "off-policy": lambda p: p,
    "LUFFY": lambda p: 0.1 * p / (p + 0.1) ** 2,
    "RL-PLUS": partial(mis, u=1.0, gamma=0.5),
    "RL-PLUS, no EAF": partial(mis, u=1.0, gamma=0.0),
    "RL-PLUS, 1/V": partial(mis, u=1 / V, gamma=0.5),
    "SFT": torch.ones_like,
}
PIECES: dict[str, tuple[External, float]] = {  # the same as pieces of an objective: a weight, and gamma
    "off-policy": (Probability(), 0.0),
    "LUFFY": (Reshaped(), 0.0),
    "RL-PLUS": (MIS(), 0.5),
    "RL-PLUS, no EAF": (MIS(), 0.0),
    "RL-PLUS, 1/V": (MIS(1 / V), 0.5),
    "SFT": (Likelihood(), 0.0),
}
RARE = ((0.3, 2), (0.1, 3), (0.05, 4), (0.02, 5))  # probability of each right token, and how many there are
FOUND, MOST = 0.5, 60_000
KS = (1, 4, 16, 64, 256, 1024)
SHARING = ("GRPO", "LUFFY", "RL-PLUS", "RL-PLUS, 1/V", "SFT", "SFT, c = 1")


def run(seeds: tuple[int, ...] = SEEDS) -> Results:
    """All exact results of the lesson; the seeds are those of the prompts that share."""
    return {
        "weights": weights(),
        "laws": many_laws(),
        "coefficients": coefficients(),
        "step": expected_step(),
        "rare": rare(),
        "scaling": scaling(),
        "sharing": sharing(seeds),
        "trainer": trainer_agrees(),
    }


# --- one step ---------------------------------------------------------------------------------------------------------


def objective(name: str, std: bool = False) -> PolicyGradient:
    """RL-PLUS of the catalogue with another weight of the solution's tokens, and without its entropy bonus."""
    external, gamma = PIECES[name]
    spread = {"std": "group", "ddof": 0, "eps": 0.0} if std else {}
    return method("rl_plus").pieces.with_(
        advantage=Advantage("group", **spread),  # type: ignore[arg-type]
        external=external,
        transforms=(Exploring(gamma),),
        penalties=(),
    )


def pulls(name: str, p: Tensor) -> Tensor:
    """d/d log p of what stands in the place of a token's ratio, times (1 - p)^gamma, at p = p_old: by autograd."""
    external, gamma = PIECES[name]
    logp = p.log().requires_grad_()
    return torch.autograd.grad(external(logp, p.log()).sum(), logp)[0] * (1 - p) ** gamma


def coefficients() -> Results:
    """C2: autograd of the pieces against the formulas of `EXTERNAL`, the card's numbers, and what the factor of rare
    tokens changes."""
    p = torch.cat([torch.logspace(-8, -1, 50), torch.linspace(0.1, 1, 91)]).double()
    errors = {name: float((pulls(name, p) - e(p)).abs().max()) for name, e in EXTERNAL.items()}
    fine = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    code, plain = (EXTERNAL[name] for name in ("RL-PLUS", "RL-PLUS, no EAF"))
    rare, known = (torch.tensor(x, dtype=torch.float64) for x in (0.02, 0.98))
    one = torch.tensor(1e-4, dtype=torch.float64)
    token, path = torch.tensor([0.05, 0.05**4], dtype=torch.float64)
    external = 7 / 8 / 8 * code(token)
    on_policy = group_weight(path, GROUP, std="group", ddof=0)
    return {
        "errors": errors,
        "largest": [float(code(fine).max()), float(fine[code(fine).argmax()])],
        "at 1e-4": [float(mis(one, 1 / 152_000, 0.5)), float(code(one))],
        "rare to known": [float(plain(rare) / plain(known)), float(code(rare) / code(known))],
        "at most 1": float((code(fine) / plain(fine)).max()),
        "exercise": [float(on_policy), float(external), float(external / on_policy)],
    }


def beside(p: Tensor, std: bool = False) -> tuple[Tensor, Tensor]:
    """What pushes the right path of probability p [...]: (by the policy's own 7 rows, by the solution times e(p_t)).

    Own rows right with Binomial(7, p), the solution right: with m of them the mean is (m + 1) / 8. Without the standard
    deviation the sums are 49 p / 64 and 7 (1 - p) / 64.
    """
    if not std:
        return 49 / 64 * p, 7 / 64 * (1 - p)
    return _by_sums(p, std)


def _by_sums(p: Tensor, std: bool) -> tuple[Tensor, Tensor]:
    m = torch.arange(GROUP, dtype=torch.float64)
    ways = torch.tensor([math.comb(GROUP - 1, k) for k in range(GROUP)], dtype=torch.float64)
    p, mean = p[..., None], (m + 1) / GROUP
    chance = ways * p**m * (1 - p) ** (GROUP - 1 - m)
    scale = (mean * (1 - mean)).sqrt() if std else torch.ones_like(mean)
    scale[-1] = 1.0  # eight right rows: all advantages are 0
    own = chance * (m * (1 - mean) + (GROUP - 1 - m) * mean * p / (1 - p)) / scale
    return own.sum(-1) / GROUP, (chance * (1 - mean) / scale).sum(-1) / GROUP


def pushes(name: str, tokens: Tensor, std: bool = False) -> Tensor:
    """c_t [..., T] of an expected step c_t (e_right - pi_t), from probabilities `tokens` [..., T] of the right path."""
    own, external = beside(tokens.prod(-1, keepdim=True), std)
    return own + external * EXTERNAL[name](tokens)


def expected_step() -> Results:
    """C2: the mean over all groups of seven rows and a solution of what the objective ascends, for two tokens of two
    letters, against `pushes`; and the card's sums against their closed form."""
    task = TreeTask.of({(0, 0): 0.0, (0, 1): 0.0, (1, 0): 1.0, (1, 1): 0.0})
    tree, right = task.tree, 2
    table = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    by_token = node_log_probs(tree, table)[tree.nodes, tree.tokens]
    path = by_token[right].exp()

    def ascent(made: PolicyGradient, leaves: Tensor) -> Tensor:
        leaves = torch.cat([leaves, torch.full_like(leaves[:, :1], right)], 1)
        rollouts = of_leaves(task, leaves, by_token)
        external = torch.zeros_like(rollouts.mask)
        external[..., -1, :] = True
        tables = table.expand(len(leaves), -1, -1).clone().requires_grad_()
        now = node_log_probs(tree, tables)[..., tree.nodes, tree.tokens]
        logp = now[torch.arange(len(leaves))[:, None], leaves][:, None]
        loss, _ = made.loss(logp, made.prepare(rollouts.with_(extras={"external": external})))
        return -task.horizon * torch.autograd.grad(loss.sum(), tables)[0]

    def error(name: str, std: bool) -> float:
        found = group_expectation(partial(ascent, objective(name, std)), leaf_log_probs(tree, table), GROUP - 1)
        c, expected = pushes(name, path, std), torch.zeros_like(table)
        for t, node in enumerate(tree.nodes[right].tolist()):
            one_hot = torch.nn.functional.one_hot(tree.tokens[right, t], 2)
            expected[node] = c[t] * (one_hot - table[node].softmax(-1))
        return float((found - expected).abs().max())

    p = torch.linspace(0, 0.99, 100, dtype=torch.float64)
    sums = zip(_by_sums(p, False), beside(p), strict=True)
    return {
        "code": error("RL-PLUS", std=False),
        "paper": error("RL-PLUS, 1/V", std=True),
        "sums": max(float((a - b).abs().max()) for a, b in sums),
    }


# --- a path that is too rare to be sampled ----------------------------------------------------------------------------


def gap(p: float | Tensor) -> Tensor:
    """The right token's logit above the seven others', which are alike."""
    p = torch.as_tensor(p, dtype=torch.float64)
    return (p / (1 - p) * (V - 1)).log()


def steps_beside(name: str, p: Tensor, length: Tensor, std: bool = False, most: int = 5_000) -> list[int]:
    """Exact steps until the path has a probability above 1/2, from token probabilities p [n] and lengths [n]."""
    e = EXTERNAL.get(name, partial(mis, u=1 / 152_000, gamma=0.5))

    def token(z: Tensor) -> Tensor:
        return torch.sigmoid(z - math.log(V - 1))

    def gradient(z: Tensor) -> Tensor:
        p = token(z)
        own, external = beside(p**length, std)
        return (own + external * e(p)) * (1 - p) * V / (V - 1)

    return ascend_until(gradient, gap(p), 1.0, lambda z: token(z) ** length > FOUND, most)[0].tolist()


ROOT = [math.comb(GROUP, k) * math.sqrt(k / GROUP * (1 - k / GROUP)) for k in range(1, GROUP)]


def on_policy_push(path: Any, std: bool) -> Any:
    """What eight rows of the policy's own push: `group_weight` over 1 - p, of a number or a tensor, fast enough for
    60,000 steps."""
    if not std:
        return 7 / 8 * path
    odds = path / (1 - path)
    found = ROOT[-1]
    for root in reversed(ROOT[:-1]):
        found = found * odds + root
    return found * odds * (1 - path) ** (GROUP - 1)


def steps_alone(p: float, length: int, std: bool, most: int = MOST) -> int:
    """The same for GRPO, or -1 where `most` are not enough."""
    z = float(gap(p))
    for step in range(most + 1):
        token = 1 / (1 + (V - 1) * math.exp(-z))
        path = token**length
        if path > FOUND:
            return step
        z += on_policy_push(path, std) * (1 - token) * V / (V - 1)
    return -1


def rare() -> Results:
    """C3: the card's table, steps by method for each of its rows; "paper" is u = 1/V with the standard deviation."""
    p, length = (torch.tensor(x, dtype=torch.float64) for x in zip(*RARE, strict=True))
    found: Results = {
        "GRPO": [steps_alone(*row, std=True) for row in RARE],
        "GRPO, no std": [steps_alone(*row, std=False) for row in RARE],
    }
    found |= {name: steps_beside(name, p, length) for name in EXTERNAL}
    found["paper"] = steps_beside("RL-PLUS, 1/V", p, length, std=True)
    path = torch.tensor([1e-9, 1e-3, 0.1, 0.4], dtype=torch.float64)
    exact = group_weight(path, GROUP, std="group", ddof=0) / (1 - path)
    plain = torch.tensor([on_policy_push(x, std=True) for x in path.tolist()], dtype=torch.float64)
    return {"steps": found, "in plain numbers": float((plain / exact - 1).abs().max())}


def scaling() -> Results:
    """C3: steps against the length of the path at p_t = 0.1, and against p_t at three tokens, with their slopes."""
    lengths, tokens = (1, 2, 3, 4, 5, 6), (0.1, 0.03, 0.01, 0.003)
    names = (*EXTERNAL, "RL-PLUS, 1/152,000")
    n = torch.tensor(lengths, dtype=torch.float64)
    p = torch.tensor(tokens, dtype=torch.float64)
    by_length = {name: steps_beside(name, torch.full_like(n, 0.1), n) for name in names}
    by_token = {name: steps_beside(name, p, torch.full_like(p, 3.0)) for name in names}
    by_length["GRPO"] = [steps_alone(0.1, i, std=True) for i in lengths]
    by_token["GRPO"] = [steps_alone(x, 3, std=True) for x in tokens[:2]]
    slopes = {
        name: [math.log(b / a) / math.log(x / y) for (a, b), (x, y) in zip(pairwise(s), pairwise(tokens), strict=False)]
        for name, s in by_token.items()
    }
    return {"lengths": list(lengths), "tokens": list(tokens), "length": by_length, "token": by_token, "slopes": slopes}


# --- prompts that share their weights ---------------------------------------------------------------------------------


def shared_prompts(seed: int, n: int = 24, d: int = 12, length: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """(features [n, d], right tokens [n, T], weights [T, V, d] before anything is learned) of the card."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, d))
    features[:, 0] += 2
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    right = rng.integers(0, V, (n, length))
    return torch.tensor(features), torch.tensor(right), torch.tensor(2 * rng.normal(size=(length, V, d)))


def sharing(seeds: tuple[int, ...], steps: int = 2000) -> Results:
    """C4, C5: pass@k and the entropy after exact steps on prompts that share weights, and those of the base."""
    features, right, start = (torch.stack(x) for x in zip(*map(shared_prompts, seeds), strict=True))
    one_hot = torch.nn.functional.one_hot(right, V).double()

    def gradient(push: Callable[[Tensor], Tensor], features: Tensor = features) -> Callable[[Tensor], Tensor]:
        def at_logits(z: Tensor) -> Tensor:
            pi = z.softmax(-1)
            return push((pi * one_hot).sum(-1))[..., None] * (one_hot - pi)

        return shared(at_logits, features)

    def grpo(tokens: Tensor) -> Tensor:
        p = tokens.prod(-1, keepdim=True).clamp(max=1 - 1e-12)
        return on_policy_push(p, std=True).expand_as(tokens)

    rules: dict[str, Callable[[Tensor], Tensor]] = {
        "GRPO": grpo,
        **{name: partial(pushes, name) for name in SHARING if name in EXTERNAL},
        "SFT": lambda tokens: torch.full_like(tokens, 1 / GROUP),  # by the solution alone, as often as in a group
        "SFT, c = 1": torch.ones_like,
    }
    base = ascend(gradient(torch.ones_like), start, V / 2, [12])[0]

    def every(tokens: Tensor) -> Tensor:
        return torch.stack([rules[name](part) for name, part in zip(SHARING, tokens, strict=True)])

    arms = base.expand(len(SHARING), *base.shape)
    ends = ascend(gradient(every, features.expand(len(SHARING), *features.shape)), arms, 1.0, [steps])[0]
    found: Results = {"pass": {}, "entropy": {}}
    for name, theta in zip(("base", *SHARING), (base, *ends), strict=True):
        log_pi = linear_logits(theta, features).log_softmax(-1)
        p = (log_pi * one_hot).sum((-2, -1)).exp()
        found["pass"][name] = [[float(exact_pass_at_k(row, k).mean()) for k in KS] for row in p]
        found["entropy"][name] = entropy(log_pi).sum(-1).mean(-1).tolist()
    return found


def trainer_agrees(steps: int = 3, lr: float = 4.0) -> Results:
    """S1: the Trainer on all completions and a share of 1/8 for the solution takes the steps of large groups, in which
    the policy's own rows push 7 p / 8, and the solution (1 - p) e(p_t) 7 / 64."""
    task = TreeTask.of({leaf: float(leaf == (1, 2)) for leaf in product(range(3), repeat=2)})
    tree, errors = task.tree, {}
    right = next(i for i, row in enumerate(tree.tokens.tolist()) if row == [1, 2])
    one_hot = torch.nn.functional.one_hot(tree.tokens[right], 3).double()
    for name in EXTERNAL:
        policy = TabularLM.of(task, logits=torch.linspace(0.5, -0.5, 12, dtype=torch.float64).view(4, 3))

        def gradient(z: Tensor, name: str = name) -> Tensor:
            pi = z[tree.nodes[right]].softmax(-1)
            tokens = (pi * one_hot).sum(-1)
            p = tokens.prod()
            c = 7 / 8 * p + 7 / 64 * (1 - p) * EXTERNAL[name](tokens)
            return torch.zeros_like(z).index_add_(0, tree.nodes[right], c[:, None] * (one_hot - pi) / task.horizon)

        ours = ascend(gradient, policy.table.detach().clone().view(4, 3), lr, [steps])[0]
        mixed = Mixed(Solutions.of(task), GROUP, enumerated=True)
        theirs = trained_table(policy, task, objective(name), lr, steps, strategy=mixed)
        errors[name] = float((theirs.view(4, 3) - ours).abs().max())
    return errors
