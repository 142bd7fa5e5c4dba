"""What one process and several must do alike; run as a script by torchrun, each process does its part.

torchrun --nproc_per_node 2 several.py FOLDER SHARDING
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toykit.policies import GPT, GPTConfig, TabularLM, lora
from toykit.policies.qwen3 import qwen3
from toykit.rewards import Shaping, every_pair, labelled
from toykit.rollouts import Enumerated, ExpertLevel, Mixed, Rollouts, Sampled, Solutions, chunks
from toykit.selection import Selection
from toykit.tasks.bandit import random_bandit
from toykit.tasks.chain_sum import ChainSum
from toykit.training import (
    Curriculum,
    OfflineConfig,
    OfflineTrainer,
    Phase,
    Plateau,
    PretrainConfig,
    Pretrainer,
    Processes,
    Reference,
    TrainConfig,
    Trainer,
    checkpoint,
    joined,
)

CHAIN = ChainSum(n_digits=(2, 3), n_train=16, n_test=4, horizon=6)
UNEVEN = ChainSum(n_digits=(2, 3), n_train=15, n_test=5, horizon=6)
SOME = Solutions.from_lists(
    {i: rows if i % 3 else [] for i, rows in enumerate(CHAIN.solutions(CHAIN.prompts().ids))}, CHAIN
)
BANDIT = random_bandit(n_prompts=6, n_arms=5)
STEPS, HALF = 5, 3
SHARDING = ("ddp", "fsdp")


def small(rollouts: Rollouts) -> Tensor:
    """The mean of the completion's token ids below 0, which an untrained policy can learn."""
    return -(rollouts.completions * rollouts.mask).sum(-1) / rollouts.lengths


def gpt() -> nn.Module:
    made = GPT(GPTConfig(16, context=16, layers=2, width=16, heads=2, hidden=16)).double()
    with torch.no_grad():
        made.embedding.weight.mul_(20)
    return made


def compiled(processes: Processes | None) -> Trainer:
    """Compiled in several processes with DDP, by the backend that is quick to make; elsewhere as it is."""
    policy, several = gpt(), processes is not None and processes.several and processes.sharding == "ddp"
    setattr(policy, "compile", partial(policy.compile, backend="eager"))  # noqa: B010 (mypy knows it as a method)
    return on_chain(lambda: policy, "grpo", processes, micro_size=4, compile=several)


def qwen() -> nn.Module:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    made = qwen3(CHAIN.vocab, sizes).double()
    with torch.no_grad():
        made.get_input_embeddings().weight.mul_(20)
    return made


def adapted() -> nn.Module:
    """With adapters finer than the weights they are on, where PEFT is installed."""
    if not importlib.util.find_spec("peft"):
        return qwen()
    made = lora.adapted(qwen().float(), 2)
    for p in made.parameters():
        p.data = p.data.double() if p.requires_grad else p.data
    return made


def mixed() -> nn.Module:
    """With weights of two types in one layer, all of which train."""
    made = qwen()
    for layer in made.model.layers:
        layer.mlp.up_proj.float()
    return made


def table() -> nn.Module:
    return TabularLM.of(BANDIT)


def three(policy: nn.Module, task: Any, prompts: Any) -> Any:
    return prompts[:3]


def on_chain(policy: Callable[[], nn.Module], objective: str, processes: Processes | None, **options: Any) -> Trainer:
    task, selection = options.pop("task", CHAIN), options.pop("selection", None)
    strategy = options.pop("strategy", Sampled(4))
    config = TrainConfig(**{"prompts": 4, "lr": 0.01} | options)
    return Trainer(
        policy(), task, objective, strategy, config, selection, Shaping({"small": (1.0, small)}), processes=processes
    )


def on_bandit(objective: str, strategy: Any, processes: Processes | None, **options: Any) -> Trainer:
    return Trainer(table(), BANDIT, objective, strategy, TrainConfig(lr=0.05, **options), processes=processes)


def offline(name: str, processes: Processes | None, **options: Any) -> OfflineTrainer:
    """On completions of an untrained policy, the same in every process."""
    drawn = Sampled(4)(gpt(), CHAIN, CHAIN.prompts(), torch.Generator().manual_seed(0))
    judged = drawn.with_(rewards=(small(drawn) > small(drawn).median()).double())
    data = every_pair(judged) if name == "dpo" else labelled(judged)
    data = data.mismatched() if name == "kto" else data
    return OfflineTrainer(gpt(), CHAIN, name, data, OfflineConfig(**{"lr": 0.01} | options), processes=processes)


