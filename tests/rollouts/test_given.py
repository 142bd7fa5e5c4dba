from __future__ import annotations

import pytest
import torch

from toykit.exact import leaf_log_probs, likelihood_gradient, node_log_probs
from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.rollouts import Given, of_leaves, of_lengths
from toykit.tasks import FeatureTree, Operator, TreeTask
from toykit.training import TrainConfig, Trainer

TASK = FeatureTree(n_prompts=4, n_actions=3, horizon=2, n_features=3, seed=0)
TOKENS = TASK.tree.tokens[TASK.correct]
RIGHT = Given(TOKENS, torch.ones_like(TOKENS, dtype=torch.bool))


def test_the_given_completions_come_back_with_the_rewards_of_the_task():
    policy = TabularLM.of(TASK, "features", logits=TASK.initial_weights)
    wrong = TOKENS.clone()
    wrong[:, 1] = (wrong[:, 1] + 1) % 3
    made = Given(torch.cat([TOKENS[:, :1], wrong[:, 1:]], 1), RIGHT.mask)(policy, TASK, TASK.prompts()[1:3])
    assert made.prompt_ids.tolist() == [1, 2]
    assert torch.equal(made.completions[:, 0], TOKENS[1:3, 0])
    assert made.rewards[:, 0].tolist() == [1, 1]
    assert made.weights.tolist() == [[0.5, 0.5]] * 2
    assert made.old_logp.dtype == torch.float64 and not made.old_logp.any()


@pytest.mark.parametrize("weights", [None, [0.9, 0.1]])
def test_reinforce_on_right_completions_is_supervised_learning(weights):
    """Each step of the trainer is the gradient of the mean log-likelihood of the given completions."""
    policy = TabularLM.of(TASK, "features", logits=TASK.initial_weights)
    law = None if weights is None else torch.tensor(weights, dtype=torch.float64).expand(4, 2)
    trainer = Trainer(policy, TASK, "reinforce", Given(TOKENS, RIGHT.mask, law), TrainConfig(lr=0.3, optimizer="sgd"))
    trainer.step()
    target = torch.zeros(4, 9, dtype=torch.float64).scatter(1, TASK.correct, 0.5 if law is None else law)
    logits = torch.einsum("nkd,xd->xnk", TASK.initial_weights, TASK.features)
    step = torch.einsum("xnk,xd->nkd", likelihood_gradient(TASK.tree, logits, target), TASK.features) / 4
    moved = (policy.table.detach() - TASK.initial_weights) / 0.3
    assert step.abs().max() > 0.1
    assert torch.allclose(moved, step, rtol=0, atol=1e-14)


def test_imitation_makes_the_given_completions_likelier():
    policy = TabularLM.of(TASK, "features", logits=TASK.initial_weights)

    def likelihood() -> float:
        features = torch.einsum("nkd,xd->xnk", policy.table.detach(), TASK.features)
        return leaf_log_probs(TASK.tree, node_log_probs(TASK.tree, features)).gather(1, TASK.correct).mean().item()

    before = likelihood()
    Trainer(policy, TASK, "reinforce", RIGHT, TrainConfig(lr=0.1)).run(30, progress=False)
    assert likelihood() > before + 0.5


def test_it_serves_a_network_in_its_own_precision_and_in_pieces():
    task = Operator()
    given = Given(task.right[:, None], torch.ones(100, 1, 2, dtype=torch.bool))
    policy = GPT(GPTConfig(task.vocab.size, layers=1, width=32, heads=2, hidden=32))
    trainer = Trainer(policy, task, "reinforce", given, TrainConfig(prompts=8, micro_size=3))
    losses = [trainer.step()["loss"] for _ in range(20)]
    assert losses[-1] < losses[0]
    assert trainer.rollouts()[0].old_logp.dtype == torch.float32


def test_groups_of_leaves_are_batches_of_one_group():
    task = TreeTask.of({(0,): 1.0, (1, 0): 0.25})
    logp = torch.tensor([[-0.5, 0.0], [-1.0, -2.0]])
    made = of_leaves(task, torch.tensor([[0, 1], [1, 1], [0, 0]]), logp)
    assert made.rewards.tolist() == [[[1.0, 0.25]], [[0.25, 0.25]], [[1.0, 1.0]]]
    assert made.lengths.tolist() == [[[1, 2]], [[2, 2]], [[1, 1]]]
    assert made.completions[0, 0].tolist() == [[0, 0], [1, 0]]
    assert made.old_logp[0, 0].tolist() == logp.tolist() and made.weights.unique().tolist() == [0.5]
    with pytest.raises(ValueError, match="task must have one prompt, got 2"):
        of_leaves(TreeTask(task.tree, torch.ones(2, 2)), torch.zeros(1, 2, dtype=torch.int64), logp)


def test_bad_input_is_named():
    policy = TabularLM.of(TASK, "features", logits=TASK.initial_weights)
    with pytest.raises(ValueError, match=r"mask must have shape \[4, 2, 2\], got \[4, 2, 1\]"):
        Given(TOKENS, RIGHT.mask[..., :1])
    with pytest.raises(ValueError, match="weights must be >= 0 and sum to 1"):
        Given(TOKENS, RIGHT.mask, torch.ones(4, 2))
    with pytest.raises(ValueError, match="completions must be given for every prompt id below 2, got 3"):
        Given(TOKENS[:2], RIGHT.mask[:2])(policy, TASK, TASK.prompts())
    with pytest.raises(ValueError, match="prompts must hold at least one prompt, got none"):
        RIGHT(policy, TASK, TASK.prompts()[:0])


def test_groups_of_lengths_alone():
    made = of_lengths(torch.tensor([[2, 1], [3, 3]]), torch.tensor([[1, 0], [0, 1]]))
    assert made.lengths.tolist() == [[2, 1], [3, 3]] and made.rewards.tolist() == [[1, 0], [0, 1]]
    assert made.correct.tolist() == [[True, False], [False, True]] and made.prompt_ids.tolist() == [0, 1]
    assert made.weights.tolist() == [[0.5, 0.5], [0.5, 0.5]] and made.horizon == 3
    leading = of_lengths(torch.ones(4, 2, 3, dtype=torch.int64), torch.ones(4, 2, 3))
    assert leading.completions.shape == (4, 2, 3, 1) and leading.prompt_ids.shape == (4, 2)
