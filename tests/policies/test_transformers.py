"""What needs transformers, in one file: importing its models takes seconds."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import toykit.policies.transformers_model  # noqa: F401  (registers exported tables)
from toykit.policies import GPT, GPTConfig, TabularLM, context, cursor, export, vocab_size
from toykit.policies.critic import make_critic
from toykit.policies.hub import load
from toykit.policies.tabular import SHARING
from toykit.rewards import Shaping, length
from toykit.rollouts import Enumerated, Sampled, greedy, node_logps, outputs, sample, token_logps
from toykit.tasks.bandit import TreeTask
from toykit.tasks.base import Prompts
from toykit.tasks.chain_sum import ChainSum
from toykit.tasks.features import FeatureTree
from toykit.tasks.tokenizer import TokenizerVocab
from toykit.tasks.tree import Tree
from toykit.training import TrainConfig, Trainer

CHAIN = ChainSum(n_digits=(2, 3, 4), n_train=24, n_test=8, horizon=10)  # prompts of different lengths
SIZES = {"vocab_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}


def model(name: str) -> torch.nn.Module:
    """A tiny model with weights large enough for attention and positions to matter."""
    torch.manual_seed(0)
    special = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None, "initializer_range": 0.3}
    if name == "gpt2":
        config = GPT2Config(vocab_size=16, n_layer=2, n_head=2, n_embd=16, n_positions=32, **special)
        return GPT2LMHeadModel(config).eval()
    if name == "mamba":  # has no key-value cache
        config = MambaConfig(vocab_size=16, hidden_size=16, num_hidden_layers=2, state_size=4, **special)
        config.max_position_embeddings = 32
        return MambaForCausalLM(config).eval()
    if name == "lfm2":  # whose cache holds more than keys and values
        config = Lfm2Config(**SIZES, intermediate_size=24, num_key_value_heads=1, full_attn_idxs=[1], **special)
        config.max_position_embeddings = 32
        return Lfm2ForCausalLM(config).eval()
    made = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen3": (Qwen3Config, Qwen3ForCausalLM)}[name]
    more = {"intermediate_size": 24, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 32}
    return made[1](made[0](**SIZES, **more, **special)).eval()


@pytest.fixture(scope="module", params=["llama", "qwen3", "gpt2", "mamba", "lfm2"])
def hub(request) -> torch.nn.Module:
    return model(request.param)


def forced(policy, rollouts, temperature: float = 1.0) -> Tensor:
    r = rollouts
    return token_logps(policy, r.prompts, r.prompt_mask, r.completions, r.mask, temperature).detach()


def test_a_transformers_model_is_a_policy(hub):
    assert (vocab_size(hub), context(hub)) == (16, 32)
    prompts = CHAIN.prompts()
    assert len({*prompts.mask.sum(1).tolist()}) == 3
    for temperature in (1.0, 0.7):
        drawn = Sampled(4, temperature)(hub, CHAIN, prompts, torch.Generator().manual_seed(0))
        assert (drawn.lengths.unique().numel() > 3) and drawn.mask.any(-1).all()
        assert (drawn.old_logp - forced(hub, drawn, temperature)).abs().max() < 1e-5


def test_a_prompt_is_read_once_for_all_its_completions_and_any_stop_token_ends_them():
    policy, prompts, calls = model("llama"), CHAIN.prompts(), []
    policy.model.layers[0].register_forward_hook(lambda module, args, out: calls.append(args[0].shape[:2]))
    completions, mask, *_ = sample(policy, prompts, 5, 10, (11, 7, 3), torch.Generator().manual_seed(0))
    b, p, t = *prompts.tokens.shape, mask.shape[-1]
    assert calls[:2] == [(b, p), (b * 5, 1)] and len(calls) == t
    going = mask.sum(
        (0, 1)
    ).tolist()  # completions with a t-th token; of the sequences more than this share are not done
    assert all(n <= read <= n / 0.75 for n, (read, _) in zip(going[2:], calls[2:], strict=True))
    last = mask & ~torch.nn.functional.pad(mask[..., 1:], (0, 1))
    ends = torch.isin(completions, torch.tensor([11, 7, 3])) & mask
    assert not (ends & ~last).any() and {*completions[ends].tolist()} == {11, 7, 3}
    assert (ends | ~last | (mask.sum(-1, keepdim=True) == 10)).all()


def test_one_prompt_alone_with_padding_is_a_batch_too(hub):
    whole = CHAIN.prompts()
    short = int(whole.mask.sum(1).argmin())
    drawn = Sampled(8)(hub, CHAIN, whole[slice(short, short + 1)], torch.Generator().manual_seed(0))
    assert drawn.completions.shape[:2] == (1, 8) and not drawn.prompt_mask.all()
    assert (drawn.old_logp - forced(hub, drawn)).abs().max() < 1e-5


def test_the_same_prompt_has_the_same_logits_however_far_it_is_padded(hub):
    tokens = torch.tensor([[10, 3, 4, 12]])
    padded = torch.cat([torch.full((1, 5), 7), tokens], 1)
    mask = torch.arange(9)[None] >= 5
    completion, all_of_it = torch.tensor([[[13, 7, 11]]]), torch.ones(1, 1, 3, dtype=torch.bool)
    near = token_logps(hub, tokens, tokens > 0, completion, all_of_it)
    far = token_logps(hub, padded, mask, completion, all_of_it)
    assert torch.allclose(near, far, rtol=0, atol=1e-5)


@torch.no_grad()
def test_cursor_keeps_repeats_and_reorders(hub):
    prompts = CHAIN.prompts()[slice(0, 3)]
    at = cursor(hub, prompts.tokens, prompts.mask, 4)
    at.append(torch.tensor([1, 2, 3]))
    at.pick(torch.tensor([2, 0, 0]))
    at.append(torch.tensor([4, 5, 6]))
    completions = torch.tensor([[[3, 4, 0]], [[1, 5, 0]], [[1, 6, 0]]])
    rows = prompts[torch.tensor([2, 0, 0])]
    expected = outputs(hub, rows.tokens, rows.mask, completions, torch.ones(3, 1, 3, dtype=torch.bool))[:, 0, 2]
    assert torch.allclose(at.logits, expected, rtol=0, atol=1e-5)


def test_a_critic_of_a_transformers_model_starts_at_0_and_sees_no_padding(hub):
    critic, prompts = make_critic(hub), CHAIN.prompts()[slice(0, 4)]
    tokens = torch.full((4, 2, 3), 5)
    found = outputs(critic, prompts.tokens, prompts.mask, tokens, tokens > 0)
    assert found.shape == (4, 2, 3, 1) and not found.any()
    with torch.no_grad():
        critic.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    row = int(prompts.mask.sum(1).argmin())
    alone = prompts.tokens[row][prompts.mask[row]][None]
    padded = outputs(critic, prompts.tokens, prompts.mask, tokens, tokens > 0)[row]
    assert torch.allclose(outputs(critic, alone, alone > -1, tokens[:1], tokens[:1] > 0)[0], padded, rtol=0, atol=1e-4)
    assert padded.std() > 0.01


def test_the_trainer_trains_it_and_a_resumed_run_is_the_same(tmp_path):
    """GRPO and PPO with a critic, in pieces, for shorter completions; the result is a model that transformers loads."""

    def trainer(name: str) -> Trainer:
        config = TrainConfig(lr=0.01, prompts=4, epochs=2, micro_size=5)
        shorter = Shaping({"length": (-1.0, length)})
        return Trainer(model("llama"), CHAIN, name, Sampled(4), config, shaping=shorter)

    for name in ("grpo", "ppo"):
        straight = trainer(name)
        figures = [straight.step() for _ in range(12)]
        assert sum(f["length"] for f in figures[-3:]) < sum(f["length"] for f in figures[:3])
        first = trainer(name)
        first.run(2, tmp_path / name, progress=False)
        resumed = trainer(name).load(tmp_path / name / "checkpoint.safetensors")
        assert resumed.step()["loss"] == figures[2]["loss"]
    export(straight.policy, tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokens = torch.tensor([[10, 3, 4, 12]])
    assert torch.equal(loaded(tokens).logits, straight.policy(tokens).logits)


def test_the_trainer_switches_dropout_off():
    """With it the policy that is trained would not be the one that made the completions."""
    made = model("gpt2").train()
    assert made.config.resid_pdrop > 0
    trainer = Trainer(made, CHAIN, "grpo", Sampled(4), TrainConfig(prompts=4))
    assert trainer.step()["kl"] == pytest.approx(0, abs=1e-5)
    rollouts, _ = trainer.rollouts()
    assert (rollouts.old_logp - forced(made, rollouts)).abs().max() < 1e-5


TABLES = {
    "prefix": TreeTask(Tree(3, horizon=3, stop=(2,)), torch.zeros(2, 15)),
    "forbidden": TreeTask.of({(0,): 1.0, (1, 0): 0.0, (1, 1, 0): 1.0, (1, 1, 1): 0.0, (2,): 0.0}),
    "features": FeatureTree(n_prompts=3, n_features=2),
}


def table(name: str, sharing: str = "prefix") -> TabularLM:
    made = TabularLM.of(TABLES[name], "features" if name == "features" else sharing)
    with torch.no_grad():
        made.table.normal_(generator=torch.Generator().manual_seed(0))
    return made


def small_gpt() -> GPT:
    made = GPT(GPTConfig(vocab_size=16, context=32, layers=3, width=16, heads=2, hidden=24, rope_base=500.0, eps=1e-3))
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(8 if p.dim() == 2 else 1.5)
    return made


def generated(loaded, prompts: Prompts, task) -> list[list[int]]:
    """transformers' own greedy completions, without what comes after the stop token."""
    out = loaded.generate(
        prompts.tokens, attention_mask=prompts.mask.long(), max_new_tokens=task.horizon, do_sample=False
    )[:, prompts.tokens.shape[1] :]
    rows = []
    for row in out.tolist():
        end = next((i for i, token in enumerate(row) if token in task.vocab.stop), len(row))
        rows.append(row[: end + 1])
    return rows


