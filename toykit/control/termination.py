"""Does an episode end? What discount 1 needs to know before a value exists."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from toykit.control.mdp import TabularMDP
from toykit.control.policies import Chain

LONGEST = 1_000_000  # steps that are followed


def never_ends(chain: Chain) -> Tensor:
    """bool [S]: the states from which no terminal state can be reached.

    Termination is certain from every state if and only if there is none.
    """
    reached = chain.terminal
    while True:
        more = reached | (chain.expect(reached.double()) > 0)
        if bool((more == reached).all()):
            return ~reached
        reached = more


def check_proper(chain: Chain) -> None:
    """Raises ValueError, with a state, where a policy at discount 1 does not end every episode with certainty."""
    stuck = never_ends(chain)
    if bool(stuck.any()):
        state = int(stuck.nonzero()[0, 0])
        raise ValueError(
            f"discount must be < 1, or horizon given, for a policy that may never end: "
            f"from state {state} no terminal state can be reached"
        )


def proper_policy(mdp: TabularMDP) -> Tensor:
    """int64 [S]: actions that end the episode with certainty from every state (0 in terminal states).

    Raises ValueError, with a state, where no policy does. Source: almost-sure reachability (de Alfaro 1997).
    """
    kept = torch.ones(mdp.n_states, dtype=torch.bool)
    while True:
        inside = mdp.allowed & (mdp.expect((~kept).double()) == 0)
        actions = torch.zeros(mdp.n_states, dtype=torch.int64)
        reached = mdp.terminal & kept
        while True:
            nearer = inside & (mdp.expect(reached.double()) > 0)
            found = nearer.any(-1) & kept & ~reached
            if not bool(found.any()):
                break
            actions[found] = nearer[found].double().argmax(-1)
            reached = reached | found
        if bool((reached == kept).all()):
            break
        kept = reached
    if not bool(kept.all()):
        state = int((~kept).nonzero()[0, 0])
        raise ValueError(
            f"discount must be < 1, or horizon given, where no policy is sure to end: "
            f"from state {state} every policy may go on for ever"
        )
    return actions


def check_all_proper(mdp: TabularMDP) -> None:
    """Raises ValueError, with a state, where some policy at discount 1 may go on for ever."""
    going = ~mdp.terminal
    while True:
        less = going & (mdp.allowed & (mdp.expect((~going).double()) == 0)).any(-1)
        if bool((less == going).all()):
            break
        going = less
    if bool(going.any()):
        state = int(going.nonzero()[0, 0])
        raise ValueError(
            f"discount must be < 1, or horizon given, where some policy may go on for ever, as from state {state}; "
            f"the best policy among those that end is found by policy_iteration, exactly"
        )


def longest_time(expect: Callable[[Tensor], Tensor], terminal: Tensor) -> float:
    """An upper bound on the expected number of steps to a terminal state, from any state.

    expect  E[alive(s')] [S] of `alive` [S] under a policy, or its largest value over the actions (the bound then holds
            for every policy), where termination is certain

    After m steps an episode is alive with probability at most rho from any state, so what remains is at most a
    geometric series in rho. Raises ValueError where half of the episodes may last longer than a million steps.
    """
    alive = (~terminal).double()
    total = torch.zeros_like(alive)
    for _ in range(LONGEST):
        if (rho := alive.max().item()) <= 0.5:
            return total.max().item() / (1 - rho)
        total += alive
        alive = expect(alive).masked_fill(terminal, 0.0)
    state = int(alive.argmax())
    raise ValueError(f"discount must be < 1 where episodes last longer than {LONGEST} steps, as from state {state}")
