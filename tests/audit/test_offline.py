"""Offline methods under audit: their data are a group's completions, and what is known of them must be found."""

import math
from itertools import product

import pytest
import torch

from toykit.audit import Groups, Probe, as_objective, audit, direction, figures, lengths, problem
from toykit.audit.catalogue import rollouts
from toykit.audit.offline import from_offline
from toykit.audit.target import properties as target
from toykit.objectives import DPO, OFFLINE, SFT, SimPO, offline_method
from toykit.objectives.offline import Read, row_losses, shared
from toykit.rewards import every_pair, labelled
from toykit.rewards.preferences import demonstrations

POLICIES = [name for name in OFFLINE if offline_method(name).loss.reads == "logp"]


def batch_of(name, made):
    if offline_method(name).loss.data == "pairs":
        return every_pair(made)
    if name == "sft":
        return demonstrations(made, law=made.rewards)
    return labelled(made, None if name == "una" else lambda made: (made.rewards > 0.5).double())


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize(("base", "index"), [("lengths", [[0, 3, 4]]), ("pair", [[0, 0, 2], [1, 0, 1]])])
def test_the_loss_is_that_of_the_batch_made_of_the_group(name, base, index):
    """By the batches that `toykit.rewards` makes of rollouts, row by row as OfflineTrainer takes them."""
    groups = Groups(problem(base), torch.tensor([index]), torch.ones(1))
    given, objective, loss = groups.inputs(), as_objective(name), offline_method(name).loss
    logp = given["logp"].clone().requires_grad_()
    found = objective.fn(**{k: given[k] for k in objective.takes if k != "logp"}, logp=logp)
    (pull,) = torch.autograd.grad(found.sum(), logp)

    asked = {k: given[k] for k in ("mask", "rewards", "ref_logp")}
    made = rollouts(groups, **asked).take(torch.tensor(0))
    batch, own = batch_of(name, made), batch_of(name, made.with_(ref_logp=logp[0])).ref_logp  # in the batch's places
    whole = shared(loss, own, batch) if name == "sft" else None
    if name == "kto":
        h = ((logp - given["ref_logp"])[0] * given["mask"][0]).sum(-1)
        whole = h.mean().clamp(min=0).detach()
    wanted = (batch.weights * row_losses(loss, Read(logp=own), batch, whole)).sum()
    (slope,) = torch.autograd.grad(wanted, logp)
    torch.testing.assert_close(found[0], wanted)
    torch.testing.assert_close(pull, slope)


BASE = torch.tensor([0.15, 0.35, 0.3, 0.2], dtype=torch.float64)  # the reference of `ties`, whose completions are given
REWARDS = torch.tensor([1, 1, 0.5, 0.0], dtype=torch.float64)
WINS = (REWARDS[:, None] - REWARDS).sigmoid()


def normalised(weights):
    return (weights / weights.sum()).tolist()


@pytest.mark.parametrize(("temperature", "beta"), [(1.0, 0.1), (10**0.5, 10**-0.5)])
def test_the_flow_of_dpo_ends_at_the_posterior_of_its_beta_by_the_judges_temperature(temperature, beta):
    loss = DPO(beta / temperature)
    end, posterior, support = target(Probe(from_offline(loss, "dpo", temperature)))
    assert end.measured["law"] == pytest.approx(normalised(BASE * (REWARDS / beta).exp()), abs=1e-7)
    assert posterior.verdict == "exact" and posterior.measured["nearest_beta"] == pytest.approx(beta)
    assert support.measured["ratio_of_equals"] == pytest.approx(0.35 / 0.15, rel=1e-6)


def test_the_flow_of_ipo_ends_at_its_closed_form():
    """h(y) = E_y'[P(y > y')] / tau and a constant, y' of the data: the least squares of h_i - h_j on (2 P - 1) c."""
    end, posterior, _ = target(Probe(as_objective("ipo")))
    assert end.measured["law"] == pytest.approx(normalised(BASE * (WINS @ BASE / 0.1).exp()), abs=1e-7)
    assert posterior.verdict == "biased"


