from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from toykit.control import (
    MDPEnv,
    TabularMDP,
    backward_induction,
    evaluate,
    expected_return,
    from_gymnasium,
    garnet,
    policy_iteration,
    river_swim,
    to_gymnasium,
    uniform_policy,
    value_iteration,
)
from toykit.diagnostics import Interval, interval
from toykit.tasks import kl_bayes_tree, tricks_tree


def simulated(env: gymnasium.Env, policy: torch.Tensor, episodes: int, discount: float = 1.0) -> Interval:
    """The 99.9% interval of the return of `policy` [S, A] or [H, S, A], episodes ending as the environment says."""
    draws, found = np.random.default_rng(0), np.zeros(episodes)
    cumulative = policy.cumsum(-1).numpy()
    for episode in range(episodes):
        state, _ = env.reset(seed=1 if episode == 0 else None)
        done, step = False, 0
        while not done:
            table = cumulative if cumulative.ndim == 2 else cumulative[step]
            action = int(np.searchsorted(table[state], draws.random() * table[state, -1], side="right"))
            state, reward, terminated, truncated, _ = env.step(action)
            found[episode] += discount**step * float(reward)
            done, step = terminated or truncated, step + 1
    return interval(found, level=0.999)


def mostly(best: torch.Tensor, share: float) -> torch.Tensor:
    """A policy that takes the best action with probability `share` and any with the rest."""
    return share * best + (1 - share) / best.shape[-1]


ENVIRONMENTS = [
    ("FrozenLake-v1", {}, 0.0),
    ("FrozenLake-v1", {}, 0.9),
    ("FrozenLake-v1", {"is_slippery": False}, 0.3),
    ("FrozenLake-v1", {"map_name": "8x8", "success_rate": 0.8}, 0.8),
    ("CliffWalking-v1", {}, 0.7),
    ("CliffWalking-v1", {"is_slippery": True}, 1.0),
    ("Taxi-v4", {}, 0.8),
    ("Taxi-v4", {"is_rainy": True}, 0.9),
]


@pytest.mark.parametrize(("name", "options", "share"), ENVIRONMENTS)
@pytest.mark.parametrize("sparse", [False, True])
def test_the_exact_value_of_a_policy_is_its_simulated_return(name, options, share, sparse):
    env = gymnasium.make(name, **options)
    limit = env.spec.max_episode_steps
    mdp = from_gymnasium(env, horizon=limit, sparse=sparse)
    n_states = env.observation_space.n
    policy = mostly(policy_iteration(from_gymnasium(env, discount=0.99)).policy, share)
    exact = expected_return(mdp, policy)
    assert not simulated(env, policy[:n_states], 600).excludes(exact)


def test_the_discounted_value_without_a_time_limit_is_the_simulated_one_too():
    env = gymnasium.make("FrozenLake-v1").unwrapped
    mdp = from_gymnasium(env, discount=0.95)
    policy = mostly(policy_iteration(mdp).policy, 0.8)
    assert not simulated(env, policy, 1500, discount=0.95).excludes(expected_return(mdp, policy))


def test_a_policy_of_the_step_is_simulated_as_well():
    env = gymnasium.make("FrozenLake-v1", max_episode_steps=20)
    mdp = from_gymnasium(env, horizon=20)
    solution = backward_induction(mdp)
    assert not simulated(env, solution.policy, 1500).excludes((mdp.start @ solution.v[0]).item())


@pytest.mark.parametrize(
    ("name", "options", "best"),
    [
        ("FrozenLake-v1", {}, 14 / 17),
        ("FrozenLake-v1", {"is_slippery": False}, 1.0),
        ("CliffWalking-v1", {}, -13.0),
        ("Taxi-v4", {}, 7.93),
    ],
)
def test_known_optimal_returns_without_discount(name, options, best):
    mdp = from_gymnasium(name, **options)
    assert (mdp.start @ policy_iteration(mdp).v).item() == pytest.approx(best, abs=1e-9)


def test_states_keep_their_indices_and_ends_become_terminal():
    lake = from_gymnasium("FrozenLake-v1")
    assert (lake.n_states, lake.n_actions, lake.P.shape[2]) == (16, 4, 16)
    assert lake.terminal.nonzero()[:, 0].tolist() == [5, 7, 11, 12, 15]
    assert from_gymnasium("FrozenLake-v1", sparse=True).P.shape == (16, 4, 3)
    cliff = from_gymnasium("CliffWalking-v1")
    assert cliff.terminal.nonzero()[:, 0].tolist() == [47]  # its table would lead out again
    assert cliff.P[36, 1, 36] == 1.0 and cliff.R[36, 1] == -100.0
    taxi = from_gymnasium("Taxi-v4", sparse=True)
    assert taxi.n_states == 501 and taxi.terminal.nonzero()[:, 0].tolist() == [500]
    assert float(taxi.start[:500].sum()) == pytest.approx(1.0) and int((taxi.start > 0).sum()) == 300


