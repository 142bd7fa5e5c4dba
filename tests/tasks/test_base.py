from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toykit.tasks import NAMES, Task, make
from toykit.tasks.base import Prompts, Vocab, split_of, texts

WORDS = Vocab(("the", "cat", "dog", "<eos>", "<pad>"), pad=4, stop=(3,))
CHARACTERS = Vocab(tuple("abc "), sep="")


@given(st.lists(st.integers(0, 4), min_size=1))
def test_encode_inverts_decode_for_words(ids: list[int]) -> None:
    assert WORDS.encode(WORDS.decode(ids)) == ids


@given(st.lists(st.integers(0, 3)))
def test_encode_inverts_decode_for_characters(ids: list[int]) -> None:
    assert CHARACTERS.encode(CHARACTERS.decode(ids)) == ids


def test_an_empty_text_has_no_tokens() -> None:
    assert WORDS.encode("") == [] == WORDS.encode(WORDS.decode([]))


def test_encode_names_the_unknown_word() -> None:
    with pytest.raises(ValueError, match="'bird', which is not one of the 5 tokens"):
        WORDS.encode("the bird")


def test_prompts_are_left_padded_and_keep_their_ids_when_rows_are_taken() -> None:
    prompts = Prompts.from_lists([[1, 2, 3], [4]], pad=9, first_id=5)
    assert prompts.tokens.tolist() == [[1, 2, 3], [9, 9, 4]]
    assert prompts.mask.tolist() == [[True, True, True], [False, False, True]]
    assert len(prompts) == 2
    assert prompts[torch.tensor([1, 1])].ids.tolist() == [6, 6]
    assert prompts[1:].tokens.tolist() == [[9, 9, 4]]


@pytest.mark.parametrize("lists", [[], [[1], []]])
def test_no_prompt_and_an_empty_prompt_are_refused(lists) -> None:
    with pytest.raises(ValueError, match="prompts must"):
        Prompts.from_lists(lists)


def test_an_unknown_split_is_named_with_those_there_are() -> None:
    prompts = Prompts.from_lists([[1]])
    with pytest.raises(ValueError, match="split must be one of test, train, got 'tran'; did you mean 'train'"):
        split_of({"train": prompts, "test": prompts}, "tran")


def test_texts_drop_masked_tokens_and_the_stop_token() -> None:
    completions = torch.tensor([[[0, 1, 3, 4], [0, 2, 2, 2]]])
    mask = torch.tensor([[[True, True, True, False], [True, True, True, True]]])
    assert texts(WORDS, completions, mask) == [["the cat", "the dog dog dog"]]
    assert texts(WORDS, completions, mask, keep_stop=True) == [["the cat <eos>", "the dog dog dog"]]


@pytest.mark.parametrize("name", NAMES)
def test_every_task_meets_the_protocol(name: str) -> None:
    task = make(name)
    assert isinstance(task, Task)
    for split in ("train", "test"):
        prompts = task.prompts(split)
        assert len(prompts) == len(prompts.ids.unique()) >= 1
        assert prompts.tokens.dtype == torch.int64
        assert prompts.mask.dtype == torch.bool
        assert bool((prompts.tokens < task.vocab.size).all())
        assert bool(prompts.mask[:, -1].all())
    with pytest.raises(ValueError, match="split must be one of test, train"):
        task.prompts("valid")


@pytest.mark.parametrize("name", NAMES)
def test_every_task_scores_a_group_with_one_float64_a_completion(name: str) -> None:
    task = make(name)
    n_actions = task.vocab.size if task.tree is None else task.tree.n_actions
    ids = task.prompts().ids[:3]
    generator = torch.Generator().manual_seed(0)
    completions = torch.randint(n_actions, (len(ids), 5, task.horizon), generator=generator)
    rewards = task.score(ids, completions, torch.ones_like(completions, dtype=torch.bool))
    assert rewards.dtype == torch.float64
    assert rewards.shape == (len(ids), 5)
    assert bool(rewards.isfinite().all())
    # each completion is scored by itself and for its own prompt
    alone = task.score(ids[-1:], completions[-1:, :1], torch.ones(1, 1, task.horizon, dtype=torch.bool))
    assert alone.item() == rewards[-1, 0].item()


@pytest.mark.parametrize("name", ["arithmetic", "chain_sum", "letters", "operator", "programs"])
def test_a_corpus_is_fixed_by_its_generator_and_fits_the_task(name: str) -> None:
    task = make(name)
    first, again = (task.corpus(50, torch.Generator().manual_seed(3)) for _ in range(2))
    prompts, completions, mask = first
    assert torch.equal(completions, again[1])
    assert torch.equal(prompts.tokens, again[0].tokens)
    assert len(prompts) == 50
    assert completions.shape == mask.shape == (50, task.horizon)
    assert bool((mask[:, 1:] <= mask[:, :-1]).all()), "completions are right-padded"
    known = {tuple(row) for split in ("train", "test") for row in task.prompts(split).tokens.tolist()}
    assert {tuple(row) for row in prompts.tokens.tolist()} <= known
