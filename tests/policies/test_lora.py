"""Low-rank adapters: what they change, what they leave, and what is kept of them."""

from __future__ import annotations

import importlib.util
import json

import pytest
import torch

pytest.importorskip("peft")

from transformers import AutoModelForCausalLM

from toykit.policies import GPT, GPTConfig, TabularLM, export
from toykit.policies.lora import Unadapted, adapted, adapters, adapters_off, merged, untrained
from toykit.policies.qwen3 import qwen3
from toykit.rollouts import Sampled, outputs, token_logps
from toykit.tasks.bandit import random_bandit
from toykit.tasks.chain_sum import ChainSum
from toykit.training import Reference, TrainConfig, Trainer, checkpoint

TASK = ChainSum(n_digits=(1, 2), n_train=40, n_test=8, horizon=5)
SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
LAYERS = 2 * 7  # q, k, v, o, gate, up, down


def model(seed: int = 0) -> torch.nn.Module:
    """A base that can be sure of a token: the embedding, which is the last layer too, has no adapter."""
    made = qwen3(TASK.vocab, SIZES, seed).eval()
    with torch.no_grad():
        made.model.embed_tokens.weight.mul_(20)
    return made


def small(seed: int = 0, rank: int = 2) -> torch.nn.Module:
    return adapted(model(seed), rank, seed=seed)


