"""Methods in verl's registries, against a stand-in for its module, its golden numbers, and the record of verl itself.

tests/golden/check_verl.py made the record with verl's own functions; here the same numbers come without it.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import Tensor

from toykit.interop import verl_methods
from toykit.interop.verl_methods import AGGREGATIONS, advantage_estimator, expressible, groups, refusals, settings
from toykit.objectives import CATALOGUE, KL, Advantage, Clip, PolicyGradient, method
from toykit.objectives.beta import Beta

GOLDEN = Path(__file__).parents[1] / "golden"
TABLE = json.loads((GOLDEN / "verl.json").read_text())
RECORD = json.loads((GOLDEN / "verl_interop.json").read_text())
INPUTS = {name: torch.tensor(values, dtype=torch.float64) for name, values in TABLE["inputs"].items()}
MASK = INPUTS["mask"].bool()
B, G, T = MASK.shape
ORDER = torch.randperm(B * G, generator=torch.Generator().manual_seed(3))  # verl's rows need not stand in groups
INDEX = [f"prompt {i}" for i in (ORDER // G).tolist()]


def rows(x: Tensor) -> Tensor:
    return x.flatten(0, 1)[ORDER]


def algorithm(chosen: dict) -> SimpleNamespace:
    """verl's algorithm settings, with its defaults."""
    ctrl = SimpleNamespace(
        type=chosen.get("algorithm.kl_ctrl.type", "fixed"), kl_coef=chosen.get("algorithm.kl_ctrl.kl_coef", 0.001)
    )
    penalty = chosen.get("algorithm.kl_penalty", "kl")
    return SimpleNamespace(use_kl_in_reward=chosen["algorithm.use_kl_in_reward"], kl_penalty=penalty, kl_ctrl=ctrl)


def actor(chosen: dict) -> SimpleNamespace:
    """verl's actor settings, with its defaults, in the middle of a step on the whole batch."""
    given = {name.removeprefix(verl_methods.ACTOR + "."): value for name, value in chosen.items()}
    sizes = {"dp_size": 1, "batch_num_tokens": int(MASK.sum()), "global_batch_size": B * G}
    sizes["loss_scale_factor"] = given.get("loss_scale_factor")
    return SimpleNamespace(
        use_kl_loss=given["use_kl_loss"],
        kl_loss_type=given.get("kl_loss_type", "low_var_kl"),
        kl_loss_coef=given.get("kl_loss_coef", 0.001),
        global_batch_info=sizes,
    )


