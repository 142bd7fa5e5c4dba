"""What is known of losses by hand or from `toykit.exact`, and what the audit must find of it."""

import pytest
import torch

from toykit.audit import Probe, as_objective, direction, groups, lengths, problem
from toykit.audit.difficulty import GRID, SIZE
from toykit.audit.difficulty import properties as difficulty
from toykit.audit.target import properties as target
from toykit.audit.winner import mass_balance
from toykit.exact import (
    enumerate_draws,
    group_weight,
    informative,
    leaf_log_probs,
    likelihood_gradient,
    reverse_kl_gradient,
)
from toykit.exact import mass_balance as exact_mass_balance
from toykit.objectives import KL, PACS, Advantage, PolicyGradient

LOO = Advantage(mean="leave_one_out")


def k(name, level="sequence"):
    """The estimate alone as a loss: differentiated on policy, without a reward."""

    def loss(logp, ref_logp, mask):
        delta = torch.where(mask, ref_logp - logp, 0.0)
        if level == "sequence":
            delta = delta.sum(-1)
        each = {"k1": -delta, "k2": delta**2 / 2, "k3": delta.expm1() - delta}[name]
        return each.flatten(2).sum(-1).mean() if level == "token" else each.mean()

    return Probe(as_objective(loss))


def reverse(name):
    p = problem(name)
    return -reverse_kl_gradient(p.tree, p.logits, leaf_log_probs(p.tree, p.reference))


def forward(name):
    p = problem(name)
    return likelihood_gradient(p.tree, p.logits, leaf_log_probs(p.tree, p.reference).exp())