def trained(policy: torch.nn.Module) -> torch.nn.Module:
    """With adapters that add something."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in adapters(policy):
            layer.lora_B.default.weight.normal_(generator=draw)
    return policy


def trainer(name: str = "grpo", base: int = 0, rank: int = 2, **options) -> Trainer:
    config = TrainConfig(**{"lr": 0.02, "prompts": 8, **options})
    return Trainer(small(base, rank), TASK, name, Sampled(4), config)


def logits(policy: torch.nn.Module) -> torch.Tensor:
    prompts = TASK.prompts()
    completions = torch.full((len(prompts), 1, 3), 7)
    return outputs(policy, prompts.tokens, prompts.mask, completions, completions > 0).detach()


def frozen(policy: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.clone() for name, p in policy.named_parameters() if not p.requires_grad}


def test_only_the_adapters_train_and_they_add_nothing_yet():
    plain, policy = model(), small()
    names = {name for name, p in policy.named_parameters() if p.requires_grad}
    assert len(adapters(policy)) == LAYERS and len(names) == 2 * LAYERS and all("lora_" in name for name in names)
    # rank * (in + out) of q, k, v, o (16 -> 16, 8, 8, 16 of 2 heads, 2 of which have keys of their own) and the rest
    per_layer = sum(sum(layer.base_layer.weight.shape) for layer in adapters(policy))
    assert sum(p.numel() for p in policy.parameters() if p.requires_grad) == 2 * per_layer
    assert untrained(policy) and not untrained(trained(policy)) and not untrained(plain)
    assert torch.equal(logits(small()), logits(plain))


def test_an_adapter_adds_alpha_over_rank_times_b_a():
    policy, plain = trained(adapted(model(), rank=2, alpha=3.0)), model()
    layer = policy.model.layers[0].mlp.up_proj
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    added = 1.5 * layer.lora_B.default.weight @ layer.lora_A.default.weight
    expected = x @ (plain.model.layers[0].mlp.up_proj.weight + added).T
    assert torch.allclose(layer(x), expected, rtol=0, atol=1e-5) and added.abs().max() > 0.1
    assert adapted(model(), 4).model.layers[0].mlp.up_proj.scaling["default"] == 2.0  # alpha is twice the rank


def test_the_seed_decides_and_no_generator_moves():
    state = torch.get_rng_state()
    first, same, other = (adapters(adapted(model(), 2, seed=s))[0].lora_A.default.weight for s in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_adapters_of_a_bf16_model_are_in_float32():
    policy = adapted(model().to(torch.bfloat16), 2)
    assert {p.dtype for p in policy.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in policy.parameters() if not p.requires_grad} == {torch.bfloat16}
    assert logits(policy).dtype == torch.bfloat16


def test_off_an_adapted_model_is_what_it_was_and_on_again_what_it_is():
    policy, plain = trained(small()), logits(model())
    with_them = logits(policy)
    with adapters_off(policy):
        assert torch.equal(logits(policy), plain)
    assert torch.equal(logits(policy), with_them) and (with_them - plain).abs().max() > 0.01
    off = Unadapted(policy)
    assert torch.equal(logits(off), plain) and list(off.parameters()) == []
    assert all(p.requires_grad for layer in adapters(policy) for p in layer.lora_A.parameters())


def test_merged_it_is_a_plain_model_with_the_same_logits_and_loads_without_peft(tmp_path):
    policy = trained(small())
    plain = merged(policy)
    assert not adapters(plain) and len(adapters(policy)) == LAYERS
    assert [*plain.state_dict()] == [*model().state_dict()]
    precise = trained(small()).double()
    assert torch.allclose(logits(merged(precise)), logits(precise), rtol=0, atol=1e-12)
    export(policy, tmp_path, TASK.vocab)
    assert not list(tmp_path.glob("adapter*")) and "base_layer" not in (tmp_path / "config.json").read_text()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logits(loaded), logits(plain))


@pytest.mark.parametrize("kind", ["frozen", "reset", "average"])
def test_training_leaves_the_base_bit_for_bit_and_begins_at_the_reference(kind):
    made = trainer("kl_rl", reference=Reference(kind, every=2))
    assert isinstance(made.reference, Unadapted) == (kind == "frozen")
    before, moved = frozen(made.policy), [p.clone() for p in made.parameters]
    steps = [made.step() for _ in range(4)]
    assert steps[0]["kl"] == pytest.approx(0, abs=1e-6) and any(abs(s["kl"]) > 1e-4 for s in steps[1:])
    assert all(torch.equal(p, before[name]) for name, p in made.policy.named_parameters() if name in before)
    assert all((p != was).any() for p, was in zip(made.parameters, moved, strict=True))


def test_the_reference_stays_what_the_base_says_while_the_policy_moves():
    made = trainer("kl_rl")
    base = model()
    for _ in range(3):
        made.step()
    made_of, _ = made.rollouts()
    r = made._with_others(made_of)
    assert torch.equal(r.ref_logp, token_logps(base, r.prompts, r.prompt_mask, r.completions, r.mask).detach())
    assert not torch.equal(r.ref_logp, r.old_logp)


def test_adapters_that_add_something_already_make_a_reference_of_their_own():
    made = Trainer(trained(small()), TASK, "kl_rl", Sampled(4), TrainConfig(prompts=8))
    assert not isinstance(made.reference, Unadapted)
    assert made.step()["kl"] == pytest.approx(0, abs=1e-5)


def test_the_reward_improves():
    """Of one step's worth of prompts, for a reward that is easy to find: short completions."""
    from toykit.rewards import Shaping, length

    config = TrainConfig(lr=0.02, prompts=8)
    made = Trainer(small(), TASK, "rloo", Sampled(8), config, shaping=Shaping({"length": (-1.0, length)}))
    lengths = [made.step()["length"] for _ in range(15)]
    assert sum(lengths[-3:]) < sum(lengths[:3]) - 3


