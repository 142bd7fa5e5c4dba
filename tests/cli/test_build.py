"""From settings to a trainer, for policies that transformers need not load."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toykit.cli.build import build, kind_of
from toykit.cli.train import TrainSettings
from toykit.objectives import Posterior
from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.rollouts import Enumerated, ExpertLevel, Mixed, Sampled
from toykit.tasks import ChainSum, make
from toykit.tasks.tokenizer import tokenizer_of
from toykit.training import Reference, TrainConfig, save_policy

CHAIN = {"task": "chain_sum", "option": ["n_train=20", "n_test=5", "n_digits=2"]}


def built(**changes):
    given = {"policy": "tabular", "task": "tree", "objective": "grpo", "out": Path("x"), **changes}
    return build(TrainSettings(**given))


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.setenv("TOYKIT_DATA", str(tmp_path))
    policy = GPT(GPTConfig(16, context=32, layers=1, width=16, heads=2, hidden=8), seed=5)
    save_policy(tmp_path / "checkpoints" / "v1.5.safetensors", policy)
    return policy


def test_every_setting_reaches_the_trainer():
    trainer = built(
        objective="kl_rl",
        beta=0.3,
        prompts=5,
        group_size=6,
        temperature=0.5,
        top_k=3,
        top_p=0.9,
        min_p=0.1,
        recompute=True,
        lr=0.2,
        optimizer="sgd",
        epochs=2,
        minibatch=3,
        micro_size=4,
        max_grad_norm=1.5,
        evaluate_every=7,
        reference="average",
        reference_every=8,
        reference_decay=0.9,
        seed=11,
        autocast=True,
    ).trainer
    assert trainer.config == TrainConfig(
        lr=0.2,
        optimizer="sgd",
        prompts=5,
        epochs=2,
        minibatch=3,
        micro_size=4,
        recompute=True,
        max_grad_norm=1.5,
        autocast=True,
        evaluate_every=7,
        reference=Reference("average", 8, 0.9),
        seed=11,
    )
    assert trainer.strategy == Sampled(6, 0.5, top_k=3, top_p=0.9, min_p=0.1) and trainer.objective.kl.beta == 0.3


def test_enumerations_cut_nothing_and_only_a_gpt_is_compiled():
    with pytest.raises(ValueError, match="top_k must not be given with --enumerate, which draws nothing"):
        built(enumerate=True, top_k=3)
    with pytest.raises(
        ValueError, match="compile must be False for a TabularLM, only a GPT or a transformers model is"
    ):
        built(compile=True)


def test_a_method_with_solutions_has_one_right_answer_of_the_task_for_each_prompt():
    mixed = built(objective="rl_plus", policy="gpt", group_size=5, temperature=0.7, **CHAIN).trainer
    assert isinstance(mixed.strategy, Mixed) and mixed.strategy.solutions.counts.tolist() == [1] * 20
    assert (mixed.strategy.group_size, mixed.strategy.temperature, mixed.reader.temperature) == (5, 0.7, 0.7)
    made = mixed.rollouts()[0]
    assert made.rewards[:, 4].tolist() == [1] * 20 and made.extras["external"].any(-1).sum(-1).tolist() == [1] * 20
    whole = built(objective="luffy", group_size=4, enumerate=True).trainer.strategy
    assert isinstance(whole, Mixed) and whole.enumerated and whole.group_size == 4
    level = built(objective="calibrl", policy="gpt", group_size=5, top_k=3, **CHAIN).trainer.strategy
    assert isinstance(level, ExpertLevel) and level.strategy == Sampled(5, top_k=3)
    with pytest.raises(ValueError, match="top_k, top_p, min_p and allowed must be None where solutions are rows"):
        built(objective="rl_plus", policy="gpt", top_k=3, **CHAIN)
    with pytest.raises(ValueError, match="tree is too large to enumerate"):
        built(objective="rl_plus", policy="gpt", task="letters")


def test_the_defaults_are_the_librarys():
    trainer = built().trainer
    assert trainer.config == TrainConfig(lr=0.05, prompts=32)
    assert trainer.strategy == Sampled()
    assert trainer.objective.kl.beta == 0.04


def test_beta_is_that_of_a_posterior_too():
    assert built(objective="js_dpg", beta=2.0).trainer.objective.signal.target == Posterior(2.0)


def test_a_table_shares_as_it_is_told_and_is_in_float64():
    made = built(enumerate=True)
    assert isinstance(made.trainer.policy, TabularLM) and made.trainer.policy.table.dtype == torch.float64
    assert isinstance(made.trainer.strategy, Enumerated)
    assert built(sharing="stationary").trainer.policy.table.shape == (1, 4)
    assert built(task="feature_bandit", sharing="features").trainer.policy.table.shape == (1, 8, 8)
    assert built(dtype="float32").trainer.policy.table.dtype == torch.float32
    assert made.vocab is made.trainer.task.vocab and made.tokenizer is None


def test_a_new_gpt_is_that_of_the_seed_and_can_read_the_task():
    first, same, other = (built(policy="gpt", **CHAIN, seed=seed).trainer.policy for seed in (0, 0, 1))
    assert torch.equal(first.embedding.weight, same.embedding.weight)
    assert not torch.equal(first.embedding.weight, other.embedding.weight)
    assert (first.vocab_size, first.context, first.norm.dtype) == (16, 64, torch.float32)
    long = built(policy="gpt", task="chain_sum", option=["n_train=20", "n_test=5", "n_digits=2", "horizon=90"])
    assert long.trainer.policy.context == 94


def test_a_base_policy_is_found_by_name_and_by_file(base, tmp_path):
    for policy in ("v1.5", str(tmp_path / "checkpoints" / "v1.5.safetensors")):
        assert kind_of(policy) == "gpt"
        made = built(policy=policy, **CHAIN)
        assert torch.equal(made.trainer.policy.embedding.weight, base.embedding.weight)
    assert built(policy="v1.5", dtype="float64", **CHAIN).trainer.policy.norm.dtype == torch.float64


def test_the_learning_rate_is_fit_for_the_kind_of_policy(base):
    assert built(policy="v1.5", **CHAIN).trainer.config.lr == 1e-3
    assert built(policy="v1.5", lr=0.5, **CHAIN).trainer.config.lr == 0.5
    assert kind_of("tabular") == "tabular" and kind_of("owner/model") == "hub" and kind_of("some/folder") == "hub"


def test_a_folder_or_a_hub_id_is_loaded_with_its_tokenizer(tmp_path, monkeypatch):
    asked, tokenizer = [], tokenizer_of(make("chain_sum").vocab)

    def load(name, dtype, device):
        asked.append((name, dtype, device))
        return GPT(GPTConfig(16, context=32)), tokenizer

    monkeypatch.setattr("toykit.cli.build.load", load)
    for name in ("owner/model-1.5b", str(tmp_path)):
        made = built(policy=name, dtype="bfloat16", **CHAIN)
        assert made.trainer.config.lr == 1e-5 and made.tokenizer is tokenizer and made.vocab is None
        assert isinstance(made.trainer.task, ChainSum)  # whose ids the tokenizer has
    assert asked == [("owner/model-1.5b", "bfloat16", "cpu"), (str(tmp_path), "bfloat16", "cpu")]


def test_a_gpt_computes_in_bf16_on_cuda_and_a_table_never(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    seen = []

    def stop(policy, task, objective, strategy, config, processes):
        seen.append(config.autocast)
        raise RuntimeError("far enough")

    monkeypatch.setattr("toykit.cli.build.Trainer", stop)
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *where: self)
    for changes in (
        {"policy": "gpt"},
        {"policy": "gpt", "autocast": False},
        {"policy": "gpt", "dtype": "bfloat16"},
        {"policy": "gpt", "device": "cpu"},
    ):
        with pytest.raises(RuntimeError, match="far enough"):
            built(**{"device": "cuda", **CHAIN, **changes})
    with pytest.raises(RuntimeError, match="far enough"):
        built(device="cuda")
    assert seen == [True, False, False, False, False]
