from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.policies.gpt import GPTCursor
from toykit.rollouts import Enumerated, Rollouts, Sampled, greedy, leaf_logps, node_logps, sample, token_logps
from toykit.rollouts.sampling import draw
from toykit.tasks.bandit import TreeTask
from toykit.tasks.base import Prompts, Vocab
from toykit.tasks.chain_sum import EOS, ChainSum
from toykit.tasks.operator import Operator
from toykit.tasks.tree import Tree

CHAIN = ChainSum(n_digits=(2, 3, 4), n_train=24, n_test=8, horizon=10)  # prompts of different lengths
TREE = Tree(3, horizon=4, stop=(2,))
RAGGED = Prompts.from_lists([[3], [4, 5], [4, 6, 5]])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gpt(vocab_size: int = 16, dtype: torch.dtype = torch.float32) -> GPT:
    made = GPT(GPTConfig(vocab_size, context=32, layers=2, width=16, heads=2, hidden=24)).to(dtype)
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(8 if p.dim() == 2 else 1)
    return made


def table(prompts: Prompts = RAGGED, tree: Tree = TREE, vocab_size: int = 7) -> TabularLM:
    made = TabularLM(prompts, tree, vocab_size)
    with torch.no_grad():
        made.table.normal_(generator=seeded())
    return made


class Ragged(TreeTask):
    """A tree task whose prompts have 1 to 3 tokens; a completion's reward is its leaf's number over the prompts'."""

    def __init__(self) -> None:
        super().__init__(TREE, torch.arange(3.0)[:, None] + torch.arange(float(TREE.n_leaves)) / TREE.n_leaves)
        self.vocab = Vocab(tuple("012abcd"), stop=(2,))

    def prompts(self, split: str = "train") -> Prompts:
        return RAGGED


def forced(policy, r: Rollouts, temperature: float = 1.0) -> Tensor:
    return token_logps(policy, r.prompts, r.prompt_mask, r.completions, r.mask, temperature).detach()


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_log_probabilities_are_those_of_a_teacher_forced_pass(temperature):
    drawn = Sampled(6, temperature)(gpt(), CHAIN, CHAIN.prompts(), seeded())
    assert len({*CHAIN.prompts().mask.sum(1).tolist()}) == 3 and drawn.lengths.unique().numel() > 3
    assert (drawn.old_logp - forced(gpt(), drawn, temperature)).abs().max() < 1e-5
    drawn = Sampled(50, temperature)(table(), Ragged(), RAGGED, seeded())
    assert (drawn.old_logp - forced(table(), drawn, temperature)).abs().max() < 1e-14


@pytest.mark.parametrize("policy", [gpt(), gpt(dtype=torch.float64)], ids=["float32", "float64"])
def test_every_field_of_a_sampled_batch(policy):
    prompts = CHAIN.prompts()
    drawn = Sampled(4)(policy, CHAIN, prompts, seeded())
    assert torch.equal(drawn.prompts, prompts.tokens) and torch.equal(drawn.prompt_mask, prompts.mask)
    assert torch.equal(drawn.prompt_ids, prompts.ids)
    assert torch.equal(drawn.weights, torch.full((24, 4), 0.25, dtype=policy.norm.dtype))
    assert drawn.rewards.dtype == drawn.old_logp.dtype == policy.norm.dtype
    assert torch.equal(drawn.rewards, CHAIN.score(prompts.ids, drawn.completions, drawn.mask).to(drawn.rewards))
    assert drawn.horizon == 10 and not drawn.enumerated and drawn.ref_logp is None


def test_a_completion_ends_with_its_stop_token_or_at_the_horizon():
    drawn = Sampled(20)(gpt(), CHAIN, CHAIN.prompts(), seeded())
    stops = (drawn.completions == EOS) & drawn.mask
    t = drawn.mask.shape[-1]
    assert t <= 10
    assert torch.equal(drawn.mask, torch.arange(t) < drawn.lengths[..., None])  # generated tokens have no holes
    ended = stops.any(-1)
    assert ended.any() and not ended.all()
    assert (stops.sum(-1) <= 1).all()
    assert torch.equal(stops.long().argmax(-1)[ended] + 1, drawn.lengths[ended])
    assert (drawn.lengths[~ended] == 10).all()
    assert not drawn.completions[~drawn.mask].any() and not drawn.old_logp[~drawn.mask].any()


def test_any_of_several_stop_tokens_ends_a_completion():
    prompts, stops = CHAIN.prompts(), torch.tensor([EOS, 7, 3])
    completions, mask, *_ = sample(gpt(), prompts, 20, 10, tuple(stops.tolist()), seeded())
    last = mask & ~torch.nn.functional.pad(mask[..., 1:], (0, 1))
    ends = torch.isin(completions, stops) & mask
    assert torch.equal(ends & ~last, torch.zeros_like(ends))  # only the last token may be one of them
    assert (ends | ~last | (mask.sum(-1, keepdim=True) == 10)).all()
    assert {*completions[ends].tolist()} == {*stops.tolist()}