def greedily(policy, prompts: Prompts, task) -> list[list[int]]:
    made = greedy(policy, task, prompts)
    return [row[mask].tolist() for row, mask in zip(made.completions[:, 0], made.mask[:, 0], strict=True)]


@pytest.mark.parametrize(
    ("name", "sharing"),
    [(name, "prefix") for name in TABLES] + [("forbidden", mode) for mode in SHARING[1:] if mode != "features"],
)
def test_an_exported_table_loads_as_a_transformers_model_with_equal_logits(name, sharing, tmp_path):
    task, policy = TABLES[name], table(name, sharing)
    export(policy, tmp_path, task.vocab)
    assert {f.suffix for f in tmp_path.iterdir()} == {".json", ".safetensors"}
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    prompts, leaves = task.prompts(), task.tree.tokens
    for x in range(len(prompts)):
        tokens = torch.cat([prompts.tokens[x].expand(len(leaves), 1), leaves], 1)
        assert torch.equal(loaded(input_ids=tokens).logits, policy(input_ids=tokens).logits)
    padded = Prompts.from_lists([[9, 9, *row] for row in prompts.tokens.tolist()])
    padded.mask[:, :2] = False
    padded.tokens[:, :2] = 1
    assert generated(loaded, padded, task) == greedily(policy, prompts, task)


