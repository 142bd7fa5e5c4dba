"""A toykit objective under TRL's trainer: the gradient is our own, and TRL's own losses are combinations of ours."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from toykit.interop.trl import objective_trainer
from toykit.objectives import CATALOGUE, KL, Advantage, Clip, PolicyGradient, method
from toykit.policies import TabularLM
from toykit.rollouts import Rollouts, token_logps

pytest.importorskip("trl")
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")

GROUP = 4
REFUSED = {
    "ppo": "a critic's values$",
    "dapo": "the selection of prompts 'dynamic_sampling'$",
    "self": "completions of the base policy .* and the selection of prompts 'greedy_failures'$",
    "remax": "the reward of each prompt's greedy completion$",
    "a2c": r"a critic's values and log-probabilities of the whole vocabulary \(EntropyBonus\) and terms beside .*$",
    "ppo_rlhf": "a critic's values$",
    "ob_rl": "a mean of the rewards that is kept from batch to batch$",
    "cot_ro": "rewards of single tokens$",
    "cot_ro_to_go": "rewards of single tokens$",
    "prorl": "the selection of prompts 'dynamic_sampling' and a reference that is reset$",
    "mvsr": "a value of each prompt that is kept from batch to batch$",
    "mssr": r"a value of each prompt .* and advantages that are transformed \(EntropyShaping\)$",
    "rorecomp": "a batch that is recomposed after the advantages$",
    "rapo": r"log-probabilities of the whole vocabulary \(OnPolicyForwardKL, EntropyBonus\) and terms beside .*$",
    "rover": r"a loss that is no policy gradient \(Rover\)$",
    "pacs": "whole groups where the loss is computed$",
    "ace": r"advantages that are transformed \(Overconfidence\)$",
    "rl_plus": r".* transformed \(Exploring\) and a weight of tokens .* \(MIS\) and solutions .*\['external'\]\)$",
    "luffy": r".* a weight of tokens that another policy wrote \(Reshaped\) and solutions .*\['external'\]\)$",
    "calibrl": r"terms beside the surrogate .* and solutions from elsewhere \(extras\['expert_logp'\]\)$",
    "apo": r"advantages that are transformed \(STCR\) and a KL penalty that is weighted by completion$",
    "nsr": r"advantages that are transformed \(OneSign\)$",
    "psr": r"advantages that are transformed \(OneSign\)$",
    "stable_reinforce": r"advantages that are transformed \(SigmaFilter\) and a bound of the ratio's logarithm$",
}
WHOLE = {name: (lambda name=name: method(name)) for name in CATALOGUE if name not in REFUSED}
WHOLE["dapo, without its selection"] = lambda: replace(method("dapo"), selection=None)
WHOLE["a penalty beside the advantage"] = lambda: PolicyGradient(Advantage(std="group"), kl=KL(0.3, route="score"))


def generated(trainer, seed: int = 0):
    """One batch, whole and in the order of its groups: what TRL then shuffles and cuts."""
    torch.manual_seed(seed)
    trainer.model.train()
    return trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))


def moved(trainer, by: float = 0.4) -> torch.Tensor:
    """The trainer's table after a step somewhere, so that ratios are not 1."""
    table = trainer.model.model.table
    with torch.no_grad():
        table += by * torch.randn(table.shape, generator=torch.Generator().manual_seed(7), dtype=table.dtype)
    return table


def loss_and_gradient(trainer, output, pieces: int):
    """Over shuffled micro-batches that are accumulated to one step, with TRL's own cutting."""
    from trl.trainer.utils import shuffle_sequence_dict, split_tensor_dict

    trainer.model.zero_grad()
    trainer.args.steps_per_generation = trainer.current_gradient_accumulation_steps = pieces
    losses = [trainer._compute_loss(trainer.model, p) for p in split_tensor_dict(shuffle_sequence_dict(output), pieces)]
    sum(losses).backward()
    return sum(losses).item(), trainer.model.model.table.grad.clone()


