"""The laws that tokens are drawn from, and the sampling loop."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import log
from threading import Barrier

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from toykit.objectives import method
from toykit.policies import GPT, Combined, GPTConfig, TabularLM
from toykit.policies.gpt import GPTCursor
from toykit.rollouts import Enumerated, Sampled, Sampling, Share, node_logps, outputs, sample, token_logps
from toykit.rollouts.sampling import Drawn, draw, tokens_between_looks
from toykit.tasks import ChainSum, Operator
from toykit.training import TrainConfig, Trainer

CHAIN = ChainSum(n_train=12, n_test=4)
LAW = torch.tensor([[0.5, 0.25, 0.15, 0.1], [0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)


def gpt(vocab: int = CHAIN.vocab.size, scale: float = 8, dtype: torch.dtype = torch.float32) -> GPT:
    made = GPT(GPTConfig(vocab, width=16, heads=2, hidden=16)).to(dtype)
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(scale if p.dim() == 2 else 1)
    return made


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("cuts", "laws"),
    [
        ({"top_k": 2}, [[2 / 3, 1 / 3, 0, 0], [0, 0, 3 / 7, 4 / 7]]),
        ({"top_p": 0.65}, [[2 / 3, 1 / 3, 0, 0], [0, 0, 3 / 7, 4 / 7]]),
        ({"top_p": 0.72}, [[2 / 3, 1 / 3, 0, 0], [0, 2 / 9, 3 / 9, 4 / 9]]),  # .4 + .3 is not enough
        ({"min_p": 0.5}, [[2 / 3, 1 / 3, 0, 0], [0, 2 / 9, 3 / 9, 4 / 9]]),
        ({"allowed": (0, 3)}, [[5 / 6, 0, 0, 1 / 6], [1 / 5, 0, 0, 4 / 5]]),
        ({"allowed": (1, 2, 3), "top_k": 2}, [[0, 5 / 8, 3 / 8, 0], [0, 0, 3 / 7, 4 / 7]]),
        ({"top_k": 3, "top_p": 0.6, "min_p": 0.9}, [[1, 0, 0, 0], [0, 0, 0, 1]]),
        ({"top_k": 9, "top_p": 1.0}, LAW.tolist()),
    ],
)
def test_cuts_by_hand(cuts: dict, laws: list):
    found = Sampling(**cuts).cut(LAW.log()).exp()
    assert torch.allclose(found, torch.tensor(laws, dtype=torch.float64), rtol=0, atol=1e-12)


@given(st.integers(0, 10_000), st.integers(1, 12), st.floats(0.01, 1), st.floats(0.01, 1))
def test_cuts_are_those_of_transformers(seed: int, k: int, p: float, share: float):
    logits = torch.randn(3, 12, generator=seeded(seed), dtype=torch.float64) * 3
    theirs = TopKLogitsWarper(k)(None, logits)
    theirs = MinPLogitsWarper(share)(None, TopPLogitsWarper(p)(None, theirs) if p < 1 else theirs)
    ours = Sampling(top_k=k, top_p=p, min_p=share).cut(logits.log_softmax(-1))
    assert torch.allclose(ours.exp(), theirs.softmax(-1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.5}, "temperature must be >= 0 and finite, got -0.5"),
        ({"temperature": float("nan")}, "temperature must be >= 0 and finite, got nan"),
        ({"top_k": 0}, "top_k must be >= 1, got 0"),
        ({"top_p": 0.0}, "top_p must be above 0 and at most 1, got 0.0"),
        ({"min_p": 1.5}, "min_p must be above 0 and at most 1, got 1.5"),
        ({"allowed": ()}, r"allowed must hold at least one token id and no negative one, got \(\)"),
    ],
)
def test_wrong_options_are_named(options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Sampling(**options)
    if options.get("temperature") is None:
        with pytest.raises(ValueError, match=message):
            Sampled(4, **options)


def test_an_allowed_token_must_be_in_the_vocabulary():
    with pytest.raises(ValueError, match="allowed must be token ids below 4, got 4"):
        Sampling(allowed=(1, 4)).cut(LAW.log())


def test_tokens_are_drawn_with_the_probabilities_of_the_law():
    p = torch.tensor([0.6, 0.3, 0.1, 0.0])
    n = 40_000
    found = torch.bincount(draw(p.log().expand(n, 4), torch.rand(n, 4, generator=seeded()).log()), minlength=4) / n
    assert ((found - p).abs() <= 5 * (p * (1 - p) / n).sqrt()).all()


def test_noise_of_zero_is_no_trouble():
    noise = torch.tensor([[0.0, 0.5, 0.5], [0.5, 0.5, 0.5]])
    assert draw(torch.tensor([[0.2, 0.8, 0.0], [0.0, 0.3, 0.7]]).log(), noise.log()).tolist() == [1, 2]


def test_a_cut_sample_keeps_both_log_probabilities():
    """The policy's own, which is what an objective differentiates, and that of the law that was drawn from."""
    policy, prompts = gpt(), CHAIN.prompts()
    made = Sampled(6, temperature=0.7, top_k=3)(policy, CHAIN, prompts, seeded())
    own = token_logps(policy, made.prompts, made.prompt_mask, made.completions, made.mask, temperature=0.7).detach()
    assert (made.old_logp - own).abs().max() < 1e-5
    with torch.no_grad():
        logits = outputs(policy, made.prompts, made.prompt_mask, made.completions, made.mask) / 0.7
    top = logits.topk(3, -1)
    law = top.values.log_softmax(-1)
    place = (top.indices == made.completions[..., None]) & made.mask[..., None]
    assert (place.any(-1) == made.mask).all()
    expected = (law * place).sum(-1)
    assert (made.extras["law_logp"] - expected).abs().max() < 1e-5
    assert (made.extras["law_logp"] >= made.old_logp).all()
    assert "law_logp" not in Sampled(2)(policy, CHAIN, prompts, seeded()).extras


