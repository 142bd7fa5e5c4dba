"""Lesson 30 on the gpt and llm rungs: short and long sums of digits, and what is forgotten meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from toykit.lessons.compare import Figures, Measure
from toykit.lessons.rungs import QWEN3_60M, TINY, Comparison, Setup, pretrain_60m
from toykit.objectives import DADS, KL, STCR, Method, estimate, method
from toykit.policies import device_of
from toykit.rollouts import Sampled, token_logps
from toykit.tasks import ChainSum, Prompts
from toykit.training import PretrainConfig, TrainConfig, Trainer

BETA, LNB = 0.2, 0.1  # the released 0.001 and 0.00001 would not be seen in sixty steps of ten tokens
STOPS = (0, 20, 40, 60)
MEASURED, GROUP = 128, 8  # held-out prompts of each size, completions of each
TEXT = 512  # examples as the base was pretrained on, drawn anew


def methods() -> dict[str, Method]:
    """APO, and what is left of it without its parts; estimator, clip and aggregation are the same."""
    apo = method("apo")
    plain, dads = KL(BETA, "k3", route="autodiff"), KL(BETA, "k3", route="autodiff", weight=DADS())
    stcr = (STCR(LNB),)
    arms: dict[str, tuple[KL | None, tuple[STCR, ...]]] = {
        "GRPO": (None, ()),
        "GRPO + KL": (plain, ()),
        "GRPO + KL + DADS": (dads, ()),
        "GRPO + KL + STCR": (plain, stcr),
        "APO": (dads, stcr),
    }
    return {
        name: replace(apo, objective=apo.objective.with_(kl=kl, transforms=transforms))
        for name, (kl, transforms) in arms.items()
    }


def by_size(task: ChainSum) -> dict[str, Prompts]:
    """Held-out prompts with the fewest digits, and with the most."""
    prompts = task.prompts("test")
    sizes = prompts.mask.sum(-1)
    return {name: prompts[sizes == size][:MEASURED] for name, size in (("easy", sizes.min()), ("hard", sizes.max()))}


@dataclass(frozen=True)
class Measured:
    """What is asked at every stop: prompts by size, and text as the base was pretrained on, drawn anew.

    prompts, prompt_mask, completions and their mask of the text are as `token_logps` takes them.
    """

    base: nn.Module
    asked: dict[str, Prompts]
    text: tuple[Tensor, Tensor, Tensor, Tensor]

    @torch.no_grad()
    def __call__(self, trainer: Trainer, seed: int) -> Figures:
        """Of easy and hard prompts: success, KL(pi || base) in nats a completion, the mean tokens of wrong answers.

        Of both: the entropy, and the loss on the text (`forgotten`), in nats a token.
        """
        policy, device = trainer.policy, device_of(trainer.policy)
        generator = torch.Generator(device).manual_seed(seed)
        found: Figures = {}
        surprise, tokens = 0.0, 0
        for name, prompts in self.asked.items():
            made = Sampled(GROUP)(policy, trainer.task, prompts.to(device), generator)
            ref_logp = token_logps(self.base, made.prompts, made.prompt_mask, made.completions, made.mask)
            k3 = estimate("k3", "reverse", (ref_logp - made.old_logp).double())
            found |= {
                f"{name} success": float(made.rewards.double().mean()),
                f"{name} KL": float(k3.sum(-1).mean()),
                f"{name} wrong length": float(made.lengths[~made.correct].double().mean()),
            }
            surprise, tokens = surprise - float(made.old_logp.double().sum()), tokens + int(made.mask.sum())
        tokens_of, prompt_mask, completions, mask = (x.to(device) for x in self.text)
        said = token_logps(policy, tokens_of, prompt_mask, completions, mask).double().sum() / mask.sum()
        return found | {"entropy": surprise / tokens, "forgotten": -float(said)}


def measuring(base: nn.Module, setup: Setup) -> Measure:
    """`Measured` for the setup's held-out prompts; a generator of its own draws the text."""
    task = setup.task
    assert isinstance(task, ChainSum)
    prompts, completions, mask = task.corpus(TEXT, torch.Generator().manual_seed(10_000))
    return Measured(base, by_size(task), (prompts.tokens, prompts.mask, completions[:, None], mask[:, None]))


APO = Comparison(
    methods,
    measuring,
    gpt=Setup(
        ChainSum(n_digits=(3, 12), n_train=1_500, n_test=500),
        TrainConfig(lr=5e-4, prompts=12, max_grad_norm=1.0),
        STOPS,
        base="chain_sum_3_12",
    ),
    llm={
        "60m": Setup(
            ChainSum(n_digits=(3, 6, 12), n_train=2_500, n_test=500, horizon=32),
            TrainConfig(lr=1e-5, prompts=64, max_grad_norm=1.0, autocast=True),
            STOPS,
            base=QWEN3_60M,
            pretrain=pretrain_60m(2_000, batch=256),
        ),
        "tiny": Setup(
            ChainSum(n_digits=(2, 3), n_train=60, n_test=20, horizon=8),
            TrainConfig(lr=1e-3, prompts=4, max_grad_norm=1.0),
            (0, 1, 2),
            base=TINY,
            pretrain=PretrainConfig(steps=40, batch=64, lr=1e-2),
        ),
    },
)
