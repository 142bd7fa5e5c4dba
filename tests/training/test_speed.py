"""What training is beside what the device could do."""

from __future__ import annotations

import pytest
import torch

from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.policies.qwen3 import qwen3
from toykit.rollouts import Sampled
from toykit.tasks import ChainSum, Operator
from toykit.training import TrainConfig, Trainer
from toykit.training.speed import Seen, Shape, rates, watched, watching

TASK = ChainSum(n_train=4)
PROMPT = TASK.prompts().tokens.shape[1]


def gpt() -> GPT:
    return GPT(GPTConfig(TASK.vocab.size, layers=3, width=16, heads=2, hidden=24))


def test_shapes_by_hand():
    v = TASK.vocab.size
    mine = Shape.of(gpt())
    assert mine.parameters == v * 16 + 16 + 3 * (2 * 16 + 4 * 16 * 16 + 3 * 16 * 24)
    assert (mine.layers, mine.attention, mine.cached, mine.itemsize) == (3, 16, 2 * 3 * 16, 4)
    sizes = {"hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 3}
    hub = Shape.of(qwen3(TASK.vocab, sizes).to(torch.bfloat16))  # one head of keys and values for three of queries
    assert (hub.layers, hub.attention, hub.cached, hub.itemsize) == (2, 12, 2 * 2 * 1 * 4, 2)
    assert Shape.of(TabularLM.of(Operator(n_train=2), "prefix")) is None


def test_work_by_hand():
    shape = Shape(parameters=100, layers=2, attention=5, cached=7, itemsize=2)
    assert shape.operations(3, 4.0) == 3 * (600 + 12 * 2 * 5 * 4)
    assert shape.bytes_read(3, 4) == 2 * (100 + 3 * 4 * 7)


def test_what_trainers_do_is_noted_while_somebody_watches():
    policy = gpt()
    trainer = Trainer(policy, TASK, "grpo", Sampled(4), TrainConfig(prompts=2, epochs=3))
    trainer.step()
    assert watched() is None
    with watching() as seen:
        figures = [trainer.step() for _ in range(2)]
    assert watched() is None
    assert seen.drawn == pytest.approx(sum(8 * f["length"] for f in figures))
    assert seen.learned == 3 * seen.drawn and seen.drawing > 0 and seen.learning > 0
    assert seen.drawing + seen.learning <= sum(f["seconds"] for f in figures)
    found = seen.summary("cpu")
    assert found["drawn_tokens_per_second"] == seen.drawn / seen.drawing
    assert found["device"] == "cpu" and found["mfu"] is found["roofline_of_drawing"] is found["peak_memory"] is None


def test_sums_of_one_batch_by_hand():
    policy, seen = gpt(), Seen()
    made = Sampled(3)(policy, TASK, TASK.prompts(), torch.Generator().manual_seed(0))
    shape = Shape.of(policy)
    seen.draw(policy, made, 2.0)
    seen.learn(policy, made, 2, 4.0)
    rows = [int(made.mask[..., t].sum()) for t in range(made.mask.shape[-1])]
    assert seen.bytes_read == sum(4 * (shape.parameters + n * (PROMPT + t) * shape.cached) for t, n in enumerate(rows))
    lengths = (made.prompt_mask.sum(-1, keepdim=True) + made.lengths).flatten().tolist()
    pairs = sum(n * n for n in lengths) / 2
    wanted = 2 * (6 * shape.parameters * sum(lengths) + 12 * 3 * 16 * pairs)
    assert seen.operations == pytest.approx(wanted, rel=1e-12)


def test_processes_side_by_side_add_up():
    """Twice the tokens in the same time; operations and bytes are per second of one device."""
    seen, other = Seen(10, 2.0, 20, 4.0, 8e12, 6e9), Seen(10, 2.0, 20, 4.0, 8e12, 6e9, held=5)
    alone = seen.summary("cpu")
    seen.add(other)
    found = seen.summary("cpu")
    assert (seen.drawn, seen.processes, seen.held, seen.operations) == (20, 2, 5, 16e12)
    assert found["processes"] == 2 and alone["drawn_tokens_per_second"] == 5
    assert found["drawn_tokens_per_second"] == 10 and found["learned_tokens_per_second"] == 10


def test_devices_are_known_by_their_names():
    assert rates("NVIDIA H100 80GB HBM3") == rates("NVIDIA H100 SXM5 80GB") == (989e12, 3.35e12)
    assert rates("NVIDIA H100 PCIe") == (756e12, 2.0e12)
    assert rates("NVIDIA H200")[1] == 4.8e12 and rates("cpu") is None
