"""MSSR's two pieces: a baseline that remembers each prompt, and advantages shaped by the entropy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from toykit.objectives import Advantage, EntropyShaping, PolicyGradient, Tracker, Transform, forgetting, method
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated, Rollouts, Sampled, of_lengths
from toykit.tasks.bandit import Bandit, random_bandit
from toykit.training import TrainConfig, Trainer


def batch(ids: list[int], rewards: list[list[float]], shift: float = 0.0) -> Rollouts:
    """Completions of one token of log-probability log 1/2; the reference's is lower by `shift`."""
    r = torch.tensor(rewards, dtype=torch.float64)
    old = torch.full((*r.shape, 1), 0.5, dtype=torch.float64).log()
    made = of_lengths(torch.ones_like(r).long(), r)
    return made.with_(prompt_ids=torch.tensor(ids), old_logp=old, ref_logp=old - shift)


def advantages(tracker: Tracker, rollouts: Rollouts) -> list[list[float]]:
    return tracker(rollouts.rewards, rollouts).tolist()


def test_values_and_advantages_by_hand():
    """From (4, 4) a right answer makes (4.5, 3.5) with rho 7/8, a wrong one (3.5, 4.5), used before they count."""
    tracker = Tracker("fixed", rho=0.875, normalise=False)
    assert advantages(tracker, batch([3, 7], [[1.0], [0.0]])) == [[0.5], [-0.5]]
    assert tracker.counts == {3: (4.5, 3.5), 7: (3.5, 4.5)}
    found = advantages(tracker, batch([7, 5, 3], [[1.0], [1.0], [0.0]]))
    assert found == [[1 - 3.5 / 8], [0.5], [-4.5 / 8]]
    assert tracker.values(torch.tensor([3, 5, 7, 9])).tolist() == pytest.approx(
        [0.875 * 4.5 / 8, 4.5 / 8, (0.875 * 3.5 + 1) / 8, 0.5]
    )


def test_the_tries_of_a_group_follow_one_another():
    """Right, then wrong: (4.5, 3.5), then 7/8 of that and 1."""
    tracker = Tracker("fixed", rho=0.875)
    tracker(torch.tensor([[1.0, 0.0]]), batch([0], [[1.0, 0.0]]))
    assert tracker.counts[0] == (0.875 * 4.5, 0.875 * 3.5 + 1)


def test_an_enumeration_is_one_try_with_the_expected_outcome():
    rollouts = batch([0], [[1.0, 0.0]]).with_(weights=torch.tensor([[0.25, 0.75]]).double(), enumerated=True)
    tracker = Tracker("fixed", rho=0.875)
    tracker(rollouts.rewards, rollouts)
    assert tracker.counts[0] == (0.875 * 4 + 0.25, 0.875 * 4 + 0.75)


def test_the_batch_is_normalised_with_a_floor():
    """A = 1/2, -1/2, -1/2 over prompts: mean -1/6, population variance 2/9."""
    found = torch.tensor(advantages(Tracker("fixed"), batch([0, 1, 2], [[1.0], [0.0], [0.0]])))
    assert found.flatten().tolist() == pytest.approx([2**0.5, -(0.5**0.5), -(0.5**0.5)])
    near = batch([0, 1], [[0.5], [0.5 + 1e-4]])  # a standard deviation of 0.00005: the floor is 0.001
    assert advantages(Tracker("fixed"), near) == [[pytest.approx(-0.05)], [pytest.approx(0.05)]]
    assert advantages(Tracker("fixed"), batch([0, 1], [[1.0], [1.0]])) == [[0.0], [0.0]]
    assert advantages(Tracker("fixed"), batch([4], [[1.0]])) == [[0.5]]  # one alone is not normalised
    assert advantages(Tracker("fixed"), batch([4], [[1.0, 0.0]]))[0] == pytest.approx([1.0, -1.0])  # two are


