"""verl's losses under audit, where verl is installed (see tests/golden/check_verl.py for an environment with it)."""

import pytest

pytest.importorskip("verl")

from toykit.audit import Probe, as_objective, direction, offpolicy
from toykit.audit.groups import over_sizes

SUM = "loss_agg_mode=seq-mean-token-sum"


def test_rloo_with_a_sum_over_tokens_is_exact_and_asks_for_no_behaviour_policy():
    objective = as_objective(f"verl:rloo+gpg,{SUM}")
    assert objective.takes == ("logp", "rewards", "mask")
    assert direction.whole(Probe(objective)).verdict == "exact"


def test_opo_has_the_scale_of_a_mean_that_holds_the_sample_itself():
    found = over_sizes(Probe(as_objective(f"verl:opo+gpg,{SUM}")), "binary", (2, 4))
    assert [found[g].weights[0] for g in (2, 4)] == pytest.approx([1 / 2, 3 / 4], rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "best"), [("kl", "0"), ("mse", "KL(pi||ref)"), ("k2", "KL(pi||ref)"), ("low_var_kl", "KL(ref||pi)")]
)
def test_each_kl_loss_is_what_its_estimate_gives_when_it_is_differentiated(kind, best):
    probe = Probe(as_objective(f"verl:rloo+gpg,{SUM},kl_loss_coef=0.1,kl_loss_type={kind}"))
    assert direction.kl_part(probe, direction.TOKEN).measured["best"] == best


def test_the_dual_clip_is_seen():
    (found,) = offpolicy.response(Probe(as_objective("verl:vanilla")))
    assert found.measured["wrong_live"] == pytest.approx([0.8, 3.0], abs=1e-5)


@pytest.mark.parametrize(
    ("name", "words"),
    [("vanila", "did you mean 'vanilla'"), ("rlo+gpg", "did you mean 'rloo'"), ("gae+gpg", "missing")],
)
def test_what_verl_does_not_know_or_cannot_do_is_an_error_with_its_name(name, words):
    with pytest.raises(ValueError, match=words):
        as_objective(f"verl:{name}")