def test_taxi_ends_with_the_passengers_arrival_and_not_with_the_state_after_it():
    env = gymnasium.make("Taxi-v4").unwrapped
    mdp = from_gymnasium(env)
    arrivals = [(s, a) for s in env.P for a in env.P[s] if env.P[s][a][0][3]]
    assert all(mdp.P[s, a, 500] == 1.0 and mdp.R[s, a] == 20.0 for s, a in arrivals)
    assert {env.P[s][a][0][1] for s, a in arrivals} == {0, 85, 410, 475}
    assert mdp.P[0, 0, 100] == 1.0 and mdp.R[0, 0] == -1.0


def test_environments_without_a_table_that_they_follow_are_refused():
    with pytest.raises(ValueError, match="env must have a transition table P and initial_state_distrib"):
        from_gymnasium("CartPole-v1")
    with pytest.raises(ValueError, match="a Taxi with fickle_passenger=True does not"):
        from_gymnasium("Taxi-v4", fickle_passenger=True)


MDPS = {
    "garnet": garnet(10, 3, 4).with_(terminal=[0]),
    "dense": garnet(10, 3, 4).to_dense(),
    "one step": river_swim(horizon=1),
    "tree": TabularMDP.of_tree(kl_bayes_tree()[0].as_mdp()),
    "forbidden": TabularMDP.of_tree(tricks_tree()[0].as_mdp()),
    "lake": from_gymnasium("FrozenLake-v1"),
}


@pytest.mark.parametrize("name", MDPS)
def test_an_mdp_is_an_environment_that_passes_the_checker_without_warnings(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make("toykit/TabularMDP-v0", mdp=MDPS[name]).unwrapped)


@pytest.mark.parametrize("name", MDPS)
@pytest.mark.parametrize("sparse", [False, True])
def test_there_and_back_again(name, sparse):
    mdp = MDPS[name]
    back = from_gymnasium(to_gymnasium(mdp), mdp.discount, mdp.horizon, sparse=sparse)
    assert torch.allclose(back.to_dense().P[back.allowed], mdp.to_dense().P[mdp.allowed], atol=1e-15)
    assert torch.allclose(back.R, mdp.R, atol=1e-15)
    for field in ("start", "terminal", "allowed"):
        assert torch.equal(getattr(back, field), getattr(mdp, field)), field


@pytest.mark.parametrize("name", ["garnet", "tree", "forbidden", "lake", "one step"])
def test_the_environment_of_an_mdp_pays_its_value(name):
    mdp = MDPS[name].with_(discount=1.0)
    mdp = mdp if bool(mdp.terminal.any()) else mdp.with_(horizon=20)
    policy = uniform_policy(mdp)
    assert not simulated(MDPEnv(mdp), policy, 1500).excludes(expected_return(mdp.to_dense(), policy))


def test_a_horizon_ends_the_episode():
    env = to_gymnasium(river_swim(horizon=3))
    assert env.reset(seed=0) == (0, {"action_mask": pytest.approx(np.ones(2)), "step": 0, "invalid": False})
    ends = [env.step(0)[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (True, False)]


def test_an_action_that_is_not_allowed_ends_the_episode_without_reward():
    env = MDPEnv(MDPS["forbidden"])
    _, info = env.reset(options={"state": 1})
    assert info["action_mask"].tolist() == [1, 1, 0]
    state, reward, terminated, truncated, info = env.step(2)
    assert (state, reward, terminated, truncated, info["invalid"]) == (1, 0.0, True, False, True)


def test_the_seed_fixes_everything():
    env = MDPEnv(garnet(10, 3, 4))

    def walk(seed):
        states = [env.reset(seed=seed)[0]]
        return states + [env.step(i % 3)[0] for i in range(50)]

    assert walk(3) == walk(3) != walk(4)


def test_registered_environments_take_their_options():
    env = gymnasium.make("toykit/RiverSwim-v0", n_states=4, horizon=7, render_mode="ansi").unwrapped
    assert (env.mdp.n_states, env.mdp.horizon) == (4, 7)
    env.reset(seed=0)
    env.step(0)
    assert env.render() == "state 0, step 1"
    assert MDPEnv(river_swim()).render() is None


def test_values_are_the_same_after_the_round_trip():
    mdp = garnet(10, 3, 4)
    back = from_gymnasium(to_gymnasium(mdp), discount=0.95)
    assert torch.allclose(value_iteration(back).v, value_iteration(mdp).v, atol=1e-8)
    assert torch.allclose(evaluate(back, uniform_policy(back)), evaluate(mdp, uniform_policy(mdp)), atol=1e-8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda env: MDPEnv(env.mdp, render_mode="human"), "render_mode must be None or 'ansi', got 'human'"),
        (lambda env: env.step(0), "env must be reset before the first step"),
        (lambda env: env.step(2), "action must be from 0 to 1, got 2"),
        (lambda env: env.reset(options={"state": 6}), "state must be from 0 to 5, got 6"),
        (lambda env: gymnasium.make("toykit/RiverSwim-v0", horizon=0), "horizon must be >= 1, got 0"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(MDPEnv(river_swim()))
