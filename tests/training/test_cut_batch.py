"""The size of the pieces that a batch is cut into changes nothing: gradients, scores, a critic's values."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from toykit.objectives import CATALOGUE, KL, Advantage, PolicyGradient, Posterior, PseudoReward, method
from toykit.rollouts import Rollouts, Sampled, Solutions, supplying
from toykit.training import TrainConfig, Trainer

EXACT = PolicyGradient(Advantage("leave_one_out"), ratio="token", kl=KL(0.1, "exact", route="autodiff"))
POSTERIOR = PolicyGradient(Advantage("none"), signal=PseudoReward(Posterior(0.5)), ratio="importance")


@pytest.mark.parametrize("chosen", [*CATALOGUE, POSTERIOR, EXACT])
def test_gradients_do_not_depend_on_how_the_batch_is_cut(chosen, gpt, on_chain, chain):
    """Of the policy and of the critic, whatever the size of the pieces."""

    def gradients(size: int | None) -> tuple[Tensor, dict[str, float]]:
        data = method(chosen).data if isinstance(chosen, str) else None
        strategy = supplying(data, Sampled(4), Solutions.of(chain))
        config = TrainConfig(prompts=3, micro_size=size)
        trainer = on_chain(chosen, config, strategy=strategy, reference=gpt(seed=1))
        rollouts, _ = trainer.rollouts()
        rewards = torch.rand(rollouts.rewards.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        prepared = trainer.objective.prepare(trainer._with_others(rollouts.with_(rewards=rewards)))
        figures = trainer._update(prepared)
        return torch.cat([p.grad.flatten() for p in trainer.parameters]), figures

    whole, figures = gradients(None)
    assert whole.abs().max() > 1e-4
    for size in (1, 5, 8, 11):
        cut, same = gradients(size)
        assert torch.allclose(cut, whole, rtol=0, atol=1e-10), size
        assert same == pytest.approx(figures, abs=1e-10)


@pytest.mark.parametrize("kind", ["table", "gpt"])
def test_scores_do_not_depend_on_how_the_batch_is_cut(kind, fresh, gpt, chain):
    """Those of each token, and of the whole vocabulary."""

    def scores(size: int | None) -> tuple[list[Tensor], Rollouts]:
        task, policy = fresh() if kind == "table" else (chain, gpt())
        config = TrainConfig(prompts=3, micro_size=size)
        trainer = Trainer(policy, task, EXACT, Sampled(4), config, reference=gpt(seed=1) if kind == "gpt" else None)
        made = trainer._with_others(trainer.rollouts()[0])
        logp = trainer.reader.all_of(made, trainer.reader.logp, trainer.policy)
        return [logp, made.ref_logp, made.extras["vocab_logp"], made.extras["ref_vocab_logp"]], made

    whole, made = scores(None)
    assert made.lengths.unique().numel() > 1 and whole[2].dim() == 4
    assert torch.allclose(whole[0], made.old_logp, rtol=0, atol=1e-12) and whole[0].abs().max() > 0.1
    for size in (1, 5, 7):
        for cut, expected in zip(scores(size)[0], whole, strict=True):
            assert torch.allclose(cut, expected, rtol=0, atol=1e-12), size


def test_a_critic_does_not_see_how_the_batch_is_cut(on_chain):
    found = []
    for size in (None, 1, 5):
        trainer = on_chain("ppo", TrainConfig(prompts=3, micro_size=size))
        with torch.no_grad():
            trainer.critic.head.weight.copy_(torch.linspace(-1, 1, 16))
        found.append(trainer._with_others(trainer.rollouts()[0]).extras["values"])
    assert found[0].abs().max() > 0.1
    assert all(torch.allclose(cut, found[0], rtol=0, atol=1e-12) for cut in found[1:])
