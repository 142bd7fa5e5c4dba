"""Modules that several processes train together, by torch's DDP or FSDP2, and a batch's division among them."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from toykit.objectives import Batch, Prepared
from toykit.policies import device_of
from toykit.policies.critic import Critic
from toykit.policies.gpt import Block
from toykit.rollouts import Rollouts, Share
from toykit.training.checkpoint import full
from toykit.training.processes import Processes

T = TypeVar("T")
Loss = Callable[[], tuple[Tensor, dict[str, Tensor]]]  # a loss with its graph, and detached figures


class Through(nn.Module):
    """Modules behind a forward that calls any function of them.

    DDP and FSDP2 do their work round a forward. With this one they need not know how a policy is read.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, fn: Callable[[], T]) -> T:
        return fn()


class Spread:
    """Modules that are trained, or only read, by several processes; whoever calls them does it through here.

    With ddp the modules stay as they are. With fsdp their parameters become shards, in place; they are whole within
    `read`, `whole` and `add_gradient`. A process that is alone just calls the functions.
    """

    def __init__(self, processes: Processes, modules: Sequence[nn.Module]) -> None:
        """Raises ValueError where the processes do not hold the same parameters, and for what FSDP2 cannot shard."""
        self.processes, self.modules = processes, list(modules)
        self.through: Any = Through(modules)
        self.ddp: Any = None
        self.sharded = processes.several and processes.sharding == "fsdp"
        if processes.several:
            _check_same(processes, self.through)
        if self.sharded:
            self.skeleton = _with_parameters(modules[0], lambda _, p: torch.empty_like(p, device="meta"))
            _shard(self.through, processes.world)
        elif processes.several and any(p.requires_grad for p in self.through.parameters()):
            self.ddp = _ddp(self.through)

    def read(self, fn: Callable[[], T]) -> T:
        """What `fn` gives, a computation without gradient; every process must call it."""
        return self.through(fn)

    def whole(self, fn: Callable[[], T]) -> T:
        """What `fn` gives, a computation without gradient that reads the modules many times, or their weights alone.

        Shards are gathered once, and kept until `fn` is done.
        """
        if not self.sharded:
            return fn()
        from torch.distributed.fsdp import FSDPModule

        sharded = [m for m in self.through.modules() if isinstance(m, FSDPModule)]

        def gathered() -> T:
            for module in sharded:
                module.unshard()
            return fn()

        self.through.set_reshard_after_forward(False)
        try:
            with torch.no_grad():
                return self.through(gathered)
        finally:
            self.through.set_reshard_after_forward(True)
            for module in sharded:
                module.reshard()

    def add_gradient(self, loss: Loss, last: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
        """Adds the gradient of the sum of all processes' losses; returns this process's, detached, with its figures.

        Of several calls before an optimizer step only the `last` need make the processes agree.
        """
        wait = self.ddp is not None and not last
        with self.ddp.no_sync() if wait else nullcontext():
            value, figures = (self.ddp or self.through)(loss)
            (value * self.processes.world).backward()  # DDP and FSDP2 take the mean over the processes
        return value.detach(), figures

    def plain(self) -> nn.Module:
        """The first module as one process alone would hold it: itself, or a copy on the CPU where it is sharded."""
        if not self.sharded:
            return self.modules[0]
        found = {name: full(p).cpu() for name, p in self.modules[0].named_parameters()}
        return _with_parameters(self.skeleton, lambda name, _: found[name])


def portion(batch: Batch, share: Share) -> Batch:
    """A share of a batch, whose losses add up to the whole's: some prompts, or where these cannot be divided some of
    the rows that it can be cut into (of which the last may be there twice, the second time with weight 0)."""
    b = len(batch.rollouts.rewards)
    if share.world == 1:
        return batch
    if b % share.world == 0:
        return batch.take(share.rows(b))
    whole = batch.by_row()
    rows, real = _padded(len(whole.rollouts.rewards), share, batch.rollouts.mask.device)
    return whole.take(rows).times(real)


def weighing(batch: Prepared) -> Prepared:
    """The completions of a batch that have a weight, each as a group of one; the batch itself where all or none do."""
    kept = (batch.token_weights != 0).any(-1).flatten()
    return batch.by_row().take(kept) if bool(kept.any()) and not bool(kept.all()) else batch


def divided(processes: Processes, rollouts: Rollouts, fn: Callable[[Rollouts], Tensor]) -> Tensor:
    """fn of a batch, [B, G, ...] for its completions, of which each process computes a share."""
    if not processes.several:
        return fn(rollouts)
    (b, g), share, device = rollouts.rewards.shape, processes.share, rollouts.mask.device
    if by_prompt := b % processes.world == 0:
        mine = rollouts.take(share.rows(b))
    else:
        mine = rollouts.flat().take(_padded(b * g, share, device)[0])
    found = torch.cat(processes.gather(fn(mine).cpu())).to(device)
    return found if by_prompt else found[: b * g, 0].unflatten(0, (b, g))


def together(processes: Processes, make: Callable[..., Rollouts], n_prompts: int) -> Rollouts:
    """The rollouts of `n_prompts` prompts, of which each process makes a share.

    Where there are fewer prompts than processes, and where `make` takes no share, each makes all.
    """
    if not processes.several or n_prompts < processes.world or "share" not in inspect.signature(make).parameters:
        return make()
    mine = make(share=processes.share)
    return Rollouts.cat(processes.gather(mine.to("cpu"))).to(mine.mask.device)


def with_last(items: Iterable[T]) -> Iterator[tuple[T, bool]]:
    """Each item, and whether it is the last."""
    following = iter(items)
    for item in following:
        for after in following:
            yield item, False
            item = after
        yield item, True


def _padded(n: int, share: Share, device: torch.device) -> tuple[Tensor, Tensor]:
    """(rows int64 [m], whether each is one of the share's own bool [m]): m is the same in all shares."""
    size = math.ceil(n / share.world)
    rows = torch.arange(share.rank * size, (share.rank + 1) * size, device=device)
    return rows.clamp(max=n - 1), rows < n


def _with_parameters(module: nn.Module, make: Callable[[str, nn.Parameter], Tensor]) -> nn.Module:
    """A copy of a module with other parameters (tied ones stay tied) and the same buffers."""
    memo: dict[int, Any] = {id(b): b for b in module.buffers()}
    for name, p in module.named_parameters():
        memo[id(p)] = nn.Parameter(make(name, p), p.requires_grad)
    return copy.deepcopy(module, memo)


def _ddp(through: nn.Module) -> nn.Module:
    from torch.nn.parallel import DistributedDataParallel

    known = inspect.signature(DistributedDataParallel).parameters  # torch 2.13 gave the option another name
    option = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {option: False}
    return DistributedDataParallel(through, **options)  # no buffer ever changes


def _shard(through: nn.Module, world: int) -> None:
    """FSDP2 with a group of shards for each layer, and one for what is left.

    What trains in a group is of one type; frozen weights may be of another (before torch 2.8 they may not).
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device_of(through).type, (world,))
    for layer in (*reversed(_layers(through)), through):  # what is inside another comes first
        fully_shard(layer, mesh=mesh, reshard_after_forward=True)
    try:
        through(lambda: None)  # types are looked at when it first runs
    except AssertionError as error:
        types = ", ".join(sorted({str(p.dtype) for p in through.parameters()}))
        raise ValueError(
            f"sharding must be 'ddp' where FSDP2 cannot shard weights of several types in one layer, got {types}"
        ) from error


def _layers(module: nn.Module) -> list[nn.Module]:
    """The layers that are gathered one at a time: a GPT's blocks, those that a transformers model names, and a critic's
    head where its numbers are of another type than the body's, for a group of shards has but one."""
    named = {name for m in module.modules() for name in getattr(m, "_no_split_modules", None) or ()}
    critics = [m for m in module.modules() if isinstance(m, Critic)]
    heads = [m.head for m in critics if m.head.weight.dtype != next(m.body.parameters()).dtype]
    for head in heads:
        head.register_forward_hook(lambda _, given, values: values.clone())  # FSDP2 warns of one that is a view
    return heads + [m for m in module.modules() if isinstance(m, Block) or type(m).__name__ in named]


def _check_same(processes: Processes, module: nn.Module) -> None:
    sums = processes.gather(float(sum(p.detach().double().sum() for p in module.parameters())))
    if any(not math.isclose(s, sums[0], rel_tol=1e-9, abs_tol=1e-9) for s in sums):
        raise ValueError(f"policy must be the same in all processes, its parameters sum to {sums}; seed what draws it")
