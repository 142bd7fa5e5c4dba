"""Mass balance of one softmax position: how one step moves the total probability of the correct tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.exact._laws import law
from toykit.exact.groups import enumerate_groups

MOST_TOKENS = 16  # whose subsets are written out


@dataclass(frozen=True)
class MassBalance:
    """The parts of d Q_pos / (eta / N), each [...]; Q_pos is the total probability of the correct tokens.

    `sampled_correct` and `sampled_wrong` come from the tokens drawn (>= 0 where each counts once),
    `unsampled_wrong` and `unsampled_correct` from those that were not.
    """

    sampled_correct: Tensor
    sampled_wrong: Tensor
    unsampled_wrong: Tensor
    unsampled_correct: Tensor

    @property
    def unsampled(self) -> Tensor:
        """The coupling term of all unsampled tokens, of any sign."""
        return self.unsampled_wrong + self.unsampled_correct

    @property
    def total(self) -> Tensor:
        return self.sampled_correct + self.sampled_wrong + self.unsampled


def mass_balance(
    log_p: Tensor, correct: Tensor, counts: Tensor, reward_correct: float = 1.0, reward_wrong: float = -1.0
) -> MassBalance:
    """First-order change of the correct mass under one step on the surrogate -(1/N) sum_i n_i R_i p_i.

    `log_p` [..., V] are log-probabilities, `correct` [..., V] bool, `counts` [..., V] how often each token was
    drawn; bool counts give the paper's sets, whole numbers the multiplicities. Raises ValueError unless
    reward_correct >= 0 >= reward_wrong. Source: BroRL (arXiv 2510.01180), Theorem 1; multiplicities derived.
    """
    at_least("reward_correct", reward_correct, 0.0)
    if not reward_wrong <= 0:
        raise ValueError(f"reward_wrong must be <= 0, got {reward_wrong}")
    p, n = law("log_p", log_p).exp(), counts.to(log_p.dtype)
    correct, drawn = torch.broadcast_tensors(correct, counts > 0)

    def moment(among: Tensor, values: Tensor) -> Tensor:
        return torch.where(among, values, 0.0).sum(-1)

    right = moment(correct, p)
    wrong = moment(~correct, p)
    pull = reward_correct * moment(correct, n * p) + reward_wrong * moment(~correct, n * p)  # S_R
    second, weighted = p.square(), n * p.square()
    return MassBalance(
        wrong * (reward_correct * moment(correct, weighted) - pull * moment(correct & drawn, second)),
        right * (pull * moment(~correct & drawn, second) - reward_wrong * moment(~correct, weighted)),
        pull * right * moment(~correct & ~drawn, second),
        -pull * wrong * moment(correct & ~drawn, second),
    )


def surrogate_step(
    log_p: Tensor, correct: Tensor, counts: Tensor, reward_correct: float = 1.0, reward_wrong: float = -1.0
) -> Tensor:
    """The logit step dz_j / (eta / N) = p_j (n_j R_j - S_R) [..., V] whose mass balance `mass_balance` is."""
    p = law("log_p", log_p).exp()
    right = correct.to(log_p.dtype)
    push = counts.to(log_p.dtype) * (reward_correct * right + reward_wrong * (1 - right))
    return p * (push - (push * p).sum(-1, keepdim=True))


def exact_step(log_p: Tensor, rewards: Tensor) -> Tensor:
    """The logit gradient p_j (R_j - E R) [..., V] of the expected reward, the limit of many draws."""
    p = law("log_p", log_p).exp()
    return p * (rewards - (p * rewards).sum(-1, keepdim=True))


def probability_change(log_p: Tensor, step: Tensor) -> Tensor:
    """First-order change [..., V] of each probability under a logit step dz: p_j (dz_j - sum_k p_k dz_k).

    With `exact_step` a correct token loses probability if and only if p_j (R_j - J) < sum_k p_k^2 (R_k - J):
    the exact gradient makes the likelier of two correct tokens richer.
    """
    p = law("log_p", log_p).exp()
    return p * (step - (p * step).sum(-1, keepdim=True))


def unsampled_second_moment(log_p: Tensor, n: float) -> Tensor:
    """E of the sum of p^2 over the tokens not drawn in `n` draws, [...]: sum_i p_i^2 (1 - p_i)^n.

    Strictly decreasing in `n`. Source: BroRL (arXiv 2510.01180), Lemma 2.
    """
    at_least("n", n, 0)
    p = law("log_p", log_p).exp()
    return (p.square() * torch.special.xlog1py(n, -p.clamp(max=1.0)).exp()).sum(-1)


def enumerate_draws(log_p: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Every sequence of `n` draws from `log_p` [V], as counts.

    Returns how often each token is drawn, int64 [V^n, V], and the sequences' log-probabilities [V^n]. Raises
    ValueError where they are too many to write out.
    """
    index, log_weight = enumerate_groups(law("log_p", log_p), n)
    counts = torch.zeros(len(index), len(log_p), dtype=torch.int64, device=index.device)
    return counts.scatter_add(1, index, torch.ones_like(index)), log_weight


def subsets(n_tokens: int) -> Tensor:
    """Every set of tokens, bool [2^n_tokens, n_tokens]: set number i holds the tokens whose bits i has.

    Raises ValueError for less than 1 or more than 16 tokens.
    """
    if not 1 <= n_tokens <= MOST_TOKENS:
        raise ValueError(f"n_tokens must be from 1 to {MOST_TOKENS}, got {n_tokens}")
    return (torch.arange(2**n_tokens)[:, None] >> torch.arange(n_tokens) & 1).bool()


def subset_law(log_p: Tensor, n: int) -> Tensor:
    """The law of the set of tokens drawn at least once in 0, 1, ..., `n` draws: [n + 1, ..., 2^V] for `log_p` [..., V].

    Sets are those of `subsets`, in its order. It is a Markov chain: a draw adds its token to the set. All terms are
    positive, so that tiny probabilities are exact too, which inclusion and exclusion would lose.
    """
    at_least("n", n, 0)
    p = law("log_p", log_p).exp()[..., None, :]
    sets = subsets(p.shape[-1]).to(p.device)
    added = torch.where(sets, p, 0.0)
    before = torch.arange(len(sets), device=p.device)[:, None] ^ (1 << torch.arange(p.shape[-1], device=p.device))
    now = torch.zeros_like(added[..., 0])
    now[..., 0] = 1.0
    path = [now]
    for _ in range(n):
        path.append(now := now * added.sum(-1) + (now[..., before] * added).sum(-1))
    return torch.stack(path)
