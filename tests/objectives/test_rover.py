"""ROVER's practical loss: numbers by hand, its first step, its target, and one function for three kinds of policy."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from toykit.objectives import Advantage, PolicyGradient, Rover, method
from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.policies.base import FORBIDDEN_LOGIT
from toykit.policies.qwen3 import qwen3
from toykit.rollouts import Rollouts, Sampled, chosen, of_leaves, vocab_logps
from toykit.rollouts.chunks import mean_logp_of, mean_of_allowed
from toykit.tasks import Letters, TreeTask
from toykit.tasks.bandit import kl_bayes_tree
from toykit.training import TrainConfig, Trainer

LAW = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]], dtype=torch.float64)  # at the two prefixes, behaviour
NOW = torch.tensor([[0.4, 0.4, 0.2], [0.6, 0.3, 0.1]], dtype=torch.float64)


def two() -> tuple[Rollouts, Tensor, Tensor]:
    """Completions 0 1 (right) and 2 (wrong, of one token): (rollouts, logp, vocab_logp) of a policy that has moved."""
    tokens, mask = torch.tensor([[[0, 1], [2, 0]]]), torch.tensor([[[True, True], [True, False]]])
    old, now = (x.log().expand(1, 2, 2, 3) for x in (LAW, NOW))
    made = Rollouts(
        prompts=torch.zeros(1, 1, dtype=torch.int64),
        prompt_mask=torch.ones(1, 1, dtype=torch.bool),
        prompt_ids=torch.zeros(1, dtype=torch.int64),
        completions=tokens,
        mask=mask,
        old_logp=chosen(old, tokens, mask),
        rewards=torch.tensor([[1.0, 0.0]], dtype=torch.float64),
        weights=torch.full((1, 2), 0.5, dtype=torch.float64),
        extras={"old_mean_logp": old.mean(-1)},  # a number at the padded place too
    )
    return made, chosen(now, tokens, mask), now


def test_the_loss_by_hand():
    """q = rho log(now / old) of the token; the first one's target has the mean over the vocabulary at the second."""
    made, logp, vocab = two()
    rho, beta = 0.5, 2.0
    objective = Rover(rho, beta)
    following = rho * sum(math.log(a / b) for a, b in zip((0.6, 0.3, 0.1), (0.2, 0.2, 0.6), strict=True)) / 3
    errors = (
        rho * math.log(0.4 / 0.5) - (0.5 + beta * following),
        rho * math.log(0.3 / 0.2) - 0.5,  # the last token: nothing follows
        rho * math.log(0.2 / 0.25) + 0.5,  # a completion of one token, whatever stands in the padding
    )
    loss, figures = objective.loss(logp, objective.prepare(made), vocab)
    assert loss.item() == pytest.approx(sum(e**2 for e in errors) / 3, abs=1e-14)
    assert figures["next_q"].item() == pytest.approx(beta * following / 3, abs=1e-14)
    q = rho * (math.log(0.8) + math.log(1.5) + math.log(0.8)) / 3
    assert figures["q"].item() == pytest.approx(q, abs=1e-14)
    mean = vocab.mean(-1, keepdim=True)  # one number a token says as much
    assert objective.loss(logp, objective.prepare(made), mean)[0].item() == pytest.approx(loss.item(), abs=1e-14)


def test_the_standard_deviation_is_an_option_and_a_group_of_one_needs_no_mean():
    made, *_ = two()
    plain, scaled = Rover().prepare(made).advantages, Rover(advantage=Advantage(std="group")).prepare(made).advantages
    assert plain[made.mask].tolist() == [0.5, 0.5, -0.5]
    assert torch.allclose(scaled, plain / (0.5**0.5 + 1e-6), rtol=0, atol=1e-12)  # ddof 1
    alone = made.flat()
    with pytest.raises(ValueError, match="group_size must be >= 2"):
        Rover().prepare(alone)
    assert Rover(advantage=Advantage(mean="none")).prepare(alone).advantages[:, 0, 0].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("rho", "beta", "std"), [(1.0, 1.0, "none"), (0.3, 2.0, "group"), (2.0, 0.0, "none")])
def test_the_first_step_is_reinforce_s_times_two_rho(rho, beta, std):
    """C5, to 1e-10; the second is not."""
    task, logits = kl_bayes_tree(3)
    leaves = torch.randint(64, (1, 16), generator=torch.Generator().manual_seed(1))
    policy, made = group(task, logits, leaves)
    advantage = Advantage(std=std)
    objective = Rover(rho, beta, advantage)
    reinforce = PolicyGradient(advantage, aggregate="token_mean")
    for gap in (1e-10, None):
        own, other = (gradient(x, policy, made) for x in (objective, reinforce))
        assert other.abs().max() > 1e-3
        error = (own - 2 * rho * other).abs().max()
        assert error < gap if gap is not None else error > 1e-5
        with torch.no_grad():
            policy.table -= 0.5 * own


def test_a_group_of_equal_rewards_pulls_back_to_the_behaviour_policy():
    task, logits = kl_bayes_tree()
    policy, made = group(task, logits, torch.tensor([[3, 9]]))
    same = made.with_(rewards=torch.ones_like(made.rewards))
    objective = Rover(beta=0.0)
    assert gradient(objective, policy, same).abs().max() < 1e-14
    with torch.no_grad():
        policy.table[0] += torch.tensor([1.0, 0.0, 0.0, 0.0])  # both completions begin with token 0: q > 0 there
    pull = gradient(objective, policy, same)
    assert pull[0, 0] > 0.1  # descent takes log pi(0) down again


