"""Each benchmark once at a tiny size: ours and the peer do the same work."""

from __future__ import annotations

import pytest
import torch

from toykit.bench import BENCHMARKS, KEYS, explorers, pretraining, run, sampling, step
from toykit.bench import control as control_bench
from toykit.bench import exact as exact_bench
from toykit.bench.sevens import Sevens
from toykit.exact import leaf_log_probs, log_evidence
from toykit.lessons.registry import modules
from toykit.policies import GPT, GPTConfig, export
from toykit.rollouts import token_logps
from toykit.tasks.tokenizer import tokenizer_of
from toykit.training.machine import installed, memory, peak_memory, versions

HERE = {name: b for name, b in BENCHMARKS.items() if all(map(installed, b.needs))}


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # of torch.compile
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs_and_gives_a_ratio_only_against_a_peer_that_ran(name):
    found = run(BENCHMARKS[name], "tiny")
    row = found.row()
    assert tuple(row) == KEYS
    assert row["ours_s"] > 0 and row["goal"] > 0
    assert (row["skipped"] is None) == (name in HERE)
    ran = row["peer"] is not None and row["skipped"] is None
    assert (row["ratio"] is not None) == (row["peer_s"] is not None) == ran
    if name in ("exact_1e7", "solve_1e6"):
        assert ("GiB" in found.notes[0]) == (peak_memory() is not None)
    if ran:
        assert 0 < row["ratio_min"] <= row["ratio"] <= row["ratio_max"]


def test_the_exact_work_is_the_bound_and_its_gradient():
    p = exact_bench.problem(3, 3)
    found = exact_bench.solve(p)
    logits = p.logits.clone().requires_grad_()
    log_pi = leaf_log_probs(p.tree, logits)
    value = (log_pi.exp() * (p.rewards - exact_bench.BETA * (log_pi - p.log_prior))).sum()
    torch.testing.assert_close(found.gradient, torch.autograd.grad(value, logits)[0])
    evidence = exact_bench.BETA * log_evidence(p.log_prior, p.rewards, exact_bench.BETA)
    torch.testing.assert_close(exact_bench.BETA * found.kl, evidence - value.detach())


def test_the_arrays_that_are_copied_are_all_that_is_given_and_found():
    p = exact_bench.problem(10, 2)
    arrays = p.must_pass(exact_bench.solve(p))
    assert {name: tuple(a.shape) for name, a in arrays.items()} == {
        **dict.fromkeys(("child", "logits", "gradient"), (11, 10)),
        **dict.fromkeys(("log_prior", "rewards", "posterior", "log_pi"), (100,)),
    }
    assert sum(a.numel() * a.element_size() for a in arrays.values()) == 8 * (3 * 110 + 4 * 100)


def test_the_large_tree_has_ten_million_leaves_and_is_within_the_limit():
    tree = exact_bench.Tree(*exact_bench.LARGE)
    assert tree.n_leaves >= 10_000_000
    tree.check_size()


def test_a_solution_of_the_large_tree_is_a_turn(monkeypatch):
    solved, turns = [], iter([True, True, False])
    monkeypatch.setattr(exact_bench, "solve", solved.append)
    exact_bench.solutions(3, 2)(lambda: next(turns))
    assert len(solved) == 2 and solved[0].tree.n_leaves == 9


def test_settings_that_go_together_end_where_each_would_alone():
    every = exact_bench.sweep(3)
    together = exact_bench.ascended(every, 20)
    for i in range(3):
        torch.testing.assert_close(together[i], exact_bench.ascended(every.one(i), 20))
    assert not torch.allclose(together[0], together[1])


@pytest.mark.parametrize("hub", [False, True])
def test_greedy_tokens_of_the_sampler_are_those_of_generate(hub):
    if hub:
        policy = model = sampling.hub_model("tiny")
    else:
        policy = sampling.small_gpt()
        model = export(policy)
    prompts = sampling.batch_of(5)
    ours, theirs = (fn(m, prompts, 6, 0.0)() for fn, m in ((sampling.ours, policy), (sampling.theirs, model)))
    assert ours.shape == (5, 6)
    assert torch.equal(ours, theirs)


def test_sampled_tokens_of_both_have_the_length_that_was_asked_for():
    policy, prompts = sampling.small_gpt(), sampling.batch_of(3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert sampling.theirs(export(policy), prompts, 7)().shape == (3, 7)
    assert sampling.ours(policy, prompts, 7)().shape == (3, 7)


def test_the_hub_model_has_a_hundred_million_parameters():
    with torch.device("meta"):
        model = sampling.hub_model("full")
    assert 0.9e8 < sum(p.numel() for p in model.parameters()) < 1.1e8


def test_explorers_are_found_in_every_lesson_that_has_one():
    found = explorers.makers()
    assert {"00 posterior_explorer", "01 posterior_explorer", "13 balance_explorer"} <= set(found)
    assert {name[:2] for name in found} <= {"00", *modules()}


def test_a_redraw_moves_one_control_and_draws_anew():
    explorer = explorers.makers()["01 posterior_explorer"](live=False)
    states = explorers.moves(explorer)
    assert all(len(s) == 1 for s in states) and {k for s in states for k in s} == set(explorer.controls)
    assert all(value != explorer.defaults[name] for s in states for name, value in s.items())
    for name in explorer.controls:
        assert 1 <= sum(name in s for s in states) <= explorers.MOVES
    redraw = explorers.redraws(explorer)
    first, second = redraw(), redraw()
    assert first[:4] == b"\x89PNG" and first != second


def test_sevens_rewards_the_share_of_sevens_that_count():
    task = Sevens()
    completions = torch.tensor([[[11, 11, 2, 11, 0, 0, 0, 0], [11] * 8]])
    mask = torch.tensor([[[True] * 3 + [False] * 5, [True] * 8]])
    assert task.score(torch.tensor([0]), completions, mask).tolist() == [[2 / 8, 1.0]]
    assert task.vocab.decode(task.prompts().tokens[37].tolist()) == "3 + 7 ="


def test_the_tokenizer_of_the_peer_reads_the_prompts_as_the_task_does():
    task, tokenizer = Sevens(), tokenizer_of(Sevens.vocab)
    assert tokenizer(task.texts())["input_ids"] == task.prompts().tokens.tolist()
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, len(tokenizer)) == (0, 2, task.vocab.size)


