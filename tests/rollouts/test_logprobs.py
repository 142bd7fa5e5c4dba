from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.policies.gpt import FULL
from toykit.rollouts import chosen, leaf_logps, log_softmax, token_logps, token_means, token_scores, vocab_logps
from toykit.tasks.bandit import tricks_tree


def gpt(vocab: int = 11) -> GPT:
    made = GPT(GPTConfig(vocab, context=16, width=16, heads=2, hidden=24)).double()
    with torch.no_grad():
        for p in made.parameters():
            p.mul_(8 if p.dim() == 2 else 1)
    return made


def test_low_precision_logits_get_float32_probabilities():
    logits = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.bfloat16)
    assert log_softmax(logits).dtype == torch.float32
    assert torch.equal(log_softmax(logits), logits.float().log_softmax(-1))
    assert log_softmax(logits.double()).dtype == torch.float64


def test_chosen_takes_the_tokens_and_gives_0_where_masked():
    table = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.9, 0.05, 0.05]]).log()
    found = chosen(table, torch.tensor([2, 1, 0]), torch.tensor([True, True, False]))
    assert torch.allclose(found, torch.tensor([0.25, 0.2, 1.0]).log())


def test_probabilities_by_hand_and_at_a_temperature():
    task, logits = tricks_tree()
    policy = TabularLM.of(task, logits=logits)
    prompts, tree = task.prompts(), task.tree
    first, second, third = logits[0].softmax(0), logits[1, :2].softmax(0), logits[2, :2].softmax(0)
    chain = first[1] * second[1]
    expected = torch.stack([first[0], first[1] * second[0], chain * third[0], chain * third[1], first[2]])
    assert torch.allclose(leaf_logps(policy, prompts, tree).sum(-1).exp()[0], expected, rtol=0, atol=1e-15)
    warm = TabularLM.of(task, logits=logits / 2)
    arguments = prompts.tokens, prompts.mask, tree.tokens[None], tree.mask[None]
    assert torch.allclose(token_logps(policy, *arguments, temperature=2.0), token_logps(warm, *arguments))
    assert vocab_logps(policy, *arguments).shape == (1, 5, 3, 4)


