"""Several processes as one: who takes part, and what they tell each other. torch.distributed does the work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from toykit._checks import one_of
from toykit.policies.hub import check_device
from toykit.rollouts import Share

T = TypeVar("T")
SHARDING = ("ddp", "fsdp")
LAUNCHED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # set beside WORLD_SIZE by torchrun and accelerate


@dataclass(frozen=True)
class Processes:
    """The processes that train together, seen from one of them; alone, nothing is asked of torch.distributed.

    rank      this process's number, from 0; the first one writes and prints
    world     how many there are
    sharding  ddp: each holds all of the model; fsdp: each holds a part of its parameters, gradients and moments

    What is said to all (`gather`, `sum`, `any`, `on_first`) must be said by all, in the same order.
    """

    rank: int = 0
    world: int = 1
    sharding: str = "ddp"

    def __post_init__(self) -> None:
        one_of("sharding", self.sharding, SHARDING)

    @staticmethod
    def here() -> Processes:
        """Those that have been joined; alone where nothing was.

        Raises ValueError in one of several processes that a launcher started and nobody has joined: each would train
        on its own and write over the others.
        """
        if dist.is_available() and dist.is_initialized():
            return Processes(dist.get_rank(), dist.get_world_size())
        if (wanted := launched()) > 1:
            raise ValueError(
                f"processes must be joined before they train together, WORLD_SIZE is {wanted} and this one is alone; "
                "use toykit.training.joined"
            )
        return Processes()

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def several(self) -> bool:
        return self.world > 1

    @property
    def share(self) -> Share:
        """This process's part of a batch."""
        return Share(self.rank, self.world, self.any)

    def gather(self, value: T) -> list[T]:
        """Every process's value (which can be pickled; tensors on the CPU), in the order of the ranks."""
        if not self.several:
            return [value]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, value)
        return found

    def sum(self, figures: Mapping[str, float]) -> dict[str, float]:
        """The sums over the processes, the same to the last bit in all."""
        every = self.gather(dict(figures))
        return {name: sum(each[name] for each in every) for name in figures}

    def any(self, value: bool) -> bool:
        """Whether it is so in any process."""
        if not self.several:
            return bool(value)
        flag = torch.tensor(int(value), device="cpu" if "cpu:" in dist.get_backend_config() else "cuda")
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    def on_first(self, fn: Callable[[], T]) -> T:
        """What `fn` gives on the first process, given to all; an error there is raised in all."""
        if not self.several:
            return fn()
        said: list[Any] = [None, None]
        if self.first:
            try:
                said = [fn(), None]
            except (ValueError, OSError) as error:
                said = [None, error]
        dist.broadcast_object_list(said, src=0)
        if said[1] is not None:
            raise said[1]
        return said[0]

    def described(self, device: str) -> str:
        """How many take part, and how: "2 processes (gloo, cpu), ddp"."""
        kind = torch.device(device).type
        if not self.several:
            return f"1 process ({kind})"
        return f"{self.world} processes ({'nccl' if kind == 'cuda' else 'gloo'}, {kind}), {self.sharding}"


ALONE = Processes()


def launched() -> int:
    """How many processes a launcher has started, 1 where there was none."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def by_launcher() -> bool:
    """Whether a launcher started this process; accelerate launch says so even where it silently runs one alone."""
    return "WORLD_SIZE" in os.environ or any(name.startswith("ACCELERATE_") for name in os.environ)


def local(device: str) -> str:
    """The device of this process among those that a launcher started: "cuda" becomes "cuda:LOCAL_RANK".

    Raises ValueError for a numbered device where there are several processes.
    """
    kind = device.partition(":")[0]
    if launched() == 1 or kind != "cuda":
        return device
    if device != kind:
        raise ValueError(f"device must be 'cuda' where several processes share out the devices, got {device!r}")
    return f"cuda:{_environment()['LOCAL_RANK']}"


@contextmanager
def joined(device: str = "cpu", sharding: str = "ddp") -> Iterator[Processes]:
    """Within, the processes that torchrun or accelerate launch started are one group: NCCL on CUDA, gloo on the CPU.

    `device` is that of this process, as `local` gives it. Without a launcher nothing happens. Raises ValueError for
    an unknown sharding, and where the launcher's variables are not all there. After an error the group is left as it
    is: the process ends, and with it, by the launcher, the others.
    """
    one_of("sharding", sharding, SHARDING)
    begun = launched() > 1 and not dist.is_initialized()
    if begun:
        _environment()
        check_device(device)
        if torch.device(device).type == "cuda":
            torch.cuda.set_device(torch.device(device))
            dist.init_process_group("cpu:gloo,cuda:nccl")
        else:
            dist.init_process_group("gloo")
    yield replace(Processes.here(), sharding=sharding)
    if begun:
        dist.destroy_process_group()


def _environment() -> dict[str, str]:
    if missing := [name for name in LAUNCHED if name not in os.environ]:
        raise ValueError(
            f"{missing[0]} must be set where WORLD_SIZE is {launched()}, as torchrun and accelerate launch do"
        )
    return {name: os.environ[name] for name in LAUNCHED}
