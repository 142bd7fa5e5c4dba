"""The steps of a trainer: what is asked, scored, updated, followed and logged."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from toykit.objectives import Method, method
from toykit.policies import TabularLM
from toykit.rewards import Shaping, length
from toykit.rollouts import Enumerated, Mixed, Sampled, Solutions
from toykit.selection import Selection
from toykit.tasks.bandit import Bandit
from toykit.tasks.base import Prompts
from toykit.training import Reference, TrainConfig, Trainer


def parameters(trainer: Trainer) -> Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.parameters])


def test_steps_go_on_for_ever_and_give_their_figures(fresh):
    task, policy = fresh()
    trainer = Trainer(policy, task, "grpo", Sampled(16))
    figures = list(itertools.islice(trainer, 3))
    assert [f["step"] for f in figures] == [1, 2, 3] and trainer.done == 3
    named = {"step", "reward", "length", "entropy", "kl", "informative", "loss", "clip_low", "clip_high", "grad_norm"}
    assert set(figures[0]) == named | {"seconds"}
    assert all(isinstance(value, (int, float)) and math.isfinite(value) for value in figures[0].values())


@pytest.mark.parametrize("name", ["reinforce", "rloo", "grpo", "ppo", "kl_rl"])
def test_every_kind_of_method_learns_a_small_task(name, fresh):
    task, policy = fresh()
    trainer = Trainer(policy, task, name, Sampled(16), TrainConfig(lr=0.05))
    rewards = [trainer.step()["reward"] for _ in range(60)]
    assert sum(rewards[-5:]) / 5 > 0.8 > 0.5 > rewards[0]


def test_ppo_teaches_its_critic_the_value_of_each_prefix(fresh):
    task, policy = fresh()
    objective = method("ppo").objective.with_(value=replace(method("ppo").objective.value, clip=None))
    trainer = Trainer(policy, task, objective, Enumerated(), TrainConfig(lr=0.02, epochs=2))
    first = trainer.step()["value_loss"]
    last = [trainer.step() for _ in range(200)][-1]["value_loss"]
    assert last < first / 20
    start = trainer.critic(task.prompts().tokens).logits[:, 0, 0]
    whole = Enumerated()(policy, task, task.prompts())
    assert torch.allclose(start, whole.mean(whole.rewards), rtol=0, atol=0.05)


def test_the_figures_of_a_step_are_those_of_the_policy_s_own_rows(fresh):
    task, policy = fresh()
    prompts, rows = task.prompts(), []
    store = Solutions.of(task)
    for strategy in (Sampled(3), Mixed(store, 4)):
        rows.append(strategy(policy, task, prompts, torch.Generator().manual_seed(0)))
    figures = Trainer(policy, task, "luffy", Mixed(store, 4)).step()
    own, mixed = rows
    assert figures["reward"] == pytest.approx(float(own.rewards.mean()))
    assert figures["length"] == pytest.approx(float(own.lengths.double().mean()))
    p = mixed.old_logp[:, 3][mixed.mask[:, 3]].exp()
    assert figures["external_p"] == pytest.approx(float(p.mean())) and mixed.rewards[:, 3].tolist() == [1, 1, 1]


@pytest.mark.parametrize("name", ["rl_plus", "luffy"])
def test_where_no_prompt_has_a_solution_training_is_the_same_to_the_last_bit_without_them(name, fresh):
    found = []
    task, _ = fresh()
    none = Solutions.from_lists({0: [], 1: [], 2: []}, task)
    bare = method(name).objective.with_(external=None, transforms=())
    for objective, strategy in ((method(name), Mixed(none, 4)), (bare, Sampled(4))):
        trainer = Trainer(fresh()[1], task, objective, strategy, TrainConfig(lr=0.05, epochs=2, minibatch=2))
        figures = [{k: v for k, v in trainer.step().items() if k != "seconds"} for _ in range(3)]
        found.append((figures, parameters(trainer)))
    assert found[0][0] == found[1][0] and torch.equal(found[0][1], found[1][1])


def test_minibatches_are_steps_of_their_own_through_all_prompts(fresh):
    task, policy = fresh()
    rows: list[list[int]] = []

    class Watched(Trainer):
        def _update(self, prepared):
            rows.append(prepared.rollouts.prompt_ids.tolist())
            return super()._update(prepared)

    Watched(policy, task, "grpo", Sampled(4), TrainConfig(minibatch=2, epochs=3)).step()
    assert [len(r) for r in rows] == [2, 1] * 3
    assert all(sorted(a + b) == [0, 1, 2] for a, b in zip(rows[::2], rows[1::2], strict=True))
    assert len({tuple(r) for r in rows[::2]}) > 1  # in an order drawn for each epoch


def test_later_epochs_see_ratios_against_the_policy_that_made_the_completions(fresh):
    task, policy = fresh()
    trainer = Trainer(policy, task, "dr_grpo", Enumerated(), TrainConfig(lr=0.5, epochs=4))
    figures = trainer.step()
    assert figures["clip_low"] + figures["clip_high"] > 0
    again = Trainer(fresh()[1], task, "dr_grpo", Enumerated(), TrainConfig(lr=0.5, epochs=1)).step()
    assert again["clip_low"] + again["clip_high"] == 0


def test_prompts_are_drawn_without_replacement():
    task = Bandit(torch.zeros(10, 3))
    asked: list[list[int]] = []

    def before(policy: nn.Module, task: Bandit, prompts: Prompts) -> Prompts:
        asked.append(prompts.ids.tolist())
        return prompts

    trainer = Trainer(TabularLM.of(task), task, "rloo", Sampled(2), TrainConfig(prompts=4), Selection(before=before))
    for _ in range(20):
        trainer.step()
    assert all(len(set(ids)) == 4 for ids in asked) and {i for ids in asked for i in ids} == set(range(10))
    assert len({tuple(ids) for ids in asked}) > 10
    trainer.config = replace(trainer.config, prompts=None)
    trainer.step()
    assert asked[-1] == list(range(10))


def test_a_selection_that_leaves_no_prompt_skips_the_step(fresh):
    task, policy = fresh()
    start = policy.table.detach().clone()
    trainer = Trainer(
        policy, task, "rloo", selection=Selection(before=lambda policy, task, prompts: prompts[slice(0, 0)])
    )
    assert trainer.step().keys() == {"step", "seconds"}
    assert trainer.done == 1 and torch.equal(policy.table, start)


def test_shaping_changes_the_reward_and_is_logged(fresh):
    task, policy = fresh()
    trainer = Trainer(policy, task, "rloo", Enumerated(), shaping=Shaping({"length": (-1.0, length)}))
    rollouts, means = trainer.rollouts()
    assert torch.allclose(rollouts.rewards, task.rewards - rollouts.lengths / 3)
    assert trainer.step()["reward/length"] == pytest.approx(means["reward/length"])


def test_a_method_brings_its_shaping_and_selection(fresh):
    task, policy = fresh()
    trainer = Trainer(policy, task, "dapo")
    assert set(trainer.shaping.terms) == {"overlong"} and trainer.selection.after is not None
    own = Trainer(policy, task, Method(method("dapo").objective, "mine"), shaping=Shaping())
    assert own.shaping == Shaping() and own.selection == Selection()


def test_max_grad_norm_scales_the_step_down(fresh):
    task, policy = fresh()
    _, other = fresh()
    start = policy.table.detach().clone()
    config = TrainConfig(lr=1.0, optimizer="sgd")
    plain = Trainer(policy, task, "rloo", Enumerated(), config).step()
    limited = Trainer(other, task, "rloo", Enumerated(), replace(config, max_grad_norm=0.01)).step()
    assert plain["grad_norm"] == limited["grad_norm"] > 0.01
    step, less = (p.table.detach() - start for p in (policy, other))
    assert less.norm().item() == pytest.approx(0.01, rel=1e-4)
    assert torch.allclose(less / less.norm(), step / step.norm(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["frozen", "reset", "average"])
def test_the_reference_follows_as_it_is_told(kind, fresh):
    task, policy = fresh()
    start = policy.table.detach().clone()
    config = TrainConfig(lr=0.1, reference=Reference(kind, every=2, decay=0.75))
    trainer = Trainer(policy, task, "kl_rl", Enumerated(), config)
    tables = [start]
    expected = start
    for step in range(1, 5):
        trainer.step()
        tables.append(policy.table.detach().clone())
        if kind == "average":
            expected = 0.75 * expected + 0.25 * tables[-1]
        elif kind == "reset" and step % 2 == 0:
            expected = tables[-1]
        assert torch.allclose(trainer.reference.table, expected, rtol=0, atol=1e-14)
    assert not torch.equal(tables[0], tables[-1])
    assert not any(p.requires_grad for p in trainer.reference.parameters())


def test_a_reference_is_kept_only_where_the_objective_needs_one(fresh):
    task, policy = fresh()
    assert Trainer(policy, task, "rloo").reference is None
    assert Trainer(policy, task, "grpo").reference is not policy
    given = fresh()[1]
    kept = Trainer(policy, task, "grpo", reference=given).reference
    assert torch.equal(kept.table, given.table) and kept is not given


def test_the_sampling_temperature_is_that_of_the_whole_objective(fresh):
    """Log-probabilities of the policy and the reference are taken at the temperature of the completions."""
    task, policy = fresh()
    trainer = Trainer(policy, task, "grpo", Sampled(8, temperature=0.5))
    figures = trainer.step()
    assert figures["kl"] == pytest.approx(0, abs=1e-14)
    assert figures["clip_low"] == figures["clip_high"] == 0


def test_evaluation_is_logged_when_due_and_leaves_the_run_as_it_was(on_chain):
    shorter = Shaping({"length": (-1.0, length)})  # which an untrained policy can learn

    def run(every: int | None) -> tuple[Trainer, list[dict[str, float]]]:
        trainer = on_chain("rloo", TrainConfig(prompts=4, evaluate_every=every), shaping=shorter)
        return trainer, [trainer.step() for _ in range(4)]

    (plain, _), (watched, figures) = run(None), run(2)
    assert [f"eval/{name}" in f for f in figures for name in ("reward", "best_of_8", "greedy")] == [False] * 3 + [
        True
    ] * 3 + [False] * 3 + [True] * 3
    assert torch.equal(parameters(plain), parameters(watched))
    assert not torch.equal(parameters(plain), parameters(on_chain("rloo")))


@pytest.mark.parametrize("name", ["grpo", "ppo", "gdc", "dapo"])
def test_everything_random_comes_from_the_seed_of_the_run(name, on_chain):
    """torch's own generator is neither asked nor moved."""

    def figures(seed: int) -> list[dict[str, float]]:
        torch.manual_seed(seed)
        config = TrainConfig(prompts=4, epochs=2, minibatch=2, micro_size=3, evaluate_every=1, seed=5)
        trainer = on_chain(name, config)
        before = torch.get_rng_state()
        found = [trainer.step() for _ in range(2)]
        assert torch.equal(torch.get_rng_state(), before)
        return [{key: value for key, value in step.items() if key != "seconds"} for step in found]

    assert figures(1) == figures(2)
