"""Benchmarks of one GRPO step: against TRL, and against the matrix products that it needs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from toykit.bench.apart import Loop, against_apart
from toykit.bench.base import TINY, Benchmark, Case
from toykit.bench.peers import quiet, steps_of
from toykit.bench.sevens import Sevens
from toykit.objectives import method
from toykit.policies import GPT, GPTConfig, export
from toykit.rollouts import Sampled
from toykit.tasks.tokenizer import tokenizer_of
from toykit.training import TrainConfig, Trainer

GROUP, LR = 8, 1e-3
Product = tuple[int, int, int]  # (rows, inner, columns) of one matrix product


def model_config(size: str) -> GPTConfig:
    width, hidden = (16, 32) if size == TINY else (64, 256)
    return GPTConfig(Sevens.vocab.size, width=width, hidden=hidden)


def trainer(policy: GPT, prompts: int) -> Trainer:
    """GRPO without a KL penalty, as TRL has it with beta 0, on `prompts` prompts a step with 8 completions each."""
    objective = method("grpo").objective.with_(kl=None)
    config = TrainConfig(lr=LR, prompts=prompts, max_grad_norm=1.0)
    return Trainer(policy, Sevens(), objective, Sampled(GROUP), config)


def trl_trainer(model: Any, prompts: int, folder: str) -> Any:
    """The peer: TRL's GRPOTrainer with the same model, prompts, reward, loss and optimizer."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import GRPOConfig, GRPOTrainer

    task = Sevens()

    def reward(completions: list[str], **_: Any) -> list[float]:
        return [text.split().count("7") / task.horizon for text in completions]

    config = GRPOConfig(
        **quiet(folder, prompts * GROUP, LR),
        num_generations=GROUP,
        max_completion_length=task.horizon,
        temperature=1.0,
        beta=0.0,
        loss_type="grpo",
    )
    made = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": 4 * task.texts()}),
        processing_class=tokenizer_of(task.vocab, complete=True),
    )
    made.remove_callback(PrinterCallback)
    return made


def peer_model(policy: GPT) -> Any:
    """The policy as a transformers model whose special tokens are the tokenizer's."""
    model: Any = export(policy)
    for config in (model.config, model.generation_config):
        config.pad_token_id, config.bos_token_id, config.eos_token_id = 0, 1, 2
    return model


def trl_steps(size: str, prompts: int) -> Loop:
    """The peer's loop, from the weights that ours begins with."""
    return steps_of(lambda folder: trl_trainer(peer_model(GPT(model_config(size))), prompts, folder))


def _against_trl(prompts: int, compiled: bool = False) -> Callable[[str, bool], list[Case]]:
    def prepare(size: str, peer: bool) -> list[Case]:
        n = 2 if size == TINY else prompts
        policy = GPT(model_config(size))
        if compiled:
            compile_for(policy, size)
        return [against_apart(trainer(policy, n).step, f"{__name__}:trl_steps" if peer else None, size, n)]

    return prepare


def compile_for(policy: GPT, size: str) -> None:
    """Compiles a policy; at the tiny size without the code generator, which takes half a minute."""
    policy.compile(**{"backend": "eager"} if size == TINY else {})


def forward_products(config: GPTConfig, tokens: int, read_out: int) -> list[Product]:
    """The products of weights in one forward pass over `tokens` tokens, with logits at `read_out` of them.

    The scores of attention are left out: with a dozen tokens they are a few per cent of the rest.
    """
    d, h = config.width, config.hidden
    layer = [(tokens, d, 3 * d), (tokens, d, d), (tokens, d, 2 * h), (tokens, h, d)]
    return layer * config.layers + [(read_out, d, config.vocab_size)]


def step_products(config: GPTConfig, prompts: int, prompt_tokens: int, horizon: int) -> list[Product]:
    """What one step needs: each prompt read once, a token at a time drawn, one scoring pass and its two derivatives.

    The scoring pass reads each prompt once too, and no completion's last token.
    """
    n = prompts * GROUP
    read = forward_products(config, prompts * prompt_tokens, prompts)
    drawn = forward_products(config, n, n) * (horizon - 1)
    scored = forward_products(config, prompts * prompt_tokens + n * (horizon - 1), n * horizon)
    back = [product for m, k, c in scored for product in ((m, c, k), (k, m, c))]  # for the input, for the weight
    return read + drawn + scored + back


def operations(products: list[Product]) -> int:
    """Multiplications and additions of the products."""
    return sum(2 * m * k * c for m, k, c in products)


def products_alone(products: list[Product]) -> Callable[[], None]:
    """A function that computes all products, float32, into memory that is already there."""
    made: dict[Product, tuple[Tensor, Tensor, Tensor]] = {
        (m, k, c): (torch.ones(m, k), torch.ones(k, c), torch.empty(m, c)) for m, k, c in set(products)
    }
    order = [made[p] for p in products]

    @torch.no_grad()
    def run() -> None:
        for a, b, out in order:
            torch.mm(a, b, out=out)

    return run


def _share_of_matmuls(size: str, peer: bool) -> list[Case]:
    n, config, task = 2 if size == TINY else 16, model_config(size), Sevens()
    products = step_products(config, n, task.prompts().tokens.shape[1], task.horizon)
    alone = products_alone(products)
    note = f"{operations(products) / 1e6:.4g} million operations in {len(products)} products"
    return [Case("", trainer(GPT(config), n).step, alone if peer else None, lambda: note)]


TRL = ("trl", "accelerate", "datasets")
STEP = (
    Benchmark(
        "grpo_step_vs_trl",
        "one GRPO step of a 2-layer GPT of width 64, 16 prompts x 8 completions of 8 tokens",
        "TRL GRPOTrainer",
        2.5,
        _against_trl(16),
        needs=TRL,
    ),
    Benchmark(
        "grpo_step_vs_trl_compiled",
        "the same, our policy compiled",
        "TRL GRPOTrainer",
        4.0,
        _against_trl(16, compiled=True),
        needs=TRL,
    ),
    Benchmark(
        "grpo_small_vs_trl",
        "the same with 2 prompts x 8, where overhead rules",
        "TRL GRPOTrainer",
        6.0,
        _against_trl(2),
        needs=TRL,
    ),
    Benchmark(
        "grpo_flops",
        "the step at 16 x 8 completions",
        "its matrix products alone, at these shapes",
        0.4,
        _share_of_matmuls,
        "share of the measured rate of matrix products",
    ),
)