def ours(tricks, output, given, reference: TabularLM, table: torch.Tensor):
    """Loss and gradient of the same completions by toykit alone: the task's rewards, the tables' log-probabilities."""
    task, mask = tricks.task, output["completion_mask"].bool().unflatten(0, (-1, GROUP))
    completions = output["completion_ids"].unflatten(0, (-1, GROUP))
    ids = output["prompt_ids"][::GROUP, 0] - task.tree.n_actions
    prompts = task.prompts()[ids]
    asked = prompts.tokens, prompts.mask, completions, mask
    rewards = task.score(prompts.ids, completions, mask)
    old, ref = (token_logps(policy, *asked).detach() for policy in (tricks.policy(), reference))
    weights = torch.full_like(rewards, 1 / GROUP)
    rollouts = Rollouts(prompts.tokens, prompts.mask, prompts.ids, completions, mask, old, rewards, weights, ref, 3)
    if getattr(given, "shaping", None) is not None:
        rollouts, _ = given.shaping(rollouts)
    objective = getattr(given, "objective", given)
    policy = tricks.policy()
    with torch.no_grad():
        policy.table.copy_(table)
    loss, _ = objective.loss(token_logps(policy, *asked), objective.prepare(rollouts))
    loss.backward()
    return loss.item(), policy.table.grad


@pytest.mark.parametrize("name", WHOLE)
def test_the_gradient_of_a_batch_is_our_own(tricks, handed, name):
    reference = tricks.policy(0.5, seed=1)
    needs = getattr(WHOLE[name](), "objective", WHOLE[name]()).needs_reference
    trainer = handed(WHOLE[name](), reference=reference if needs else None)
    output = generated(trainer)
    lengths = output["completion_mask"].sum(1)
    assert lengths.unique().numel() > 1 and output["rewards"].unique().numel() > 2
    table = moved(trainer)
    expected, gradient = ours(tricks, output, WHOLE[name](), reference, table)
    for pieces in (1, 4):
        loss, found = loss_and_gradient(trainer, output, pieces)
        assert loss == pytest.approx(expected, abs=1e-6)
        assert (found - gradient).abs().max() < 1e-6
    assert gradient.abs().max() > 1e-3


@pytest.mark.parametrize("name", REFUSED)
def test_what_trl_cannot_supply_is_named(name):
    with pytest.raises(ValueError, match=f"^objective must be one that TRL can run, this one needs {REFUSED[name]}"):
        objective_trainer(name)


def test_the_whole_vocabulary_is_not_supplied_either():
    with pytest.raises(ValueError, match="needs log-probabilities of the whole vocabulary"):
        objective_trainer(PolicyGradient(kl=KL(0.1, "exact", route="autodiff")))


CLIPPED = PolicyGradient(ratio="token", clip=Clip())
GROUP_STD = Advantage(std="group", eps=1e-4)  # TRL's eps
THEIRS = {
    "grpo": (
        CLIPPED.with_(advantage=GROUP_STD, aggregate="sequence_mean", kl=KL(0.04, "k3", route="autodiff")),
        {"loss_type": "grpo", "beta": 0.04, "use_bias_correction_kl": False},
    ),
    "dr_grpo": (CLIPPED.with_(aggregate="constant_norm"), {"loss_type": "dr_grpo", "scale_rewards": "none"}),
    "dapo": (
        CLIPPED.with_(advantage=GROUP_STD, clip=Clip(0.2, 0.28), aggregate="token_mean"),
        {"loss_type": "dapo", "epsilon_high": 0.28},
    ),
    "gspo": (
        PolicyGradient(GROUP_STD, ratio="sequence", clip=Clip(0.03, 0.04), aggregate="sequence_mean"),
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 0.03, "epsilon_high": 0.04},
    ),
    "luspo": (
        PolicyGradient(GROUP_STD, ratio="sequence", clip=Clip(0.03, 0.04)),
        {"loss_type": "luspo", "importance_sampling_level": "sequence", "epsilon": 0.03, "epsilon_high": 0.04},
    ),
    "lite_ppo": (
        CLIPPED.with_(advantage=Advantage(std="batch", eps=1e-4), aggregate="token_mean"),
        {"loss_type": "dapo", "scale_rewards": "batch"},
    ),
}


