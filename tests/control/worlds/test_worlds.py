"""Grids, random and drifting MDPs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from toykit.control import Mean, backward_induction, expected_return, policy_iteration, uniform_policy
from toykit.control.worlds import (
    GRID_DESIGNS,
    Drifting,
    GridDesign,
    LinearMDP,
    completion_tree,
    draw,
    garnet,
    grid_world,
    linear_mdp,
    random_dense,
    river_swim,
    stitching_maze,
    swapped_chain,
)
from toykit.control.worlds.grids import cells, distances, neighbours


def test_the_best_path_of_the_maze_is_a_stitch_of_two():
    mdp = stitching_maze(10)
    near = [math.exp(-d) for d in (4, 3, 3, 2, 1, 0)]
    assert mdp.n_states == 6 and mdp.start.argmax() == 1 and not mdp.terminal.any()
    up, right, down, left, stay = range(5)

    def paid(actions):
        state, total = 1, 0.0
        for action in actions:
            total += mdp.R[state, action].item()
            state = int(mdp.P[state, action].argmax())
        return total

    straight = paid([down] + [stay] * 9)
    detour = paid([left, down, right, right, right] + [stay] * 5)
    stitched = paid([down, right, right] + [stay] * 7)
    assert straight == pytest.approx(10 * near[3])
    assert detour == pytest.approx(sum(near[i] for i in (0, 2, 3, 4)) + 6)
    assert stitched == pytest.approx(near[3] + near[4] + 8) == backward_induction(mdp).v[0, 1].item()
    assert mdp.P[1, up].argmax() == 1  # a wall


def test_cells_moves_and_distances_by_hand():
    free = cells(["# #", "   "])
    after = neighbours(free)
    assert free == [(0, 1), (1, 0), (1, 1), (1, 2)]
    assert after.tolist() == [[0, 0, 2, 0, 0], [1, 2, 1, 1, 1], [0, 3, 2, 1, 2], [3, 3, 3, 2, 3]]
    assert distances(after, 3).tolist() == [2, 2, 1, 0]
    assert distances(neighbours(cells([" # "])), 0).tolist() == [0, 2]


def test_there_are_designs_of_all_three_kinds():
    assert len(GRID_DESIGNS) >= 12
    kinds = [(d.progress > 0, d.key is not None, bool(d.decoys)) for d in GRID_DESIGNS.values()]
    assert all(sum(kind[i] for kind in kinds) >= 3 for i in range(3))


@pytest.mark.parametrize("name", GRID_DESIGNS)
def test_without_slip_a_design_pays_what_its_best_path_pays(name):
    design = GRID_DESIGNS[name]
    mdp = grid_world(name, slip=0.0)
    (i, j), steps = design.goal, 0
    if design.key is None:
        steps, tolls = (7 - i) + j, 0.0
    else:
        k, m = design.key
        steps, tolls = (7 - k) + m + abs(i - k) + abs(j - m), design.toll
    worth = 1 - tolls + design.progress * ((7 - i) + j)
    assert steps <= design.horizon
    solution = backward_induction(mdp)
    assert solution.v[0, 7 * 8].item() == pytest.approx(max(worth, *design.decoys.values(), 0), abs=1e-12)


def looks_ahead(mdp, share):
    """The least k for which the greedy policy of the uniform policy's values, after k - 1 sweeps, is near the best."""
    best, k = (mdp.start @ backward_induction(mdp).v[0]).item(), 1
    q = backward_induction(mdp, [Mean(uniform_policy(mdp))] * mdp.horizon).q
    while expected_return(mdp, q.argmax(-1)) < (1 - share) * best:
        v = torch.cat([q.amax(-1)[1:], torch.zeros(1, mdp.n_states, dtype=torch.float64)])
        q, k = mdp.q(v.masked_fill(mdp.terminal, 0.0)), k + 1
    return k


def test_designs_need_looks_ahead_of_many_lengths():
    found = [looks_ahead(grid_world(name), 0.01) for name in GRID_DESIGNS]
    assert found == [1, 1, 1, 10, 1, 4, 5, 7, 9, 1, 3, 4, 6, 14]  # as is said beside each


@pytest.mark.parametrize("name", ["shaped", "key_toll", "decoys"])
def test_slip_takes_a_part_of_it(name):
    mdp = grid_world(name)
    best = backward_induction(mdp).v[0, 56].item()
    assert 0 < best < backward_induction(grid_world(name, slip=0.0)).v[0, 56].item()
    step = mdp.P[56]  # in the corner, up is made with 0.75 + 0.0625
    assert step[0, 48].item() == pytest.approx(0.8125) and step[0, 56].item() == pytest.approx(0.125)


def test_without_its_key_the_goal_is_closed():
    mdp = grid_world(GridDesign(goal=(6, 0), key=(7, 1)), slip=0.0)
    start, goal, key = 56, 48, 57
    assert mdp.P[start, 0].argmax() == start and mdp.R[start, 0] == 0
    assert mdp.P[start, 1].argmax() == 64 + key
    assert mdp.P[64 + start, 0].argmax() == 64 + goal and mdp.R[64 + start, 0] == 1 and mdp.terminal[64 + goal]
    assert backward_induction(mdp).v[0, start] == 1


def test_the_random_mdp_is_the_one_of_the_published_numbers():
    mdp = random_dense(6, 3, 0.3, 0.9, seed=3)
    mdp = mdp.with_(R=mdp.R.round(decimals=2))
    solution = policy_iteration(mdp)
    assert solution.v.mean().item() == pytest.approx(7.6333, abs=5e-5)
    assert solution.policy.argmax(-1).tolist() == [0, 1, 0, 0, 0, 0]


