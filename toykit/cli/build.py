"""From the settings of `toykit train` to a trainer: the policy, the task and the objective that they name."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from toykit._checks import at_least, nearest, one_of
from toykit.cli.folder import write_model
from toykit.cli.options import task_options
from toykit.cli.train import TrainSettings
from toykit.cli.verifier import find_verifier
from toykit.objectives import Method, method
from toykit.policies import GPT, GPTConfig, TabularLM, lora
from toykit.policies.hub import DTYPES, check_device, load
from toykit.rollouts import Enumerated, Sampled, Solutions, Strategy, supplying
from toykit.tasks import Task, TokenizerVocab, Vocab, make
from toykit.tasks.in_words import for_tokenizer
from toykit.training import Processes, Reference, TrainConfig, Trainer, load_policy
from toykit.training.store import data_folder

LR = {"tabular": 0.05, "gpt": 1e-3, "hub": 1e-5, "lora": 1e-4}
HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class Built:
    """A trainer, and what its policy is written with: a tokenizer, or the vocabulary of a policy that is ours."""

    trainer: Trainer
    tokenizer: Any
    vocab: Vocab | None

    def evaluate(self) -> dict[str, float]:
        """Rewards on the held-out prompts."""
        return self.trainer.evaluate()

    def save_model(self, folder: Path) -> None:
        """Writes the policy as a transformers model, in the place of one that is there; of several processes the first
        writes."""
        policy = self.trainer.plain_policy()
        self.trainer.processes.on_first(lambda: write_model(folder, policy, self.vocab, self.tokenizer))

    @property
    def how_to_load(self) -> str:
        """A sentence on what loads the written model."""
        merged = " (the adapters are merged into it)" if lora.adapters(self.trainer.policy) else ""
        loads = f"AutoModelForCausalLM.from_pretrained loads it{merged}"
        if isinstance(self.trainer.policy, TabularLM):
            return loads + " after `import toykit.policies.transformers_model`"
        return loads + (", AutoTokenizer.from_pretrained its tokenizer" if self.tokenizer is not None else "")


def build(given: TrainSettings, processes: Processes | None = None) -> Built:
    """Everything that the settings name; what can be checked without loading a model is checked first.

    Raises ValueError, or FileNotFoundError, naming the setting that is wrong.
    """
    kind, objective = kind_of(given.policy), _objective(given)
    config, strategy = _config(given, kind), _strategy(given)
    check_device(given.device)
    at_least("steps", given.steps, 1)
    at_least("save_every", given.save_every, 1)
    if given.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ValueError("tensorboard must be installed for its logs: pip install 'toykit[lab]'")
    if given.sharing != "prefix" and kind != "tabular":
        raise ValueError(f"sharing must be given only for policy 'tabular', got policy {given.policy!r}")
    if given.lora is not None:
        _check_lora(given.lora, kind, given.policy)
    own_problems = given.task.endswith(".jsonl")
    options = _problem_options(given) if own_problems else _task_options(given)
    policy: nn.Module
    if kind == "hub":
        policy, tokenizer = _hub(given)
        if own_problems and tokenizer is None:
            raise ValueError(f"policy must have a tokenizer for the task {given.task}, {given.policy!r} has none")
        task = make(given.task, **{"tokenizer": tokenizer} if own_problems else {}, **options)
        if tokenizer is not None and not own_problems:
            task = for_tokenizer(task, TokenizerVocab(tokenizer))
    else:
        if own_problems:
            raise ValueError(f"policy must be a transformers model for the task {given.task}, got {given.policy!r}")
        tokenizer, task = None, make(given.task, **options)
        policy = _own(given, kind, task)
    if given.lora is not None:
        policy = lora.adapted(policy, given.lora, seed=given.seed)
    made = _supplied(objective, strategy, task, given.group_size)
    trainer = Trainer(policy.to(given.device), task, objective, made, config, processes=processes)
    return Built(trainer, tokenizer, None if kind == "hub" else task.vocab)


def _check_lora(rank: int, kind: str, policy: str) -> None:
    at_least("lora", rank, 1)
    if kind != "hub":
        raise ValueError(f"lora must be given only for a transformers model, got policy {policy!r}")
    lora.check_installed()


def kind_of(policy: str) -> str:
    """ "tabular", "gpt" (a new one or a base policy), or "hub" (a transformers model)."""
    return policy if policy in ("tabular", "gpt") else "gpt" if _base(policy).is_file() else "hub"


def _base(policy: str) -> Path:
    """The file of a base policy, given by name or path."""
    if policy.endswith(".safetensors"):
        return Path(policy)
    return data_folder() / "checkpoints" / f"{policy}.safetensors"


def _objective(given: TrainSettings) -> Method:
    made = method(given.objective)
    if given.beta is not None:
        made = made.with_beta(given.beta)
    if given.reference not in (None, "frozen") and not made.objective.needs_reference:
        raise ValueError(f"reference must be 'frozen' for objective {given.objective!r}, which has no reference policy")
    return made


def _supplied(objective: Method, strategy: Sampled | Enumerated, task: Task, group_size: int) -> Strategy:
    """The strategy with one right answer of the task for each prompt, where the method asks for solutions."""
    if objective.data is None:
        return strategy
    return supplying(objective.data, strategy, Solutions.of(task), group_size)


def _strategy(given: TrainSettings) -> Sampled | Enumerated:
    cuts = {name: value for name in ("top_k", "top_p", "min_p") if (value := getattr(given, name)) is not None}
    if not given.enumerate:
        return Sampled(given.group_size, given.temperature, **cuts)
    if cuts:
        raise ValueError(f"{next(iter(cuts))} must not be given with --enumerate, which draws nothing")
    return Enumerated()


def _config(given: TrainSettings, kind: str) -> TrainConfig:
    on_cuda = given.device.startswith("cuda") and kind != "tabular" and _dtype(given, kind) == torch.float32
    return TrainConfig(
        lr=LR[kind if given.lora is None else "lora"] if given.lr is None else given.lr,
        optimizer=given.optimizer,
        prompts=given.prompts,
        epochs=given.epochs,
        minibatch=given.minibatch,
        micro_size=given.micro_size,
        recompute=given.recompute,
        compile=given.compile,
        max_grad_norm=given.max_grad_norm,
        autocast=on_cuda if given.autocast is None else given.autocast,
        evaluate_every=given.evaluate_every,
        reference=_reference(given),
        seed=given.seed,
    )


def _reference(given: TrainSettings) -> Reference | None:
    """The schedule that is asked for, None for the objective's own."""
    if given.reference is None:
        return None
    return Reference(given.reference, given.reference_every, given.reference_decay)


