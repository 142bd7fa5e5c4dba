"""The world of tokens of lesson 04: the task, its value, the weights, and what is measured."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from toykit.control import TabularMDP, ValueGradients, value_iteration
from toykit.lessons.l04_vagram import row_models
from toykit.lessons.l04_vagram.rows import Observed, Rows, fit_value, one_hot, token_weights
from toykit.policies import GPT, GPTConfig
from toykit.policies.base import Output
from toykit.rollouts import token_logps
from toykit.training import TrainConfig, Trainer

TASK = Rows(n_train=200, n_test=40)


def small(task, seed):
    return GPT(GPTConfig(task.vocab.size, context=32, layers=1, width=16, heads=2, hidden=32), seed)


def test_dials_are_spread_and_buttons_turn_them():
    assert TASK.dials.tolist() == [2, 6, 10] and Rows(length=64, relevant=8).dials.tolist() == list(range(4, 64, 8))
    states = torch.randint(5, (4, 12), generator=torch.Generator().manual_seed(0))
    after = TASK.step(states, torch.arange(4), torch.Generator().manual_seed(1))
    moves = (after - states)[:, TASK.dials] % 5
    assert moves.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [4, 4, 4]]
    other = TASK.step(states, torch.arange(4), torch.Generator().manual_seed(2))
    assert torch.equal(after[:, TASK.dials], other[:, TASK.dials]) and not torch.equal(after, other)


def test_presses_are_the_shortest_paths():
    every = torch.cartesian_prod(*[torch.arange(5)] * 3)
    rows = torch.zeros(125, 12, dtype=torch.int64)
    rows[:, TASK.dials] = every
    after = torch.stack([TASK.step(rows, torch.full((125,), b), torch.Generator()) for b in range(4)], 1)
    index = (after[..., TASK.dials] * torch.tensor([25, 5, 1])).sum(-1)
    mdp = TabularMDP(torch.ones(125, 4, 1), -torch.ones(125, 4), 0.9, successors=index[..., None], terminal=[0])
    steps = TASK.presses(rows).double()
    assert torch.allclose(value_iteration(mdp).v, -(1 - 0.9**steps) / 0.1, atol=1e-8)


def test_prompts_and_scores():
    states, buttons, after = TASK.transitions
    prompts = TASK.prompts()
    assert (len(prompts), len(TASK.prompts("test"))) == (200, 40)
    assert torch.equal(prompts.tokens[:, :12], states[:200]) and torch.equal(prompts.tokens[:, 12], 5 + buttons[:200])
    ids = TASK.prompts("test").ids
    made, mask = after[ids][:, None].clone(), torch.ones(40, 1, 12, dtype=torch.bool)
    made[:, :, 0] = 4 - made[:, :, 0]  # noise does not count
    assert TASK.score(ids, made, mask).tolist() == [[1.0]] * 40
    made[0, 0, 6] = (made[0, 0, 6] + 1) % 5
    assert TASK.score(ids, made, mask).sum() == 39
    assert TASK.vocab.decode(prompts.tokens[0].tolist()).endswith(f"b{int(buttons[0])}")
    assert Rows(seed=1, n_train=200, n_test=40).transitions[0].ne(states).any()
    for options, message in (({"relevant": 0}, "relevant must be >= 1"), ({"length": 2}, "length must be >= 3")):
        with pytest.raises(ValueError, match=message):
            Rows(**options)


def test_weights_find_the_dials_without_being_told():
    task = Rows(n_train=4096, n_test=4)
    weights = token_weights(fit_value(task), task, task.transitions[2][:500])
    assert weights.shape == (500, 12) and weights.mean().item() == pytest.approx(1.0, abs=1e-5)
    assert weights[:, task.dials].sum() > 0.98 * weights.sum()


def test_a_constant_added_along_the_digits_of_a_token_changes_no_weight():
    value = fit_value(TASK, steps=5)
    rows = TASK.transitions[2][:30]

    class Shifted(nn.Module):
        """The same V on rows of one-hot vectors, with another gradient: each token's digits sum to 1."""

        def __init__(self):
            super().__init__()
            self.value, self.by = value, nn.Parameter(torch.linspace(-3, 3, 12))

        def forward(self, states):
            extra = ((states.unflatten(-1, (12, 5)).sum(-1) - 1) * self.by).sum(-1)
            return self.value(states) + extra

    shifted = Shifted()
    states = one_hot(TASK, rows)
    assert torch.allclose(shifted(states), value(states), atol=1e-5)
    gradients = [ValueGradients.of(v, states).at() for v in (value, shifted)]
    assert not torch.allclose(*gradients, atol=0.1)
    assert torch.allclose(token_weights(shifted, TASK, rows), token_weights(value, TASK, rows), atol=1e-3)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_trainer_follows_the_weighted_cross_entropy(weighted):
    draw = torch.Generator().manual_seed(0)
    weights = torch.rand(200, 12, generator=draw) if weighted else torch.ones(200, 12)
    policy = small(TASK, 0)
    config = TrainConfig(lr=0.1, optimizer="sgd", prompts=None)
    trainer = Trainer(policy, TASK, row_models.CROSS_ENTROPY, Observed.of(TASK, weights), config)
    before = [p.detach().clone() for p in policy.parameters()]
    prompts, after = TASK.prompts(), TASK.transitions[2][:200, None]
    logp = token_logps(policy, prompts.tokens, prompts.mask, after, torch.ones_like(after, dtype=torch.bool))[:, 0]
    slopes = torch.autograd.grad(-(weights * logp).mean(), list(policy.parameters()))
    trainer.step()
    for p, start, slope in zip(policy.parameters(), before, slopes, strict=True):
        assert torch.allclose(p.detach(), start - 0.1 * slope, atol=1e-6)


