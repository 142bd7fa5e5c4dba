"""Transformers models draw with a cache that has room, or with a compiled step, what they say when they read anew."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence

import pytest
import torch
import transformers
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from toykit.policies import TabularLM, cursor, export
from toykit.policies.base import read
from toykit.policies.hub_cache import RoomyLayer
from toykit.policies.hub_cursor import CACHES, PLACES, PROGRAMS, HubCursor, compile_step
from toykit.rollouts import Sampled, sample
from toykit.tasks.chain_sum import ChainSum
from toykit.tasks.operator import Operator
from toykit.training import TrainConfig, Trainer

SIZES = {"vocab_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}
HEADS = {"intermediate_size": 24, "num_key_value_heads": 1, "head_dim": 8}
SPECIAL = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None, "initializer_range": 0.3}
WINDOW = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
MADE = {
    "llama": ("Llama", SIZES | HEADS),
    "qwen3": ("Qwen3", SIZES | HEADS),
    "gemma": ("Gemma", SIZES | HEADS),
    "gpt2": ("GPT2", {"vocab_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 16}),
    "bloom": ("Bloom", {"vocab_size": 16, "n_layer": 2, "n_head": 2, "hidden_size": 16}),  # has no positions
    "window": ("Qwen3", SIZES | HEADS | WINDOW | {"use_sliding_window": True}),
    "lfm2": ("Lfm2", SIZES | {"intermediate_size": 24, "num_key_value_heads": 1, "full_attn_idxs": [1]}),
}
PLAIN = ("llama", "qwen3", "gemma", "gpt2")
CHAIN = ChainSum(n_digits=(2, 3, 4), n_train=6, n_test=2, horizon=10)
TURNS = ([0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5], [5, 1, 0, 3], [1, 2], [1, 0, 1], [0])  # rows that are kept
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
compiles = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of torch.compile itself


def model(name: str, dtype: torch.dtype = torch.float64, **changes: int) -> torch.nn.Module:
    kind, options = MADE[name]
    options = options | changes
    head = "LMHeadModel" if kind == "GPT2" else "ForCausalLM"
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**options, **SPECIAL)
    return getattr(transformers, f"{kind}{head}")(config).eval().to(dtype)


@pytest.fixture(autouse=True)
def forget():
    """What one test has compiled counts towards no other's limit."""
    yield
    PROGRAMS.clear()
    torch._dynamo.reset()