def test_the_mean_is_over_the_tokens_that_may_come():
    logits = torch.tensor([0.0, 1.0, FORBIDDEN_LOGIT, -torch.inf, 3.0], dtype=torch.float64)
    log_z = math.log(1 + math.e + math.exp(3))
    assert mean_logp_of(logits).item() == pytest.approx(4 / 3 - log_z, abs=1e-14)
    assert mean_of_allowed(logits.log_softmax(-1)).item() == pytest.approx(4 / 3 - log_z, abs=1e-14)
    assert mean_logp_of(logits.bfloat16()).dtype == torch.float32


def test_what_it_needs_and_what_is_missing():
    made, logp, _ = two()
    assert method("rover").objective == Rover() and Rover().needs_vocab and Rover().vocab_mean
    bare = made.with_()
    object.__setattr__(bare, "extras", {})
    alone = Rover(beta=0.0)
    assert not alone.needs_vocab and not alone.vocab_mean
    assert alone.loss(logp, alone.prepare(bare))[0] > 0
    with pytest.raises(ValueError, match=r"extras\['old_mean_logp'\] must be given for beta > 0, got \[\]"):
        Rover().prepare(bare)
    with pytest.raises(ValueError, match="vocab_logp must be given for beta > 0, got None"):
        Rover().loss(logp, Rover().prepare(made))
    with pytest.raises(ValueError, match="rho must be > 0"):
        Rover(rho=0.0)
    with pytest.raises(ValueError, match="beta must be >= 0"):
        Rover(beta=-1.0)
    with pytest.raises(ValueError, match="advantages must be finite"):
        Rover().prepare(made.with_(rewards=torch.tensor([[math.nan, 0.0]], dtype=torch.float64)))


def policies():
    letters = Letters(horizon=3)
    torch.manual_seed(0)
    small = GPT(GPTConfig(letters.vocab.size, layers=1, hidden=16, heads=2, context=8)).double()
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    tree = TreeTask(kl_bayes_tree()[0].tree, torch.rand(8, 64, generator=torch.Generator().manual_seed(0)).round())
    yield "table", tree, TabularLM.of(tree)
    yield "gpt", letters, small
    yield "transformers", letters, qwen3(letters.vocab, sizes).double()


@pytest.mark.parametrize("kind", ["table", "gpt", "transformers"])
def test_one_function_trains_a_table_a_gpt_and_a_transformers_model(monkeypatch, kind):
    """The Trainer's steps are those of the loss with the whole vocabulary, which the Trainer never makes."""
    if kind == "transformers":
        pytest.importorskip("transformers")
    task, policy = next((task, policy) for name, task, policy in policies() if name == kind)
    config = TrainConfig(lr=0.3, optimizer="sgd", epochs=3, micro_size=24, max_grad_norm=None)
    trainer = Trainer(policy, task, Rover(0.7, 1.5), Sampled(8), config)
    monkeypatch.setattr("toykit.training.reading.vocab_logps", None)  # [B, G, T, V] is not asked for
    start = {name: p.detach().clone() for name, p in policy.named_parameters()}
    drawn = {}
    monkeypatch.setattr(trainer, "rollouts", lambda asked, make=trainer.rollouts: drawn.setdefault("made", make(asked)))
    trainer.step()
    end = {name: p.detach().clone() for name, p in policy.named_parameters()}
    with torch.no_grad():
        for name, p in policy.named_parameters():
            p.copy_(start[name])
    made = with_old_means(drawn["made"][0], policy)
    objective = Rover(0.7, 1.5)
    for _ in range(3):
        policy.zero_grad()
        vocab = vocabulary(policy, made)
        logp = chosen(vocab, made.completions, made.mask)
        objective.loss(logp, objective.prepare(made), vocab)[0].backward()
        with torch.no_grad():
            for p in policy.parameters():
                p -= 0.3 * p.grad
    moved = max(float((end[name] - start[name]).abs().max()) for name in start)
    assert moved > 1e-3
    for name, p in policy.named_parameters():
        assert torch.allclose(p, end[name], rtol=0, atol=1e-6 if kind != "table" else 1e-12)


def group(task: TreeTask, logits: Tensor, leaves: Tensor) -> tuple[TabularLM, Rollouts]:
    """A table, and one group of the leaves [1, G] that it has drawn."""
    policy, tree = TabularLM.of(task, logits=logits), task.tree
    made = of_leaves(task, leaves, logits.log_softmax(-1)[tree.nodes, tree.tokens]).take(0)
    return policy, with_old_means(made, policy)


def vocabulary(policy: torch.nn.Module, made: Rollouts) -> Tensor:
    return vocab_logps(policy, made.prompts, made.prompt_mask, made.completions, made.mask)


def with_old_means(made: Rollouts, policy: torch.nn.Module) -> Rollouts:
    return made.with_(extras={"old_mean_logp": mean_of_allowed(vocabulary(policy, made).detach())})


def gradient(objective, policy: TabularLM, made: Rollouts) -> Tensor:
    vocab = vocabulary(policy, made)
    given = (vocab,) if objective.vocab_mean else ()
    loss, _ = objective.loss(chosen(vocab, made.completions, made.mask), objective.prepare(made), *given)
    return torch.autograd.grad(loss, policy.table)[0]
