from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from toykit.control import TreeEnv, register
from toykit.control.registration import IDS
from toykit.tasks import Bandit, Letters, Tree, TreeTask, kl_bayes_tree, tricks_tree


def returns(env: gymnasium.Env, episodes: int, seed: int) -> np.ndarray:
    """Returns of a policy that is uniform over the allowed tokens."""
    env.action_space.seed(seed)
    found = np.zeros(episodes)
    for episode in range(episodes):
        _, info = env.reset(seed=seed if episode == 0 else None)
        done = False
        while not done:
            _, reward, done, truncated, info = env.step(env.action_space.sample(info["action_mask"]))
            assert not truncated
            found[episode] += reward
    return found


def expected_return(task: TreeTask) -> float:
    tree = task.tree
    p = (1 / (tree.child >= -1).sum(1)[tree.nodes].double()).masked_fill(~tree.mask, 1.0).prod(1)
    return float((task.rewards * p).sum(1).mean())


@pytest.mark.parametrize("name", sorted(IDS))
@pytest.mark.parametrize("render_mode", [None, "ansi"])
def test_registered_environments_pass_the_checker_without_warnings(name: str, render_mode: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(name, render_mode=render_mode).unwrapped)


@pytest.mark.parametrize("task", [tricks_tree()[0], TreeTask(Tree(3, 3, stop=(0,)), np.ones((2, 15)))], ids=repr)
def test_trees_with_forbidden_and_stop_tokens_pass_the_checker(task: TreeTask) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make("toykit/Tree-v0", task=task).unwrapped)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("toykit/Bandit-v0", {"n_prompts": 3, "seed": 1}),
        ("toykit/FeatureBandit-v0", {"n_prompts": 5}),
        ("toykit/Tree-v0", {}),
        ("toykit/Tree-v0", {"task": tricks_tree()[0]}),
    ],
)
def test_the_mean_return_of_a_random_policy_is_the_enumerated_one(name: str, options) -> None:
    env = gymnasium.make(name, **options)
    found = returns(env, episodes=3000, seed=0)
    standard_error = found.std(ddof=1) / len(found) ** 0.5
    assert found.mean() == pytest.approx(expected_return(env.unwrapped.task), abs=4 * standard_error)


def test_an_episode_walks_the_tree_and_is_paid_at_the_end() -> None:
    env = TreeEnv(kl_bayes_tree()[0], render_mode="ansi")
    assert env.observation_space.n == 21 and env.action_space.n == 4
    assert env.reset(seed=0)[0] == 0
    assert env.step(2)[:3] == (3, 0.0, False)
    assert env.step(1)[:3] == (5 + 4 * 2 + 1, 0.0, False)
    state, reward, terminated, truncated, info = env.step(3)
    assert reward == float(env.task.rewards[0, 16 * 2 + 4 * 1 + 3])
    assert (state, terminated, truncated, info["invalid"]) == (14, True, False, False)
    assert env.render() == "x0 2 1 3"


def test_a_forbidden_token_ends_the_episode_without_reward() -> None:
    env = TreeEnv(TreeTask.of({(0,): 5.0, (1, 0): 6.0, (1, 2): 7.0}))
    env.reset()
    state, reward, terminated, _, info = env.step(2)
    assert (state, reward, terminated, info["invalid"]) == (0, 0.0, True, True)
    _, info = env.reset()
    assert info["action_mask"].tolist() == [1, 1, 0]
    assert info["action_mask"].dtype == np.int8
    assert env.step(1)[4]["action_mask"].tolist() == [1, 0, 1]
    assert env.render() is None


def test_options_choose_the_prompt_and_the_seed_draws_it() -> None:
    env = TreeEnv(Bandit(np.eye(4)))
    assert [env.reset(options={"prompt": i})[0] for i in range(4)] == [0, 1, 2, 3]
    assert env.step(3)[1] == 1.0
    drawn = [env.reset(seed=3)[0]] + [env.reset()[0] for _ in range(200)]
    assert drawn == [env.reset(seed=3)[0]] + [env.reset()[0] for _ in range(200)]
    assert set(drawn) == {0, 1, 2, 3}


def test_environments_run_in_a_vector() -> None:
    envs = gymnasium.make_vec("toykit/Tree-v0", num_envs=3)
    states, info = envs.reset(seed=0)
    assert states.tolist() == [0, 0, 0]
    assert info["action_mask"].shape == (3, 4)
    states, rewards, *_ = envs.step(np.array([0, 1, 2]))
    assert states.tolist() == [1, 2, 3] and rewards.tolist() == [0.0, 0.0, 0.0]
    envs.close()


def test_an_id_with_its_module_needs_no_import() -> None:
    assert isinstance(gymnasium.make("toykit.control:toykit/Tree-v0").unwrapped, TreeEnv)


def test_registering_again_changes_nothing() -> None:
    before = dict(gymnasium.registry)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register()
    assert dict(gymnasium.registry) == before


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TreeEnv(Letters()), "give 11019960576 completions, the limit is 20000000"),
        (lambda: TreeEnv(Bandit([1.0]), render_mode="human"), "render_mode must be None or 'ansi', got 'human'"),
        (lambda: TreeEnv(Bandit([1.0])).step(1), "action must be from 0 to 0, got 1"),
        (lambda: TreeEnv(Bandit([1.0])).reset(options={"prompt": 1}), "prompt must be from 0 to 0, got 1"),
        (lambda: gymnasium.make("toykit/Bandit-v0", arms=3), "option of task bandit must be one of"),
    ],
)
def test_bad_arguments_are_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
