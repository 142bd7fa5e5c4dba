"""Programs under exact training: a policy in tables, the expected step of a group method, and phases of hard prompts.

The logits of a token are A[t, depth] + B[x, t]: the number of tokens so far and of values on the stack, shared by all
prompts x, and the prompt's own. Nothing is masked. Only the programs that are right need to be known: E[grad log pi] is
0, so that the expected step of a group is h_G(p) / (1 - p) E[grad log pi | right].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from toykit.exact import ascend, group_weight
from toykit.tasks import Programs
from toykit.tasks.stack_machine import END, GROWS, TAKES, WORDS
from toykit.training import Phase, hardest

V = len(WORDS)
LR_SHARED, LR_OWN = 1.0, 0.25  # of A, for the mean over the prompts, and of B, for each prompt
SFT_LR, SFT_STEPS = 5.0, 150
SPREAD = 0.7  # of B at the start


def after(depth: Tensor, token: Tensor) -> Tensor:
    """The number of values on the stack after a token; an error leaves it as it is."""
    takes, grows = torch.tensor(TAKES[:V]), torch.tensor(GROWS[:V])
    return torch.where(depth >= takes[token], depth + grows[token], depth)


@dataclass(frozen=True)
class Programming:
    """A task of programs for policies in tables; parameters are [..., P]: A at the S states (t, depth), then B.

    The states of A are those through which right programs go. Others get no gradient, and stay at logits of 0.
    """

    task: Programs

    @cached_property
    def programs(self) -> tuple[Tensor, Tensor, Tensor]:
        """(tokens int64 [R, T], mask bool [R, T], the prompt of each int64 [R]) of all right programs."""
        tokens, mask, known = self.task.right
        owner = torch.arange(len(known))[:, None].expand_as(known)[known]
        return tokens[known].masked_fill(~mask[known], END), mask[known], owner

    @cached_property
    def depths(self) -> Tensor:
        """int64 [R, T]: values on the stack before each token of the right programs."""
        tokens, _, _ = self.programs
        depth, found = torch.zeros(len(tokens), dtype=torch.int64), []
        for t in range(tokens.shape[1]):
            found.append(depth)
            depth = after(depth, tokens[:, t])
        return torch.stack(found, -1)

    @cached_property
    def states(self) -> Tensor:
        """int64 [S, 2]: t and depth of every state of A."""
        _, mask, _ = self.programs
        t = torch.arange(mask.shape[1]).expand_as(self.depths)
        return torch.stack([t[mask], self.depths[mask]], -1).unique(dim=0)

    @cached_property
    def places(self) -> tuple[Tensor, Tensor]:
        """(where in [n, S, V] each token of the right programs stands, int64 [R, T], and their mask)."""
        tokens, mask, owner = self.programs
        t = torch.arange(mask.shape[1]).expand_as(self.depths)
        here = (self.states[:, 0] == t[..., None]) & (self.states[:, 1] == self.depths[..., None])
        state = here.long().argmax(-1)
        return (owner[:, None] * len(self.states) + state) * V + tokens, mask

    @property
    def n(self) -> int:
        return len(self.task.right[2])

    def split(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """A [..., S, V] and B [..., n, T, V] of parameters [..., P]."""
        s = len(self.states) * V
        return theta[..., :s].unflatten(-1, (-1, V)), theta[..., s:].unflatten(-1, (self.n, -1, V))

    def join(self, shared: Tensor, own: Tensor) -> Tensor:
        return torch.cat([shared.flatten(-2), own.flatten(-3)], -1)

    def log_pi(self, theta: Tensor) -> Tensor:
        """Log-probabilities [..., n, S, V] of the tokens at every state."""
        shared, own = self.split(theta)
        return (shared[..., None, :, :] + own[..., self.states[:, 0], :]).log_softmax(-1)

    def rates(self, theta: Tensor, window: int | None = None) -> Tensor:
        """p [..., n]: the mass of each prompt's right programs, of those that end within a `window`."""
        (places, mask), owner = self.places, self.programs[2]
        right = (self.log_pi(theta).flatten(-3)[..., places] * mask).sum(-1).exp()
        if window is not None:
            right = right.masked_fill(mask.sum(-1) > window, 0.0)
        return right.new_zeros(*right.shape[:-1], self.n).index_add(-1, owner, right).clamp(max=1.0)

    def gradient(
        self, chosen: Tensor, group_size: float, std: bool = True, window: int | None = None
    ) -> Callable[[Tensor], Tensor]:
        """The expected step [seeds, P] at parameters [seeds, P], on the prompts `chosen` by each seed, bool [seeds, n]:
        their mean for A, each prompt's own for B. Only the chosen prompts and their programs are looked at."""
        places, mask = self.places
        owner, size = self.programs[2], len(self.states) * V
        mask = mask if window is None else mask & (mask.sum(-1, keepdim=True) <= window)
        seed, prompt = chosen.nonzero(as_tuple=True)
        pair = torch.full(chosen.shape, -1)
        pair[seed, prompt] = torch.arange(len(seed))
        of_seed, program = (chosen[:, owner] & mask[:, 0]).nonzero(as_tuple=True)
        whose, seen = pair[of_seed, owner[program]], mask[program]
        places = places[program] % size + size * whose[:, None]
        t, share = self.states[:, 0], 1 / chosen.sum(-1).double()

        def step(theta: Tensor) -> Tensor:
            shared, own = self.split(theta)
            log_pi = (shared[seed] + own[seed, prompt][:, t]).log_softmax(-1)
            right = (log_pi.flatten()[places] * seen).sum(-1).exp()
            p = right.new_zeros(len(seed)).index_add(0, whose, right).clamp(max=1.0)
            weight = group_weight(p, group_size, std="group" if std else "none", ddof=0)
            push = torch.where(weight > 0, weight / (p * (1 - p)).clamp(min=1e-300), 0.0)
            each = (push[whose] * right)[:, None] * seen
            onto = torch.zeros_like(log_pi).flatten().index_add(0, places.flatten(), each.flatten()).view_as(log_pi)
            moved = onto - onto.sum(-1, keepdim=True) * log_pi.exp()
            of_shared = torch.zeros_like(shared).index_add(0, seed, moved * share[seed, None, None])
            of_own = torch.zeros_like(own)
            of_own[seed, prompt] = moved.new_zeros(len(seed), own.shape[-2], V).index_add(1, t, moved)
            return self.join(of_shared, of_own)

        return step

    def base(self, seeds: Sequence[int]) -> Tensor:
        """Parameters [len(seeds), P]: A knows how right programs look, B is drawn, so that difficulty varies."""
        (places, mask), size = self.places, len(self.states) * V
        shown = torch.zeros(size, dtype=torch.float64).index_add(
            0, places[mask] % size, torch.ones(int(mask.sum())).double()
        )
        shown = shown.view(-1, V) / len(places)  # how often a token is next at a state, a program

        def likelihood(shared: Tensor) -> Tensor:
            return shown - shown.sum(-1, keepdim=True) * shared.softmax(-1)

        shared = ascend(likelihood, torch.zeros_like(shown), SFT_LR, [SFT_STEPS])[0]
        drawn = [np.random.default_rng(seed).normal(size=(self.n, self.task.length, V)) for seed in seeds]
        return torch.stack([self.join(shared, SPREAD * torch.tensor(own)) for own in drawn])

    def lr(self) -> Tensor:
        """The learning rate of each parameter, [P]."""
        shared = torch.full((len(self.states), V), LR_SHARED, dtype=torch.float64)
        return self.join(shared, torch.full((self.n, self.task.length, V), LR_OWN, dtype=torch.float64))

    def token_entropy(self, theta: Tensor) -> Tensor:
        """Nats per token [..., n] of completions in the whole window: E[sum of the entropies] / E[length]."""
        shared, own = self.split(theta)
        length = self.task.length
        table = shared.new_zeros(*shared.shape[:-2], length, length + 1, V)
        table[..., self.states[:, 0], self.states[:, 1], :] = shared
        depths, tokens = torch.arange(length + 1), torch.arange(V)
        to = after(depths[:, None], tokens).clamp(max=length)
        moves = torch.nn.functional.one_hot(to, length + 1).double() * (tokens != END)[:, None]
        mass = own.new_zeros(*own.shape[:-2], length + 1)
        mass[..., 0] = 1.0
        total, steps = torch.zeros_like(mass[..., 0]), torch.zeros_like(mass[..., 0])
        for t in range(length):
            log_pi = (table[..., None, t, :, :] + own[..., t, None, :]).log_softmax(-1)
            pi = log_pi.exp()
            total += (mass * -(pi * log_pi).sum(-1)).sum(-1)
            steps += mass.sum(-1)
            mass = torch.einsum("...d,...dv,dve->...e", mass, pi, moves)
        return total / steps


