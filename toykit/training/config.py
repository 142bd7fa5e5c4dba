"""TrainConfig: how an objective is followed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from toykit._checks import at_least, one_of, positive
from toykit.objectives import Reference

OPTIMIZERS = ("adam", "sgd", "natural")
FREE = (
    "micro_size",
    "recompute",
    "compile",
)  # change memory and speed and no result, so that a run may go on with others


@dataclass(frozen=True)
class TrainConfig:
    """How the objective is followed.

    lr           learning rate
    optimizer    adam (AdamW without decay), sgd, or natural (exact, with enumerated rollouts)
    prompts      prompts a step, drawn without replacement; None takes all of the split, in order
    epochs       passes over each batch of rollouts
    minibatch    prompts an optimizer step; None takes the whole batch
    micro_size   completions that are scored and differentiated at once, at least a group where a loss couples its
                 members (PACS); changes memory, not results
    recompute    layers' activations are made again in the backward pass, not kept; changes memory, not results
    compile      compile a GPT's passes and its drawing, or how a transformers model reads what it draws, which takes a
                 minute: for long runs of one shape
    max_grad_norm  gradient norm above which a step is scaled down; None for no limit
    autocast     compute the update in bf16 (log-probabilities stay float32); completions are drawn without it
    evaluate_every  steps between evaluations on the test split, logged as eval/...; None for none
    reference    how the reference follows the policy; None for the method's own schedule, frozen where it has none
    seed         of everything random in the run
    """

    lr: float = 1e-3
    optimizer: str = "adam"
    prompts: int | None = None
    epochs: int = 1
    minibatch: int | None = None
    micro_size: int | None = None
    recompute: bool = False
    compile: bool = False
    max_grad_norm: float | None = None
    autocast: bool = False
    evaluate_every: int | None = None
    reference: Reference | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        positive("lr", self.lr)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        for name in ("prompts", "epochs", "minibatch", "micro_size", "evaluate_every"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), 1)
        if self.max_grad_norm is not None:
            positive("max_grad_norm", self.max_grad_norm)

    def kept(self) -> dict[str, Any]:
        """What a run that goes on must have in common with the one that was stopped."""
        return {name: value for name, value in asdict(self).items() if name not in FREE}

    def advice(self, least: int = 1) -> str:
        """Which settings make a step fit that does not, where completions go at once by `least` and no fewer."""
        if self.micro_size is None:
            first = f"set micro_size to a number of completions, such as {max(8, least)}"
        elif self.micro_size >= 2 * least:
            first = f"set micro_size to less than {self.micro_size // least * least}"
        else:
            first = "ask for fewer prompts or a smaller group_size"
        return first if self.recompute else f"{first}, or set recompute"
