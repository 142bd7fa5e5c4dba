from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from toykit.rollouts.examples import Demonstrations, Labelled, Pairs, Steps, joined, moved, take


def fields(n: int = 3, g: int = 1, t: int = 2) -> dict[str, torch.Tensor]:
    ids = torch.arange(n)
    return {
        "prompts": ids[:, None],
        "prompt_mask": torch.ones(n, 1, dtype=torch.bool),
        "prompt_ids": ids,
        "completions": torch.arange(n * g * t).view(n, g, t),
        "mask": torch.ones(n, g, t, dtype=torch.bool),
        "weights": torch.full((n,), 1 / n, dtype=torch.float64),
    }


def labelled(**changes) -> Labelled:
    return Labelled(**(fields() | {"labels": torch.tensor([1.0, 0.0, 1.0])} | changes))


def test_shapes_and_numbers_are_checked():
    with pytest.raises(ValueError, match=r"completions must have shape \[N, 2, T\] with N >= 1, got \[3, 1, 2\]"):
        Pairs(**fields())
    with pytest.raises(ValueError, match=r"completions must have shape \[N, 1 or 2, T\] .*, got \[3, 3, 2\]"):
        Labelled(**fields(g=3), labels=torch.zeros(3))
    with pytest.raises(ValueError, match=r"mask must have shape \[3, 1, 2\], got \[3, 2\]"):
        Demonstrations(**(fields() | {"mask": torch.ones(3, 2, dtype=torch.bool)}))
    with pytest.raises(ValueError, match="prompts must have 3 rows as the completions, got 2"):
        one = torch.ones(2, 1, dtype=torch.int64)
        Demonstrations(**(fields() | {"prompts": one, "prompt_mask": one > 0}))
    with pytest.raises(ValueError, match="weights must be >= 0, got -1.0"):
        Demonstrations(**(fields() | {"weights": torch.tensor([1.0, -1.0, 1.0])}))
    with pytest.raises(ValueError, match=r"weights must be finite, got nan at index \[1\] \(prompt 1\)"):
        Demonstrations(**(fields() | {"weights": torch.tensor([0.5, float("nan"), 0.5])}))
    with pytest.raises(ValueError, match="labels must be finite, got inf"):
        labelled(labels=torch.tensor([0.0, float("inf"), 0.0]))
    with pytest.raises(ValueError, match=r"margins must have shape \[3\], got \[2\]"):
        Pairs(**fields(g=2), margins=torch.zeros(2))


def test_steps_end_inside_completions():
    ends = torch.tensor([[True, True], [False, True], [False, True]])
    made = Steps(**fields(), ends=ends, labels=torch.ones(3, 2))
    assert torch.equal(take(made, torch.tensor([0])).ends, ends[:1])
    with pytest.raises(ValueError, match="ends must hold a step in every completion, got none in row 1"):
        Steps(**fields(), ends=ends & torch.tensor([[True], [False], [True]]), labels=torch.ones(3, 2))
    with pytest.raises(ValueError, match="ends must be on tokens of the completions"):
        Steps(**(fields() | {"mask": torch.zeros(3, 1, 2, dtype=torch.bool)}), ends=ends, labels=torch.ones(3, 2))
    with pytest.raises(ValueError, match=r"labels must be in \[0, 1\] at the ends of steps"):
        Steps(**fields(), ends=ends, labels=torch.full((3, 2), 2.0))


def test_a_mismatched_completion_is_that_of_the_next_row_with_another_prompt():
    found = labelled(prompt_ids=torch.tensor([4, 4, 9]), ref_logp=torch.zeros(3, 1, 2)).mismatched()
    assert found.completions[:, 0, 0].tolist() == [0, 2, 4] and found.completions[:, 1, 0].tolist() == [4, 4, 0]
    assert found.ref_logp is None
    alike = labelled(prompt_ids=torch.tensor([4, 4, 4])).mismatched()
    assert alike.completions[:, 1, 0].tolist() == [2, 4, 0]  # one prompt: the next row
    round_the_end = labelled(prompt_ids=torch.tensor([4, 9, 4])).mismatched()
    assert round_the_end.completions[:, 1, 0].tolist() == [2, 4, 2]  # row 2 passes over row 0
    with pytest.raises(ValueError, match="rows must be at least 2 to be mismatched, got 1"):
        take(labelled(), slice(0, 1)).mismatched()


def test_rows_are_taken_moved_and_joined():
    one, two = labelled(), labelled(**fields(t=3))
    both = joined([one, two], [0.25, 0.75])
    assert both.weights.tolist() == pytest.approx([0.25 / 3] * 3 + [0.25] * 3)
    assert both.completions.shape == (6, 1, 3) and both.mask[0].tolist() == [[True, True, False]]
    assert both.labels.tolist() == [1, 0, 1, 1, 0, 1] and both.prompts.shape == (6, 1)
    part = take(both, torch.tensor([4]))
    assert part.labels.tolist() == [0] and torch.equal(part.completions, two.completions[1:2])
    assert moved(one, "cpu").labels.tolist() == one.labels.tolist()
    longer = replace(two, prompts=torch.ones(3, 2, dtype=torch.int64), prompt_mask=torch.ones(3, 2, dtype=torch.bool))
    assert joined([one, longer], [0.5, 0.5]).prompt_mask[0].tolist() == [False, True]
    for weights in ([0.5], [0.5, 0.6], [-0.5, 1.5]):
        with pytest.raises(ValueError, match="weights must be one share a part that sum to 1"):
            joined([one, two], weights)
