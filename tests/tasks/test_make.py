from __future__ import annotations

import pytest

import toykit.tasks
from toykit.tasks import NAMES, Bandit, ChainSum, JsonlTask, constructor, make


def test_every_public_name_is_there() -> None:
    assert all(hasattr(toykit.tasks, name) for name in toykit.tasks.__all__)
    assert set(NAMES) >= {"bandit", "tree", "chain_sum", "operator", "letters", "arithmetic", "programs"}


def test_options_go_to_the_constructor() -> None:
    assert make("chain_sum", n_train=10, n_test=5) == ChainSum(n_train=10, n_test=5)
    bandit = make("bandit", rewards=[[1.0, 0.0]])
    assert isinstance(bandit, Bandit) and bandit.rewards.tolist() == [[1.0, 0.0]]


def test_an_unknown_task_or_option_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="task must be one of .*, got 'chainsum'; did you mean 'chain_sum'"):
        make("chainsum")
    with pytest.raises(ValueError, match="option of task letters must be one of .*; did you mean 'reward'"):
        make("letters", rewards="vowels")


def test_a_jsonl_task_needs_a_tokenizer() -> None:
    with pytest.raises(ValueError, match="tokenizer must be given for the task problems.jsonl"):
        make("problems.jsonl")


def test_the_constructor_of_a_name_has_the_options_that_make_takes() -> None:
    assert constructor("chain_sum") is ChainSum
    assert constructor("some/file.jsonl") == JsonlTask.load
    with pytest.raises(ValueError, match="task must be one of .*, got 'tre'; did you mean 'tree'"):
        constructor("tre")
