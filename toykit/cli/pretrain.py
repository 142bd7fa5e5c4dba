"""`toykit pretrain`: a base policy, trained on a task's worked examples."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toykit._checks import at_least, one_of
from toykit.cli.folder import ABOUT, RunFolder, announce, write_model
from toykit.cli.options import Sharding, task_options
from toykit.cli.settings import as_json, command_line, of_settings

if TYPE_CHECKING:
    from torch import nn

    from toykit.tasks import Task
    from toykit.training import PretrainConfig, Pretrainer, Processes

GPT_CONFIG, SUFFIX = "gpt", ".safetensors"
SIZES = {  # option -> the size of a Qwen3Config
    "layers": "num_hidden_layers",
    "width": "hidden_size",
    "heads": "num_attention_heads",
    "hidden": "intermediate_size",
}
FREE = ("steps", "accuracy")  # may differ when a run goes on: one that fell short goes on with more steps
NETWORK, LEARNING, RUN = "The network", "Learning", "The run"


def _size(what: str, gpt: int) -> Any:
    """An option for one of the network's sizes."""
    shown = f"{gpt} for gpt, else the config's"
    return typer.Option(help=what, rich_help_panel=NETWORK, show_default=shown)


@dataclass(frozen=True)
class PretrainSettings:
    task: Annotated[
        str | None,
        typer.Argument(metavar="TASK", help="The name of a task with a corpus, such as chain_sum."),
    ] = None
    named: Annotated[str | None, typer.Option("--task", metavar="TASK", help="The same, as an option.")] = None
    option: Annotated[
        list[str] | None,
        typer.Option("-o", "--option", metavar="NAME=VALUE", help="An option of the task; may be given several times."),
    ] = None
    config: Annotated[
        str,
        typer.Option(
            metavar="gpt|qwen3-1m|qwen3-60m|qwen3-150m",
            help="A small GPT in one file, or a transformers model of the Qwen3 type of that many parameters, in a "
            "folder with its tokenizer.",
            rich_help_panel=NETWORK,
        ),
    ] = "gpt"
    layers: Annotated[int | None, _size("Layers.", 2)] = None
    width: Annotated[int | None, _size("Numbers a token is held in.", 64)] = None
    heads: Annotated[int | None, _size("Attention heads.", 4)] = None
    hidden: Annotated[int | None, _size("Width of the feed-forward part.", 192)] = None
    context: Annotated[
        int | None,
        typer.Option(
            help="Most tokens it can read.", rich_help_panel=NETWORK, show_default="64, or more where the task needs it"
        ),
    ] = None
    steps: Annotated[int, typer.Option(help="Training steps, at most.", rich_help_panel=LEARNING)] = 400
    batch: Annotated[int, typer.Option(help="Examples a step.", rich_help_panel=LEARNING)] = 128
    lr: Annotated[
        float | None,
        typer.Option(
            help="Highest learning rate; it goes linearly to 0.",
            rich_help_panel=LEARNING,
            show_default="3e-3 for gpt, else the config's",
        ),
    ] = None
    warmup: Annotated[
        int | None,
        typer.Option(
            help="Steps over which the learning rate rises.",
            rich_help_panel=LEARNING,
            show_default="0 for gpt, else the config's",
        ),
    ] = None
    accuracy: Annotated[
        float | None,
        typer.Option(
            help="Stop as soon as the greedy completions of the held-out prompts have this mean reward, and fail where "
            "they do not reach it in --steps.",
            rich_help_panel=LEARNING,
            show_default="none; all steps are made",
        ),
    ] = None
    evaluate_every: Annotated[
        int, typer.Option(help="Steps between measurements of the accuracy.", rich_help_panel=LEARNING)
    ] = 100
    seed: Annotated[
        int,
        typer.Option(help="Of the weights and the examples: the same seed, the same file.", rich_help_panel=LEARNING),
    ] = 0
    out: Annotated[
        Path | None,
        typer.Option(
            help="The .safetensors file of a GPT, or the folder of a transformers model.",
            rich_help_panel=RUN,
            show_default="data/checkpoints/TASK.safetensors, or data/checkpoints/CONFIG-TASK, of the project",
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with a run that was stopped; one that fell short of its accuracy may have more --steps.",
            rich_help_panel=RUN,
        ),
    ] = False
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="Where to compute.", rich_help_panel=RUN)] = "cpu"
    autocast: Annotated[
        bool | None,
        typer.Option("--autocast/--no-autocast", help="Compute in bf16.", rich_help_panel=RUN, show_default="on CUDA"),
    ] = None
    sharding: Sharding = "ddp"