def run(core_algos: ModuleType, name: str, pieces: int = 2) -> tuple[Tensor, float, Tensor]:
    """(advantages, loss, gradient) as verl's trainer puts them together, with its penalties, in micro-batches."""
    chosen = settings(name, horizon=T)
    scores = torch.zeros(B, G, T, dtype=torch.float64)
    scores.scatter_(-1, MASK.sum(-1, keepdim=True) - 1, INPUTS["graded"][..., None])
    rewards, old, ref = rows(scores), rows(INPUTS["old_logp"]), rows(INPUTS["ref_logp"])
    config, worker = algorithm(chosen), actor(chosen)
    if config.use_kl_in_reward:
        rewards = rewards - config.kl_ctrl.kl_coef * (old - ref)
    mask = rows(MASK)
    estimate, loss = core_algos.estimators[f"toykit_{name}"], core_algos.losses[f"toykit_{name}"]
    advantages, _ = estimate(token_level_rewards=rewards, response_mask=mask.long(), index=INDEX, config=config)
    logp = rows(INPUTS["logp"]).clone().requires_grad_()
    mode, total = chosen[f"{verl_methods.ACTOR}.loss_agg_mode"], 0.0
    for part in torch.arange(B * G).split(B * G // pieces):
        value, _ = loss(old[part], logp[part], advantages[part], mask[part], loss_agg_mode=mode, config=worker)
        if worker.use_kl_loss:
            delta = ref[part] - logp[part]
            value = value + worker.kl_loss_coef * core_algos.agg_loss(
                delta.expm1() - delta, mask[part], mode, **worker.global_batch_info
            )
        total = total + value
    total.backward()
    return advantages, total.item(), logp.grad


def test_one_import_registers_what_verl_can_run(core_algos):
    names = {f"toykit_{name}" for name in expressible()}
    assert (
        set(core_algos.losses)
        == set(core_algos.estimators)
        == names
        == set(sys.modules["toykit.interop.verl"].registered)
    )
    assert set(expressible()) | set(refusals()) == set(CATALOGUE)
    assert {"toykit_grpo", "toykit_dr_grpo", "toykit_rloo", "toykit_gspo"} <= names


REASONS = {
    "ppo": "a critic's values",
    "dapo": "the selection of prompts 'dynamic_sampling' and the reward's shaping by overlong",
    "dpg": "log-probabilities where advantages are made",
    "gdc": "log-probabilities where advantages are made",
    "js_dpg": "log-probabilities where advantages are made",
    "self": "completions of the base policy",
    "remax": "the reward of each prompt's greedy completion",
    "rloo_clip": "got 'importance'",
    "a2c": "a critic's values and log-probabilities of the whole vocabulary (EntropyBonus)",
    "ppo_rlhf": "a critic's values",
    "ob_rl": "a mean of the rewards that is kept from batch to batch",
    "cot_ro": "rewards of single tokens",
    "cot_ro_to_go": "rewards of single tokens",
    "prorl": "the selection of prompts 'dynamic_sampling' and a reference that is reset",
    "mvsr": "a value of each prompt that is kept from batch to batch",
    "mssr": "kept from batch to batch and advantages that are transformed (EntropyShaping)",
    "rorecomp": "a batch that is recomposed after the advantages",
    "rapo": "log-probabilities of the whole vocabulary (OnPolicyForwardKL, EntropyBonus)",
    "rover": "a loss that is no policy gradient (Rover)",
    "pacs": "whole groups where the loss is computed",
    "ace": "advantages that are transformed (Overconfidence)",
    "rl_plus": "a weight of tokens that another policy wrote (MIS) and solutions from elsewhere",
    "luffy": "a weight of tokens that another policy wrote (Reshaped) and solutions from elsewhere",
    "calibrl": "solutions from elsewhere (extras['expert_logp'])",
    "apo": "advantages that are transformed (STCR) and a KL penalty that is weighted by completion",
    "nsr": "advantages that are transformed (OneSign)",
    "psr": "advantages that are transformed (OneSign)",
    "stable_reinforce": "advantages that are transformed (SigmaFilter) and a bound of the ratio's logarithm",
}


def test_what_verl_cannot_run_is_named():
    assert refusals().keys() == REASONS.keys()
    assert all(REASONS[name] in reason for name, reason in refusals().items())
    assert RECORD["refused"] == refusals(), "run: python tests/golden/check_verl.py"


@pytest.mark.parametrize("name", expressible())
def test_the_record_of_verl_itself_agrees_with_us_and_with_its_own_methods(name):
    made = RECORD["methods"][name]
    theirs = made["verl"]
    assert max(made["toykit"].values()) < 1e-12
    assert max(theirs["value"], theirs["gradient"], theirs.get("advantages", 0.0)) < 1e-12 < made["largest_gradient"]
    assert theirs["estimator"] is not None or name in ("reinforce", "lite_ppo", "reinforce_plus_plus")
    assert made["settings"] == settings(name, horizon=T)


@pytest.mark.parametrize("name", expressible())
def test_what_verl_computed_is_computed_here(core_algos, name):
    made = RECORD["methods"][name]
    for pieces in (1, 4):
        _, loss, gradient = run(core_algos, name, pieces)
        assert loss == pytest.approx(made["loss"], abs=1e-10)
        assert gradient.abs().max().item() == pytest.approx(made["largest_gradient"], abs=1e-10)


# verl's numbers in verl.json for whole methods, and for their advantages.
LOSSES = {
    "grpo": "vanilla/kl/seq-mean-token-mean",
    "dr_grpo": "vanilla/dr_grpo/seq-mean-token-sum-norm",
    "gspo": "gspo/narrow/seq-mean-token-mean",
    "rloo": "gpg/rloo/seq-mean-token-sum",
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_golden_numbers_of_verls_own_methods(core_algos, name):
    advantages, loss, gradient = run(core_algos, name)
    case = TABLE["losses"][LOSSES[name]]
    assert loss == pytest.approx(case["value"], abs=1e-8)
    for ours, theirs in ((gradient, case["gradient"]), (advantages, TABLE["advantages"][case["advantage"]])):
        assert (ours - rows(torch.tensor(theirs, dtype=torch.float64))).abs().max() < 1e-8


def test_the_clipped_share_is_verls_own(core_algos):
    verl_methods.register(
        core_algos, "clip_higher", PolicyGradient(ratio="token", clip=Clip(0.2, 0.28), aggregate="token_mean")
    )
    case = TABLE["losses"]["vanilla/clip_higher/token-mean"]
    advantages = rows(torch.tensor(TABLE["advantages"][case["advantage"]], dtype=torch.float64))
    worker = actor({f"{verl_methods.ACTOR}.use_kl_loss": False})
    old, logp = rows(INPUTS["old_logp"]), rows(INPUTS["logp"])
    loss, figures = core_algos.losses["clip_higher"](old, logp, advantages, rows(MASK), config=worker)
    assert loss.item() == pytest.approx(case["value"], abs=1e-12)
    assert figures["actor/pg_clipfrac"] == pytest.approx(case["metrics"]["pg_clipfrac"], abs=1e-8)
    halved, _ = core_algos.losses["clip_higher"](
        old, logp, advantages, rows(MASK), config=worker, rollout_is_weights=torch.full_like(logp, 0.5)
    )
    assert halved.item() == pytest.approx(loss.item() / 2, abs=1e-12)


def test_rows_are_put_into_groups_by_hand():
    assert groups(["b", "a", "b", "a"]).tolist() == [[0, 2], [1, 3]]
    with pytest.raises(ValueError, match=r"index must hold groups of one size, got sizes \[1, 2\]"):
        groups(["b", "a", "b"])
    estimate = advantage_estimator(method("rloo"), "toykit_rloo")
    rewards, mask = torch.tensor([[0.0, 1.0], [4.0, 0.0], [0.0, 3.0], [0.0, 4.0]]), torch.ones(4, 2)
    mask[1, 1] = 0
    advantages, returns = estimate(rewards, mask, index=["b", "a", "b", "a"])
    assert advantages.tolist() == [[-2.0, -2.0], [0.0, 0.0], [2.0, 2.0], [0.0, 0.0]] and returns is advantages
    with pytest.raises(ValueError, match="index must hold the group of each completion for toykit_rloo, got None"):
        estimate(rewards, mask)


def wrong(name: str, **changes) -> tuple[dict, SimpleNamespace, SimpleNamespace]:
    chosen = {**settings(name, horizon=T), **{key.replace("__", "."): value for key, value in changes.items()}}
    return chosen, algorithm(chosen), actor(chosen)


def test_a_job_with_other_settings_than_the_methods_stops(core_algos):
    """Each of these would train something else under the method's name."""
    ones = torch.ones(4, 2)

    def loss_of(name, config, mode=None):
        mode = mode or AGGREGATIONS[method(name).objective.aggregate]
        return core_algos.losses[f"toykit_{name}"](ones, ones, ones, ones.bool(), loss_agg_mode=mode, config=config)

    def estimate(name, config):
        return core_algos.estimators[f"toykit_{name}"](ones, ones, index=[0, 0, 1, 1], config=config)

    start = verl_methods.ACTOR
    with pytest.raises(
        ValueError, match=f"{start}.loss_agg_mode must be 'seq-mean-token-mean' for toykit_gspo, got 'tok"
    ):
        loss_of("gspo", wrong("gspo")[2], "token-mean")
    with pytest.raises(ValueError, match=f"{start}.use_kl_loss must be True for toykit_grpo, got False"):
        loss_of("grpo", wrong("grpo", **{f"{start}.use_kl_loss": False})[2])
    with pytest.raises(ValueError, match=f"{start}.kl_loss_coef must be 0.04 for toykit_grpo, got 0.001"):
        loss_of("grpo", wrong("grpo", **{f"{start}.kl_loss_coef": 0.001})[2])
    with pytest.raises(ValueError, match=f"{start}.use_kl_loss must be False for toykit_rloo, got True"):
        loss_of("rloo", wrong("rloo", **{f"{start}.use_kl_loss": True})[2])
    with pytest.raises(ValueError, match=f"{start}.loss_scale_factor must be the most tokens of a response"):
        loss_of("dr_grpo", wrong("dr_grpo", **{f"{start}.loss_scale_factor": None})[2])
    with pytest.raises(ValueError, match="config must be verl's actor settings for toykit_rloo, got None"):
        loss_of("rloo", None)
    with pytest.raises(ValueError, match="algorithm.use_kl_in_reward must be True for toykit_kl_rl, got False"):
        estimate("kl_rl", wrong("kl_rl", algorithm__use_kl_in_reward=False)[1])
    with pytest.raises(ValueError, match="algorithm.kl_ctrl.type must be 'fixed' for toykit_kl_rl, got 'adaptive'"):
        estimate("kl_rl", wrong("kl_rl", algorithm__kl_ctrl__type="adaptive")[1])
    with pytest.raises(ValueError, match="config must be verl's algorithm settings for toykit_kl_rl, which has a KL"):
        estimate("kl_rl", None)
    with pytest.raises(ValueError, match="algorithm.use_kl_in_reward must be False for toykit_grpo, got True"):
        estimate("grpo", wrong("grpo", algorithm__use_kl_in_reward=True)[1])


def penalty(beta: Beta = 0.1, **options) -> PolicyGradient:
    return PolicyGradient(Advantage(), kl=KL(beta, **options))


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (PolicyGradient(ratio="importance"), "ratio must be none, token or sequence in verl, got 'importance'"),
        (penalty(route="score"), "kl must be reverse, by route reward or autodiff and with one beta in verl"),
        (penalty(torch.ones(2)), "kl must be reverse, by route reward or autodiff and with one beta in verl"),
        (penalty(estimator="k3"), "kl must be token by token, and k1 where it is taken off the reward"),
        (penalty(estimator="k3", route="autodiff", level="sequence"), "kl must be token by token"),
        (penalty(estimator="exact", route="autodiff"), "log-probabilities of the whole vocabulary"),
        ("grpp", "objective must be one of .* did you mean 'grpo'"),
    ],
)
def test_an_objective_of_ones_own_is_refused_for_a_reason(core_algos, objective, message):
    with pytest.raises(ValueError, match=message):
        verl_methods.register(core_algos, "mine", objective)


def test_settings_ask_for_the_horizon_where_the_method_divides_by_it():
    with pytest.raises(ValueError, match="horizon must be given for dr_grpo, got None"):
        settings("dr_grpo")
    assert settings("dr_grpo", 512)[f"{verl_methods.ACTOR}.loss_scale_factor"] == 512
    with pytest.raises(ValueError, match="this one needs a critic's values"):
        settings("ppo")


def test_without_verl_the_import_says_where_it_belongs(monkeypatch):
    monkeypatch.setitem(sys.modules, "verl", None)
    monkeypatch.delitem(sys.modules, "toykit.interop.verl", raising=False)
    with pytest.raises(ImportError, match="must be imported where verl is installed, in verl's own environment"):
        importlib.import_module("toykit.interop.verl")
