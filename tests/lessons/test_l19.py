from __future__ import annotations

import copy

import pytest
import torch
from matplotlib.figure import Figure

from toykit.lessons import claims, load, recorded
from toykit.lessons.l19_drive import exact, explorer, sampled
from toykit.lessons.l19_drive.flow import Programming, after, begin, hard_focus
from toykit.objectives import method
from toykit.plots.images import pixels
from toykit.rollouts import Sampled
from toykit.tasks import Programs
from toykit.tasks.stack_machine import DUP, END, PLUS, X
from toykit.training import Phase, load_policy

LESSON = load("19")
NOT = ["C3b", "C4c", "C4g", "C5", "C6b", "C6c"]  # what does not hold


def test_the_claims_of_the_exact_rung_that_do_not_hold_are_these(results, failing):
    assert failing(results) == NOT


def put(arm, figure, values, part="arms"):
    return lambda r: r[part][arm].__setitem__(figure, values)


SPOILED = {
    "C0": lambda r: r["counts"].__setitem__("functions", 62),
    "C1a": lambda r: r["groups"].__setitem__("error", 1e-9),
    "C1b": lambda r: r["groups"].__setitem__("limit", 1e-3),
    "C1c": lambda r: r["groups"]["informative"].__setitem__(1, 0.2751),
    "C1d": lambda r: r["groups"]["exercise"].__setitem__(1, 8.0),
    "C2a": lambda r: r["per step"]["uniform, G = 64"]["hard"].__setitem__(4, 0.39),
    "C2b": lambda r: r["per step"]["hard, G = 64"]["hard"].__setitem__(3, 0.4),
    "C2c": put("uniform, G = 64", "pass@1", [0.9] * 5),
    "C3a": put("uniform, G = 8", "medium", [0.2] * 5, "per step"),
    "C3c": put("uniform, G = 8", "hard, unsolved", [0.0, 0.1, 0.0, 0.0, 0.0]),
    "C4a": put("uniform, G = 8", "pass@64", [0.76, 0.92, 0.73, 0.93, 0.9]),
    "C4b": put("two stages", "unsolved", [0.2] * 5),
    "C4d": put("stage 2 only, the card's", "pass@1", [0.05, 0.1, 0.15, 0.2, 0.3]),
    "C4e": put("stage 2 only", "pass@1", [0.5] * 5),
    "C4f": put("stage 2 only", "pass@64", [0.8] * 5),
    "C6a": lambda r: r["entropy"].__setitem__("whole window", [1.0, 1.1, 1.0, 1.1, 1.0]),
    "X1": lambda r: r["quantiles"].__setitem__(4, 0.0765),
    "X2": put("two stages, nested", "pass@64", [0.9] * 5),
    "S1": lambda r: r["trainer"].__setitem__("same prompts", False),
    "S2": lambda r: r["gradient"].__setitem__("G = 64", 1e-9),
}
ALSO = {"C4a": ["X1"], "C4b": ["X1"], "C2c": ["X1"], "C4d": ["X1"]}  # a mean that the card prints too


@pytest.mark.parametrize("claim", SPOILED)
def test_a_result_that_contradicts_a_claim_fails_its_check_and_no_other(claim, failing, spoiled):
    assert sorted(failing(spoiled(SPOILED[claim]))) == sorted([claim, *NOT, *ALSO.get(claim, [])])


RIGHTED = {
    "C3b": put("uniform, G = 8", "medium", [0.99, 1.0, 0.99, 1.0, 0.99], "per step"),
    "C4c": put("two stages", "pass@1", [1.0] * 5),
    "C4g": put("hard, G = 64", "easy", [0.008] * 5, "per step"),
    "C5": put("two stages, more hard prompts", "pass@1", [0.7] * 5),
    "C6b": lambda r: r["entropy"].__setitem__("short window", [1.1] * 5),
    "C6c": put("two stages, short first", "pass@64", [1.0] * 5),
}


@pytest.mark.parametrize("claim", RIGHTED)
def test_a_claim_that_does_not_hold_would_hold_of_other_results(claim, failing, spoiled):
    assert claim not in failing(spoiled(RIGHTED[claim]))


