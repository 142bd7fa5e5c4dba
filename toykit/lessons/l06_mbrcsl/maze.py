"""The stitching maze of the gpt rung, its data, and a small GPT in three roles: dynamics, behaviour, policy.

The data are 500 short paths, which go down to the middle cell and stay, and 500 detours, which reach the goal late. No
episode is the direct path. A word is a token: a cell, a move, a reward (one of five levels), a return in steps of 1/4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from toykit.control import TabularMDP, backward_induction, simulate
from toykit.control.simulation import draw
from toykit.control.worlds import stitching_maze
from toykit.lessons.l06_mbrcsl.roles import Plan, fit, law, written
from toykit.policies import GPT, GPTConfig

DYNAMICS, BEHAVIOUR, POLICY = range(3)  # the tokens of the roles
CELLS, MOVES, LEVELS, RETURNS = 6, 5, 5, 40
CELL, MOVE, REWARD, RETURN = 3, 3 + CELLS, 3 + CELLS + MOVES, 3 + CELLS + MOVES + LEVELS  # where their tokens begin
GRID = 0.25  # between two returns
GOAL, QUICKEST = 5, 3  # the goal's cell, and the least number of steps to it
SHORT, DETOUR = (4, 2, 4, 4, 4, 4), (2, 3, 1, 1, 1, 4)  # each logger's move by cell: 0 up, 1 right, ..., 4 stay
JITTER = 0.2  # how often a logger stays where it is instead
PATHS = 500  # episodes of each logger

Policy = Callable[[Tensor, Tensor, Tensor], Tensor]
"""The law of the next move [N, A] from the cells [N, h + 1], the moves [N, h] and the rewards [N, h] so far."""


@dataclass(frozen=True, eq=False)
class Episodes:
    """N episodes of H steps: cells, moves and the cells after them int64 [N, H], rewards float64 [N, H]."""

    cells: Tensor
    moves: Tensor
    after: Tensor
    rewards: Tensor

    @property
    def to_go(self) -> Tensor:
        """[N, H] the sum of the rewards from each step on."""
        return self.rewards.flip(1).cumsum(1).flip(1)

    @property
    def returns(self) -> Tensor:
        return self.rewards.sum(1)

    def __getitem__(self, rows: Tensor) -> Episodes:
        return Episodes(self.cells[rows], self.moves[rows], self.after[rows], self.rewards[rows])


@dataclass(frozen=True, eq=False)
class World:
    """Where each move leads, int64 [S, A], and what it pays, float64 [S, A]."""

    after: Tensor
    rewards: Tensor


@cache
def maze() -> TabularMDP:
    return stitching_maze()


@cache
def true_world() -> World:
    return World(maze().P.argmax(-1), maze().R)


def loggers() -> Tensor:
    """[2, S, A] the policies of the short paths and of the detours; with probability JITTER a move that stays."""
    stays = (true_world().after == torch.arange(CELLS)[:, None]).double()
    own = torch.nn.functional.one_hot(torch.tensor([SHORT, DETOUR]), MOVES).double()
    return (1 - JITTER) * own + JITTER * stays / stays.sum(-1, keepdim=True)


def data(seed: int) -> Episodes:
    """500 short paths, then 500 detours; each seed draws its own."""
    parts = [simulate(maze(), policy, PATHS, seed=2 * seed + i) for i, policy in enumerate(loggers())]
    columns = (
        torch.cat([getattr(part, name).view(PATHS, -1) for part in parts])
        for name in ("states", "actions", "next_states", "rewards")
    )
    return Episodes(*columns)


def roll(policy: Policy, world: World, n: int, generator: torch.Generator) -> Episodes:
    """`n` episodes of a policy in a world, from the start of the maze."""
    steps = maze().horizon or 0
    cells, moves = torch.zeros(n, steps + 1, dtype=torch.int64), torch.zeros(n, steps, dtype=torch.int64)
    rewards = torch.zeros(n, steps, dtype=torch.float64)
    cells[:, 0] = draw(maze().start.expand(n, -1), generator)
    for h in range(steps):
        now, move = cells[:, h], draw(policy(cells[:, : h + 1], moves[:, :h], rewards[:, :h]), generator)
        moves[:, h], rewards[:, h], cells[:, h + 1] = move, world.rewards[now, move], world.after[now, move]
    return Episodes(cells[:, :-1], moves, cells[:, 1:], rewards)


def return_token(asked: Tensor) -> Tensor:
    return RETURN + (asked / GRID).round().long().clamp(0, RETURNS - 1)


def reward_token(rewards: Tensor) -> Tensor:
    """A reward is exp(-distance to the goal): its token is the distance."""
    return REWARD + (-rewards.log()).round().long()


def trained(rows: Tensor, learn: Sequence[bool], plan: Plan, seed: int) -> nn.Module:
    return fit(GPT(GPTConfig(RETURN + RETURNS), seed), rows, learn, plan, seed)


def imitating(episodes: Episodes, plan: Plan, seed: int, whole: bool = False) -> nn.Module:
    """The move from the cell alone, or with `whole` from all that went before."""
    rows = written(BEHAVIOUR, (CELL + episodes.cells, MOVE + episodes.moves), whole)
    return trained(rows, (False, True), plan, seed)


def conditioned(episodes: Episodes, plan: Plan, seed: int, whole: bool = False) -> nn.Module:
    """The move from the return-to-go and the cell, or with `whole` from the history too: a decision transformer."""
    columns = return_token(episodes.to_go), CELL + episodes.cells, MOVE + episodes.moves
    return trained(written(POLICY, columns, whole), (False, False, True), plan, seed)


def learned_world(episodes: Episodes, plan: Plan, seed: int) -> World:
    """The dynamics model's most likely next cell and reward; for pairs that were never logged it must guess."""
    columns = CELL + episodes.cells, MOVE + episodes.moves, CELL + episodes.after, reward_token(episodes.rewards)
    model = trained(written(DYNAMICS, columns), (False, False, True, True), plan, seed)
    pairs = torch.cartesian_prod(torch.arange(CELLS), torch.arange(MOVES)).T[..., None]
    asked = written(DYNAMICS, (CELL + pairs[0], MOVE + pairs[1]))
    after = law(model, asked, slice(CELL, MOVE)).argmax(-1)
    level = law(model, torch.cat([asked, CELL + after[:, None]], 1), slice(REWARD, RETURN)).argmax(-1)
    return World(after.view(CELLS, MOVES), (-level.double()).exp().view(CELLS, MOVES))


