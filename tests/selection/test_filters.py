from __future__ import annotations

import pytest
import torch

from toykit.objectives import Advantage, PolicyGradient
from toykit.policies import TabularLM
from toykit.rewards import Shaping
from toykit.rollouts import Enumerated, Rollouts, of_lengths, token_logps
from toykit.selection import (
    Selection,
    dynamic_sampling,
    greedy_failures,
    informative,
    overlong_filter,
    selection,
)
from toykit.tasks.bandit import TreeTask
from toykit.tasks.tree import Tree
from toykit.training import TrainConfig, Trainer


def batch(rewards: list[list[float]], first: int = 0, width: int = 2) -> Rollouts:
    r = torch.tensor(rewards)
    return of_lengths(torch.full(r.shape, width), r).with_(prompt_ids=torch.arange(len(r)) + first)


def test_informative_groups_hold_more_than_one_reward():
    assert informative(batch([[1, 1, 1], [0, 0, 1], [0, 0, 0]])).tolist() == [False, True, False]


def test_a_group_is_informative_by_the_tasks_reward_whatever_shaping_adds():
    """DAPO drops what is all right or all wrong, though lengths may differ."""
    rollouts = batch([[1, 1], [0, 1]])
    shaped, _ = Shaping({"more": (1.0, lambda r: torch.tensor([[0.0, 0.5], [0.5, -0.5]]))})(rollouts)
    assert shaped.rewards.tolist() == [[1, 1.5], [0.5, 0.5]]
    assert informative(shaped).tolist() == [False, True]
    twice, _ = Shaping({"more": (1.0, lambda r: torch.ones_like(r.rewards))})(shaped)
    assert informative(twice).tolist() == [False, True]


class Batches:
    """Hands out batches in order, as a trainer would draw them again."""

    def __init__(self, *parts: Rollouts) -> None:
        self.parts, self.asked = list(parts), 0

    def __call__(self) -> Rollouts:
        self.asked += 1
        return self.parts.pop(0)


def test_dynamic_sampling_draws_until_the_batch_is_full():
    again = Batches(batch([[0, 0], [1, 1]], 10), batch([[1, 0], [0, 1]], 20, width=3), batch([[1, 0], [1, 0]], 30))
    found = dynamic_sampling().after(None, batch([[1, 0], [0, 0]]), again)
    assert found.prompt_ids.tolist() == [0, 20]
    assert again.asked == 2
    assert found.check().completions.shape == (2, 2, 3)


def test_dynamic_sampling_asks_for_nothing_where_every_group_is_informative():
    first, again = batch([[1, 0], [0, 1]]), Batches()
    found = dynamic_sampling().after(None, first, again)
    assert found.prompt_ids.tolist() == [0, 1] and again.asked == 0


def test_dynamic_sampling_goes_on_with_what_there_is_after_the_last_batch():
    again = Batches(batch([[0, 0], [0, 0]], 10), batch([[1, 1], [1, 1]], 20))
    found = dynamic_sampling(max_batches=3).after(None, batch([[1, 0], [0, 0]]), again)
    assert found.prompt_ids.tolist() == [0] and again.asked == 2
    again = Batches(batch([[1, 1], [1, 1]], 20))
    nothing = dynamic_sampling(max_batches=2).after(None, batch([[0, 0], [0, 0]]), again)
    assert nothing.prompt_ids.tolist() == [20, 21]
    with pytest.raises(ValueError, match="max_batches must be >= 1, got 0"):
        dynamic_sampling(0)


CHAIN = TreeTask(Tree(2, horizon=4, stop=(0,)), [0, 1, 0, 1, 0])  # 0, 10, 110, 1110, and 1111 that was cut
START = torch.tensor([[0.0, 1.0]] * 4)


def test_the_overlong_filter_leaves_the_cut_completions_out_of_the_loss_alone():
    whole = Enumerated()(TabularLM.of(CHAIN), CHAIN, CHAIN.prompts())
    kept = overlong_filter().after(CHAIN, whole, None)
    assert kept.loss_mask[0].any(-1).tolist() == [True, True, True, True, False]
    assert torch.equal(kept.loss_mask[0, :4], whole.mask[0, :4])
    assert torch.equal(kept.mask, whole.mask) and torch.equal(kept.rewards, whole.rewards)
    prepared = PolicyGradient(Advantage("group"), aggregate="token_mean").prepare(kept)
    assert not prepared.token_weights[0, 4].any()
    assert prepared.token_weights.sum().item() == pytest.approx(1)
    assert torch.equal(prepared.advantages, PolicyGradient(Advantage("group")).prepare(whole).advantages)
    assert not prepared.minibatch(torch.tensor([0])).token_weights[0, 4].any()


