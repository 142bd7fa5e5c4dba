"""A reward that is learned from comparisons while a policy trains."""

from __future__ import annotations

import pytest
import torch

from toykit.control.online import PRLSVI, ComparedReward, fit_logistic, pooled_states
from toykit.objectives import Advantage, PolicyGradient
from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.rollouts import Rollouts, Sampled
from toykit.tasks import Letters
from toykit.tasks.bandit import random_bandit
from toykit.training import TrainConfig, Trainer


def made(rewards, size=2, seed=0):
    """Rollouts of one token, whose features are kept as an extra."""
    b, g = rewards.shape
    mask = torch.ones(b, g, 1, dtype=torch.bool)
    phi = torch.randn(b, g, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Rollouts(
        torch.zeros(b, 1, dtype=torch.int64),
        torch.ones(b, 1, dtype=torch.bool),
        torch.arange(b),
        torch.zeros(b, g, 1, dtype=torch.int64),
        mask,
        torch.zeros(b, g, 1),
        rewards,
        torch.full((b, g), 1 / g),
        extras={"phi": phi},
    )


def kept(r):
    return r.extras["phi"]


def test_all_pairs_are_asked_in_turn_and_the_draw_is_the_reward():
    r = made(torch.randn(6, 4).double())
    reward = ComparedReward(kept, 2, PRLSVI(eps=0.0))
    found, figures = reward(r)
    assert reward.asked == 6 and figures["asked"] == 6
    assert torch.allclose(found.rewards, kept(r) @ reward.older) and torch.equal(found.task_rewards, r.rewards)
    phi, rows = kept(r), torch.arange(6)
    first = (phi[:, :2] @ reward.older).argmax(-1)  # the draw that has just been made
    x = phi[rows, first] - phi[rows, torch.full((6,), 2)]  # against the first of the others: no draw before
    assert torch.allclose(reward.kept, x)
    assert torch.allclose(reward.precision, torch.eye(2).double() + x.mT @ x)
    assert torch.allclose(reward.weights, fit_logistic(x, reward.answers, 0.1).weights)
    assert torch.equal(reward.earned[0], torch.stack([r.rewards[rows, first], r.rewards[:, 2]], -1).mean(0))


def test_the_second_side_follows_the_last_draw_or_with_same_the_new_one():
    r = made(torch.randn(5, 6).double())
    for partner in ("previous", "same"):
        reward = ComparedReward(kept, 2, PRLSVI(eps=0.0, partner=partner))
        reward(r)
        before = reward.older
        reward(r)
        phi, rows = kept(r), torch.arange(5)
        first = (phi[:, :3] @ reward.older).argmax(-1)
        second = (phi[:, 3:] @ (before if partner == "previous" else reward.older)).argmax(-1) + 3
        assert torch.allclose(reward.kept[5:], phi[rows, first] - phi[rows, second])


def test_a_batch_of_the_same_pair_is_asked_until_it_is_no_longer_doubted():
    r = made(torch.zeros(50, 2).double())
    r.extras["phi"][:, 0], r.extras["phi"][:, 1] = torch.tensor([1.0, 0.0]).double(), 0.0
    reward = ComparedReward(kept, 2, PRLSVI(eps=0.5))
    reward(r)
    # 1 / (1 + n) > pi / 16 for n = 0 .. 4
    assert reward.asked == 5
    assert ComparedReward(kept, 2, PRLSVI(eps=0.5, passive=0.0))(r)[1]["asked"] == 0
    assert ComparedReward(kept, 2, PRLSVI(eps=0.5, passive=1.0))(r)[1]["asked"] == 50


def test_without_noise_the_fit_is_the_reward():
    r = made(torch.randn(4, 4).double())
    reward = ComparedReward(kept, 2, PRLSVI(randomise=False))
    first, _ = reward(r)
    assert (first.rewards == 0).all()
    fitted = reward.weights
    assert torch.allclose(reward(r)[0].rewards, kept(r) @ fitted)


def test_a_trainer_goes_on_from_a_checkpoint_as_if_never_stopped(tmp_path):
    task = random_bandit(n_prompts=3, n_arms=4)

    def arms(r):
        return torch.nn.functional.one_hot(r.completions[..., 0], 4).double()

    def trainer():
        reward = ComparedReward(arms, 4, PRLSVI(), seed=1)
        objective = PolicyGradient(Advantage("group"))
        made = Trainer(TabularLM.of(task), task, objective, Sampled(8), TrainConfig(lr=0.1), shaping=reward)
        made.others["compared"] = reward
        return made

    whole, part = trainer(), trainer()
    whole.run(6, progress=False)
    part.run(3, progress=False)
    part.save(tmp_path / "half.safetensors")
    again = trainer().load(tmp_path / "half.safetensors")
    again.run(6, progress=False)
    assert torch.equal(again.policy.table, whole.policy.table)
    for name, value in whole.shaping.state().items():
        assert torch.equal(again.shaping.state()[name], value), name


def test_pooled_states_are_of_the_own_tokens_and_keep_lengths():
    base = GPT(GPTConfig(Letters.vocab.size, width=32, hidden=64, heads=2), seed=0)
    task = Letters(horizon=5)
    r = Sampled(4)(base, task, task.prompts(), torch.Generator().manual_seed(0))
    features = pooled_states(base, 2000)
    phi = features(r)
    assert phi.shape == (1, 4, 2000)
    tokens = torch.cat([r.prompts[:, None].expand(-1, 4, -1), r.completions], -1)[0]
    pooled = base.hidden(tokens)[:, 1:].mean(1)
    assert torch.allclose(phi[0].norm(dim=-1), pooled.norm(dim=-1), rtol=0.1)
    padded = r.with_(
        completions=torch.nn.functional.pad(r.completions, (0, 2), value=3),
        mask=torch.nn.functional.pad(r.mask, (0, 2)),
        old_logp=torch.nn.functional.pad(r.old_logp, (0, 2)),
    )
    assert torch.allclose(features(padded), phi, atol=1e-5)
    assert torch.equal(pooled_states(base, 3)(r), pooled_states(base, 3)(r))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="group_size must be even for two policies, got 3"):
        ComparedReward(kept, 2, PRLSVI())(made(torch.zeros(2, 3).double()))
    with pytest.raises(ValueError, match=r"features must have shape \[2, 4, 3\], got \[2, 4, 2\]"):
        ComparedReward(kept, 3, PRLSVI())(made(torch.zeros(2, 4).double()))
    with pytest.raises(ValueError, match="size must be >= 1"):
        ComparedReward(kept, 0, PRLSVI())
    with pytest.raises(ValueError, match="base must have hidden states, got TabularLM"):
        pooled_states(TabularLM.of(random_bandit(n_prompts=2, n_arms=3)), 4)
