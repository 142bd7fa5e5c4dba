"""Offline methods: a loss with the batch that it takes and what it reads of the models, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from toykit._checks import one_of
from toykit.objectives.baselines import at_last_token
from toykit.objectives.dual_values import DualRL
from toykit.objectives.offline_values import CQL, ILQL
from toykit.objectives.preference import CPO, DPO, IPO, ORPO, Hinge, Scored, SimPO
from toykit.objectives.reward_models import BradleyTerry, ProcessReward, last
from toykit.objectives.unpaired import KTO, SFT, UNA
from toykit.rollouts.examples import Demonstrations, Examples, Labelled, Pairs, Steps

OfflineLoss = (
    DPO | Hinge | IPO | ORPO | SimPO | CPO | SFT | KTO | UNA | BradleyTerry | ProcessReward | CQL | ILQL | DualRL
)
BATCHES: dict[str, type] = {"pairs": Pairs, "labelled": Labelled, "demonstrations": Demonstrations, "steps": Steps}


@dataclass(frozen=True)
class OfflineMethod:
    """A loss on given completions with its source; what it reads is the loss's own (`data`, `reads`)."""

    loss: OfflineLoss
    source: str


@dataclass(frozen=True)
class Read:
    """What a loss reads of the models, for each completion of a batch [N, G, ...]; only what its `reads` names.

    logp [N, G, T] of the policy, scores [N, G, T] of a reward model, q [N, G, T, A] and v [N, G, T] of value models.
    """

    logp: Tensor | None = None
    scores: Tensor | None = None
    q: Tensor | None = None
    v: Tensor | None = None


def check_batch(loss: OfflineLoss, batch: Examples) -> None:
    """Raises ValueError where a batch is not what the loss learns from."""
    wanted = BATCHES[loss.data]
    if not isinstance(batch, wanted):
        raise ValueError(f"data must be {wanted.__name__} for {type(loss).__name__}, got {type(batch).__name__}")
    if isinstance(loss, BradleyTerry) and loss.margins and getattr(batch, "margins", None) is None:
        raise ValueError("data must have margins for BradleyTerry(margins=True), got None")
    if isinstance(loss, KTO) and batch.completions.shape[1] != 2:
        raise ValueError("data must hold a completion of another prompt a row for KTO: Labelled.mismatched()")


def shared(loss: OfflineLoss, logp: Tensor, batch: Examples) -> Tensor | None:
    """What is taken once over a whole batch and then held, without a gradient: KTO's z0, the mean length for SFT."""
    if isinstance(loss, SFT):
        return loss.shared(_side(logp.detach(), batch, 0), batch.weights)
    return loss.shared(_side(logp.detach(), batch, 1), batch.weights) if isinstance(loss, KTO) else None


def row_losses(loss: OfflineLoss, read: Read, batch: Examples, whole: Tensor | None = None) -> Tensor:
    """The loss [N] of each row, whose sum with the batch's weights is the loss; `whole` is what `shared` gave."""
    given: Any = loss
    if isinstance(loss, CQL | ILQL | DualRL):
        assert isinstance(batch, Labelled) and read.q is not None
        tokens, mask = batch.completions[:, 0], batch.mask[:, 0]
        values = [x[:, 0] for x in (read.logp, read.q, read.v) if x is not None]
        return given(*values, tokens, at_last_token(batch.labels, mask), mask)
    if isinstance(loss, ProcessReward):
        assert isinstance(batch, Steps) and read.scores is not None
        return loss(read.scores[:, 0], batch.ends, batch.labels)
    if isinstance(loss, BradleyTerry):
        assert isinstance(batch, Pairs) and read.scores is not None
        ends = last(read.scores, batch.mask)
        return loss(ends[:, 0], ends[:, 1], batch.margins if loss.margins and batch.margins is not None else 0.0)
    assert read.logp is not None
    if isinstance(batch, Pairs):
        return given(_side(read.logp, batch, 0), _side(read.logp, batch, 1))
    own = _side(read.logp, batch, 0)
    if isinstance(loss, KTO):
        assert isinstance(batch, Labelled) and whole is not None
        return loss(own, batch.labels, whole)
    if isinstance(loss, UNA):
        assert isinstance(batch, Labelled)
        return loss(own, batch.labels)
    return given(own, 1.0 if whole is None else whole)


