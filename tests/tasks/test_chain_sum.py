from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from toykit.tasks import ChainSum
from toykit.tasks.chain_sum import AGAIN, ANSWER, BOS, DIRECT, EOS, EQUALS, PAD, RECHECK, SLIP

SMALL = ChainSum(n_digits=2, n_train=80, n_test=20)


def encoded(task: ChainSum, completions: list[str]) -> tuple[Tensor, Tensor]:
    rows = [task.vocab.encode(text) for text in completions]
    tokens = torch.tensor([row + [PAD] * (task.horizon - len(row)) for row in rows])
    return tokens, torch.arange(task.horizon) < torch.tensor([[len(row)] for row in rows])


def reward_by_hand(prompt: list[int], completion: list[int]) -> float:
    digits = [token for token in prompt if token < 10]
    return float(completion[-3:] == [ANSWER, sum(digits) % 10, EOS])


def test_the_vocabulary_has_sixteen_tokens() -> None:
    assert ChainSum.vocab.size == 16
    assert [ChainSum.vocab.tokens[i] for i in (BOS, EOS, EQUALS, ANSWER, RECHECK, PAD)] == [
        "<bos>",
        "<eos>",
        "=",
        "A",
        "R",
        "<pad>",
    ]


def test_prompts_are_begin_digits_equals_and_all_different() -> None:
    task = ChainSum(n_train=300, n_test=100)
    every = torch.cat([task.prompts("train").tokens, task.prompts("test").tokens])
    assert every.shape == (400, 6)
    assert len(every.unique(dim=0)) == 400
    assert bool((every[:, 0] == BOS).all() and (every[:, -1] == EQUALS).all() and (every[:, 1:-1] < 10).all())


def test_right_is_the_digit_after_the_last_answer_mark_before_the_stop_token() -> None:
    prompts = SMALL.prompts()
    d1, d2 = prompts.tokens[0, 1:3].tolist()
    s, wrong = (d1 + d2) % 10, (d1 + d2 + 1) % 10
    completions = {
        f"A {s} <eos>": 1,
        f"{d1} {s} R {s} A {s} <eos>": 1,
        f"A {wrong} A {s} <eos>": 1,
        f"A {s} A {wrong} <eos>": 0,
        f"A {wrong} <eos>": 0,
        f"A {s}": 0,
        f"R {s} <eos>": 0,
        f"{s} <eos>": 0,
        "<eos>": 0,
        f"A {s} R <eos>": 0,
    }
    tokens, mask = encoded(SMALL, list(completions))
    assert SMALL.score(prompts.ids[:1], tokens[None], mask[None]).tolist() == [list(map(float, completions.values()))]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 99), st.lists(st.lists(st.integers(0, 15), min_size=1, max_size=20), min_size=1, max_size=8))
def test_scores_agree_with_reading_each_completion(row: int, group: list[list[int]]) -> None:
    group = [[*c[:17], ANSWER, sum(c) % 10, EOS] if i % 2 else c for i, c in enumerate(group)]
    prompts = SMALL.prompts("train") if row < 80 else SMALL.prompts("test")
    prompt = prompts[torch.tensor([row % 80])]
    tokens = torch.tensor([c + [PAD] * (20 - len(c)) for c in group])
    mask = torch.arange(20) < torch.tensor([[len(c)] for c in group])
    expected = [reward_by_hand(prompt.tokens[0].tolist(), c) for c in group]
    assert SMALL.score(prompt.ids, tokens[None], mask[None]).tolist() == [expected]


