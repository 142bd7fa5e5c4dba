"""Lesson 06: models in roles, the maze of its gpt rung, and the chains of its llm rung."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from toykit.control import expected_return, occupancy
from toykit.lessons.l06_mbrcsl import chains, maze, sampled
from toykit.lessons.l06_mbrcsl.roles import Plan, fit, law, written
from toykit.policies import GPT, GPTConfig


def tokens(*rows):
    return torch.tensor(rows)


def test_rows_of_one_step_and_of_whole_episodes():
    cells, moves = tokens([10, 11], [12, 13]), tokens([20, 21], [22, 23])
    assert written(5, (cells, moves)).tolist() == [[5, 10, 20], [5, 11, 21], [5, 12, 22], [5, 13, 23]]
    assert written(5, (cells, moves), whole=True).tolist() == [[5, 10, 20, 11, 21], [5, 12, 22, 13, 23]]


def small(vocab=8, seed=0):
    return GPT(GPTConfig(vocab, context=16, width=16, hidden=32), seed)


def test_a_model_learns_the_shares_of_the_places_that_are_learned():
    """After 1 comes 2 in three rows of four and 3 in one; what comes first is not learned."""
    rows = tokens([0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 3], [0, 4, 5])
    model = fit(small(), rows, (False, True), Plan(200, lr=1e-2))
    assert law(model, tokens([0, 1]), slice(2, 4))[0].tolist() == pytest.approx([0.75, 0.25], abs=0.02)
    assert law(model, tokens([0, 4], [0, 1], [0, 4]), slice(0, 8)).argmax(-1).tolist() == [5, 2, 5]
    assert all(not p.requires_grad for p in model.parameters())
    batches = fit(small(), rows, (False, True), Plan(300, lr=1e-2, batch=2), seed=1)
    assert law(batches, tokens([0, 1]), slice(2, 4))[0, 0].item() == pytest.approx(0.75, abs=0.15)


def test_equal_rows_are_one_row_with_a_weight():
    rows = tokens([0, 1, 2], [0, 1, 3])
    once, twice = (fit(small(), each, (False, True), Plan(5)) for each in (rows, rows.repeat(3, 1)))
    for a, b in zip(once.parameters(), twice.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


class Silent(nn.Module):
    """A model whose logits are NaN."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, ids):
        made = torch.full((*ids.shape, 8), torch.nan) * self.weight
        return type("Output", (), {"logits": made})


