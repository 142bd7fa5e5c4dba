"""The cursor of transformers causal LMs, and its step compiled. Importing transformers is left to the calls."""

from __future__ import annotations

import weakref
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toykit.policies.base import device_of, keeps_cache, places, takes

PLACES = 32  # the places of a compiled cache are a multiple of it, so that prompts of about one length share a program
CACHES = 4  # that a program keeps for the next sequences of their shape


class HubCursor:
    """Sequences under a transformers causal LM: its key-value cache, and the logits of the next token.

    The prompts are read into the cache that the model makes. Where that holds keys and values alone, they move at the
    first `append` to buffers with room for all tokens, which are those of the model's `Program` if it has one; another
    cache (of a sliding window, of convolutions) is used as it is. A model without padding is given no mask: it would
    look into it at each token.
    """

    @torch.no_grad()
    def __init__(self, model: nn.Module, tokens: Tensor, mask: Tensor, room: int) -> None:
        from toykit.policies.hub_cache import is_plain, layers_of

        self.filled = tokens.shape[1]
        self.model, self.placed, self.padded = model, takes(model, "position_ids"), not bool(mask.all())
        options = {"logits_to_keep": 1} if takes(model, "logits_to_keep") else {}
        seen = mask.long() if self.padded else None
        out = forward(model, tokens, seen, None, self._at(places(mask)) | options)
        self.cache, self.logits = out.past_key_values, out.logits[:, -1]
        self.layers = layers_of(self.cache, self.filled) if is_plain(self.cache) else None  # that are yet to move
        self.program = None if self.layers is None else PROGRAMS.get(model)
        self.fixed_shapes = self.program is not None
        self.length = self.filled + room
        if self.fixed_shapes:
            self.length = -(-self.length // PLACES) * PLACES
        self.mask = F.pad(mask.long(), (0, self.length - self.filled), value=1)
        self.place = mask.sum(1, keepdim=True)  # of the next token

    @property
    def has_rows(self) -> bool:
        """Whether sequences can be picked from the cache; the layers of linear attention keep none."""
        return all(hasattr(layer, "batch_select_indices") for layer in self.cache.layers)

    def _at(self, place: Tensor) -> dict[str, Tensor]:
        return {"position_ids": place} if self.placed else {}

    @torch.no_grad()
    def pick(self, rows: Tensor) -> None:
        from toykit.policies.hub_cache import has_room, layers_of

        if self.layers is None and has_room(self.cache):
            self.layers = layers_of(self.cache, self.filled)
        if self.layers is None:
            self.cache.batch_select_indices(rows)
        else:
            self.layers = [(keys[rows], values[rows]) for keys, values in self.layers]
        self.mask, self.place, self.logits = self.mask[rows], self.place[rows], self.logits[rows]

    @torch.no_grad()
    def append(self, tokens: Tensor) -> None:
        if self.layers is not None:
            self.cache, self.layers = self._with_room(self.layers), None
        self.filled += 1
        given = tokens[:, None], self.cache, self._at(self.place)
        if self.program is None:
            seen = self.mask[:, : self.filled] if self.padded else None
            self.logits = step(self.model, seen, *given)
        else:
            self.logits = self.program.step(self.model, self.mask, *given).clone()  # the next step writes over it
        self.place = self.place + 1

    def _with_room(self, layers: list[tuple[Tensor, Tensor]]) -> Any:
        from toykit.policies.hub_cache import roomy

        if self.program is None:
            return roomy(layers, self.length, self.padded)
        return self.program.cache(self, layers)


def forward(model: Any, tokens: Tensor, mask: Tensor | None, cache: Any, options: dict[str, Any]) -> Any:
    """What the model gives for `tokens` [N, L] that come after those in its cache, which takes them in."""
    return model(input_ids=tokens, attention_mask=mask, past_key_values=cache, use_cache=True, **options)


def step(model: Any, mask: Tensor | None, tokens: Tensor, cache: Any, options: dict[str, Any]) -> Tensor:
    """The logits [N, V] after one more token [N, 1] of each sequence."""
    return forward(model, tokens, mask, cache, options).logits[:, -1]


class Program:
    """The compiled step of a model, and caches of fixed shapes that it has run on.

    A cache is lent to one cursor at a time and used again for the next one of its shape, because a CUDA graph is bound
    to where in memory it lies.
    """

    def __init__(self, **options: Any) -> None:
        self.step = torch.compile(step, **options)
        self.lent: list[tuple[weakref.ref[HubCursor], tuple[Any, ...], Any]] = []

    def cache(self, to: HubCursor, layers: list[tuple[Tensor, Tensor]]) -> Any:
        """A cache with `to.length` places for `to` alone, that begins with the keys and values in `layers`."""
        from toykit.policies.hub_cache import fixed, refill

        keys = layers[0][0]
        shape = (len(keys), to.length, keys.dtype, keys.device)
        at = next((i for i, (who, of, _) in enumerate(self.lent) if of == shape and who() in (None, to)), None)
        made = fixed(to.model.config, to.length) if at is None else self.lent.pop(at)[2]
        self.lent = [*self.lent[1 - CACHES :], (weakref.ref(to), shape, made)]
        refill(made, layers)
        return made


PROGRAMS: weakref.WeakKeyDictionary[nn.Module, Program] = weakref.WeakKeyDictionary()


def compile_step(model: nn.Module, **options: Any) -> None:
    """Compiles how a transformers causal LM reads the tokens that it draws; how it is trained stays as it is.

    `options` are those of torch.compile; on CUDA the mode is by default "reduce-overhead", which makes CUDA graphs.
    Each number of sequences and (in steps of 32) of tokens is compiled anew, which takes half a minute: so finished
    sequences are not dropped, and at the ninth shape torch goes on without compiling. Raises ValueError for a model
    whose cache has no fixed shape.
    """
    from toykit.policies.hub_cache import can_be_fixed

    if not keeps_cache(model) or not can_be_fixed(model.config):
        raise ValueError(
            f"compile must be False for a {type(model).__name__}, whose cache is not of keys and values alone"
        )
    if device_of(model).type == "cuda" and "backend" not in options:
        options = {"mode": "reduce-overhead"} | options
    PROGRAMS[model] = Program(**{"dynamic": False} | options)
