"""What can be audited, and what becomes of bad input: an error with its name, or a finding."""

import json
import sys

import pytest
import torch

from toykit.audit import PLANTED, as_objective, audit
from toykit.objectives import KL, Advantage, PolicyGradient, SimPO, method


def fixed(logp, rewards, mask):
    return -(rewards[..., None] * logp * mask).sum()


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (fixed, ("logp", "rewards", "mask")),
        (lambda mask, logp, beta=0.1: logp.sum(), ("mask", "logp")),
        ("rloo", ("logp", "rewards", "mask")),
        ("grpo", ("logp", "old_logp", "ref_logp", "rewards", "mask")),
        (PolicyGradient(Advantage(), ratio="token"), ("logp", "old_logp", "rewards", "mask")),
        (method("kl_rl"), ("logp", "ref_logp", "rewards", "mask")),
        ("dpo", ("logp", "ref_logp", "rewards", "mask")),
        (SimPO(), ("logp", "rewards", "mask")),
        (
            PolicyGradient(kl=KL(0.1, "exact", route="autodiff")),
            ("logp", "rewards", "mask", "vocab_logp", "ref_vocab_logp"),
        ),
    ],
)
def test_an_objective_takes_what_it_asks_for(given, taken):
    assert as_objective(given).takes == taken


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda logp, reward: 0, "got reward; did you mean 'rewards'"),
        (lambda rewards: 0, "must take logp"),
        (lambda logp, /: 0, "got logp"),
        (lambda **given: 0, "must take logp"),
        (3, "must be a name, a toykit objective or a function, got int"),
        ("grp", "did you mean 'grpo'"),
        ("absent.py:f", "a file that exists, got absent.py"),
        ("absent_module:f", "a module 'absent_module' that does not exist"),
        ("toykit.audit.planted:kl_sgn", "did you mean 'kl_sign'"),
    ],
)
def test_what_is_not_there_is_an_error_with_its_name(given, words):
    with pytest.raises(ValueError, match="(?s).*" + words.replace("(", "[(]")):
        as_objective(given)


def test_a_file_is_run_and_its_function_or_objective_taken(tmp_path, monkeypatch):
    path = tmp_path / "losses.py"
    path.write_text(
        "from toykit.objectives import method\n\ndef f(logp):\n    return logp.sum()\n\nmine = method('rloo')\n"
    )
    assert as_objective(f"{path}:f").name == f"{path}:f"
    assert as_objective(f"{path}:mine").takes == ("logp", "rewards", "mask")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    assert as_objective("losses:f").takes == ("logp",)
    sys.modules.pop("losses")
    path.write_text("1 / 0")
    for name in (f"{path}:f", "losses:f"):
        with pytest.raises(ValueError, match="ZeroDivisionError"):
            as_objective(name)
    path.write_text("import absent_module")
    with pytest.raises(ValueError, match="losses could not be imported: No module named 'absent_module'"):
        as_objective("losses:f")


@pytest.mark.parametrize(
    ("fn", "bug", "words"),
    [
        (lambda logp, rewards: (logp * torch.nan).sum(), "not_finite", "the loss is nan"),
        (lambda logp, rewards: logp.sum(-1), "not_a_scalar", "shape [1, 3], not a scalar"),
        (lambda logp, rewards: logp.detach().sum() * rewards.sum(), "no_gradient", "no gradient reaches logp"),
        (lambda logp, rewards: logp.flatten()[99], "raised", "IndexError"),
        (lambda logp, rewards: None, "not_a_scalar", "returned NoneType"),
    ],
)
def test_a_loss_that_fails_is_a_finding_with_the_problem_that_shows_it(fn, bug, words):
    found = audit(fn, "f")
    assert [one.bug for one in found.diagnosis] == [bug]
    faults = [p for p in found.properties if p.verdict == "fault"]
    assert faults and all(p.problem for p in faults)
    assert any(words in p.detail for p in faults)
    json.dumps(found.row())


def test_an_input_that_is_not_read_is_a_finding():
    found = audit(lambda logp, old_logp, rewards, mask: fixed(logp, rewards, mask), "f")["edges.inputs"]
    assert (found.verdict, found.measured) == ("fault", ["old_logp"])


def test_a_loss_that_draws_is_a_finding():
    def drawn(logp, rewards, mask):
        return fixed(logp, rewards, mask) * torch.rand(())

    found = audit(drawn)["edges.deterministic"]
    assert found.verdict == "fault" and "it draws, or keeps a state" in found.detail


def test_a_loss_that_fails_now_and_then_is_measured_where_it_does_not():
    def picky(logp, rewards, mask):
        if logp.shape[0] == 2:
            raise RuntimeError("one prompt at a time")
        return PLANTED["std_leak"][1](logp, rewards, mask)

    found = audit(picky)
    assert found["direction.objective"].verdict == "exact"
    (failed,) = [p for p in found.properties if p.name == "interference"]
    assert failed.detail == "it raised RuntimeError: one prompt at a time" and failed.problem == "pair"


def test_a_loss_without_rewards_or_advantages_is_measured_where_that_applies():
    found = audit(lambda logp, ref_logp, mask: torch.where(mask, (logp - ref_logp) ** 2 / 2, 0.0).sum(-1).mean(), "k2")
    assert found["groups.scale"].verdict == "-"
    assert found["direction.kl.token"].verdict == "exact"


def test_an_advantage_without_bias_is_given_to_those_who_ask_for_advantages():
    def loss(logp, advantages, mask):
        return -torch.where(mask, advantages[..., None] * logp, 0.0).sum(-1).mean()

    assert audit(loss)["direction.objective"].verdict == "exact"


def test_a_loss_that_is_not_symmetric_in_the_group_is_enumerated_in_order():
    def first_only(logp, rewards, mask):
        advantage = rewards[..., :1] - rewards[..., 1:].mean(-1, keepdim=True)
        return -torch.where(mask, advantage[..., None] * logp, 0.0)[..., 0, :].sum(-1).mean()

    found = audit(first_only)
    assert found["invariance.permutation"].verdict == "biased"
    assert found["direction.objective"].verdict == "exact"
