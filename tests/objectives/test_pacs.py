"""PACS beside what its card derives: expected gradients over all groups, residuals, and batches that keep groups whole.

The bandit has five arms, of which the first three are right; its groups are all 5^G that can be drawn.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import exp, log1p
from statistics import mean, stdev

import pytest
import torch
from torch import Tensor

from toykit.exact import enumerate_groups, informative
from toykit.objectives import PACS, method
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated, Rollouts, Sampled, Share
from toykit.tasks.bandit import Bandit
from toykit.training import TrainConfig, Trainer
from toykit.training.spread import portion

P = torch.tensor([0.40, 0.10, 0.05, 0.25, 0.20], dtype=torch.float64)
RIGHT = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
GOLD = 0.2784375  # beta G / (4 (G - 1)) P(mixed) for beta 1, G 3


def batch(index: Tensor, old: Tensor, ref: Tensor, labels: Tensor = RIGHT) -> Rollouts:
    """Groups `index` [..., B, G] of completions of one token, with tables [V] of log-probabilities and of rewards."""
    lead = index.shape[:-1]
    return Rollouts(
        prompts=torch.zeros(*lead, 1, dtype=torch.int64),
        prompt_mask=torch.ones(*lead, 1, dtype=torch.bool),
        prompt_ids=torch.zeros(lead, dtype=torch.int64),
        completions=index[..., None],
        mask=torch.ones(*index.shape, 1, dtype=torch.bool),
        old_logp=old[index][..., None],
        rewards=labels[index],
        weights=torch.full(index.shape, 1 / index.shape[-1], dtype=torch.float64),
        ref_logp=ref[index][..., None],
    )


def expected(objective: PACS, size: int, theta: Tensor | None = None) -> Tensor:
    """-E[gradient of the loss] [V] in the logits, over every group of `size` that P draws; reference and old are P."""
    logits = (P.log() if theta is None else theta).clone().requires_grad_()
    index, log_weight = enumerate_groups(P.log(), size)
    prepared = objective.prepare(batch(index[:, None], P.log(), P.log()))
    loss, _ = objective.loss(logits.log_softmax(-1)[index][:, None, :, None], prepared)
    assert loss.shape == (5**size,)
    return -torch.autograd.grad(log_weight.exp() @ loss, logits)[0]


def score(weights: Tensor) -> Tensor:
    """The mean of grad log pi(y) under the given probabilities of y."""
    return weights / weights.sum() - P


GRAD_J = P * (RIGHT - (P * RIGHT).sum())
APART = score(P * RIGHT) - score(P * (1 - RIGHT))  # mu+ - mu-


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("reference", ["behaviour", "fixed"])
def test_c1_at_the_reference_the_unweighted_step_is_beta_times_the_policy_gradient(beta, size, reference):
    found = expected(PACS(beta, reference=reference, weights="none"), size)
    assert torch.allclose(found, beta * GRAD_J, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_c2_question_weights_make_every_difficulty_count_alike(size):
    mixed = float(informative((P * RIGHT).sum(), size))
    found = expected(PACS(2.0), size)
    assert torch.allclose(found, 2 * size / (4 * (size - 1)) * mixed * APART, rtol=0, atol=1e-12)
    if size == 3:
        assert torch.allclose(expected(PACS(), 3), GOLD * APART, rtol=0, atol=1e-12)


def coefficients(objective: PACS, offsets: list[float], labels: list[float]) -> tuple[Tensor, Tensor]:
    """(psi [G], coefficients of grad log pi_i before the mean over i [G]) of a group with given log-ratios."""
    g = len(offsets)
    made = batch(torch.arange(g)[None], torch.zeros(g).double(), torch.zeros(g).double(), torch.tensor(labels).double())
    logp = torch.tensor(offsets, dtype=torch.float64)[None, :, None].requires_grad_()
    loss, _ = objective.loss(logp, objective.prepare(made))
    pull = torch.autograd.grad(loss, logp)[0][0, :, 0]
    return objective.logits(logp.detach(), made)[0], -g * pull


def test_c3_residuals_of_a_group_that_is_all_right_pull_its_ratios_together():
    psi, found = coefficients(PACS(), [0.3, -0.5, 0.0], [1.0, 1.0, 1.0])
    assert psi.tolist() == pytest.approx([0.55, -0.65, 0.10])
    left = [1 / (1 + exp(x)) for x in (0.55, -0.65, 0.10)]  # 1 - sigma(psi)
    assert left == pytest.approx([0.3659, 0.6570, 0.4750], abs=5e-5)
    assert found.tolist() == pytest.approx([left[i] - (sum(left) - left[i]) / 2 for i in range(3)])
    assert coefficients(PACS(), [0.2, 0.2, 0.2], [1.0, 1.0, 1.0])[1].abs().max() < 1e-15


def test_the_exercise_of_the_card():
    plain = coefficients(PACS(weights="none"), [0.0] * 4, [1.0, 0.0, 0.0, 0.0])[1]
    balanced = coefficients(PACS(), [0.0] * 4, [1.0, 0.0, 0.0, 0.0])[1]
    assert plain.tolist() == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])
    assert balanced.tolist() == pytest.approx([4 / 3, -4 / 9, -4 / 9, -4 / 9])
    # one wrong of 8: its weight is 4 and its residual -1/2
    made = PACS().prepare(batch(torch.arange(8)[None], *[torch.zeros(8).double()] * 2, 1 - torch.eye(8).double()[0]))
    assert made.balance[0].tolist() == pytest.approx([4.0, *[4 / 7] * 7])


LENGTHS, OLD, REF, NEW = (2, 1, 3), (-0.9, -0.4, -1.3), (-0.7, -0.6, -1.0), (-0.5, -0.8, -0.2)  # each token's


def by_formula(objective: PACS, labels: tuple[int, ...]) -> float:
    """The loss of one group, completion by completion, as the card writes it."""
    other = OLD if objective.reference == "behaviour" else REF
    r = [objective.beta * n * (new - o) for n, new, o in zip(LENGTHS, NEW, other, strict=True)]
    if objective.proxy == "mean_logp":
        r = [objective.beta * new for new in NEW]
    if objective.score == "rloo":
        psi = [r[i] - mean(r[:i] + r[i + 1 :]) for i in range(3)]
    elif objective.score == "grpo":
        psi = [(x - mean(r)) / (stdev(r) + 1e-6) for x in r]
    else:
        psi = r
    w = {"none": [1.0] * 3, "only_positive": list(labels), "only_negative": [1 - label for label in labels]}
    counts = [labels.count(label) for label in labels]
    w["question"] = [1.0] * 3 if counts == [3, 3, 3] else [3 / (2 * n) for n in counts]
    losses = [log1p(exp(x)) - label * x for x, label in zip(psi, labels, strict=True)]
    return mean(a * b for a, b in zip(w[objective.weights], losses, strict=True))


@pytest.mark.parametrize("pieces", list(product(("rloo", "grpo", "naive"), ("log_ratio", "mean_logp"))), ids="-".join)
@pytest.mark.parametrize("reference", ["behaviour", "fixed"])
@pytest.mark.parametrize("weights", ["none", "question", "only_positive", "only_negative"])
def test_every_option_is_the_card_s_formula(pieces, reference, weights):
    mask = torch.arange(3) < torch.tensor(LENGTHS)[:, None]

    def tokens(each: tuple[float, ...]) -> Tensor:
        return (torch.tensor(each, dtype=torch.float64)[:, None] * mask)[None]

    for labels in ((1, 0, 1), (0, 0, 1), (1, 1, 1), (0, 0, 0)):
        table = torch.tensor(labels, dtype=torch.float64)
        made = batch(torch.arange(3)[None], *[torch.zeros(3).double()] * 2, table)
        made = made.with_(mask=mask[None], completions=mask[None].long(), old_logp=tokens(OLD), ref_logp=tokens(REF))
        objective = PACS(0.7, *pieces, reference, weights)
        assert objective.needs_reference == (reference == "fixed" and pieces[1] == "log_ratio")
        loss, _ = objective.loss(tokens(NEW), objective.prepare(made))
        assert loss.item() == pytest.approx(by_formula(objective, labels), abs=1e-12)


def test_the_loss_is_finite_at_any_logit_and_the_gradient_that_of_the_residual():
    psi, found = coefficients(PACS(score="naive", weights="none"), [800.0, -800.0], [0.0, 1.0])
    assert psi.tolist() == [800.0, -800.0] and found.tolist() == [-1.0, 1.0]


def test_standardised_ratios_that_are_all_equal_have_a_gradient_that_is_finite_and_huge():
    """As in the released code: the deviation is 0 there, its gradient none, and 1e-6 is what is divided by."""
    found = coefficients(PACS(score="grpo", weights="none"), [0.0, 0.0], [1.0, 0.0])[1]
    assert found.tolist() == pytest.approx([0.5e6, -0.5e6])


@pytest.mark.parametrize("score", ["rloo", "grpo"])
def test_the_enumeration_is_the_limit_of_large_groups(score):
    theta = P.log() + torch.tensor([0.3, -0.2, 0.1, 0.5, -0.4], dtype=torch.float64)
    objective = PACS(1.5, score, weights="question")
    every = batch(torch.arange(5)[None], P.log(), P.log()).with_(weights=P[None], enumerated=True)
    drawn = batch(torch.arange(5).repeat_interleave((P * 200_000).long())[None], P.log(), P.log())
    found = []
    for made in (every, drawn):
        logits = theta.clone().requires_grad_()
        logp = logits.log_softmax(-1)[made.completions]
        loss, figures = objective.loss(logp, objective.prepare(made))
        numbers = torch.stack([loss.detach(), *figures.values()])
        found.append(torch.cat([numbers, torch.autograd.grad(loss, logits)[0]]))
    assert torch.allclose(*found, rtol=0, atol=2e-5)
    if score == "rloo":  # and at the reference it is what C1 and C2 tend to
        for weights, limit in (("none", 1.5 * GRAD_J), ("question", 1.5 / 4 * APART)):
            logits = P.log().requires_grad_()
            chosen = objective.with_(weights=weights)
            loss, _ = chosen.loss(logits.log_softmax(-1)[every.completions], chosen.prepare(every))
            assert torch.allclose(-torch.autograd.grad(loss, logits)[0], limit, rtol=0, atol=1e-12)


def test_the_figures_are_logits_by_label_and_how_well_they_predict_it():
    made = batch(torch.tensor([[0, 3, 4], [1, 2, 3]]), P.log(), P.log())
    shift = torch.tensor([[0.3, -0.5, 0.0], [0.2, 0.1, -0.6]], dtype=torch.float64)
    objective = PACS(2.0)
    _, figures = objective.loss(made.old_logp + shift[..., None], objective.prepare(made))
    psi = [[2 * (a - (sum(row) - a) / 2) for a in row] for row in shift.tolist()]
    right, wrong = [psi[0][0], psi[1][0], psi[1][1]], [psi[0][1], psi[0][2], psi[1][2]]
    sigma = {x: 1 / (1 + exp(-x)) for x in right + wrong}
    assert {k: v.item() for k, v in figures.items()} == pytest.approx(
        {
            "psi_right": mean(right),
            "psi_wrong": mean(wrong),
            "predicted": mean(sigma.values()),
            "brier": mean([(1 - sigma[x]) ** 2 for x in right] + [sigma[x] ** 2 for x in wrong]),
        }
    )
    only = batch(torch.tensor([[0, 1, 2]]), P.log(), P.log())
    assert objective.loss(only.old_logp, objective.prepare(only))[1]["psi_wrong"].item() == 0.0


def uneven(b: int = 3) -> tuple[PACS, Rollouts, Tensor]:
    """(an objective, `b` prompts with four completions of 1 to 3 tokens, a policy that has moved [b, 4, 3])."""
    draw = torch.Generator().manual_seed(0)
    mask = torch.arange(3) < torch.randint(1, 4, (b, 4, 1), generator=draw)

    def logp() -> Tensor:
        return -torch.rand(b, 4, 3, generator=draw, dtype=torch.float64) * mask

    made = batch(torch.randint(5, (b, 4), generator=draw), P.log(), P.log())
    made = made.with_(mask=mask, completions=mask.long(), old_logp=logp(), ref_logp=logp())
    made = made.with_(
        extras={"row": torch.arange(b)[:, None].expand(b, 4), "loss_weights": torch.full(mask.shape, 0.5)}
    )
    return PACS(2.0, reference="fixed"), made, logp()


def added_up(objective: PACS, parts: list, logp: Tensor) -> Tensor:
    """The loss, its figures and its gradient, summed over parts of whole groups."""
    leaf, sums = logp.clone().requires_grad_(), 0.0
    for part in parts:
        rows = part.rollouts.extras["row"][:, 0]
        loss, figures = objective.loss(leaf[rows][..., : part.rollouts.mask.shape[-1]], part)
        loss.backward()
        sums = sums + torch.stack([loss.detach(), *figures.values()])
    return torch.cat([sums, leaf.grad.flatten()])


@pytest.mark.parametrize(("size", "pieces"), [(1, 3), (4, 3), (7, 3), (8, 2), (11, 2), (12, 1), (None, 1)])
def test_pieces_are_of_whole_groups_and_add_up(size, pieces):
    objective, made, logp = uneven()
    prepared = objective.prepare(made)
    parts = list(prepared.micro(size))
    assert len(parts) == pieces and all(part.rollouts.group_size == 4 for part in parts)
    whole = added_up(objective, [prepared], logp)
    assert whole.abs().max() > 0.01
    assert torch.allclose(added_up(objective, parts, logp), whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("b", [1, 2, 3, 5])
def test_several_processes_share_groups_whole(b):
    objective, made, logp = uneven(b)
    prepared = objective.prepare(made)
    shares = [portion(prepared, Share(rank, 2)) for rank in range(2)]
    assert {len(part.rollouts.prompt_ids) for part in shares} == {(b + 1) // 2}
    assert all(part.rollouts.group_size == 4 for part in shares)
    parts = [piece for share in shares for piece in share.micro(4)]
    whole = added_up(objective, [prepared], logp)
    assert torch.allclose(added_up(objective, parts, logp), whole, rtol=0, atol=1e-12)


def test_a_minibatch_is_a_batch_of_its_own():
    objective, made, logp = uneven()
    rows = torch.tensor([2, 0])
    part, alone = objective.prepare(made).minibatch(rows), objective.prepare(made.take(rows))
    assert torch.equal(added_up(objective, [part], logp), added_up(objective, [alone], logp))


def bandit() -> tuple[Bandit, TabularLM]:
    task = Bandit(RIGHT[None])
    return task, TabularLM.of(task, logits=P.log()[None, None])


@pytest.mark.parametrize("reference", ["behaviour", "fixed"])
def test_two_epochs_of_two_steps_are_those_written_by_hand(reference):
    """The behaviour reference begins each step anew, so that psi is 0 before its first update; the fixed one stays."""
    task, policy = bandit()
    objective = PACS(1.5, reference=reference)
    trainer = Trainer(policy, task, objective, Enumerated(), TrainConfig(lr=0.5, optimizer="sgd", epochs=2))
    theta, start, seen = P.log(), P.log(), []
    for _ in range(2):
        old = theta.log_softmax(-1)
        weights = old.exp()
        m = weights @ RIGHT
        balance = 0.5 / torch.where(RIGHT > 0, m, 1 - m)
        for _ in range(2):
            leaf = theta.clone().requires_grad_()
            r = 1.5 * (leaf.log_softmax(-1) - (old if reference == "behaviour" else start))
            psi = r - weights @ r
            loss = weights @ (balance * (psi.exp().log1p() - RIGHT * psi))
            seen.append((weights * RIGHT / m) @ psi.detach())
            theta = theta - 0.5 * torch.autograd.grad(loss, leaf)[0]
        figures = trainer.step()
        assert figures["loss"] == pytest.approx(loss.item(), abs=1e-12)
        assert figures["psi_right"] == pytest.approx(seen[-1].item(), abs=1e-12)
        # in the logits there is a direction without effect, which steps leave alone
        assert torch.allclose(policy.table.detach().flatten(), theta, rtol=0, atol=1e-12)
    assert (abs(seen[2].item()) < 1e-15) == (reference == "behaviour") and seen[1] > 0.01


def test_pieces_minibatches_and_what_does_not_fit_in_the_trainer():
    task = Bandit(torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0]]))

    def made(**options: object) -> Trainer:
        config = TrainConfig(lr=0.1, optimizer="sgd", epochs=2, **options)
        return Trainer(TabularLM.of(task), task, "pacs", Sampled(4), config)

    for minibatch in (None, 2):
        whole, cut = made(minibatch=minibatch), made(minibatch=minibatch, micro_size=5)
        for _ in range(3):
            ours, theirs = cut.step(), whole.step()
            assert {k: v for k, v in ours.items() if k != "seconds"} == pytest.approx(
                {k: v for k, v in theirs.items() if k != "seconds"}, abs=1e-12
            )
        assert torch.allclose(cut.policy.table, whole.policy.table, rtol=0, atol=1e-12)
    smaller = "ask for fewer prompts or a smaller group_size"  # a group goes as one, whatever micro_size
    first = "set micro_size to a number of completions, such as 8"
    for size, said in ((None, first), (3, smaller), (7, smaller), (11, "set micro_size to less than 8")):
        trainer = made(micro_size=size)
        trainer.policy.forward = out_of_memory
        with pytest.raises(MemoryError, match=f"; {said}, or set recompute$"):
            trainer.step()


def out_of_memory(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB")


def test_what_does_not_go_together_is_refused():
    for name, value in (("score", "loo"), ("proxy", "sum"), ("reference", "old"), ("weights", "balanced")):
        with pytest.raises(ValueError, match=f"{name} must be one of .* got '{value}'"):
            PACS(**{name: value})
    with pytest.raises(ValueError, match="beta must be > 0 and finite, got 0"):
        PACS(0.0)
    alone = batch(torch.tensor([[0]]), P.log(), P.log())
    with pytest.raises(ValueError, match="group_size must be >= 2 for an advantage with group statistics, got 1"):
        PACS().prepare(alone)
    assert PACS(score="naive").prepare(alone).balance.tolist() == [[1.0]]
    with pytest.raises(ValueError, match="group_size must be >= 2"):
        Trainer(bandit()[1], bandit()[0], PACS(), Sampled(1))
    with pytest.raises(ValueError, match="ref_logp must be given for reference='fixed', got None"):
        PACS(reference="fixed").prepare(replace(batch(torch.tensor([[0, 1]]), P.log(), P.log()), ref_logp=None))
    with pytest.raises(ValueError, match=r"rewards must be finite, got nan at index \[0, 0\] \(prompt 0\)"):
        PACS().prepare(batch(torch.tensor([[0, 1]]), P.log(), P.log(), RIGHT * torch.nan))


def test_labels_are_the_task_s_own_outcomes_whatever_the_reward_was_shaped_to():
    made = batch(torch.tensor([[0, 3, 4]]), P.log(), P.log())
    shaped = made.with_(rewards=made.rewards - 0.8, extras={"task_rewards": made.rewards})
    assert PACS().prepare(shaped).labels.tolist() == [[1.0, 0.0, 0.0]]


def test_the_catalogue_has_the_released_defaults():
    assert method("pacs").objective == PACS(1.0, "rloo", "log_ratio", "behaviour", "question")
    assert method("pacs").objective.needs_group and not PACS(score="naive").needs_group
    assert method("pacs").with_beta(0.3).objective == PACS(0.3)
    with pytest.raises(ValueError, match="objective must be a PolicyGradient, got PACS"):
        _ = method("pacs").pieces
