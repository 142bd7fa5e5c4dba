"""TRL's losses under audit: its own code, on a stand-in for the trainer."""

import pytest

pytest.importorskip("trl")

from toykit.audit import Probe, as_objective, direction, lengths
from toykit.audit.groups import over_sizes


def test_dr_grpo_without_scaling_is_unbiased_but_for_its_scale():
    probe = Probe(as_objective("trl:dr_grpo,scale_rewards=none"))
    found = over_sizes(probe, "binary", (2, 4))
    assert found[2].error < 1e-9 and found[4].error < 1e-9
    assert found[2].weights[0] == pytest.approx(1 / 2 / 3)  # 1 - 1/G over the horizon
    assert found[4].weights[0] == pytest.approx(3 / 4 / 3)


def test_the_kl_is_the_reverse_one_of_each_next_token_and_without_its_correction_the_forward_one():
    kinds = {}
    for name in ("trl:grpo,beta=0.1", "trl:grpo,beta=0.1,use_bias_correction_kl=false"):
        probe = Probe(as_objective(name))
        kinds[name] = [direction.kl_part(probe, base).measured["best"] for base in (direction.TOKEN, direction.TREE)]
    assert list(kinds.values()) == [
        ["KL(pi||ref)", "KL(pi||ref) of each next token"],
        ["KL(ref||pi)", "KL(ref||pi) of each next token"],
    ]


@pytest.mark.parametrize("name", ["grpo", "dapo"])
def test_it_is_the_update_of_the_catalogues_method(name):
    """But for TRL's 1e-4 beside the standard deviation, where toykit has 1e-6."""
    ours, theirs = (Probe(as_objective(n)).on("lengths/at_reference") for n in (name, f"trl:{name}"))
    assert float((ours.gradient - theirs.gradient).norm() / ours.gradient.norm()) < 1e-3


def test_sequence_mean_divides_by_length_in_trl_too():
    found = {p.name: p for p in lengths.properties(Probe(as_objective("trl:grpo")))}
    weight = found["lengths.weight.correct"].measured["weight"]
    assert weight == pytest.approx({"1": 1, "2": 1 / 2, "3": 1 / 3}, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("trl:grpp", "Unknown loss type"),
        ("trl:grpo,betta=1", "must name options of GRPOConfig"),
        ("trl:grpo,beta", "option must be NAME=VALUE"),
    ],
)
def test_what_trl_does_not_know_is_an_error_with_its_name(name, words):
    with pytest.raises(ValueError, match=words):
        as_objective(name)