def test_allowed_tokens_alone_are_drawn_and_greedy_respects_them():
    policy, prompts = gpt(), CHAIN.prompts()
    for temperature in (0.0, 1.0):
        drawn = sample(policy, prompts, 3, 6, (), seeded(), Sampling(temperature, allowed=(4, 5)))
        assert {*drawn.tokens.flatten().tolist()} <= {4, 5}
        if not temperature:
            with torch.no_grad():
                logits = outputs(policy, prompts.tokens, prompts.mask, drawn.tokens, drawn.mask)
            assert torch.equal(drawn.tokens, logits[..., 4:6].argmax(-1) + 4)


def completions_of(policy: GPT, crowded: float, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor, Tensor]:
    monkeypatch.setattr("toykit.rollouts.sampling.CROWDED", crowded)
    return sample(policy, CHAIN.prompts(), 6, 10, CHAIN.vocab.stop, seeded())[:3]


def test_dropping_finished_completions_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    policy, sizes, append = gpt(scale=3, dtype=torch.float64), [], GPTCursor.append
    monkeypatch.setattr(GPTCursor, "append", lambda at, tokens: sizes.append(len(tokens)) or append(at, tokens))
    tokens, mask, logp = completions_of(policy, 0.0, monkeypatch)
    assert {*sizes} == {12 * 6}
    sizes.clear()
    dropped = completions_of(policy, 1.0, monkeypatch)
    assert sizes[-1] < sizes[0] <= 12 * 6
    assert torch.equal(dropped[0], tokens) and torch.equal(dropped[1], mask)
    assert torch.allclose(dropped[2], logp, rtol=0, atol=1e-12)


@pytest.mark.parametrize("world", [2, 5, 12])  # of 12 prompts: 6 each; 2, 2, 3, 2, 3; 1 each
def test_shares_of_a_batch_make_what_the_whole_makes(world: int):
    policy, prompts = gpt(scale=3, dtype=torch.float64), CHAIN.prompts()
    whole = Sampled(4)(policy, CHAIN, prompts, seeded())
    longest = whole.mask.shape[-1]
    for rank in range(world):
        generator, left = seeded(), iter(range(longest))
        share = Share(rank, world, lambda mine: next(left) + 1 < longest)  # noqa: B023 (used within the turn)
        part = Sampled(4)(policy, CHAIN, prompts, generator, share)
        own = whole.take(share.rows(len(prompts)))
        assert torch.equal(part.completions, own.completions) and torch.equal(part.prompt_ids, own.prompt_ids)
        assert torch.allclose(part.old_logp, own.old_logp, rtol=0, atol=1e-12)
        assert torch.equal(part.rewards, own.rewards)


