"""Solutions from elsewhere: the store, the groups that hold them, and the level beside the groups."""

from __future__ import annotations

import pytest
import torch

from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.policies.qwen3 import qwen3
from toykit.rollouts import Enumerated, ExpertLevel, Mixed, Rollouts, Sampled, Share, Solutions, supplying, token_logps
from toykit.rollouts.mixed import check_supplied, own_weights
from toykit.tasks import AlternatingSum, Arithmetic, ChainSum, JsonlTask, Operator, Problem, Sorting
from toykit.tasks.bandit import Bandit, TreeTask, tricks_tree
from toykit.tasks.chain_sum import ANSWER, EOS
from toykit.tasks.verifiers import number

CHAIN = ChainSum(n_digits=2, n_train=6, n_test=4, horizon=7)
TASKS = {
    "operator": Operator(),
    "alternating_sum": AlternatingSum(n_train=20),
    "sorting": Sorting(places=3, n_train=16, n_test=4),
    "arithmetic": Arithmetic(n_problems=32),
    "chain_sum": ChainSum(n_digits=(2, 4), n_train=32, n_test=4),
    "own": JsonlTask("own", (Problem("1+1=", "2", 1), Problem("3*4=", "12", 2)), Arithmetic.vocab, number, 6, 0.0),
    "tree": tricks_tree()[0],
}