def test_outcomes_are_the_task_s_and_advantages_those_of_the_shaped_reward():
    rollouts = batch([0, 1], [[0.8], [0.1]])
    shaped = rollouts.with_(rewards=rollouts.rewards - 1, extras={"task_rewards": rollouts.rewards})
    tracker = Tracker("fixed", rho=0.875, normalise=False)
    assert advantages(tracker, shaped) == [[pytest.approx(-0.7)], [pytest.approx(-1.4)]]
    assert tracker.counts == {0: (4.5, 3.5), 1: (3.5, 4.5)}


def test_it_begins_at_the_base_s_outcomes():
    tracker = Tracker.of(batch([2, 9], [[1.0, 1.0, 0.0, 1.0], [0.0] * 4]), rule="fixed")
    assert tracker.counts == {2: (6.0, 2.0), 9: (0.0, 8.0)} and tracker.rule == "fixed"
    assert tracker.values(torch.tensor([[2, 9, 4]])).tolist() == [[0.75, 0.0, 0.5]]


def test_prompts_are_known_by_their_ids_wherever_they_stand():
    tracker, shuffled = Tracker("fixed"), Tracker("fixed")
    first, second = batch([5, 1], [[1.0], [0.0]]), batch([1, 5], [[0.0], [1.0]])
    assert advantages(tracker, first) == advantages(shuffled, second)[::-1]
    assert tracker.counts == shuffled.counts


@pytest.mark.parametrize(
    ("kl", "rho"), [(0.0, 0.875), (0.0025, 0.89625), (0.005, 0.9175), (0.01, 0.96), (0.010001, 0.875), (0.1, 0.875)]
)
def test_the_released_rule_is_not_monotone(kl, rho):
    """C6 of the card."""
    assert forgetting("released", kl) == pytest.approx(rho, abs=1e-12)
    assert forgetting("monotone", kl) == pytest.approx(0.96 - min(kl / 0.01, 1) * 0.085, abs=1e-12)
    assert forgetting("released", None) == forgetting("monotone", None) == pytest.approx(0.9175)


def test_rho_goes_by_the_mean_kl_of_the_batches_before():
    """Half of the probability of the reference: k3 = 1/2 - 1 + log 2; the first batch is half way."""
    k3 = 0.5 - 1 + float(torch.tensor(2.0).double().log())
    tracker = Tracker("monotone", kl_target=1.0, window=2)
    seen = []
    for shift in (float(torch.tensor(2.0).double().log()), 0.0, 0.0, 0.0):
        seen.append(tracker.forgets)
        rollouts = batch([0, 1], [[1.0], [0.0]], shift)
        tracker(rollouts.rewards, rollouts)
    assert seen == pytest.approx([0.9175, 0.96 - 0.085 * k3, 0.96 - 0.085 * k3 / 2, 0.96])
    assert tracker.kls == [0.0, 0.0]


@pytest.mark.parametrize(("rho", "theory"), [(0.875, 0.0140), (0.96, 0.0042857)])
def test_the_stationary_variance_of_a_value(rho, theory):
    """C5: p (1 - p) (1 - rho) / (1 + rho) at p = 0.3, over the card's 200,000 draws."""
    assert 0.3 * 0.7 * (1 - rho) / (1 + rho) == pytest.approx(theory, abs=1e-6)
    tracker, values = Tracker("fixed"), []
    for outcome in (np.random.default_rng(1).random(200_000) < 0.3).astype(float).tolist():
        tracker.see([0], [outcome], rho)
        a, b = tracker.counts[0]
        values.append(a / (a + b))
    tail = np.array(values[1000:])
    assert tail.mean() == pytest.approx(0.3, abs=0.005) and tail.var() == pytest.approx(theory, rel=0.05)
    card = {0.875: 0.01414, 0.96: 0.004316}[rho]
    assert tail.var() == pytest.approx(card, abs=6e-6)


def test_the_bias_after_a_jump_decays_as_rho_to_the_n():
    """With rho 7/8 the counts add up to 8 for ever, and v - 1 shrinks by 7/8 a try."""
    tracker = Tracker("fixed")
    for n in range(1, 9):
        tracker.see([0], [1.0], 0.875)
        assert 1 - tracker.values(torch.tensor(0)).item() == pytest.approx(0.5 * 0.875**n, abs=1e-14)