@of_settings(PretrainSettings)
def pretrain(given: PretrainSettings) -> None:
    """Trains a base policy on a task's worked examples: a small GPT, or a transformers model from scratch.

    What is written also holds the task, its options and the command that makes it again. While it runs, a checkpoint
    is kept in runs/pretrain; Ctrl-C leaves one to go on from. Under torchrun or accelerate launch several processes
    train together.

    \b
    A model to go on with where none can be downloaded:
      toykit pretrain --config qwen3-60m --task chain_sum --accuracy 0.9 --device cuda
      toykit train --policy qwen3-60m-chain_sum --task chain_sum --objective grpo --out runs/mine
    """
    from toykit.training.processes import joined, local

    given = _with_task(given)
    device = local(given.device)
    with joined(device, given.sharding) as processes:
        _pretrain(given, device, processes)


def _pretrain(given: PretrainSettings, device: str, processes: Processes) -> None:
    from toykit.policies.hub import check_device
    from toykit.tasks import make
    from toykit.training import Pretrainer

    task_name = str(given.task)
    made_by = command_line("pretrain", given, without=("out", "resume", "sharding"))
    out = given.out or _default_out(given)
    config = _config(given)
    processes.on_first(lambda: protect(out, made_by, is_file=given.config == GPT_CONFIG))
    check_device(device)
    folder = RunFolder(
        Path("runs") / "pretrain" / out.name.removesuffix(SUFFIX),
        as_json(given, without=("named", "out", "resume", "sharding")),
        command_line("pretrain", given, without=("resume",)),
        FREE,
    )
    processes.on_first(lambda: folder.check(given.resume))
    options = task_options(task_name, given.option or ())
    task: Any = make(task_name, **options)
    trainer = Pretrainer(_network(given, task).to(device), task, config, processes)
    if given.resume and processes.on_first(folder.checkpoint.exists):
        trainer.load(folder.checkpoint)
    processes.on_first(folder.keep)
    announce(processes, device)
    with folder.resumable(processes.first):
        trainer.run(folder.path)
    if given.accuracy is not None and not trainer.finished:
        raise ValueError(_short(given, trainer))
    measured = trainer.evaluate()
    policy = trainer.plain_policy()
    if not processes.first:
        return
    _write(out, trainer, policy, task_name, options, made_by)
    typer.echo(f"{trainer.done} steps on {task_name}: loss {folder.change('loss')}, nats a token")
    if given.accuracy is not None:
        prompts = len(task.prompts("test"))
        typer.echo(f"accuracy: {trainer.accuracy:.3f} on {prompts} held-out prompts ({given.accuracy} was asked for)")
    typer.echo(f"evaluation: {', '.join(f'{name} {value:.3f}' for name, value in measured.items())}")
    typer.echo(f"wrote {out}")
    folder.clear()


def protect(out: Path, made_by: str, is_file: bool) -> None:
    """Raises ValueError where `out` is the policy that another command made, or no policy."""
    from toykit.training import checkpoint

    if is_file != (out.suffix == SUFFIX):
        raise ValueError(f"out must be {'a .safetensors file' if is_file else 'a folder'}, got {str(out)!r}")
    if not out.exists():
        return
    if is_file:
        before = checkpoint.load(out, "policy")[1].get("command")
    else:
        about = out / ABOUT
        before = json.loads(about.read_text()).get("command") if about.is_file() else None
    if before != made_by:
        raise ValueError(
            f"out must not be another policy: {str(out)!r} was made by `{before}`; name another one, or remove it"
        )


