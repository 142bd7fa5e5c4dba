"""Curricula: which prompts a phase keeps, what it changes in the trainer, and that it goes on as it was."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.rewards import Shaping, length
from toykit.rollouts import Enumerated, Sampled
from toykit.tasks.bandit import Bandit, TreeTask
from toykit.tasks.chain_sum import ChainSum
from toykit.tasks.tree import Tree
from toykit.training import Curriculum, Phase, TrainConfig, Trainer, hardest


def test_the_lowest_pass_rates_are_kept_and_of_equal_ones_the_first():
    rates = torch.tensor([0.5, 0.1, 0.9, 0.1, 0.0, 0.1])
    assert hardest(rates, 1).tolist() == [4]
    assert hardest(rates, 2).tolist() == [1, 4]
    assert hardest(rates, 3).tolist() == [1, 3, 4]
    assert hardest(rates, None).tolist() == list(range(6)) == hardest(rates, 9).tolist()
    assert hardest(torch.tensor([0.3, 0.1 + 0.2], dtype=torch.float64).flip(0), 1).tolist() == [0]  # equal but rounded


def bandit(rates: list[float]) -> tuple[Bandit, TabularLM]:
    """Prompts whose first arm is right, with a probability each."""
    task = Bandit(torch.tensor([[1.0, 0.0]] * len(rates)))
    policy = TabularLM.of(task)
    put(policy, rates)
    return task, policy


def put(policy: TabularLM, rates: list[float]) -> None:
    p = torch.tensor(rates, dtype=torch.float64)
    with torch.no_grad():
        policy.table.copy_(torch.stack([p, 1 - p], -1).log())


@pytest.mark.parametrize(("nested", "second"), [(True, [2, 4]), (False, [0, 4])])
def test_a_phase_ranks_what_was_kept_or_the_whole_pool(nested, second):
    """At the second phase the first prompt is the hardest, but the first phase has dropped it."""
    task, policy = bandit([0.9, 0.5, 0.3, 0.2, 0.4])
    trainer = Trainer(policy, task, "rloo", Sampled(2), TrainConfig(lr=1e-9))
    made = Curriculum(trainer, [Phase(3, 2, 4), Phase(2, 1, 6)], nested)
    first = made.step()
    assert trainer.prompts.ids.tolist() == [2, 3, 4] and trainer.strategy.group_size == 4
    assert first["phase"] == 1 and first["step"] == 1
    assert first["pool_pass_rate"] == pytest.approx(0.46) and first["kept_pass_rate"] == pytest.approx(0.3)
    put(policy, [0.05, 0.5, 0.6, 0.7, 0.1])
    assert "pool_pass_rate" not in made.step() and trainer.prompts.ids.tolist() == [2, 3, 4]
    last = made.step()
    assert trainer.prompts.ids.tolist() == second and trainer.strategy.group_size == 6 and last["phase"] == 2
    assert last["pool_pass_rate"] == pytest.approx(1.4 / 3 if nested else 1.95 / 5)
    assert made.finished
    with pytest.raises(ValueError, match="steps must be at most 3, the phases are over"):
        made.step()


def test_pass_rates_are_exact_where_the_tree_is_small_and_the_phase_s_samples_else():
    rates = [0.9, 0.5, 0.3]
    task, policy = bandit(rates)
    trainer = Trainer(policy, task, "rloo", Sampled(2))
    for exact in (None, True):
        found = Curriculum(trainer, [Phase(2, 1, 4)], exact=exact).pass_rates(trainer.prompts)
        assert found.tolist() == pytest.approx(rates, abs=1e-12)
    few = Curriculum(trainer, [Phase(2, 1, 4)], exact=False)
    few.step()
    sampled = few.pass_rates(few.pool)
    assert torch.equal((4 * sampled).round(), 4 * sampled)  # of the phase's group of four
    many = Curriculum(Trainer(policy, task, "rloo", Sampled(2)), [Phase(None, 1, 4000)], exact=False)
    many.step()
    assert many.pass_rates(many.pool).tolist() == pytest.approx(rates, abs=0.1)


def test_a_window_is_that_of_its_phase_and_evaluations_are_of_the_whole_task():
    tree = Tree(3, horizon=3, stop=(2,))
    task = TreeTask(tree, torch.ones(2, tree.n_leaves))
    trainer = Trainer(TabularLM.of(task), task, "rloo", Sampled(2), TrainConfig(lr=1e-9))
    made = Curriculum(trainer, [Phase(None, 1, 8, window=1), Phase(None, 1, 8)])
    first = made.step()
    assert first["length"] == 1 and first["pool_pass_rate"] == pytest.approx(1 / 3)
    assert trainer.evaluate()["reward"] == 1
    last = made.step()
    assert last["pool_pass_rate"] == pytest.approx(1) and trainer.task is task


def test_the_step_s_prompts_are_drawn_among_those_that_are_kept():
    task, policy = bandit([0.1 * i + 0.05 for i in range(9)])
    trainer = Trainer(policy, task, "rloo", Sampled(2), TrainConfig(lr=1e-9, prompts=2))
    made = Curriculum(trainer, [Phase(3, 12, 2)])
    seen = set()
    for _ in made:
        asked = trainer._prompts().ids.tolist()
        assert len(asked) == 2
        seen |= {*asked}
    assert seen == {0, 1, 2}


CHAIN = ChainSum(n_digits=(2, 3), n_train=12, n_test=4, horizon=8)
PHASES = (Phase(None, 3, 4, window=6), Phase(8, 3, 6), Phase(4, 3, 8))


def on_chain(nested: bool = True) -> Curriculum:
    policy = GPT(GPTConfig(16, context=16, layers=1, width=16, heads=2, hidden=16))
    shorter = Shaping({"length": (-1.0, length)})  # which an untrained policy can learn
    trainer = Trainer(policy, CHAIN, "grpo", Sampled(2), TrainConfig(prompts=4, lr=0.01), shaping=shorter)
    return Curriculum(trainer, PHASES, nested, exact=False)


def figures(made: Curriculum, steps: int) -> list[dict[str, float]]:
    return [{k: v for k, v in made.step().items() if k != "seconds"} for _ in range(steps)]


def parameters(made: Curriculum) -> Tensor:
    return torch.cat([p.detach().flatten() for p in made.trainer.parameters])


@pytest.mark.parametrize("nested", [True, False])
def test_a_resumed_run_is_the_same_bit_for_bit_wherever_it_was_stopped(nested, tmp_path):
    """Within a phase, and between two of them."""
    straight = on_chain(nested)
    expected = figures(straight, 9)
    assert [f["phase"] for f in expected] == [1] * 3 + [2] * 3 + [3] * 3
    for half in (0, 2, 3, 5, 6):
        first = on_chain(nested)
        figures(first, half)
        first.save(tmp_path / "half.safetensors")
        resumed = on_chain(nested).load(tmp_path / "half.safetensors")
        assert resumed.done == half and figures(resumed, 9 - half) == expected[half:]
        assert torch.equal(parameters(resumed), parameters(straight))


def test_it_runs_to_the_end_of_its_phases_with_a_log_and_a_checkpoint(tmp_path):
    made = on_chain()
    assert len(made.run(4, tmp_path, progress=False)) == 4
    history = on_chain().load(tmp_path / "checkpoint.safetensors").run(out=tmp_path, progress=False)
    assert [f["step"] for f in history] == [5, 6, 7, 8, 9]
    assert [json.loads(line)["phase"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == (
        [1] * 3 + [2] * 3 + [3] * 3
    )


def test_an_enumerated_trainer_is_led_too():
    task, policy = bandit([0.9, 0.5, 0.3, 0.2])
    made = Curriculum(Trainer(policy, task, "rloo", Enumerated(), TrainConfig(lr=0.1)), [Phase(2, 3, 8)])
    assert [f["phase"] for f in made] == [1, 1, 1] and made.trainer.prompts.ids.tolist() == [2, 3]
    p = policy.table.detach().view(4, 2).softmax(-1)[:, 0].tolist()
    assert p[:2] == pytest.approx([0.9, 0.5]) and p[2] > 0.3 and p[3] > 0.2


def test_bad_phases_are_refused():
    task, policy = bandit([0.9, 0.5, 0.3])
    trainer = Trainer(policy, task, "rloo", Sampled(2))
    with pytest.raises(ValueError, match="phases must hold at least one phase, got none"):
        Curriculum(trainer, [])
    with pytest.raises(ValueError, match="prompts must be at most 3, got a phase of 4"):
        Curriculum(trainer, [Phase(4, 1, 2)])
    with pytest.raises(ValueError, match="prompts must be at most 2, got a phase of 3"):
        Curriculum(trainer, [Phase(2, 1, 2), Phase(3, 1, 2)])
    Curriculum(trainer, [Phase(2, 1, 2), Phase(3, 1, 2)], nested=False)
    with pytest.raises(ValueError, match="window must be >= 1 and below the horizon 1, got 2"):
        Curriculum(trainer, [Phase(2, 1, 2, window=2)])
    for given in ((0, 1, 2), (1, 0, 2), (1, 1, 0)):
        with pytest.raises(ValueError, match="must be >= 1, got 0"):
            Phase(*given)
