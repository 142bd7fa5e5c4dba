"""Many copies at once follow the law of gymnasium's own, one by one."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from toykit.control import MDPEnv, TabularMDP, expected_return, from_gymnasium, garnet, river_swim, uniform_policy
from toykit.control.worlds import TableVectorEnv
from toykit.control.worlds.outcomes import Outcomes, alias_table
from toykit.diagnostics import interval


@pytest.mark.parametrize("width", [1, 2, 3, 7, 50])
def test_an_alias_table_holds_the_distribution_to_rounding(width):
    rng = np.random.default_rng(width)
    P = np.concatenate([rng.dirichlet(np.full(width, c), 40) for c in (0.05, 1.0, 50.0)])
    P[0], P[1] = np.eye(width)[width // 2], 1 / width
    own, share, other = alias_table(P)
    assert ((share > 0) & (share <= 1)).all()
    found = np.zeros_like(P)
    rows = np.arange(len(P))[:, None]
    np.add.at(found, (rows, own), share / width)
    np.add.at(found, (rows, other), (1 - share) / width)
    np.testing.assert_allclose(found, P, atol=1e-12)


def test_equal_and_certain_outcomes_need_no_second_draw():
    P = np.array([[1 / 3, 1 / 3, 1 / 3], [2 / 3, 1 / 3, 0], [0, 0, 1.0]])
    own, share, _ = alias_table(P)
    assert (share == 1).all()
    assert [sorted(row) for row in own.tolist()] == [[0, 1, 2], [0, 0, 1], [2, 2, 2]]


def law(env: TableVectorEnv) -> dict[tuple, float]:
    """The exact law of one step, (state, action, next state, reward, end): probability, read from the table."""
    found: dict[tuple, float] = {}
    s, k, a = env._n_states, env._width, env._n_actions
    sure = np.ones(2 * s * k * a) if env._sure else env._share
    for state in range(s):
        for action in range(a):
            for which in range(k):
                place = state * env._stretch + which * a + action
                shares = [(place, sure[place])] + ([] if env._sure else [(place + env._size, 1 - sure[place])])
                for at, share in shares:
                    after, reward, end = (table[at] for table in env._own)
                    if share > 0:
                        key = (state, action, int(after), float(reward), bool(end))
                        found[key] = found.get(key, 0.0) + share / k
    return found


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("FrozenLake-v1", {}),
        ("FrozenLake-v1", {"is_slippery": False}),
        ("FrozenLake-v1", {"success_rate": 0.7}),
        ("CliffWalking-v1", {"is_slippery": True}),
        ("Taxi-v4", {"is_rainy": True}),
    ],
)
def test_the_table_holds_the_law_of_the_environment(name, options):
    world = gymnasium.make(name, **options).unwrapped
    expected: dict[tuple, float] = {}
    for s, actions in world.P.items():
        for a, row in actions.items():
            for p, after, reward, end in row:
                if p > 0:
                    key = (s, int(a), int(after), float(reward), bool(end))
                    expected[key] = expected.get(key, 0.0) + p
    found = law(TableVectorEnv(name, 1, **options))
    assert found.keys() == expected.keys()
    assert max(abs(found[key] - expected[key]) for key in expected) < 1e-12


def test_the_table_of_an_mdp_is_the_mdp():
    mdp = garnet(8, 3, 4).with_(terminal=[2])
    found, P = law(TableVectorEnv(mdp, 1)), mdp.to_dense().P
    for (s, a, after, reward, end), p in found.items():
        assert p == pytest.approx(P[s, a, after].item(), abs=1e-12)
        assert reward == mdp.R[s, a] and end == (after == 2)
    assert sum(found.values()) == pytest.approx(8 * 3)


@pytest.mark.parametrize("options", [{}, {"success_rate": 0.6}])
def test_the_steps_that_are_made_have_the_frequencies_of_the_table(options):
    n, steps = 1000, 60
    env = TableVectorEnv("FrozenLake-v1", n, **options)
    states, _ = env.reset(seed=3)
    exact, rng = law(env), np.random.default_rng(0)
    counts: dict[tuple, int] = {}
    begins = np.zeros(n, dtype=bool)
    for _ in range(steps):
        actions = rng.integers(4, size=n)
        after, rewards, ended, cut, _ = env.step(actions)
        assert (after[begins] == 0).all() and not rewards[begins].any() and not (ended | cut)[begins].any()
        moved = ~begins
        for key in zip(*(x[moved].tolist() for x in (states, actions, after, rewards, ended)), strict=True):
            counts[key] = counts.get(key, 0) + 1
        states, begins = after, ended | cut
    assert counts.keys() <= exact.keys()
    total: dict[tuple, int] = {}
    for key, count in counts.items():
        total[key[:2]] = total.get(key[:2], 0) + count
    for key, p in exact.items():
        tries = total.get(key[:2], 0)
        assert abs(counts.get(key, 0) - tries * p) <= 4.5 * np.sqrt(tries * p * (1 - p)) + 1e-9


def returns(env: gymnasium.vector.VectorEnv, episodes: int) -> np.ndarray:
    """Undiscounted returns of the first episodes of every copy under uniform actions."""
    rng, n = np.random.default_rng(1), env.num_envs
    env.reset(seed=5)
    total, found, begins = np.zeros(n), [[] for _ in range(n)], np.zeros(n, dtype=bool)
    while min(map(len, found)) < episodes:
        _, rewards, ended, cut, _ = env.step(rng.integers(env.single_action_space.n, size=n))
        total = np.where(begins, 0.0, total + rewards)
        begins = ended | cut
        for i in begins.nonzero()[0]:
            found[i].append(total[i])
    return np.array([row[:episodes] for row in found]).ravel()


def test_returns_are_those_of_the_exact_value_and_of_gymnasiums_own_copies():
    mdp = from_gymnasium("CliffWalking-v1", horizon=20)
    exact = expected_return(mdp, uniform_policy(mdp))
    ours = TableVectorEnv("CliffWalking-v1", 500, max_episode_steps=20)
    theirs = gymnasium.make_vec("CliffWalking-v1", 20, "sync", max_episode_steps=20)
    assert not interval(returns(ours, 4), level=0.999).excludes(exact)
    assert not interval(returns(theirs, 10), level=0.999).excludes(exact)


@pytest.mark.parametrize("limit", [1, 4])
def test_ends_cuts_and_beginnings_come_when_gymnasiums_come(limit):
    """With certain transitions both are the same, step by step."""
    options = {"is_slippery": False, "max_episode_steps": limit}
    rng = np.random.default_rng(0)
    theirs = gymnasium.make_vec("FrozenLake-v1", 50, "sync", **options)
    ours = TableVectorEnv("FrozenLake-v1", 50, limit, is_slippery=False)
    assert (ours.reset(seed=0)[0] == theirs.reset(seed=0)[0]).all()
    seen = np.zeros(2, dtype=int)
    for _ in range(60):
        actions = rng.integers(4, size=50)
        one, other = ours.step(actions), theirs.step(actions)
        for a, b in zip(one[:4], other[:4], strict=True):
            assert np.array_equal(a, b) and a.dtype == b.dtype
        seen += one[2].sum(), one[3].sum()
    assert seen[1] > 0 and (limit == 1 or seen[0] > 0)


@pytest.mark.parametrize("limit", [1, 4])
def test_episodes_that_begin_again_at_once_do_so_when_gymnasiums_do(limit):
    mode = gymnasium.vector.AutoresetMode.SAME_STEP
    options = {"is_slippery": False, "max_episode_steps": limit}
    theirs = gymnasium.make_vec("FrozenLake-v1", 50, "sync", vector_kwargs={"autoreset_mode": mode}, **options)
    ours = TableVectorEnv("FrozenLake-v1", 50, limit, autoreset_mode="SameStep", is_slippery=False)
    assert ours.metadata["autoreset_mode"] == mode != TableVectorEnv.metadata["autoreset_mode"]
    rng, seen = np.random.default_rng(0), 0
    assert (ours.reset(seed=0)[0] == theirs.reset(seed=0)[0]).all()
    for _ in range(60):
        actions = rng.integers(4, size=50)
        one, other = ours.step(actions), theirs.step(actions)
        for a, b in zip(one[:4], other[:4], strict=True):
            assert np.array_equal(a, b) and a.dtype == b.dtype
        assert ("final_obs" in one[4]) == ("final_obs" in other[4]) == bool((one[2] | one[3]).any())
        for name in one[4]:
            assert np.array_equal(one[4][name], other[4][name]) and one[4][name].dtype == other[4][name].dtype
            seen += 1
    assert seen > 0


def test_first_states_that_come_at_once_follow_their_law():
    mdp = TabularMDP([[[0, 0, 1.0]]] * 3, [[2.0]] * 3, start=[0.25, 0.75, 0], terminal=[2])
    env = TableVectorEnv(mdp, 20_000, autoreset_mode="SameStep")
    env.reset(seed=1)
    for _ in range(3):  # each step is an episode, and none is lost on beginning
        states, rewards, ended, _, info = env.step(np.zeros(20_000, dtype=int))
        assert ended.all() and (rewards == 2).all() and (info["final_obs"] == 2).all()
        assert abs((states == 0).mean() - 0.25) < 0.015 and (states < 2).all()


def test_a_horizon_terminates_as_in_the_environment_of_an_mdp():
    mdp = river_swim(horizon=3)
    env = TableVectorEnv(mdp, 2)
    env.reset(seed=0)
    ends = [env.step(np.zeros(2, dtype=int))[2:4] for _ in range(8)]
    assert [end.tolist() for end, _ in ends] == [[i % 4 == 2] * 2 for i in range(8)]
    assert not any(cut.any() for _, cut in ends)
    assert MDPEnv(mdp).metadata  # the single environment of the same MDP


def test_a_forbidden_action_ends_the_episode_where_it_is():
    allowed = torch.tensor([[True, False], [True, True]])
    mdp = TabularMDP([[[0.5, 0.5]] * 2, [[0.5, 0.5]] * 2], [[2.0, 9.0], [3, 4]], start=0, allowed=allowed)
    env = TableVectorEnv(mdp, 3)
    env.reset(seed=0)
    states, rewards, ended, cut, _ = env.step(np.array([1, 1, 1]))
    assert states.tolist() == [0, 0, 0] and not rewards.any() and ended.all() and not cut.any()
    assert not env.step(np.array([1, 1, 1]))[2].any()


def test_the_first_states_follow_their_law_at_the_reset_and_later():
    mdp = TabularMDP([[[0, 0, 1.0]]] * 3, [[0.0]] * 3, start=[0.25, 0.75, 0], terminal=[2])
    env = TableVectorEnv(mdp, 20_000)
    first, _ = env.reset(seed=1)
    env.step(np.zeros(20_000, dtype=int))
    second = env.step(np.zeros(20_000, dtype=int))[0]
    for states in (first, second):
        assert abs((states == 0).mean() - 0.25) < 0.015 and (states < 2).all()
    assert not np.array_equal(first, second)


def test_the_seed_fixes_everything_and_results_are_not_written_over():
    env = TableVectorEnv(garnet(10, 3, 4), 5, max_episode_steps=7)

    def walk(seed):
        kept = [env.reset(seed=seed)[0]]
        kept += [env.step(np.full(5, i % 3))[0] for i in range(40)]
        return np.array(kept)

    one = walk(3)
    assert np.array_equal(one, walk(3)) and not np.array_equal(one, walk(4))


def test_it_is_a_vector_environment():
    env = TableVectorEnv("Taxi-v4", 3)
    assert isinstance(env, gymnasium.vector.VectorEnv) and env.num_envs == 3
    assert env.metadata["autoreset_mode"] == gymnasium.vector.AutoresetMode.NEXT_STEP
    assert env.observation_space == gymnasium.spaces.MultiDiscrete([500] * 3)
    assert env.action_space == gymnasium.spaces.MultiDiscrete([6] * 3)
    states, info = env.reset(seed=0)
    assert env.observation_space.contains(states) and info == {}
    wrapped = gymnasium.wrappers.vector.RecordEpisodeStatistics(env)
    wrapped.reset(seed=0)
    for _ in range(201):
        info = wrapped.step(np.full(3, 5))[4]
        if info:
            break
    assert info["episode"]["l"].tolist() == [200] * 3  # Taxi's own limit
    env.close()


def test_bad_arguments_are_refused():
    env = TableVectorEnv(river_swim(), 2)
    for call, message in (
        (lambda: TableVectorEnv(river_swim(), 0), "n must be >= 1, got 0"),
        (lambda: TableVectorEnv(river_swim(), 2, 0), "max_episode_steps must be >= 1, got 0"),
        (lambda: TableVectorEnv(river_swim(), 2, desc=None), r"options must go with an id, got \['desc'\]"),
        (lambda: TableVectorEnv(river_swim(), 2, autoreset_mode="SamStep"), "autoreset_mode must be one of NextStep"),
        (lambda: TableVectorEnv("CartPole-v1", 2), "env must have a transition table P"),
        (lambda: env.step(np.zeros(2, dtype=int)), "env must be reset before the first step"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    env.reset(seed=0)
    for actions, message in (
        ([0, 2], r"actions must be from 0 to 1, got \[0, 2\]"),
        ([0, -1], r"actions must be from 0 to 1, got \[0, -1\]"),
        ([0], r"actions must have shape \[2\], got \[1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(np.array(actions))


def test_outcomes_of_probability_0_do_not_end():
    found = Outcomes.of_mdp(TabularMDP([[[0.0, 1.0, 0.0]], [[0, 1, 0]], [[0, 0, 1]]], [[1.0], [1.0], [0.0]]))
    assert found.ends[0].tolist() == [[False]] and found.ends[2].tolist() == [[True]]
