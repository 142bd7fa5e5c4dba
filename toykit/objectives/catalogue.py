"""The catalogue: every named method as a combination of pieces. A new method is one more entry."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from toykit._checks import one_of
from toykit.objectives.advantages import GAE, Advantage, GreedyBaseline
from toykit.objectives.asymmetric import DADS, STCR
from toykit.objectives.baselines import RunningMean, TokenReturns
from toykit.objectives.clipping import Clip
from toykit.objectives.coverage import OnPolicyForwardKL, Tempering
from toykit.objectives.dpg import PseudoReward
from toykit.objectives.entropy_shaping import EntropyShaping
from toykit.objectives.expert import ExpertGate
from toykit.objectives.external import MIS, Exploring, External, Reshaped
from toykit.objectives.filters import SigmaFilter
from toykit.objectives.forward_kl import ForwardKL
from toykit.objectives.kl import KL
from toykit.objectives.objective import Objective
from toykit.objectives.offline import OFFLINE
from toykit.objectives.one_sign import OneSign
from toykit.objectives.overconfidence import Overconfidence
from toykit.objectives.pacs import PACS
from toykit.objectives.penalties import EntropyBonus
from toykit.objectives.policy_gradient import PolicyGradient, ValueLoss
from toykit.objectives.reference import Plateau, Reference
from toykit.objectives.rover import Rover
from toykit.objectives.targets import Filtered, MovingLogZ, Posterior, Target
from toykit.objectives.tracker import Tracker
from toykit.objectives.transforms import Transform
from toykit.rewards import Shaping, SoftOverlong


class Recomposes(Protocol):
    """Settings of what of a prepared batch is learned from, and when: see `toykit.selection.Recomposition`."""

    def start(self) -> Any: ...


@dataclass(frozen=True)
class Method:
    """An objective with what else the method prescribes: reward shaping, a selection by name, a forward KL, a
    recomposition of its batches (by name or as settings), the schedule of its reference (None: frozen), and `data`: the
    name of the extra that the strategy must supply beside the policy's own completions (`toykit.rollouts.DATA`)."""

    objective: Objective
    source: str
    shaping: Shaping | None = None
    selection: str | None = None
    forward_kl: ForwardKL | None = None
    recomposition: str | Recomposes | None = None
    reference: Reference | None = None
    data: str | None = None

    @property
    def pieces(self) -> PolicyGradient:
        """The objective as a combination of pieces; raises ValueError where it is another kind of loss."""
        if not isinstance(self.objective, PolicyGradient):
            raise ValueError(f"objective must be a PolicyGradient, got {type(self.objective).__name__}")
        return self.objective

    def with_beta(self, beta: float) -> Method:
        """The same method with `beta` in its KL penalties, its posterior target, its forward KL, or PACS's logit.

        Raises ValueError for beta <= 0, and where the method has none of them.
        """
        if isinstance(self.objective, PACS):
            return replace(self, objective=self.objective.with_(beta=beta))
        refused = "beta must be given only for an objective with a KL penalty or a posterior target"
        if not isinstance(self.objective, PolicyGradient):
            raise ValueError(refused)
        changed = self.pieces
        if changed.kl is not None:
            changed = changed.with_(kl=replace(changed.kl, beta=beta))
        if isinstance(changed.signal, PseudoReward) and isinstance(changed.signal.target, Posterior):
            changed = changed.with_(signal=replace(changed.signal, target=Posterior(beta)))
        if any(isinstance(term, OnPolicyForwardKL) for term in changed.penalties):
            terms = (replace(t, beta=beta) if isinstance(t, OnPolicyForwardKL) else t for t in changed.penalties)
            changed = changed.with_(penalties=tuple(terms))
        forward = None if self.forward_kl is None else replace(self.forward_kl, beta=beta)
        if changed is self.objective and forward is None:
            raise ValueError(refused)
        return replace(self, objective=changed, forward_kl=forward)


GROUP_STD = Advantage(mean="group", std="group")
LOO = Advantage(mean="leave_one_out")
ONE_SIGN = "Zhu et al. 2025, arXiv 2506.01347, with rewards less the group's mean in the place of 1 and -1"


def _dpg(target: Target, divergence: str = "forward_kl", baseline: float = 0.0) -> PolicyGradient:
    """A moving Z, and the completion's importance weight where the rollouts are another policy's."""
    signal = PseudoReward(target, divergence, baseline, MovingLogZ())
    return PolicyGradient(Advantage(mean="none"), ratio="importance", aggregate="sequence_mean", signal=signal)


def _with_rows(source: str, external: External, *transforms: Transform) -> Method:
    """No ratio is clipped, and the mean reward of all rows, the external one among them, is taken off."""
    objective = PolicyGradient(
        Advantage(mean="group"),
        ratio="token",
        aggregate="constant_norm",
        penalties=(EntropyBonus(0.001),),
        transforms=transforms,
        external=external,
    )
    return Method(objective, source, data="external")