def trained(chosen: Selection | None, steps: int) -> tuple[TabularLM, float]:
    """(policy, probability of a cut completion) after exact steps of 0.5 on r - E r."""
    policy = TabularLM.of(CHAIN, logits=START)
    config = TrainConfig(optimizer="sgd", lr=0.5)
    trainer = Trainer(policy, CHAIN, PolicyGradient(Advantage("group")), Enumerated(), config, chosen)
    for _ in range(steps):
        trainer.step()
    return policy, Enumerated()(policy, CHAIN, CHAIN.prompts()).weights[0, 4].item()


def without_the_baselines_share() -> Selection:
    """The filter that takes cut completions out of the baseline too: r - E[r | not cut] on the others."""

    def after(task, rollouts, again):
        uncut = rollouts.weights.clone()
        uncut[:, 4] = 0
        shift = (uncut * rollouts.rewards).sum(-1, keepdim=True) / uncut.sum(-1, keepdim=True)
        centred = (rollouts.rewards - shift) * (uncut > 0)
        mean = (rollouts.weights * centred).sum(-1, keepdim=True)
        assert abs(mean.item()) < 1e-15  # so that the group's own baseline changes nothing more
        return overlong_filter().after(task, rollouts.with_(rewards=centred), again)

    return Selection(after=after)


@pytest.mark.parametrize(
    ("chosen", "slope", "end"),
    [
        (None, -0.01274, 0.0016),
        (overlong_filter(), 0.00151, 0.0214),
        (without_the_baselines_share(), 0.00720, 0.0476),
    ],
    ids=["no filter", "loss mask", "out of the baseline"],
)
def test_filtering_takes_the_pressure_to_stop_away(chosen, slope, end):
    """Card 03: d P(cut) / dt at the start, and P(cut) after 300 steps of 0.5."""
    policy, prompts = TabularLM.of(CHAIN, logits=START), CHAIN.prompts()
    rollouts = Enumerated()(policy, CHAIN, prompts)
    kept = rollouts if chosen is None else chosen.after(CHAIN, rollouts, None)
    logp = token_logps(policy, prompts.tokens, prompts.mask, kept.completions, kept.mask)
    objective = PolicyGradient(Advantage("group"))
    loss, _ = objective.loss(logp, objective.prepare(kept))
    cut = torch.autograd.grad(logp[0, 4].sum().exp(), policy.table, retain_graph=True)[0]
    assert -(cut * torch.autograd.grad(loss, policy.table)[0]).sum().item() == pytest.approx(slope, abs=5e-6)
    assert trained(chosen, 300)[1] == pytest.approx(end, abs=5e-5)


def test_selections_by_name():
    assert selection("overlong_filter").after is not None
    with pytest.raises(ValueError, match="selection must be .*, got 'dynamic'; did you mean 'dynamic_sampling'?"):
        selection("dynamic")


class Counted(TabularLM):
    """Counts how often it is asked for its logits."""

    asked = 0

    def logits_at(self, states):
        self.asked += 1
        return super().logits_at(states)


def test_the_greedy_failure_filter_keeps_the_prompts_whose_greedy_completion_is_wrong():
    task = TreeTask(Tree(2, horizon=2), [[0, 0, 0, 1], [0.5, 0.5, 1, 0], [0, 0, 1, 0]])
    logits = torch.tensor([[0.0, 1.0], [0.0, 0.0], [2.0, 0.0]])  # greedy: 1, then 0, whatever the prompt
    policy = TabularLM.of(task, logits=logits)
    for over in ("asked", "kept"):
        chosen = greedy_failures(over)
        assert chosen.before(policy, task, task.prompts()).ids.tolist() == [0]
        assert chosen.over == over and chosen.after is None
    assert greedy_failures("kept", solved=0.5).before(policy, task, task.prompts()).ids.tolist() == [0]
    assert greedy_failures("kept", solved=2.0).before(policy, task, task.prompts()).ids.tolist() == [0, 1, 2]
    ties = TreeTask(Tree(2, horizon=1), [[1, 0], [0, 1]])
    kept = greedy_failures("kept").before(TabularLM.of(ties), ties, ties.prompts())
    assert kept.ids.tolist() == [1]  # the lowest among equals is taken


def test_the_greedy_failure_filter_decodes_each_prompt_once_and_follows_the_policy():
    task = TreeTask(Tree(2, horizon=3), torch.eye(8)[[7, 0]])
    policy = Counted(task.prompts(), task.tree, task.vocab.size)
    before = greedy_failures("asked").before
    assert before(policy, task, task.prompts()).ids.tolist() == [0]
    assert policy.asked == 3  # once a token, for all prompts together
    with torch.no_grad():
        policy.table[:7] = torch.tensor([0.0, 1.0])
    assert before(policy, task, task.prompts()).ids.tolist() == []
    assert selection("greedy_failures").over == "asked"
