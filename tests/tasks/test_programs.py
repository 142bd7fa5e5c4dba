"""The task of writing programs: its prompts, rewards, right programs, corpus, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from toykit.policies import GPT, GPTConfig
from toykit.rollouts import Sampled, token_logps
from toykit.tasks import Programs, make
from toykit.tasks.stack_machine import END, run

TASK = Programs()


def score(task: Programs, prompt: int, *programs: str, method: str = "score") -> list:
    """What a method says of programs for one prompt."""
    rows = [task.vocab.encode(program) for program in programs]
    longest = max(map(len, rows))
    completions = torch.tensor([[row + [task.vocab.pad] * (longest - len(row)) for row in rows]])
    mask = torch.tensor([[[i < len(row) for i in range(longest)] for row in rows]])
    return getattr(task, method)(torch.tensor([prompt]), completions, mask)[0].tolist()


def prompt_of(task: Programs, *outputs: int) -> int:
    return task.functions.outputs.tolist().index(list(outputs))


def test_the_forty_eight_prompts_stand_from_many_programs_to_few():
    counts = TASK.functions.counts
    assert (len(counts), int(counts[0]), int(counts[-1]), int(counts.sum())) == (48, 52, 2, 472)
    order = list(zip((-counts).tolist(), TASK.functions.outputs.tolist(), strict=True))
    assert order == sorted(order)
    assert TASK.functions.outputs[0].tolist() == [-2, -1, 0, 1, 2, 3]  # x


def test_prompts_show_the_outputs_clipped_and_differ():
    every = torch.cat([TASK.prompts(split).tokens for split in ("train", "test")])
    ids = torch.cat([TASK.prompts(split).ids for split in ("train", "test")])
    shown = [[int(TASK.vocab.tokens[i]) for i in row] for row in every.tolist()]
    assert shown == TASK.functions.outputs[ids].clamp(-9, 9).tolist()
    assert len({tuple(row) for row in shown}) == 48
    assert int(TASK.functions.outputs.max()) == 81


def test_every_fourth_prompt_is_held_out():
    train, test = TASK.prompts("train"), TASK.prompts("test")
    assert test.ids.tolist() == list(range(3, 48, 4))
    assert sorted(train.ids.tolist() + test.ids.tolist()) == list(range(48))


def test_right_are_the_472_programs_of_the_prompts():
    tokens, mask, known = TASK.right
    assert tokens.shape == mask.shape == (48, 52, 6)
    assert torch.equal(known.sum(1), TASK.functions.counts)
    assert torch.equal(mask.any(-1), known) and bool((tokens[~mask] == TASK.vocab.pad).all())
    assert bool(((tokens == END).sum(-1) == known.long()).all())  # each has its `end`, the other rows have none
    assert len(tokens[known].unique(dim=0)) == 472


@pytest.mark.parametrize("task", [TASK, Programs(window=5), Programs(window=5, needs_end=True), Programs(length=5)])
def test_right_is_what_the_reward_pays_and_nothing_else(task):
    """Scored over every completion of the window, for some of the prompts."""
    ids = torch.tensor([0, 5, len(task.functions.counts) - 1])
    every = (len(ids), *task.tree.tokens.shape)
    paid = task.score(ids, task.tree.tokens.expand(every), task.tree.mask.expand(every))
    tokens, mask, known = task.right
    assert torch.equal(paid.sum(1), known[ids].sum(1).double())
    again = task.score(torch.arange(len(known)), tokens, mask)
    assert bool((again[known] == 1).all())
    # the mass of the right programs under a policy that draws all words alike
    lengths = (mask.sum(-1) * -torch.tensor(8.0, dtype=torch.float64).log()).exp()
    chance = (task.tree.mask.sum(-1) * -torch.tensor(8.0, dtype=torch.float64).log()).exp()
    assert chance.sum().item() == pytest.approx(1.0)
    assert torch.allclose(torch.where(known, lengths, 0.0).sum(-1)[ids], paid @ chance)


def test_a_shorter_window_keeps_the_prompts_and_takes_programs_away():
    """Of the 472 programs 17 end within five tokens and 455 take six, whose first five are judged as they are."""
    cut, strict = Programs(window=5), Programs(window=5, needs_end=True)
    for task in (cut, strict):
        assert torch.equal(task.prompts().tokens, TASK.prompts().tokens) and task.horizon == 5
    found = [(int(known.sum()), int(known.any(1).sum())) for _, _, known in (cut.right, strict.right)]
    assert found == [(17 + 455, 48), (17, 9)]
    twice = prompt_of(TASK, -3, -1, 1, 3, 5, 7)  # 2 x + 1
    assert score(cut, twice, "x x + 1 +", "x x + 1 + end") == [1.0, 1.0]
    assert score(strict, twice, "x x + 1 +", "x x + 1 + end") == [0.0, 0.0]
    assert score(TASK, twice, "x x + 1 + end", "x x + 1 + end x") == [1.0, 1.0]


def test_rewards_by_hand():
    """The outputs of x * x are 4 1 0 1 4 9: the constant 1 meets two of six, x meets 0, 1."""
    square, fraction = prompt_of(TASK, 4, 1, 0, 1, 4, 9), Programs(reward="fraction")
    programs = ("x dup * end", "x x * end", "1 end", "x end", "x x end", "+", "end", "x dup * 9")
    assert score(TASK, square, *programs) == [1, 1, 0, 0, 0, 0, 0, 0]
    assert score(fraction, square, *programs) == pytest.approx([1, 1, 2 / 6, 2 / 6, 0, 0, 0, 0])
    assert score(fraction, square, "1 end", method="passed") == [[False, True, False, True, False, False]]


def test_no_constant_passes_though_some_meet_a_few_tests():
    tree = TASK.tree
    outputs, ok = run(tree.tokens, TASK.inputs, tree.mask)
    constant = ok & (outputs == outputs[:, :1]).all(1)
    every = (48, int(constant.sum()), 6)
    assert every[1] == 903 - 472
    completions, mask = tree.tokens[constant].expand(every), tree.mask[constant].expand(every)
    ids = torch.arange(48)
    assert not bool(TASK.score(ids, completions, mask).any())
    assert bool(Programs(reward="fraction").score(ids, completions, mask).any())


def test_six_inputs_decide_every_function_and_three_do_not():
    """Programs of six tokens are polynomials of degree four at most, which six points decide: all generalise."""
    tokens, mask, known = TASK.right
    ids = torch.arange(48)
    assert torch.equal(TASK.generalises(ids, tokens, mask), known)
    few = Programs(inputs=(-1, 0, 1), held_out=(2, 3))
    line = prompt_of(few, -1, 0, 1)
    programs = ("x end", "x dup dup * * end", "1 end")
    assert score(few, line, *programs) == [1, 1, 0]
    assert score(few, line, *programs, method="generalises") == [True, False, False]


def test_the_corpus_is_right_as_often_as_it_is_skilled():
    n, draw = 20_000, torch.Generator().manual_seed(0)
    weight = torch.where(TASK.hard, 2.0, 1.0) * TASK.functions.counts
    share = weight.double() / weight.sum()
    for skill in (0.0, 0.4, 1.0):
        task = Programs(skill=skill, typo=0.0)
        prompts, completions, mask = task.corpus(n, draw)
        right = task.score(prompts.ids, completions[:, None], mask[:, None])[:, 0]
        expected = skill + (1 - skill) * float((share**2).sum())  # a blind one is right where both drew one function
        assert right.mean().item() == pytest.approx(expected, abs=4 * (expected * (1 - expected) / n) ** 0.5)
        asked = prompts.ids.bincount(minlength=48) / n
        assert torch.allclose(asked.double(), share, atol=4 * float((share * (1 - share) / n).max()) ** 0.5)


def test_hard_functions_count_as_often_as_they_are_told():
    assert TASK.hard.tolist() == (TASK.functions.counts <= 4).tolist() and int(TASK.hard.sum()) == 18
    n = 20_000
    for factor in (1.0, 6.0):
        prompts, _, _ = Programs(hard_factor=factor).corpus(n, torch.Generator().manual_seed(1))
        pairs = TASK.functions.counts
        hard = float(factor * pairs[TASK.hard].sum())
        expected = hard / (hard + float(pairs[~TASK.hard].sum()))
        found = TASK.hard[prompts.ids].double().mean().item()
        assert found == pytest.approx(expected, abs=4 * (expected * (1 - expected) / n) ** 0.5)


def test_slips_replace_words_and_leave_the_end_where_it_is():
    """A slip draws one of the seven words that are not `end`: one in seven draws the word that stood there."""
    n = 10_000
    clean, slipped = (Programs(typo=typo).corpus(n, torch.Generator().manual_seed(2)) for typo in (0.0, 0.3))
    assert torch.equal(clean[2], slipped[2]) and torch.equal(clean[0].ids, slipped[0].ids)
    assert torch.equal(clean[1] == END, slipped[1] == END)
    words = clean[2] & (clean[1] != END)
    changed = (clean[1] != slipped[1])[words].double()
    expected = 0.3 * 6 / 7
    assert changed.mean().item() == pytest.approx(expected, abs=4 * (expected * (1 - expected) / len(changed)) ** 0.5)
    assert bool((slipped[1][~slipped[2]] == TASK.vocab.pad).all())


def test_a_window_cuts_the_corpus():
    task = Programs(window=5, typo=0.0)
    _, completions, mask = task.corpus(500, torch.Generator().manual_seed(0))
    _, whole, seen = Programs(typo=0.0).corpus(500, torch.Generator().manual_seed(0))
    assert torch.equal(completions, whole[:, :5]) and torch.equal(mask, seen[:, :5])


def test_the_larger_language_has_thousands_of_functions_of_twelve_tokens():
    task = Programs(length=12, extra=True, drawn=60_000)
    assert task.vocab.tokens[:12] == ("x", "1", "2", "+", "-", "*", "dup", "end", "swap", "max", "mod", "-9")
    assert len(task.functions.counts) > 2000
    assert len(task.prompts().tokens.unique(dim=0)) == len(task.prompts())
    found = task.functions
    outputs, ok = run(found.programs, task.inputs, extra=True)
    assert bool(ok.all()) and torch.equal(outputs, found.outputs[found.of])
    assert torch.equal(found.programs, Programs(length=12, extra=True, drawn=60_000).functions.programs)
    _, completions, mask = task.corpus(200, torch.Generator().manual_seed(0))
    assert completions.shape == (200, 12) and bool((completions < task.vocab.size).all())
    assert set(completions[mask].tolist()) == set(range(11))
    with pytest.raises(ValueError, match="tree is too large to enumerate"):
        _ = task.right


def test_in_the_larger_language_a_prompt_is_answered_by_hand():
    task = Programs(length=5, extra=True)
    absolute = prompt_of(task, 1, 1, 1, 1, 2, 3)  # max(x, 1)
    assert score(task, absolute, "x 1 max end", "1 x max end", "x 1 mod end") == [1, 1, 0]


def test_the_chance_of_a_policy_is_the_mass_of_its_right_programs():
    """Exactly, against the share of many samples."""
    policy = GPT(GPTConfig(TASK.vocab.size, width=16, hidden=16, heads=2), seed=0)
    prompts = TASK.prompts()[:2]
    tokens, mask, known = (x[prompts.ids] for x in TASK.right)
    with torch.no_grad():
        logp = token_logps(policy, prompts.tokens, prompts.mask, tokens, mask).sum(-1).double()
    exact = torch.where(known, logp.exp(), 0.0).sum(-1)
    n = 20_000
    sampled = Sampled(n)(policy, TASK, prompts, torch.Generator().manual_seed(0)).rewards.mean(-1)
    for p, share in zip(exact.tolist(), sampled.tolist(), strict=True):
        assert p > 0 and share == pytest.approx(p, abs=4 * (p * (1 - p) / n) ** 0.5 + 1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward": "most"}, "reward must be one of all, fraction, got 'most'"),
        ({"length": 3}, "length must be >= 4, got 3"),
        ({"length": 8}, "length must be at most 7 where all programs are run, got 8; set drawn"),
        ({"length": 7, "extra": True}, "length must be at most 6 where"),
        ({"window": 7}, "window must be from 1 to the length 6, got 7"),
        ({"inputs": (0, 1)}, r"inputs must be three or more .*, got \(0, 1\) and \(-4, -3, 4, 5\)"),
        ({"inputs": (0, 1, 4)}, "inputs must be three or more .* all different"),
        ({"held_out": ()}, "held_out one or more"),
        ({"inputs": (0, 1, 1_000_001)}, "inputs must be from -1000000 to 1000000"),
        ({"typo": 1.5}, "typo must be from 0 to 1, got 1.5"),
        ({"skill": -0.1}, "skill must be from 0 to 1, got -0.1"),
        ({"hard_factor": 0.5}, "hard_factor must be >= 1, got 0.5"),
        ({"clip": 0}, "clip must be >= 1, got 0"),
        ({"drawn": 0}, "drawn must be >= 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Programs(**options)
    assert make("programs", window=5) == Programs(window=5)