@pytest.mark.parametrize("name", ["graded", "steps", "lengths"])
def test_k1_differentiated_has_no_gradient_k2_is_the_reverse_kl_and_k3_the_forward_kl(name):
    assert float(k("k1").on(name).gradient.abs().max()) < 1e-15
    torch.testing.assert_close(k("k2").on(name).gradient, reverse(name), rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(k("k3").on(name).gradient, forward(name), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("estimator", "level", "token", "tree"),
    [
        ("k1", "sequence", "0", "0"),
        ("k2", "sequence", "KL(pi||ref)", "KL(pi||ref)"),
        ("k3", "sequence", "KL(ref||pi)", "KL(ref||pi)"),
        ("k2", "token", "KL(pi||ref)", "KL(pi||ref) of each next token"),
        ("k3", "token", "KL(ref||pi)", "KL(ref||pi) of each next token"),
    ],
)
def test_the_audit_says_which_kl_it_is(estimator, level, token, tree):
    probe = k(estimator, level)
    assert direction.kl_part(probe, direction.TOKEN).measured["best"] == token
    assert direction.kl_part(probe, direction.TREE).measured["best"] == tree


def test_kl_in_the_reward_is_the_reverse_kl_with_its_beta():
    probe = Probe(as_objective(PolicyGradient(LOO, kl=KL(0.3, "k1", route="reward"))))
    for base in (direction.TOKEN, direction.TREE):
        found = direction.kl_part(probe, base)
        assert (found.verdict, found.measured["best"]) == ("exact", "KL(pi||ref)")
        assert found.measured["KL(pi||ref)"]["weight"] == pytest.approx(0.3)
    whole = direction.whole(probe)
    assert (whole.verdict, whole.measured["best"]) == ("exact", "E[r] - beta KL(pi||ref)")
    assert whole.measured[whole.measured["best"]]["beta"] == pytest.approx(0.3)
    assert direction.additive(probe).measured < 1e-12


@pytest.mark.parametrize("name", ["graded", "steps", "lengths"])
def test_a_kl_over_the_vocabulary_is_the_reverse_kl_of_each_next_token(name):
    """Differentiated, it is what k2 of the tokens taken is on the average."""

    def over_vocabulary(logp, vocab_logp, ref_vocab_logp, mask):
        each = (vocab_logp.exp() * (vocab_logp - ref_vocab_logp)).sum(-1)
        return torch.where(mask, each, 0.0).sum(-1).mean()

    exact, k2 = (probe.on(name) for probe in (Probe(as_objective(over_vocabulary)), k("k2", "token")))
    torch.testing.assert_close(exact.gradient, k2.gradient, rtol=1e-10, atol=1e-14)
    assert exact.variance < k2.variance


def test_an_entropy_bonus_is_seen_with_its_weight():
    def bonus(logp, rewards, mask, vocab_logp):
        entropy = -(vocab_logp.exp() * vocab_logp).sum(-1)
        g = rewards.shape[-1]
        advantage = (rewards - rewards.mean(-1, keepdim=True)) * g / (g - 1)
        return -torch.where(mask, advantage[..., None] * logp + 0.2 * entropy, 0.0).sum(-1).mean()

    found = direction.whole(Probe(as_objective(bonus)))
    best = "E[r] + beta entropy of each next token"
    assert found.measured["best"] == best and found.measured[best]["beta"] == pytest.approx(0.2)


def test_toykits_exact_kl_is_audited_too():
    probe = Probe(as_objective(PolicyGradient(LOO, kl=KL(0.3, "exact", route="autodiff"))))
    found = direction.kl_part(probe, direction.TREE)
    assert found.measured["best"] == "KL(pi||ref) of each next token"
    assert found.measured[found.measured["best"]]["weight"] == pytest.approx(0.3)


def test_its_flow_ends_at_the_posterior_and_without_a_kl_it_collapses():
    probe = Probe(as_objective(PolicyGradient(LOO, kl=KL(0.3, "k1", route="reward"))))
    end, posterior, support = target(probe)
    weights = (
        torch.tensor([0.15, 0.35, 0.3, 0.2], dtype=torch.float64)
        * (torch.tensor([1, 1, 0.5, 0.0], dtype=torch.float64) / 0.3).exp()
    )
    assert end.measured["law"] == pytest.approx((weights / weights.sum()).tolist(), abs=1e-6)
    assert posterior.verdict == "exact" and posterior.measured["beta"] == pytest.approx(0.3)
    assert support.measured["ratio_of_equals"] == pytest.approx(0.35 / 0.15, rel=1e-5)
    end, posterior, support = target(Probe(as_objective("rloo")))
    assert end.measured["largest"] > 0.999
    assert support.measured["kept"] == [1] and support.measured["ratio_of_equals"] > 100


def own_mean(logp, rewards, mask):
    advantage = rewards - rewards.mean(-1, keepdim=True)
    return -torch.where(mask, advantage[..., None] * logp, 0.0).sum(-1).mean()


def test_a_mean_that_holds_the_sample_itself_scales_by_1_minus_1_over_G():
    found = groups.scale(Probe(as_objective(own_mean)))
    for g in (2, 3, 4, 6, 8):
        assert found.measured[str(g)] == pytest.approx(1 - 1 / g, abs=1e-12)
    assert found.verdict == "biased" and "as 1 - 1/G" in found.detail
    assert groups.direction(Probe(as_objective(own_mean))).verdict == "exact"


def test_rloo_is_exact_at_every_group_size():
    probe = Probe(as_objective("rloo"))
    found = groups.scale(probe)
    assert [found.measured[str(g)] for g in (2, 3, 4, 6, 8)] == pytest.approx([1] * 5, abs=1e-12)
    assert {p.verdict for p in groups.properties(probe)} == {"exact"}
    assert direction.whole(probe).verdict == "exact"


def test_dr_grpo_is_unbiased_but_for_its_scale():
    probe = Probe(as_objective("dr_grpo"))
    assert "as 1 - 1/G" in groups.scale(probe).detail
    others = [direction.whole(probe), groups.direction(probe), *difficulty(probe), *lengths.properties(probe)]
    assert {p.verdict for p in others} == {"exact"}


@pytest.mark.parametrize("ddof", [0, 1])
def test_a_groups_standard_deviation_reweights_prompts_by_a_known_curve(ddof):
    objective = PolicyGradient(Advantage(mean="group", std="group", ddof=ddof))
    (found,) = difficulty(Probe(as_objective(objective)))
    p = torch.tensor(GRID, dtype=torch.float64)
    wanted = group_weight(p, SIZE, mean="group", std="group", ddof=ddof, eps=1e-6) / (p * (1 - p))
    assert found.measured["weight"] == pytest.approx(wanted.tolist(), rel=1e-9)
    assert found.measured["curve"].startswith("the group's standard deviation")  # ddof is a factor


@pytest.mark.parametrize("kind", ["correct", "wrong"])
def test_token_mean_and_sequence_mean_differ_in_length_bias(kind):
    def weights(aggregate):
        found = lengths.properties(Probe(as_objective(PolicyGradient(LOO, aggregate=aggregate))))
        return {p.name: p for p in found}[f"lengths.weight.{kind}"].measured["weight"]

    assert weights("token_sum") == pytest.approx({"1": 1, "2": 1, "3": 1})
    assert weights("sequence_mean") == pytest.approx({"1": 1, "2": 1 / 2, "3": 1 / 3})
    found = weights("token_mean")
    assert 1 / 2 < found["2"] < 1 and 1 / 3 < found["3"] < found["2"]


def test_token_mean_at_length_by_hand():
    """Groups of two of the `lengths` problem: a token counts 1 / (own length + the other's), the other opposite."""
    found = lengths.properties(Probe(as_objective(PolicyGradient(LOO, aggregate="token_mean"))))
    weight = {p.name: p for p in found}["lengths.weight.correct"].measured["weight"]

    def push(n):  # G = 3: against two wrong ones of lengths a, b or one wrong and one right; each equally likely
        total = 0.0
        for a in (1, 2, 3):
            for b in (1, 2, 3):
                total += (1.0 + 0.5 + 0.5 + 0.0) / (n + a + b)
        return total

    assert weight["2"] == pytest.approx(push(2) / push(1)) and weight["3"] == pytest.approx(push(3) / push(1))


def test_the_mass_balance_is_the_exact_one():
    def surrogate(logp, rewards):
        return -((2 * rewards - 1) * logp[..., 0].exp()).mean()

    p = problem("ladder/at_reference@3")
    found = mass_balance(Probe(as_objective(surrogate)).on(p.name))
    log_p, correct = p.law[0].log(), p.rewards[0] > 0.5
    counts, log_weight = enumerate_draws(log_p, 3)
    exact = exact_mass_balance(log_p, correct, counts)
    for name, value in found.items():
        assert value == pytest.approx(float((log_weight.exp() * getattr(exact, name)).sum()) / 3, abs=1e-14)


@pytest.mark.parametrize("weights", ["none", "question"])
def test_pacs_weighs_a_prompt_as_the_gradient_of_the_reward_or_every_mixed_group_alike(weights):
    """At the reference by 1, or by the share of groups of both labels over 4 p (1 - p), as derived in card 22."""
    probe = Probe(as_objective(PACS(beta=2.0, weights=weights)))
    (found,) = difficulty(probe)
    p = torch.tensor(GRID, dtype=torch.float64)
    balanced = SIZE / (4 * (SIZE - 1)) * informative(p, SIZE) / (p * (1 - p))
    expected = torch.ones_like(p) if weights == "none" else balanced
    assert found.measured["weight"] == pytest.approx((2 * expected).tolist(), abs=1e-12)
    assert found.measured["curve"].startswith("1:" if weights == "none" else "that of a group of both labels")


def test_pacs_takes_the_policy_that_its_ratio_is_to():
    assert as_objective(PACS()).takes == ("logp", "old_logp", "rewards", "mask")
    assert as_objective(PACS(reference="fixed")).takes == ("logp", "ref_logp", "rewards", "mask")
    assert as_objective(PACS(proxy="mean_logp")).takes == ("logp", "rewards", "mask")