def tokens_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens a GPT's cursor is given, at each time."""
    calls, start, go_on = [], GPTCursor.__init__, GPTCursor.append
    monkeypatch.setattr(GPTCursor, "__init__", lambda at, *a: calls.append(a[1].numel()) or start(at, *a))
    monkeypatch.setattr(GPTCursor, "append", lambda at, tokens: calls.append(len(tokens)) or go_on(at, tokens))
    return calls


def test_a_prompt_is_read_once_for_all_its_completions(monkeypatch):
    policy, calls = gpt(), tokens_read(monkeypatch)
    drawn = Sampled(5)(policy, CHAIN, CHAIN.prompts(), seeded())
    b, p, t = len(CHAIN.prompts()), CHAIN.prompts().tokens.shape[1], drawn.mask.shape[-1]
    going = drawn.mask.sum((0, 1)).tolist()  # completions with a t-th token
    assert calls[0] == b * p and len(calls) == t
    assert all(n <= read <= max(b * 5, n) and n > 0.75 * read for n, read in zip(going[1:], calls[1:], strict=True))


@pytest.mark.parametrize("row", [0, 1, 2])
def test_one_prompt_alone_is_a_batch_too(row):
    """Its padding, where it comes from a longer batch, changes nothing."""
    whole = CHAIN.prompts()
    short = int(whole.mask.sum(1).argmin())
    drawn = Sampled(8)(gpt(), CHAIN, whole[slice(short, short + 1)], seeded())
    assert drawn.completions.shape[:2] == (1, 8) and not drawn.prompt_mask.all()
    assert (drawn.old_logp - forced(gpt(), drawn)).abs().max() < 1e-5
    alone = RAGGED[slice(row, row + 1)]
    drawn = Sampled(50)(table(), Ragged(), alone, seeded())
    assert (drawn.old_logp - forced(table(), drawn)).abs().max() < 1e-14
    assert torch.allclose(
        Enumerated()(table(), Ragged(), alone).weights, Enumerated()(table(), Ragged(), RAGGED).weights[row]
    )


def test_no_prompt_at_all_is_refused():
    for strategy in (Sampled(2), Enumerated()):
        with pytest.raises(ValueError, match="prompts must hold at least one prompt, got none"):
            strategy(table(), Ragged(), RAGGED[slice(0, 0)], seeded())
    with pytest.raises(ValueError, match="prompts must hold at least one prompt, got none"):
        greedy(table(), Ragged(), RAGGED[slice(0, 0)])


def test_drawing_ends_when_every_completion_has():
    policy = table()
    with torch.no_grad():
        policy.table[:, 2] = 50.0  # stops at once
    drawn = Sampled(5)(policy, Ragged(), RAGGED, seeded())
    assert drawn.completions.shape == (3, 5, 1)