def markov(table: Tensor) -> Policy:
    """The policy of a table [S, A]."""
    return lambda cells, moves, rewards: table[cells[:, -1]]


def table_of(model: nn.Module) -> Tensor:
    """[S, A] of a model that imitates from the cell alone."""
    rows = written(BEHAVIOUR, (CELL + torch.arange(CELLS)[:, None],))
    return law(model, rows, slice(MOVE, REWARD))


def by_history(model: nn.Module) -> Policy:
    """The policy of a model that imitates from all that went before."""

    def policy(cells: Tensor, moves: Tensor, rewards: Tensor) -> Tensor:
        rows = written(BEHAVIOUR, (CELL + cells, MOVE + _and_none(moves)), whole=True)
        return law(model, rows[:, :-1], slice(MOVE, REWARD))

    return policy


def asked_for(model: nn.Module, target: float, whole: bool = False) -> Policy:
    """The policy of a conditioned model that is asked for a return at the start, less the rewards since."""

    def policy(cells: Tensor, moves: Tensor, rewards: Tensor) -> Tensor:
        left = target - torch.cat([torch.zeros(len(cells), 1), rewards.cumsum(1)], 1)
        columns = [return_token(left), CELL + cells, MOVE + _and_none(moves)]
        rows = written(POLICY, columns if whole else [c[:, -1:] for c in columns], whole)
        return law(model, rows[:, :-1], slice(MOVE, REWARD))

    return policy


def _and_none(moves: Tensor) -> Tensor:
    """A move more [N, h + 1], which is cut off again: that of the step that comes."""
    return torch.nn.functional.pad(moves, (0, 1))


def planned(world: World) -> Policy:
    """The best moves of each step in a world: Q-iteration on its table."""
    P = torch.nn.functional.one_hot(world.after, CELLS).double()
    mdp = TabularMDP(P, world.rewards, horizon=maze().horizon, start=maze().start, terminal=[])
    best = backward_induction(mdp).policy
    return lambda cells, moves, rewards: best[moves.shape[1], cells[:, -1]]