@pytest.mark.parametrize(("n", "world"), [(12, 4), (12, 5), (7, 3), (2, 3)])
def test_shares_hold_each_row_once_and_differ_by_one_row_at_most(n: int, world: int):
    rows = [torch.arange(n)[Share(rank, world).rows(n)] for rank in range(world)]
    assert torch.cat(rows).tolist() == list(range(n))
    assert {len(r) for r in rows} <= {n // world, -(-n // world)}


def test_a_share_of_an_enumeration():
    task = Operator(n_train=5)
    policy = gpt(task.vocab.size, dtype=torch.float64)
    whole = Enumerated()(policy, task, task.prompts())
    part = Enumerated()(policy, task, task.prompts(), None, Share(1, 2))
    assert torch.equal(part.prompt_ids, whole.prompt_ids[2:]) and len(part.prompt_ids) == 3
    assert torch.allclose(part.weights, whole.weights[2:], rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_several_models_are_combined_to_one_law(kind: str):
    task = Operator(n_train=3)
    policies = [gpt(task.vocab.size, scale, torch.float64) for scale in (4, 9)]
    both = Combined(policies, (0.25, 0.75), kind)
    alone = [node_logps(policy, task.prompts(), task.tree) for policy in policies]
    if kind == "logits":
        expected = (0.25 * alone[0] + 0.75 * alone[1]).log_softmax(-1)
    else:
        expected = (0.25 * alone[0].exp() + 0.75 * alone[1].exp()).log()
    assert torch.allclose(node_logps(both, task.prompts(), task.tree), expected, rtol=0, atol=1e-12)
    made = Sampled(5)(both, task, task.prompts(), seeded())
    forced = token_logps(both, made.prompts, made.prompt_mask, made.completions, made.mask)
    assert torch.allclose(made.old_logp, forced, rtol=0, atol=1e-12)


def test_two_experts_of_one_token_by_hand():
    """Twice (.5, .5) minus (.8, .2) is proportional to .25/.8 and .25/.2."""

    class Fixed(torch.nn.Module):
        vocab_size = 2

        def __init__(self, *p: float) -> None:
            super().__init__()
            self.logits = torch.nn.Parameter(torch.tensor(p, dtype=torch.float64).log())

        def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
            return type("O", (), {"logits": self.logits.expand(*input_ids.shape, 2)})

    made = Combined([Fixed(0.5, 0.5), Fixed(0.8, 0.2)], (2.0, -1.0), "logits")
    logits = made(input_ids=torch.zeros(1, 1, dtype=torch.int64)).logits[0, 0]
    assert logits.softmax(-1).tolist() == pytest.approx([0.2, 0.8], abs=1e-12)
    mixed = Combined([Fixed(0.5, 0.5), Fixed(0.8, 0.2)], (0.5, 0.5), "probabilities")
    found = mixed(input_ids=torch.zeros(1, 1, dtype=torch.int64)).logits[0, 0]
    assert found.tolist() == pytest.approx([log(0.65), log(0.35)], abs=1e-12)


def test_what_cannot_be_combined_is_said():
    task = Operator(n_train=3)
    a, b = gpt(task.vocab.size), gpt(task.vocab.size + 1)
    with pytest.raises(ValueError, match="policies must share one vocabulary, got sizes 14 and 15"):
        Combined([a, b], (0.5, 0.5))
    with pytest.raises(ValueError, match="weights must be one for each of the 2 policies, got 1"):
        Combined([a, a], (1.0,))
    with pytest.raises(ValueError, match=r"weights must be >= 0 and sum to 1 for probabilities, got \(2.0, -1.0\)"):
        Combined([a, a], (2.0, -1.0), "probabilities")
    with pytest.raises(ValueError, match="kind must be one of"):
        Combined([a, a], (0.5, 0.5), "votes")
    with pytest.raises(ValueError, match="policies must hold at least one, got none"):
        Combined([], ())


def test_training_with_a_cut_law_is_on_policy():
    """old_logp is the policy's own, so that the first update's ratios are 1 and nothing is clipped."""
    task = ChainSum(n_train=8)
    trainer = Trainer(gpt(task.vocab.size), task, "grpo", Sampled(4, top_p=0.8), TrainConfig(prompts=4))
    figures = trainer.step()
    assert figures["clip_low"] == figures["clip_high"] == 0
    assert method("grpo").objective.clip is not None


def test_a_table_is_sampled_with_cuts_too():
    task = Operator(n_train=3)
    policy = TabularLM.of(task, "prefix")
    made = Sampled(50, top_k=1)(policy, task, task.prompts(), seeded())
    assert (made.extras["law_logp"].masked_select(made.mask) <= 0).all()
    assert made.mask.any()


def look_every(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toykit.rollouts.sampling.tokens_between_looks", lambda device: n)


@pytest.mark.parametrize("every", [3, 8, 100])
@pytest.mark.parametrize("crowded", [0.0, 0.75])
def test_late_looks_are_few_and_change_nothing(every: int, crowded: float, monkeypatch: pytest.MonkeyPatch):
    """Neither what is drawn nor how long the batch is, nor which random numbers are next."""
    monkeypatch.setattr("toykit.rollouts.sampling.CROWDED", crowded)
    policy, found = gpt(scale=3, dtype=torch.float64), []
    for n in (1, every):
        look_every(n, monkeypatch)
        generator, asked = seeded(), []
        share = Share(anyone=lambda mine: asked.append(mine) or mine)  # noqa: B023 (used within the turn)
        found.append((sample(policy, CHAIN.prompts(), 6, 40, (11, 7, 3), generator, share=share), asked, generator))
    (drawn, asked, generator), (late, fewer, same) = found
    length = drawn.tokens.shape[-1]
    assert torch.equal(drawn.tokens, late.tokens) and torch.equal(drawn.mask, late.mask) and 8 < length < 40
    assert torch.equal(drawn.logp, late.logp) if crowded == 0 else torch.allclose(drawn.logp, late.logp, atol=1e-12)
    assert torch.equal(generator.get_state(), same.get_state())
    assert len(asked) == length and len(fewer) <= -(-length // every) + min(every, 40) - 1


def test_on_the_cpu_each_token_is_looked_at_and_elsewhere_every_eighth():
    assert [tokens_between_looks(torch.device(name)) for name in ("cpu", "cuda", "cuda:1")] == [1, 8, 8]


def test_shares_that_look_late_end_at_the_same_token(monkeypatch: pytest.MonkeyPatch):
    policy, prompts, said, both = gpt(scale=3, dtype=torch.float64), CHAIN.prompts(), [False, False], Barrier(2)
    whole = sample(policy, prompts, 4, 40, (11, 7, 3), seeded())
    look_every(5, monkeypatch)

    def anyone(rank: int, mine: bool) -> bool:
        said[rank] = mine
        both.wait(60)
        answer = any(said)
        both.wait(60)
        return answer

    def part(rank: int) -> Drawn:
        return sample(policy, prompts, 4, 40, (11, 7, 3), seeded(), share=Share(rank, 2, partial(anyone, rank)))

    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(part, (0, 1)))
    for name in ("tokens", "mask"):
        assert torch.equal(torch.cat([getattr(x, name) for x in parts]), getattr(whole, name))


def test_a_token_waits_for_nothing_but_looks(monkeypatch: pytest.MonkeyPatch):
    """With cuts, several models and finished completions: what is asked of tensors is asked for the last time."""
    both = Combined([gpt(), gpt(scale=3)], (1.5, -0.5))
    how = Sampling(0.7, top_k=9, top_p=0.9, allowed=tuple(range(12)))
    look_every(8, monkeypatch)
    asked = []
    for horizon in (9, 40):
        with Asked() as mode:
            sample(both, CHAIN.prompts(), 6, horizon, (11,), seeded(), how)
        asked.append(mode.n)
    assert asked[1] - asked[0] <= 4  # the sequences that are dropped after looks


class Asked(TorchDispatchMode):
    """Counts what a device would be waited for: numbers of tensors, and shapes that depend on them."""

    n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += func.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal")
        return func(*args, **(kwargs or {}))