def prompts(padded: bool) -> tuple[Tensor, Tensor]:
    tokens = torch.randint(16, (3, 5), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(3, 5, dtype=torch.bool)
    if padded:
        mask[0, :3] = mask[2, :1] = False
    return tokens, mask


@torch.no_grad()
def check(policy: torch.nn.Module, padded: bool, turns: Sequence[list[int]] = TURNS) -> HubCursor:
    """Repeats, reorders and drops sequences as they grow, and compares with reading all their tokens anew."""
    tokens, mask = prompts(padded)
    at, draw = cursor(policy, tokens, mask, 8), torch.Generator().manual_seed(1)
    tolerance = TOLERANCE[next(policy.parameters()).dtype]
    for rows in turns:
        if rows != list(range(len(tokens))):
            at.pick(torch.tensor(rows))
            tokens, mask = tokens[rows], mask[rows]
        token = torch.randint(16, (len(rows),), generator=draw)
        at.append(token)
        tokens, mask = torch.cat([tokens, token[:, None]], 1), torch.nn.functional.pad(mask, (0, 1), value=True)
        expected = read(policy, tokens, mask).logits[:, -1]
        assert torch.allclose(at.logits, expected, rtol=0, atol=tolerance) and expected.std() > 0.3
    return at


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize(
    ("name", "dtype"), [(name, dtype) for name in PLAIN for dtype in TOLERANCE] + [("bloom", torch.float32)], ids=str
)  # a padded Bloom in float64 is not finite, as transformers computes it
def test_a_cache_with_room_gives_what_reading_anew_gives(name, dtype, padded):
    at = check(model(name, dtype), padded)
    assert all(type(layer) is RoomyLayer for layer in at.cache.layers)


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_a_sliding_window_keeps_its_own_cache(padded):
    at = check(model("window"), padded)
    assert [type(layer).__name__ for layer in at.cache.layers] == ["DynamicSlidingWindowLayer", "DynamicLayer"]


@torch.no_grad()
def test_tokens_are_written_where_there_is_room_and_nothing_moves():
    policy, (tokens, mask) = model("qwen3"), prompts(True)
    at, found = HubCursor(policy, tokens, mask, 4), []
    for _ in range(4):
        at.append(torch.tensor([1, 2, 3]))
        found.append([x.data_ptr() for layer in at.cache.layers for x in (layer.keys, layer.values)])
    assert found == [found[0]] * 4
    assert [layer.keys.shape for layer in at.cache.layers] == [(3, 1, 9, 8)] * 2
    with pytest.raises(RuntimeError, match="exceeds dimension size"):
        at.append(torch.tensor([1, 2, 3]))


class Waits(TorchDispatchMode):
    """Counts what makes CUDA wait for its answer: numbers that Python asks for, and shapes that depend on them."""

    ASKED = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal")

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.n += func.overloadpacket.__name__ in self.ASKED
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_a_token_waits_for_nothing(name, padded):
    at = HubCursor(model(name), *prompts(padded), 4)
    at.append(torch.tensor([1, 2, 3]))
    with Waits() as waits:
        at.append(torch.tensor([4, 5, 6]))
        assert waits.n == 0
        bool(at.logits.isfinite().all())
    assert waits.n == 1


@compiles
@pytest.mark.parametrize(("name", "padded"), [("qwen3", True), ("gpt2", False)])
def test_a_compiled_step_gives_what_reading_anew_gives(name, padded):
    policy = model(name)
    compile_step(policy, backend="eager")
    at = check(policy, padded, ([0, 0, 1, 1], [0, 1, 2, 3], [1, 0, 3, 2], [3, 3, 3, 1]))
    assert at.fixed_shapes and type(at.cache).__name__ == "StaticCache"


def graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@compiles
def test_a_compiled_model_draws_the_same_with_one_program_for_all_tokens_and_rounds():
    plain, policy = model("llama", num_hidden_layers=1), model("llama", num_hidden_layers=1)
    compile_step(policy, backend="eager")
    begun, counts = graphs(), []
    asked = CHAIN.prompts()
    for some, seed in ((asked, 0), (asked, 1), (asked[slice(0, 6)], 2), (asked[slice(0, 3)], 3), (asked, 4)):
        drawn, again = (
            sample(p, some, 4, 10, CHAIN.vocab.stop, torch.Generator().manual_seed(seed)) for p in (plain, policy)
        )
        assert drawn.mask.sum(-1).unique().numel() > 2
        assert torch.equal(drawn.tokens, again.tokens) and torch.equal(drawn.mask, again.mask)
        assert torch.allclose(drawn.logp, again.logp, rtol=0, atol=1e-10)
        counts.append(graphs() - begun)
    assert counts == [1, 1, 1, 2, 2]


@compiles
@torch.no_grad()
def test_a_cache_is_used_again_and_never_by_two_cursors_at_once():
    policy, given = model("qwen3", num_hidden_layers=1), prompts(False)
    compile_step(policy, backend="eager")
    first, second = HubCursor(policy, *given, 4), HubCursor(policy, *given, 4)
    first.append(torch.tensor([1, 2, 3]))
    second.append(torch.tensor([4, 5, 6]))
    assert first.cache is not second.cache
    expected = read(policy, torch.cat([given[0], torch.tensor([[1, 7], [2, 8], [3, 9]])], 1), torch.ones(3, 7) > 0)
    first.append(torch.tensor([7, 8, 9]))
    assert torch.allclose(first.logits, expected.logits[:, -1], rtol=0, atol=1e-10)
    lent = first.cache
    del first
    gc.collect()
    third = HubCursor(policy, *given, PLACES - 5)  # another number of tokens, but as many places
    third.append(torch.tensor([1, 2, 3]))
    assert third.cache is lent
    program, layer = PROGRAMS[policy], torch.zeros(1, 1, 5, 8)
    for n in range(1, CACHES + 3):
        program.cache(third, [(layer.expand(n, -1, -1, -1),) * 2])
    assert len(program.lent) == CACHES


def test_a_program_goes_with_its_model():
    policy = model("llama")
    compile_step(policy, backend="eager")
    gone = weakref.ref(policy)
    del policy
    gc.collect()
    assert gone() is None and not len(PROGRAMS)


def test_what_has_no_fixed_shape_is_not_compiled():
    with pytest.raises(ValueError, match="compile must be False for a Lfm2ForCausalLM, whose cache is not of keys and"):
        compile_step(model("lfm2"))
    with pytest.raises(ValueError, match="compile must be False for a Qwen3ForCausalLM, whose cache is not of keys"):
        compile_step(model("window"))
    table = export(TabularLM.of(Operator(n_train=2), "prefix"))
    with pytest.raises(ValueError, match="compile must be False for a TabularForCausalLM, whose cache is not of keys"):
        compile_step(table)


@compiles
def test_the_trainer_compiles_a_transformers_model():
    """Its results are those of one that is not compiled, up to rounding."""

    def trainer(compile: bool) -> Trainer:
        policy = model("llama", num_hidden_layers=1)
        return Trainer(policy, CHAIN, "grpo", Sampled(4), TrainConfig(prompts=4, compile=compile))

    found = [trainer(False), trainer(True)]
    assert {*PROGRAMS} == {found[1].policy}
    compile_step(found[1].policy, backend="eager")  # without the code generator, which takes long
    figures = [[t.step() for _ in range(2)] for t in found]
    for name in ("loss", "reward", "grad_norm"):
        assert [f[name] for f in figures[0]] == pytest.approx([f[name] for f in figures[1]], abs=1e-8)
