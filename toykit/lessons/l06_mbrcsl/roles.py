"""Language models in the roles of MBRCSL: rows of tokens, of which some places are learned, and laws of the next token.

A row begins with a token for its role; then come the words of one step, or of all steps in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from toykit._checks import at_least, positive
from toykit.policies import device_of


@dataclass(frozen=True)
class Plan:
    """`steps` steps of AdamW on at most `batch` rows, the learning rate going linearly from `lr` to 0.

    autocast  compute in bf16 (the loss stays float32)
    """

    steps: int
    lr: float = 3e-3
    batch: int = 256
    autocast: bool = False

    def __post_init__(self) -> None:
        at_least("steps", self.steps, 1)
        at_least("batch", self.batch, 1)
        positive("lr", self.lr)


def written(role: int, columns: Sequence[Tensor], whole: bool = False) -> Tensor:
    """Rows of tokens: the role, and the words of a step in the order of `columns`, each [N, H].

    int64 [N H, 1 + K] with a row for each step, or with `whole` [N, 1 + H K] with all steps of an episode in one row.
    """
    steps = torch.stack(list(columns), -1)
    return pad(steps.flatten(1) if whole else steps.flatten(0, 1), (1, 0), value=role)


def fit(model: nn.Module, rows: Tensor, learn: Sequence[bool], plan: Plan, seed: int = 0) -> nn.Module:
    """Minimises the mean over `rows` [N, L] of -sum log p(token) at the places that are learned; trains in place.

    learn  whether each word of a step is learned; it repeats over the steps of a row

    Rows that are equal are one row with a weight; where there are more of them than a batch they are drawn by weight.
    Raises ValueError for no row, rows that are not whole steps, a step of which nothing is learned, and a loss that is
    not finite.
    """
    if not any(learn):
        raise ValueError(f"learn must have a True, got {tuple(learn)}")
    if rows.dim() != 2 or not len(rows) or (rows.shape[1] - 1) % len(learn):
        raise ValueError(f"rows must be [N, 1 + a multiple of {len(learn)}] with N >= 1, got {list(rows.shape)}")
    device, generator = device_of(model), torch.Generator().manual_seed(seed)
    different, counts = rows.cpu().unique(dim=0, return_counts=True)
    shares = counts.double() / len(rows)
    learned = torch.tensor(list(learn) * ((rows.shape[1] - 1) // len(learn)), device=device)
    optimizer = torch.optim.AdamW(model.parameters(), plan.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    model.requires_grad_(True)
    for step in range(plan.steps):
        now, weights = different, shares
        if len(different) > plan.batch:
            now = different[torch.multinomial(shares, plan.batch, replacement=True, generator=generator)]
            weights = torch.full((plan.batch,), 1 / plan.batch)
        now, weights = now.to(device), weights.to(device, torch.float32)
        with torch.autocast(device.type, torch.bfloat16, enabled=plan.autocast):
            logits = model(now[:, :-1]).logits[:, learned]
        missed = cross_entropy(logits.float().transpose(1, 2), now[:, 1:][:, learned], reduction="none").sum(1)
        loss = weights @ missed
        if not bool(loss.isfinite()):
            raise ValueError(f"loss must be finite, got {loss.item()} in step {step + 1}; a smaller lr may help")
        for group in optimizer.param_groups:
            group["lr"] = plan.lr * (1 - step / plan.steps)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval().requires_grad_(False)


@torch.no_grad()
def law(model: nn.Module, rows: Tensor, words: slice, most: int = 4096) -> Tensor:
    """[N, K] the law of the next token after `rows` [N, L] among the K tokens `words`, on the CPU in float64.

    Rows that are equal are read once, `most` at a time.
    """
    different, where = rows.unique(dim=0, return_inverse=True)
    parts = [model(part.to(device_of(model))).logits[:, -1, words].double().cpu() for part in different.split(most)]
    return torch.cat(parts).softmax(-1)[where]
