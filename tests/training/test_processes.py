from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from toykit.objectives import Prepared, method
from toykit.policies import TabularLM
from toykit.rollouts import Sampled, Share, greedy, token_logps
from toykit.tasks.bandit import random_bandit
from toykit.training import Processes, TrainConfig, Trainer, joined
from toykit.training.evaluate import evaluate
from toykit.training.processes import local
from toykit.training.spread import divided, portion, together, with_last


@pytest.fixture
def launched(monkeypatch):
    """The variables that torchrun sets in the second of four processes."""
    for name, value in {"WORLD_SIZE": 4, "RANK": 1, "LOCAL_RANK": 1, "MASTER_ADDR": "x", "MASTER_PORT": 1}.items():
        monkeypatch.setenv(name, str(value))


def test_one_process_is_all_of_them():
    alone = Processes()
    assert alone == Processes.here() and alone.first and not alone.several
    assert alone.gather("x") == ["x"] and alone.sum({"a": 0.5}) == {"a": 0.5}
    assert alone.any(True) is True and alone.any(False) is False
    assert alone.on_first(lambda: 3) == 3
    assert alone.described("cpu") == "1 process (cpu)"
    with joined("cpu", "fsdp") as here:
        assert here == Processes(sharding="fsdp") and not torch.distributed.is_initialized()


def test_how_many_take_part_is_said_with_how():
    assert Processes(1, 4).described("cuda:1") == "4 processes (nccl, cuda), ddp"
    assert Processes(0, 2, "fsdp").described("cpu") == "2 processes (gloo, cpu), fsdp"
    with pytest.raises(ValueError, match=r"sharding must be one of ddp, fsdp, got 'dpd'; did you mean 'ddp'\?"):
        Processes(sharding="dpd")


def test_processes_that_nobody_joined_do_not_train_each_on_its_own(launched):
    task = random_bandit(n_prompts=4, n_arms=3)
    with pytest.raises(ValueError, match="processes must be joined before they train together, WORLD_SIZE is 4"):
        Trainer(TabularLM.of(task), task, "grpo", Sampled(2), TrainConfig())