def ragged(policy_vocab: int, t: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Prompts [3, 4] with padding, completions [3, 4, t] with their masks."""
    draw = torch.Generator().manual_seed(0)
    prompts = torch.randint(policy_vocab, (3, 4), generator=draw)
    prompt_mask = torch.arange(4) >= torch.tensor([0, 2, 1])[:, None]
    completions = torch.randint(policy_vocab, (3, 4, t), generator=draw)
    lengths = torch.randint(1, t + 1, (3, 4, 1), generator=draw)
    return prompts, prompt_mask, completions, torch.arange(t) < lengths


def gradients(value: Tensor, policy: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(value, [p for p in policy.parameters() if p.requires_grad]))


@pytest.mark.parametrize("t", [1, 5])
@pytest.mark.parametrize("padded", [True, False])
def test_a_group_read_as_one_row_is_the_group_read_apart(monkeypatch, padded, t):
    policy, batch = gpt(), list(ragged(11, t))
    if not padded:
        batch[1] = torch.ones_like(batch[1])
    lengths, found = [], {}
    policy.blocks[0].register_forward_hook(lambda module, args, out: lengths.append(len(out)))
    weight = torch.randn(3, 4, t, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for one_row in (True, False):
        monkeypatch.setattr(GPT, "prefers_one_row", lambda self, *sizes, wanted=one_row: wanted)
        logp = token_logps(policy, *batch)
        found[one_row] = [logp, *gradients((weight * logp).sum(), policy)]
    for a, b in zip(found[True], found[False], strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)
    prompts, rest = int(batch[1].sum()), int(batch[3][..., :-1].sum())
    every = [3 * (4 + 4 * (t - 1)), 3 * 4 * (4 + t - 1)]
    held = [prompts + rest, 4 * prompts + rest]
    assert lengths == [h if h < FULL * n else n for h, n in zip(held, every, strict=True)]


def test_one_row_is_preferred_where_it_is_less_work():
    policy = GPT(GPTConfig(20, hidden=256))
    assert policy.prefers_one_row(4, 8, 7) and policy.prefers_one_row(40, 8, 7)
    assert not policy.prefers_one_row(4, 8, 1000)  # attention would be wasted on other completions
    assert not policy.prefers_one_row(4, 1, 7) and policy.prefers_one_row(1, 8, 0)


def llama(kind: str) -> nn.Module:
    """A tiny transformers model: with a plain head, with scaled logits, and with logits that are capped."""
    from transformers import CohereConfig, CohereForCausalLM, Gemma2Config, Gemma2ForCausalLM, LlamaConfig
    from transformers import LlamaForCausalLM as Llama

    sizes = {"vocab_size": 31, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 32}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    torch.manual_seed(0)
    if kind == "scaled":
        return CohereForCausalLM(CohereConfig(**sizes, **ends, logit_scale=0.5)).double().eval()
    if kind == "capped":
        made = Gemma2Config(**sizes, **ends, head_dim=8, final_logit_softcapping=0.05)
        return Gemma2ForCausalLM(made).double().eval()
    return Llama(LlamaConfig(**sizes, **ends)).double().eval()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("kind", ["plain", "scaled", "capped", "gpt"])
def test_chunks_change_nothing_but_the_memory(monkeypatch, kind, temperature):
    policy = gpt(31) if kind == "gpt" else llama(kind)
    batch = list(ragged(31))
    if kind == "capped":  # Gemma 2 gives NaN for padding that sees nothing
        batch[1] = torch.ones_like(batch[1])
    vocab = vocab_logps(policy, *batch, temperature)
    plain = [chosen(vocab, *batch[2:]), (-(vocab.exp() * vocab).sum(-1)).masked_fill(~batch[3], 0.0)]
    weight = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = gradients(sum((w * x).sum() for w, x in zip(weight, plain, strict=True)), policy)
    monkeypatch.setattr("toykit.rollouts.chunks.CHUNK", 3 * 31 + 5)
    seen: list[int] = []
    if kind == "plain":
        policy.lm_head.register_forward_hook(lambda module, args, out: seen.append(out.numel() // 31))
    scores = token_scores(policy, *batch, temperature)
    got = gradients(sum((w * x).sum() for w, x in zip(weight, scores, strict=True)), policy)
    for a, b in zip([*scores, *got], [*plain, *wanted], strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-10)
    monkeypatch.setattr("toykit.rollouts.chunks.LARGE", 0)
    assert torch.allclose(token_logps(policy, *batch, temperature), plain[0], rtol=0, atol=1e-10)
    if kind == "plain":  # logits of the last place are asked of the model, to see that its head is all there is
        assert max(seen) == 12 and sorted({*seen} - {12}) == [2, 3]


@pytest.mark.parametrize("large", [2**26, 0], ids=["at once", "in chunks"])
@pytest.mark.parametrize("kind", ["plain", "gpt"])
def test_means_over_the_vocabulary_are_those_of_all_log_probabilities(monkeypatch, kind, large):
    policy, batch = gpt(31) if kind == "gpt" else llama(kind), ragged(31)
    monkeypatch.setattr("toykit.rollouts.chunks.LARGE", large)
    monkeypatch.setattr("toykit.rollouts.chunks.CHUNK", 3 * 31 + 5)
    logp, mean = token_means(policy, *batch, 0.7)
    vocab, alone = vocab_logps(policy, *batch, 0.7), token_logps(policy, *batch, 0.7)
    assert torch.allclose(mean, vocab.mean(-1).masked_fill(~batch[3], 0.0), rtol=0, atol=1e-10)
    assert not mean.requires_grad and torch.allclose(logp, alone, rtol=0, atol=1e-10)
    for a, b in zip(gradients((logp**2).sum(), policy), gradients((alone**2).sum(), policy), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-10)


def test_chunks_under_autocast_are_in_float32():
    policy = llama("plain").float()
    with torch.autocast("cpu", torch.bfloat16):
        logp, entropy = token_scores(policy, *ragged(31))
    assert logp.dtype == entropy.dtype == torch.float32
    whole = token_logps(policy, *ragged(31)).detach()
    assert (logp - whole).abs().max() < 0.02
    logp.sum().backward()
    assert all(p.grad.isfinite().all() for p in policy.parameters())
