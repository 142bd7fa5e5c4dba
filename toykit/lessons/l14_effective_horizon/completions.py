"""Lesson 14 on the gpt rung, completions: SQIRL with a GPT beside GRPO, where the token that is written may slip.

Of all completions of six tokens out of eight those are right that begin with 0 and go on with even tokens. Where there
is a decoy, those that begin with 7 pay a little, whatever follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from toykit.control import Lookahead, TabularMDP, lookahead
from toykit.control.online.sqirl import Regressor, sqirl
from toykit.control.worlds import slippery
from toykit.lessons.base import Results
from toykit.lessons.compare import Figures, compare
from toykit.lessons.sharing import remembered
from toykit.objectives import method
from toykit.policies import GPT, GPTConfig, cursor
from toykit.policies.base import FORBIDDEN_LOGIT, Output
from toykit.policies.heads import ValueHeads, split_heads
from toykit.rollouts import Sampled
from toykit.tasks import Tree, TreeTask
from toykit.training import TrainConfig, Trainer

TOKENS, LENGTH, SLIP = 8, 6, 0.25
DECOYS = {"one reward": 0.0, "decoy": 0.07}
EPISODES = 2048  # of SQIRL, for each place
UPDATES, BATCH, LR = 60, 128, 2e-3  # of each of its fits
STOPS = (0, 64, 128, 192)  # steps of GRPO; 192 x 64 completions are as many as SQIRL's 6 x 2048
GROUP = 64
CONFIG = GPTConfig(TOKENS + 1, context=LENGTH + 1)


@cache
def task(kind: str) -> TreeTask:
    """The prompt and a reward for each of its 262,144 completions."""
    tokens = torch.cartesian_prod(*[torch.arange(TOKENS)] * LENGTH)
    right = (tokens[:, 0] == 0) & (tokens[:, 1:] % 2 == 0).all(1)
    return TreeTask(Tree(TOKENS, horizon=LENGTH), right.double() + DECOYS[kind] * (tokens[:, 0] == TOKENS - 1).double())


@cache
def world(kind: str) -> tuple[TabularMDP, Lookahead]:
    """The task as an MDP in which a token slips, and its lookahead."""
    mdp = slippery(TabularMDP.of_tree(task(kind).as_mdp()).with_(horizon=LENGTH), SLIP)
    return mdp, lookahead(mdp)


class Slipping(nn.Module):
    """A policy whose token is replaced, with probability SLIP, by one of the TOKENS drawn uniformly.

    Its law is that of the token that is written, so that what is learned from it knows of the slip.
    """

    def __init__(self, body: GPT) -> None:
        super().__init__()
        self.body, self.vocab_size, self.context = body, body.vocab_size, body.context

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Output:
        chosen = self.body(input_ids, attention_mask).logits[..., :TOKENS].softmax(-1)
        written = ((1 - SLIP) * chosen + SLIP / TOKENS).log()
        return Output(nn.functional.pad(written, (0, 1), value=FORBIDDEN_LOGIT))  # the prompt's token is never written


def prefixes(depth: int) -> Tensor:
    """int64 [TOKENS ** depth, 1 + depth]: the prompt and what may follow, in the order of the tree's nodes."""
    nodes = TOKENS**depth
    radix = TOKENS ** torch.arange(depth - 1, -1, -1)
    digits = torch.arange(nodes)[:, None] // radix % TOKENS
    return torch.cat([torch.full((nodes, 1), TOKENS), digits], 1)


def of_gpt(seed: int, n_states: int) -> Regressor:
    """A regressor for the states of one depth: a new GPT with a head of values is fitted to minibatches at each fit."""
    draws = torch.Generator().manual_seed(seed)

    @torch.enable_grad()
    def regress(states: Tensor, actions: Tensor, targets: Tensor) -> Tensor:
        depth = next(d for d in range(LENGTH) if int(states[0]) < first(d + 1))
        rows, places = prefixes(depth), states - first(depth)
        network = ValueHeads(GPT(CONFIG, int(torch.randint(2**31, (), generator=draws))))
        optimizer = torch.optim.Adam(network.parameters(), LR)
        for _ in range(UPDATES):
            batch = torch.randint(len(states), (BATCH,), generator=draws)
            said = of_heads(network, rows[places[batch]]).gather(-1, actions[batch, None])[:, 0]
            optimizer.zero_grad()
            (said - targets[batch].float()).square().mean().backward()
            optimizer.step()
        q = torch.zeros(n_states, TOKENS, dtype=torch.float64)
        with torch.no_grad():
            q[first(depth) : first(depth + 1)] = of_heads(network, rows).double()
        return q

    return regress