def test_the_same_seed_gives_the_same_bytes():
    first, again, other = (Sampled(4)(gpt(), CHAIN, CHAIN.prompts(), seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.completions, again.completions) and torch.equal(first.old_logp, again.old_logp)
    assert first.completions.shape != other.completions.shape or not torch.equal(first.completions, other.completions)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_completions_are_as_frequent_as_they_are_probable(temperature):
    n = 40_000
    policy = table()
    drawn = Sampled(n, temperature)(policy, Ragged(), RAGGED, seeded())
    index = TREE.index(drawn.completions, drawn.mask)
    counts = torch.stack([row.bincount(minlength=TREE.n_leaves) for row in index]) / n
    logp = (node_logps(policy, RAGGED, TREE) / temperature).log_softmax(-1)
    p = logp[:, TREE.nodes, TREE.tokens].masked_fill(~TREE.mask, 0).sum(-1).exp()
    assert ((counts - p).abs() <= 4.5 * (p * (1 - p) / n).sqrt() + 5 / n).all()  # 5 counts for what is rare
    assert torch.allclose(drawn.old_logp.sum(-1).exp(), p.gather(1, index), rtol=1e-12)


def test_tokens_without_probability_are_never_drawn():
    logp = torch.tensor([[-1e9, 0.0], [math.log(0.5), math.log(0.5)]]).repeat(20_000, 1)
    drawn = draw(logp, torch.rand(logp.shape, generator=seeded(), dtype=logp.dtype).log()).view(-1, 2)
    assert (drawn[:, 0] == 1).all()
    assert drawn[:, 1].double().mean().item() == pytest.approx(0.5, abs=0.015)


def test_greedy_takes_the_likeliest_token_and_the_lowest_id_among_equals():
    policy = table()
    with torch.no_grad():
        policy.table[0] = torch.tensor([1.0, 1.0, 0.0])
    made = greedy(policy, Ragged(), RAGGED)
    logp, node = node_logps(policy, RAGGED, TREE), torch.zeros(3, dtype=torch.int64)
    assert made.completions.shape[:2] == (3, 1) and made.completions[0, 0, 0] == 0
    for t in range(made.completions.shape[-1]):
        live = made.mask[:, 0, t]
        best = logp[torch.arange(3), node].argmax(-1)
        assert torch.equal(made.completions[live, 0, t], best[live])
        node = torch.where(live, TREE.child[node.clamp(min=0), best], node)
    assert torch.allclose(made.old_logp, forced(policy, made), rtol=0, atol=1e-14)
    assert torch.equal(made.weights, torch.ones(3, 1, dtype=torch.float64))


def test_an_enumeration_holds_every_leaf_once_with_its_probability():
    policy, task = table(), Ragged()
    whole = Enumerated()(policy, task, RAGGED)
    assert torch.equal(whole.completions, TREE.tokens.expand(3, -1, -1))
    assert whole.weights.sum(-1).tolist() == pytest.approx([1, 1, 1], abs=1e-14)
    assert torch.equal(whole.rewards, task.rewards)
    assert (whole.old_logp - forced(policy, whole)).abs().max() < 1e-14
    assert torch.equal(whole.old_logp.sum(-1).exp(), whole.weights)
    assert whole.enumerated and whole.horizon == 4


def test_an_enumeration_of_a_language_model_evaluates_each_prefix_once(monkeypatch):
    policy, task = gpt(14, torch.float64), Operator(n_train=3)
    calls = tokens_read(monkeypatch)
    logp = leaf_logps(policy, task.prompts(), task.tree)
    assert sum(calls) == 3 * (3 + 14)  # the prompt's tokens, then one for each first token
    whole = Enumerated()(policy, task, task.prompts())
    assert (logp - forced(policy, whole)).abs().max() < 1e-12


def test_a_policy_that_can_leave_the_tree_is_not_enumerated():
    with pytest.raises(ValueError, match="tree must hold all completions of the policy, .* of it is outside"):
        Enumerated()(gpt(20), Operator(n_train=3), Operator(n_train=3).prompts())
    task = Ragged()
    task.tree = None
    with pytest.raises(ValueError, match="task must have a completion tree to be enumerated, 'tree' has none"):
        Enumerated()(table(), task, RAGGED)


def test_a_tree_too_large_says_how_large_and_the_limit():
    with pytest.raises(ValueError, match="give 617839704241 completions, the limit is 20000000; use sampling"):
        Enumerated()(gpt(), CHAIN, CHAIN.prompts())


def test_a_language_model_is_enumerated_on_a_task_with_a_short_horizon():
    task = ChainSum(n_digits=1, n_train=6, n_test=4, horizon=4)
    policy = gpt(dtype=torch.float64)
    whole = Enumerated()(policy, task, task.prompts())
    assert whole.weights.sum(-1).tolist() == pytest.approx([1] * 6, abs=1e-12)
    right = whole.mean(whole.rewards)
    drawn = Sampled(20_000)(policy, task, task.prompts(), seeded()).rewards.mean(-1)
    assert ((drawn - right).abs() <= 4 * (right * (1 - right) / 20_000).sqrt()).all() and right.min() > 1e-5


def test_an_enumeration_of_too_many_prompts_is_refused_before_the_policy_is_asked():
    task = TreeTask(Tree(2, horizon=10), torch.zeros(3000, 1024))
    with pytest.raises(ValueError, match="3000 prompts with 1024 completions of 10 tokens make 30720000 places"):
        Enumerated()(gpt(4000), task, task.prompts())


def test_a_reward_that_is_not_finite_names_its_prompt():
    task = Ragged()
    task.rewards[1, :] = math.nan
    for strategy in (Sampled(2), Enumerated()):
        with pytest.raises(ValueError, match=r"rewards must be finite, got nan at index \[1, 0\] \(prompt 1\)"):
            strategy(table(), task, RAGGED, seeded())


def test_prompts_must_fit_the_policy():
    prompts = Prompts.from_lists([[1] * 30])
    with pytest.raises(ValueError, match="30 prompt tokens and a horizon of 10 need 40, the context is 32"):
        Sampled(2)(gpt(), CHAIN, prompts, seeded())
    with pytest.raises(ValueError, match="need 40, the context is 32"):
        greedy(gpt(), CHAIN, prompts)
    with pytest.raises(ValueError, match="policy must know the task's vocabulary of 16 tokens, its own has 9"):
        Sampled(2)(gpt(9), CHAIN, CHAIN.prompts(), seeded())


def test_an_empty_list_of_prompts_is_refused():
    with pytest.raises(ValueError, match="prompts must hold at least one prompt, got an empty list"):
        Prompts.from_lists([])


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="group_size must be >= 1, got 0"):
        Sampled(0)
    with pytest.raises(ValueError, match="temperature must be > 0 and finite, got 0"):
        Sampled(temperature=0)


def test_sample_can_be_called_alone():
    completions, mask, logp, _ = sample(table(), RAGGED, 2, 2, (2,), seeded())
    assert completions.shape == mask.shape == logp.shape == (3, 2, 2)
