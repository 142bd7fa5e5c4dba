"""`toykit train`: any policy on any task with any objective, resumable."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from toykit.cli.folder import EVALUATION, RunFolder, announce, write_json
from toykit.cli.options import Sharding
from toykit.cli.settings import as_json, command_line, of_settings

if TYPE_CHECKING:
    from toykit.cli.build import Built

COMPLETIONS, LEARNING, REFERENCE, PROBLEMS, RUN = (
    "Completions",
    "Learning",
    "The reference policy",
    "Your own problems (a .jsonl task)",
    "The run",
)


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    policy: Annotated[
        str,
        typer.Option(
            help="A folder with a transformers model, or its hub id (owner/name); a base policy that `toykit pretrain` "
            "made, by name or file; gpt, a new small one; or tabular, a new table for a task with a tree."
        ),
    ]
    task: Annotated[str, typer.Option(help="The name of a task, or a .jsonl file of your own problems.")]
    objective: Annotated[str, typer.Option(help="A method of the catalogue, such as grpo or rloo.")]
    option: Annotated[
        list[str] | None,
        typer.Option("-o", "--option", metavar="NAME=VALUE", help="An option of the task; may be given several times."),
    ] = None
    beta: Annotated[
        float | None,
        typer.Option(help="Weight of the objective's KL penalty or posterior.", show_default="the objective's own"),
    ] = None
    sharing: Annotated[
        str,
        typer.Option(
            metavar="prefix|position|bigram|stationary|features",
            help="Which prefixes of a tabular policy share their logits.",
        ),
    ] = "prefix"

    prompts: Annotated[
        int, typer.Option(help="Prompts a step; all of them where there are fewer.", rich_help_panel=COMPLETIONS)
    ] = 32
    group_size: Annotated[int, typer.Option(help="Completions a prompt.", rich_help_panel=COMPLETIONS)] = 8
    temperature: Annotated[float, typer.Option(help="Of the sampling.", rich_help_panel=COMPLETIONS)] = 1.0
    top_k: Annotated[
        int | None,
        typer.Option(help="Draw from the k likeliest tokens.", rich_help_panel=COMPLETIONS, show_default="all"),
    ] = None
    top_p: Annotated[
        float | None,
        typer.Option(
            help="Draw from the fewest tokens with this probability.", rich_help_panel=COMPLETIONS, show_default="all"
        ),
    ] = None
    min_p: Annotated[
        float | None,
        typer.Option(
            help="Draw from tokens with this share of the likeliest's probability.",
            rich_help_panel=COMPLETIONS,
            show_default="all",
        ),
    ] = None
    enumerate: Annotated[
        bool,
        typer.Option(
            "--enumerate",
            help="Every completion of the task's tree, weighted by its probability, in place of samples.",
            rich_help_panel=COMPLETIONS,
        ),
    ] = False

    steps: Annotated[int, typer.Option(help="Steps in all.", rich_help_panel=LEARNING)] = 100
    lr: Annotated[
        float | None,
        typer.Option(
            help="Learning rate.",
            rich_help_panel=LEARNING,
            show_default="0.05 for a table, 1e-3 for a GPT, 1e-5 for a transformers model, 1e-4 for its adapters",
        ),
    ] = None
    lora: Annotated[
        int | None,
        typer.Option(
            metavar="RANK",
            help="Train low-rank adapters of a transformers model in the place of its weights.",
            rich_help_panel=LEARNING,
            show_default="none; all weights are trained",
        ),
    ] = None
    optimizer: Annotated[
        str, typer.Option(metavar="adam|sgd|natural", help="How the gradient is followed.", rich_help_panel=LEARNING)
    ] = "adam"
    epochs: Annotated[int, typer.Option(help="Passes over the completions of a step.", rich_help_panel=LEARNING)] = 1
    minibatch: Annotated[
        int | None, typer.Option(help="Prompts an update.", rich_help_panel=LEARNING, show_default="all of the step")
    ] = None
    micro_size: Annotated[
        int | None,
        typer.Option(
            help="Completions differentiated at once: less memory, the same result.",
            rich_help_panel=LEARNING,
            show_default="all of the update",
        ),
    ] = None
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute",
            help="Make activations again in the backward pass: less memory, the same result.",
            rich_help_panel=LEARNING,
        ),
    ] = False
    compile: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile, which takes a minute: for long runs.",
            rich_help_panel=LEARNING,
        ),
    ] = False
    max_grad_norm: Annotated[
        float | None,
        typer.Option(help="Gradient norm above which an update is scaled down.", rich_help_panel=LEARNING),
    ] = None
    seed: Annotated[int, typer.Option(help="Of everything random in the run.", rich_help_panel=LEARNING)] = 0

    reference: Annotated[
        str | None,
        typer.Option(
            metavar="frozen|reset|average",
            help="It stays the first policy, is reset to the policy now and then, or follows it as a moving average.",
            rich_help_panel=REFERENCE,
            show_default="the objective's own, or frozen",
        ),
    ] = None
    reference_every: Annotated[int, typer.Option(help="Steps between resets.", rich_help_panel=REFERENCE)] = 100
    reference_decay: Annotated[
        float, typer.Option(help="Share of the moving average kept in a step.", rich_help_panel=REFERENCE)
    ] = 0.99

    verifier: Annotated[
        str | None,
        typer.Option(
            metavar="exact|number|set|FILE.py:FUNCTION",
            help="What gives the reward: a function of (completion, answer).",
            rich_help_panel=PROBLEMS,
            show_default="number",
        ),
    ] = None
    horizon: Annotated[
        int | None, typer.Option(help="Most tokens of a completion.", rich_help_panel=PROBLEMS, show_default="64")
    ] = None
    test_fraction: Annotated[
        float | None,
        typer.Option(
            help="Share of the problems held out for the evaluation.", rich_help_panel=PROBLEMS, show_default="0.1"
        ),
    ] = None

    out: Annotated[
        Path, typer.Option(help="The folder of the run: settings, log, checkpoint, model.", rich_help_panel=RUN)
    ]
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run in that folder, from its last checkpoint.", rich_help_panel=RUN
        ),
    ] = False
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.", rich_help_panel=RUN)] = 50
    evaluate_every: Annotated[
        int | None,
        typer.Option(
            help="Steps between evaluations on the held-out prompts.", rich_help_panel=RUN, show_default="none"
        ),
    ] = None
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard events too.", rich_help_panel=RUN)
    ] = False
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="Where to compute.", rich_help_panel=RUN)] = "cpu"
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="float32|float64|bfloat16",
            help="Numbers the parameters are held in.",
            rich_help_panel=RUN,
            show_default="float64 for a table, else float32",
        ),
    ] = None
    sharding: Sharding = "ddp"
    autocast: Annotated[
        bool | None,
        typer.Option(
            "--autocast/--no-autocast", help="Compute in bf16.", rich_help_panel=RUN, show_default="on CUDA in float32"
        ),
    ] = None


# May differ when a run goes on: they change no step.
FREE = ("steps", "save_every", "tensorboard", "sharding", "micro_size", "recompute", "compile")


@of_settings(TrainSettings)
def train(given: TrainSettings) -> None:
    """Trains a policy by reinforcement learning.

    Writes to --out: settings.json, log.jsonl (a line a step), checkpoint.safetensors, evaluation.json (before and
    after, on the held-out prompts), and in the end the folder model, which AutoModelForCausalLM.from_pretrained loads,
    with the tokenizer beside it where there is one. Ctrl-C finishes the step under way and leaves a checkpoint; the
    same command with --resume goes on, and ends with the same bytes as a run that was never stopped. Nothing that is
    there is overwritten. Under torchrun or accelerate launch several processes train together.

    \b
    An exact run on a tree, and a model of your own on problems of your own:
      toykit train --policy tabular --task tree --objective kl_rl --enumerate --out runs/tree
      toykit train --policy FOLDER --task problems.jsonl --objective grpo --out runs/mine
    """
    from toykit.cli import build
    from toykit.training.processes import joined, local

    without = ("out", "resume")
    command = command_line("train", given, without=("resume",))
    folder = RunFolder(given.out, as_json(given, without), command, FREE)
    device = local(given.device)
    with joined(device, given.sharding) as processes:
        processes.on_first(lambda: folder.check(given.resume))
        made = build.build(replace(given, device=device), processes)
        announce(processes, device)
        with folder.resumable(processes.first):
            before, after = _run(folder, made, given)
        if processes.first:
            typer.echo(f"{made.trainer.done} steps of {given.objective} on {given.task}")
            typer.echo(f"{'reward':16} {folder.change('reward')}")
            for name, value in after.items():
                typer.echo(f"{'eval/' + name:16} {before[name]:.3f} -> {value:.3f} (before and after)")
            typer.echo(f"wrote {folder.path / 'model'}: {made.how_to_load}")


def _run(folder: RunFolder, made: Built, given: TrainSettings) -> tuple[dict[str, float], dict[str, float]]:
    """Trains and writes; returns the evaluations of the first policy and of the last."""
    on_first = made.trainer.processes.on_first
    before = _before(folder, made, given.resume)
    on_first(folder.keep)
    on_first(lambda: write_json(folder.path / EVALUATION, {"before": before}))
    if given.resume and on_first(folder.checkpoint.exists):
        made.trainer.load(folder.checkpoint)
    made.trainer.run(given.steps, folder.path, given.save_every, tensorboard=given.tensorboard)
    after = made.evaluate()
    on_first(lambda: write_json(folder.path / EVALUATION, {"before": before, "after": after}))
    made.save_model(folder.path / "model")
    return before, after


def _before(folder: RunFolder, made: Built, resume: bool) -> dict[str, float]:
    """The evaluation of the first policy: made now, or when the run began."""
    path = folder.path / EVALUATION

    def kept() -> dict[str, float] | None:
        return json.loads(path.read_text())["before"] if resume and path.exists() else None

    found = made.trainer.processes.on_first(kept)
    return made.evaluate() if found is None else found
