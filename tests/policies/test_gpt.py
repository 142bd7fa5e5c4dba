from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from toykit.policies import GPT, GPTConfig
from toykit.policies.gpt import rotate
from toykit.rollouts import sample, token_logps
from toykit.tasks import Prompts

SMALL = GPTConfig(vocab_size=11, context=16, layers=2, width=16, heads=2, hidden=24)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@pytest.fixture(params=TOLERANCE, ids=str)
def gpt(request) -> GPT:
    """With weights large enough for attention to matter."""
    made = GPT(SMALL).to(request.param)
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(8 if p.dim() == 2 else 1)
    return made


def close(gpt: GPT, a: Tensor, b: Tensor) -> bool:
    dtype = gpt.embedding.weight.dtype
    return a.dtype == b.dtype == dtype and torch.allclose(a, b, rtol=0, atol=TOLERANCE[dtype])


def ragged() -> tuple[Tensor, Tensor]:
    """Three left-padded prompts with noise where they are masked: tokens and mask [3, 5]."""
    tokens = torch.tensor([[9, 9, 9, 1, 2], [3, 4, 5, 6, 7], [9, 2, 8, 1, 0]])
    return tokens, torch.arange(5) >= torch.tensor([3, 0, 1])[:, None]


def test_the_defaults_make_the_size_that_the_docstring_says():
    assert sum(p.numel() for p in GPT(GPTConfig(vocab_size=16)).parameters()) == 107_840


def test_left_padding_changes_nothing(gpt):
    tokens, mask = ragged()
    padded = gpt(tokens, mask).logits
    assert padded.isfinite().all()
    for row, keep, logits in zip(tokens, mask, padded, strict=True):
        alone = gpt(row[keep][None]).logits[0]
        assert close(gpt, logits[keep], alone)
        assert alone.std() > 0.3


PADDED = {
    "left": [[0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]],
    "right": [[1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]],
    "both": [[0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]],
}


@pytest.mark.parametrize("side", PADDED)
def test_padding_is_left_out_and_that_changes_nothing(gpt, side, monkeypatch):
    mask, generator = torch.tensor(PADDED[side]).bool(), torch.Generator().manual_seed(0)
    tokens = torch.randint(11, mask.shape, generator=generator)
    weight = torch.randn(*mask.shape, 11, generator=generator, dtype=gpt.embedding.weight.dtype) * mask[..., None]
    seen, found = [], []
    gpt.blocks[1].register_forward_hook(lambda module, args, out: seen.append(len(out)))
    for share in (0.0, 1.1):  # of the places that must hold tokens so that all are computed
        monkeypatch.setattr("toykit.policies.gpt.FULL", share)
        logits = gpt(input_ids=tokens, attention_mask=mask).logits
        found.append([logits * mask[..., None], *torch.autograd.grad((weight * logits).sum(), list(gpt.parameters()))])
    assert seen == [mask.numel(), int(mask.sum())]
    assert all(close(gpt, a, b) for a, b in zip(*found, strict=True))
    one = gpt(input_ids=tokens[:1, mask[0]]).logits  # without any padding
    assert close(gpt, found[1][0][0, mask[0]], one[0])


def test_in_a_mask_of_pairs_a_token_that_does_not_see_itself_is_padding(gpt, monkeypatch):
    monkeypatch.setattr("toykit.policies.gpt.FULL", 1.1)
    tokens, mask = ragged()
    pairs = torch.ones(5, 5, dtype=torch.bool).tril() & mask[:, None]
    place = (mask.cumsum(1) - 1).clamp(min=0)
    ours = gpt(input_ids=tokens, attention_mask=pairs, position_ids=place).logits
    theirs = gpt(input_ids=tokens, attention_mask=mask).logits
    assert close(gpt, ours[mask], theirs[mask])
    assert torch.equal(ours[~mask], torch.zeros_like(ours[~mask]))


def test_a_token_sees_nothing_of_what_follows(gpt):
    tokens, mask = ragged()
    changed = tokens.clone()
    changed[:, 4] = 10
    assert torch.equal(gpt(tokens, mask).logits[:, :4], gpt(changed, mask).logits[:, :4])
    assert not close(gpt, gpt(tokens, mask).logits[:, 4], gpt(changed, mask).logits[:, 4])


def test_what_came_before_matters_and_so_does_its_order(gpt):
    logits = gpt(torch.tensor([[1, 2, 3], [2, 1, 3], [4, 2, 3]])).logits[:, -1]
    assert not close(gpt, logits[0], logits[1]) and not close(gpt, logits[0], logits[2])


