"""Resets of the reference: the law that they follow, what begins anew, and when."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from toykit.objectives import KL, Advantage, Method, PolicyGradient, method
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated, Sampled
from toykit.tasks.bandit import Bandit, random_bandit
from toykit.training import Plateau, Reference, TrainConfig, Trainer
from toykit.training.reference import Follower

P0 = torch.tensor([0.01, 0.5, 0.3, 0.15, 0.04], dtype=torch.float64)


@pytest.mark.parametrize(
    ("beta", "success"), [(0.5, [0.069453, 0.355461, 0.802957, 0.967857, 0.995526]), (1.0, [0.026724, 0.069453])]
)
def test_each_reset_adds_1_over_beta_to_the_log_odds(beta, success):
    """The card's bandit: a natural step of rate 1 / beta is the regularised optimum; then the reference is reset."""
    task = Bandit(torch.eye(5)[:1])
    policy = TabularLM.of(task, logits=P0.log().view(1, 1, 5))
    objective = PolicyGradient(Advantage(mean="group"), kl=KL(beta, "k1", route="reward"))
    config = TrainConfig(1 / beta, "natural", reference=Reference("reset", every=1))
    trainer = Trainer(policy, task, objective, Enumerated(), config)
    start = torch.logit(P0[0])
    for k, expected in enumerate(success):
        assert trainer.step()["reset"] == 1
        p = policy.table.detach().softmax(-1)[0, 0]
        assert p.item() == pytest.approx(expected, abs=1e-6)
        assert torch.logit(p).item() == pytest.approx(start.item() + (k + 1) / beta, abs=1e-9)


def test_without_a_reset_the_policy_stays_at_the_first_optimum():
    task = Bandit(torch.eye(5)[:1])
    policy = TabularLM.of(task, logits=P0.log().view(1, 1, 5))
    objective = PolicyGradient(Advantage(mean="group"), kl=KL(0.5, "k1", route="reward"))
    trainer = Trainer(policy, task, objective, Enumerated(), TrainConfig(2.0, "natural"))
    for _ in range(3):
        assert "reset" not in trainer.step()
    assert policy.table.detach().softmax(-1)[0, 0].item() == pytest.approx(0.069453, abs=1e-6)


def kl_of(fresh, **options) -> Trainer:
    task, policy = fresh()
    return Trainer(policy, task, "kl_rl", Sampled(4), TrainConfig(lr=0.05, reference=Reference("reset", **options)))


def test_the_optimizer_s_moments_begin_anew_where_it_is_asked(fresh):
    """After a reset with fresh moments Adam counts its steps from 1 and moves every parameter by its rate."""
    plain, anew = (kl_of(fresh, every=3, optimizer=flag) for flag in (False, True))
    for made in (plain, anew):
        assert [made.step()["reset"] for _ in range(3)] == [0, 0, 1]
    assert torch.equal(plain.policy.table, anew.policy.table)
    assert all(torch.equal(made.reference.table, made.policy.table) for made in (plain, anew))


def resets(how: Reference, values: list[float], name: str = "reward") -> list[int]:
    """After which steps (from 1) a reference is reset, of a figure's values."""
    one = torch.nn.Linear(1, 1)
    follower = Follower(how)
    found = [follower(one, one, None, n, {name: v} if v >= 0 else {})["reset"] for n, v in enumerate(values, 1)]
    return [n for n, reset in enumerate(found, 1) if reset]


def test_a_plateau_is_a_figure_that_has_not_risen_for_a_while():
    """Best .3 at step 2, then three values that do not rise above it; then the best counts anew."""
    values = [0.1, 0.3, 0.2, 0.3, 0.25, 0.2, 0.21, 0.1, 0.1, 0.1]
    assert resets(Reference("reset", None, on_plateau=Plateau(3)), values) == [5, 10]
    assert resets(Reference("reset", 4, on_plateau=Plateau(3)), values) == [4, 8]
    assert resets(Reference("reset", 6, on_plateau=Plateau(3)), values) == [5, 6, 10]


def test_a_rise_within_min_delta_does_not_count():
    rising = [0.1, 0.15, 0.19, 0.25, 0.3]
    assert resets(Reference("reset", None, on_plateau=Plateau(2, min_delta=0.1)), rising) == [3]
    assert resets(Reference("reset", None, on_plateau=Plateau(2)), rising) == []


def test_a_figure_that_is_not_there_is_waited_for():
    """Evaluations at every second step: none rises above the first, and the second of them is the fifth step."""
    values = [0.5, -1, 0.4, -1, 0.4, -1]
    how = Reference("reset", None, on_plateau=Plateau(2, figure="eval/reward"))
    assert resets(how, values, "eval/reward") == [5]
    assert resets(how, values, "reward") == []