def test_a_linear_mdp_is_linear_and_its_values_too():
    made = linear_mdp(7, 3, 4, 2, seed=1)
    assert made.features.shape == (7, 3, 2)
    torch.testing.assert_close(made.mdp.P, made.features @ made.measures, atol=1e-15, rtol=0)
    assert np.linalg.matrix_rank(made.mdp.P.flatten(0, 1).numpy(), tol=1e-10) == 2
    q = backward_induction(made.mdp).q[1].flatten()
    assert np.linalg.lstsq(made.features.flatten(0, 1).numpy(), q.numpy(), rcond=None)[1].max() < 1e-25


def test_every_mdp_is_linear_in_one_hot_features():
    mdp = garnet(5, 2, 3)
    made = LinearMDP.one_hot(mdp)
    assert made.features.shape == (5, 2, 10)
    assert torch.equal(made.features @ made.measures, mdp.to_dense().P)
    assert torch.equal(made.features @ made.weights, mdp.R)


def test_phases_begin_where_the_changes_say():
    world = swapped_chain(9)
    assert world.changes == (3, 6) and [world.phase(t) for t in range(9)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert world.at(3).P[1].tolist() == [[0.1, 0.2, 0.7], [1, 0, 0]]
    assert torch.equal(world.at(8).P, world.at(0).P)


def test_the_gain_of_the_chain_is_the_printed_one_in_every_phase():
    assert pytest.approx(0.863158, abs=5e-7) == 49.2 / 57
    for t in (0, 2000, 4000):
        mdp = swapped_chain().at(t).with_(discount=0.999999)
        assert (policy_iteration(mdp, tol=1e-7).v * 1e-6).tolist() == pytest.approx([49.2 / 57] * 3, abs=1e-5)
    stationary = torch.tensor([1.0, 7.0, 49.0], dtype=torch.float64) / 57
    torch.testing.assert_close(stationary @ swapped_chain().at(0).P[:, 1], stationary)


def test_draws_follow_the_phase_and_many_go_at_once():
    world = swapped_chain(30)
    cumulative = world.cumulative()
    assert cumulative.shape == (3, 3, 2, 3) and (cumulative[..., -1] == 1).all()
    seeds, states = 20_000, np.zeros(20_000, dtype=np.int64)
    rng, counts = np.random.default_rng(0), np.zeros((2, 3))
    for t in (0, 10):
        after = draw(cumulative[world.phase(t)][states, 1], rng.random(seeds))
        counts[t // 10] = np.bincount(after, minlength=3) / seeds
    assert abs(counts[0] - [0.3, 0.7, 0]).max() < 0.015 and counts[1].tolist() == [1, 0, 0]
    assert draw(np.array([[0.0, 0.5, 1.0]] * 3), np.array([0.0, 0.4999, 0.5])).tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Drifting((river_swim(3), river_swim(4)), [5]), r"phases must have the same states and actions"),
        (lambda: Drifting((), []), r"phases must have the same states and actions, got sizes \[\]"),
        (lambda: Drifting((river_swim(3),) * 3, [5]), "changes must be 2"),
        (lambda: Drifting((river_swim(3),) * 3, [5, 5]), r"changes must be >= 1 and rise, got \[5, 5\]"),
        (lambda: Drifting((river_swim(3),) * 2, [0]), r"changes must be >= 1 and rise, got \[0\]"),
        (lambda: swapped_chain().at(-1), "t must be >= 0, got -1"),
        (lambda: swapped_chain(2), "steps must be >= 3, got 2"),
        (lambda: grid_world("keys"), "design must be one of .*did you mean 'key'"),
        (
            lambda: grid_world(GridDesign(goal=(8, 0))),
            r"design must name cells from \(0, 0\) to \(7, 7\), got \(8, 0\)",
        ),
        (lambda: random_dense(3, 2, 0.0), "concentration must be > 0"),
        (lambda: linear_mdp(3, 2, 2, 0), "n_features must be >= 1, got 0"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_completion_tree_pays_at_its_leaves_what_was_drawn():
    draws = np.random.default_rng(3).random((4, 2))
    mdp = completion_tree(3, graded=True, n_tokens=2, length=2)
    assert (mdp.n_states, mdp.n_actions, mdp.horizon) == (4, 2, 2) and mdp.terminal.tolist() == [False] * 3 + [True]
    assert mdp.start[0] == 1 and mdp.to_dense().P[0].argmax(-1).tolist() == [1, 2]
    leaves = [number if luck < 0.3 else 0.0 for number, luck in draws.tolist()]
    assert mdp.R[:3].tolist() == [[0, 0], leaves[:2], leaves[2:]]
    binary = (np.random.default_rng(3).random(81) < 0.1).astype(float)
    plain, slipping = completion_tree(3), completion_tree(3, slip=0.25)
    assert plain.n_states == 41 and plain.R[13:40].flatten().tolist() == binary.tolist()
    expected = 0.75 * plain.R + 0.25 * plain.R.mean(-1, keepdim=True)
    assert torch.allclose(slipping.R, expected, atol=1e-15)
    for options, message in (({"n_tokens": 0}, "n_tokens must be >= 1"), ({"length": 0}, "length must be >= 1")):
        with pytest.raises(ValueError, match=message):
            completion_tree(**options)
