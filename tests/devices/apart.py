"""A device apart from the CPU, for machines that have none: its tensors lie elsewhere, and the CPU does its work.

Like a GPU it refuses to mix its tensors with the CPU's, to draw with a generator of the CPU, and to become numpy. It is
torch's Python backend, with a tensor that wraps one of the CPU. As a script with numbers of lessons this prints a line
for each: "well" where its llm recipe, on a tiny model, finds there what it finds on the CPU, or what it finds; with
`methods` a line for each method of the catalogue, "well" where it takes a step there.
"""

from __future__ import annotations

import json
import math
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn.attention import SDPBackend
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "apart:0"
ATEN = torch.ops.aten
COPIES = (ATEN.copy_.default, ATEN._to_copy.default)
INDEXED = (ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default, ATEN._index_put_impl_.default)
GENERATORS: dict[int, torch._C.Generator] = {}  # those of the device, by what remains of them within torch


class Apart(torch.Tensor):
    """A tensor of the device; `inner` is the one on the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Apart:
        about = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        return torch.Tensor._make_wrapper_subclass(cls, inner.size(), device=torch.device(NAME), **about)

    def __init__(self, inner: torch.Tensor) -> None:
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(op, args, kwargs or {})

    # What torch does within itself for a device of its own, and refuses to a subclass.

    def tolist(self) -> Any:
        return self.inner.tolist()

    def numpy(self, *given: Any, **named: Any) -> Any:
        raise TypeError(f"a tensor of {NAME} cannot become numpy; move it to the CPU first")

    __array__ = numpy

    def new_tensor(self, data: Any, dtype: torch.dtype | None = None) -> torch.Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype, device=self.device)

    def __getitem__(self, key: Any) -> torch.Tensor:
        return super().__getitem__(with_tensors(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(with_tensors(key), value)


def with_tensors(key: Any) -> Any:
    """An index whose lists are tensors of the device."""
    if isinstance(key, tuple):
        return tuple(map(with_tensors, key))
    return torch.tensor(key, device=NAME, dtype=None if key else torch.int64) if isinstance(key, list) else key


def computed(op: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What an operation gives, made on the CPU; raises RuntimeError where a GPU would refuse it."""
    given = tree_leaves((args, kwargs))
    there = [x for x in given if isinstance(x, Apart)]
    device = torch.device(kwargs.get("device") or (NAME if there else "cpu"))
    made_there = device.type != "cpu"
    for x in given:
        if isinstance(x, torch._C.Generator) and (x._cdata in GENERATORS) != made_there:
            raise RuntimeError(f"{op} draws on {device} with a generator of another device")
    here = [x for x in given if isinstance(x, torch.Tensor) and not isinstance(x, Apart) and x.dim()]
    indexed = op in INDEXED and isinstance(args[0], Apart) and not any(x is y for x in here for y in args[2:])
    if there and here and op not in COPIES and not indexed:
        raise RuntimeError(f"{op} mixes tensors of {NAME} and of the CPU")
    if op is ATEN._fused_sdp_choice.default:
        return SDPBackend.MATH.value
    if "device" in kwargs:
        kwargs = {**kwargs, "device": torch.device("cpu"), "pin_memory": False}
    wrappers = {id(x.inner): x for x in there}
    found = op(*tree_map(_inner, args), **tree_map(_inner, kwargs))

    def wrapped(x: Any) -> Any:
        if id(x) in wrappers:
            return wrappers[id(x)]
        return Apart(x) if made_there and isinstance(x, torch.Tensor) else x

    return args[0] if op is ATEN.copy_.default else tree_map(wrapped, found)


def _inner(x: Any) -> Any:
    return x.inner if isinstance(x, Apart) else x


class Everywhere(TorchDispatchMode):
    """Catches what makes tensors, which has none to be caught by."""

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(op, args, kwargs or {})


class Generator(torch._C.Generator):
    """A generator of the device or of the CPU."""

    def __new__(cls, device: Any = "cpu") -> Generator:
        made = super().__new__(cls, "cpu")
        if torch.device(device).type != "cpu":
            GENERATORS[made._cdata] = made
        return made

    def __init__(self, device: Any = "cpu") -> None: ...

    @property
    def device(self) -> torch.device:
        return torch.device(NAME if self._cdata in GENERATORS else "cpu")


class Backend(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def get_rng_state(self, *given: Any) -> torch.Tensor:
        return torch.zeros(8, dtype=torch.uint8)

    def set_rng_state(self, *given: Any) -> None: ...


def moved(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """A function that makes tensors of plain data, which then go to the device."""

    def made(data: Any, *, device: Any = None, **named: Any) -> torch.Tensor:
        found = make(data, **named)
        return found if device is None else found.to(device)

    return made


def install() -> None:
    """The device is there from now on. To be called before the first backward pass, when torch counts its devices."""
    _setup_privateuseone_for_python_backend(NAME.partition(":")[0], Backend())
    torch.__future__.set_swap_module_params_on_conversion(True)
    torch.Generator = Generator  # type: ignore[misc]
    torch.tensor, torch.as_tensor = moved(torch.tensor), moved(torch.as_tensor)
    for name, module in list(sys.modules.items()):
        if name.startswith("toykit") and hasattr(module, "check_device"):
            module.check_device = str
    Everywhere().__enter__()


def lessons(numbers: list[str]) -> Iterator[tuple[str, str]]:
    """In float64, where sums in another order draw the same completions."""
    from toykit.lessons import load

    torch.set_default_dtype(torch.float64)
    experiments = {number: load(number).experiments["llm"].run for number in numbers}
    install()
    for number, run in experiments.items():
        here = run(seeds=(0,), size="tiny", device="cpu")
        try:
            there = run(seeds=(0,), size="tiny", device=NAME)
        except Exception:
            yield number, traceback.format_exc()
        else:
            yield number, "well" if near(here, there) else f"here {here}\nthere {there}"


def near(a: Any, b: Any) -> bool:
    """Whether results have the same parts, numbers within 1e-6 of each other or of their size."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(near(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(near, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6) or (math.isnan(a) and math.isnan(b))
    return bool(a == b)


def methods() -> Iterator[tuple[str, str]]:
    from toykit.lessons.rungs import TINY
    from toykit.objectives import CATALOGUE, method
    from toykit.policies.qwen3 import qwen3
    from toykit.rollouts import Sampled, Solutions, supplying
    from toykit.tasks import ChainSum
    from toykit.training import TrainConfig, Trainer

    task = ChainSum(n_digits=2, n_train=40, n_test=20, horizon=6)
    install()
    for name in CATALOGUE:
        config = TrainConfig(prompts=4, epochs=2, minibatch=2, micro_size=3)
        try:
            policy = qwen3(task.vocab, TINY).to(NAME)
            strategy = supplying(method(name).data, Sampled(4), Solutions.of(task))
            figures = Trainer(policy, task, name, strategy, config).step()
            yield name, "well" if figures["step"] == 1 else str(figures)
        except Exception:
            yield name, traceback.format_exc()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for label, said in methods() if sys.argv[1:] == ["methods"] else lessons(sys.argv[1:]):
        print(json.dumps([label, said]), flush=True)