def test_the_peer_starts_from_the_same_weights():
    policy, prompts = GPT(step.model_config("tiny")), Sevens().prompts()
    with torch.no_grad():
        theirs = step.peer_model(policy)(input_ids=prompts.tokens).logits
        torch.testing.assert_close(policy(input_ids=prompts.tokens).logits, theirs, atol=1e-5, rtol=1e-5)


def test_a_step_is_grpo_with_eight_completions_and_no_reference():
    made = step.trainer(GPT(step.model_config("tiny")), 2)
    assert made.reference is None and made.objective.kl is None
    rollouts, _ = made.rollouts()
    assert rollouts.completions.shape[:2] == (2, 8)


def test_operations_of_the_products_are_counted_by_hand():
    config = GPTConfig(vocab_size=5, layers=1, width=2, heads=1, hidden=3)
    forward = step.forward_products(config, tokens=10, read_out=4)
    assert forward == [(10, 2, 6), (10, 2, 2), (10, 2, 6), (10, 3, 2), (4, 2, 5)]
    assert step.operations(forward) == 2 * (120 + 40 + 120 + 60 + 40)


def test_a_step_needs_a_reading_of_prompts_its_draws_and_three_passes():
    config = step.model_config("tiny")
    scored = step.operations(step.forward_products(config, 2 * 4 + 16 * 7, 16 * 8))
    read = step.operations(step.forward_products(config, 2 * 4, 2))
    drawn = step.operations(step.forward_products(config, 16, 16))
    assert step.operations(step.step_products(config, 2, 4, 8)) == read + 7 * drawn + 3 * scored


def test_the_loss_of_both_pretrainers_is_the_same_number():
    task = pretraining.ChainSum(n_train=64)
    policy = GPT(GPTConfig(task.vocab.size, width=16))
    rows = pretraining.examples(task, 6)
    batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    with torch.no_grad():
        theirs = export(policy)(**batch).loss
        prompts, completions, mask = task.corpus(6, torch.Generator().manual_seed(0))
        logp = token_logps(policy, prompts.tokens, prompts.mask, completions[:, None], mask[:, None])
    torch.testing.assert_close(-logp.sum() / mask.sum(), theirs, atol=1e-5, rtol=1e-5)


def test_the_problem_of_quantecon_is_the_same_in_both_layouts():
    pytest.importorskip("quantecon")
    for mdp in (control_bench.random_dense(20, 3), control_bench.sparse(50, 3)):
        theirs = control_bench.quantecon_problem(mdp).solve(method="policy_iteration")
        ours = control_bench.modified_policy_iteration(mdp, tol=control_bench.share_of(mdp, 1e-8))
        assert abs(theirs.v - ours.v.numpy()).max() < 1e-8


def test_the_tolerance_asks_for_the_error():
    mdp = control_bench.sparse(300, 4)
    found = control_bench.modified_policy_iteration(mdp, tol=control_bench.share_of(mdp, 1e-3))
    assert 0 < found.error <= 1e-3


def test_both_step_the_same_lake():
    ours = control_bench.TableVectorEnv(control_bench.LAKE, 3)
    steps = control_bench.stepping(ours, 5)
    steps()
    steps()
    assert ours._time == 10 and ours._limits == (None, 100)


def test_every_benchmark_says_what_it_does_and_is_named_once():
    assert all(b.work and b.reads for b in BENCHMARKS.values())
    assert len({b.name for b in BENCHMARKS.values()}) == len(BENCHMARKS)


def test_a_peer_is_asked_for_only_where_it_is_wanted():
    for name in ("exact_vs_copy", "sweep_256", "grpo_flops", "grpo_step_vs_trl", "pretrain_tokens"):
        cases = BENCHMARKS[name].prepare("tiny", False)
        assert [c.peer for c in cases] == [None]


def test_the_machine_is_described_without_importing_what_is_asked_for():
    assert versions(("torch", "no-such-distribution"))["no-such-distribution"] is None
    assert versions(("torch",))["torch"] == torch.__version__
    held, peak = memory(), peak_memory()
    if held["total"] is not None:
        assert 0 < held["available"] <= held["total"]
        assert 2**20 < peak < held["total"]
