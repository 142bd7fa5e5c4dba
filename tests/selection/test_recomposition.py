"""RoRecomp: what comes first, what comes back, and that nothing is lost or added."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from toykit.objectives import Advantage, Method, PolicyGradient, method
from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.rollouts import Enumerated, Rollouts, Sampled, of_lengths
from toykit.selection import Recomposition, recomposition
from toykit.tasks.bandit import TreeTask, random_bandit
from toykit.tasks.chain_sum import ChainSum
from toykit.tasks.tree import Tree
from toykit.training import TrainConfig, Trainer

PLAIN = PolicyGradient(Advantage(mean="group"))


def batch(lengths: list[list[int]], right: list[list[int]], weights: Tensor | None = None) -> Rollouts:
    """Completions of given lengths, right (1) or wrong (0)."""
    made = of_lengths(torch.tensor(lengths), torch.tensor(right))
    made = made.with_(old_logp=-0.7 * made.mask.double(), horizon=10)
    return made if weights is None else made.with_(weights=weights, enumerated=True)


CARD = batch([[3, 5, 9, 4, 8]], [[1, 1, 1, 0, 0]])


def test_the_exercise_of_the_card():
    """Lengths 3+ 5+ 9+ 4- 8-: the two shortest right ones and the longest wrong one come first."""
    assert Recomposition().share(CARD).tolist() == [[1, 1, 0, 0, 1]]


@pytest.mark.parametrize(
    ("alpha", "first"),
    [(0.1, [1, 0, 0, 0, 1]), (0.34, [1, 1, 0, 0, 1]), (0.67, [1, 1, 1, 1, 1]), (1.0, [1, 1, 1, 1, 1])],
)
def test_the_number_that_comes_first_is_rounded_up(alpha, first):
    assert Recomposition(alpha).share(CARD).tolist() == [first]


def test_seven_tenths_of_ten_are_seven():
    assert Recomposition(0.7).share(batch([[1] * 10], [[1] * 10])).sum() == 7


def test_of_equals_the_earlier_comes_first():
    share = Recomposition().share(batch([[2, 2, 2, 2]], [[1, 1, 0, 0]]))
    assert share.tolist() == [[1, 0, 1, 0]]


def test_ranked_over_the_batch_or_over_each_group():
    """Of the right 1 and the wrong 2, 7 beside the right 5, 6 and the wrong 3: one of each a group, or in all."""
    rollouts = batch([[1, 2, 7], [5, 6, 3]], [[1, 0, 0], [1, 1, 0]])
    assert Recomposition(0.3).share(rollouts).tolist() == [[1, 0, 1], [1, 0, 1]]
    assert Recomposition(0.3, scope="batch").share(rollouts).tolist() == [[1, 0, 1], [0, 0, 0]]


def test_of_an_enumeration_a_share_of_the_probability_comes_first():
    """Half of the right 0.6 is the 0.2 of length 1 and 0.1 of the 0.4 of length 2, of which two are equally long."""
    weights = torch.tensor([[0.2, 0.1, 0.3, 0.3, 0.1]], dtype=torch.float64)
    share = Recomposition().share(batch([[1, 2, 2, 4, 3]], [[1, 1, 1, 0, 0]], weights))
    assert torch.allclose(share, torch.tensor([[1, 0.25, 0.25, 2 / 3, 0]], dtype=torch.float64))


def push(prepared) -> Tensor:
    """The derivative of the loss in each token's log-probability."""
    logp = prepared.rollouts.old_logp.clone().requires_grad_()
    loss, _ = PLAIN.with_(aggregate=prepared.aggregate).loss(logp, prepared)
    return torch.autograd.grad(loss, logp)[0]


@pytest.mark.parametrize("aggregate", ["token_sum", "token_mean", "sequence_mean", "constant_norm"])
@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.65])
def test_the_two_parts_add_up_to_the_whole(aggregate, alpha):
    """C1, for every alpha: whole batches, and each minibatch of them."""
    rollouts = batch([[3, 5, 9, 4, 8], [1, 2, 2, 7, 5]], [[1, 1, 1, 0, 0], [0, 1, 0, 0, 1]])
    prepared = PLAIN.with_(aggregate=aggregate).prepare(rollouts)
    split = Recomposition(alpha).split(prepared)
    assert (push(split.priority) + push(split.rest) - push(prepared)).abs().max() < 1e-16
    assert torch.equal(split.rest.advantages, prepared.advantages)
    rows = torch.tensor([1])
    parts = push(split.priority.minibatch(rows)) + push(split.rest.minibatch(rows))
    assert (parts - push(prepared.minibatch(rows))).abs().max() < 1e-16
    weights = rollouts.weights * Recomposition(alpha).share(rollouts)
    assert split.selected == pytest.approx(float(weights.sum(-1).mean()))


