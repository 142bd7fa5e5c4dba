"""Drawing completions token by token: the laws that tokens are drawn from, and the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from toykit._checks import at_least
from toykit.policies.base import cursor
from toykit.rollouts.logprobs import log_softmax
from toykit.tasks.base import Prompts

CROWDED = 0.75  # finished sequences are dropped when no more than this share of the rows is unfinished
NUMBERS = 2**17  # random numbers that are made at once
EVERY = 8  # tokens between looks for finished sequences on a device that a look waits for


@dataclass(frozen=True)
class Sampling:
    """The law that each token is drawn from: the policy's at a temperature, cut and scaled up to sum to 1 again.

    The cuts come in this order: `allowed` (the only token ids that may be drawn), `top_k` (the k likeliest), `top_p`
    (the fewest likeliest that hold this much probability), `min_p` (those with at least this share of the likeliest's
    probability). `temperature` 0 takes the likeliest token, the lowest id among equals. Raises ValueError for a
    negative temperature, top_k < 1, shares outside (0, 1], and no allowed token.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    allowed: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature must be >= 0 and finite, got {self.temperature}")
        if self.top_k is not None:
            at_least("top_k", self.top_k, 1)
        for name in ("top_p", "min_p"):
            share = getattr(self, name)
            if share is not None and not 0 < share <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {share}")
        if self.allowed is not None and (not self.allowed or min(self.allowed) < 0):
            raise ValueError(f"allowed must hold at least one token id and no negative one, got {self.allowed}")

    @property
    def cuts(self) -> bool:
        """Whether some tokens may be left out."""
        return (self.top_k, self.top_p, self.min_p, self.allowed) != (None, None, None, None)

    def cut(self, logp: Tensor) -> Tensor:
        """The law after the cuts, as log-probabilities [N, V], from log-probabilities [N, V].

        Raises ValueError where an allowed token is not in the vocabulary.
        """
        if self.allowed is not None:
            if max(self.allowed) >= logp.shape[-1]:
                raise ValueError(f"allowed must be token ids below {logp.shape[-1]}, got {max(self.allowed)}")
            logp = logp.masked_fill(_all_but(self.allowed, logp.shape[-1], logp.device), -torch.inf)
        if self.top_k is not None and self.top_k < logp.shape[-1]:
            least = logp.topk(self.top_k, -1).values[:, -1:]
            logp = logp.masked_fill(logp < least, -torch.inf)
        if self.top_p is not None and self.top_p < 1:
            sorted_, order = logp.log_softmax(-1).sort(dim=-1, descending=True, stable=True)
            p = sorted_.exp()
            beyond = p.cumsum(-1) - p >= self.top_p
            logp = logp.masked_fill(beyond.scatter(-1, order, beyond), -torch.inf)
        if self.min_p is not None:
            least = logp.amax(-1, keepdim=True) + torch.tensor(self.min_p, dtype=logp.dtype).log().item()
            logp = logp.masked_fill(logp < least, -torch.inf)
        return logp.log_softmax(-1)


PLAIN = Sampling()


