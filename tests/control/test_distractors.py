from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from toykit.control import Distractors


def walk(env, seed, steps=50):
    observations = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        observations.append(env.step(np.zeros(1, dtype=np.float32))[0])
    return np.array(observations)


def test_the_environment_is_as_it_was_but_for_more_dimensions():
    plain, env = gymnasium.make("Pendulum-v1"), Distractors(gymnasium.make("Pendulum-v1"), 4)
    assert env.observation_space.shape == (7,)
    assert env.observation_space.low.tolist()[:3] == plain.observation_space.low.tolist()
    plain.reset(seed=5)
    observation, _ = env.reset(seed=5)
    for _ in range(30):
        action = np.array([1.0], dtype=np.float32)
        base, with_more = plain.step(action), env.step(action)
        assert np.array_equal(base[0], with_more[0][:3])
        assert base[1] == with_more[1] and base[2:4] == with_more[2:4]
        assert with_more[0] in env.observation_space
    assert observation.dtype == np.float32


@pytest.mark.parametrize("n", [1, 2, 8])
def test_distractors_neither_grow_nor_fade_and_follow_their_matrix(n):
    env = Distractors(gymnasium.make("Pendulum-v1"), n, std=3.0, seed=2)
    assert np.allclose(env.matrix @ env.matrix.T, np.eye(n), atol=1e-14)
    z = walk(env, seed=0, steps=150)[:, 3:]
    assert np.allclose(np.linalg.norm(z, axis=1), np.linalg.norm(z[0]), rtol=1e-5)
    assert np.allclose(z[1:], z[:-1] @ env.matrix.T, atol=1e-4)


@pytest.mark.parametrize("persistence", [0.0, 0.7, 1.0])
def test_every_distractor_has_the_standard_deviation_asked_for(persistence):
    env = Distractors(gymnasium.make("Pendulum-v1"), 8, std=3.0, persistence=persistence, seed=1)
    ends = np.concatenate([walk(env, seed, steps=5)[-1, 3:] for seed in range(300)])
    assert ends.std() == pytest.approx(3.0, rel=0.05)
    assert abs(ends.mean()) < 0.2


def test_noise_without_persistence_is_new_at_every_step():
    z = walk(Distractors(gymnasium.make("Pendulum-v1"), 50, persistence=0.0), seed=0)[:, 3:]
    assert abs(np.corrcoef(z[1:].ravel(), z[:-1].ravel())[0, 1]) < 0.1


def test_seeds_fix_the_matrix_and_the_episode():
    envs = [Distractors(gymnasium.make("Pendulum-v1"), 3, seed=s) for s in (0, 0, 1)]
    assert np.array_equal(envs[0].matrix, envs[1].matrix) and not np.array_equal(envs[0].matrix, envs[2].matrix)
    assert np.array_equal(walk(envs[0], 7), walk(envs[1], 7))
    assert not np.array_equal(walk(envs[0], 7)[0], walk(envs[0], 8)[0])
    assert not np.array_equal(envs[0].reset()[0][3:], envs[0].reset()[0][3:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n must be >= 1, got 0"),
        ({"n": 2, "std": 0.0}, "std must be > 0 and finite, got 0.0"),
        ({"n": 2, "persistence": 1.5}, "persistence must be from 0 to 1, got 1.5"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Distractors(gymnasium.make("Pendulum-v1"), **options)


def test_environments_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="env must have observations in a Box of one axis"):
        Distractors(gymnasium.make("FrozenLake-v1"), 2)
    with pytest.raises(ValueError, match="env must be reset before the first step"):
        Distractors(gymnasium.make("Pendulum-v1").unwrapped, 2).step(np.zeros(1))