@pytest.mark.parametrize("rewards", [[[1, 0]], [[1, 1]]])
def test_where_all_comes_first_the_priority_is_the_batch_and_nothing_is_left(rewards):
    prepared = PLAIN.prepare(batch([[3, 5]], rewards))
    assert Recomposition(1.0).split(prepared) == (prepared, None, 1.0)


def test_the_mean_over_the_selected_is_larger_by_what_was_left_out():
    """Three of five completions, with 3 + 5 + 8 of their 29 tokens."""
    for aggregate, times in (("token_sum", 5 / 3), ("token_mean", 29 / 16), ("sequence_mean", 5 / 3)):
        prepared = PLAIN.with_(aggregate=aggregate).prepare(CARD)
        plain, selected = (push(Recomposition(mean=mean).split(prepared).priority) for mean in ("all", "selected"))
        assert torch.allclose(selected, times * plain, atol=1e-15) and plain.abs().max() > 0


def test_the_card_s_drift_of_the_length():
    """Right and wrong answers of lengths 1 to 4, uniform, all 8^4 groups: the parts drift by -+0.010986, the whole by
    nothing; 62.5 % of the completions come first."""
    index = torch.cartesian_prod(*[torch.arange(8)] * 4)
    rollouts = batch((index % 4 + 1).tolist(), (index < 4).int().tolist())
    prepared = PolicyGradient(Advantage(mean="group")).prepare(rollouts)
    first = Recomposition().share(rollouts)
    length = torch.arange(8) % 4 + 1.0
    slope = (length - length.mean()).double() / 8

    def drift(share: Tensor) -> float:
        pull = torch.zeros(8, dtype=torch.float64)
        pull.index_add_(0, index.flatten(), (prepared.advantages[..., 0] * share).flatten() / 4 / 8**4)
        return float(slope @ (pull - pull.sum() / 8))

    assert drift(torch.ones_like(first)) == pytest.approx(0, abs=1e-12)
    assert drift(first) == pytest.approx(-0.010986, abs=5e-7)
    assert drift(1 - first) == pytest.approx(0.010986, abs=5e-7)
    assert float(first.mean()) == 0.625


CHAIN = ChainSum(n_digits=(2, 3), n_train=16, n_test=4, horizon=8)


class Parity(ChainSum):
    """Right where the first token is even: an untrained policy gets some right, at several lengths."""

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        return (completions[..., 0] % 2 == 0).double()


PARITY = Parity(n_digits=(2, 3), n_train=16, n_test=4, horizon=8)


def trainer(how: Recomposition | None, objective: PolicyGradient | None = None, **options) -> Trainer:
    policy = GPT(GPTConfig(16, context=16, layers=1, width=16, heads=2, hidden=16)).double()
    with torch.no_grad():
        policy.embedding.weight.mul_(20)
    given = Method(objective or method("rorecomp").objective, "a test", recomposition=how)
    return Trainer(policy, PARITY, given, Sampled(6), TrainConfig(**{"prompts": 4, "lr": 0.01} | options))


def parameters(made: Trainer) -> Tensor:
    return torch.cat([p.detach().flatten() for p in made.parameters])


def run(made: Trainer, steps: int) -> list[dict[str, float]]:
    return [{k: v for k, v in made.step().items() if k != "seconds"} for _ in range(steps)]


def test_with_alpha_1_it_is_the_base_method_bit_for_bit():
    options = {"epochs": 2, "minibatch": 2, "micro_size": 5}
    base, ours = trainer(None, **options), trainer(Recomposition(1.0), **options)
    expected, found = run(base, 3), run(ours, 3)
    assert torch.equal(parameters(base), parameters(ours))
    assert [{k: v for k, v in f.items() if k in expected[0]} for f in found] == expected
    assert [(f["selected"], f["buffer"], f["compensations"]) for f in found] == [(1, 0, 0)] * 3


def test_given_back_at_once_it_is_one_step_of_the_base_method_in_two_halves():
    """Plain gradient descent with a small rate, no ratio: two half steps are one to the order of their product."""
    objective = PolicyGradient(Advantage(mean="group"))
    options = {"optimizer": "sgd", "lr": 1e-6}
    start = parameters(trainer(None))
    moves = []
    for how in (None, Recomposition(p_comp=1.0, capacity=0.0)):
        made = trainer(how, objective, **options)
        made.step()
        moves.append(parameters(made) - start)
    assert moves[0].norm() > 1e-7 and (moves[0] - moves[1]).norm() < 1e-4 * moves[0].norm()


def test_what_is_left_waits_until_the_buffer_is_full_and_comes_back_as_it_was():
    how = Recomposition(p_comp=1.0)
    made = trainer(how)
    seen = []
    whole = made.recomposer.later

    def watched(split, step, generator):
        seen.append(split.rest)
        batches, figures = whole(split, step, generator)
        seen.append(batches)
        return batches, figures

    made.recomposer.later = watched
    found = run(made, 4)
    held = 0.0
    for f in found:
        held += 1 - f["selected"]
        if f["compensations"]:
            assert held >= 1 and f["buffer_age"] in (1, 2, 3) and "compensation/loss" in f
        held = f["buffer"]
        assert held < 1
    assert found[0]["compensations"] == found[1]["compensations"] == 0 and found[-1]["compensations"] == 1
    back = next(batches for batches in seen[1::2] if batches)[0]
    assert torch.equal(back.rollouts.old_logp, seen[0].rollouts.old_logp)
    assert torch.equal(back.advantages, seen[0].advantages)


