"""PR-LSVI: learning from comparisons of trajectories by randomised planning, all arms and seeds at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from toykit._checks import at_least, one_of, positive, shape
from toykit.control.horizon import backward_induction, steps_of
from toykit.control.mdp import TabularMDP
from toykit.control.online.asking import answer, disagreement, norm_under
from toykit.control.online.episodes import policy_values, returns, trajectories
from toykit.control.online.logistic import fit_logistic, gaussian_draw
from toykit.control.online.lsvi import Moves, noisy_lsvi
from toykit.rewards import Judge

PARTNERS = ("previous", "same")


@dataclass(frozen=True)
class PRLSVI:
    """One way to learn from comparisons: PR-LSVI as it stands here, its baselines by a change of one field.

    sigma_r    scale of the reward's draws, and of the query rule
    sigma_p    scale of the noise on the regressions of the next value
    eps        a pair is asked where two draws of the reward disagree about it by more, on average
    low, high  norms between which an estimate gives way to the optimistic default (alpha_L and alpha_U)
    randomise  False: the fitted reward and no noise anywhere; the query rule keeps `sigma_r`
    truncate   False: the estimate everywhere (the paper's omega without its default)
    passive    None, or the probability with which a pair of different features is asked, whatever `eps`
    partner    "previous": the second trajectory is the last episode's policy's; "same": this episode's
    ridge      of the maximum likelihood (the paper bounds the norm of the weights instead)
    prior      lambda: both precisions begin as this times the identity

    Raises ValueError for values out of range. Source: arXiv 2310.14554, algorithm 1.
    """

    sigma_r: float = 1.0
    sigma_p: float = 0.5
    eps: float = 0.25
    low: float = 0.7
    high: float = 1.0
    randomise: bool = True
    truncate: bool = True
    passive: float | None = None
    partner: str = "previous"
    ridge: float = 0.1
    prior: float = 1.0

    def __post_init__(self) -> None:
        for name in ("sigma_r", "ridge", "prior"):
            positive(name, getattr(self, name))
        for name in ("sigma_p", "eps"):
            at_least(name, getattr(self, name), 0)
        one_of("partner", self.partner, PARTNERS)
        if not 0 <= self.low < self.high:
            raise ValueError(f"low must be >= 0 and below high, got {self.low} and {self.high}")
        if self.passive is not None and not 0 <= self.passive <= 1:
            raise ValueError(f"passive must be a probability, got {self.passive}")


@dataclass(frozen=True, eq=False)
class Learning:
    """What happened in T episodes, for each arm and seed.

    values       [arms, seeds, T, 2] exact values of the two policies that were executed; `best` is the optimal one
    asked        bool [arms, seeds, T]
    differences  [arms, seeds, T, D] features of the first trajectory less those of the second
    answers      int64 [arms, seeds, T] 1 where the first was preferred, or would have been
    norms        [arms, seeds, T] their norm under the inverse precision, before it was updated
    weights      [arms, seeds, D] the fitted reward at the end
    """

    best: float
    values: Tensor
    asked: Tensor
    differences: Tensor
    answers: Tensor
    norms: Tensor
    weights: Tensor

    @property
    def regret(self) -> Tensor:
        """[arms, seeds, T]: what both policies of each episode lack of the optimum."""
        return (self.best - self.values).sum(-1)

    @property
    def queries(self) -> Tensor:
        """int64 [arms, seeds]."""
        return self.asked.sum(-1)


@dataclass(frozen=True, eq=False)
class _Chance:
    """All that is drawn for each seed, from a generator of its own: the same whatever runs beside it."""

    reward: Tensor  # normal [seeds, T, D]
    moves: Tensor  # normal [seeds, T, H, d]
    walk: Tensor  # uniform [seeds, T, 2, H + 1]
    answer: Tensor  # uniform [seeds, T]
    ask: Tensor  # uniform [seeds, T]

    @classmethod
    def of(cls, seeds: Sequence[int], episodes: int, steps: int, size: int) -> _Chance:
        each = []
        for seed in seeds:
            draw = torch.Generator().manual_seed(seed)
            normal = [(episodes, steps * size), (episodes, steps, size)]
            uniform = [(episodes, 2, steps + 1), (episodes,), (episodes,)]
            made = [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in normal]
            each.append(made + [torch.rand(shape, generator=draw, dtype=torch.float64) for shape in uniform])
        return cls(*(torch.stack(parts) for parts in zip(*each, strict=True)))


@dataclass(eq=False)
class _Reward:
    """What each of R rows, an arm and a seed, knows of the reward."""

    weights: Tensor  # [R, D] fitted
    precision: Tensor  # [R, D, D]
    kept: Tensor  # [R, T, D] differences that were asked, from the left
    answers: Tensor  # int64 [R, T]
    count: Tensor  # int64 [R]
    ridge: float

    @classmethod
    def none(cls, rows: int, episodes: int, size: int, prior: float, ridge: float) -> _Reward:
        zeros = torch.zeros(rows, episodes, size, dtype=torch.float64)
        precision = prior * torch.eye(size, dtype=torch.float64).repeat(rows, 1, 1)
        whole = torch.zeros(rows, episodes, dtype=torch.int64)
        return cls(zeros[:, 0].clone(), precision, zeros, whole, whole[:, 0].clone(), ridge)

    def learn(self, asked: Tensor, x: Tensor, answers: Tensor) -> None:
        """Adds the pairs of the rows that asked, bool [R], and fits these anew: x [R, D], answers [R]."""
        row = asked.nonzero()[:, 0]
        if not len(row):
            return
        new, at = x[row], self.count[row]
        self.kept[row, at], self.answers[row, at] = new, answers[row]
        self.count[row] += 1
        self.precision[row] += new[:, :, None] * new[:, None, :]
        width = int(at.max()) + 1
        there = torch.arange(width) < self.count[row, None]
        pairs = self.kept[row, :width], self.answers[row, :width]
        self.weights[row] = fit_logistic(*pairs, self.ridge, there, start=self.weights[row]).weights


def pr_lsvi(
    mdp: TabularMDP,
    features: Tensor,
    arms: Sequence[PRLSVI],
    seeds: Sequence[int],
    episodes: int,
    bound: float = 1.0,
    judge: Judge | None = None,
) -> Learning:
    """Runs every arm with every seed for some episodes of an MDP with a horizon H.

    features  [S, A, d], 0 in terminal states; the reward is linear in them with weights of each step, so that a
              trajectory has D = H d features; next values are regressed on them
    bound     the largest reward of a step, for the optimistic default
    judge     who answers; None: Bradley and Terry's model of the rewards

    All arms of a seed have the same luck. The policy before the first is action 0. Transitions are learned from the
    first trajectory of each episode alone. Raises ValueError without an arm or a seed, for an MDP without a horizon or
    with actions that are not allowed, features of another shape, and arms with another `prior` or `ridge`.
    """
    features = _checked(mdp, features, arms, seeds)
    steps, size, judge = steps_of(mdp), features.shape[-1], judge or Judge()
    lead, of, prior = (len(arms), len(seeds)), _columns(arms), arms[0].prior
    chance = _Chance.of(seeds, int(at_least("episodes", episodes, 1)), steps, size)
    reward = _Reward.none(len(arms) * len(seeds), episodes, steps * size, prior, arms[0].ridge)
    moves = Moves.none(*lead, steps=steps, size=size, n_states=mdp.n_states, ridge=prior)
    low, high = (x.masked_fill(~of["truncate"], torch.inf) for x in (of["low"], of["high"]))
    sigma_r, sigma_p = (of[name] * of["randomise"] for name in ("sigma_r", "sigma_p"))
    policy = torch.zeros(*lead, steps, mdp.n_states, dtype=torch.int64)
    found: dict[str, list[Tensor]] = {name: [] for name in ("values", "asked", "differences", "answers", "norms")}
    for t in range(episodes):
        weights, precision = (part.unflatten(0, lead) for part in (reward.weights, reward.precision))
        drawn = gaussian_draw(weights, precision, sigma_r, chance.reward[:, t].expand(*lead, -1))
        noise = chance.moves[:, t].expand(*lead, -1, -1)
        q = noisy_lsvi(features, drawn.unflatten(-1, (steps, size)), moves, noise, sigma_p, bound, low, high)
        before, policy = policy, _first_best(q)
        both = torch.stack([policy, torch.where(of["same"][..., None, None], policy, before)], 2)
        states, actions = trajectories(mdp.P, mdp.start, both, chance.walk[:, t].expand(*lead, -1, -1))
        phi = features[states[..., :-1], actions].flatten(-2)
        x = phi[:, :, 0] - phi[:, :, 1]
        norm = norm_under(x, precision)
        at_random = (chance.ask[:, t] < of["passive"]) & (x != 0).any(-1)
        asked = torch.where(of["passive"].isnan(), disagreement(norm, of["sigma_r"]) > of["eps"], at_random)
        earned = returns(mdp.R, states, actions)
        bit = answer(judge, earned[..., 0], earned[..., 1], chance.answer[:, t])
        now = policy_values(mdp.P, mdp.R, mdp.start, both), asked, x, bit, norm
        for kept, value in zip(found.values(), now, strict=True):
            kept.append(value)
        moves.add(features, states[:, :, 0], actions[:, :, 0])
        reward.learn(asked.flatten(), x.flatten(0, 1), bit.flatten())
    best = float(mdp.start @ backward_induction(mdp).v[0])
    return Learning(best, **{k: torch.stack(v, 2) for k, v in found.items()}, weights=reward.weights.unflatten(0, lead))


def _first_best(q: Tensor) -> Tensor:
    """int64 [...]: the first action of the largest Q [..., A], where equal values differ by rounding."""
    return (q >= q.amax(-1, keepdim=True) - 1e-9).byte().argmax(-1)


def _columns(arms: Sequence[PRLSVI]) -> dict[str, Tensor]:
    """The arms' numbers as tensors [arms, 1], so that they stand beside seeds; no `passive` is NaN."""
    made = {
        field.name: torch.tensor([[getattr(arm, field.name)] for arm in arms])
        for field in fields(PRLSVI)
        if field.name not in ("passive", "partner")
    }
    made = {name: x if x.dtype == torch.bool else x.double() for name, x in made.items()}
    passive = [[torch.nan if arm.passive is None else arm.passive] for arm in arms]
    same = [[arm.partner == "same"] for arm in arms]
    return made | {"passive": torch.tensor(passive, dtype=torch.float64), "same": torch.tensor(same)}


def _checked(mdp: TabularMDP, features: Tensor, arms: Sequence[PRLSVI], seeds: Sequence[int]) -> Tensor:
    """The features in float64; raises ValueError for what `pr_lsvi` refuses."""
    for name, given in (("arms", arms), ("seeds", seeds)):
        at_least(f"number of {name}", len(given), 1)
    if len({(arm.prior, arm.ridge) for arm in arms}) > 1:
        raise ValueError("arms must share prior and ridge, got several")
    if mdp.sparse or not bool(mdp.allowed.all()):
        raise ValueError("mdp must be dense with every action allowed")
    steps_of(mdp)
    features = shape("features", features.double(), (mdp.n_states, mdp.n_actions, features.shape[-1]))
    if bool(features[mdp.terminal].any()):
        raise ValueError("features must be 0 in terminal states, whose value is 0")
    return features
