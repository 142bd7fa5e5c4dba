"""The one measuring device: the exact expected gradient of a loss, by enumeration of every group."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Any

import torch
from torch import Tensor

from toykit.audit.objective import Objective
from toykit.audit.problems import Problem, problem
from toykit.exact import enumerate_groups

MOST_GROUPS = 20_000
KINDS = ("raised", "not finite", "not a scalar", "no gradient")  # of failures


class Failure(Exception):
    """The loss did something that no loss should: `kind` is one of KINDS, `where` the problem's name."""

    def __init__(self, kind: str, words: str, where: str = "") -> None:
        super().__init__(words)
        self.kind, self.words, self.where = kind, words, where


@dataclass(frozen=True)
class Groups:
    """Groups `index` int64 [M, B, G] of leaves of a problem's tree, and their probabilities `weight` [M]."""

    problem: Problem
    index: Tensor
    weight: Tensor

    def of(self, table: Tensor) -> Tensor:
        """What a table [B, L, ...] holds for the members, [M, B, G, ...]."""
        rows = torch.arange(table.shape[0])[:, None]
        return table[rows, self.index]

    def inputs(self) -> dict[str, Tensor]:
        """The tensors of the common signature, with a leading axis of groups."""
        names = ("logp", "old_logp", "ref_logp")
        found = {name: self.of(self.problem.tokens(name)) for name in names}
        found |= {name: self.of(self.problem.vocabulary(name)) for name in ("vocab_logp", "ref_vocab_logp")}
        rewards = self.of(self.problem.rewards)
        g = rewards.shape[-1]
        mask = self.problem.mask[self.index]
        return found | {"rewards": rewards, "advantages": others(rewards) if g > 1 else rewards, "mask": mask}

    def with_solution(self) -> Groups:
        """The same groups, each with the prompt's solution from elsewhere as its last member."""
        return replace(self, index=torch.cat([self.index, self.solutions.index], -1))

    @property
    def solutions(self) -> Groups:
        """Groups of one: the prompt's solution from elsewhere."""
        m, b, _ = self.index.shape
        return replace(self, index=self.problem.solution[:, None].expand(m, b, 1))


def others(rewards: Tensor) -> Tensor:
    """Rewards [..., G] minus the mean of the group's others: an advantage without bias."""
    return (rewards - rewards.mean(-1, keepdim=True)) * (rewards.shape[-1] / (rewards.shape[-1] - 1))


def all_groups(given: Problem, ordered: bool) -> Groups:
    """Every group of every prompt, jointly; multisets with their number of orders unless `ordered`."""
    log_law = given.behaviour_law.log()
    b, leaves = log_law.shape
    if ordered:
        index, log_weight = enumerate_groups(log_law, given.group_size)
    else:
        index = torch.combinations(torch.arange(leaves), given.group_size, with_replacement=True)
        counts = torch.nn.functional.one_hot(index, leaves).sum(-2).double()
        orders = math.lgamma(given.group_size + 1) - torch.lgamma(counts + 1).sum(-1)
        log_weight = log_law[:, index].sum(-1) + orders
    if len(index) ** b > MOST_GROUPS:
        raise ValueError(f"group_size must give at most {MOST_GROUPS} groups, got {len(index) ** b} in {given.name}")
    joint = torch.cartesian_prod(*[torch.arange(len(index))] * b).view(-1, b)
    weight = reduce(torch.mul, (log_weight[i, joint[:, i]].exp() for i in range(b)))
    return Groups(given, index[joint], weight)


