"""Lesson 10 on the exact rung: eight answers of which one is right and unlikely, and 40 prompts that share logits."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

from toykit.exact import ascend, entropy, forward_kl_optimum, kl, mean_score, reverse_kl_optimum
from toykit.lessons.base import Results
from toykit.lessons.l10_rapo import shared_logits
from toykit.lessons.trained import trained_table
from toykit.objectives import Advantage, EntropyBonus, OnPolicyForwardKL, PolicyGradient, Tempering, covering, estimate
from toykit.policies import TabularLM
from toykit.tasks import Bandit

SEEDS = tuple(range(8))
USUAL = torch.tensor([0.5, 0.25, 0.12, 0.06, 0.04, 0.02, 0.01], dtype=torch.float64)  # of the seven wrong answers
REWARDS = torch.tensor([0.0] * 7 + [1.0], dtype=torch.float64)
ALPHAS = (0.05, 0.1, 0.2, 0.5)
EPS = (1e-2, 1e-4, 1e-6, 0.0)
OPTIMA = {"reverse": reverse_kl_optimum, "forward": forward_kl_optimum}
ALPHA, STARTS = 0.2, (1e-2, 1e-3, 1e-4)


def reference(eps: float) -> Tensor:
    """Log-probabilities [8] of a base that gives the right answer, the last, a mass of `eps`."""
    return torch.cat([(1 - eps) * USUAL, torch.tensor([eps], dtype=torch.float64)]).log()


def tempered(log_ref: Tensor, phi: Tensor | float) -> Tensor:
    """ref^phi, normalised, as log-probabilities [..., L]; what the reference cannot say stays impossible."""
    known = log_ref > -torch.inf
    return torch.where(known, phi * torch.where(known, log_ref, 0.0), -torch.inf).log_softmax(-1)


def literal(log_ref: Tensor, rewards: Tensor) -> Tensor:
    """ref(y)^r(y), normalised: the formula read with an exponent for each answer inside one law."""
    return (rewards * log_ref).log_softmax(-1)


def run(seeds: tuple[int, ...] = SEEDS) -> Results:
    """All exact results of the lesson; `seeds` are those of the shared prompts and of the random laws."""
    return {
        "table": table(),
        "stationary": stationary(seeds[0]),
        "estimator": estimator(seeds[0]),
        "audit": audit(),
        "flow": flow(),
        "trainer": trainer_agrees(),
        "shared": shared(seeds),
    }


def table() -> Results:
    """Mass of the right answer at both optima, {way: [a row for each eps, a column for each alpha]}."""
    found: Results = {
        way: [[float(best(reference(eps), REWARDS, alpha)[-1].exp()) for alpha in ALPHAS] for eps in EPS]
        for way, best in OPTIMA.items()
    }
    bonus = {way: float(best(reference(1e-4), REWARDS, 0.2, 0.05)[-1].exp()) for way, best in OPTIMA.items()}
    return found | {"alphas": list(ALPHAS), "eps": list(EPS), "with entropy": bonus}


def objective(way: str, log_pi: Tensor, log_ref: Tensor, rewards: Tensor, alpha: float, bonus: float) -> Tensor:
    """E r - alpha KL + bonus H [...], with the KL in the given direction."""
    cost = kl(log_ref, log_pi) if way == "forward" else kl(log_pi, log_ref)
    return (log_pi.exp() * rewards).sum(-1) - alpha * cost + bonus * entropy(log_pi)


def stationary(seed: int, laws: int = 50, answers: int = 8) -> Results:
    """C2: at the closed forms, for random problems, the gradient in the logits and what should be the same for all."""
    draw = torch.Generator().manual_seed(seed)
    log_ref = (2 * torch.randn(laws, answers, generator=draw, dtype=torch.float64)).log_softmax(-1)
    rewards = torch.rand(laws, answers, generator=draw, dtype=torch.float64)
    others = (3 * torch.randn(200, 1, answers, generator=draw, dtype=torch.float64)).log_softmax(-1)
    slope, constant, better = 0.0, 0.0, -torch.inf
    for (way, best), alpha, bonus in product(OPTIMA.items(), (0.05, 0.2, 1.0), (0.0, 0.05, 0.3)):
        optimum = best(log_ref, rewards, alpha, bonus)
        logits = optimum.clone().requires_grad_()
        value = objective(way, logits.log_softmax(-1), log_ref, rewards, alpha, bonus)
        slope = max(slope, float(torch.autograd.grad(value.sum(), logits)[0].abs().max()))
        gains = objective(way, others, log_ref, rewards, alpha, bonus) - value.detach()
        better = max(better, float(gains.max()))
        if way == "forward":
            same = rewards + alpha * (log_ref - optimum).exp() - bonus * optimum
            constant = max(constant, float((same.amax(-1) - same.amin(-1)).max()))
    unknown = torch.cat([tempered(log_ref, 1.0), torch.full((laws, 1), -torch.inf, dtype=torch.float64)], -1)
    reverse = reverse_kl_optimum(unknown, torch.cat([rewards, torch.ones(laws, 1, dtype=torch.float64)], -1), 0.05)
    return {"gradient": slope, "constant": constant, "best gain": better, "escaped": float(reverse[:, -1].exp().max())}


def estimator(seed: int, laws: int = 200) -> Results:
    """C3: the mean of D under pi against KL(refhat || pi), for random laws and every tempering."""
    draw = torch.Generator().manual_seed(seed)
    log_pi, log_ref = (2 * torch.randn(2, laws, 8, generator=draw, dtype=torch.float64)).log_softmax(-1)
    error, least = 0.0, torch.inf
    for phi in (1.0, 0.5, 0.1, 0.0):
        hat = tempered(log_ref, phi)
        value = covering(hat - log_pi)
        error = max(error, float(((log_pi.exp() * value).sum(-1) - kl(hat, log_pi)).abs().max()))
        least = min(least, float(value.min()))
    return {"error": error, "least": least}


def audit() -> Results:
    """The gradients in four logits of what goes by the name of a forward KL: mean over pi at fixed samples."""
    pi, ref = (torch.tensor(p, dtype=torch.float64) for p in ([0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]))

    def slope(term: Callable[[Tensor], Tensor]) -> list[float]:
        logits = pi.log().requires_grad_()
        return torch.autograd.grad((pi * term(ref.log() - logits.log_softmax(-1))).sum(), logits)[0].tolist()

    w = ref / pi
    return {
        "exact": (pi - ref).tolist(),
        "score": slope(lambda log_w: -(1 - w) * log_w),
        "autodiff of D": slope(covering),
        "autodiff of k3": slope(lambda log_w: estimate("k3", "reverse", log_w)),
    }


def flow(alpha: float = ALPHA, long: int = 10_000, short: int = 2_000) -> Results:
    """Exact ascent on the logits from the reference: steps until the right answer has half of the mass (-1: never).

    The tempered reference has phi = E_pi r and is held constant in the gradient. `long` steps are taken towards a
    reference that stays, `short` ones of the others. The wrong answers keep their proportions, so that the mass of the
    right one goes straight to that of the optimum: under reverse KL to `plateau`.
    """
    log_ref = torch.stack([reference(eps) for eps in STARTS])  # [eps, 8]
    fixed = torch.stack([log_ref, literal(log_ref, REWARDS)]).exp()

    def towards_fixed(logits: Tensor) -> Tensor:
        pi = logits.softmax(-1)
        return pi * (REWARDS - pi[..., -1:]) + alpha * (fixed - pi)

    def towards_others(logits: Tensor) -> Tensor:
        log_pi = logits.log_softmax(-1)
        reverse, flat = log_pi.exp()
        value = REWARDS - alpha * (log_pi[0] - log_ref)
        with_reverse = reverse * (value - (reverse * value).sum(-1, keepdim=True))
        hat = tempered(log_ref, flat[:, -1:]).exp()
        return torch.stack([with_reverse, flat * (REWARDS - flat[:, -1:]) + alpha * (hat - flat)])

    both = log_ref.expand(2, -1, -1)
    paths: dict[str, Tensor] = {}
    for names, gradient, steps in (
        (("forward", "literal"), towards_fixed, long),
        (("reverse", "tempered"), towards_others, short),
    ):
        masses = ascend(gradient, both, 1.0, range(steps + 1)).softmax(-1)[..., -1]  # [steps + 1, 2, eps]
        paths |= dict(zip(names, masses.unbind(1), strict=True))
    return {
        "eps": list(STARTS),
        "steps": {name: _first(path).tolist() for name, path in paths.items()},
        "plateau": reverse_kl_optimum(log_ref, REWARDS, alpha)[:, -1].exp().tolist(),
        "literal mass": float(literal(reference(1e-2), REWARDS)[-1].exp()),
        "path": {name: _thinned(path) for name, path in paths.items()},
    }


def _first(path: Tensor) -> Tensor:
    """The first step [...] with a mass of 1/2 or more along `path` [steps, ...], -1 where there is none."""
    done = path >= 0.5
    return torch.where(done.any(0), done.long().argmax(0), -1)


def _thinned(path: Tensor) -> Results:
    """Steps at equal ratios with the mass from each start."""
    kept = sorted({round(10 ** (i / 10)) for i in range(41)})
    kept = [step for step in kept if step < len(path)]
    return {"steps": kept, "mass": path[kept].T.tolist()}


def trainer_agrees(steps: int = 10, eps: float = 1e-2) -> Results:
    """S1: the Trainer on enumerated answers takes the steps of the flow, with RAPO's penalties from the catalogue."""
    log_ref, errors = reference(eps), {}
    task = Bandit(REWARDS)
    for name, tempering, bonus in (("forward", None, 0.0), ("tempered", Tempering("prompt"), 0.05)):

        def gradient(logits: Tensor, flat: bool = tempering is not None, bonus: float = bonus) -> Tensor:
            log_pi = logits.log_softmax(-1)
            pi = log_pi.exp()
            hat = tempered(log_ref, pi[-1]) if flat else log_ref
            value = REWARDS - bonus * log_pi
            return mean_score(pi, value) + ALPHA * (hat.exp() - pi)

        ours = ascend(gradient, log_ref, 1.0, [steps])[0]
        terms = (OnPolicyForwardKL(ALPHA, clip=None, tempering=tempering),)
        further = (EntropyBonus(bonus),) if bonus else ()
        objective = PolicyGradient(Advantage("none"), penalties=(*terms, *further))
        table = trained_table(TabularLM.of(task, logits=log_ref[None]), task, objective, 1.0, steps)
        errors[name] = float((table[0] - ours).abs().max())
    return {"steps": steps, "errors": errors}


def shared(seeds: tuple[int, ...]) -> Results:
    """C4, C5: every arm on every seed's problem; pass@k at the end, and when the rarest prompts are solved."""
    made = shared_logits.world(seeds)
    path = shared_logits.train(made, list(shared_logits.ARMS.values()), seeds)
    rare = path[..., -shared_logits.PROMPTS // len(shared_logits.RATES) :]
    first = _first(rare)
    first = torch.where(first < 0, shared_logits.STEPS + 1, first).double().mean(-1)
    curves = shared_logits.pass_curve(path[-1])
    return {
        "ks": list(shared_logits.KS),
        "base": shared_logits.pass_curve(made.base).tolist(),
        "pass": {name: curves[i].tolist() for i, name in enumerate(shared_logits.ARMS)},
        "first": {name: first[i].tolist() for i, name in enumerate(shared_logits.ARMS)},
        "kept": list(range(0, shared_logits.STEPS + 1, 10)),
        "rare": {name: rare[::10, i].mean(-1).T.tolist() for i, name in enumerate(shared_logits.ARMS)},
    }
