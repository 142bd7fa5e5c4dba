from __future__ import annotations

import re
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.tasks import Arithmetic, evaluate
from toykit.tasks.arithmetic import EOS, PAD, continuous_reward, numbers
from toykit.tasks.expressions import ATOMS, rounded
from toykit.tasks.split import in_test

TASK = Arithmetic(n_problems=400)
CHARACTERS = Arithmetic.vocab


def encoded(completions: list[str], horizon: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    """Character tokens [1, G, T] and mask; "$" stands for the stop token."""
    rows = [[EOS if c == "$" else CHARACTERS.encode(c)[0] for c in text] for text in completions]
    tokens = torch.tensor([row + [PAD] * (horizon - len(row)) for row in rows])
    mask = torch.arange(horizon) < torch.tensor([[len(row)] for row in rows])
    return tokens[None], mask[None]


def test_a_prompt_is_the_expression_and_an_equals_sign() -> None:
    for split in ("train", "test"):
        prompts = TASK.prompts(split)
        for i, tokens, mask in zip(prompts.ids.tolist(), prompts.tokens, prompts.mask, strict=True):
            text = CHARACTERS.decode(tokens[mask].tolist())
            assert text == TASK.problems[i].text + "="
            assert evaluate(text[:-1]) == TASK.problems[i].value


def test_no_problem_is_in_both_splits_for_any_seed_or_size() -> None:
    tasks = [TASK, Arithmetic(n_problems=700, seed=1), Arithmetic(n_problems=300, levels=(2,), seed=2)]
    splits = [
        {task.problems[i].text for i in task.prompts(s).ids.tolist()} for s in ("train", "test") for task in tasks
    ]
    assert not set.union(*splits[:3]) & set.union(*splits[3:])
    assert 0.05 < len(TASK.prompts("test")) / 400 < 0.16


def test_a_larger_test_fraction_holds_out_more_of_the_same() -> None:
    texts = [p.text for p in TASK.problems]
    assert {t for t in texts if in_test(t, 0.1)} <= {t for t in texts if in_test(t, 0.3)}
    none = Arithmetic(n_problems=50, test_fraction=0.0)
    assert len(none.prompts("train")) == len(none.prompts("test")) == 50


def test_problems_are_distinct_have_the_levels_asked_for_and_are_fixed_by_the_seed() -> None:
    task = Arithmetic(levels=(1, 3), n_problems=500, seed=5)
    assert len({p.text for p in task.problems}) == 500
    assert {p.level for p in task.problems} == {1, 3}
    assert task.problems == Arithmetic(levels=(1, 3), n_problems=500, seed=5).problems
    assert task.problems != Arithmetic(levels=(1, 3), n_problems=500, seed=6).problems


def test_answers_are_decimals_that_fit_the_horizon() -> None:
    task = Arithmetic(levels=(2,), atoms=ATOMS, max_integer=20, n_problems=300, decimals=3)
    for i, problem in enumerate(task.problems):
        assert re.fullmatch(r"-?[0-9]+(\.[0-9]*[1-9])?", task.answer(i))
        assert Fraction(task.answer(i)) == rounded(problem.value, 3)
        assert len(task.answer(i)) < task.horizon


def test_the_corpus_is_right_answers_to_train_problems() -> None:
    prompts, completions, mask = TASK.corpus(300, torch.Generator().manual_seed(0))
    assert set(prompts.ids.tolist()) <= set(TASK.prompts("train").ids.tolist())
    for reward in ("exact", "continuous"):
        task = Arithmetic(n_problems=400, reward=reward)
        assert task.score(prompts.ids, completions[:, None], mask[:, None]).tolist() == [[1.0]] * 300
    assert CHARACTERS.decode(completions[0][mask[0]].tolist()) == TASK.answer(int(prompts.ids[0])) + "<eos>"


def test_what_is_no_number_and_then_the_stop_token_scores_nothing() -> None:
    bad = ["$", "-$", "5", "5.$", ".5$", "5-3$", "--5$", "1.2.3$", "5=$", "5$5", "5$$", "(5)$", "1/2$"]
    _, valid = numbers(*encoded(bad))
    assert not bool(valid.any())
    rewards = Arithmetic(n_problems=50, reward="continuous").score(torch.tensor([0]), *encoded(bad))
    assert rewards.tolist() == [[0.0] * len(bad)]


@settings(deadline=None)
@given(
    st.lists(st.decimals(-(10**6), 10**6, places=3, allow_nan=False).map(lambda d: f"{d:f}"), min_size=1, max_size=5)
)
def test_numbers_reads_decimals_as_python_does(texts: list[str]) -> None:
    value, valid = numbers(*encoded([text + "$" for text in texts], horizon=16))
    assert bool(valid.all())
    assert value[0].tolist() == [float(text) for text in texts]


def test_exact_compares_at_the_decimals_of_the_answer() -> None:
    task = Arithmetic(n_problems=400, decimals=2)
    third = next(i for i, p in enumerate(task.problems) if task.answer(i) == "0.33")
    completions = ["0.33$", "0.3333$", "00.33$", "0.34$", "0.32$", "-0.33$", "0.3$"]
    assert task.score(torch.tensor([third]), *encoded(completions)).tolist() == [[1, 1, 1, 0, 0, 0, 0]]


def test_continuous_rewards_are_those_of_the_card() -> None:
    answer = torch.tensor([3.5, 3.6, 120.0, 99.9, 0.2], dtype=torch.float64)
    truth = torch.tensor([3.5, 3.5, 100.0, 100.0, 0.0], dtype=torch.float64)
    expected = [1.0, 0.9357142898, 0.400000001, 0.9495, 0.4]
    assert continuous_reward(answer, truth).tolist() == pytest.approx(expected, abs=5e-10)


def test_the_continuous_reward_of_a_task_is_that_of_its_rounded_value() -> None:
    task = Arithmetic(n_problems=100, reward="continuous")
    truth = torch.tensor([float(task.answer(7))], dtype=torch.float64)
    rewards = task.score(torch.tensor([7]), *encoded([task.answer(7) + "$", "3$"]))[0]
    assert rewards.tolist() == [1.0, pytest.approx(continuous_reward(torch.tensor([3.0]).double(), truth).item())]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": ()}, "levels must be one or more numbers from 1 to 20"),
        ({"levels": (0,)}, "levels must be one or more numbers from 1 to 20"),
        ({"atoms": ("cubes",)}, "atoms must be one of cube, .*did you mean 'cube'"),
        ({"atoms": ()}, "atoms and operators must not be empty"),
        ({"operators": "+%"}, "operators must be one of"),
        ({"reward": "exakt"}, "reward must be one of continuous, exact, got 'exakt'; did you mean 'exact'"),
        ({"test_fraction": 1.0}, "test_fraction must be < 1"),
        ({"test_fraction": -0.1}, "test_fraction must be >= 0"),
        ({"horizon": 17}, "horizon must be from 2 to 16, got 17"),
        ({"n_problems": 0}, "n_problems must be >= 1"),
        ({"max_integer": 0}, "max_integer must be >= 1"),
    ],
)
def test_settings_out_of_range_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Arithmetic(**options)


def test_more_problems_than_there_are_is_an_error_that_says_how_many_were_found() -> None:
    with pytest.raises(ValueError, match="found 4 of 5 with levels"):
        _ = Arithmetic(levels=(1,), operators="+", max_integer=1, n_problems=5).problems