@dataclass(frozen=True)
class Measured:
    """What a loss does to groups: its value `loss` [M] and `pull` [M, B, G, T], its derivative in each logp.

    `spread` [M, B, G, T, V] is its derivative in vocab_logp, None where it does not take that.
    """

    groups: Groups
    loss: Tensor
    pull: Tensor
    spread: Tensor | None = None

    @property
    def problem(self) -> Problem:
        return self.groups.problem

    def of_sampled(self) -> Measured:
        """The same without the last member of each group, where that is a solution from elsewhere."""
        groups = replace(self.groups, index=self.groups.index[..., :-1])
        spread = None if self.spread is None else self.spread[..., :-1, :, :]
        return Measured(groups, self.loss, self.pull[..., :-1, :], spread)

    @cached_property
    def push(self) -> Tensor:
        """-E[pull] summed over where a completion's token stands, [B, L, T]: what the expected update adds up to."""
        return -self._expected(self.pull)

    def _expected(self, values: Tensor) -> Tensor:
        """E[values [M, B, G, ...]] summed over where a completion stands, [B, L, ...]."""
        table = values.new_zeros(*self.problem.rewards.shape, *values.shape[3:])
        weighted = (self.groups.weight * values.movedim(0, -1)).movedim(-1, 0)
        for i in range(table.shape[0]):
            table[i].index_add_(0, self.groups.index[:, i].flatten(), weighted[:, i].flatten(0, 1))
        return table

    def _by_group(self, values: Tensor) -> Tensor:
        """The same of each group alone, [M, B, L, ...]."""
        m = values.shape[0]
        table = values.new_zeros(m, *self.problem.rewards.shape, *values.shape[3:])
        for i in range(table.shape[1]):
            at = torch.arange(m)[:, None].expand_as(self.groups.index[:, i])
            table[:, i].index_put_((at, self.groups.index[:, i]), values[:, i], accumulate=True)
        return table

    @cached_property
    def gradient(self) -> Tensor:
        """The expected update [B, N, V] of the node logits under one step of gradient descent of rate 1."""
        return to_logits(self.problem, self.push, None if self.spread is None else -self._expected(self.spread))

    @cached_property
    def each(self) -> Tensor:
        """The update [M, B, N, V] of each group."""
        spread = None if self.spread is None else -self._by_group(self.spread)
        return to_logits(self.problem, -self._by_group(self.pull), spread)

    @cached_property
    def variance(self) -> float:
        """The trace of the covariance of one group's update."""
        away = (self.each - self.gradient).flatten(1).square().sum(-1)
        return float((self.groups.weight * away).sum())

    @property
    def coefficient(self) -> Tensor:
        """The push on each token of a completion when it is drawn, [B, L, T], like an advantage: push / probability."""
        return self.push / self.problem.behaviour_law[..., None]


def to_logits(given: Problem, push: Tensor, spread: Tensor | None = None) -> Tensor:
    """The node-logit update [..., B, N, V] of pushes [..., B, L, T] on log-probabilities of the tokens taken.

    `spread` [..., B, L, T, V] are pushes on those of every token.
    """
    places, mask = given.tree.places[given.tree.mask], given.mask
    table = push.new_zeros(*push.shape[:-2], given.prob.shape[-2] * given.prob.shape[-1])
    table = table.index_add(-1, places, push[..., mask]).unflatten(-1, tuple(given.prob.shape[-2:]))
    if spread is not None:
        table = table.index_add(-2, given.tree.nodes[given.tree.mask], spread[..., mask, :])
    return table - given.prob * table.sum(-1, keepdim=True)