def test_an_exported_table_is_a_policy_again(tmp_path):
    task, policy = TABLES["prefix"], table("prefix")
    export(policy, tmp_path, task.vocab)
    again, tokenizer = load(tmp_path, dtype="float64")
    assert tokenizer is None
    assert torch.equal(node_logps(again, task.prompts(), task.tree), node_logps(policy, task.prompts(), task.tree))
    drawn = Sampled(50)(again, task, task.prompts(), torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.old_logp, forced(policy, drawn), rtol=0, atol=1e-12)
    assert Enumerated()(again, task, task.prompts()).rewards.shape == (2, 15)


def test_an_exported_gpt_loads_as_llama_with_equal_logits(tmp_path):
    policy = small_gpt()
    export(policy, tmp_path, CHAIN.vocab)
    assert {f.suffix for f in tmp_path.iterdir()} == {".json", ".safetensors"}
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert isinstance(loaded, LlamaForCausalLM)
    prompts = CHAIN.prompts()
    tokens = prompts.tokens[prompts.mask.all(1)]
    logits = policy(tokens).logits
    assert torch.allclose(loaded(tokens).logits, logits, rtol=0, atol=1e-5) and logits.std() > 0.5
    assert generated(loaded, prompts, CHAIN) == greedily(policy, prompts, CHAIN)
    drawn = Sampled(4)(policy, CHAIN, prompts, torch.Generator().manual_seed(0))
    assert (drawn.old_logp - forced(loaded, drawn)).abs().max() < 1e-4


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_an_exported_gpt_keeps_its_dtype(dtype, tmp_path):
    policy = small_gpt().to(dtype)
    export(policy, tmp_path, CHAIN.vocab)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokens = CHAIN.prompts().tokens[:3]
    assert loaded.dtype == dtype
    tolerance = {torch.float64: 1e-5, torch.bfloat16: 0.05}[dtype]  # angles in float32; logits up to 3 with 8 bits
    assert torch.allclose(loaded(tokens).logits, policy(tokens).logits, rtol=0, atol=tolerance)


