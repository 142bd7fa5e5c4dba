from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.diagnostics import completion_perplexity, perplexity, sequence_entropy
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated, Sampled, leaf_logps, token_logps
from toykit.tasks.bandit import tricks_tree

# Two completions, of two tokens and of one; the padding holds a number that must not count.
LOGP = torch.tensor([[0.5, 0.125], [0.25, 0.9]], dtype=torch.float64).log()
MASK = torch.tensor([[True, True], [True, False]])


def test_a_completion_by_hand():
    """sqrt(1 / (1/2 * 1/8)) = 4 and 1 / (1/4) = 4; half as likely a last token makes it sqrt(2) times larger."""
    assert completion_perplexity(LOGP, MASK).tolist() == pytest.approx([4, 4], abs=1e-14)
    assert completion_perplexity(LOGP - math.log(2), MASK).tolist() == pytest.approx([8, 8], abs=1e-14)
    assert completion_perplexity(LOGP, torch.zeros_like(MASK)).tolist() == [1, 1]


def test_a_prompt_is_the_geometric_and_a_completion_the_arithmetic_mean():
    logp = torch.tensor([[0.5, 0.5], [0.125, 0.125]], dtype=torch.float64).log()  # perplexities 2 and 8
    mask = torch.ones(2, 2, dtype=torch.bool)
    assert perplexity(logp, mask).item() == pytest.approx(4, abs=1e-14)
    assert perplexity(logp, mask, per="completion").item() == pytest.approx(5, abs=1e-14)
    mostly = torch.tensor([0.75, 0.25], dtype=torch.float64)
    assert perplexity(logp, mask, mostly).item() == pytest.approx(2**0.75 * 8**0.25, abs=1e-14)
    assert perplexity(logp, mask, mostly, per="completion").item() == pytest.approx(3.5, abs=1e-14)


def test_a_token_without_a_chance_is_infinitely_surprising_unless_it_never_comes():
    logp = torch.tensor([[0.5], [0.0]], dtype=torch.float64).log()
    mask = torch.ones(2, 1, dtype=torch.bool)
    for per in ("prompt", "completion"):
        assert perplexity(logp, mask, torch.tensor([1.0, 0.0], dtype=torch.float64), per).item() == pytest.approx(2)
        assert math.isinf(perplexity(logp, mask, per=per).item())


@settings(deadline=None)
@given(p=st.lists(st.floats(0.01, 1), min_size=4, max_size=4))
def test_the_arithmetic_mean_is_never_smaller(p):
    logp = torch.tensor(p, dtype=torch.float64).log().view(2, 2)
    mask = torch.ones(2, 2, dtype=torch.bool)
    assert perplexity(logp, mask, per="completion") >= perplexity(logp, mask) * (1 - 1e-14)


def test_under_its_own_model_an_enumeration_gives_the_entropy():
    """For completions of one length T the perplexity per prompt is exp(H / T), and no other model's is smaller."""
    draw = torch.Generator().manual_seed(0)
    logp = torch.randn(6, 1, generator=draw, dtype=torch.float64).log_softmax(0)
    other = torch.randn(6, 1, generator=draw, dtype=torch.float64).log_softmax(0)
    mask = torch.ones(6, 1, dtype=torch.bool)
    p = logp[:, 0].exp()
    own = perplexity(logp, mask, p)
    assert own.item() == pytest.approx(sequence_entropy(logp, mask, p).exp().item(), abs=1e-14)
    assert perplexity(other, mask, p) > own


def test_samples_of_one_policy_under_another_agree_with_the_enumeration():
    """Over prompts; within 4 standard errors of the mean of the completions' own perplexities."""
    task, logits = tricks_tree()
    policy = TabularLM.of(task, logits=logits)
    other = TabularLM.of(task, logits=logits.roll(1, 1))
    prompts, tree = task.prompts(), task.tree
    exact_weights = Enumerated()(policy, task, prompts).weights
    exact = perplexity(leaf_logps(other, prompts, tree), tree.mask, exact_weights, per="completion")
    drawn = Sampled(20_000)(policy, task, prompts, torch.Generator().manual_seed(0))
    logp = token_logps(other, drawn.prompts, drawn.prompt_mask, drawn.completions, drawn.mask).detach()
    each = completion_perplexity(logp, drawn.mask)
    assert torch.equal(perplexity(logp, drawn.mask, drawn.weights, per="completion"), (drawn.weights * each).sum(-1))
    assert ((each.mean(-1) - exact).abs() < 4 * each.std(-1) / 20_000**0.5).all()


def test_the_two_means_have_names():
    with pytest.raises(ValueError, match="per must be one of completion, prompt, got 'promt'; did you mean 'prompt'?"):
        perplexity(LOGP, MASK, per="promt")
