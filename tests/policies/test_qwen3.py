from __future__ import annotations

import pytest
import torch

from toykit.policies.qwen3 import PRESETS, preset, qwen3
from toykit.tasks import Vocab

VOCAB = Vocab((*"0123456789", "<bos>", "<eos>", "=", "A", "R", "<pad>"), pad=15, stop=(11,))
TINY = {"hidden_size": 20, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 10}


@pytest.mark.parametrize(("name", "millions"), [("qwen3-1m", 1), ("qwen3-60m", 60), ("qwen3-150m", 150)])
def test_a_preset_has_the_parameters_of_its_name(name, millions):
    with torch.device("meta"):
        made = qwen3(VOCAB, preset(name).sizes)
    parameters = list(made.parameters())
    assert sum(p.numel() for p in parameters) == pytest.approx(millions * 1e6, rel=0.1)
    assert all(p.is_meta for p in parameters)  # nothing was allocated


def test_every_preset_is_one_of_those_above():
    assert list(PRESETS) == ["qwen3-1m", "qwen3-60m", "qwen3-150m"]
    with pytest.raises(ValueError, match="config must be one of .*, got 'qwen3-60'; did you mean 'qwen3-60m'"):
        preset("qwen3-60")


@pytest.mark.parametrize(("heads", "own"), [(1, 1), (2, 1), (4, 1), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4)])
def test_a_third_of_the_heads_or_fewer_that_divide_them_have_their_own_keys(heads, own):
    made = qwen3(VOCAB, TINY | {"num_attention_heads": heads, "hidden_size": 2 * heads})
    assert made.config.num_key_value_heads == own
    assert made(torch.tensor([[10, 3, 12]])).logits.shape == (1, 3, 16)


def test_the_same_seed_gives_the_same_weights_and_moves_no_generator():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, same, other = (qwen3(VOCAB, TINY, seed).lm_head.weight for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert torch.equal(torch.rand(2), expected)


def test_sizes_that_make_no_model_are_refused():
    with pytest.raises(ValueError, match="width must be a multiple of twice heads, got width 30 and heads 10"):
        qwen3(VOCAB, TINY | {"hidden_size": 30})
    with pytest.raises(ValueError, match="num_hidden_layers must be >= 1, got 0"):
        qwen3(VOCAB, TINY | {"num_hidden_layers": 0})
