"""Likely bugs, from what was measured: each rule reads properties by name and says on what evidence it stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from toykit.audit.candidates import CHI2, LOCAL, REVERSE
from toykit.audit.findings import FAULT, LEAK, NOTE, SAME, Property, short
from toykit.audit.measure import KINDS

Found = Mapping[str, Property]


@dataclass(frozen=True)
class Diagnosis:
    """A likely bug by its short name, in words, with the evidence and the problem that shows it."""

    bug: str
    words: str
    evidence: str
    problem: str

    def row(self) -> dict[str, Any]:
        return asdict(self)


def diagnose(properties: list[Property]) -> list[Diagnosis]:
    """What the measured properties say is wrong; nothing for an objective that is merely biased."""
    found = {one.name: one for one in properties}
    said = (rule(found) for rule in RULES)
    return [one for one in said if one is not None]


def _from(found: Found, name: str, bug: str, words: str) -> Diagnosis:
    return Diagnosis(bug, words, found[name].detail, found[name].problem)


def _measured(found: Found, name: str) -> Mapping[str, Any]:
    """The property's numbers, empty where it was not measured."""
    row = found[name].measured if name in found else None
    return row if isinstance(row, Mapping) else {}


def _kl(found: Found, name: str) -> tuple[str | None, float]:
    row = _measured(found, name)
    best = row.get("best")
    return best, row[best]["weight"] if best is not None and best in row else 0.0


def kl_sign(found: Found) -> Diagnosis | None:
    name = "direction.kl.token"
    best, beta = _kl(found, name)
    words = "the sign of the KL is wrong: it drives the policy away from the reference"
    return _from(found, name, "kl_sign", words) if best is not None and beta < 0 else None


def kl_swapped(found: Found) -> Diagnosis | None:
    name = "direction.kl.token"
    best, beta = _kl(found, name)
    words = "the arguments of the KL's estimate are swapped: k3 of ref - logp, differentiated with logp - ref"
    return _from(found, name, "kl_swapped", words) if best == CHI2 and beta > 0 else None


def kl_per_token(found: Found) -> Diagnosis | None:
    name = "direction.kl.tree"
    best, beta = _kl(found, name)
    words = "the KL is taken token by token, not summed: a token does not answer for the KL of the tokens after it"
    return _from(found, name, "kl_per_token", words) if best == REVERSE + LOCAL and beta > 0 else None


def kl_without_effect(found: Found) -> Diagnosis | None:
    name = "direction.kl.token"
    if not _measured(found, name).get("groups"):
        return None  # there is a KL, or equal rewards leave nothing to learn from, as in a loss on pairs
    words = "the KL has no expected gradient, as k1 that is differentiated has none"
    return _from(found, name, "kl_without_effect", words)


def reward_sign(found: Found) -> Diagnosis | None:
    name = "direction.reward.token"
    row = _measured(found, name)
    if not row.get("against"):
        return None
    return _from(found, name, "reward_sign", "the sign of the reward is wrong: the loss is its negative")


def ratio_attached(found: Found) -> Diagnosis | None:
    name = "direction.reward.tree"
    row = _measured(found, name)
    if row.get("largest_pull") != 0:
        return None
    words = "logp is divided by itself: the old log-probability of the ratio is not detached, so the ratio is always 1"
    return _from(found, name, "ratio_attached", words)


def shifted(found: Found) -> Diagnosis | None:
    pattern = _measured(found, "edges.masked").get("pattern")
    if pattern not in ("later", "earlier"):
        return None
    words = "log-probabilities and mask are shifted against each other by one token"
    return _from(found, "edges.masked", "shifted", words)


def mask_missing(found: Found) -> Diagnosis | None:
    row = _measured(found, "edges.masked")
    if not row.get("outside") or shifted(found) is not None:
        return None
    return _from(found, "edges.masked", "mask_missing", "the mask is not applied: padding is trained")


def mean_over_padding(found: Found) -> Diagnosis | None:
    row, masked = _measured(found, "invariance.padding"), _measured(found, "edges.masked")
    if not row or row["change"] < SAME or masked.get("outside", 1):
        return None
    words = "a mean is taken over padding too: it divides by the width of the batch, not by the number of tokens"
    return _from(found, "invariance.padding", "mean_over_padding", words)


def not_centred(found: Found) -> Diagnosis | None:
    row = _measured(found, "lengths.equal_rewards")
    if not row or row["still"] or row["grows"] < SAME:
        return None  # what stays as the rewards grow is not theirs: an entropy bonus, a likelihood, a KL
    if mask_missing(found) is not None or shifted(found) is not None:
        return None  # then it is the padding, or the token that is left out, that moves
    words = "the advantage is not centred, and the weight of a token depends on the completion: equal rewards move it"
    return _from(found, "lengths.equal_rewards", "not_centred", words)


def clip_sign(found: Found) -> Diagnosis | None:
    row = _measured(found, "offpolicy.clip")
    live = row.get("wrong_live")
    if not live or live[0] is not None or live[1] is None:
        return None
    words = "clipping has the wrong sign for negative advantages: a wrong completion that has become likelier is let be"
    return _from(found, "offpolicy.clip", "clip_sign", words)


def std_leak(found: Found) -> Diagnosis | None:
    """A baseline, not a normalisation: doubling the rewards doubles the update, and adding to them changes nothing.

    Where right or wrong completions are not pushed at all, advantages of one sign are left out, which is not linear.
    """
    leak, shift = _measured(found, "groups.own_reward"), _measured(found, "invariance.shift")
    degree = _measured(found, "invariance.scale").get("degree")
    if leak.get("not_linear", 0.0) < LEAK or shift.get("change", 1.0) > SAME:
        return None
    pushes = (found.get(f"lengths.weight.{kind}") for kind in ("correct", "wrong"))
    one_sign = any(push is not None and push.verdict == NOTE for push in pushes)
    if degree is None or abs(degree - 1) > 1e-3 or one_sign:
        return None
    words = "the baseline holds the sample's own reward, not linearly: as a standard deviation of the whole group does"
    more = f"{found['groups.own_reward'].detail}; doubling the rewards multiplies the update by {short(2**degree)}"
    return Diagnosis("std_leak", words, more, found["groups.own_reward"].problem)


def failed(found: Found) -> Diagnosis | None:
    """Anything that raised, was not finite, or was not a scalar."""
    first = next((p for p in found.values() if p.verdict == FAULT and p.measured in KINDS), None)
    if first is None:
        return None
    return Diagnosis(first.measured.replace(" ", "_"), first.detail, first.name, first.problem)


RULES: tuple[Callable[[Found], Diagnosis | None], ...] = (
    failed,
    kl_sign,
    kl_swapped,
    kl_per_token,
    kl_without_effect,
    reward_sign,
    ratio_attached,
    shifted,
    mask_missing,
    mean_over_padding,
    not_centred,
    clip_sign,
    std_leak,
)
