"""Property 2. The target: where does exact gradient flow end, and what is left of the policy there?"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from toykit.audit.candidates import BETAS
from toykit.audit.direction import betas
from toykit.audit.findings import BIASED, EXACT, NOTE, Property, short
from toykit.audit.measure import Probe
from toykit.audit.problems import Problem, problem
from toykit.exact import entropy, kl, leaf_log_probs, posterior

NAME = "ties"
PLAIN_STEPS, NATURAL_STEPS = 150, 100
LONGEST_STEP = 0.2  # of a logit, in one step
STILL, COLLAPSED = 1e-10, 0.999
GONE = 1e-3  # a completion below this probability has not survived
NEAR = 1e-5  # nats between the end and a posterior that are called the same


@dataclass(frozen=True)
class End:
    """The law [L] where the flow ended, after how many steps, and whether it stands still there."""

    law: Tensor
    steps: int
    still: bool


def flow(probe: Probe, start: Problem) -> End:
    """Follows the expected update from a problem's policy, on policy, until it stands still or nearly all mass is on
    one completion. The completions of an offline objective stay those of the policy that it starts from.

    Steps grow while the update keeps its direction and shrink where it turns, which changes the time that the path
    takes, not the path. Where that has not come to an end, the natural gradient finishes: it stands still at the same
    points, near which the plain gradient hardly moves the rare completions.
    """
    p, rate = start, 1.0
    gradient = _update(probe, p, natural=False)
    for step in range(PLAIN_STEPS + NATURAL_STEPS):
        size, natural = float(gradient.abs().max()), step >= PLAIN_STEPS
        if size < STILL or float(p.law.max()) > COLLAPSED:
            return End(p.law[0], step, True)
        moved = gradient * min(rate, LONGEST_STEP / size)
        logits = p.logits + moved
        p = replace(p, logits=logits) if probe.objective.offline else p.with_policy(logits)
        after = _update(probe, p, natural)
        rate = min(rate, LONGEST_STEP / size) * (1.3 if float((after * moved).sum()) > 0 else 0.5)
        gradient = after
    return End(p.law[0], PLAIN_STEPS + NATURAL_STEPS, False)


def _update(probe: Probe, p: Problem, natural: bool) -> Tensor:
    """The expected update [B, 1, L] of the logits of one token, or the natural gradient's: divided by probability."""
    gradient = probe.on(p).gradient
    return gradient / p.prob.clamp(min=1e-300) if natural else gradient


def properties(probe: Probe) -> list[Property]:
    """The end's entropy and top completion, its distance from the posterior, and which of two equals it keeps."""
    p, end = problem(NAME), flow(probe, problem(NAME))
    return [_end(end), _posterior(probe, p, end), _support(p, end)]


def _end(end: End) -> Property:
    top, h = float(end.law.max()), float(entropy(end.law.log()))
    kind = "collapses" if top > COLLAPSED else "stands still" if end.still else "is still moving"
    row = {"law": end.law.tolist(), "largest": top, "entropy": h, "steps": end.steps, "still": end.still}
    words = f"gradient flow {kind} at probabilities {', '.join(short(x) for x in end.law.tolist())}"
    return Property("target.end", NOTE, row, None, NAME, f"{words}; entropy {short(h)} nats")


def _posterior(probe: Probe, p: Problem, end: End) -> Property:
    base, log_end = leaf_log_probs(p.tree, p.reference)[0], end.law.log()

    def distance(beta: float | Tensor) -> Tensor:
        return kl(log_end, posterior(base, p.rewards[0], beta))

    away = distance(BETAS)
    beta = betas(probe)
    row = {"beta": beta, "kl": None if beta is None or beta <= 0 else float(distance(beta))}
    row |= {"nearest_beta": float(BETAS[away.argmin()]), "kl_to_nearest": float(away.min())}
    best, left = short(row["nearest_beta"] or 0.0), short(row["kl_to_nearest"] or 0.0)
    own = None if row["kl"] is None else f"of its own beta {short(beta or 0.0)}"
    if row["kl"] is not None and row["kl"] < NEAR:
        return Property("target.posterior", EXACT, row, 0.0, NAME, f"it ends at the posterior {own}")
    if own is None and float(away.min()) < NEAR:
        return Property("target.posterior", EXACT, row, 0.0, NAME, f"it ends at the posterior of beta {best}")
    words = f"the nearest posterior is that of beta {best}, {left} nats away"
    words += "" if own is None else f"; that {own} is {short(row['kl'] or 0.0)} nats away"
    return Property("target.posterior", BIASED if probe.reference else NOTE, row, 0.0, NAME, words)


def _support(p: Problem, end: End) -> Property:
    kept = [i for i, x in enumerate(end.law.tolist()) if x > GONE]
    before, after = p.law[0, 1] / p.law[0, 0], end.law[1] / end.law[0]
    row = {"kept": kept, "ratio_of_equals": float(after), "ratio_before": float(before)}
    grown = float(after / before)
    words = f"{len(kept)} of 4 completions keep more than {GONE}; the likelier of two equally good ones "
    words += "keeps its lead" if abs(grown - 1) < 0.01 else f"multiplies its lead by {short(grown)}"
    return Property("target.support", NOTE, row, None, NAME, words)
