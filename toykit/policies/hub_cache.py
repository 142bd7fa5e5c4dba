"""Key-value caches of transformers models with room for the tokens to come. Importing this module imports transformers.

The caches that the models make grow by concatenation: with each token all keys and values are copied. Here they lie in
buffers that are filled from the left.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig, StaticCache
from transformers.cache_utils import DynamicLayer, StaticLayer

Layers = list[tuple[Tensor, Tensor]]  # keys and values of each layer, [N, H, L, h]


class RoomyLayer(DynamicLayer):
    """One layer's keys and values [N, H, L, h]: the first L places of buffers with `length` places.

    At each token transformers looks whether the mask hides anything at all, for which CUDA is waited for, unless a
    layer is compileable; `hides` says that it does.
    """

    def __init__(self, keys: Tensor, values: Tensor, length: int, hides: bool) -> None:
        super().__init__()
        self.is_initialized, self.is_compileable = True, hides
        self.dtype, self.device = keys.dtype, keys.device
        self.rooms = [x.new_empty(*x.shape[:2], length, x.shape[-1]) for x in (keys, values)]
        self.keys, self.values = (room[:, :, :0] for room in self.rooms)
        self.update(keys, values)

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        begin, new = self.keys.shape[2], key_states.shape[2]
        self.keys, self.values = (room.narrow(2, 0, begin + new) for room in self.rooms)  # refuses what does not fit
        self.keys[:, :, begin:], self.values[:, :, begin:] = key_states, value_states
        return self.keys, self.values


def is_plain(cache: Any) -> bool:
    """Whether a cache that a model made holds the keys and values of every token, and nothing else."""
    return type(cache) is DynamicCache and all(type(x) is DynamicLayer and x.is_initialized for x in cache.layers)


def has_room(cache: Any) -> bool:
    """Whether a cache is one of those below."""
    return isinstance(cache.layers[0], RoomyLayer | StaticLayer)


def layers_of(cache: Any, length: int) -> Layers:
    """The keys and values of the first `length` tokens."""
    return [(x.keys[:, :, :length], x.values[:, :, :length]) for x in cache.layers]


def roomy(layers: Layers, length: int, hides: bool) -> DynamicCache:
    """A cache with `length` places, of which the first are filled; `hides` says whether masks hide some of them."""
    made = DynamicCache()
    made.layers = [RoomyLayer(*x, length, hides) for x in layers]
    return made


def can_be_fixed(config: PreTrainedConfig) -> bool:
    """Whether all that a model keeps is keys and values, so that a `StaticCache` of one shape can hold them."""
    try:
        layers = StaticCache(config, 1).layers
    except (AttributeError, KeyError):  # of layers that have no such form
        return False
    return all(type(x) is StaticLayer for x in layers)


def fixed(config: PreTrainedConfig, length: int) -> StaticCache:
    """A cache with `length` places, all of which are given to attention: its shapes are the same at each token."""
    return StaticCache(config, length)


def refill(cache: StaticCache, layers: Layers) -> None:
    """Puts keys and values at the beginning of a fixed cache, whose buffers stay where they are in memory."""
    cache.reset()  # what lies beyond has the weight 0, which times what is not finite is not 0
    for i, (keys, values) in enumerate(layers):
        cache.update(keys, values, i)