def first(depth: int) -> int:
    """The number of the first node of a depth."""
    return (TOKENS**depth - 1) // (TOKENS - 1)


def of_heads(network: ValueHeads, tokens: Tensor) -> Tensor:
    """Q [N, TOKENS] of the next token after `tokens` [N, L]."""
    return split_heads(network(tokens).logits[:, -1])[1][:, :TOKENS]


def by_sqirl(kind: str, k: int, seed: int) -> float:
    """The exact return of SQIRL's policy, as a share of the best one."""
    mdp, exact = world(kind)
    policy = sqirl(mdp, k, EPISODES, of_gpt(seed, mdp.n_states), seed).policy
    chosen = [policy[depth, first(depth) : first(depth + 1)] for depth in range(LENGTH)]
    return earned(kind, [nn.functional.one_hot(actions, TOKENS).double() for actions in chosen]) / exact.optimum


def earned(kind: str, laws: Sequence[Tensor]) -> float:
    """The exact return of a policy, from its probabilities [nodes, TOKENS] at each depth."""
    value = task(kind).rewards[0]
    for law in reversed(laws):
        after = value.view(-1, TOKENS)
        value = (1 - SLIP) * (law * after).sum(-1) + SLIP * after.mean(-1)
    return value.item()


@torch.no_grad()
def laws(policy: GPT, kind: str) -> list[Tensor]:
    """Probabilities [nodes, TOKENS] of the chosen token at every node of each depth."""
    asked = task(kind).prompts()
    at, rows = cursor(policy, asked.tokens, asked.mask, LENGTH), []
    for depth in range(LENGTH):
        rows.append(at.logits[:, :TOKENS].double().softmax(-1))
        if depth + 1 < LENGTH:
            n = len(rows[-1])
            at.pick(torch.arange(n).repeat_interleave(TOKENS))
            at.append(torch.arange(TOKENS).repeat(n))
    return rows


def measure(trainer: Trainer, seed: int, kind: str) -> Figures:
    """The exact returns of the policy as it is and of its likeliest tokens, as shares of the best one."""
    assert isinstance(trainer.policy, Slipping)
    best, by_depth = world(kind)[1].optimum, laws(trainer.policy.body, kind)
    likeliest = [nn.functional.one_hot(p.argmax(-1), TOKENS).double() for p in by_depth]
    return {
        "greedy": earned(kind, likeliest) / best,
        "sampled": earned(kind, by_depth) / best,
        "first token 0": float(by_depth[0][0, 0]),
    }


def grpo(seed: int, kind: str) -> Trainer:
    """GRPO without a KL penalty, from a GPT that has learned nothing."""
    taken = method("grpo")
    config = TrainConfig(lr=1e-3, max_grad_norm=1.0, seed=seed)
    objective = replace(taken, objective=taken.pieces.with_(kl=None))
    return Trainer(Slipping(GPT(CONFIG, seed)), task(kind), objective, Sampled(GROUP), config)


def experiment(seeds: Sequence[int], folder: Path | None = None, progress: bool = False) -> Results:
    """{"trees": {kind: facts, and what SQIRL earns of the best by k, one a seed}, "grpo": {kind: a comparison}}."""
    found: Results = {"trees": {}, "grpo": {}}
    for kind in DECOYS:
        exact = world(kind)[1]
        found["trees"][kind] = {
            "least": exact.least,
            "optimum": exact.optimum,
            "returns": exact.returns.tolist(),
            "gap": exact.gaps[(exact.least or 1) - 1].item(),
        }
        for k in sorted({1, exact.least or 1}):
            makes = {f"sqirl_{kind}_{k}_{seed}": partial(by_sqirl, kind, k, seed) for seed in seeds}
            found["trees"][kind][f"SQIRL, k = {k}"] = list(remembered(makes, folder, progress, "seed").values())
        kept = None if folder is None else folder / f"grpo_{kind}"
        run = compare({"GRPO": partial(grpo, kind=kind)}, seeds, STOPS, partial(measure, kind=kind), kept, progress)
        found["grpo"][kind] = run
    return found
