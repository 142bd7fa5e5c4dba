from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from toykit.policies import GPT, GPTConfig, Output, TabularLM, check_fits, context, device_of, vocab_size
from toykit.policies.base import places
from toykit.policies.hub import check_device
from toykit.rollouts import Enumerated, Sampled
from toykit.tasks.bandit import tricks_tree
from toykit.tasks.base import Vocab
from toykit.tasks.chain_sum import ChainSum
from toykit.tasks.operator import Operator


def words(n: int) -> Vocab:
    return Vocab(tuple(f"w{i}" for i in range(n)))


def test_what_a_policy_says_of_itself():
    gpt, table = GPT(GPTConfig(vocab_size=9, context=12)), TabularLM.of(tricks_tree()[0])
    assert (vocab_size(gpt), context(gpt)) == (9, 12)
    assert (vocab_size(table), context(table)) == (4, None)
    assert device_of(gpt) == device_of(table) == torch.device("cpu")


class Uncached(nn.Module):
    """A policy that has nothing but the call of a causal LM."""

    def __init__(self, inner: GPT) -> None:
        super().__init__()
        self.inner, self.vocab_size = inner, inner.vocab_size

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Output:
        return self.inner(input_ids, attention_mask)


def test_a_policy_without_a_cache_is_read_anew_for_each_token():
    gpt = GPT(GPTConfig(vocab_size=16, context=32, width=16, heads=2))
    with torch.no_grad():
        gpt.embedding.weight.mul_(20)
    task = ChainSum(n_digits=(2, 3, 4), n_train=24, n_test=8, horizon=10)
    cached, anew = (Sampled(4)(p, task, task.prompts(), torch.Generator().manual_seed(0)) for p in (gpt, Uncached(gpt)))
    assert torch.equal(cached.completions, anew.completions)
    assert torch.allclose(cached.old_logp, anew.old_logp, rtol=0, atol=1e-5)
    small = GPT(GPTConfig(vocab_size=14, context=8, width=16, heads=2)).double()
    digits = Operator(n_train=3)
    first, second = (Enumerated()(p, digits, digits.prompts()).old_logp for p in (small, Uncached(small)))
    assert torch.allclose(first, second, rtol=0, atol=1e-12)


def test_positions_count_the_tokens_that_are_not_masked():
    mask = torch.tensor([[False, False, True, True], [True, True, True, True]])
    assert places(mask).tolist() == [[0, 0, 0, 1], [0, 1, 2, 3]]


def test_the_vocabularies_must_fit():
    gpt, table = GPT(GPTConfig(vocab_size=9, context=12)), TabularLM.of(tricks_tree()[0])
    check_fits(gpt, words(9), 4, 8)
    check_fits(gpt, words(5), 4, 8)  # a language model may know more than the task needs
    check_fits(table, words(4), 400, 8)
    with pytest.raises(ValueError, match="policy must know the task's vocabulary of 10 tokens, its own has 9"):
        check_fits(gpt, words(10), 4, 8)
    with pytest.raises(ValueError, match="policy must know the task's vocabulary of 3 tokens, its own has 4"):
        check_fits(table, words(3), 1, 3)


def test_prompt_and_completion_must_fit_the_context():
    gpt = GPT(GPTConfig(vocab_size=9, context=12))
    with pytest.raises(ValueError, match="5 prompt tokens and a horizon of 8 need 13, the context is 12"):
        check_fits(gpt, words(9), 5, 8)


def test_cuda_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert check_device("cpu") == "cpu"
    with pytest.raises(ValueError, match="device must be one that is there, got 'cuda:0' where CUDA is not available"):
        check_device("cuda:0")


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert check_device("cuda") == "cuda" and check_device("cuda:1") == "cuda:1"
    with pytest.raises(ValueError, match="device must be one that is there, got 'cuda:2' where there are 2"):
        check_device("cuda:2")
    with pytest.raises(ValueError, match="device must be 'cpu', 'cuda' or a numbered one such as 'cuda:1', got 'gpu'"):
        check_device("gpu")