def _single(*transforms: EntropyShaping) -> PolicyGradient:
    """One completion a prompt is enough: the baseline is each prompt's own rate."""
    kl = KL(0.01, "k3", route="autodiff")
    clip = Clip(0.2, 0.3, dual=3.0)
    return PolicyGradient(Tracker(), "token", clip, aggregate="token_mean", kl=kl, transforms=transforms)


# Functions, because some pieces hold a state that must not be shared between runs.
CATALOGUE: dict[str, Callable[[], Method]] = {
    "reinforce": lambda: Method(PolicyGradient(Advantage(mean="none")), "Williams 1992"),
    "rloo": lambda: Method(PolicyGradient(LOO), "Kool et al. 2019; Ahmadian et al. 2024, arXiv 2402.14740"),
    "kl_rl": lambda: Method(
        PolicyGradient(LOO, kl=KL(0.1, "k1", route="reward")), "Korbak et al. 2022, arXiv 2205.11275, section 3"
    ),
    "ppo": lambda: Method(
        PolicyGradient(GAE(), ratio="token", clip=Clip(), aggregate="token_mean", value=ValueLoss()),
        "Schulman et al. 2017, arXiv 1707.06347",
    ),
    "grpo": lambda: Method(
        PolicyGradient(
            GROUP_STD, ratio="token", clip=Clip(), aggregate="sequence_mean", kl=KL(0.04, "k3", route="autodiff")
        ),
        "Shao et al. 2024, arXiv 2402.03300",
    ),
    "dr_grpo": lambda: Method(
        PolicyGradient(Advantage(mean="group"), ratio="token", clip=Clip(), aggregate="constant_norm"),
        "Liu et al. 2025, arXiv 2503.20783",
    ),
    "dapo": lambda: Method(
        PolicyGradient(GROUP_STD, ratio="token", clip=Clip(0.2, 0.28), aggregate="token_mean"),
        "Yu et al. 2025, arXiv 2503.14476",
        shaping=Shaping({"overlong": (1.0, SoftOverlong())}),
        selection="dynamic_sampling",
    ),
    "gspo": lambda: Method(
        PolicyGradient(GROUP_STD, ratio="sequence", clip=Clip(3e-4, 4e-4), aggregate="sequence_mean"),
        "Zheng et al. 2025, arXiv 2507.18071",
    ),
    "lite_ppo": lambda: Method(
        PolicyGradient(Advantage(mean="group", std="batch"), ratio="token", clip=Clip(), aggregate="token_mean"),
        "Liu et al. 2025, arXiv 2508.08221",
    ),
    "dpg": lambda: Method(_dpg(Filtered()), "Parshakova et al. 2019; Khalifa et al. 2021, arXiv 2012.11635"),
    "gdc": lambda: Method(_dpg(Filtered(), baseline=1.0), "Korbak et al. 2022, arXiv 2206.00761 (GDC++)"),
    "js_dpg": lambda: Method(
        _dpg(Posterior(0.1), "js").with_(advantage=LOO), "Go et al. 2023, arXiv 2302.08215 (f-DPG, Jensen-Shannon)"
    ),
    "self": lambda: Method(
        PolicyGradient(GROUP_STD, ratio="token", clip=Clip(), aggregate="token_mean"),
        "arXiv 2510.02230 (the weight of its forward KL is not published)",
        selection="greedy_failures",
        forward_kl=ForwardKL(0.2),
    ),
    "remax": lambda: Method(PolicyGradient(GreedyBaseline()), "Li et al. 2023, arXiv 2310.10505"),
    "reinforce_plus_plus": lambda: Method(
        PolicyGradient(Advantage("batch", "batch"), ratio="token", clip=Clip(), aggregate="token_mean"),
        "Hu 2025, arXiv 2501.03262, without its KL penalty",
    ),
    "rloo_clip": lambda: Method(
        PolicyGradient(
            LOO, ratio="importance", clip=Clip(), aggregate="sequence_mean", kl=KL(0.05, "k1", route="reward")
        ),
        "Ahmadian et al. 2024, arXiv 2402.14740, with the clipped ratio of completions of TRL's RLOOTrainer",
    ),
    "grpo_trl": lambda: Method(
        PolicyGradient(
            Advantage(mean="group", std="group", eps=1e-4), ratio="token", clip=Clip(), aggregate="token_mean"
        ),
        "Shao et al. 2024, arXiv 2402.03300, with the defaults of TRL's GRPOTrainer (no KL penalty, means over tokens)",
    ),
    "a2c": lambda: Method(
        PolicyGradient(
            GAE(whiten=False),
            aggregate="token_mean",
            value=ValueLoss(coef=1.0, clip=None),
            penalties=(EntropyBonus(0.01),),
        ),
        "Mnih et al. 2016, arXiv 1602.01783, with GAE (arXiv 1506.02438, eq. 16)",
    ),
    "ppo_rlhf": lambda: Method(
        PolicyGradient(
            GAE(),
            ratio="token",
            clip=Clip(),
            aggregate="token_mean",
            kl=KL(0.05, "k1", route="reward"),
            value=ValueLoss(coef=0.1),
        ),
        "Ouyang et al. 2022, arXiv 2203.02155, with the settings of TRL's PPOTrainer",
    ),
    "ob_rl": lambda: Method(
        PolicyGradient(RunningMean()), "Williams 1992; outcome-based RL in arXiv 2507.04136, b a running mean"
    ),
    "cot_ro": lambda: Method(
        PolicyGradient(TokenReturns(to_go=False)), "CoT reward optimisation as printed in arXiv 2507.04136: biased"
    ),
    "cot_ro_to_go": lambda: Method(
        PolicyGradient(TokenReturns()), "Sutton et al. 1999: rewards of single steps by their returns"
    ),
    "rapo": lambda: Method(
        PolicyGradient(
            Advantage("group", "group", eps=1e-4),
            ratio="token",
            clip=Clip(),
            aggregate="sequence_mean",
            penalties=(OnPolicyForwardKL(0.1, tempering=Tempering()), EntropyBonus(0.01)),
        ),
        "arXiv 2510.03865 (phi and the weights of its penalties are not published)",
    ),
    "pacs": lambda: Method(PACS(), "arXiv 2509.02522, with the defaults of its released code"),
    "luspo": lambda: Method(  # the sum over tokens of one ratio is the length times it
        PolicyGradient(GROUP_STD, ratio="sequence", clip=Clip(2e-3, 2.5e-3), aggregate="token_sum"),
        "arXiv 2602.05261, with the clip that TRL notes of its section 5.1",
    ),
    "ace": lambda: Method(
        PolicyGradient(
            GROUP_STD, ratio="token", clip=Clip(), aggregate="sequence_mean", transforms=(Overconfidence(1.0),)
        ),
        "arXiv 2602.21420 (alpha is not confirmed)",
    ),
    "rl_plus": lambda: _with_rows(
        "Dong et al. 2025, arXiv 2508.00222, as in its released code (the text divides by std, and has u = 1/V)",
        MIS(),
        Exploring(),
    ),
    "luffy": lambda: _with_rows(
        "Yan et al. 2025, arXiv 2504.14945, with the settings of its released code", Reshaped()
    ),
    "calibrl": lambda: Method(
        PolicyGradient(
            Advantage(mean="group"),
            ratio="token",
            clip=Clip(dual=3.0),
            aggregate="token_mean",
            penalties=(ExpertGate(),),
        ),
        "arXiv 2602.20197, as in its released code (the text compares whole sequences)",
        data="expert_logp",
    ),
    "rorecomp": lambda: Method(
        PolicyGradient(GROUP_STD, ratio="token", clip=Clip()),
        "arXiv 2509.25958 on GRPO without a KL, summed over tokens (its alpha and schedule are not published)",
        recomposition="short_right_long_wrong",
    ),
    "prorl": lambda: Method(
        PolicyGradient(
            GROUP_STD,
            ratio="token",
            clip=Clip(0.2, 0.4),
            aggregate="token_mean",
            kl=KL(0.05, "k2", route="autodiff", level="sequence"),  # on policy its gradient is the reverse KL's
        ),
        "arXiv 2505.24864 (beta, the KL's estimator and what counts as a plateau are not published)",
        selection="dynamic_sampling",
        reference=Reference("reset", every=None, optimizer=True, on_plateau=Plateau(20)),
    ),
    "mvsr": lambda: Method(_single(), "arXiv 2512.18215, the baseline that it improves on"),
    "mssr": lambda: Method(
        _single(EntropyShaping()), "arXiv 2512.18215, with the sampled token's -p log p of the released code"
    ),
    "apo": lambda: Method(
        PolicyGradient(
            Advantage("group", "group", eps=1e-9),
            ratio="token",
            clip=Clip(),
            aggregate="token_mean",
            kl=KL(1e-3, "k3", route="autodiff", weight=DADS()),
            transforms=(STCR(),),
        ),
        "arXiv 2506.21655 with the released settings (there the KL is first averaged over each completion)",
    ),
    "nsr": lambda: Method(PolicyGradient(Advantage(mean="group"), transforms=(OneSign("negative"),)), ONE_SIGN),
    "psr": lambda: Method(PolicyGradient(Advantage(mean="group"), transforms=(OneSign("positive"),)), ONE_SIGN),
    "stable_reinforce": lambda: Method(
        PolicyGradient(
            Advantage("batch", "batch", ddof=0, eps=0.0),
            ratio="token",
            clip=Clip(),
            aggregate="sequence_mean",
            transforms=(SigmaFilter(),),
            log_clip=math.log(1000),
        ),
        "StableReinforce, arXiv 2505.02835 (its reward's consistency with a referee is `rewards.Gated`)",
    ),
    "rover": lambda: Method(
        Rover(), "arXiv 2509.24981, as in its released code for countdown (that for mathematics divides by std)"
    ),
}


def method(name: str) -> Method:
    """A fresh instance of a named method; raises ValueError with the nearest name for an unknown one, and for one that
    learns from given data."""
    if name in OFFLINE:
        raise ValueError(f"objective must be an on-policy method, {name!r} learns from given data: see OfflineTrainer")
    return CATALOGUE[one_of("objective", name, CATALOGUE)]()
