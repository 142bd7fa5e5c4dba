from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from toykit.objectives import token_weights
from toykit.objectives.aggregation import AGGREGATIONS


def lengths_mask(*groups: list[int]) -> Tensor:
    """Masks [B, G, 12] of completions of these lengths."""
    return torch.arange(12) < torch.tensor(groups)[..., None]


def even(mask: Tensor) -> Tensor:
    return torch.full(mask.shape[:-1], 1 / mask.shape[-2], dtype=torch.float64)


def test_card_03_exercise_weights_of_a_token():
    """One completion of 10 tokens beside seven of 2."""
    mask = lengths_mask([2] * 7 + [10])
    per_sequence = token_weights("sequence_mean", even(mask), mask)
    per_token = token_weights("token_mean", even(mask), mask)
    assert per_sequence[0, [7, 0], 0].tolist() == pytest.approx([1 / 80, 1 / 16])
    assert per_token[0, [7, 0], 0].tolist() == pytest.approx([1 / 24, 1 / 24])


def test_weights_by_hand_for_uneven_prompts():
    mask = lengths_mask([1, 3], [2, 0])
    expected = {
        "token_sum": [1 / 4] * 6,
        "sequence_mean": [1 / 4, *[1 / 12] * 3, 1 / 8, 1 / 8],
        "token_mean": [1 / 6] * 6,
        "constant_norm": [1 / 20] * 6,
    }
    for kind, values in expected.items():
        assert token_weights(kind, even(mask), mask, 5)[mask].tolist() == pytest.approx(values)


def test_an_enumeration_weighs_tokens_by_their_completions_probability():
    mask, weights = lengths_mask([1, 3]), torch.tensor([[0.75, 0.25]], dtype=torch.float64)
    assert token_weights("token_sum", weights, mask)[mask].tolist() == [0.75, 0.25, 0.25, 0.25]
    assert token_weights("sequence_mean", weights, mask)[mask].tolist() == pytest.approx([0.75, *[0.25 / 3] * 3])
    assert token_weights("token_mean", weights, mask)[mask].tolist() == pytest.approx([0.5, *[0.25 / 1.5] * 3])


@given(st.lists(st.lists(st.integers(1, 12), min_size=3, max_size=3), min_size=1, max_size=4))
def test_totals(lengths):
    mask = lengths_mask(*lengths)
    mean = mask.sum(-1).double().mean().item()
    expected = {"token_sum": mean, "token_mean": 1, "sequence_mean": 1, "constant_norm": mean / 12}
    for kind in AGGREGATIONS:
        weights = token_weights(kind, even(mask), mask, 12)
        assert not weights[~mask].any()
        assert weights.sum().item() == pytest.approx(expected[kind])


@pytest.mark.parametrize("kind", AGGREGATIONS)
def test_a_batch_without_a_token_has_weights_0(kind):
    mask = lengths_mask([0, 0])
    assert not token_weights(kind, even(mask), mask, 12).any()


def test_leading_axes_are_batches_of_their_own():
    mask = torch.stack([lengths_mask([1, 3], [2, 2]), lengths_mask([4, 4], [5, 1])])
    for kind in AGGREGATIONS:
        apart = torch.stack([token_weights(kind, even(m), m, 12) for m in mask])
        assert torch.equal(token_weights(kind, even(mask), mask, 12), apart)


def test_bad_arguments():
    mask = lengths_mask([1, 2])
    with pytest.raises(
        ValueError, match="aggregate must be one of .*, got 'sequence-mean'; did you mean 'sequence_mean'?"
    ):
        token_weights("sequence-mean", even(mask), mask)
    with pytest.raises(ValueError, match="horizon must be given for aggregate='constant_norm', got None"):
        token_weights("constant_norm", even(mask), mask)
