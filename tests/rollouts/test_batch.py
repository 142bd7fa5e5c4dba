from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from toykit.rollouts import Rollouts
from toykit.rollouts.batch import in_pieces


def batch(b: int = 2, g: int = 3, t: int = 4, first: int = 0) -> Rollouts:
    """Prompts of 2 tokens whose every number is its own."""
    size = (b, g, t)
    count = torch.arange(math.prod(size)).view(size) + 100 * first
    mask = torch.arange(t) < (1 + count[..., :1] // t % t)
    return Rollouts(
        prompts=torch.arange(2 * b).view(b, 2),
        prompt_mask=torch.tensor([[False, True], [True, True]]).repeat(b, 1)[:b],
        prompt_ids=torch.arange(b) + first,
        completions=count * mask,
        mask=mask,
        old_logp=-count.double() * mask,
        rewards=count[..., 0].double(),
        weights=torch.full((b, g), 1 / g, dtype=torch.float64),
        horizon=9,
        extras={"flag": count[..., 0] % 2 == 0, "wide": count[..., None].double().expand(*size, 5)},
    ).check()


def same(a: Rollouts, b: Rollouts) -> bool:
    tensors = [(getattr(a, name), getattr(b, name)) for name in a._tensors()]
    tensors += [(a.extras[name], b.extras[name]) for name in a.extras]
    return all(torch.equal(x, y) for x, y in tensors) and a.extras.keys() == b.extras.keys()


def test_group_size_lengths_and_mean():
    rollouts = batch()
    assert rollouts.group_size == 3
    assert rollouts.lengths.tolist() == [[1, 2, 3], [4, 1, 2]]
    weights = torch.tensor([[0.5, 0.25, 0.25]] * 2, dtype=torch.float64)
    assert rollouts.with_(weights=weights).mean(rollouts.rewards).tolist() == [3, 15]


def test_take_keeps_whole_groups():
    rollouts = batch()
    for rows in (torch.tensor([1]), torch.tensor([False, True]), slice(1, 2)):
        part = rollouts.take(rows)
        assert part.prompt_ids.tolist() == [1]
        assert torch.equal(part.completions, rollouts.completions[1:])
        assert torch.equal(part.extras["wide"], rollouts.extras["wide"][1:])
        assert part.horizon == 9
    assert same(rollouts.take(torch.tensor([1, 0])).take(torch.tensor([1, 0])), rollouts)


def test_flat_gives_each_completion_its_prompt():
    rollouts = batch().with_(ref_logp=torch.ones(2, 3, 4, dtype=torch.float64))
    flat = rollouts.flat()
    assert flat.rewards.shape == (6, 1) and flat.completions.shape == (6, 1, 4)
    assert flat.prompt_ids.tolist() == [0, 0, 0, 1, 1, 1]
    for i, (row, column) in enumerate((r, c) for r in range(2) for c in range(3)):
        assert torch.equal(flat.prompts[i], rollouts.prompts[row])
        assert torch.equal(flat.prompt_mask[i], rollouts.prompt_mask[row])
        for name in ("completions", "mask", "old_logp", "ref_logp", "rewards", "weights"):
            assert torch.equal(getattr(flat, name)[i, 0], getattr(rollouts, name)[row, column]), name
        for name in ("flag", "wide"):
            assert torch.equal(flat.extras[name][i, 0], rollouts.extras[name][row, column]), name


def test_cat_is_the_inverse_of_take():
    rollouts = batch()
    assert same(Rollouts.cat([rollouts.take(slice(0, 1)), rollouts.take(slice(1, 2))]), rollouts)


def test_cat_pads_what_is_per_token_and_nothing_else():
    short, long = batch(t=3), batch(t=5, first=7)
    vector = torch.ones(2, 3, 4, dtype=torch.float64)  # [B, G, K]
    short, long = (r.with_(extras={"features": vector, "each": r.old_logp}) for r in (short, long))
    both = Rollouts.cat([short, long]).check()
    assert both.prompt_ids.tolist() == [0, 1, 7, 8]
    assert both.completions.shape == (4, 3, 5) and both.extras["wide"].shape == (4, 3, 5, 5)
    assert torch.equal(both.completions[:2, :, :3], short.completions)
    assert torch.equal(both.completions[2:], long.completions)
    assert not both.mask[:2, :, 3:].any() and not both.extras["wide"][:2, :, 3:].any()
    assert torch.equal(both.extras["features"], vector.repeat(2, 1, 1))
    assert torch.equal(both.extras["each"], both.old_logp)


def test_with_adds_to_the_extras():
    rollouts = batch().with_(horizon=3, extras={"more": torch.zeros(2, 3)})
    assert rollouts.horizon == 3
    assert sorted(rollouts.extras) == ["flag", "more", "wide"]
    assert sorted(batch().extras) == ["flag", "wide"]


def test_to_moves_every_tensor():
    moved = batch().to("meta")
    assert all(getattr(moved, name).device.type == "meta" for name in moved._tensors())
    assert all(value.device.type == "meta" for value in moved.extras.values())


def test_the_policy_s_log_probabilities_are_the_behaviour_s_unless_they_are_given():
    rollouts = batch()
    assert torch.equal(rollouts.policy_logp, rollouts.old_logp)
    other = rollouts.old_logp - 1
    assert torch.equal(rollouts.with_(extras={"policy_logp": other}).policy_logp, other)


def test_loss_mask_is_the_mask_unless_something_is_left_out():
    rollouts = batch()
    assert torch.equal(rollouts.loss_mask, rollouts.mask)
    less = torch.zeros_like(rollouts.mask)
    assert torch.equal(rollouts.with_(extras={"loss_mask": less}).loss_mask, less)


@pytest.mark.parametrize(
    ("field", "size"),
    [("mask", (2, 3, 5)), ("old_logp", (2, 3)), ("ref_logp", (2, 4, 4)), ("rewards", (2, 4)), ("weights", (3, 3))],
)
def test_shapes_that_disagree_are_named(field, size):
    value = torch.zeros(size, dtype=torch.bool if field == "mask" else torch.float64)
    with pytest.raises(ValueError, match=rf"{field} must have shape \[2, 3.*\], got"):
        batch().with_(**{field: value}).check()


def broken(field: str, value: float) -> dict[str, Tensor]:
    tensor = torch.zeros(2, 3, 4, dtype=torch.float64) if field == "ref_logp" else getattr(batch(), field).clone()
    tensor[1, 2 if field == "rewards" else 0] = value
    return {field: tensor}


@pytest.mark.parametrize("field", ["rewards", "old_logp", "ref_logp"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_name_the_prompt(field, value):
    rollouts = batch(first=40)
    with pytest.raises(ValueError, match=rf"{field} must be finite, got {value} at index \[1, .*\] \(prompt 41\)"):
        rollouts.with_(**broken(field, value)).check()


def test_what_stands_where_the_mask_is_false_does_not_matter():
    logp = batch().old_logp.masked_fill(~batch().mask, math.nan)
    given = batch().with_(old_logp=logp, ref_logp=logp)
    assert given.check() is given


def test_trimming_drops_what_is_padding_in_every_row():
    rollouts = batch().with_(prompt_mask=torch.tensor([[False, True], [False, True]]))
    short = rollouts.take(torch.tensor([0])).trim()
    assert short.prompts.tolist() == [[1]] and short.prompt_mask.tolist() == [[True]]
    assert short.mask.tolist() == [[[True, False, False], [True, True, False], [True, True, True]]]
    for name in ("completions", "old_logp"):
        assert torch.equal(getattr(short, name), getattr(rollouts, name)[:1, :, :3])
    assert short.extras["wide"].shape == (1, 3, 3, 5) and short.extras["flag"].shape == (1, 3)
    assert torch.equal(short.rewards, rollouts.rewards[:1]) and same(batch().trim(), batch())
    per_token = rollouts.with_(ref_logp=rollouts.old_logp).take(torch.tensor([0])).trim()
    assert torch.equal(per_token.ref_logp, per_token.old_logp)


def test_pieces_hold_completions_of_like_lengths_and_no_padding_beyond():
    rollouts = batch()  # lengths 1 2 3 4 1 2
    found = list(rollouts.pieces(4))
    assert [rows.tolist() for rows, _ in found] == [[0, 4, 1, 5], [2, 3]]
    assert [piece.completions.shape for _, piece in found] == [(4, 1, 2), (2, 1, 4)]
    for rows, piece in found:
        assert same(piece, rollouts.flat().take(rows).trim())


@pytest.mark.parametrize("size", [None, 1, 2, 4, 5, 6, 7])
def test_what_is_computed_in_pieces_stands_where_it_belongs(size: int | None):
    rollouts, read = batch(), []

    def wide(piece: Rollouts) -> Tensor:
        read.append(piece.completions.numel())
        return piece.completions[..., None] + torch.tensor([1.0, 2.0])  # not 0 where masked

    expected = (rollouts.completions[..., None] + torch.tensor([1.0, 2.0])) * rollouts.mask[..., None]
    assert torch.equal(in_pieces(wide, rollouts, size), expected)
    narrow = in_pieces(lambda piece: wide(piece)[..., 1], rollouts, size)
    assert torch.equal(narrow, expected[..., 1])
    assert sum(read[: len(read) // 2]) == {None: 24, 1: 13, 2: 2 + 4 + 8, 4: 8 + 8, 5: 15 + 4, 6: 24, 7: 24}[size]