def test_a_rule_by_the_kl_needs_a_reference():
    assert Tracker().needs_reference and PolicyGradient(Tracker()).needs_reference
    assert not PolicyGradient(Tracker("fixed")).needs_reference
    bare = batch([0, 1], [[1.0], [0.0]]).with_(ref_logp=None)
    with pytest.raises(ValueError, match="ref_logp must be given for a tracker that forgets by the KL"):
        Tracker()(bare.rewards, bare)
    task = random_bandit(n_prompts=3, n_arms=4)
    trainer = Trainer(TabularLM.of(task), task, PolicyGradient(Tracker()), Sampled(1))
    trainer.step()
    assert trainer.reference is not None and trainer.objective.advantage.kls == [0.0]


def test_bad_settings_are_refused():
    for options, message in (
        ({"rule": "release"}, "rule must be one of fixed, monotone, released, got 'release'; did you mean 'released'"),
        ({"rho": 1.0}, "rho must be between 0 and 1, got 1.0"),
        ({"rho_min": 0.97}, "rho_min must be at most rho_max, got 0.97 and 0.96"),
        ({"kl_target": 0.0}, "kl_target must be > 0 and finite, got 0.0"),
        ({"prior": -1.0}, "prior must be > 0 and finite, got -1.0"),
        ({"window": 0}, "window must be >= 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Tracker(**options)
    with pytest.raises(ValueError, match="entropy must be one of law, sampled, got 'laws'"):
        EntropyShaping(entropy="laws")


@pytest.mark.parametrize("name", ["mvsr", "mssr"])
def test_its_state_is_in_the_checkpoint_and_each_method_has_its_own(name, tmp_path):
    task = random_bandit(n_prompts=6, n_arms=5)

    def made() -> Trainer:
        return Trainer(TabularLM.of(task), task, name, Sampled(1), TrainConfig(lr=0.05, prompts=4))

    trainer = made()
    for _ in range(3):
        trainer.step()
    trainer.save(tmp_path / "c.safetensors")
    tracker, again = trainer.objective.advantage, made().load(tmp_path / "c.safetensors").objective.advantage
    assert again.counts == tracker.counts and again.kls == tracker.kls and len(tracker.counts) > 3
    assert made().objective.advantage.counts == {}
    with pytest.raises(ValueError, match="checkpoint must hold baseline/ids"):
        plain = PolicyGradient(Advantage("batch"), kl=method("mvsr").objective.kl)
        Trainer(TabularLM.of(task), task, plain, Sampled(1), trainer.config).save(tmp_path / "d.safetensors")
        made().load(tmp_path / "d.safetensors")


def shaped(a: float, entropy: float, shaping: EntropyShaping | None = None) -> float:
    rollouts = batch([0], [[0.0]]).with_(extras={"token_entropy": torch.full((1, 1, 1), entropy)})
    return float((shaping or EntropyShaping(entropy="law"))(torch.full((1, 1, 1), a).double(), rollouts))


def test_the_exercise_of_the_card():
    assert shaped(-1.2, 1.0) == pytest.approx(-0.8) and shaped(0.5, 1.0) == pytest.approx(0.75)


def test_no_sign_changes_and_the_bounds_are_half_and_one_and_a_half():
    """C1."""
    for a in (-2.0, -0.1, 0.0, 0.3, 5.0):
        for entropy in (0.0, 0.5, 3.0, 100.0):
            assert a - 1e-6 <= shaped(a, entropy) <= (1.5 * a if a >= 0 else a / 2) + 1e-6
    assert shaped(3.0, 100.0) == 4.5 and shaped(-3.0, 100.0) == -1.5


def test_the_sampled_token_s_entropy_is_minus_p_log_p():
    """log 2 / 2 at 1/2, of which 0.4 is 0.139; a padded place stays 0."""
    rollouts = batch([0], [[1.0, 0.0]])
    found = EntropyShaping()(torch.tensor([[[2.0], [-0.1]]]).double(), rollouts).flatten().tolist()
    assert found == pytest.approx([2 + 0.2 * float(torch.tensor(2.0).log()), -0.05])
    empty = rollouts.with_(mask=torch.zeros_like(rollouts.mask))
    assert EntropyShaping()(torch.ones(1, 2, 1).double(), empty).flatten().tolist() == [1.0, 1.0]


def expected_gradient(alpha: float, kappa: float = 2.0, entropy: str = "law", baseline: float | None = None):
    """(the exact expected gradient of the shaped method, that of J, p) at the card's state: six logits from N(0, 1)."""
    task = Bandit(torch.tensor([[1.0, 0, 0, 1, 0, 0]]))
    logits = torch.tensor(np.random.default_rng(0).normal(size=(1, 1, 6)))
    law = logits.flatten().softmax(-1)
    p = float(law[0] + law[3])
    tracker = Tracker("fixed", normalise=False)
    tracker.counts[0] = (p, 1 - p)
    shaping: Transform = EntropyShaping(alpha, kappa, entropy)
    found = []
    for transforms in ((), (shaping,)):
        policy = TabularLM.of(task, logits=logits)
        objective = PolicyGradient(tracker, transforms=transforms)
        tracker.counts[0] = (p, 1 - p)
        trainer = Trainer(policy, task, objective, Enumerated(), TrainConfig(optimizer="sgd", lr=1.0))
        before = policy.table.detach().clone()
        trainer.step()
        found.append((policy.table.detach() - before).flatten())
    return found[1], found[0], p


def test_on_one_state_an_uncapped_bonus_of_the_law_has_no_effect():
    """C2: a constant baseline."""
    found, plain, p = expected_gradient(0.05)
    assert p == pytest.approx(0.31888, abs=5e-6) and torch.allclose(found, plain, rtol=0, atol=1e-15)


def test_on_one_state_a_bonus_that_is_always_capped_changes_the_speed():
    """C3: times 1 + (1 - 2 p) / kappa = 1.181123 in every component."""
    found, plain, p = expected_gradient(100.0)
    assert (found / plain).tolist() == pytest.approx([1 + (1 - 2 * p) / 2] * 6, abs=1e-12)
    assert 1 + (1 - 2 * p) / 2 == pytest.approx(1.181123, abs=5e-7)


def test_the_sampled_token_s_bonus_is_the_gradient_of_another_function(differences):
    """C4: of alpha sum_a (-(pi^2 / 2) log pi + pi^2 / 4), where nothing is capped (kappa tiny)."""
    found, plain, _ = expected_gradient(0.4, kappa=1e-9, entropy="sampled")
    logits = torch.tensor(np.random.default_rng(0).normal(size=6))

    def other() -> Tensor:
        law = logits.softmax(-1)
        return 0.4 * (-(law**2 / 2) * law.log() + law**2 / 4).sum()

    assert torch.allclose(found - plain, differences(other, logits), rtol=0, atol=1e-8)
    assert (found - plain).abs().max() > 1e-3


def test_the_catalogue_s_entries_are_the_paper_s_settings():
    mvsr, mssr = method("mvsr").objective, method("mssr").objective
    assert mssr.with_(transforms=()) == mvsr and mssr.transforms == (EntropyShaping(0.4, 2.0, "sampled"),)
    assert (mvsr.clip.low, mvsr.clip.high, mvsr.clip.dual) == (0.2, 0.3, 3.0)
    assert (mvsr.kl.beta, mvsr.kl.estimator, mvsr.kl.route) == (0.01, "k3", "autodiff")
    tracker = mvsr.advantage
    assert (tracker.rho_min, tracker.rho_max, tracker.kl_target, tracker.window) == (0.875, 0.96, 0.01, 20)
    assert mssr.needs_reference and not mssr.needs_entropy and EntropyShaping(entropy="law").needs_entropy