def test_every_claim_of_the_exact_rung_is_spoiled_or_righted_once():
    assert sorted([*SPOILED, *RIGHTED]) == sorted(claim.id for claim in LESSON.claims_of("exact"))
    assert list(RIGHTED) == NOT


def test_an_error_leaves_the_depth_as_it_is():
    depth, token = torch.tensor([0, 0, 1, 2, 3]), torch.tensor([PLUS, DUP, X, PLUS, END])
    assert after(depth, token).tolist() == [0, 0, 2, 1, 3]


def test_the_tables_of_four_tokens_by_hand():
    """Nine functions by the states (0, 0), (1, 1), (2, 2), (3, 1); with logits of 0 each token has 1/8, and `x end` and
    `x 1 * end` are two of the four programs of x."""
    made = Programming(Programs(length=4))
    assert made.states.tolist() == [[0, 0], [1, 1], [2, 2], [3, 1]]
    theta = made.join(torch.zeros(4, 8), torch.zeros(9, 4, 8)).double()
    counts = made.task.functions.counts
    short = torch.tensor([int((made.task.right[1][x].sum(-1) == 2).sum()) for x in range(9)])
    assert torch.allclose(made.rates(theta), short.double() / 64 + (counts - short).double() / 8**4)
    assert made.token_entropy(theta).tolist() == pytest.approx([torch.tensor(8.0).log().item()] * 9)


def test_the_first_step_by_hand():
    """One prompt with one program of four tokens, p = 8^-4: B moves by h / (p (1 - p)) p (1 - pi) at its tokens."""
    made = Programming(Programs(length=4))
    theta = made.join(torch.zeros(4, 8), torch.zeros(9, 4, 8)).double()[None]
    chosen = torch.zeros(1, 9, dtype=torch.bool)
    chosen[0, 8] = True
    shared, own = made.split(made.gradient(chosen, torch.inf)(theta)[0])
    p = 8.0**-4
    size = (p / (1 - p)) ** 0.5  # h = sqrt(p (1 - p)) in infinite groups
    word = made.task.right[0][8][made.task.right[2][8]][0]
    assert own[8, torch.arange(4), word].tolist() == pytest.approx([size * 7 / 8] * 4, rel=1e-12)
    assert own[:8].abs().max() == 0 and torch.allclose(own[8], shared)


def test_phases_keep_the_hardest_of_the_pool_or_of_what_was_kept():
    made = exact.programming()
    pool = exact.for_training(made)
    start = begin(made, made.base([0, 1]))
    phases = [Phase(12, 150, 64), Phase(8, 2, 64)]
    nested, anew = (hard_focus(made, start, phases, pool, how) for how in (True, False))
    assert [c.sum(-1).tolist() for c in nested.chosen] == [[12, 12], [8, 8]]
    assert bool((nested.chosen[1] <= nested.chosen[0]).all()) and bool((anew.chosen[1] <= pool).all())
    assert not bool((anew.chosen[1] <= anew.chosen[0]).all())
    first = torch.where(pool, start.p[0, 0], 2.0)
    assert sorted(first.argsort()[:12].tolist()) == nested.chosen[0][0].nonzero()[:, 0].tolist()
    assert nested.kept == (*range(0, 151, 15), 152) and nested.p.shape == (12, 2, 48)


def test_within_five_tokens_few_prompts_have_a_gradient():
    made = exact.programming()
    theta = made.base([0])
    step = made.gradient(torch.ones(1, 48, dtype=torch.bool), 8, window=5)(theta)
    moved = made.split(step)[1][0].abs().amax((1, 2)) > 0
    assert int(moved.sum()) == 9 and torch.equal(moved, made.rates(theta, 5)[0] > 0)


def test_the_explorer_draws_every_preset_and_says_it_in_words():
    shown = explorer.drive_explorer(live=False)
    pictures = [pixels(shown.figure(**state)).copy() for state in shown.presets.values()]
    assert all((a != b).any() for i, a in enumerate(pictures) for b in pictures[:i])
    said = explorer.drive_words()
    assert "After 40,320 rollouts pass@1 is 0.44, pass@64 0.82" in said
    assert "3.9% of groups of 8 and in 27.4% of groups of 64" in said


