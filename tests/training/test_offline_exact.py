"""Card 31, rung 0: where preference losses end on the exact population, computed by the losses' own code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from toykit.exact import posterior
from toykit.objectives import CPO, DPO, IPO, KTO, ORPO, SFT, UNA, Hinge, OfflineMethod, SimPO
from toykit.objectives.offline import Read, row_losses
from toykit.policies import TabularLM
from toykit.rewards import Judge, demonstrations, every_pair, labelled
from toykit.rollouts import Enumerated, Rollouts
from toykit.rollouts.examples import Examples
from toykit.tasks.bandit import Bandit
from toykit.training import OfflineConfig, OfflineTrainer, fresh

RNG = np.random.default_rng(0)
REF = torch.tensor(RNG.normal(size=6)).log_softmax(-1)
R = torch.tensor(RNG.uniform(0, 2, 6))
TASK = Bandit(R[None])
BETA = TAU = 0.5
BEST = posterior(REF, R, BETA).exp()
LOG_Z = (REF + R / BETA).logsumexp(-1)


def policy() -> TabularLM:
    return TabularLM.of(TASK, logits=REF[None])


def whole() -> Rollouts:
    return Enumerated()(policy(), TASK, TASK.prompts())


def with_reference(batch: Examples) -> Examples:
    return replace(batch, ref_logp=REF[batch.completions])


def optimum(loss, batch: Examples) -> Tensor:
    """The law [6] that minimises a loss over all laws, by Newton's method on the logits from the uniform one."""
    batch = with_reference(batch)

    def value(logits: Tensor) -> Tensor:
        rows = row_losses(loss, Read(logp=logits.log_softmax(-1)[batch.completions]), batch)
        return (batch.weights * rows).sum()

    logits = torch.zeros(6, dtype=torch.float64)
    for _ in range(30):
        gradient = torch.autograd.functional.jacobian(value, logits)
        curvature = torch.autograd.functional.hessian(value, logits)
        logits = logits - torch.linalg.pinv(curvature, hermitian=True, rtol=1e-9) @ gradient
        if gradient.abs().max() < 1e-15:
            break
    assert gradient.abs().max() < 1e-13
    return logits.softmax(-1)


def error(law: Tensor, target: Tensor = BEST) -> float:
    return (law - target).abs().max().item()


def test_c1_dpo_on_population_preferences_ends_at_the_posterior():
    assert error(optimum(DPO(BETA), every_pair(whole()))) < 1e-8
    law = torch.tensor([[0.3, 0.1, 0.2, 0.15, 0.2, 0.05]], dtype=torch.float64)
    assert error(optimum(DPO(BETA), every_pair(whole(), law=law))) < 1e-8  # whatever the weights of the pairs


def test_c1_robust_dpo_undoes_the_flips_of_a_judge_and_plain_dpo_does_not():
    noisy = every_pair(whole(), Judge(1.0, flip=0.2))
    assert error(optimum(DPO(BETA, 0.2, robust=True), noisy)) < 1e-7
    assert error(optimum(DPO(BETA), noisy)) > 0.05


