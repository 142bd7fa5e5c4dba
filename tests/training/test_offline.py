"""One offline trainer for tables, small GPTs and transformers models."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from toykit.objectives import DPO, KTO, OFFLINE, BradleyTerry, OfflineMethod
from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.rewards import (
    Judge,
    LearnedReward,
    demonstrations,
    drawn_pairs,
    every_pair,
    in_steps,
    labelled,
    reward_model,
    scores,
)
from toykit.rollouts import Enumerated, Rollouts, Sampled
from toykit.rollouts.examples import Examples
from toykit.tasks.bandit import TreeTask, tricks_tree
from toykit.tasks.base import Task
from toykit.training import OfflineConfig, OfflineTrainer, Trainer, checkpoint, fresh

REWARDS = torch.tensor([[1.0, 0, 1, 0, 0], [0, 1, 0, 0, 1], [0, 0, 0, 1, 1]])


def a_table() -> tuple[TreeTask, TabularLM]:
    task, logits = tricks_tree()
    made = TreeTask(task.tree, REWARDS)
    return made, TabularLM.of(made, logits=logits)


def a_gpt() -> tuple[TreeTask, GPT]:
    torch.manual_seed(0)
    task = a_table()[0]
    return task, GPT(GPTConfig(task.vocab.size, context=8, layers=1, width=16, heads=2, hidden=16))


def a_transformer() -> tuple[TreeTask, torch.nn.Module]:
    from toykit.policies.qwen3 import qwen3

    task = a_table()[0]
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return task, qwen3(task.vocab, sizes)


RUNGS = {"table": a_table, "gpt": a_gpt, "transformers": a_transformer}


def drawn(task: Task, policy: torch.nn.Module, size: int = 8) -> Rollouts:
    table = a_table()[1]  # completions of the tree, whoever learns from them
    return Sampled(size)(table, task, task.prompts(), torch.Generator().manual_seed(1))


def data_for(kind: str, rollouts: Rollouts) -> Examples:
    if kind == "pairs":
        return every_pair(rollouts, Judge(0.2))
    if kind == "labelled":
        return labelled(rollouts)
    if kind == "demonstrations":
        return demonstrations(rollouts, law=rollouts.weights * (rollouts.rewards > 0.5))
    return in_steps(rollouts, rollouts.mask, rollouts.rewards[..., None] * rollouts.mask)


def trainer(rung: str, name: str, config: OfflineConfig | None = None, learned: bool | None = None) -> OfflineTrainer:
    task, policy = RUNGS[rung]()
    loss = OFFLINE[name]().loss
    data = data_for(loss.data, drawn(task, policy))
    model = reward_model(policy) if loss.reads == "score" else policy
    data = data.mismatched() if isinstance(loss, KTO) else data
    return OfflineTrainer(model, task, name, data, config or OfflineConfig(lr=0.01))


@pytest.mark.parametrize("name", OFFLINE)
@pytest.mark.parametrize("rung", RUNGS)
def test_every_offline_method_lowers_its_loss_on_every_rung(rung, name):
    made = trainer(rung, name)
    losses = [made.step()["loss"] for _ in range(6)]
    assert losses[-1] < losses[0] - 1e-3


@pytest.mark.parametrize("name", ["dpo", "kto", "sft", "ilql", "process_reward"])
def test_pieces_change_nothing(name):
    """Also where something is taken over the whole batch: KTO's z0, the mean length of SFT."""

    def after(size: int | None) -> tuple[torch.Tensor, list[float]]:
        made = trainer("table", name, OfflineConfig(0.5, "sgd", micro_size=size))
        figures = [made.step() for _ in range(2)]
        kept = [value for f in figures for key, value in f.items() if key != "seconds"]
        return made.policy.table.detach(), kept

    whole, figures = after(None)
    for size in (1, 3):
        table, found = after(size)
        assert torch.allclose(table, whole, rtol=0, atol=1e-12)
        assert found == pytest.approx(figures, abs=1e-12)


def test_the_mean_of_small_batches_is_the_step_of_all_rows():
    """Every batch of one row of six, as the trainer weighs it."""
    task, _ = a_table()
    rollouts = Enumerated()(a_table()[1], task, task.prompts())
    data = every_pair(rollouts)
    made = OfflineTrainer(a_table()[1], task, "dpo", data, OfflineConfig(batch=2))
    sums = [float(made._batch().weights.sum()) for _ in range(400)]
    assert sum(sums) / 400 == pytest.approx(1, abs=4 * torch.tensor(sums).std().item() / 20)
    assert torch.tensor(sums).std() > 0.1


