"""TRL's GRPOTrainer with a toykit objective in the place of its advantages and its loss; importing it imports TRL.

Two of TRL's methods are overridden. Where completions are generated and scored, all groups are still whole and in
order: there the objective prepares advantages and token weights, which then travel with their rows, because TRL
shuffles the rows and cuts them into micro-batches. Where the loss is computed, what is left is a sum over tokens.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from trl import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from toykit.objectives import Method, PolicyGradient, Prepared
from toykit.rollouts import Rollouts
from toykit.training.reference import frozen_copy

NEUTRAL: dict[str, tuple[Any, str]] = {  # arguments of GRPOConfig that change TRL's loss: what they must be, and why
    "beta": (0.0, "the objective has its own KL penalty"),
    "entropy_coef": (0.0, "the objective is the whole loss"),
    "use_adaptive_entropy": (False, "the objective is the whole loss"),
    "top_entropy_quantile": (1.0, "the objective is over all tokens"),
    "off_policy_mask_threshold": (None, "the objective is over all completions"),
    "mask_truncated_completions": (False, "the objective is over all completions"),
    "multi_objective_aggregation": ("sum_then_normalize", "the objective takes one reward"),
}


class ObjectiveTrainer(GRPOTrainer):
    """See `toykit.interop.trl.objective_trainer`.

    Raises ValueError where the config asks for more than the objective: another term of the loss, a mixture's auxiliary
    loss, TRL's correction of vLLM's log-probabilities; and for a reference under DeepSpeed or FSDP.
    """

    def __init__(self, *args: Any, method: Method, reference: nn.Module | None = None, **options: Any) -> None:
        _check(options.get("args", args[2] if len(args) > 2 else None))
        super().__init__(*args, **options)
        self.objective, self.shaping = method.pieces, method.shaping
        if self.aux_loss_enabled:
            raise ValueError("router_aux_loss_coef must be 0.0 with a toykit objective, which is the whole loss")
        self.reference = None
        if self.objective.needs_reference:
            if self.is_deepspeed_enabled or self.is_fsdp_enabled:
                raise ValueError("objective must need no reference under DeepSpeed or FSDP, this one does")
            self.reference = frozen_copy(self.model if reference is None else reference).to(self.accelerator.device)
            if reference is not None:
                add_fused_lm_head(self.reference, temperature=self.temperature)

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **options: Any) -> Any:
        """As TRL's; raises ValueError where a moving Z would have to be resumed: it is in no checkpoint of TRL's."""
        if resume_from_checkpoint and getattr(self.objective.signal, "log_z", None) is not None:
            raise ValueError("resume_from_checkpoint must be None for an objective with a moving Z, TRL saves none")
        return super().train(resume_from_checkpoint, *args, **options)

    def _calculate_rewards(self, *args: Any, **options: Any) -> Tensor:
        self._scores = super()._calculate_rewards(*args, **options)  # [N, functions], of all processes
        return self._scores

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        if "tool_mask" in output or "pixel_values" in output:
            raise ValueError("completions must be text that the model made itself, got tools, environments or images")
        if self.reference is not None:
            output["ref_per_token_logps"] = self._logps(self.reference, output)
        if (self.objective.needs_reference or self.shaping is not None) and "old_per_token_logps" not in output:
            output["old_per_token_logps"] = self._logps(self.model, output)
        train, n = self.model.training, len(inputs)
        group_size = self.num_generations if train else self.num_generations_eval
        rows = self._everywhere(output, _prompt_ids(inputs, self.objective, self.accelerator, group_size))
        rollouts = in_groups(rows, self._rewards(), group_size, self.max_completion_length)
        if self.shaping is not None:
            rollouts, means = self.shaping(rollouts)
            for name, value in means.items():
                self._log(name, value)
        # An evaluation must not move the average of Z.
        prepared = (self.objective if train else copy.deepcopy(self.objective)).prepare(rollouts.check())
        mine = slice(self.accelerator.process_index * n, (self.accelerator.process_index + 1) * n)
        width = output["completion_ids"].shape[1]
        output["advantages"] = prepared.advantages.flatten(0, 1)[mine, :width]
        # Gradients are averaged over processes, and the weights sum up over all of them.
        weights = prepared.token_weights.flatten(0, 1)[mine, :width]
        output["token_weights"] = weights * self.accelerator.num_processes
        output["rewards"] = rollouts.rewards.flatten()[mine]
        output["row_prompt_ids"] = rollouts.prompt_ids.repeat_interleave(group_size)[mine]
        return output

    def _compute_loss(self, model: nn.Module, inputs: dict[str, Any]) -> Tensor:
        logp, entropy = self._scored(model, inputs)
        mask = inputs["completion_mask"].bool()
        logp = logp.masked_fill(~mask, 0.0)
        old, ref = inputs.get("old_per_token_logps"), inputs.get("ref_per_token_logps")
        batch = Rollouts(
            prompts=inputs["prompt_ids"],
            prompt_mask=inputs["prompt_mask"].bool(),
            prompt_ids=inputs["row_prompt_ids"],
            completions=inputs["completion_ids"][:, None],
            mask=mask[:, None],
            old_logp=(logp.detach() if old is None else old.masked_fill(~mask, 0.0))[:, None],
            rewards=inputs["rewards"][:, None],
            weights=torch.ones_like(inputs["rewards"])[:, None],
            ref_logp=None if ref is None else ref.masked_fill(~mask, 0.0)[:, None],
            horizon=self.max_completion_length,
        )
        advantages, weights = inputs["advantages"][:, None], inputs["token_weights"][:, None]
        loss, figures = self.objective.loss(
            logp[:, None], Prepared(batch, advantages, weights, self.objective.aggregate)
        )
        self._log("entropy", self._mean((entropy * mask).sum() / mask.sum().clamp(min=1)))
        if not self.model.training:
            return loss
        # The losses of the pieces add up to that of the generation batch; an optimizer step is to follow a mean over
        # as many pieces as it accumulates.
        pieces = self.args.steps_per_generation
        for name, value in figures.items():
            self._log(name, self._mean(value * pieces))
        return loss * pieces / self.current_gradient_accumulation_steps

    def _scored(self, model: nn.Module, rows: dict[str, Any], batch_size: int | None = None) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies [N, T] of the completions, as TRL computes them."""
        tokens = torch.cat([rows["prompt_ids"], rows["completion_ids"]], 1)
        seen = torch.cat([rows["prompt_mask"], rows["completion_mask"]], 1)
        width = rows["completion_ids"].shape[1]
        logp, entropy, _ = self._get_per_token_logps_and_entropies(
            model, tokens, seen, width, batch_size, compute_entropy=batch_size is None
        )
        return logp, entropy

    @torch.no_grad()
    def _logps(self, model: nn.Module, rows: dict[str, Any]) -> Tensor:
        size = self.args.per_device_train_batch_size if self.model.training else self.args.per_device_eval_batch_size
        return self._scored(model, rows, size)[0]

    def _rewards(self) -> Tensor:
        """[N] of all processes; a completion that no function scored has a NaN, which names its prompt in an error."""
        summed = (self._scores * self.reward_weights.to(self._scores)).nansum(1)
        return summed.masked_fill(self._scores.isnan().all(1), torch.nan)

    def _everywhere(self, output: dict[str, Any], prompt_ids: Tensor) -> dict[str, Tensor]:
        """The rows of all processes, in their order: a group may be spread over several."""

        def gathered(name: str, left: bool = False) -> Tensor:
            return self.accelerator.gather(self.accelerator.pad_across_processes(output[name], 1, pad_first=left))

        found = {name: gathered(name, left=True) for name in ("prompt_ids", "prompt_mask")}
        names = ("completion_ids", "completion_mask", "old_per_token_logps", "ref_per_token_logps")
        found |= {name: gathered(name) for name in names if name in output}
        return found | {"row_prompt_ids": self.accelerator.gather(prompt_ids)}

    def _mean(self, value: Tensor) -> float:
        return self.accelerator.reduce(value.detach(), "mean").item()

    def _log(self, name: str, value: float) -> None:
        self._metrics["train" if self.model.training else "eval"][name].append(value)


