"""The measuring device: expected updates by enumeration against closed forms, autograd and numbers by hand."""

from itertools import product

import pytest
import torch

from toykit.audit import PROBLEMS, Failure, Objective, Probe, all_groups, as_objective, problem
from toykit.audit.noise import properties as noise
from toykit.exact import leaf_log_probs, node_log_probs, policy_gradient
from toykit.objectives import Advantage, PolicyGradient, Probability


def rloo(logp, rewards, mask):
    g = rewards.shape[-1]
    advantage = (rewards - rewards.mean(-1, keepdim=True)) * g / (g - 1)
    return -torch.where(mask, advantage[..., None] * logp, 0.0).sum(-1).mean()


def looped(logp, rewards, mask):
    """The same, in a way that vmap cannot follow."""
    return rloo(logp, rewards, mask) if float(rewards.sum()) >= 0 else logp.sum()


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_expected_update_of_rloo_is_the_exact_policy_gradient(name):
    p = problem(name)
    wanted = policy_gradient(p.tree, p.logits, p.rewards) / len(p.rewards)
    for fn in (rloo, looped):
        torch.testing.assert_close(Probe(as_objective(fn)).on(name).gradient, wanted, rtol=1e-10, atol=1e-14)


def test_a_function_is_mapped_where_it_can_be():
    quick, slow = Probe(as_objective(rloo)), Probe(as_objective(looped))
    assert torch.equal(quick.on("graded").loss, slow.on("graded").loss)
    assert (quick.mapped, slow.mapped) == (True, False)


@pytest.mark.parametrize("name", ["lengths@2", "pair", "steps/stale=2", "coin@4"])
def test_multisets_and_ordered_groups_agree(name):
    p = problem(name)
    for ordered in (False, True):
        groups = all_groups(p, ordered)
        assert float(groups.weight.sum()) == pytest.approx(1, abs=1e-12)
        assert len(groups.weight) == len(groups.index)
    multisets, ordered_ones = (Probe(as_objective("grpo"), ordered=o).on(name) for o in (False, True))
    assert len(multisets.loss) < len(ordered_ones.loss)
    torch.testing.assert_close(multisets.gradient, ordered_ones.gradient, rtol=1e-9, atol=1e-14)
    assert multisets.variance == pytest.approx(ordered_ones.variance, rel=1e-9)


def test_the_update_is_that_of_autograd_through_the_logits():
    p = problem("lengths@2")
    logits = p.logits.clone().requires_grad_()
    table = node_log_probs(p.tree, logits).flatten(-2)[:, p.tree.places].masked_fill(~p.mask, 0.0)
    groups, total = all_groups(p, ordered=True), 0.0
    for index, weight in zip(groups.index, groups.weight, strict=True):
        total = total + weight * rloo(table[0, index], p.rewards[0, index], p.mask[index])
    (wanted,) = torch.autograd.grad(-total, logits)
    torch.testing.assert_close(Probe(as_objective(rloo)).on("lengths@2").gradient, wanted, rtol=1e-9, atol=1e-12)


def test_a_solution_from_elsewhere_is_one_more_row_of_every_group():
    """The expected update of p A on the solution and A log p on two sampled rows, by autograd through the logits."""
    p = problem("ladder@2")
    assert p.solution.tolist() == [0]  # of three right completions the one with probability 0.02
    objective = PolicyGradient(Advantage(mean="group"), external=Probability())
    logits = p.logits.clone().requires_grad_()
    logp, law, total = logits.log_softmax(-1)[0, 0], p.behaviour_law[0], 0.0
    for i, j in product(range(5), repeat=2):
        r = p.rewards[0, [i, j, 0]]
        a = r - r.mean()
        total = total + law[i] * law[j] * (a[0] * logp[i] + a[1] * logp[j] + a[2] * logp[0].exp()) / 3
    (wanted,) = torch.autograd.grad(total, logits)
    torch.testing.assert_close(Probe(as_objective(objective)).on("ladder@2").gradient, wanted, rtol=1e-9, atol=1e-14)


def test_variance_by_hand():
    """One draw of a fair coin, loss -r log p: the update is (1/2, -1/2) or 0."""

    def reinforce(logp, rewards):
        return -(rewards[..., None] * logp).sum()

    measured = Probe(as_objective(reinforce)).on("coin@1")
    assert measured.gradient.flatten().tolist() == pytest.approx([0.25, -0.25], abs=1e-15)
    assert measured.variance == pytest.approx(0.5 * 0.5 - 0.125, abs=1e-15)
    assert measured.coefficient.flatten().tolist() == pytest.approx([1, 0], abs=1e-15)


def test_problems_are_rebuilt_by_name():
    p = problem("lengths/ones/padding=2@4")
    assert (p.group_size, p.padding, p.rewards.unique().tolist()) == (4, 2, [1.0])
    assert p.tokens("logp")[0, 0].tolist() == pytest.approx([torch.log(torch.tensor(1 / 6)).item(), *[-1.5] * 4])
    again = problem("lengths")
    assert leaf_log_probs(again.tree, again.logits).exp().flatten().tolist() == pytest.approx([1 / 6] * 6)
    with pytest.raises(ValueError, match="did you mean 'lengths'"):
        problem("length")
    with pytest.raises(ValueError, match="has no variant 'one'; did you mean 'ones'"):
        problem("lengths/one")


@pytest.mark.parametrize(
    ("fn", "kind", "words"),
    [
        (lambda logp: logp * torch.nan, "not a scalar", "shape [1, 4, 1]"),
        (lambda logp: logp.sum() * torch.nan, "not finite", "the loss is nan"),
        (lambda logp: logp.detach().sum(), "no gradient", "does not depend"),
        (lambda logp: 1.0, "not a scalar", "returned float"),
        (lambda logp: (logp * 0).sum().sqrt(), "not finite", "the gradient is"),
        (lambda logp: logp[7].sum(), "raised", "IndexError"),
    ],
)
def test_failures_name_what_happened_and_where(fn, kind, words):
    with pytest.raises(Failure) as caught:
        Probe(Objective("f", fn, ("logp",))).on("binary")
    assert (caught.value.kind, caught.value.where) == (kind, "binary")
    assert words in caught.value.words


def test_the_noise_of_reinforce_with_the_exact_baseline_is_that_of_the_audit():
    """RLOO is noisier than that: the mean of the others is itself drawn."""

    def exact_baseline(logp, rewards, mask):
        return -torch.where(mask, (rewards - 0.25)[..., None] * logp, 0.0).sum(-1).mean()

    (found,) = noise(Probe(as_objective(exact_baseline)))
    assert found.measured["ratio"] == pytest.approx(found.measured["ratio_with_baseline"], rel=1e-10)
    (found,) = noise(Probe(as_objective(rloo)))
    assert all(a < b for a, b in zip(found.measured["ratio"], found.measured["ratio_with_baseline"], strict=True))