def test_a_sampled_population_gives_the_exact_step_on_average():
    task, policy = a_table()
    start = policy.table.detach().clone()
    rollouts = Enumerated()(policy, task, task.prompts())

    def step(data: Examples) -> torch.Tensor:
        own = a_table()[1]
        made = OfflineTrainer(own, task, OfflineMethod(DPO(0.5), "given"), data, OfflineConfig(1.0, "sgd"))
        made.step()
        return own.table.detach() - start

    generator, strategy = torch.Generator().manual_seed(0), Sampled(2000)
    exact = step(_with_ties(rollouts))
    drawn = [step(drawn_pairs(strategy(policy, task, task.prompts(), generator), generator)) for _ in range(12)]
    found = torch.stack(drawn)
    error = 4 * found.std(0) / 12**0.5
    assert exact.abs().max() > 0.01 and error.max() < 0.01
    assert ((found.mean(0) - exact).abs() <= error + 1e-12).all()


def _with_ties(rollouts: Rollouts) -> Examples:
    """The population of pairs with their own law: a draw may also give the same completion twice, which moves nothing,
    so that the weights of the others do not sum to 1."""
    pairs = every_pair(rollouts, law=rollouts.weights)
    apart = 1 - rollouts.weights.square().sum(-1)
    return replace(pairs, weights=pairs.weights * apart[pairs.prompt_ids])


def test_figures_of_pairs_say_what_moves():
    """DPO can widen the margin while both log-probabilities fall: all three are logged."""
    figures = trainer("table", "dpo").step()
    assert {"loss", "margin", "accuracy", "chosen_logp", "rejected_logp", "grad_norm", "step"} <= figures.keys()
    assert figures["margin"] == 0 and figures["accuracy"] == 0  # policy and reference are the same
    assert figures["loss"] == pytest.approx(0.6931471805599453)


CASES = {
    "dpo on a table, batches and pieces": ("table", "dpo", OfflineConfig(0.05, batch=7, micro_size=3)),
    "kto on a gpt": ("gpt", "kto", OfflineConfig(0.01, batch=6, max_grad_norm=0.1)),
    "ilql, with a critic": ("table", "ilql", OfflineConfig(0.05, "sgd", batch=5)),
    "a reward model": ("gpt", "bradley_terry", OfflineConfig(0.01, batch=4)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, case):
    rung, name, config = CASES[case]
    start = trainer(rung, name).policy.state_dict()

    def made() -> OfflineTrainer:
        model = trainer(rung, name, config)
        model.policy.load_state_dict(start)
        if model.reference is not None:
            model.reference.load_state_dict(start)
        return model

    straight, first = made(), made()
    expected = [f["loss"] for f in straight.run(7, progress=False)]
    assert [f["loss"] for f in first.run(3, tmp_path, progress=False)] == expected[:3]
    resumed = made().load(tmp_path / "checkpoint.safetensors")
    assert [f["loss"] for f in resumed.run(7, tmp_path, progress=False)] == expected[3:]
    for a, b in zip(straight.parameters, resumed.parameters, strict=True):
        assert torch.equal(a, b)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 8))


def test_a_checkpoint_of_other_data_or_another_loss_is_refused(tmp_path):
    made = trainer("table", "dpo")
    made.step()
    made.save(tmp_path / "x.safetensors")
    other = trainer("table", "ipo")
    with pytest.raises(ValueError, match="was made with another setting; loss differ"):
        other.load(tmp_path / "x.safetensors")
    fewer = trainer("table", "dpo")
    fewer.data = replace(fewer.data, completions=fewer.data.completions.flip(0), mask=fewer.data.mask.flip(0))
    fewer.data = replace(fewer.data, weights=fewer.data.weights * 2)
    with pytest.raises(ValueError, match="was made with another setting; data differ"):
        fewer.load(tmp_path / "x.safetensors")
    assert checkpoint.load(tmp_path / "x.safetensors", "offline")[1]["step"] == 1


def on_policy() -> OfflineTrainer:
    """DPO on pairs of the policy's own completions, asked of a judge in every step."""
    task, policy = a_table()
    source = fresh(task, Sampled(8), lambda rollouts, generator: drawn_pairs(rollouts, generator, Judge(0)))
    return OfflineTrainer(policy, task, OfflineMethod(DPO(0.3), "given"), source, OfflineConfig(0.05, seed=3))


def test_on_policy_data_are_made_anew_for_every_step_and_a_resumed_run_makes_the_same(tmp_path):
    straight, first = on_policy(), on_policy()
    losses = [straight.step()["loss"] for _ in range(30)]
    assert [first.step()["loss"] for _ in range(10)] == losses[:10] and len(set(losses)) == 30
    first.save(tmp_path / "x.safetensors")
    resumed = on_policy().load(tmp_path / "x.safetensors")
    assert [resumed.step()["loss"] for _ in range(20)] == losses[10:]
    task, policy = a_table()
    before, after = (Enumerated()(p, task, task.prompts()) for p in (policy, straight.policy))
    assert (after.mean(after.rewards) > before.mean(before.rewards)).all()


