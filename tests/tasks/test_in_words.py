"""A task in the words of another tokenizer: rewards are those of the task, for what is written in its words."""

from __future__ import annotations

import pytest
import torch

from toykit.tasks import Arithmetic, ChainSum, Letters, Operator, TokenizerVocab, Vocab, make
from toykit.tasks.in_words import InWords, for_tokenizer
from toykit.tasks.tokenizer import tokenizer_of

CHARACTERS = Vocab(("<pad>", "<end>", *"=?+-*/^(). \n", *"0123456789", *"ARabcdefghiklmnoprstu"), 0, (1,), sep="")
CHAIN = ChainSum(n_digits=(1, 2), n_train=20, n_test=5, horizon=7)


def vocab(of: Vocab = CHARACTERS) -> TokenizerVocab:
    return TokenizerVocab(tokenizer_of(of))


def scored(task: InWords, prompt_id: int, *completions: str) -> list[float]:
    """Rewards of texts; one that ends in "." ends in the stop token."""
    rows = [task.vocab.encode(t.removesuffix(".")) + [1] * t.endswith(".") for t in completions]
    size = max(map(len, rows))
    tokens = torch.tensor([[row + [0] * (size - len(row)) for row in rows]])
    mask = torch.arange(size) < torch.tensor([len(row) for row in rows])[:, None]
    return task.score(torch.tensor([prompt_id]), tokens, mask[None])[0].tolist()


def test_prompts_are_the_tasks_own_as_texts_with_their_ids():
    task = InWords(CHAIN, vocab())
    for split in ("train", "test"):
        ours, theirs = task.prompts(split), CHAIN.prompts(split)
        assert torch.equal(ours.ids, theirs.ids) and ours.mask[:, -1].all() and not ours.mask.all()
        for own, given, mask, seen in zip(ours.tokens, theirs.tokens, ours.mask, theirs.mask, strict=True):
            assert "<bos> " + task.vocab.decode(own[mask].tolist()) == CHAIN.vocab.decode(given[seen].tolist())
    assert task.horizon == 7 * 2  # a word is a space and a character
    with pytest.raises(ValueError, match="split must be one of test, train"):
        task.prompts("validation")


def test_a_chain_is_right_in_words_as_it_is_in_ids():
    task = InWords(CHAIN, vocab())
    (row,) = (CHAIN.prompts().ids == 3).nonzero()[0].tolist()
    digits = [d for d in CHAIN.prompts().tokens[row].tolist() if d < 10]
    right, wrong = sum(digits) % 10, (sum(digits) + 1) % 10
    assert scored(task, 3, f"A {right}.", f" A  {right}\n.", f"R {wrong} A {right}.") == [1.0, 1.0, 1.0]
    assert scored(task, 3, f"A {wrong}.", f"A {right}", f"A {right} .", f"A{right}.", "") == [0.0, 0.0, 1.0, 0.0, 0.0]
    assert scored(task, 3, f"so A {right}.", f"{'R 1 ' * 3}A {right}.") == [0.0, 0.0]  # no word of it; too long


def test_tasks_of_characters_and_tasks_without_a_stop_token():
    sums = InWords(Arithmetic(n_problems=20), vocab())
    answer = sums.task.answer(2)
    assert scored(sums, 2, answer + ".", f" {answer}.", answer, answer + "1.") == [1.0, 1.0, 0.0, 0.0]
    operator = InWords(Operator(), vocab())
    sign, digit = (operator.task.vocab.tokens[i] for i in operator.task.right[4].tolist())
    assert scored(operator, 4, f"{sign} {digit}.", f"{sign} {digit}", f"{digit} {sign}", sign) == [1.0, 1.0, 0.0, 0.0]
    assert scored(InWords(Letters(), vocab()), 0, "nanonini", "naanaa", "aA") == [0.5, 4 / 8, 0.0]


def test_a_tokenizer_with_the_tasks_ids_and_a_task_of_mere_ids_change_nothing():
    bigger = Vocab((*CHAIN.vocab.tokens, "more"), CHAIN.vocab.pad, CHAIN.vocab.stop)
    for of in (CHAIN.vocab, bigger):
        assert for_tokenizer(CHAIN, vocab(of)) is CHAIN
    assert isinstance(for_tokenizer(CHAIN, vocab()), InWords)
    bandit = make("bandit")
    assert for_tokenizer(bandit, vocab()) is bandit


def test_a_task_that_ends_with_a_stop_token_needs_one():
    endless = vocab(Vocab(CHARACTERS.tokens[2:], sep=""))
    with pytest.raises(ValueError, match="must have an end-of-sequence token for the task chain_sum, whose"):
        for_tokenizer(CHAIN, endless)
    task = for_tokenizer(Operator(), endless)
    assert isinstance(task, InWords) and task.vocab.stop == ()


def test_right_answers_in_words_are_right():
    for own in (CHAIN, Operator(), Arithmetic(n_problems=8)):
        task = InWords(own, vocab())
        ids = task.prompts().ids[:4]
        for i, rows in zip(ids, task.solutions(ids), strict=True):
            for row in rows:
                tokens = torch.tensor([[row]])
                assert len(row) <= task.horizon
                assert task.score(i[None], tokens, torch.ones_like(tokens, dtype=torch.bool)).tolist() == [[1.0]]
    assert InWords(Letters(), vocab()).solutions(torch.tensor([0])) == [[]]