def _dtype(given: TrainSettings, kind: str) -> torch.dtype:
    name = given.dtype or ("float64" if kind == "tabular" else "float32")
    return DTYPES[one_of("dtype", name, DTYPES)]


def _task_options(given: TrainSettings) -> dict[str, Any]:
    for name in ("verifier", "horizon", "test_fraction"):
        if getattr(given, name) is not None:
            raise ValueError(f"{name} must be given only for a .jsonl task, got task {given.task!r}")
    return task_options(given.task, given.option or ())


def _problem_options(given: TrainSettings) -> dict[str, Any]:
    if given.option:
        raise ValueError("option must not be given for a .jsonl task; it has --verifier, --horizon and --test-fraction")
    if not Path(given.task).is_file():
        raise FileNotFoundError(f"task {given.task!r} does not exist")
    named = {name: getattr(given, name) for name in ("horizon", "test_fraction")}
    if given.verifier is not None:
        named["verifier"] = find_verifier(given.verifier)
    return {name: value for name, value in named.items() if value is not None}


def _own(given: TrainSettings, kind: str, task: Task) -> nn.Module:
    """A table, or a GPT that is new or was pretrained."""
    dtype = _dtype(given, kind)
    if kind == "tabular":
        return TabularLM.of(task, given.sharing, dtype=dtype)  # type: ignore[arg-type]
    if given.policy != "gpt":
        return load_policy(_base(given.policy)).to(dtype)
    needed = task.prompts().tokens.shape[1] + task.horizon
    return GPT(GPTConfig(task.vocab.size, max(64, needed)), given.seed).to(dtype)


def _hub(given: TrainSettings) -> tuple[nn.Module, Any]:
    name, kept = given.policy, data_folder() / "checkpoints"
    if not Path(name).is_dir() and (kept / name / "config.json").is_file():
        name = str(kept / name)  # a transformers model that `toykit pretrain` made
    if name.endswith(".safetensors"):
        raise FileNotFoundError(f"policy {name!r} does not exist")
    if not Path(name).is_dir() and (not HUB_ID.fullmatch(name) or Path(name).parent.is_dir()):
        models = [path.parent.name for path in kept.glob("*/config.json")]
        bases = sorted([*(path.stem for path in kept.glob("*.safetensors")), *models])
        known = ["tabular", "gpt", *bases]
        raise ValueError(
            f"policy must be {', '.join(known)}, a .safetensors file, a folder with a transformers model, or a hub id "
            f"(owner/name), got {name!r}{nearest(name, known)}"
        )
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from transformers.utils import logging

    logging.disable_progress_bar()  # an error is one line
    return load(name, given.dtype or "float32", given.device)