def ipo_target(judge: Judge) -> Tensor:
    """pi0 exp(mean_k P(y > y_k) / tau) / Z, the mean over all k with y itself."""
    return (REF + judge.preference(R[:, None], R).mean(-1) / TAU).softmax(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_c2_ipo_ends_at_its_closed_form_also_with_certain_preferences(temperature):
    judge = Judge(temperature)
    law = optimum(IPO(TAU), every_pair(whole(), judge))
    assert error(law, ipo_target(judge)) < 1e-10
    if temperature == 0:
        assert law.max().item() == pytest.approx(0.3505, abs=5e-5)
        assert (law * (law.log() - REF)).sum().item() == pytest.approx(0.1747, abs=5e-5)


def reached(law: np.ndarray) -> tuple[float, float]:
    """(the largest probability, KL to the reference)."""
    return law.max(), (law * (np.log(law) - REF.numpy())).sum()


def test_c2_dpo_with_certain_preferences_runs_to_a_point_mass():
    """Gradient descent in numpy, by the gradient of the card's mean over 30 ordered pairs at a rate of 20."""
    better, ref, logits, seen = R.numpy()[:, None] > R.numpy(), REF.numpy(), REF.numpy().copy(), {}
    for step in range(1, 5001):
        gap = BETA * ((logits - ref)[:, None] - (logits - ref))
        push = better / (1 + np.exp(gap))
        logits = logits + 20 * BETA / 30 * (push.sum(1) - push.sum(0))
        if step in (50, 500, 5000):
            law = np.exp(logits - logits.max())
            seen[step] = reached(law / law.sum())
    assert [p for p, _ in seen.values()] == pytest.approx([0.9855, 0.99965, 0.999995], abs=5e-5)
    assert [kl for _, kl in seen.values()] == pytest.approx([1.776, 1.844, 1.847], abs=5e-4)
    assert -REF[R.argmax()].item() == pytest.approx(1.8466, abs=5e-5)
    # The trainer's weights sum to 1 where the card divides 15 pairs by 30: the same steps at half the rate.
    ours = policy()
    data = every_pair(whole(), Judge(0))
    trainer = OfflineTrainer(ours, TASK, OfflineMethod(DPO(BETA), "card 31"), data, OfflineConfig(10.0, "sgd"))
    for _ in range(50):
        trainer.step()
    assert reached(ours.table.detach()[0].softmax(-1).numpy()) == pytest.approx(seen[50], abs=1e-12)


def test_c5_una_needs_scores_less_beta_log_z_on_fixed_data_and_raw_rewards_do_on_policy():
    loss, even = UNA(BETA), torch.ones(1, 6, dtype=torch.float64)
    assert error(optimum(loss, labelled(whole(), law=even))) == pytest.approx(0.1962, abs=5e-5)
    assert error(optimum(loss, labelled(whole()))) == pytest.approx(0.1964, abs=5e-5)  # weighted by the reference
    centred = labelled(whole(), lambda r: r.rewards - BETA * LOG_Z, law=even)
    assert error(optimum(loss, centred)) < 1e-8
    source = fresh(
        TASK, Enumerated(), lambda rollouts, _: labelled(rollouts)
    )  # the policy's own completions, weighted by its own law

    def steps(start: Tensor, n: int) -> tuple[Tensor, float]:
        own = TabularLM.of(TASK, logits=start[None])
        made = OfflineMethod(loss, "card 31")
        trainer = OfflineTrainer(own, TASK, made, source, OfflineConfig(8.0, "sgd"), reference=policy())
        norms = [trainer.step()["grad_norm"] for _ in range(n)]
        return own.table.detach()[0].softmax(-1), norms[0]

    assert steps(BEST.log(), 1)[1] < 1e-15
    law, norm = steps(REF, 150)
    assert norm > 0.1 and error(law) < 1e-3


def test_una_on_policy_has_the_gradient_of_kl_regularised_rl():
    """2 beta times that of beta KL(pi || pi0) - E r, at any policy."""
    logits = torch.linspace(-1, 1, 6, dtype=torch.float64)[None].requires_grad_()
    log_pi = logits.log_softmax(-1)[0]
    batch = with_reference(labelled(whole(), law=log_pi.detach().exp()[None]))
    rows = row_losses(UNA(BETA), Read(logp=log_pi[batch.completions]), batch)
    ours = torch.autograd.grad((batch.weights * rows).sum(), logits, retain_graph=True)[0]
    objective = (log_pi.exp() * (BETA * (log_pi - REF) - R)).sum()
    assert torch.allclose(ours, 2 * BETA * torch.autograd.grad(objective, logits)[0], rtol=0, atol=1e-14)


def test_sft_ends_at_the_law_of_the_demonstrations():
    law = torch.tensor([[0.3, 0.1, 0.2, 0.15, 0.2, 0.05]], dtype=torch.float64)
    assert error(optimum(SFT(), demonstrations(whole(), law)), law[0]) < 1e-9


def test_una_bce_of_the_sigmoid_of_the_centred_reward_ends_at_the_posterior():
    score = labelled(whole(), lambda r: (r.rewards - BETA * LOG_Z).sigmoid(), law=torch.ones(1, 6).double())
    assert error(optimum(UNA(BETA, "bce"), score)) < 1e-7


@pytest.mark.parametrize("loss", [Hinge(0.5), ORPO(), SimPO(), CPO(), IPO(0.5, True), DPO(0.5, 0.1)], ids=repr)
def test_every_loss_on_pairs_raises_the_reward_of_the_policy(loss):
    ours = policy()
    trainer = OfflineTrainer(ours, TASK, OfflineMethod(loss, "given"), every_pair(whole()), OfflineConfig(0.05))
    for figures in trainer:
        if figures["step"] == 40:
            break
    assert (ours.table.detach()[0].softmax(-1) * R).sum() > (REF.exp() * R).sum() + 0.05


def test_kto_raises_the_good_and_lowers_the_bad():
    ours, good = policy(), (R.median() < R).double()
    data = labelled(whole(), lambda r: good[None]).mismatched()
    trainer = OfflineTrainer(ours, TASK, OfflineMethod(KTO(0.5), "given"), data, OfflineConfig(0.05))
    for figures in trainer:
        if figures["step"] == 40:
            break
    assert (ours.table.detach()[0].softmax(-1) * good).sum() > (REF.exp() * good).sum() + 0.1