@pytest.mark.parametrize("rung", RUNGS)
def test_a_reward_model_starts_at_0_and_learns_to_order_completions(rung):
    task, policy = RUNGS[rung]()
    model = reward_model(policy)
    rollouts = Enumerated()(a_table()[1], task, task.prompts())
    rows = rollouts.prompts, rollouts.prompt_mask, rollouts.completions, rollouts.mask
    assert not scores(model, *rows).any()
    data = every_pair(rollouts, Judge(0))
    made = OfflineTrainer(model, task, "bradley_terry", data, OfflineConfig(0.01))
    for _ in range(60):
        made.step()
    shaped, means = LearnedReward(model)(rollouts)
    ahead = shaped.rewards[:, :, None] > shaped.rewards[:, None, :]
    better = rollouts.rewards[:, :, None] > rollouts.rewards[:, None, :]
    assert ahead[better].double().mean() > 0.8  # one half for a model that knows nothing
    assert torch.equal(shaped.extras["task_rewards"], rollouts.rewards) and means["reward/task"] > 0


def test_the_last_score_is_that_of_the_whole_completion():
    """Two completions that differ in their last token alone have different scores, and padding has none."""
    task, policy = a_gpt()
    model = reward_model(policy)
    with torch.no_grad():
        model.head.weight.normal_(generator=torch.Generator().manual_seed(0))
    rollouts = Enumerated()(a_table()[1], task, task.prompts())
    found = scores(model, rollouts.prompts, rollouts.prompt_mask, rollouts.completions, rollouts.mask)
    a, b = 2, 3  # 110 and 111
    assert (
        torch.allclose(found[0, a, :2], found[0, b, :2], atol=1e-6) and (found[0, a, 2] - found[0, b, 2]).abs() > 1e-3
    )
    assert not found[~rollouts.mask].any()


def test_rlhf_a_policy_learns_from_a_reward_model_instead_of_the_task():
    task, policy = a_table()
    rollouts = Enumerated()(policy, task, task.prompts())
    model = reward_model(policy)
    made = OfflineTrainer(model, task, "bradley_terry", every_pair(rollouts), OfflineConfig(0.1))
    for _ in range(100):
        made.step()
    steps = Trainer(policy, task, "ppo", Enumerated(), shaping=LearnedReward(model))
    figures = [steps.step() for _ in range(200)]
    assert figures[-1]["reward/task"] > figures[0]["reward/task"] + 0.1
    assert {"reward/learned", "reward/task"} <= figures[0].keys()


def test_what_does_not_fit_is_refused():
    task, policy = a_table()
    rollouts = Enumerated()(policy, task, task.prompts())
    with pytest.raises(ValueError, match="objective must be one of .*, got 'dop'; did you mean 'dpo'"):
        OfflineTrainer(policy, task, "dop", every_pair(rollouts))
    with pytest.raises(ValueError, match="data must be Pairs for DPO, got Labelled"):
        OfflineTrainer(policy, task, "dpo", labelled(rollouts))
    with pytest.raises(ValueError, match="data must hold a completion of another prompt a row for KTO"):
        OfflineTrainer(policy, task, "kto", labelled(rollouts))
    with pytest.raises(ValueError, match=r"data must have margins for BradleyTerry\(margins=True\), got None"):
        bare = replace(every_pair(rollouts), margins=None)
        OfflineTrainer(policy, task, OfflineMethod(BradleyTerry(margins=True), "given"), bare)
    with pytest.raises(ValueError, match="policy must know the task's vocabulary"):
        OfflineTrainer(GPT(GPTConfig(2, context=8, layers=1, width=16, heads=2)), task, "dpo", every_pair(rollouts))
    for options in ({"lr": 0}, {"optimizer": "natural"}, {"batch": 0}, {"micro_size": 0}, {"max_grad_norm": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
            OfflineConfig(**options)


def test_a_loss_that_is_not_finite_names_the_prompt_and_changes_nothing():
    made = trainer("table", "dpo")
    with torch.no_grad():
        made.policy.table[0, 0] = float("nan")
    before = made.policy.table.detach().clone()
    with pytest.raises(ValueError, match=r"must be finite, got nan .*\(prompt 0\)"):
        made.step()
    assert torch.equal(made.policy.table.nan_to_num(), before.nan_to_num()) and made.done == 0
