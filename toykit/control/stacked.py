"""Several modules of one shape run as one: the same experiment over seeds and losses in one sequence of batches."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from toykit._checks import at_least


class Stacked(nn.Module):
    """K modules of the same class and sizes, with their parameters and buffers along a leading axis.

    Called with tensors [K, ...] it gives what each module gives for its own slice, stacked: a tensor, or a tuple of
    those results that are not None. Modules share nothing, so that the gradient of a sum of their losses, and a step of
    an optimizer that works on each number alone (Adam, SGD), are those that each would have had by itself. Raises
    ValueError for no module, and for modules of other shapes.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        at_least("number of modules", len(modules), 1)
        shapes = [{name: tuple(x.shape) for name, x in module.state_dict().items()} for module in modules]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError(f"modules must all have the same shapes, got {shapes[0]} and others")
        parameters, buffers = stack_module_state(list(modules))
        self._shell = (copy.deepcopy(modules[0]).to("meta"),)  # in a tuple: its parameters are not this module's
        self._names = {name.replace(".", "__"): name for name in (*parameters, *buffers)}
        for name, value in parameters.items():
            self.register_parameter(name.replace(".", "__"), nn.Parameter(value.detach().clone()))
        for name, value in buffers.items():
            self.register_buffer(name.replace(".", "__"), value.detach().clone())
        self.count = len(modules)

    def forward(self, *inputs: Tensor) -> Any:
        """The K results of inputs [K, ...]."""
        return vmap(self._one)(self._state(), *inputs)

    def module(self, k: int) -> nn.Module:
        """A copy of module `k` as it is now."""
        made = copy.deepcopy(self._shell[0]).to_empty(device=next(self.parameters()).device)
        made.load_state_dict({name: value[k].detach() for name, value in self._state().items()})
        return made

    def _state(self) -> dict[str, Tensor]:
        return {name: getattr(self, key) for key, name in self._names.items()}

    def _one(self, state: dict[str, Tensor], *inputs: Tensor) -> Any:
        out = functional_call(self._shell[0], state, inputs)
        return out if isinstance(out, Tensor) else tuple(part for part in out if part is not None)