def test_bad_rows_and_plans_are_refused():
    rows = tokens([0, 1, 2], [0, 1, 3])
    for call, message in (
        (lambda: fit(small(), rows, (False, True, True), Plan(1)), r"rows must be \[N, 1 \+ a multiple of 3\]"),
        (lambda: fit(small(), rows[:0], (False, True), Plan(1)), "with N >= 1, got"),
        (lambda: fit(small(), rows, (False, False), Plan(1)), "learn must have a True"),
        (lambda: fit(Silent(), rows, (False, True), Plan(1)), "loss must be finite, got nan in step 1"),
        (lambda: Plan(0), "steps must be >= 1, got 0"),
        (lambda: Plan(1, batch=0), "batch must be >= 1, got 0"),
        (lambda: Plan(1, lr=0.0), "lr must be > 0 and finite, got 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_the_data_hold_both_kinds_and_never_the_direct_path():
    one, other = maze.data(0), maze.data(1)
    assert one.cells.shape == (1000, 10) and not torch.equal(one.moves, other.moves)
    there = one.after == maze.GOAL
    assert not there[:500].any() and bool(there[500:, -1].double().mean() > 0.95)
    assert not there[:, :4].any()  # the detour takes five steps
    short = set(map(tuple, one.cells[:500].unique_consecutive(dim=1).tolist()))
    assert all(set(path) == {1, 3} for path in short)
    least, most = one.returns.min().item(), one.returns.max().item()
    assert most == pytest.approx(np.exp([-4, -3, -2, -1]).sum() + 6) and least > 0
    assert sampled.best() == pytest.approx(np.exp(-2) + np.exp(-1) + 8)


def test_tokens_of_rewards_and_returns():
    world = maze.true_world()
    levels = maze.reward_token(world.rewards[[5, 4, 3, 1]].amax(1)) - maze.REWARD
    assert levels.tolist() == [0, 0, 1, 2]
    asked = maze.return_token(torch.tensor([0.0, 0.1, 0.13, 8.503, -1.0, 99.0])) - maze.RETURN
    assert asked.tolist() == [0, 0, 1, 34, 0, 39]


def test_rollouts_of_a_table_have_its_exact_law():
    policy = torch.rand(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    policy = policy / policy.sum(-1, keepdim=True)
    made = maze.roll(maze.markov(policy), maze.true_world(), 20_000, torch.Generator().manual_seed(1))
    exact = expected_return(maze.maze(), policy)
    assert made.returns.mean().item() == pytest.approx(exact, abs=4 * made.returns.std().item() / 20_000**0.5)
    last = occupancy(maze.maze(), policy)[-1]
    shares = torch.bincount(made.cells[:, -1] * 5 + made.moves[:, -1], minlength=30).view(6, 5) / 20_000
    assert (shares - last).abs().max() < 0.02
    assert torch.allclose(made.to_go[:, 0], made.returns) and torch.equal(made.after[:, :-1], made.cells[:, 1:])


def test_planning_in_the_true_world_is_best():
    made = maze.roll(maze.planned(maze.true_world()), maze.true_world(), 50, torch.Generator().manual_seed(0))
    logged = torch.zeros(6, 5, dtype=torch.bool)
    logged[3] = logged[4] = logged[5] = True  # all moves but that from the start
    found = sampled.measured(made, logged)
    assert found == {"return": pytest.approx(1.0), "quick": 1.0, "goal": 1.0, "strays": pytest.approx(0.1)}


class Recorder(nn.Module):
    """Keeps the rows that it reads; every next token is as likely."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.rows = []

    def forward(self, ids):
        self.rows.append(ids)
        return type("Output", (), {"logits": torch.zeros(*ids.shape, maze.RETURN + maze.RETURNS)})


@pytest.mark.parametrize("whole", [False, True])
def test_what_is_asked_for_falls_by_the_true_rewards(whole):
    """Cells 1, 3, 4 and moves 2, 1: rewards 1.5 and 3 leave 8.5, 7 and 4 to ask for."""
    cells, moves = tokens([1, 3, 4]), tokens([2, 1])
    model = Recorder()
    chances = maze.asked_for(model, 8.5, whole)(cells, moves, torch.tensor([[1.5, 3.0]], dtype=torch.float64))
    assert chances.tolist() == [[0.2] * 5]
    g, s, a = maze.RETURN, maze.CELL, maze.MOVE
    last = [g + 16, s + 4]
    expected = [maze.POLICY, g + 34, s + 1, a + 2, g + 28, s + 3, a + 1, *last] if whole else [maze.POLICY, *last]
    assert model.rows[0].tolist() == [expected]


def test_a_behaviour_of_histories_reads_all_cells_and_moves():
    model = Recorder()
    maze.by_history(model)(tokens([1, 3]), tokens([2]), torch.zeros(1, 1).double())
    s, a = maze.CELL, maze.MOVE
    assert model.rows[0].tolist() == [[maze.BEHAVIOUR, s + 1, a + 2, s + 3]]


def test_only_rollouts_that_beat_the_data_are_kept_and_the_data_where_none_does():
    study = sampled.Study(0, Plan(1), Plan(1))
    good, tie = study.logged, copy.copy(study.logged)
    better = maze.Episodes(good.cells, good.moves, good.after, good.rewards + 0.01)
    assert not study.better(tie).any()
    assert int(study.better(better).sum()) == int((good.returns > study.threshold - 0.1 + 1e-9).sum())
    study.__dict__["imagined"] = tie
    assert study.kept is study.logged
    other = sampled.Study(0, Plan(1), Plan(1))
    other.__dict__["imagined"] = better
    assert bool((other.kept.returns > study.threshold).all())


def test_solutions_are_half_right_and_complement_each_other():
    digits = torch.randint(10, (50, 6), generator=torch.Generator().manual_seed(0))
    twice, sums = chains.half_right(digits, torch.Generator().manual_seed(1))
    earned = chains.rewards(twice, sums)
    assert torch.equal(twice, digits.repeat(2, 1)) and earned.sum(1).tolist() == [3.0] * 100
    assert bool((earned[:50] + earned[50:] == 1).all())
    assert chains.rewards(digits, digits.cumsum(1) % 10).sum(1).tolist() == [6.0] * 50
    assert chains.steps(tokens([3, 9]), tokens([3, 2])).tolist() == [
        [chains.BEHAVIOUR, 0, 3, 3],
        [chains.BEHAVIOUR, 3, 9, 2],
    ]
    row = chains.chains(torch.tensor([2.0]), tokens([3, 9]), tokens([3, 2]))
    assert row.tolist() == [[chains.POLICY, chains.RETURN + 2, 3, 9, 3, 2]]


def test_pass_at_1_is_the_probability_of_the_right_chain():
    """A model for which every token is as likely writes a right chain of two with probability 1 / V^2."""

    class Even(Recorder):
        def forward(self, ids):
            self.rows.append(ids)
            return type("Output", (), {"logits": torch.zeros(*ids.shape, chains.VOCAB.size)})

    model = Even()
    assert chains.all_right(model, tokens([3, 9], [0, 1]), 2) == pytest.approx(chains.VOCAB.size**-2)
    assert model.rows[0][:, -1].tolist() == [3, 0]  # the right sums, of which the last is only asked for
