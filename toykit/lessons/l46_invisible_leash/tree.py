"""Support on the trees of lesson 35: what RL keeps, wins and loses, counted by answers, by problems, and by k."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from toykit.diagnostics import SupportTable, detectable, in_support, solved, support_table
from toykit.exact import entropy, even_push, leaf_log_probs
from toykit.lessons.base import Results
from toykit.lessons.l35_limit_of_rlvr.exact import ALGORITHMS, SAMPLES, STEPS, World, world

KS = tuple(2**i for i in range(2, 15))  # 4 to 16,384
TAUGHT = 800  # steps of supervised learning, and of DAPO beside it


def tilted(log_q: Tensor, log_pi: Tensor) -> Tensor:
    """The tilt of the base with the trained policy's success: log-probabilities [..., C] of right answers from both.

    A tilt keeps the ratios of right answers, so they are the base's times p / p0. Where training has lowered success
    no beta > 0 has it, and beta = 0 stands there: the base.
    """
    gain = log_pi.logsumexp(-1, keepdim=True) - log_q.logsumexp(-1, keepdim=True)
    return log_q + gain.clamp(min=0)


def by_answers(log_q: Tensor, log_pi: Tensor, k: int) -> SupportTable:
    """Counts [...] over all right answers [..., n, C] at the probability that k samples show."""
    eps = detectable(k)
    return support_table(in_support(log_q, eps).flatten(-2), in_support(log_pi, eps).flatten(-2))


def by_problems(log_q: Tensor, log_pi: Tensor, k: int) -> SupportTable:
    """Counts [...] over problems [..., n] that k samples more likely than not solve."""
    return support_table(*(solved(log_p.exp().sum(-1).clamp(max=1.0), k) for log_p in (log_q, log_pi)))


def cells(table: SupportTable) -> Results:
    """P, E, S, O and the net change, seed by seed (0 where neither policy finds any)."""
    counts = {"P": table.preserved, "E": table.gained, "S": table.lost, "O": table.out}
    return {name: cell.tolist() for name, cell in counts.items()} | {
        "NSCR": table.net_change.nan_to_num(0.0).tolist(),
        "SRR": table.retention.nan_to_num(0.0).tolist(),
        "NDR": table.discovery.nan_to_num(0.0).tolist(),
    }


def run(seeds: Sequence[int]) -> Results:
    """C5 to C7: tables at every k of RL (GRPO), DAPO, supervised learning and the tilt, entropies and success."""
    made = world(seeds)
    grpo = made.train(ALGORITHMS["GRPO"], STEPS)
    weights = {
        "RL": grpo[-1],
        "DAPO": made.train(ALGORITHMS["DAPO"], [TAUGHT])[0],
        "SFT": made.train(even_push, [TAUGHT])[0],
    }
    log_q = made.paths.log_probs(made.base)
    laws = {name: made.paths.log_probs(w) for name, w in weights.items()}
    laws["tilt"] = tilted(log_q, laws["RL"])
    return {
        "ks": list(KS),
        "problems": {name: cells(by_problems(log_q, log_pi, SAMPLES)) for name, log_pi in laws.items()},
        "answers": {name: [cells(by_answers(log_q, log_pi, k)) for k in KS] for name, log_pi in laws.items()},
        "scatter": {name: log_pi[0].flatten().tolist() for name, log_pi in (("base", log_q), *laws.items())},
        "success": {name: p.exp().sum(-1).mean(-1).tolist() for name, p in (("base", log_q), *laws.items())},
        "entropy": {name: mean_entropy(made, w).tolist() for name, w in (("base", made.base), *weights.items())},
    }


def mean_entropy(made: World, weights: Tensor) -> Tensor:
    """Mean over prompts of the entropy of the answer [S], nats; a completion is an answer here."""
    return entropy(torch.stack([leaf_log_probs(made.tree, x) for x in made.logits(weights)])).mean(-1)