def _side(logp: Tensor, batch: Examples, place: int) -> Scored:
    ref = None if batch.ref_logp is None else batch.ref_logp[:, place]
    return Scored(logp[:, place], batch.mask[:, place], ref)


OFFLINE: dict[str, Callable[[], OfflineMethod]] = {
    "sft": lambda: OfflineMethod(SFT(), "maximum likelihood; as stage 1 of Ouyang et al. 2022, arXiv 2203.02155"),
    "dpo": lambda: OfflineMethod(DPO(), "Rafailov et al. 2023, arXiv 2305.18290, eq. 7"),
    "dpo_smoothed": lambda: OfflineMethod(DPO(smoothing=0.1), "Mitchell 2023, a note on DPO with noisy preferences"),
    "dpo_robust": lambda: OfflineMethod(
        DPO(smoothing=0.1, robust=True), "Chowdhury et al. 2024, arXiv 2403.00409 (robust DPO)"
    ),
    "slic": lambda: OfflineMethod(Hinge(), "Zhao et al. 2023, arXiv 2305.10425, on log-ratios as in arXiv 2309.06657"),
    "ipo": lambda: OfflineMethod(IPO(), "Azar et al. 2023, arXiv 2310.12036, eq. 17"),
    "ipo_per_token": lambda: OfflineMethod(
        IPO(per_token=True), "Azar et al. 2023, arXiv 2310.12036, by means over tokens as in TRL"
    ),
    "kto": lambda: OfflineMethod(KTO(), "Ethayarajh et al. 2024, arXiv 2402.01306, eq. 8"),
    "orpo": lambda: OfflineMethod(ORPO(), "Hong et al. 2024, arXiv 2403.07691, eqs. 6 and 7"),
    "simpo": lambda: OfflineMethod(SimPO(), "Meng et al. 2024, arXiv 2405.14734, eq. 6"),
    "cpo": lambda: OfflineMethod(CPO(), "Xu et al. 2024, arXiv 2401.08417"),
    "una": lambda: OfflineMethod(UNA(), "Wang et al. 2024, arXiv 2408.15339 (mean squared error)"),
    "una_bce": lambda: OfflineMethod(UNA(loss="bce"), "Wang et al. 2024, arXiv 2408.15339 (binary labels)"),
    "bradley_terry": lambda: OfflineMethod(BradleyTerry(), "Ouyang et al. 2022, arXiv 2203.02155, eq. 1"),
    "bradley_terry_margin": lambda: OfflineMethod(
        BradleyTerry(margins=True), "Touvron et al. 2023, arXiv 2307.09288, section 3.2.2 (Llama 2)"
    ),
    "bradley_terry_centred": lambda: OfflineMethod(
        BradleyTerry(centre=0.01), "Eisenstein et al. 2023, arXiv 2312.09244"
    ),
    "process_reward": lambda: OfflineMethod(
        ProcessReward(), "Uesato et al. 2022, arXiv 2211.14275; Lightman et al. 2023, arXiv 2305.20050"
    ),
    "cql": lambda: OfflineMethod(CQL(), "Kumar et al. 2020, arXiv 2006.04779, eq. 4"),
    "ilql": lambda: OfflineMethod(ILQL(), "Snell et al. 2022, arXiv 2206.11871, section 4"),
}


def offline_method(name: str) -> OfflineMethod:
    """A named offline method; raises ValueError with the nearest name for an unknown one."""
    return OFFLINE[one_of("objective", name, OFFLINE)]()