@dataclass(frozen=True)
class Share:
    """Which part of a batch is made here: that of process `rank` of `world`; the whole of it by default.

    `anyone` is told whether a sequence of this part was unfinished after a token, and says whether one of any part was;
    it is asked of the same tokens in every process, at most once of each.
    """

    rank: int = 0
    world: int = 1
    anyone: Callable[[bool], bool] = bool

    def rows(self, n: int) -> slice:
        """The rows of this part among n; where n cannot be divided some parts have one more than others."""
        return slice(self.rank * n // self.world, (self.rank + 1) * n // self.world)

    def of(self, prompts: Prompts) -> Prompts:
        """The prompts of this part."""
        return prompts if self.world == 1 else prompts[self.rows(len(prompts))]


WHOLE = Share()


class Drawn(NamedTuple):
    """Completions [B, G, T] with T <= horizon: token ids, mask, and log-probabilities in nats, 0 where masked.

    `logp` is the policy's at the temperature (at 1 for temperature 0), `law_logp` that of the law that was drawn from;
    they are the same tensor where nothing was cut.
    """

    tokens: Tensor
    mask: Tensor
    logp: Tensor
    law_logp: Tensor


@torch.no_grad()
def sample(
    policy: nn.Module,
    prompts: Prompts,
    group_size: int,
    horizon: int,
    stop: tuple[int, ...],
    generator: torch.Generator,
    how: Sampling = PLAIN,
    share: Share = WHOLE,
) -> Drawn:
    """`group_size` completions of each prompt of this share: B prompts, of which each is read once.

    A completion ends with a token of `stop`, or with its `horizon`-th. What is drawn for a completion depends on its
    place in the whole batch and on no other completion: finished ones are dropped, and another share draws the same.
    """
    asked, device = share.of(prompts), prompts.tokens.device
    n, whole = len(asked) * group_size, len(prompts) * group_size
    first = share.rows(len(prompts)).start * group_size
    at = cursor(policy, asked.tokens, asked.mask, horizon)
    if group_size > 1:
        at.pick(torch.arange(len(asked), device=device).repeat_interleave(group_size))
    ends = torch.tensor(stop, device=device, dtype=torch.int64)
    tokens = torch.zeros(n, horizon, dtype=torch.int64, device=device)
    logits = at.logits
    logps = [torch.zeros(n, horizon, dtype=_precise(logits), device=device) for _ in range(1 + how.cuts)]
    states: list[Tensor] = []  # of the generator, after the random numbers of each token
    noise = _noise(generator, (horizon, whole, logits.shape[-1]), logps[0], states)
    rows: Tensor | None = None  # which completions are still drawn, where some are not
    live = torch.ones(n, dtype=torch.bool, device=device)
    unseen: list[Tensor] = []  # numbers of unfinished completions after the tokens since the last look
    every, length = tokens_between_looks(device), horizon
    for t in range(horizon):
        logp = log_softmax(logits if how.temperature in (0, 1) else logits / how.temperature)
        laws = [logp, how.cut(logp)] if how.cuts else [logp]
        if how.temperature:
            own = next(noise)[first : first + n]
            token = draw(laws[-1], own if rows is None else own[rows])
        else:
            token = laws[-1].argmax(-1)
        at_t = (slice(None) if rows is None else rows, t)
        tokens[at_t] = token
        for kept, law in zip(logps, laws, strict=True):
            kept[at_t] = law.gather(-1, token[:, None])[:, 0]
        last = t + 1 == horizon
        if stop:
            live &= (token[:, None] != ends).all(-1)
            unseen.append(live.sum())
        if stop and (last or len(unseen) == every):
            left, unseen = torch.stack(unseen).tolist(), []
            if last or not share.anyone(left[-1] > 0):
                length = t + 2 - len(left) + sum(share.anyone(x > 0) for x in left[:-1])
                break
            if 0 < left[-1] <= CROWDED * len(live) and not getattr(at, "fixed_shapes", False):
                going = live.nonzero()[:, 0]
                at.pick(going)
                token, live, rows = token[going], live[going], going if rows is None else rows[going]
        if not last:
            at.append(token)
            logits = at.logits
    if states:
        generator.set_state(states[length - 1])  # what a late look has drawn beyond is drawn again by the next sample
    ended = (tokens[:, :length, None] == ends).any(-1).long()
    mask = ended.cumsum(1) == ended
    shaped = [x[:, :length].masked_fill(~mask, 0).view(-1, group_size, length) for x in (tokens, *logps)]
    return Drawn(shaped[0], mask.view(shaped[0].shape), shaped[1], shaped[-1])


def tokens_between_looks(device: torch.device) -> int:
    """How many tokens are drawn between looks for finished completions: a look waits for all that was asked for."""
    return 1 if device.type == "cpu" else EVERY


def draw(logp: Tensor, log_noise: Tensor) -> Tensor:
    """One token int64 [N] from each row of log-probabilities [N, V]: the first in an exponential race.

    log_noise [N, V] are logarithms of uniform numbers: the time of token v is -log_noise_v / p_v.
    """
    return (log_noise / logp.exp()).argmax(-1)


def _noise(
    generator: torch.Generator, shape: tuple[int, int, int], like: Tensor, states: list[Tensor]
) -> Iterator[Tensor]:
    """Logarithms of uniform numbers [N, V] for each of T tokens in turn, several tokens' made at once.

    shape (T, N, V); the dtype and device are those of `like`. The generator's state after each is added to `states`.
    """
    t, n, v = shape
    at_once = max(1, NUMBERS // (n * v))
    for begin in range(0, t, at_once):
        size = (min(at_once, t - begin), n, v)
        made = torch.rand(size, dtype=like.dtype, device=generator.device, generator=generator)
        states += [generator.get_state()] * len(made)
        yield from made.log_().to(like.device)


@lru_cache(maxsize=8)
def _all_but(allowed: tuple[int, ...], size: int, device: torch.device) -> Tensor:
    """bool [size]: the token ids that are not allowed; made once, because CUDA waits where a list is sent to it."""
    left_out = torch.ones(size, dtype=torch.bool, device=device)
    left_out[list(allowed)] = False
    return left_out


def _precise(logits: Tensor) -> torch.dtype:
    return torch.promote_types(logits.dtype, torch.float32)
