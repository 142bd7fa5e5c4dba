"""A TabularLM as a transformers model: importing this module registers it with the Auto classes.

The table sits in a backbone whose "hidden states" are the logits, and the language-model head is the identity, because
trainers of other libraries ask for the backbone's output and the head's weight separately.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from toykit.policies.tabular import TabularCursor, TabularLM

BUFFERS = ("move", "rows", "node", "whose", "forbidden", "features")


class TabularConfig(PretrainedConfig):
    """Shapes of the table and of the automaton's buffers."""

    model_type = "toykit_tabular"
    auto_map: ClassVar[dict[str, str]] = {}  # TRL reads it of any class that is not one of transformers' own

    def __init__(self, vocab_size: int = 1, shapes: dict[str, list[int]] | None = None, **options: Any) -> None:
        options.setdefault("tie_word_embeddings", False)
        options.setdefault("use_cache", False)
        self.vocab_size, self.shapes = vocab_size, shapes or {}
        self.hidden_size, self.num_hidden_layers = vocab_size, 0  # `generate` makes a cache of so many layers
        super().__init__(**options)


class TabularBackbone(PreTrainedModel):
    """From tokens to the logits at the automaton's states."""

    config_class = TabularConfig
    base_model_prefix = "model"
    _no_split_modules: list[str] = []

    def __init__(self, config: TabularConfig) -> None:
        super().__init__(config)
        self.vocab_size = config.vocab_size
        self.table = nn.Parameter(torch.zeros(config.shapes.get("table", [1, 1])))
        for name in BUFFERS:
            size = config.shapes.get(name)
            dtype = {"forbidden": torch.bool, "features": self.table.dtype}.get(name, torch.int64)
            self.register_buffer(name, None if size is None else torch.zeros(size, dtype=dtype))
        self.post_init()

    states = TabularLM.states
    logits_at = TabularLM.logits_at

    def _init_weights(self, module: nn.Module) -> None:
        """Weights come from the exported table; there is nothing to draw."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> BaseModelOutputWithPast:
        return BaseModelOutputWithPast(last_hidden_state=self.logits_at(self.states(input_ids, attention_mask)))


class IdentityHead(nn.Module):
    """A head with a weight that other libraries may multiply by; a buffer, so that it is never trained."""

    weight: Tensor
    bias = None

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.eye(size))

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden


class TabularForCausalLM(PreTrainedModel, GenerationMixin):
    """The transformers model that `toykit.policies.export` makes of a TabularLM."""

    config_class = TabularConfig
    base_model_prefix = "model"

    def __init__(self, config: TabularConfig) -> None:
        super().__init__(config)
        self.model = TabularBackbone(config)
        self.lm_head = IdentityHead(config.vocab_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, IdentityHead):
            module.weight.copy_(torch.eye(len(module.weight)))

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
        **_: Any,
    ) -> CausalLMOutputWithPast:
        logits = self.lm_head(self.model(input_ids, attention_mask).last_hidden_state)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=loss, logits=logits[:, -logits_to_keep:])

    def cursor(self, tokens: Tensor, mask: Tensor, room: int) -> TabularCursor:
        """There is no key-value cache: the automaton's state is all that the next token needs."""
        return TabularCursor(self.model, self.model.states(tokens, mask)[:, -1])

    def prepare_inputs_for_generation(self, input_ids: Tensor, attention_mask: Tensor | None = None, **_: Any) -> dict:
        return {"input_ids": input_ids, "attention_mask": attention_mask}


AutoConfig.register(TabularConfig.model_type, TabularConfig)
AutoModel.register(TabularConfig, TabularBackbone)
AutoModelForCausalLM.register(TabularConfig, TabularForCausalLM)
