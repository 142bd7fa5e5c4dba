"""The exercises of lesson 13, with the mistakes that they know."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def unsampled_term(p: Tensor, correct: Tensor, drawn: Tensor, reward_right: float, reward_wrong: float) -> Tensor:
    """S (Q_pos U_neg2 - Q_neg U_pos2) of probabilities [V], with bool [V] for the correct and for the drawn tokens."""
    pull = _pull(p, correct, drawn, reward_right, reward_wrong)
    q = p[correct].sum()
    left = p**2 * ~drawn
    return pull * (q * left[~correct].sum() - (1 - q) * left[correct].sum())


def _pull(p: Tensor, correct: Tensor, drawn: Tensor, reward_right: float, reward_wrong: float) -> Tensor:
    return reward_right * p[correct & drawn].sum() + reward_wrong * p[~correct & drawn].sum()


def draw_weights(tokens: Tensor, rewards: Tensor, vocabulary: int) -> Tensor:
    """w_i = sum over the draws of token i of (R - b) / N: [vocabulary], from draws [N] and their rewards [N]."""
    share = (rewards - rewards.mean()) / len(tokens)
    return torch.zeros(vocabulary, dtype=rewards.dtype).index_add(0, tokens, share)


def _once(tokens: Tensor, rewards: Tensor, vocabulary: int) -> Tensor:
    """A token that was drawn twice overwrites itself."""
    w = torch.zeros(vocabulary, dtype=rewards.dtype)
    w[tokens] = (rewards - rewards.mean()) / len(tokens)
    return w


def _by_distinct(tokens: Tensor, rewards: Tensor, vocabulary: int) -> Tensor:
    """The baseline of the distinct tokens."""
    of = torch.zeros(vocabulary, dtype=rewards.dtype)
    of[tokens] = rewards
    return _without_baseline(tokens, rewards - of[tokens.unique()].mean(), vocabulary)


def _without_baseline(tokens: Tensor, rewards: Tensor, vocabulary: int) -> Tensor:
    return torch.zeros(vocabulary, dtype=rewards.dtype).index_add(0, tokens, rewards / len(tokens))


def _summed(tokens: Tensor, rewards: Tensor, vocabulary: int) -> Tensor:
    return draw_weights(tokens, rewards, vocabulary) * len(tokens)


def _doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _drawn(*hit: int) -> Tensor:
    return torch.tensor(hit, dtype=torch.bool)


PREDICT = register(
    Exercise(
        name="13.predict",
        reference="fewer",
        mistakes=(
            Mistake(
                "More draws bring the step nearer to its mean, and the mean is not kind to every correct token.", "more"
            ),
            Mistake(
                "It does change, by a lot: with unequal tokens the likely ones take from the weak ones.", "as many"
            ),
        ),
        reason="Large N removes the noise. What is left, the mean step, makes the likely correct tokens richer.",
    )
)

UNSAMPLED = register(
    Exercise(
        name="13.ex1",
        reference=unsampled_term,
        cases=(
            Case((_doubles(0.5, 0.1, 0.3, 0.1), _drawn(1, 1, 0, 0), _drawn(0, 1, 1, 0), 1.0, -1.0), "one of each"),
            Case((_doubles(0.2, 0.2, 0.4, 0.2), _drawn(1, 0, 1, 0), _drawn(1, 0, 0, 0), 1.0, 0.0), "a right draw"),
            Case((_doubles(0.2, 0.2, 0.4, 0.2), _drawn(1, 0, 1, 0), _drawn(0, 1, 0, 0), 2.0, -0.5), "a wrong draw"),
            Case((_doubles(0.6, 0.4), _drawn(1, 0), _drawn(1, 1), 1.0, -1.0), "nothing unsampled"),
        ),
        mistakes=(
            Mistake(
                "The sign is the other way: unsampled correct mass is lost when S > 0, unsampled wrong mass is not.",
                lambda *a: -unsampled_term(*a),
            ),
            Mistake(
                "The moments are second ones: sum p squared, not p.",
                lambda p, c, d, r, w: (
                    _pull(p, c, d, r, w) * (p[c].sum() * p[~c & ~d].sum() - p[~c].sum() * p[c & ~d].sum())
                ),
            ),
            Mistake(
                "The factor S is missing: what was drawn decides where the unsampled tokens drift.",
                lambda p, c, d, r, w: p[c].sum() * (p**2)[~c & ~d].sum() - p[~c].sum() * (p**2)[c & ~d].sum(),
            ),
            Mistake(
                "S sums over the drawn tokens only; this is the mean reward of the policy.",
                lambda p, c, d, r, w: (
                    (r * p[c].sum() + w * p[~c].sum())
                    * (p[c].sum() * (p**2)[~c & ~d].sum() - p[~c].sum() * (p**2)[c & ~d].sum())
                ),
            ),
        ),
        reason="With everything sampled it is 0: then only the two terms that are never negative are left.",
    )
)

NEGATIVE = register(
    Exercise(
        name="13.ex2",
        reference="unsampled",
        mistakes=(
            Mistake("That term is (R_c - S) Q_neg A_2, and S is at most R_c.", "sampled correct"),
            Mistake("That term is (S - R_w) Q_pos B_2, and S is at least R_w = 0.", "sampled wrong"),
        ),
        reason="S >= 0, so it is negative just where Q_neg U_pos2 > Q_pos U_neg2: where the unsampled correct mass is "
        "the more concentrated. With R_w = -1 and only wrong draws S < 0, and the condition turns round.",
    )
)

WEIGHTS = register(
    Exercise(
        name="13.ex3",
        reference=draw_weights,
        cases=(
            Case((torch.tensor([0, 2, 3]), _doubles(1, 1, -1), 4), "three different tokens"),
            Case((torch.tensor([1, 1, 0, 3]), _doubles(1, 1, -1, -1), 5), "a token drawn twice"),
            Case((torch.tensor([2, 2, 2, 0]), _doubles(1, 1, 1, -1), 3), "a token drawn three times"),
            Case((torch.tensor([1, 0]), _doubles(1, 1), 2), "all rewards equal"),
        ),
        mistakes=(
            Mistake("Draws count with multiplicity: a token that was drawn twice weighs twice.", _once),
            Mistake("The baseline is the mean reward of the draws, not of the distinct tokens.", _by_distinct),
            Mistake("The baseline is missing: subtract the mean reward of the draws.", _without_baseline),
            Mistake("Divide by N: a sum over the draws grows the step with N.", _summed),
        ),
        reason="The theorem counts each token once, the simulator every draw: two different steps, and two limits.",
    )
)
