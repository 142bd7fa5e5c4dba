from __future__ import annotations

import pytest
import torch

from toykit.control import TabularMDP, as_policy, garnet, river_swim, uniform_policy
from toykit.control.policies import under
from toykit.tasks import tricks_tree


def random_policy(mdp, seed=0):
    p = torch.rand(mdp.n_states, mdp.n_actions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return p / p.sum(-1, keepdim=True)


def test_the_uniform_policy_is_uniform_over_what_is_allowed():
    mdp = TabularMDP.of_tree(tricks_tree()[0].as_mdp())
    third, half = [1 / 3] * 3, [0.5, 0.5, 0.0]
    assert torch.allclose(uniform_policy(mdp), torch.tensor([third, half, half, third], dtype=torch.float64))


def test_actions_become_probabilities():
    mdp = river_swim(3)
    assert as_policy(mdp, torch.tensor([0, 1, 1])).tolist() == [[1, 0], [0, 1], [0, 1]]
    assert as_policy(mdp, [0, 1, 1]).dtype == torch.float64
    steps = mdp.with_(horizon=2)
    assert as_policy(steps, [[0, 1, 1], [0, 0, 0]])[1].tolist() == [[1, 0]] * 3


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sparse", [False, True])
def test_the_chain_of_a_policy_mixes_rows(seed, sparse):
    mdp = garnet(6, 3, 2, seed=seed)
    dense = mdp.to_dense()
    actions = as_policy(mdp, [2, 0, 1, 1, 0, 2])
    some = torch.where(torch.arange(6)[:, None] < 2, actions, random_policy(mdp, seed))
    for policy in (random_policy(mdp, seed), actions, some):
        chain = under(mdp if sparse else dense, policy)
        assert torch.allclose(chain.matrix(), torch.einsum("sa,sat->st", policy, dense.P), atol=1e-15)
        assert torch.allclose(chain.R, (policy * mdp.R).sum(-1), atol=1e-15)
    assert under(mdp, as_policy(mdp, [0] * 6)).P.shape == (6, 2)


BAD = {
    "policy must have shape [4], got [3]": [0, 0, 0],
    "policy must have shape [4, 3], got [4, 2]": torch.full((4, 2), 0.5),
    "policy must hold actions from 0 to 2 or probabilities, got [0, 0, 0, 3]": [0, 0, 0, 3],
    "policy must hold actions from 0 to 2 or probabilities, got [True": [True] * 4,
    "policy must be a distribution over actions, got [0.5, 0.5, 0.5] in state 0": torch.full((4, 3), 0.5),
    "policy must be a distribution over actions, got [1.5, -0.5, 0.0] in state 0": torch.tensor([[1.5, -0.5, 0.0]] * 4),
    "policy must take allowed actions only, takes 2 in state 1": [2, 2, 0, 0],
}


@pytest.mark.parametrize(("message", "policy"), BAD.items(), ids=list(BAD))
def test_bad_policies_are_refused_with_the_state(message, policy):
    mdp = TabularMDP.of_tree(tricks_tree()[0].as_mdp())
    with pytest.raises(ValueError) as error:
        as_policy(mdp, policy)
    assert message in str(error.value)


def test_a_step_axis_needs_a_horizon_and_names_the_step():
    mdp = river_swim(3)
    steps = torch.full((2, 3, 2), 0.5)
    with pytest.raises(ValueError, match=r"policy must have shape \[3, 2\], got \[2, 3, 2\]"):
        as_policy(mdp, steps)
    with pytest.raises(ValueError, match=r"policy must have shape \[3, 2\] or \[4, 3, 2\], got \[2, 3, 2\]"):
        as_policy(mdp.with_(horizon=4), steps)
    steps[1, 2] = 0.1
    with pytest.raises(ValueError, match="in state 2 at step 1"):
        as_policy(mdp.with_(horizon=2), steps)