def _with_task(given: PretrainSettings) -> PretrainSettings:
    """The settings with the task in one place; raises ValueError where it is not given once, by name."""
    if given.task is not None and given.named is not None:
        raise ValueError(f"task must be given once, got {given.task!r} and --task {given.named!r}")
    task = given.task or given.named
    if not task:
        raise ValueError("task must be given: the name of a task with a corpus, such as chain_sum")
    if task.endswith(".jsonl"):
        raise ValueError(f"task must be a name: a new model has no tokenizer to read {task!r} with")
    return replace(given, task=task, named=None)


def _default_out(given: PretrainSettings) -> Path:
    from toykit.training.store import data_folder

    name = f"{given.task}{SUFFIX}" if given.config == GPT_CONFIG else f"{given.config}-{given.task}"
    return data_folder() / "checkpoints" / name


def _config(given: PretrainSettings) -> PretrainConfig:
    """How it is trained; raises ValueError for an unknown config and settings out of range."""
    from toykit.policies.qwen3 import PRESETS
    from toykit.training import PretrainConfig

    one_of("config", given.config, (GPT_CONFIG, *PRESETS))
    for name in ("layers", "width", "heads", "hidden", "context"):
        if (value := getattr(given, name)) is not None:
            at_least(name, value, 1)
    known = PRESETS.get(given.config)
    lr, warmup = (PretrainConfig.lr, PretrainConfig.warmup) if known is None else (known.lr, known.warmup)
    return PretrainConfig(
        steps=given.steps,
        batch=given.batch,
        lr=lr if given.lr is None else given.lr,
        warmup=warmup if given.warmup is None else given.warmup,
        autocast=given.device.startswith("cuda") if given.autocast is None else given.autocast,
        accuracy=given.accuracy,
        evaluate_every=given.evaluate_every,
        seed=given.seed,
    )


def _network(given: PretrainSettings, task: Task) -> Any:
    """A new network of the sizes that are given, the others being those of the config."""
    from toykit.policies import GPT, GPTConfig
    from toykit.policies.qwen3 import preset, qwen3

    asked = {name: size for name in SIZES if (size := getattr(given, name)) is not None}
    needed = task.prompts().tokens.shape[1] + task.horizon
    context = max(64, needed) if given.context is None else given.context
    if given.config == GPT_CONFIG:
        return GPT(GPTConfig(task.vocab.size, context, **asked), given.seed)
    sizes = preset(given.config).sizes | {SIZES[name]: size for name, size in asked.items()}
    return qwen3(task.vocab, sizes | {"max_position_embeddings": context}, given.seed)


def _short(given: PretrainSettings, trainer: Pretrainer) -> str:
    """What is said where the accuracy was not reached, with the command that goes on."""
    on = command_line("pretrain", replace(given, steps=2 * given.steps), without=("resume",))
    return (
        f"accuracy of {given.accuracy} was not reached, it is {trainer.accuracy:.3f} after {trainer.done} steps; "
        f"to go on from the checkpoint that is kept: {on} --resume"
    )


def _write(out: Path, trainer: Pretrainer, policy: nn.Module, task: str, options: dict[str, Any], made_by: str) -> None:
    """A GPT's file, or a transformers model's folder with its tokenizer, and in it how it was made."""
    import torch

    from toykit import __version__
    from toykit.policies import GPT
    from toykit.tasks.tokenizer import tokenizer_of
    from toykit.training import save_policy

    about: dict[str, Any] = {
        "task": task,
        "options": options,
        "config": asdict(trainer.config),
        "command": made_by,
        "versions": {"toykit": __version__, "torch": torch.__version__},
    }
    if trainer.accuracy is not None:
        about |= {"accuracy": trainer.accuracy, "steps": trainer.done}
    if trainer.earlier:
        about["earlier"] = trainer.earlier
    if isinstance(policy, GPT):
        save_policy(out, policy, **about)
    else:
        vocab = trainer.task.vocab
        write_model(out, policy, vocab, tokenizer_of(vocab), about)