def test_each_process_has_a_device_of_its_own(launched, monkeypatch):
    assert (local("cpu"), local("cuda")) == ("cpu", "cuda:1")
    with pytest.raises(ValueError, match="device must be 'cuda' where several processes share out the devices"):
        local("cuda:0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert (local("cuda"), local("cuda:0")) == ("cuda", "cuda:0")


@pytest.mark.parametrize("missing", ["RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_a_launcher_that_sets_too_little_is_an_error(launched, monkeypatch, missing):
    monkeypatch.delenv(missing)
    with pytest.raises(ValueError, match=f"{missing} must be set where WORLD_SIZE is 4"), joined():
        pass


def batch(n_prompts: int, group: int) -> tuple[TabularLM, Prepared]:
    """A policy, and rollouts of one beside it prepared for GRPO, so that ratios and penalties are not trivial."""
    task = random_bandit(n_prompts=n_prompts, n_arms=5)
    policy = TabularLM.of(task)
    made = Sampled(group)(policy, task, task.prompts(), torch.Generator().manual_seed(0))
    made = made.with_(old_logp=made.old_logp - 0.1, ref_logp=made.old_logp + 0.3)
    return policy, method("grpo").objective.prepare(made)


def loss_and_gradient(policy: TabularLM, part: Prepared) -> torch.Tensor:
    r = part.rollouts
    logp = token_logps(policy, r.prompts, r.prompt_mask, r.completions, r.mask)
    loss, figures = method("grpo").objective.loss(logp, part)
    (gradient,) = torch.autograd.grad(loss, policy.table)
    return torch.cat([gradient.flatten(), torch.stack([loss.detach(), *figures.values()])])


@pytest.mark.parametrize(
    ("prompts", "group", "world"), [(4, 3, 2), (4, 3, 4), (3, 4, 2), (3, 3, 2), (1, 5, 3), (1, 2, 5)]
)
def test_the_losses_of_all_shares_add_up_to_the_whole(prompts, group, world):
    """Whether prompts can be divided among the processes, or their completions, or neither."""
    policy, whole = batch(prompts, group)
    parts = [portion(whole, Share(rank, world)) for rank in range(world)]
    assert len({part.rollouts.rewards.shape for part in parts}) == 1  # all have the same work
    found = sum(loss_and_gradient(policy, part) for part in parts)
    assert torch.allclose(found, loss_and_gradient(policy, whole), rtol=0, atol=1e-12)
    assert portion(whole, Share()) is whole


class Waits(Exception):
    """A process waits for others."""


class InTurn(Processes):
    """One of several processes that are asked in turn: each but the last waits for the others."""

    said: ClassVar[list] = []

    def gather(self, value):
        self.said.append(value)
        if len(self.said) < self.world:
            raise Waits
        return [self.said.pop(0) for _ in range(self.world)]


@pytest.mark.parametrize(("prompts", "group"), [(4, 3), (3, 4), (3, 3), (1, 5)])
def test_what_is_computed_in_shares_is_what_one_computes(prompts, group):
    made = batch(prompts, group)[1].rollouts
    with pytest.raises(Waits):
        divided(InTurn(0, 2), made, lambda r: r.completions * 2)
    found = divided(InTurn(1, 2), made, lambda r: r.completions * 2)
    assert torch.equal(found, made.completions * 2)


@pytest.mark.parametrize("prompts", [2, 4, 5])
def test_each_process_asks_its_share_of_the_prompts(prompts):
    made = batch(prompts, 2)[1].rollouts
    calls = []

    def make(share: Share = Share()):  # noqa: B008 (frozen)
        calls.append((share.rank, share.world))
        return made.take(share.rows(prompts))

    with pytest.raises(Waits):
        together(InTurn(0, 2), make, prompts)
    found = together(InTurn(1, 2), make, prompts)
    assert calls == [(0, 2), (1, 2)]
    assert torch.equal(found.completions, made.completions) and torch.equal(found.prompt_ids, made.prompt_ids)


def test_fewer_prompts_than_processes_are_asked_by_each():
    made = batch(2, 2)[1].rollouts
    assert together(InTurn(1, 3), lambda share=None: made if share is None else made.take(slice(0)), 2) is made
    assert together(InTurn(1, 2), lambda: made, 2) is made  # a strategy of one's own that takes no share


class Alike(Processes):
    """The first of two processes, of which the other says the same."""

    def gather(self, value):
        return [value] * self.world

    def any(self, value):
        return value


def test_each_process_evaluates_its_share_of_the_prompts():
    task = random_bandit(n_prompts=5, n_arms=4)
    policy = TabularLM.of(task, logits=torch.randn(5, 4, generator=torch.Generator().manual_seed(0)))
    best = greedy(policy, task, task.prompts()).rewards
    assert evaluate(policy, task, "train", 2)["greedy"] == pytest.approx(float(best.mean()))
    assert float(best.mean()) != pytest.approx(float(best[:2].mean()))
    halved = evaluate(policy, task, "train", 2, processes=Alike(0, 2))  # 2 of 5 prompts, which the other has too
    drawn = Sampled(2)(policy, task, task.prompts(), torch.Generator().manual_seed(0)).rewards
    assert halved["greedy"] == pytest.approx(float(best[:2].mean()))
    assert halved["reward"] == pytest.approx(float(drawn[:2].mean()))


def test_the_last_of_several_is_marked():
    assert list(with_last("abc")) == [("a", False), ("b", False), ("c", True)]
    assert list(with_last("a")) == [("a", True)] and list(with_last("")) == []


def test_prompts_must_be_a_multiple_only_where_fewer_are_asked_than_there_are():
    task = random_bandit(n_prompts=6, n_arms=3)

    def check(prompts: int | None, world: int) -> None:
        made = Trainer(TabularLM.of(task), task, "grpo", Sampled(2), TrainConfig(prompts=prompts))
        made.processes = replace(made.processes, world=world)
        made._check_processes()

    check(4, 2), check(6, 4), check(None, 4)
    with pytest.raises(ValueError, match="prompts must be a multiple of the 3 processes, got 4"):
        check(4, 3)
