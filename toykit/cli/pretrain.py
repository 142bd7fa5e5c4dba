"""`toykit pretrain`: a base policy, trained on a task's worked examples."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toykit.cli.folder import RunFolder
from toykit.cli.options import task_options
from toykit.cli.settings import as_json, command_line, of_settings

if TYPE_CHECKING:
    from toykit.policies import GPT
    from toykit.tasks import Task

NETWORK, LEARNING, RUN = "The network", "Learning", "The run"


@dataclass(frozen=True)
class PretrainSettings:
    task: Annotated[
        str,
        typer.Argument(metavar="TASK", help="The name of a task with a corpus, such as chain_sum.", show_default=False),
    ]
    option: Annotated[
        list[str] | None,
        typer.Option("-o", "--option", metavar="NAME=VALUE", help="An option of the task; may be given several times."),
    ] = None
    layers: Annotated[int, typer.Option(help="Layers.", rich_help_panel=NETWORK)] = 2
    width: Annotated[int, typer.Option(help="Numbers a token is held in.", rich_help_panel=NETWORK)] = 64
    heads: Annotated[int, typer.Option(help="Attention heads.", rich_help_panel=NETWORK)] = 4
    hidden: Annotated[int, typer.Option(help="Width of the feed-forward part.", rich_help_panel=NETWORK)] = 192
    context: Annotated[
        int | None,
        typer.Option(
            help="Most tokens it can read.", rich_help_panel=NETWORK, show_default="64, or more where the task needs it"
        ),
    ] = None
    steps: Annotated[int, typer.Option(help="Training steps.", rich_help_panel=LEARNING)] = 400
    batch: Annotated[int, typer.Option(help="Examples a step.", rich_help_panel=LEARNING)] = 128
    lr: Annotated[
        float, typer.Option(help="Learning rate of the first step; it goes linearly to 0.", rich_help_panel=LEARNING)
    ] = 3e-3
    seed: Annotated[
        int,
        typer.Option(help="Of the weights and the examples: the same seed, the same file.", rich_help_panel=LEARNING),
    ] = 0
    out: Annotated[
        Path | None,
        typer.Option(
            help="The .safetensors file to write.",
            rich_help_panel=RUN,
            show_default="data/checkpoints/TASK.safetensors of the project",
        ),
    ] = None
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped.", rich_help_panel=RUN)
    ] = False


@of_settings(PretrainSettings)
def pretrain(given: PretrainSettings) -> None:
    """Trains a small GPT on a task's worked examples.

    The file that is written also holds the task, its options and the command that makes it again. While it runs, a
    checkpoint is kept in runs/pretrain; Ctrl-C leaves one to go on from.
    """
    import torch

    from toykit import __version__
    from toykit.tasks import make
    from toykit.training import PretrainConfig, Pretrainer, evaluate, save_policy, store

    if given.task.endswith(".jsonl"):
        raise ValueError(f"task must be a name: a GPT has no tokenizer to read {given.task!r} with")
    made_by = command_line("pretrain", given, without=("out", "resume"))
    out = given.out or store.data_folder() / "checkpoints" / f"{given.task}.safetensors"
    protect(out, made_by)
    folder = RunFolder(
        Path("runs") / "pretrain" / out.stem,
        as_json(given, without=("out", "resume")),
        command_line("pretrain", given, without=("resume",)),
    )
    folder.check(given.resume)
    options = task_options(given.task, given.option or ())
    config = PretrainConfig(given.steps, given.batch, given.lr, seed=given.seed)
    task: Any = make(given.task, **options)
    trainer = Pretrainer(_network(given, task), task, config)
    if given.resume and folder.checkpoint.exists():
        trainer.load(folder.checkpoint)
    folder.keep()
    with folder.resumable():
        trainer.run(folder.path)
    policy: Any = trainer.policy.eval()
    versions = {"toykit": __version__, "torch": torch.__version__}
    save_policy(
        out, policy, task=given.task, options=options, config=asdict(config), command=made_by, versions=versions
    )
    measured = evaluate(policy, task, seed=given.seed)
    typer.echo(f"{given.steps} steps on {given.task}: loss {folder.change('loss')}, nats a token")
    typer.echo(f"evaluation: {', '.join(f'{name} {value:.3f}' for name, value in measured.items())}")
    typer.echo(f"wrote {out}")
    folder.clear()


def protect(out: Path, made_by: str) -> None:
    """Raises ValueError where `out` is a file that another command made, or that is no policy."""
    from toykit.training import checkpoint

    if out.suffix != ".safetensors":
        raise ValueError(f"out must be a .safetensors file, got {str(out)!r}")
    if out.exists() and (before := checkpoint.load(out, "policy")[1].get("command")) != made_by:
        raise ValueError(
            f"out must not be another policy: {str(out)!r} was made by `{before}`; name another file, or remove it"
        )


def _network(given: PretrainSettings, task: Task) -> GPT:
    from toykit.policies import GPT, GPTConfig

    needed = task.prompts().tokens.shape[1] + task.horizon
    context = max(64, needed) if given.context is None else given.context
    config = GPTConfig(task.vocab.size, context, given.layers, given.width, given.heads, given.hidden)
    return GPT(config, given.seed)