@pytest.mark.parametrize("pad", [True, False])
def test_cursor_gives_the_logits_of_a_teacher_forced_pass(gpt, pad):
    tokens, mask = ragged() if pad else (ragged()[0], torch.ones(3, 5, dtype=torch.bool))
    rows = torch.tensor([2, 0, 0, 1])
    new = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9], [0, 1, 2]])
    forced = gpt(torch.cat([tokens[rows], new], 1), torch.cat([mask[rows], new > -1], 1)).logits[:, 4:]
    with torch.no_grad():
        at = gpt.cursor(tokens, mask, room=3)
        at.pick(rows)
        found = [at.logits]
        for t in range(3):
            at.append(new[:, t])
            found.append(at.logits)
    assert close(gpt, torch.stack(found, 1), forced.detach())


@torch.no_grad()
def test_pick_reorders_and_repeats_sequences_that_are_under_way(gpt):
    tokens, mask = ragged()
    at, straight = gpt.cursor(tokens, mask, 3), gpt.cursor(tokens, mask, 3)
    rows = torch.tensor([1, 1, 0, 2])
    at.append(torch.tensor([1, 2, 3]))
    straight.append(torch.tensor([1, 2, 3]))
    at.pick(rows)
    assert torch.equal(at.logits, straight.logits[rows])
    at.append(torch.tensor([4, 4, 5, 6]))
    straight.append(torch.tensor([5, 4, 6]))
    assert close(gpt, at.logits, straight.logits[rows])


def test_every_parameter_gets_a_gradient(gpt):
    tokens, mask = ragged()
    logp = token_logps(gpt, tokens, mask, torch.tensor([[[1, 2]]] * 3), torch.ones(3, 1, 2, dtype=torch.bool))
    logp.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in gpt.parameters())


def test_weights_come_from_the_seed_alone():
    torch.manual_seed(1)
    first = GPT(SMALL, seed=3)
    torch.manual_seed(2)
    again, other = GPT(SMALL, seed=3), GPT(SMALL, seed=4)
    for (name, a), b, c in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c) == ("norm" in name)


def test_rotary_products_depend_on_the_distance_alone():
    gpt = GPT(SMALL).double()
    q, k = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def product(i: int, j: int) -> Tensor:
        at = [gpt.rope(torch.tensor([[place]])) for place in (i, j)]
        return (rotate(q, *at[0]) * rotate(k, *at[1])).sum()

    assert torch.allclose(product(0, 3), product(7, 10), rtol=0, atol=1e-12)
    assert not torch.allclose(product(0, 3), product(0, 4), rtol=0, atol=1e-3)
    assert torch.allclose(rotate(q, *gpt.rope(torch.tensor([[5]]))).norm(), q.norm())


def test_the_context_is_a_limit():
    gpt = GPT(SMALL)
    assert gpt(torch.zeros(1, 16, dtype=torch.int64)).logits.shape == (1, 16, 11)
    with pytest.raises(ValueError, match=r"input_ids must have at most 16 tokens \(the context\), got 17"):
        gpt(torch.zeros(1, 17, dtype=torch.int64))
    with pytest.raises(ValueError, match="prompts must fit the context: 10 prompt tokens and room for 7 more"):
        gpt.cursor(torch.zeros(1, 10, dtype=torch.int64), torch.ones(1, 10, dtype=torch.bool), 7)


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="layers must be >= 1, got 0"):
        GPTConfig(vocab_size=4, layers=0)
    with pytest.raises(ValueError, match="width must be a multiple of twice heads, got width 20 and heads 4"):
        GPTConfig(vocab_size=4, width=20)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch.compile itself
def test_a_compiled_gpt_draws_and_learns_the_same(gpt):
    """Compiled without the code generator, which takes long: what is traced is what is computed."""
    tokens, mask = ragged()
    prompts = Prompts(torch.arange(3), tokens, mask)
    stop, programs = (3, 4), [gpt, copy.deepcopy(gpt)]
    programs[1].compile(backend="eager")
    found = []
    for policy in programs:
        drawn = sample(policy, prompts, 4, 6, stop, torch.Generator().manual_seed(0))
        loss = token_logps(policy, tokens, mask, drawn.tokens, drawn.mask).sum()
        found.append((drawn, torch.autograd.grad(loss, list(policy.parameters()))))
    (drawn, gradient), (again, same) = found
    assert torch.equal(drawn.tokens, again.tokens) and drawn.mask.sum(-1).unique().numel() > 1
    assert close(gpt, drawn.logp, again.logp)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(gradient, same, strict=True))