@dataclass
class Probe:
    """An objective and everything that was measured of it so far, by the problem's name."""

    objective: Objective
    ordered: bool = False
    mapped: bool | None = None  # whether a function for one batch goes through vmap; found out at the first call
    _seen: dict[str, Measured] = field(default_factory=dict)

    def on(self, name: str | Problem) -> Measured:
        """The measurement on a problem; raises Failure where the loss fails."""
        given = problem(name) if isinstance(name, str) else name
        if not isinstance(name, str):
            return self._measure(given)
        if name not in self._seen:
            self._seen[name] = self._measure(given)
        return self._seen[name]

    def takes(self, *names: str) -> bool:
        """Whether the objective takes any of these inputs."""
        return bool(set(names) & set(self.objective.takes))

    @property
    def reference(self) -> bool:
        """Whether it takes a reference in any form."""
        return self.takes("ref_logp", "ref_vocab_logp")

    def _measure(self, given: Problem) -> Measured:
        groups = all_groups(given, self.ordered)
        return self.call(groups.inputs(), groups)

    def call(self, inputs: Mapping[str, Tensor], groups: Groups) -> Measured:
        """The measurement with given tensors; raises Failure where loss or gradient is missing or not finite.

        Where the objective is given a `solution` the measured groups have one member more.
        """
        where = groups.problem.name
        if self.objective.solution:
            more = groups.solutions.inputs()
            inputs = {k: torch.cat([v, more[k].to(v.dtype)], 2) for k, v in inputs.items()}
            groups = groups.with_solution()
        trained = [name for name in ("logp", "vocab_logp") if self.takes(name)]
        leaves = {name: inputs[name].detach().requires_grad_() for name in trained}
        loss = self._loss({**inputs, **leaves}, groups)
        if not bool(loss.isfinite().all()):
            raise Failure("not finite", f"the loss is {loss[~loss.isfinite()][0].item()}", where)
        if not loss.requires_grad:
            raise Failure("no gradient", "no gradient reaches logp: the loss does not depend on it", where)
        pulls = torch.autograd.grad(loss.sum(), list(leaves.values()), allow_unused=True)
        if all(pull is None for pull in pulls):
            raise Failure("no gradient", "no gradient reaches logp: the loss does not depend on it", where)
        for pull in pulls:
            if pull is not None and not bool(pull.isfinite().all()):
                raise Failure("not finite", f"the gradient is {pull[~pull.isfinite()][0].item()}", where)
        first = torch.zeros_like(inputs["logp"]) if pulls[0] is None else pulls[0]
        return Measured(groups, loss.detach(), first, pulls[1] if len(pulls) > 1 else None)

    def _loss(self, inputs: Mapping[str, Tensor], groups: Groups) -> Tensor:
        given: dict[str, Any] = {k: v for k, v in inputs.items() if k in self.objective.takes}
        fn, where = self.objective.fn, groups.problem.name
        if self.objective.wants_groups:
            given["groups"] = groups
        if self.objective.batched:
            return _said(fn, given, where)
        if self.mapped is None:
            self.mapped = _can_map(fn, given)
        if self.mapped:
            return _said(_mapped(fn), given, where)
        return torch.stack([_scalar(fn, {k: v[i] for k, v in given.items()}, where) for i in range(len(groups.weight))])


def _can_map(fn: Callable[..., Any], given: Mapping[str, Tensor]) -> bool:
    """Whether torch.func.vmap gives what calls one by one give."""
    first = {k: v[:3] for k, v in given.items()}
    try:
        together = _said(_mapped(fn), first, "")
        alone = torch.stack([_said(fn, {k: v[i] for k, v in first.items()}, "") for i in range(len(first["logp"]))])
        return bool(torch.allclose(together, alone, equal_nan=True)) and alone.dim() == 1
    except Exception:
        return False  # whatever it is: a call without vmap will tell


def _mapped(fn: Callable[..., Any]) -> Callable[..., Any]:
    whole = torch.func.vmap(lambda given: fn(**given))
    return lambda **given: whole(given)


def _said(fn: Callable[..., Any], given: Mapping[str, Any], where: str) -> Tensor:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a standard deviation of one, which comes out as NaN, is found anyway
            return fn(**given)
    except Exception as error:
        raise Failure("raised", f"it raised {type(error).__name__}: {' '.join(str(error).split())}", where) from error


def _scalar(fn: Callable[..., Any], given: Mapping[str, Any], where: str) -> Tensor:
    value = _said(fn, given, where)
    if not isinstance(value, Tensor):
        raise Failure("not a scalar", f"it returned {type(value).__name__}, not a tensor", where)
    if value.dim():
        raise Failure("not a scalar", f"it returned a tensor of shape {list(value.shape)}, not a scalar", where)
    return value