def test_the_corpus_has_the_mixture_that_it_states() -> None:
    task, n = ChainSum(), 20_000
    prompts, tokens, mask = task.corpus(n, torch.Generator().manual_seed(0))
    lengths, right = mask.sum(1), task.score(prompts.ids, tokens[:, None], mask[:, None])[:, 0]
    direct = lengths == 3
    assert direct.double().mean().item() == pytest.approx(DIRECT, abs=4 * (0.21 / n) ** 0.5)
    assert bool((right[direct] == 1).all()), "a direct answer is right"
    rechecks = (lengths[~direct] - 7) // 2
    assert set(lengths.tolist()) == {3, 7, 9, 11, 13, 15, 17, 19}
    for k in range(1, 4):
        assert (rechecks >= k).double().mean().item() == pytest.approx(AGAIN**k, abs=4 * (0.25 / (0.7 * n)) ** 0.5)
    first = tokens[~direct, 0] != prompts.tokens[~direct, 1]
    assert first.double().mean().item() == pytest.approx(SLIP, abs=4 * (SLIP / (0.7 * n)) ** 0.5)
    # no slip in four sums, or slips whose shifts cancel (about one pair of slips in nine)
    assert right[~direct].mean().item() == pytest.approx((1 - SLIP) ** 4 + 6 * SLIP**2 / 9, abs=0.015)


def test_a_chain_is_running_sums_then_rechecks_of_the_last_one_then_the_answer() -> None:
    task = ChainSum()
    prompts, tokens, mask = task.corpus(500, torch.Generator().manual_seed(1))
    slips = []
    for prompt, row, kept in zip(prompts.tokens.tolist(), tokens.tolist(), mask.tolist(), strict=True):
        row = [t for t, k in zip(row, kept, strict=True) if k]
        assert row[-3] == ANSWER and row[-1] == EOS
        if len(row) == 3:
            continue
        sums, s = row[:4], row[3]
        assert row[4:-3] == [RECHECK, s] * ((len(row) - 7) // 2)
        assert row[-2] == s
        assert all(t < 10 for t in sums)
        slips += [(b - a - d) % 10 != 0 for a, b, d in zip([0, *sums], sums, prompt[1:5], strict=False)]
    assert sum(slips) / len(slips) == pytest.approx(SLIP, abs=4 * (SLIP / len(slips)) ** 0.5)


def test_the_corpus_holds_train_prompts_only() -> None:
    prompts, _, _ = SMALL.corpus(400, torch.Generator().manual_seed(0))
    train, test = (set(map(tuple, SMALL.prompts(s).tokens.tolist())) for s in ("train", "test"))
    seen = set(map(tuple, prompts.tokens.tolist()))
    assert seen <= train and not seen & test
    assert torch.equal(SMALL.prompts()[prompts.ids].tokens, prompts.tokens)


def test_prompts_of_several_lengths_share_the_task_and_short_ones_are_all_used_up() -> None:
    task = ChainSum(n_digits=(2, 5), n_train=300, n_test=100)
    sizes = torch.cat([task.prompts(s).mask.sum(1) - 2 for s in ("train", "test")])
    assert (sizes == 2).sum().item() == 100
    assert (sizes == 5).sum().item() == 300
    prompts, tokens, mask = task.corpus(200, torch.Generator().manual_seed(0))
    right = task.score(prompts.ids, tokens[:, None], mask[:, None])
    assert bool((right[mask.sum(1) == 3] == 1).all())
    chains = mask.sum(1) > 3
    assert bool(((mask.sum(1)[chains] - (prompts.mask.sum(1)[chains] - 2) - 3) % 2 == 0).all())


def test_ten_digits_need_no_list_of_all_prompts() -> None:
    task = ChainSum(n_digits=10, n_train=50, n_test=10, horizon=96)
    assert len(torch.cat([task.prompts(s).tokens for s in ("train", "test")]).unique(dim=0)) == 60


def test_the_same_seed_gives_the_same_prompts() -> None:
    a, b, c = (ChainSum(n_train=100, n_test=10, seed=s).prompts().tokens for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_digits": 0}, "n_digits must be one or more numbers from 1 to 18, got 0"),
        ({"n_digits": ()}, "n_digits must be one or more numbers"),
        ({"n_digits": 2}, r"n_train \+ n_test must be at most the 100 different prompts, got 8704"),
        ({"horizon": 6}, "horizon must be >= 7, got 6"),
        ({"n_train": 0}, "n_train must be >= 1, got 0"),
        ({"n_test": 0}, "n_test must be >= 1, got 0"),
    ],
)
def test_sizes_out_of_range_are_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ChainSum(**options)
