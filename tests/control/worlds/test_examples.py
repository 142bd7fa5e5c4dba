from __future__ import annotations

import pytest
import torch

from toykit.control import garnet, river_swim


def test_the_river_has_the_published_numbers():
    mdp = river_swim()
    assert mdp.P[0].tolist() == [[1, 0, 0, 0, 0, 0], [0.4, 0.6, 0, 0, 0, 0]]
    assert mdp.P[3].tolist() == [[0, 0, 1, 0, 0, 0], [0, 0, 0.05, 0.6, 0.35, 0]]
    assert mdp.P[5].tolist() == [[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0.4, 0.6]]
    assert mdp.R.nonzero().tolist() == [[0, 0], [5, 1]]
    assert mdp.start.tolist() == [1, 0, 0, 0, 0, 0]


def test_a_garnet_has_as_many_distinct_successors_as_asked_for_and_its_seed_fixes_it():
    mdp = garnet(20, 3, 5, seed=2)
    assert mdp.P.shape == (20, 3, 5) and mdp.sparse
    assert all(len(set(row.tolist())) == 5 for row in mdp.successors.flatten(0, 1))
    again = garnet(20, 3, 5, seed=2)
    assert torch.equal(again.P, mdp.P) and torch.equal(again.R, mdp.R)
    assert not torch.equal(garnet(20, 3, 5, seed=3).P, mdp.P)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="n_states must be >= 2, got 1"):
        river_swim(1)
    with pytest.raises(ValueError, match="branching must be from 1 to 4, got 5"):
        garnet(4, 2, 5)
