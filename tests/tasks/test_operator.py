from __future__ import annotations

import pytest
import torch

from toykit.tasks import Operator
from toykit.tasks.operator import ASK, PLUS

TASK = Operator()
RESULTS = (lambda a, b: (a + b) % 10, lambda a, b: (a - b) % 10, lambda a, b: (a * b) % 10)


def test_sixty_train_and_forty_held_out_prompts_are_all_pairs_of_digits() -> None:
    train, test = TASK.prompts("train"), TASK.prompts("test")
    assert (len(train), len(test)) == (60, 40)
    assert train.ids.tolist() + test.ids.tolist() == list(range(100))
    every = torch.cat([train.tokens, test.tokens])
    assert bool((every[:, 1] == ASK).all())
    assert {(a, b) for a, _, b in every.tolist()} == {(a, b) for a in range(10) for b in range(10)}


def test_only_the_hidden_operator_with_its_result_is_right() -> None:
    tree = TASK.tree
    for split in ("train", "test"):
        prompts = TASK.prompts(split)
        shape = (len(prompts), tree.n_leaves, 2)
        scores = TASK.score(prompts.ids, tree.tokens.expand(shape), torch.ones(shape, dtype=torch.bool))
        assert scores.sum(1).tolist() == [1.0] * len(prompts)
        for i, (a, _, b), leaf in zip(prompts.ids.tolist(), prompts.tokens.tolist(), scores.argmax(1), strict=True):
            hidden = int(TASK.operators[i])
            assert tree.tokens[leaf].tolist() == [PLUS + hidden, RESULTS[hidden](a, b)]


def test_a_cut_completion_is_wrong() -> None:
    right = TASK.right[:1, None]
    assert TASK.score(torch.tensor([0]), right, torch.tensor([[[True, True]]])).item() == 1.0
    assert TASK.score(torch.tensor([0]), right, torch.tensor([[[True, False]]])).item() == 0.0


def test_hidden_operators_have_the_probabilities_asked_for() -> None:
    counts = sum(Operator(seed=seed).operators.bincount(minlength=3) for seed in range(50)) / 5000
    for share, p in zip(counts.tolist(), (0.6, 0.3, 0.1), strict=True):
        assert share == pytest.approx(p, abs=4 * (p * (1 - p) / 5000) ** 0.5)
    assert Operator(probabilities=(0.0, 0.0, 1.0)).operators.tolist() == [2] * 100


def test_the_corpus_draws_operators_anew_on_all_prompts_with_right_results() -> None:
    prompts, completions, mask = TASK.corpus(20_000, torch.Generator().manual_seed(0))
    assert bool(mask.all())
    assert len(prompts.ids.unique()) == 100
    operators, a, b = completions[:, 0] - PLUS, prompts.tokens[:, 0], prompts.tokens[:, 2]
    assert torch.equal(
        completions[:, 1], torch.stack([a + b, a - b, a * b], 1).gather(1, operators[:, None])[:, 0] % 10
    )
    for share, p in zip((operators.bincount() / 20_000).tolist(), (0.6, 0.3, 0.1), strict=True):
        assert share == pytest.approx(p, abs=4 * (p * (1 - p) / 20_000) ** 0.5)


def test_the_seed_fixes_operators_and_split() -> None:
    assert torch.equal(Operator(seed=3).right, Operator(seed=3).right)
    assert not torch.equal(Operator(seed=3).prompts().tokens, Operator(seed=4).prompts().tokens)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probabilities": (0.5, 0.5)}, "probabilities must be three numbers >= 0 with sum 1"),
        ({"probabilities": (0.5, 0.6, -0.1)}, "probabilities must be three numbers >= 0 with sum 1"),
        ({"probabilities": (0.5, 0.5, float("nan"))}, "probabilities must be three numbers >= 0 with sum 1"),
        ({"probabilities": (0.5, 0.4, 0.2)}, "probabilities must be three numbers >= 0 with sum 1"),
        ({"n_train": 100}, "n_train must be from 1 to 99, got 100"),
    ],
)
def test_settings_out_of_range_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Operator(**options)