@dataclass(frozen=True)
class Run:
    """Where phases have led: parameters [seeds, P], pass rates [K, seeds, n] at the `kept` steps, and the prompts that
    each phase has kept, bool [seeds, n]."""

    theta: Tensor
    kept: tuple[int, ...]
    p: Tensor
    chosen: tuple[Tensor, ...] = ()

    @property
    def done(self) -> int:
        return self.kept[-1]


def begin(made: Programming, theta: Tensor) -> Run:
    """Before the first phase, at parameters [seeds, P]."""
    return Run(theta, (0,), made.rates(theta)[None])


def hard_focus(
    made: Programming,
    run: Run,
    phases: Sequence[Phase],
    pool: Tensor,
    nested: bool = False,
    std: bool = True,
    every: int = 15,
    lr: float = 1.0,
) -> Run:
    """Goes on through phases, each on the prompts of the `pool` (bool [n]) that are hardest when it begins.

    `nested` ranks those that the phase before has kept, else the whole pool is ranked again; rates are exact, within
    the phase's window. Pass rates are kept `every` few steps; `lr` multiplies both learning rates.
    """
    for phase in phases:
        among = run.chosen[-1] if nested and run.chosen else pool.expand(len(run.theta), made.n)
        rates = made.rates(run.theta, phase.window)
        chosen = torch.zeros_like(among)
        for row, (p, allowed) in enumerate(zip(rates, among, strict=True)):
            ids = allowed.nonzero()[:, 0]
            chosen[row, ids[hardest(p[ids], phase.prompts)]] = True
        stops = [*range(every, phase.steps, every), phase.steps]
        gradient = made.gradient(chosen, phase.group_size, std, phase.window)
        way = ascend(gradient, run.theta, lr * made.lr(), stops)
        kept = (*run.kept, *(run.done + stop for stop in stops))
        run = Run(way[-1], kept, torch.cat([run.p, made.rates(way)]), (*run.chosen, chosen))
    return run
