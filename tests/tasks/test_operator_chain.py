from __future__ import annotations

import pytest
import torch

from toykit.tasks import OperatorChain, make
from toykit.tasks.operator_chain import worked

TASK = OperatorChain()


def test_a_chain_by_hand() -> None:
    """7 - 9 = 8, 8 * 3 = 4, 4 + 8 = 2, all mod 10; operators are the tokens 10, 11 and 12."""
    found = worked(torch.tensor([[7, 9, 3, 8]]), torch.tensor([[1, 2, 0]]), 10)
    assert found.tolist() == [[11, 8, 12, 4, 10, 2]]
    assert OperatorChain.vocab.decode(found[0].tolist()) == "- 8 * 4 + 2"


def test_prompts_are_digits_with_questions_between_and_none_is_in_both_splits() -> None:
    train, test = TASK.prompts("train"), TASK.prompts("test")
    assert train.ids.tolist() + test.ids.tolist() == list(range(168))
    every = torch.cat([train.tokens, test.tokens])
    assert bool((every[:, 1::2] == 13).all()) and bool((every[:, ::2] < 5).all())
    assert every.shape == (168, 7) and len(every.unique(dim=0)) == 168
    assert torch.equal(worked(every[:, ::2], TASK.operators, 5), TASK.right)


def test_only_the_right_completion_whole_is_right() -> None:
    ids, mask = torch.arange(168), torch.ones(168, 2, 6, dtype=torch.bool)
    wrong = TASK.right.clone()
    wrong[torch.arange(168), torch.arange(168) % 6] += 1
    pair = torch.stack([TASK.right, wrong], 1)
    assert TASK.score(ids, pair, mask).tolist() == [[1.0, 0.0]] * 168
    mask[:, 0, 5] = False
    assert not TASK.score(ids, pair, mask).any() and not TASK.score(ids, pair[..., :5], mask[..., :5]).any()
    assert TASK.solutions(ids[:2]) == [[TASK.right[0].tolist()], [TASK.right[1].tolist()]]


def test_hidden_operators_are_alike_often_and_those_of_the_corpus_by_habit() -> None:
    hidden = OperatorChain(modulus=10, n_train=4000, n_test=4000).operators.flatten().bincount() / 24_000
    prompts, completions, mask = TASK.corpus(8000, torch.Generator().manual_seed(0))
    assert TASK.corpus(1, torch.Generator().manual_seed(0))[1].shape == (1, completions.shape[1])
    shown = completions[:, ::2] - 10
    assert bool(mask.all()) and torch.equal(worked(prompts.tokens[:, ::2], shown, 5), completions)
    for shares, expected in ((hidden, (1 / 3,) * 3), (shown.flatten().bincount() / 24_000, TASK.habit)):
        for share, p in zip(shares.tolist(), expected, strict=True):
            assert share == pytest.approx(p, abs=4 * (p * (1 - p) / 24_000) ** 0.5)


def test_the_seed_fixes_prompts_and_operators_and_options_the_length() -> None:
    assert torch.equal(OperatorChain(seed=3).right, OperatorChain(seed=3).right)
    assert not torch.equal(OperatorChain(seed=3).prompts().tokens, OperatorChain(seed=4).prompts().tokens)
    short = make("operator_chain", length=1, modulus=10, n_train=60, n_test=40)
    assert short.horizon == 2 and short.tree.n_leaves == 196 and short.right.shape == (100, 2)
    assert short.prompts().tokens.shape == (60, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"habit": (0.5, 0.5)}, "habit must be three numbers >= 0 with sum 1"),
        ({"habit": (0.5, 0.6, -0.1)}, "habit must be three numbers >= 0 with sum 1"),
        ({"length": 0}, "length must be from 1 to 7, got 0"),
        ({"n_test": 0}, "n_test must be >= 1, got 0"),
        ({"modulus": 11}, "modulus must be from 2 to 10, got 11"),
        ({"length": 1, "n_train": 24, "n_test": 2}, "n_train \\+ n_test must be at most 25, got 24 \\+ 2"),
    ],
)
def test_settings_out_of_range_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OperatorChain(**options)