def test_a_transformers_model_is_exported_as_it_is(tmp_path):
    made = model("llama")
    assert export(made, tmp_path) is made
    assert (tmp_path / "model.safetensors").exists()
    with pytest.raises(ValueError, match="policy must be a TabularLM, a GPT or a transformers model, got Linear"):
        export(torch.nn.Linear(2, 2))


def test_a_folder_is_loaded_with_its_dtype(tmp_path):
    export(model("llama"), tmp_path)
    loaded, tokenizer = load(tmp_path, dtype="float64")
    assert next(loaded.parameters()).dtype == torch.float64
    assert tokenizer is None and not loaded.training


def test_cuda_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device must be one that is there, got 'cuda' where CUDA is not available"):
        load(tmp_path, device="cuda")


@pytest.mark.parametrize("device", ["gpu", "cuda:x", ""])
def test_an_unknown_device_is_refused(tmp_path, device):
    with pytest.raises(ValueError, match=f"device must be 'cpu', 'cuda' or .*, got '{device}'"):
        load(tmp_path, device=device)


def test_the_stop_tokens_of_a_folder_are_its_tokenizers_and_then_its_models(tmp_path):
    words = {word: i for i, word in enumerate(("<pad>", "<eos>", "<turn>", "one"))}
    inner = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>").save_pretrained(tmp_path)
    made = model("llama")
    made.generation_config.eos_token_id = [2, 1]
    export(made, tmp_path)
    tokenizer = load(tmp_path)[1]
    assert tokenizer.stop_tokens == (1, 2)
    assert TokenizerVocab(tokenizer).stop == (1, 2)
    tokenizer.save_pretrained(tmp_path / "again")  # which leaves them to the model
    made.generation_config.eos_token_id = None
    export(made, tmp_path)
    assert TokenizerVocab(load(tmp_path)[1]).stop == (1,)


def test_what_holds_no_whole_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"policy must be a folder with a transformers model \(config.json\), got"):
        load(tmp_path)
    with pytest.raises(ValueError, match="dtype must be one of bfloat16, float32, float64, got 'float16'"):
        load(tmp_path, dtype="float16")
    export(model("llama"), tmp_path / "whole")
    other = {"embedding": torch.zeros(3)}
    for name, damage in {
        "weights of another": lambda file: save_file(other, file, {"format": "pt"}),
        "truncated": lambda file: file.write_bytes(file.read_bytes()[:-100]),
        "foreign": lambda file: file.write_bytes(b"not a model"),
        "missing": lambda file: file.unlink(),
    }.items():
        folder = tmp_path / name
        shutil.copytree(tmp_path / "whole", folder)
        damage(folder / "model.safetensors")
        with pytest.raises(ValueError, match=f"policy could not be loaded from '{folder}'"):
            load(folder)