@pytest.mark.parametrize("name", THEIRS)
def test_trls_own_loss_is_one_of_our_combinations(tricks, handed, tmp_path, name):
    from transformers import AutoModelForCausalLM

    from toykit.policies import export

    objective, options = THEIRS[name]
    export(tricks.policy(), tmp_path / "model", vocab=tricks.task.vocab)  # TRL reads its reference from a folder

    def model():
        return AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="float64")

    found = []
    for trainer in (handed(None, model(), **options), handed(objective, model())):
        output = generated(trainer)
        moved(trainer)
        found.append((output["completion_ids"], *loss_and_gradient(trainer, output, 4)))
    (tokens, loss, gradient), (same, value, again) = found
    assert torch.equal(tokens, same)
    assert value == pytest.approx(loss, abs=1e-6)
    assert (again - gradient).abs().max() < 1e-6 < gradient.abs().max()


def test_training_in_micro_batches_is_training_on_the_whole_batch(handed):
    """With statistics of the batch, KL in the reward and a moving Z: three steps end at the same table."""
    for given in ("lite_ppo", "kl_rl", "dpg"):
        tables = []
        for pieces in (1, 4):
            trainer = handed(given, pieces=pieces, gradient_accumulation_steps=pieces, max_steps=3)
            start = trainer.model.model.table.detach().clone()
            trainer.train()
            tables.append(trainer.model.model.table.detach())
        assert (tables[0] - tables[1]).abs().max() < 1e-9 < (tables[0] - start).abs().max()


def test_an_optimizer_step_on_a_part_of_the_batch_follows_a_mean_over_that_part(tricks, handed):
    """rloo: the pieces' gradients, each as large as a whole batch's, average to the whole batch's."""
    trainer = handed("rloo")
    output = generated(trainer)
    whole = loss_and_gradient(trainer, output, 4)[1]
    from trl.trainer.utils import split_tensor_dict

    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = 1  # four optimizer steps a batch
    for piece in split_tensor_dict(output, 4):
        trainer._compute_loss(trainer.model, piece).backward()
    assert (trainer.model.model.table.grad / 4 - whole).abs().max() < 1e-12


def test_an_evaluation_leaves_the_average_of_z_as_it_is(handed):
    trainer = handed("dpg")
    generated(trainer)
    state = dict(trainer.objective.signal.log_z.log_z)
    assert sorted(state) == [0, 1]
    trainer.model.eval()
    output = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    assert trainer._compute_loss(trainer.model, output).isfinite()
    assert trainer.objective.signal.log_z.log_z == state
    with pytest.raises(ValueError, match="resume_from_checkpoint must be None for an objective with a moving Z"):
        trainer.train(resume_from_checkpoint="somewhere")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"entropy_coef": 0.1},
            "entropy_coef must be 0.0 with a toykit objective, got 0.1: the objective is the whole",
        ),
        ({"top_entropy_quantile": 0.2}, "top_entropy_quantile must be 1.0"),
        ({"mask_truncated_completions": True}, "mask_truncated_completions must be False"),
    ],
)
def test_terms_that_the_objective_does_not_know_are_refused(handed, options, message):
    with pytest.raises(ValueError, match=message):
        handed("grpo", **options)


def test_prompts_without_a_number_are_refused_where_each_keeps_one(handed):
    trainer = handed("dpg")
    trainer.train_dataset = trainer.train_dataset.remove_columns("prompt_id")
    trainer.reward_funcs = [lambda completion_ids, **_: [float(len(ids)) for ids in completion_ids]]
    with pytest.raises(ValueError, match="the data set must have a column prompt_id"):
        generated(trainer)
    trainer = handed("grpo")
    trainer.train_dataset = trainer.train_dataset.remove_columns("prompt_id")
    trainer.reward_funcs = [lambda completion_ids, **_: [float(len(ids)) for ids in completion_ids]]
    assert generated(trainer)["row_prompt_ids"].tolist() == [0] * 4 + [1] * 4


def test_a_reward_that_is_missing_names_its_prompt(handed):
    trainer = handed("rloo")
    trainer.reward_funcs = [lambda completion_ids, **_: [None, *[1.0] * (len(completion_ids) - 1)]]
    with pytest.raises(ValueError, match=r"rewards must be finite, got nan at index \[0, 0\] \(prompt \d\)"):
        generated(trainer)