def drawing(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", TASKS)
def test_the_right_answers_of_a_task_are_right(name):
    task = TASKS[name]
    found = Solutions.of(task, most=2)
    assert torch.equal(found.ids, task.prompts().ids) and bool((found.counts >= 1).all())
    rewards = task.score(found.ids, found.completions, found.mask | ~found.mask.any(-1, keepdim=True))
    assert bool((rewards[found.mask.any(-1)] == 1).all())


def test_the_solutions_of_a_chain_are_its_running_sums_and_the_answer_at_once():
    digits = CHAIN.prompts().tokens[0, 1:3].tolist()
    first, total = digits[0], sum(digits) % 10
    answer = [ANSWER, total, EOS]
    assert CHAIN.solutions(CHAIN.prompts().ids)[0] == [[first, total, *answer], answer]


def test_a_prompt_without_a_right_completion_has_no_solution():
    found = Solutions.of(Bandit([[0.2, 0.9, 0.9], [0.1, 0.4, 0.3]]), most=3)
    assert found.counts.tolist() == [2, 0] and found.completions[0, :2, 0].tolist() == [1, 2]


class Unknown(Bandit):
    """A task that can be neither asked nor enumerated."""

    tree = None

    def __init__(self) -> None:
        self.name = "unknown"

    def prompts(self, split: str = "train"):
        return CHAIN.prompts(split)


def test_what_does_not_fit_is_refused_with_the_prompt():
    with pytest.raises(ValueError, match=r"horizon of 7 tokens, got \[1, 1, 1, 1, 1, 1, 1, 11\] for prompt 3"):
        Solutions.from_lists({0: [[1, EOS]], 3: [[1] * 7 + [EOS]]}, CHAIN)
    with pytest.raises(ValueError, match=r"token ids from 0 to 15, got \[1, 16\] for prompt 1"):
        Solutions.from_lists({1: [[1, 16]]}, CHAIN)
    with pytest.raises(ValueError, match=r"end with their first stop token, got \[11, 2\] for prompt 0"):
        Solutions.from_lists({0: [[EOS, 2]]}, CHAIN)
    with pytest.raises(ValueError, match="no token in one of prompt 2"):
        Solutions.from_lists({2: [[1], []]}, CHAIN)
    with pytest.raises(ValueError, match="at least one prompt"):
        Solutions.from_lists({}, CHAIN)
    with pytest.raises(ValueError, match="task must know its right answers or have a completion tree, 'unknown'"):
        Solutions.of(Unknown())
    some = Solutions.from_lists({0: [[1, EOS]], 3: []}, CHAIN)
    for asked, wrong in ((torch.tensor([0, 1]), 1), (torch.tensor([3, 9]), 9)):
        with pytest.raises(ValueError, match=f"got none for prompt {wrong}"):
            some.take(asked, 1, drawing())
    one = torch.ones(1, 2, 1, dtype=torch.int64)
    for mask in ([[[True, False, True]]], [[[False] * 3], [[True] * 3]]):
        there = torch.tensor(mask).view(1, -1, 3)
        with pytest.raises(ValueError, match="mask must be True on the first tokens"):
            Solutions(torch.zeros(1, dtype=torch.int64), one[:, : there.shape[1]].expand_as(there), there)
    with pytest.raises(ValueError, match="ids must be there once"):
        Solutions(torch.tensor([1, 1]), one.expand(2, 2, 1), one.expand(2, 2, 1).bool())


def test_solutions_are_taken_in_order_or_where_there_are_more_drawn_alike_often():
    store = Solutions.from_lists({0: [[1], [2], [3]], 1: [[4]], 2: []}, CHAIN)
    every = store.take(torch.tensor([2, 0, 1]), 3, drawing())
    assert every.counts.tolist() == [0, 3, 1] and every.completions[1, :, 0].tolist() == [1, 2, 3]
    found = store.take(torch.tensor([0, 1, 2]).repeat(3000), 2, drawing())
    assert found.counts.view(-1, 3).unique(dim=0).tolist() == [[2, 1, 0]]
    drawn = found.completions[0::3, :, 0]
    assert (drawn[:, 0] != drawn[:, 1]).all() and (found.completions[1::3, 0, 0] == 4).all()
    share = torch.bincount(drawn.flatten(), minlength=4)[1:] / 6000
    assert (share - 1 / 3).abs().max() < 0.03


def policies() -> dict[str, torch.nn.Module]:
    gpt = GPT(GPTConfig(16, context=16, layers=1, width=16, heads=2, hidden=16)).double()
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return {"gpt": gpt, "hub": qwen3(CHAIN.vocab, sizes).double()}


SOME = {0: [[1, 3, ANSWER, 3, EOS]], 1: [], 2: [[ANSWER, 4, EOS], [4, EOS]], 3: [[9] * 7], 4: [[ANSWER, 0, EOS]], 5: []}


@pytest.mark.parametrize("kind", ["gpt", "hub"])
def test_a_mixed_group_is_drawn_rows_and_then_solutions_under_the_behaviour_policy(kind):
    policy, prompts = policies()[kind], CHAIN.prompts()
    store = Solutions.from_lists(SOME, CHAIN)
    made = Mixed(store, group_size=4, external=2)(policy, CHAIN, prompts, drawing())
    assert made.completions.shape[:2] == (6, 4) and bool((made.weights == 0.25).all())
    external = made.extras["external"]
    assert external.any(-1).sum(-1).tolist() == [1, 0, 2, 1, 1, 0]
    assert torch.equal(external, external.any(-1, keepdim=True) & made.mask)
    for i, rows in SOME.items():
        for j, row in enumerate(rows):
            at = made.completions[i, 4 - len(rows) + j][made.mask[i, 4 - len(rows) + j]]
            assert at.tolist() == row
    scored = token_logps(policy, made.prompts, made.prompt_mask, made.completions, made.mask)
    assert torch.allclose(made.old_logp, scored, rtol=0, atol=1e-10) and not made.old_logp.requires_grad
    assert torch.equal(made.rewards, CHAIN.score(made.prompt_ids, made.completions, made.mask))
    drawn = Sampled(4)(policy, CHAIN, prompts, drawing())  # some prompt has none, so four are drawn for all
    same = ~external.any(-1)
    t = drawn.mask.shape[-1]
    assert torch.equal(made.mask[..., :t][same], drawn.mask[same]) and torch.equal(
        made.old_logp[..., :t][same], drawn.old_logp[same]
    )


def test_the_policy_draws_no_more_than_it_needs_where_every_prompt_has_a_solution():
    policy, prompts = policies()["gpt"], CHAIN.prompts()
    generator, beside = drawing(), drawing()
    made = Mixed(Solutions.of(CHAIN), 4)(policy, CHAIN, prompts, generator)
    drawn = Sampled(3)(policy, CHAIN, prompts, beside)
    assert torch.equal(
        made.completions[:, :3, : drawn.mask.shape[-1]] * made.mask[:, :3, : drawn.mask.shape[-1]],
        drawn.completions * drawn.mask,
    )
    assert torch.equal(generator.get_state(), beside.get_state())
    assert bool((made.rewards[:, 3] == 1).all())


def test_the_temperature_is_that_of_solutions_too():
    policy, prompts = policies()["gpt"], CHAIN.prompts()
    made = Mixed(Solutions.of(CHAIN), 3, temperature=0.5)(policy, CHAIN, prompts, drawing())
    scored = token_logps(policy, made.prompts, made.prompt_mask, made.completions, made.mask, 0.5)
    assert torch.allclose(made.old_logp, scored, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", ["mixed", "level"])
def test_shares_of_a_batch_are_the_whole(kind):
    """Several solutions a prompt, so that they are drawn, and a number of prompts that two do not divide."""
    policy, prompts = policies()["gpt"], CHAIN.prompts()[:5]
    store = Solutions.from_lists(SOME | {0: [[1, EOS], [2, EOS], [3, EOS]]}, CHAIN)
    make = Mixed(store, 4) if kind == "mixed" else ExpertLevel(store, Sampled(4))
    whole = make(policy, CHAIN, prompts, drawing(3))
    parts = Rollouts.cat([make(policy, CHAIN, prompts, drawing(3), Share(rank, 2)) for rank in (0, 1)])
    for name, value in {**whole._tensors(), **whole.extras}.items():
        other = {**parts._tensors(), **parts.extras}[name]
        assert value.shape == other.shape and torch.allclose(value.double(), other.double(), rtol=0, atol=1e-10), name


def tree(rewards: list[list[float]]) -> tuple[TreeTask, TabularLM]:
    made, logits = tricks_tree()
    task = TreeTask(made.tree, rewards)
    return task, TabularLM.of(task, logits=logits)


def test_an_enumerated_group_leaves_the_solutions_their_share():
    """Two prompts, the second without a solution; a share of 1/4 for the solution 110 of the first."""
    task, policy = tree([[0, 0, 1, 0, 0], [1, 0, 0, 0, 0]])
    store = Solutions.from_lists({0: [[1, 1, 0]], 1: []}, task)
    made = Mixed(store, group_size=4, enumerated=True)(policy, task, task.prompts(), drawing())
    whole = Enumerated()(policy, task, task.prompts())
    assert made.enumerated and made.completions.shape == (2, 6, 3)
    assert torch.allclose(made.weights[0], torch.cat([0.75 * whole.weights[0], torch.tensor([0.25]).double()]))
    assert torch.allclose(made.weights[1], torch.cat([whole.weights[1], torch.tensor([0.0]).double()]))
    assert made.extras["external"].any(-1).tolist() == [[False] * 5 + [True], [False] * 6]
    assert torch.allclose(made.old_logp[0, 5], whole.old_logp[0, 2]) and made.rewards[0, 5] == 1
    assert made.mean(made.rewards)[0].item() == pytest.approx(0.75 * whole.mean(whole.rewards)[0].item() + 0.25)


def test_a_solution_that_the_verifier_rejects_just_has_its_reward():
    task, policy = tree([[0, 0, 1, 0, 0]])
    made = Mixed(Solutions.from_lists({0: [[2]]}, task), 3)(policy, task, task.prompts(), drawing())
    assert made.rewards[0, 2] == 0 and made.extras["external"][0, 2].tolist() == [True] + [False] * (
        made.mask.shape[-1] - 1
    )


def test_the_level_of_an_expert_is_aligned_by_position_and_beside_the_group():
    policy, prompts = policies()["gpt"], CHAIN.prompts()
    store = Solutions.from_lists(SOME | {2: [[ANSWER, 4, EOS]]}, CHAIN)
    made = ExpertLevel(store, Sampled(3))(policy, CHAIN, prompts, drawing())
    plain = Sampled(3)(policy, CHAIN, prompts, drawing())
    t = plain.mask.shape[-1]
    assert made.mask.shape[-1] == 7 and torch.equal(made.completions[..., :t], plain.completions)
    assert torch.equal(made.old_logp[..., :t], plain.old_logp) and torch.equal(made.rewards, plain.rewards)
    level, mask = made.extras["expert_logp"], made.extras["expert_mask"]
    assert level.shape == mask.shape == made.mask.shape and not level.requires_grad
    assert mask[:, 0].sum(-1).tolist() == [5, 0, 3, 7, 3, 0] and not level[~mask].any()
    row = torch.tensor([[[1, 3, ANSWER, 3, EOS]]])
    first = token_logps(policy, prompts.tokens[:1], prompts.mask[:1], row, torch.ones_like(row).bool())
    assert torch.allclose(level[0, :, :5], first[0].expand(3, -1), rtol=0, atol=1e-10)


def test_a_level_stands_beside_an_enumeration_too():
    task, policy = tree([[0, 0, 1, 0, 0]])
    made = ExpertLevel(Solutions.of(task), Enumerated())(policy, task, task.prompts(), drawing())
    whole = Enumerated()(policy, task, task.prompts())
    assert torch.equal(made.weights, whole.weights) and made.enumerated
    assert torch.allclose(made.extras["expert_logp"][0, 0], whole.old_logp[0, 2])


def test_what_a_method_asks_for_is_made_or_missed_in_words():
    store = Solutions.of(CHAIN)
    assert supplying(None, Sampled(5), store) == Sampled(5)
    mixed = supplying("external", Sampled(5, temperature=0.7), store)
    assert (mixed.group_size, mixed.external, mixed.temperature, mixed.enumerated) == (5, 1, 0.7, False)
    assert supplying("external", Enumerated(), store, 6) == Mixed(store, 6, enumerated=True)
    assert supplying("expert_logp", Sampled(5, 0.7), store).temperature == 0.7
    with pytest.raises(ValueError, match="top_k, top_p, min_p and allowed must be None"):
        supplying("external", Sampled(5, top_k=3), store)
    with pytest.raises(ValueError, match="data must be one of expert_logp, external"):
        supplying("expert", Sampled(), store)
    made = Sampled(2)(policies()["gpt"], CHAIN, CHAIN.prompts(), drawing())
    with pytest.raises(ValueError, match=r"extras\['external'\] for this method, solutions .* strategy=Mixed"):
        check_supplied("external", made)
    assert check_supplied(None, made) is made
    with pytest.raises(ValueError, match="group_size must be above external=2, got 2"):
        Mixed(store, 2, 2)
    with pytest.raises(ValueError, match="temperature must be 1 with enumerated"):
        Mixed(store, temperature=0.5, enumerated=True)


def test_the_weights_of_the_policy_s_own_completions_sum_to_1():
    made = Mixed(Solutions.from_lists(SOME, CHAIN), 4)(policies()["gpt"], CHAIN, CHAIN.prompts(), drawing())
    own = own_weights(made)
    assert torch.allclose(own.sum(-1), torch.ones(6).double())
    assert own[0].tolist() == pytest.approx([1 / 3] * 3 + [0]) and own[1].tolist() == [0.25] * 4
