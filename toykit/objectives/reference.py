"""The reference's schedule: frozen, reset to the policy now and then, or its moving average."""

from __future__ import annotations

from dataclasses import dataclass

from toykit._checks import at_least, one_of


@dataclass(frozen=True)
class Plateau:
    """A figure of the steps that has not risen by more than `min_delta` above its best for `patience` values.

    `figure` is "reward", the rollouts' mean, or one of an evaluation, such as "eval/reward", which has a value where
    an evaluation is due. After a reset the best counts anew.
    """

    patience: int
    min_delta: float = 0.0
    figure: str = "reward"

    def __post_init__(self) -> None:
        at_least("patience", self.patience, 1)
        at_least("min_delta", self.min_delta, 0)


@dataclass(frozen=True)
class Reference:
    """How the reference follows the policy.

    frozen   it stays what it was at the start
    reset    it becomes a copy of the policy after every `every` steps (None: not by their number) and `on_plateau`;
             with `optimizer` the optimizer's moments begin anew too
    average  it moves by (1 - decay) towards the policy after each step

    A trainer's step says in its figure "reset" (0 or 1) whether the reference was reset after it.
    """

    kind: str = "frozen"
    every: int | None = 100
    decay: float = 0.99
    optimizer: bool = False
    on_plateau: Plateau | None = None

    def __post_init__(self) -> None:
        one_of("reference", self.kind, ("frozen", "reset", "average"))
        if self.every is not None:
            at_least("every", self.every, 1)
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {self.decay}")
        if self.kind != "reset" and (self.optimizer or self.on_plateau is not None):
            raise ValueError(f"optimizer and on_plateau must be given only for reference 'reset', got {self.kind!r}")
        if self.kind == "reset" and self.every is None and self.on_plateau is None:
            raise ValueError("every or on_plateau must be given for reference 'reset', got neither")