@pytest.mark.parametrize("name", ["kl_rl", "ppo"])
def test_a_checkpoint_holds_what_trains_and_a_resumed_run_is_the_same(name, tmp_path):
    straight = trainer(name)
    figures = [straight.step() for _ in range(4)]
    first = trainer(name)
    first.run(2, tmp_path, progress=False)
    tensors, meta = checkpoint.load(tmp_path / "checkpoint.safetensors")
    held = {k for k in tensors if k.startswith("policy/")}
    assert held == {f"policy/{n}" for n, p in first.policy.named_parameters() if p.requires_grad}
    assert not [k for k in tensors if k.startswith("reference/")] and isinstance(meta["frozen"], int)
    resumed = trainer(name).load(tmp_path / "checkpoint.safetensors")
    assert [resumed.step()["loss"] for _ in range(2)] == [f["loss"] for f in figures[2:]]
    for a, b in zip(straight.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_checkpoint_of_another_base_or_rank_is_refused_and_changes_nothing(tmp_path):
    made = trainer()
    made.run(2, tmp_path, progress=False)
    path = tmp_path / "checkpoint.safetensors"
    for other, message in {
        trainer(base=1): "was made with another base: weights that do not train differ",
        trainer(rank=3): r"must hold policy/.*lora_A.default.weight of shape \[3, 16\], got shape \[2, 16\]",
    }.items():
        before = [p.clone() for p in other.policy.parameters()]
        with pytest.raises(ValueError, match=message):
            other.load(path)
        assert all(torch.equal(a, b) for a, b in zip(before, other.policy.parameters(), strict=True))


def test_the_sum_over_what_is_frozen_is_that_of_its_bits():
    part = torch.nn.Linear(2, 1)
    part.bias.requires_grad_(False)
    with torch.no_grad():
        part.bias.fill_(1.0)
    assert checkpoint.frozen(part) == {"frozen": 0x3F800000}  # 1.0 in float32
    assert checkpoint.frozen(part.to(torch.bfloat16)) == {"frozen": 0x3F80}
    assert checkpoint.frozen(torch.nn.Linear(2, 1)) == {}


def test_what_cannot_be_adapted_is_refused(monkeypatch):
    for policy in (GPT(GPTConfig(16)), TabularLM.of(random_bandit())):
        with pytest.raises(ValueError, match=f"must be a transformers model for lora, got {type(policy).__name__}"):
            adapted(policy, 2)
    with pytest.raises(ValueError, match="must have linear layers for lora, TabularForCausalLM has none"):
        adapted(export(TabularLM.of(random_bandit())), 2)
    with pytest.raises(ValueError, match="rank must be >= 1, got 0"):
        adapted(model(), 0)
    with pytest.raises(ValueError, match="model must have no adapters yet"):
        adapted(small(), 2)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"peft must be installed for lora: pip install 'toykit\[lora\]'"):
        adapted(model(), 2)


def test_toykit_train_trains_adapters_and_writes_a_merged_model(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from toykit.cli import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOYKIT_DATA", str(tmp_path / "data"))
    export(model(), tmp_path / "base", TASK.vocab)
    task = "--task chain_sum -o n_digits=1,2 -o n_train=40 -o n_test=8 -o horizon=5"
    words = f"train {task} --objective kl_rl --prompts 4 --steps 4 --lora 2".split()

    def run(*more: str) -> object:
        return CliRunner().invoke(app, [*words, *more], prog_name="toykit")

    done = run("--policy", "base", "--out", "run")
    assert done.exit_code == 0, done.output
    assert (
        "wrote run/model: AutoModelForCausalLM.from_pretrained loads it (the adapters are merged into it)"
        in done.stdout
    )
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])["kl"] == pytest.approx(0, abs=1e-6)
    loaded, base = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model"), model()
    held = checkpoint.load(tmp_path / "run" / "checkpoint.safetensors")[0]
    policy = small()
    checkpoint.load_modules({"policy": policy}, held)
    assert torch.allclose(logits(loaded), logits(policy), rtol=0, atol=1e-5)
    assert not torch.equal(logits(loaded), logits(base))
    assert run("--policy", "base", "--out", "run", "--steps", "6", "--resume").exit_code == 0
    for more, message in {
        ("--policy", "gpt"): "lora must be given only for a transformers model, got policy 'gpt'",
        ("--policy", "base", "--lora", "0"): "lora must be >= 1, got 0",
    }.items():
        refused = run(*more, "--out", "other")
        assert refused.exit_code == 2 and message in refused.stderr and not (tmp_path / "other").exists()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    refused = run("--policy", "base", "--out", "other")
    assert refused.exit_code == 2 and "peft must be installed for lora: pip install 'toykit[lora]'" in refused.stderr