Make = Callable[[Processes | None], Trainer | Curriculum | Pretrainer | OfflineTrainer]
CASES: dict[str, Make] = {
    "grpo, minibatches": lambda p: on_chain(gpt, "grpo", p, epochs=2, minibatch=2),
    "grpo, pieces, a limit, all of an odd number of prompts, evaluations": lambda p: on_chain(
        gpt, "grpo", p, task=UNEVEN, prompts=None, micro_size=3, recompute=True, max_grad_norm=0.1, evaluate_every=2
    ),
    "qwen3": lambda p: on_chain(qwen, "grpo", p, recompute=True, reference=Reference("average", decay=0.5)),
    "a critic": lambda p: on_chain(gpt, "ppo", p, micro_size=5),
    "a qwen3 critic, logits in chunks": lambda p: on_chain(qwen, "ppo", p, prompts=2),
    "prompts that cannot be divided": lambda p: on_chain(
        gpt, "grpo", p, selection=Selection(three, over="asked"), micro_size=4
    ),
    "enumerated, a reset reference": lambda p: on_bandit(
        "kl_rl", Enumerated(), p, optimizer="sgd", reference=Reference("reset", every=2)
    ),
    "a forward KL, drawn again": lambda p: on_bandit("self", Sampled(4), p, prompts=4),
    "dynamic sampling": lambda p: on_bandit("dapo", Sampled(3), p, prompts=4),
    "greedy baseline, log Z": lambda p: on_bandit("gdc", Sampled(4), p),
    "a reset by a plateau, fresh moments": lambda p: on_bandit(
        "kl_rl", Sampled(4), p, reference=Reference("reset", None, optimizer=True, on_plateau=Plateau(1, min_delta=1.0))
    ),
    "a value of each prompt": lambda p: on_bandit("mssr", Sampled(1), p, prompts=4, epochs=2),
    "led through phases": lambda p: Curriculum(
        on_bandit("rloo", Sampled(4), p, prompts=4), [Phase(None, 2, 4), Phase(5, 3, 6)], exact=False
    ),
    "batches that are recomposed": lambda p: on_bandit("rorecomp", Sampled(4), p, prompts=4),
    "remax": lambda p: on_bandit("remax", Sampled(3), p),
    "pacs, groups that cannot be divided, pieces": lambda p: on_bandit(
        "pacs", Sampled(3), p, epochs=2, minibatch=3, micro_size=4
    ),
    "rows from elsewhere, some of several and some of none": lambda p: on_chain(
        gpt, "rl_plus", p, strategy=Mixed(SOME, 4), micro_size=3, epochs=2, minibatch=2
    ),
    "an expert's level, prompts that cannot be divided": lambda p: on_chain(
        qwen, "calibrl", p, strategy=ExpertLevel(SOME, Sampled(4)), selection=Selection(three)
    ),
    "compiled": compiled,
    "adapters": lambda p: on_chain(adapted, "grpo", p),
    "pretraining": lambda p: Pretrainer(gpt(), CHAIN, PretrainConfig(steps=STEPS, batch=6, lr=0.01), p),
}
CASES |= {
    "dpo": lambda p: offline("dpo", p, batch=4),
    "kto, pieces": lambda p: offline("kto", p, micro_size=3),
    "ilql": lambda p: offline("ilql", p, batch=6, optimizer="sgd", lr=0.1),
}
BAD: dict[str, Make] = {
    "batch of rows": lambda p: offline("dpo", p, batch=3),
    "prompts": lambda p: on_chain(gpt, "grpo", p, prompts=3),
    "batch": lambda p: Pretrainer(gpt(), CHAIN, PretrainConfig(batch=5), p),
    "optimizer": lambda p: on_bandit("kl_rl", Enumerated(), p, optimizer="natural"),
    "compile": lambda p: on_chain(gpt, "grpo", p and replace(p, sharding="fsdp"), compile=True),
    "sharding": lambda p: on_chain(mixed, "rloo", p and replace(p, sharding="fsdp")),
    "policy": lambda p: on_chain(lambda: gpt().apply(shifted(p)), "rloo", p),
}


def shifted(processes: Processes | None) -> Callable[[nn.Module], None]:
    """Adds the process's rank to embeddings."""

    def change(module: nn.Module) -> None:
        if isinstance(module, nn.Embedding) and processes is not None:
            with torch.no_grad():
                module.weight.add_(processes.rank)

    return change


def figures(made: Trainer | Pretrainer | OfflineTrainer, steps: int) -> list[dict[str, float]]:
    return [{k: v for k, v in made.step().items() if k != "seconds"} for _ in range(steps)]


def follow(name: str, folder: Path, before: Path | None, processes: Processes | None = None) -> dict[str, Any]:
    """The figures of a case's five steps, with checkpoints in `folder` after the third and the last; and of the last
    two steps after the checkpoint that another number of processes left in `before`."""
    chunks.LARGE = 0 if "chunks" in name else 2**26
    made = CASES[name](processes)
    found: dict[str, Any] = {"straight": figures(made, HALF)}
    made.save(folder / name / "half.safetensors")
    found["straight"] += figures(made, STEPS - HALF)
    made.save(folder / name / "end.safetensors")
    checkpoint.save(folder / name / "plain.safetensors", made.plain_policy().state_dict(), {"kind": "plain"})
    if before is not None:
        resumed = CASES[name](processes).load(before / name / "half.safetensors")
        found["resumed"] = figures(resumed, STEPS - HALF)
        resumed.save(folder / name / "resumed.safetensors")
    return found


def refusals(processes: Processes) -> dict[str, str]:
    found = {}
    for name, make in BAD.items():
        try:
            make(processes)
        except ValueError as error:
            found[name] = str(error)
    return found


def main(folder: Path, sharding: str) -> None:
    with joined("cpu", sharding) as processes:
        said: dict[str, Any] = {"line": processes.described("cpu"), "refused": refusals(processes)}
        said["cases"] = {name: follow(name, folder / sharding, folder / "one", processes) for name in CASES}
        (folder / sharding / f"{processes.rank}.json").write_text(json.dumps(said))
        processes.gather(None)
        if processes.rank == 1:
            raise ValueError("only the second process fails")
        processes.gather("never answered")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
