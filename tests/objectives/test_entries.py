"""The catalogue says of every method what it is: nothing is missing, and the losses of pairs are what is written."""

from __future__ import annotations

import math
import re

import pytest
import torch

from toykit.objectives import CATALOGUE, OFFLINE, PIPELINES, BradleyTerry, Scored, entry, method
from toykit.objectives import entries as module
from toykit.objectives.unpaired import UNA

# What card 31 names, as the names of the catalogue.
CARD = {
    "RLHF": "rlhf",
    "RLAIF": "rlaif",
    "Constitutional AI": "constitutional_ai",
    "DPO": "dpo",
    "DPO with smoothing": "dpo_smoothed",
    "robust DPO": "dpo_robust",
    "UNA": "una",
    "UNA, cross-entropy": "una_bce",
    "UNA on policy": "una_on_policy",
    "outcome-based RL": "ob_rl",
    "CoT reward optimisation": "cot_ro",
    "its returns to go": "cot_ro_to_go",
    "verifier-guided RL": "verifier_guided",
    "PPO": "ppo_rlhf",
    "GRPO": "grpo",
    "GRPO, TRL's defaults": "grpo_trl",
    "Dr. GRPO": "dr_grpo",
    "GSPO": "gspo",
    "DAPO": "dapo",
    "batch std": "lite_ppo",
    "ILQL": "ilql",
    "VerifierQ": "verifier_q",
    "CQL": "cql",
    "REINFORCE": "reinforce",
    "A2C": "a2c",
    "RLOO": "rloo",
    "RLOO, TRL's": "rloo_clip",
    "Bradley-Terry": "bradley_terry",
    "its margin": "bradley_terry_margin",
    "its centring": "bradley_terry_centred",
    "process reward model": "process_reward",
    "SFT": "sft",
    "SLiC": "slic",
    "IPO": "ipo",
    "IPO, TRL's": "ipo_per_token",
    "KTO": "kto",
    "ORPO": "orpo",
    "SimPO": "simpo",
    "CPO": "cpo",
}


def test_every_method_has_one_line_and_every_line_a_method():
    assert module._LINES.keys() == CATALOGUE.keys() | OFFLINE.keys()
    assert not (CATALOGUE.keys() & OFFLINE.keys() or PIPELINES.keys() & module._LINES.keys())
    assert set(module.names()) == CATALOGUE.keys() | OFFLINE.keys() | PIPELINES.keys()
    assert set(CARD.values()) <= set(module.names())


@pytest.mark.parametrize("name", module.names())
def test_an_entry_is_whole(name):
    found = entry(name)
    assert all((found.name, found.kind, found.reward, found.density, found.loss, found.source))
    assert found.optimiser in module.OPTIMISERS and found.kind == module.KINDS[found.optimiser]
    if name in CATALOGUE:
        assert found.kind == "on-policy" and ("a critic" in found.needs) == method(name).objective.needs_critic
        assert (found.optimiser == module.CRITIC) == ("a critic" in found.needs)
    if name in PIPELINES:
        assert set(PIPELINES[name].stages) <= CATALOGUE.keys() | OFFLINE.keys()


def test_pieces_and_needs_are_read_off_the_method():
    assert entry("rloo_clip").pieces.keys() == {"advantage", "ratio", "clip", "aggregate", "kl"}
    assert entry("rloo_clip").needs == ("a group of completions", "a reference")
    assert entry("dapo").pieces["selection"] == "dynamic_sampling" and "shaping" in entry("dapo").pieces
    assert entry("kto").needs == ("labelled completions", "a reference")
    assert entry("ilql").needs == ("labelled completions", "Q and V")
    assert entry("rlhf").needs == ("demonstrations", "pairs", "a reward model", "a reference", "a critic")
    with pytest.raises(ValueError, match="method must be one of .*, got 'doppo'; did you mean 'd?ppo"):
        entry("doppo")


def test_a_method_that_was_added_without_a_line_is_told_by_its_pieces(monkeypatch):
    monkeypatch.setitem(CATALOGUE, "mine", CATALOGUE["rloo"])
    assert entry("mine").loss == "see its pieces" and "mine" in module.names()
    assert entry("mine").pieces == entry("rloo").pieces


def test_an_offline_name_is_no_objective_of_the_trainer():
    with pytest.raises(ValueError, match="objective must be an on-policy method, 'dpo' learns from given data"):
        method("dpo")


# One pair: log-probabilities a token under policy and reference, lengths 2 and 3.
CHOSEN, REJECTED = ([-0.7, -0.4], [-1.1, -0.9]), ([-0.3, -0.8, -0.5], [-0.6, -0.2, -0.4])
SCORE, MARGIN, Z = (0.8, -0.3), 0.25, 0.6


def words(side: str, logp: list[float], ref: list[float]) -> dict[str, float]:
    """What the formulas call the numbers of a completion."""
    p = sum(logp) / len(logp)
    named = {"h": sum(logp) - sum(ref), "T": len(logp), "p": p, "o": p - math.log(1 - math.exp(p)), "logpi": sum(logp)}
    return {f"{name}_{side}": value for name, value in named.items()}


def evaluated(formula: str) -> float:
    """A formula of the catalogue as Python: "0.1 (" multiplies, "^" is a power, ", d = ..." defines d."""
    text = re.sub(r"log pi\(y_(\w)\)", r"logpi_\1", formula).replace("log sigma(", "logsigma(").replace("^", "**")
    first, *others = re.split(r", (?=\w+ = |\w+ the )", text)
    known = {**words("w", *CHOSEN), **words("l", *REJECTED), "s_w": SCORE[0], "s_l": SCORE[1]}
    known |= {"margin": MARGIN, "z": Z, "h": known["h_w"], "max": max}
    known["logsigma"] = lambda x: -math.log1p(math.exp(-x))
    for clause in others:
        name, _, value = clause.partition(" = ")
        if value and name not in ("o", "p"):
            known[name] = eval(multiplied(value), {}, known)
    return eval(multiplied(first), {}, known)


def multiplied(text: str) -> str:
    return re.sub(r"(?<![\w.])(\d+(?:\.\d+)?|z|\(1 - z\)) (?=[(a-z])", r"\1 * ", text)


PAIRS = [name for name in OFFLINE if OFFLINE[name]().loss.data == "pairs"]


@pytest.mark.parametrize("name", [*PAIRS, "una", "una_bce"])
def test_the_formula_that_is_written_is_the_loss_that_is_computed(name):
    def scored(side: tuple[list[float], list[float]]) -> Scored:
        logp, ref = (torch.tensor(x, dtype=torch.float64) for x in side)
        return Scored(logp, torch.ones_like(logp, dtype=torch.bool), ref)

    loss, formula = OFFLINE[name]().loss, entry(name).loss.split(" (R - beta")[0]
    chosen, rejected, score = torch.tensor([*SCORE, Z], dtype=torch.float64)
    if isinstance(loss, BradleyTerry):
        found = loss(chosen, rejected, MARGIN if loss.margins else 0.0)
    elif isinstance(loss, UNA):
        found = loss(scored(CHOSEN), score)
    else:
        found = loss(scored(CHOSEN), scored(REJECTED))
    assert evaluated(formula) == pytest.approx(found.item(), abs=1e-12)