def _check(config: Any) -> None:
    """Raises ValueError where a GRPOConfig (None is TRL's default) asks for a loss beside the objective's."""
    if config is None:
        return
    for name, (value, why) in NEUTRAL.items():
        if (got := getattr(config, name)) != value:
            raise ValueError(f"{name} must be {value!r} with a toykit objective, got {got!r}: {why}")
    if config.use_vllm and config.vllm_importance_sampling_correction:
        raise ValueError("vllm_importance_sampling_correction must be False with a toykit objective, got True")


def in_groups(rows: dict[str, Tensor], rewards: Tensor, group_size: int, horizon: int) -> Rollouts:
    """TRL's rows [N, ...], groups one after another, as rollouts of B prompts with groups of `group_size`.

    Where TRL computed no log-probabilities yet, nothing that is prepared reads them: they are 0.
    """

    def grouped(x: Tensor) -> Tensor:
        return x.unflatten(0, (-1, group_size))

    mask = rows["completion_mask"].bool()
    old, ref = rows.get("old_per_token_logps"), rows.get("ref_per_token_logps")
    logp = rewards.new_zeros(mask.shape) if old is None else old.masked_fill(~mask, 0.0)
    rewards = grouped(rewards).to(logp)
    return Rollouts(
        prompts=rows["prompt_ids"][::group_size],
        prompt_mask=rows["prompt_mask"][::group_size].bool(),
        prompt_ids=rows["row_prompt_ids"][::group_size],
        completions=grouped(rows["completion_ids"]),
        mask=grouped(mask),
        old_logp=grouped(logp),
        rewards=rewards,
        weights=torch.full_like(rewards, 1 / group_size),
        ref_logp=None if ref is None else grouped(ref.masked_fill(~mask, 0.0)),
        horizon=horizon,
    )


def _prompt_ids(inputs: list[dict[str, Any]], objective: PolicyGradient, accelerator: Any, group_size: int) -> Tensor:
    """int64 [N]: the data set's `prompt_id`, or the group's number where it has none and nothing needs it."""
    if "prompt_id" in inputs[0]:
        return torch.tensor([row["prompt_id"] for row in inputs], device=accelerator.device)
    betas = [getattr(piece, "beta", None) for piece in (objective.kl, getattr(objective.signal, "target", None))]
    if getattr(objective.signal, "log_z", None) is not None or any(isinstance(beta, Tensor) for beta in betas):
        raise ValueError(
            "the data set must have a column prompt_id for an objective with a number kept for each prompt"
        )
    first = accelerator.process_index * len(inputs)
    return (first + torch.arange(len(inputs), device=accelerator.device)) // group_size
