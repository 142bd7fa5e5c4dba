"""An offline bandit over completions: chains of running sums that an expert and chance have logged, with noisy rewards.

Each prompt has ten completions: the right chain, and for each k from 1 to 9 one that slips by k at a place of its own
and goes on from there. The reward model is a GPT, frozen, with heads on bootstraps of the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from toykit.control import Counts
from toykit.control.offline.lcb import best, lower_bounds
from toykit.lessons.base import Results
from toykit.policies import GPT
from toykit.rewards import lower_confidence
from toykit.tasks import ChainSum, Prompts
from toykit.training import load_policy

BASE = "chain_sum_400"
PROMPTS, ARMS, LOGGED, HEADS = 200, 10, 16, 5
NOISE = 0.2  # the probability that a reward is turned round
WIDTH, RIDGE = 0.5, 0.1  # of the heads; with the scale 1 they were chosen on the seeds 100 and 101
SHARES = (0.05, 0.1, 0.3, 0.6, 1.0)  # of completions that chance has logged
SCALES = (0.0, 0.5, 1.0, 2.0, 4.0)
CONTROLS = ("BC", "counts, c = 0", "counts, LCB")


@dataclass(frozen=True, eq=False)
class Log:
    """What was logged: the pair of prompt and completion int64 [N] (prompt times ARMS plus completion), rewards [N]."""

    pairs: Tensor
    rewards: Tensor

    @staticmethod
    def draw(share: float, generator: torch.Generator) -> Log:
        """LOGGED completions a prompt: a `share` of them are any of the ten, the others the right one (0)."""
        size = (PROMPTS, LOGGED)
        chance, flipped = torch.rand(2, *size, generator=generator, dtype=torch.float64)
        arm = torch.where(chance < share, torch.randint(ARMS, size, generator=generator), 0)
        rewards = ((arm == 0) ^ (flipped < NOISE)).double()
        return Log((torch.arange(PROMPTS)[:, None] * ARMS + arm).flatten(), rewards.flatten())

    def counts(self) -> Counts:
        """As a bandit with a context for each prompt; nothing follows."""
        made = Counts.empty(PROMPTS, ARMS)
        nowhere = torch.full_like(self.pairs, -1)
        made.add(self.pairs // ARMS, self.pairs % ARMS, self.rewards, nowhere)
        return made

    def again(self, generator: torch.Generator) -> Log:
        """A bootstrap: as many rows, drawn with replacement."""
        rows = torch.randint(len(self.pairs), self.pairs.shape, generator=generator)
        return Log(self.pairs[rows], self.rewards[rows])


def chains(task: ChainSum, prompts: Prompts, generator: torch.Generator) -> Tensor:
    """The completions int64 [P, ARMS, T]; number k slips by k at a random place, so that number 0 is right."""
    right = torch.tensor([solutions[0] for solutions in task.solutions(prompts.ids)])
    n = right.shape[1] - 3  # running sums; then the mark, the answer and the stop
    place = torch.randint(n, (len(right), ARMS, 1), generator=generator)
    at = torch.arange(right.shape[1])
    digits = (at < n) | (at == n + 1)
    slips = torch.arange(ARMS)[:, None] * ((at >= place) & digits)
    return torch.where(digits, (right[:, None] + slips) % 10, right[:, None])


@torch.no_grad()
def features(policy: GPT, prompts: Prompts, completions: Tensor) -> Tensor:
    """[P A, 2 width] of completions [P, A, T]: means over their tokens of the hidden state after each token, and of the
    state before it times the token's embedding (whose sum is the token's logit); each feature standardised, each half
    of squared norm 1 on average."""
    a = completions.shape[1]
    asked = prompts.tokens.repeat_interleave(a, 0)
    given = completions.flatten(0, 1)
    mask = torch.cat([prompts.mask.repeat_interleave(a, 0), torch.ones_like(given, dtype=torch.bool)], 1)
    hidden = policy.hidden(torch.cat([asked, given], 1), mask).double()
    first = asked.shape[1]
    after = hidden[:, first:].mean(1)
    expected = (hidden[:, first - 1 : -1] * policy.embedding.weight.double()[given]).mean(1)
    halves = [(x - x.mean(0)) / x.std(0, correction=0).clamp(min=1e-9) / x.shape[1] ** 0.5 for x in (after, expected)]
    return torch.cat(halves, 1)


def heads(points: Tensor, log: Log, generator: torch.Generator) -> Tensor:
    """What HEADS heads say of every logged pair, [HEADS, P, A]; -inf for pairs that were not logged.

    A head is kernel ridge regression on a bootstrap of the log: f minimises sum (f - r)^2 over its rows plus RIDGE
    times the squared norm of f less the log's mean reward, with a Gaussian kernel of WIDTH on `points` [P A, d].
    """
    seen = log.counts().visits.flatten().nonzero()[:, 0]
    kernel = (-torch.cdist(points[seen], points[seen]).square() / (2 * WIDTH**2)).exp()
    middle, ridge = log.rewards.mean(), RIDGE * torch.eye(len(seen), dtype=torch.float64)
    found = torch.full((HEADS, PROMPTS * ARMS), -torch.inf, dtype=torch.float64)
    for head in found:
        drawn = log.again(generator).counts()
        n, wins = drawn.visits.flatten()[seen], drawn.rewards.flatten()[seen]
        weights = torch.linalg.solve(n[:, None] * kernel + ridge, wins - n * middle)
        head[seen] = middle + kernel @ weights
    return found.unflatten(1, (PROMPTS, ARMS))


def scored(said: Tensor, log: Log, scales: Sequence[float]) -> dict[str, Tensor]:
    """The score [P, A] of each rule, -inf for what was not logged."""
    counts = log.counts()
    seen = counts.visits > 0
    log_term = torch.tensor(2.0 * PROMPTS * ARMS * len(log.pairs), dtype=torch.float64).log()
    rules = {
        "BC": counts.visits,
        "counts, c = 0": counts.mean_rewards(),
        "counts, LCB": lower_bounds(counts.mean_rewards(), counts.visits, log_term),
    } | {f"c = {c:g}": lower_confidence(said.where(seen, 0.0), c) for c in scales}
    return {name: score.where(seen, -torch.inf) for name, score in rules.items()}


def experiment(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    shares: tuple[float, ...] = SHARES,
    scales: tuple[float, ...] = SCALES,
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The gpt rung: {"success": {rule: [[share of prompts answered rightly, at each of `shares`] for each seed]}}.

    And "spread", the mean std of the heads on right and on wrong logged completions. It takes a minute and keeps
    nothing in `folder`.
    """
    from tqdm.auto import tqdm

    task, policy = ChainSum(), load_policy(BASE)
    success: dict[str, list[list[float]]] = {}
    spread: dict[str, list[list[float]]] = {"right": [], "wrong": []}
    for seed in tqdm(seeds, unit="seed", disable=not progress):
        generator = torch.Generator().manual_seed(seed)
        every = task.prompts()
        prompts = every[torch.randperm(len(every), generator=generator)[:PROMPTS]]
        points = features(policy, prompts, chains(task, prompts, generator))
        for path in (success.setdefault(name, []) for name in (*CONTROLS, *(f"c = {c:g}" for c in scales))):
            path.append([])
        for path in spread.values():
            path.append([])
        for share in shares:
            log = Log.draw(share, torch.Generator().manual_seed(seed))
            said = heads(points, log, torch.Generator().manual_seed(seed))
            for name, score in scored(said, log, scales).items():
                success[name][-1].append(best(score)[:, 0].mean().item())
            std, seen = said.std(0, correction=0), log.counts().visits > 0
            for name, where in (("right", slice(0, 1)), ("wrong", slice(1, None))):
                spread[name][-1].append(std[:, where][seen[:, where]].mean().item())
    return {"shares": list(shares), "scales": list(scales), "success": success, "spread": spread}