def test_evaluations_are_made_before_the_reference_looks_at_them(fresh):
    task, policy = fresh()
    how = Reference("reset", None, on_plateau=Plateau(1, min_delta=5.0, figure="eval/reward"))
    trainer = Trainer(policy, task, "kl_rl", Sampled(4), TrainConfig(evaluate_every=2, reference=how))
    assert [trainer.step()["reset"] for _ in range(6)] == [0, 0, 0, 1, 0, 0]


CASES = {
    "every": Reference("reset", 3, optimizer=True),
    "a plateau": Reference("reset", None, optimizer=True, on_plateau=Plateau(2, min_delta=0.5)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_is_the_same_bit_for_bit(case, tmp_path):
    def made() -> Trainer:
        task = random_bandit(n_prompts=6, n_arms=5)
        config = TrainConfig(lr=0.05, prompts=3, reference=CASES[case])
        return Trainer(TabularLM.of(task), task, "prorl", Sampled(4), config)

    def run(trainer: Trainer, steps: int) -> list[dict[str, float]]:
        return [{k: v for k, v in trainer.step().items() if k != "seconds"} for _ in range(steps)]

    straight = made()
    expected = run(straight, 12)
    assert sum(f["reset"] for f in expected[:8]) >= 2 and sum(f["reset"] for f in expected[8:])
    for half in range(1, 8):  # right after a reset, when there are no moments, and between
        first = made()
        run(first, half)
        first.save(tmp_path / "half.safetensors")
        resumed = made().load(tmp_path / "half.safetensors")
        assert run(resumed, 12 - half) == expected[half:]
        assert torch.equal(resumed.policy.table, straight.policy.table)


def test_a_method_s_schedule_stands_unless_another_is_given(fresh):
    task, policy = fresh()
    own = method("prorl").reference
    assert own.kind == "reset" and own.optimizer and own.on_plateau is not None
    assert Trainer(policy, task, "prorl").follower.how == own
    given = TrainConfig(reference=Reference())
    assert Trainer(policy, task, "prorl", config=given).follower.how == Reference()
    assert Trainer(policy, task, "grpo").follower.how == Reference()
    assert Trainer(policy, task, Method(method("grpo").objective, "a test")).follower.how.kind == "frozen"


def test_bad_settings_are_refused():
    for options, message in (
        ({"kind": "average", "optimizer": True}, "must be given only for reference 'reset', got 'average'"),
        ({"on_plateau": Plateau(3)}, "must be given only for reference 'reset', got 'frozen'"),
        ({"kind": "reset", "every": None}, "every or on_plateau must be given for reference 'reset', got neither"),
        ({"kind": "reset", "every": 0}, "every must be >= 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Reference(**options)
    with pytest.raises(ValueError, match="patience must be >= 1, got 0"):
        Plateau(0)
    with pytest.raises(ValueError, match="min_delta must be >= 0, got -0.1"):
        Plateau(1, -0.1)


def gradient_of_the_penalty(tricks, kl: KL) -> Tensor:
    """Of a method's loss where all rewards are equal, on policy: what is left is the KL's, by the table."""
    policy, reference = tricks.policy(), tricks.policy(0.8, seed=2)
    every = tricks.everything(policy, policy, reference)
    objective = method("prorl").objective.with_(kl=kl)
    prepared = objective.prepare(every.with_(rewards=torch.zeros_like(every.rewards)))
    return torch.autograd.grad(tricks.loss(objective, tricks.vocab_logp(policy), prepared), policy.table)[0]


def test_prorl_s_penalty_has_the_gradient_of_the_reverse_kl_on_policy(tricks):
    """Over the mean number of tokens; k1 in its place has none, k3 that of the forward KL."""
    policy, reference = tricks.policy(), tricks.policy(0.8, seed=2)
    log_ref = tricks.logp(reference).sum(-1).detach()
    every = tricks.everything(policy, policy, reference)
    tokens = every.mean(every.lengths.double()).mean()

    def true(forward: bool) -> Tensor:
        log_p = tricks.logp(policy).sum(-1)
        divergence = log_ref.exp() * (log_ref - log_p) if forward else log_p.exp() * (log_p - log_ref)
        return torch.autograd.grad(0.05 * divergence.sum(-1).mean() / tokens, policy.table)[0]

    ours = method("prorl").objective.kl
    assert true(forward=False).abs().max() > 1e-3
    assert torch.allclose(gradient_of_the_penalty(tricks, ours), true(forward=False), rtol=0, atol=1e-12)
    k1, k3 = (KL(0.05, name, route="autodiff", level="sequence") for name in ("k1", "k3"))
    assert gradient_of_the_penalty(tricks, k1).abs().max() < 1e-12
    assert torch.allclose(gradient_of_the_penalty(tricks, k3), true(forward=True), rtol=0, atol=1e-12)
