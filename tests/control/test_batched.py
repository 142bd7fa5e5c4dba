from __future__ import annotations

import pytest
import torch

from toykit.control import evaluate, garnet, policy_values, q_values, sweep, value_iteration
from toykit.control.backups import Mean


def test_a_backup_by_hand_and_a_row_of_zeros_leads_nowhere():
    law = torch.tensor([[[0.5, 0.5], [0.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]], dtype=torch.float64)
    rewards, v = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).double(), torch.tensor([10.0, 20.0]).double()
    assert q_values(law, rewards, 0.5, v).tolist() == [[8.5, 2.0], [13.0, 9.0]]


def test_tables_side_by_side_are_solved_as_each_by_itself():
    many = [garnet(6, 3, 2, seed=seed, discount=0.8).to_dense() for seed in range(4)]
    law, rewards = torch.stack([m.P for m in many]), torch.stack([m.R for m in many])
    q = sweep(law, rewards, 0.8, 200)
    actions = q.argmax(-1)
    values = policy_values(law, rewards, 0.8, actions)
    for i, mdp in enumerate(many):
        assert torch.allclose(q[i], value_iteration(mdp).q, atol=1e-8)
        assert torch.allclose(values[i], evaluate(mdp, actions[i]), atol=1e-10)
    assert torch.allclose(policy_values(law[0], rewards[0], 0.8, actions)[2], evaluate(many[0], actions[2]), atol=1e-10)


def test_sweeps_may_start_anywhere_and_take_another_aggregator():
    mdp = garnet(5, 2, 2, seed=0, discount=0.5).to_dense()
    v = torch.arange(5, dtype=torch.float64)
    assert torch.equal(sweep(mdp.P, mdp.R, 0.5, 1), mdp.R)
    assert torch.allclose(sweep(mdp.P, mdp.R, 0.5, 1, v), mdp.q(v))
    half = torch.full((5, 2), 0.5, dtype=torch.float64)
    q = sweep(mdp.P, mdp.R, 0.5, 100, v, Mean(half))
    assert torch.allclose(q.mean(-1), evaluate(mdp, half), atol=1e-12)


def test_bad_input():
    mdp = garnet(3, 2, 2, seed=0).to_dense()
    with pytest.raises(ValueError, match="sweeps must be >= 1, got 0"):
        sweep(mdp.P, mdp.R, 0.5, 0)
    with pytest.raises(ValueError, match=r"discount must be >= 0 and < 1, got 1"):
        policy_values(mdp.P, mdp.R, 1.0, torch.zeros(3, dtype=torch.int64))