class Knowing(nn.Module):
    """A policy that predicts the dials of the next row, or with `wrong` turns them one too far; noise is 0."""

    def __init__(self, task, wrong=0):
        super().__init__()
        self.task, self.wrong, self.vocab_size = task, wrong, task.vocab.size
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, input_ids, attention_mask=None):
        n, length = input_ids.shape
        states, buttons = input_ids[:, : self.task.length], input_ids[:, self.task.length] - self.task.base
        after = self.task.step(states, buttons, torch.Generator())
        noise = torch.ones(self.task.length, dtype=torch.bool)
        noise[self.task.dials] = False
        after = ((after + self.wrong) % self.task.base).masked_fill(noise, 0)
        logits = torch.zeros(n, length, self.vocab_size)
        place = length - 1 - self.task.length
        logits[:, -1].scatter_(1, after[:, [min(place, self.task.length - 1)]], 9.0)
        return Output(logits + self.nothing)


def test_a_policy_that_knows_the_dials_reaches_every_goal_and_one_that_errs_does_not():
    assert row_models.reached(Knowing(TASK), TASK, 20, seed=0) == 1.0
    assert row_models.reached(Knowing(TASK, wrong=2), TASK, 20, seed=0) < 0.5


def test_what_is_measured():
    trainer = type("Still", (), {"policy": Knowing(TASK), "task": TASK})()
    found = row_models.measure(trainer, 0, episodes=4)
    assert found["dials"] == 1.0 and found["goal"] == 1.0
    zeros = (TASK.transitions[2][200:] == 0).float().mean(0)
    noise = [i for i in range(12) if i not in TASK.dials]
    assert found["noise"] == pytest.approx(zeros[noise].mean().item())


def test_rows_that_are_none_are_avoided():
    class Buttons(Knowing):
        def forward(self, input_ids, attention_mask=None):
            out = super().forward(input_ids)
            out.logits[..., TASK.base] += 20.0  # always says a button
            return out

    states = TASK.transitions[0][:5]
    assert row_models.predicted_presses(Buttons(TASK), TASK, states).tolist() == [[60] * 4] * 5


def test_both_methods_begin_with_the_same_policy_and_the_weights_are_told():
    sizes = {"n_train": 300, "n_test": 10}
    found = row_models.experiment(small, sizes, (0, 1), (0, 2), TrainConfig(lr=1e-2, prompts=8), 2)
    runs = found["runs"]
    for figure in ("dials", "noise", "goal"):
        assert [path[0] for path in runs["plain"][figure]] == [path[0] for path in runs["weighted"][figure]]
    assert len(found["weight_on_dials"]) == 2 and found["task"] == sizes