def test_figures_are_made_from_results(results):
    assert isinstance(LESSON.figures["exact"]["ladder"](results), Figure)


def test_every_arm_of_the_gpt_rung_has_as_many_completions():
    base, setup = load_policy("programs"), sampled.DRIVE.gpt
    made = {name: arm(base, setup, 0) for name, arm in sampled.arms().items()}
    for name in ("uniform, G = 8", "uniform, G = 64"):
        trainer = made[name]
        assert trainer.config.prompts * trainer.strategy.group_size == 256
        assert trainer.objective == method("grpo").objective.with_(kl=None)
    total = sampled.STEPS[6] * 256
    for name in ("two stages", "two stages, short first", "stage 2 only"):
        led = made[name]
        ranking = sum(36 * phase.group_size for phase in led.phases)
        assert abs(led.steps * 256 + ranking - total) < 256
    assert [phase.prompts for phase in made["two stages"].phases] == [None, 18, 12, 6]
    assert [phase.window for phase in made["two stages, short first"].phases] == [5, None, None, None]


def test_a_step_on_few_prompts_draws_as_many_completions():
    base, setup = load_policy("programs"), sampled.DRIVE.gpt
    led = sampled.arms()["stage 2 only"](base, setup, 0)
    led.step()
    seen = [sampled.few(led.trainer, 256, led.policy, led.task, led.trainer.prompts).ids.tolist() for _ in range(20)]
    kept = led.trainer.prompts.ids.tolist()
    assert all(len(set(ids)) == 4 and set(ids) <= set(kept) for ids in seen) and len(kept) == 18
    assert len({tuple(ids) for ids in seen}) > 10


def test_success_of_the_base_is_exact():
    """Against the share of many samples."""
    base, task = load_policy("programs"), Programs()
    found = sampled.passes(base, task, "test")
    assert found[1].mean().item() == pytest.approx(0.0129, abs=5e-5)
    made = Sampled(2000)(base, task, task.prompts("test")[:3], torch.Generator().manual_seed(0))
    for p, share in zip(found[1][:3].tolist(), made.correct.double().mean(-1).tolist(), strict=True):
        assert share == pytest.approx(p, abs=4 * (p / 2000) ** 0.5)


def test_the_record_of_the_gpt_rung_has_these_claims():
    assert [row["claim"] for row in claims(LESSON, "gpt") if row["holds"]] == ["G6", "G7", "G10", "G13"]


def test_each_claim_of_the_gpt_rung_holds_or_fails_as_its_record_says(failing):
    """Every run one that never moves: nothing holds; then one that moves as each claim says."""
    still = copy.deepcopy(recorded(LESSON, "gpt"))
    for arm, figures in still["runs"].items():
        still["runs"][arm] = {
            name: [[path[0] + 1e-4 * i for _ in path] for i, path in enumerate(paths)]
            for name, paths in figures.items()
        }
    assert len(failing(still, "gpt")) == 15
    moved = copy.deepcopy(still)

    def move(arm, figure, by, stop=-1):
        for i, path in enumerate(moved["runs"][arm][figure]):
            path[stop] += by + 1e-3 * i

    both, short, uniform, second = "two stages", "two stages, short first", "uniform, G = 8", "stage 2 only"
    for arm, figure, by in (
        (both, "pass@64", 0.1),
        (short, "pass@64", 0.2),
        (uniform, "pass@64", -0.1),
        (both, "unsolved", -0.1),
        (both, "pass@1", 0.1),
        (second, "pass@1", -0.1),
        ("uniform, G = 64", "pass@1", -0.1),
        (both, "hard", 0.1),
        (second, "easy", -0.1),
        (uniform, "medium", 0.05),
    ):
        move(arm, figure, by)
    move(short, "token entropy", 0.1, stop=2)
    assert failing(moved, "gpt") == []