def test_una_is_kl_rl_times_2_beta_and_fresh_completions_lead_it_to_the_posterior():
    probe = Probe(as_objective("una"))
    found = direction.whole(probe)
    row = found.measured["E[r] - beta KL(pi||ref)"]
    assert found.verdict == "exact" and row["beta"] == pytest.approx(0.1)
    exact = Probe(as_objective("kl_rl")).on("steps").gradient  # its beta is 0.1 too
    torch.testing.assert_close(probe.on("steps").gradient, 0.2 * exact, rtol=1e-10, atol=1e-14)
    _, fresh, _ = target(Probe(as_objective("una_on_policy")))
    assert fresh.verdict == "exact" and fresh.measured["beta"] == pytest.approx(0.1)
    end, fixed, _ = target(probe)
    assert fixed.verdict == "biased" and fixed.measured["kl"] > 0.1
    law = torch.tensor(end.measured["law"], dtype=torch.float64)
    multiplier = BASE * (0.1 * (law / BASE).log() - REWARDS) / law  # of the constraint that the law sums to 1
    assert multiplier.tolist() == pytest.approx([float(multiplier[0])] * 4, rel=1e-5)


def test_sft_is_the_likelihood_of_the_right_ones_by_the_length_of_the_groups():
    """A token of a right completion counts 1 / (the number of right ones times their mean length) in its group."""
    measured = Probe(as_objective("sft")).on("lengths/at_reference")  # G = 3, six completions, all equally likely
    counts = [1, 1, 2, 2, 3, 3]
    for leaf in range(6):
        wanted = 0.0
        for others in product(range(6), repeat=2):
            right = [counts[i] for i in (leaf, *others) if i % 2 == 0]
            wanted += (leaf % 2 == 0) * 3 / sum(right) / 36 if right else 0.0
        assert measured.coefficient[0, leaf, 0].item() == pytest.approx(wanted, abs=1e-12)
    alone = Probe(as_objective(SFT("token_sum"))).on("steps/at_reference@1")  # one completion: whatever its reward
    assert float(alone.gradient.abs().max()) < 1e-15


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_simpo_and_ipo_per_token_share_a_push_by_length_and_dpo_does_not():
    """One pair of `lengths`, by hand: right with one token against wrong with three."""
    groups = Groups(problem("lengths/at_reference"), torch.tensor([[[0, 5]]]), torch.ones(1))
    logp = groups.inputs()["logp"][0, 0]
    pull = Probe(as_objective(SimPO(2.0, 1.0))).call(groups.inputs(), groups).pull[0, 0]
    gap = float(logp[0].sum() - logp[1].sum() / 3)
    p = sigmoid(1.0)
    push = 2 * (p * sigmoid(1 - 2 * gap) - (1 - p) * sigmoid(1 + 2 * gap))
    assert pull.flatten().tolist() == pytest.approx([-push, 0, 0, push / 3, push / 3, push / 3], abs=1e-12)
    weights = {
        name: {p.name: p for p in lengths.properties(Probe(as_objective(name)))}["lengths.weight.correct"].measured
        for name in ("dpo", "ipo", "ipo_per_token", "orpo", "simpo")
    }
    for name in ("dpo", "ipo"):
        assert weights[name]["weight"] == pytest.approx({"1": 1, "2": 1, "3": 1})
    assert weights["ipo_per_token"]["weight"] == pytest.approx({"1": 1, "2": 1 / 2, "3": 1 / 3})
    for name in ("orpo", "simpo"):
        assert 1 > weights[name]["weight"]["2"] > weights[name]["weight"]["3"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bradley_terry", "a loss of a policy to be audited, got one of a reward model's scores"),
        ("process_reward", "got one of a reward model's scores"),
        ("cql", "got one of a model's values Q"),
        ("ilql", "got one of a model's values Q and V"),
        ("rlhf", "a pipeline of sft, bradley_terry, ppo_rlhf"),
        ("verifier_q", "a pipeline of cql: audit these one by one"),
        ("dpo_smothed", "did you mean 'dpo_smoothed'"),
    ],
)
def test_what_is_not_one_loss_of_a_policy_is_refused_with_what_it_is(name, words):
    with pytest.raises(ValueError, match=words):
        as_objective(name)


@pytest.mark.parametrize("name", ["sft", "simpo"])
def test_a_sheet_of_an_offline_method_is_drawn_and_says_what_its_data_are(name):
    found = audit(name)
    assert figures(found).axes
    assert "stay as they are while the policy moves" in found.caption() and "of a group" in found.caption()