def test_the_priority_s_log_probabilities_are_computed_for_its_completions_alone():
    made = trainer(Recomposition())
    rollouts, _ = made.rollouts()
    split = made.recomposer.split(made.objective.prepare(rollouts))
    pieces = list(made._cut(split.priority))
    assert sum(p.rollouts.rewards.numel() for p in pieces) == round(split.selected * rollouts.rewards.numel())


def test_the_probability_of_a_compensation_step():
    assert [Recomposition(p_comp=0.2).probability(n) for n in (0, 1000)] == [0.2, 0.2]
    how = Recomposition(p_comp=1.0, cosine=200)
    assert [how.probability(n) for n in (0, 100, 200, 500)] == pytest.approx([1, 0.5, 0, 0])
    assert how.probability(50) == pytest.approx(0.5 * (1 + 2**-0.5))


def test_never_and_always_and_in_between():
    counts = {}
    for p in (0.0, 0.5, 1.0):
        made = trainer(Recomposition(p_comp=p, capacity=0.0))
        counts[p] = sum(f["compensations"] for f in run(made, 12))
    assert counts[0.0] == 0 and counts[1.0] == 12 and 2 <= counts[0.5] <= 10


@pytest.mark.parametrize("minibatch", [None, 2])
def test_a_resumed_run_is_the_same_bit_for_bit(minibatch, tmp_path):
    how = Recomposition(p_comp=1.0, cosine=20, capacity=0.8)
    straight, half = (trainer(how, minibatch=minibatch) for _ in range(2))
    expected = run(straight, 8)
    assert run(half, 4) == expected[:4] and half.recomposer.buffer
    half.save(tmp_path / "half.safetensors")
    resumed = trainer(how, minibatch=minibatch).load(tmp_path / "half.safetensors")
    assert run(resumed, 4) == expected[4:]
    assert torch.equal(parameters(resumed), parameters(straight))
    assert sum(f["compensations"] for f in expected[4:]) > 0


def test_each_run_has_a_buffer_of_its_own():
    given = Method(method("rorecomp").objective, "shared by two runs", recomposition=Recomposition(p_comp=1.0))
    task = random_bandit(n_prompts=6, n_arms=5)
    first, second = (Trainer(TabularLM.of(task), task, given, Sampled(4)) for _ in range(2))
    first.step()
    assert first.recomposer.buffer and not second.recomposer.buffer


def test_an_enumerated_step_has_a_share_of_each_completion():
    """One token or two, right or wrong, all of probability 1/4: half of each kind's probability is its shorter or its
    longer completion, and the step leaves the other two where their normalisation puts them."""
    task = TreeTask.of({(0,): 1.0, (1,): 0.0, (2, 0): 1.0, (2, 1): 0.0})
    tree: Tree = task.tree
    logits = torch.tensor([[[1.0, 1.0, 2.0], [1.0, 1.0, 0.0]]], dtype=torch.float64).log().clamp(min=-100)
    given = Method(PolicyGradient(Advantage(mean="group")), "a test", recomposition=Recomposition(p_comp=0.0))
    policy = TabularLM.of(task, logits=logits)
    made = Trainer(policy, task, given, Enumerated())
    rollouts, _ = made.rollouts()
    order = {tuple(t[m].tolist()): i for i, (t, m) in enumerate(zip(tree.tokens, tree.mask, strict=True))}
    share = made.recomposer.how.share(rollouts)[0]
    assert torch.allclose(share[[order[(0,)], order[(2, 1)]]], torch.ones(2, dtype=torch.float64))
    assert torch.allclose(share[[order[(1,)], order[(2, 0)]]], torch.zeros(2, dtype=torch.float64), atol=1e-12)
    assert made.step()["selected"] == pytest.approx(0.5)


def test_bad_settings_are_refused():
    for options, message in (
        ({"alpha": 0.0}, r"alpha must be in \(0, 1\], got 0.0"),
        ({"p_comp": 1.5}, r"p_comp must be in \[0, 1\], got 1.5"),
        ({"scope": "groups"}, "scope must be one of batch, group, got 'groups'; did you mean 'group'"),
        ({"mean": "none"}, "mean must be one of all, selected, got 'none'"),
        ({"capacity": -1}, "capacity must be >= 0, got -1"),
        ({"cosine": 0}, "cosine must be >= 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Recomposition(**options)
    with pytest.raises(ValueError, match="recomposition must be one of short_right_long_wrong, got 'long'"):
        recomposition("long")
    assert replace(Recomposition(), alpha=0.3).alpha == 0.3
