"""What the catalogue says of each method: its loss in a line, its source, its place in the field, and what it needs.

The names are those of `CATALOGUE` (trained by `Trainer`), of `OFFLINE` (by `OfflineTrainer`) and of `PIPELINES`, which
put several of them one after another. Pieces and needs are read off the methods themselves.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, NamedTuple

from toykit._checks import one_of
from toykit.objectives.baselines import TokenReturns
from toykit.objectives.catalogue import CATALOGUE, Method
from toykit.objectives.offline import OFFLINE, OfflineMethod

NO_CRITIC, CRITIC = "policy gradient without a critic", "policy gradient with a critic"
MATCHING, LIKELIHOOD, PREFERENCE = "distribution matching", "maximum likelihood", "direct preference loss"
MODEL, VALUE, PIPELINE = "reward model", "offline value learning", "pipeline"
OPTIMISERS = (NO_CRITIC, CRITIC, MATCHING, PREFERENCE, LIKELIHOOD, MODEL, VALUE, PIPELINE)
KINDS = {
    **dict.fromkeys((NO_CRITIC, CRITIC, MATCHING), "on-policy"),
    PREFERENCE: "preference",
    LIKELIHOOD: "demonstrations",
    MODEL: "reward model",
    VALUE: "value",
    PIPELINE: "pipeline",
}
NOTATION = (
    "logp_t = log pi(y_t), summed over t it is log pi(y); rho_t = exp(logp_t - old_logp_t), rho its product over t; "
    "clip(rho, a, b) keeps rho in [a, b]; T is the number of tokens; h = log pi(y) - log pi0(y), pi0 the reference; w "
    "and l are the chosen and the rejected completion; R is the reward, from rules, a verifier or a reward model, R_i "
    "that of completion i of G to a prompt, mean and std those of its group unless others are named; A is an "
    "advantage, held without a gradient; ret = A + V; V_clip keeps V within 0.2 of the old V; sigma is the logistic "
    "function. What is written is averaged over completions, or pairs, unless over tokens is said."
)


class _Line(NamedTuple):
    """Where the reward comes from, whether it is for outcomes or steps, how it is optimised, and the loss."""

    reward: str
    density: str
    optimiser: str
    loss: str


def _rl(loss: str, optimiser: str = NO_CRITIC, density: str = "outcome", reward: str = "any") -> _Line:
    return _Line(reward, density, optimiser, loss)


def _pairs(loss: str) -> _Line:
    return _Line("preferences", "outcome", PREFERENCE, loss)


_TOKENS = "-mean over tokens of min(rho_t A, clip(rho_t, 0.8, 1.2) A)"
_TARGET_LOG_RATIO = "u = log pi(y) - log p(y), p = P / Z"
_LINES: dict[str, _Line] = {
    "reinforce": _rl("-R log pi(y)"),
    "rloo": _rl("-A log pi(y), A = R_i - mean of the other R_j"),
    "kl_rl": _rl("-A log pi(y), A as in rloo of R - 0.1 h"),
    "ppo": _rl(
        f"{_TOKENS} + 0.25 max((V - ret)^2, (V_clip - ret)^2), A by GAE, whitened",
        CRITIC,
    ),
    "grpo": _rl(
        "-mean of (1/T) sum_t min(rho_t A, clip(rho_t, 0.8, 1.2) A) + 0.04 k3, A = (R_i - mean) / (std + 1e-6), "
        "k3 = e^d - 1 - d with d = -(logp_t - ref_logp_t)"
    ),
    "dr_grpo": _rl("-mean of (1/horizon) sum_t min(rho_t A, clip(rho_t, 0.8, 1.2) A), A = R_i - mean"),
    "dapo": _rl(
        "-mean over tokens of min(rho_t A, clip(rho_t, 0.8, 1.28) A), A as in grpo of R with a soft penalty on length; "
        "prompts of equal rewards are drawn again"
    ),
    "gspo": _rl("-mean of min(s A, clip(s, 0.9997, 1.0004) A), s = rho^(1/T), A as in grpo"),
    "lite_ppo": _rl(f"{_TOKENS}, A = (R_i - mean) / (std of the batch + 1e-6)"),
    "dpg": _rl("-(p(y) / pi(y)) rho, held but for rho, p = pi0 where R > 1/2, over Z", MATCHING),
    "gdc": _rl("-(p(y) / pi(y) - 1) rho, as dpg with the baseline 1", MATCHING),
    "js_dpg": _rl(
        f"rho A, A the leave-one-out of log 2 + log sigma(u), {_TARGET_LOG_RATIO}, P = pi0 exp(R / 0.1)", MATCHING
    ),
    "self": _rl(
        f"{_TOKENS}, A as in grpo, + 0.2 times -log pi(y) on completions of pi0; prompts that greedy decoding solves "
        "are left out"
    ),
    "remax": _rl("-A log pi(y), A = R - R of the greedy completion"),
    "reinforce_plus_plus": _rl(f"{_TOKENS}, A = (R - mean of the batch) / (std of the batch + 1e-6)"),
    "rloo_clip": _rl("-mean of min(rho A, clip(rho, 0.8, 1.2) A), A as in rloo of R - 0.05 h"),
    "grpo_trl": _rl(f"{_TOKENS}, A = (R_i - mean) / (std + 1e-4)"),
    "rapo": _rl(
        "-mean of (1/T) sum_t [min(rho_t A, clip(rho_t, 0.8, 1.2) A) - 0.1 (w_t - 1 - log w_t) + 0.01 entropy_t], A as "
        "in grpo, w_t = pi0(y_t)^phi / Z_t / pi(y_t) up to 10, phi the reward cut to [0, 1], held"
    ),
    "pacs": _rl(
        "w (log(1 + e^psi) - [R > 1/2] psi), psi = d_i - mean of the other d_j, d = log pi(y) - old log pi(y), none of "
        "them held; w = G / (2 n) in a group of both labels with n of its own, 1 in others",
    ),
    "luspo": _rl("-mean of T min(s A, clip(s, 0.998, 1.0025) A), s and A as in gspo"),
    "ace": _rl(
        "-mean of (1/T) sum_t min(rho_t A, clip(rho_t, 0.8, 1.2) A), A as in grpo, for wrong completions times "
        "1 + ln(1 + e^h), held"
    ),
    "rl_plus": _rl(
        "-mean of (1/horizon) sum_t rho_t A - 0.001 entropy, on rows from elsewhere 4 p_t / (3 q_t + 1) sqrt(1 - q_t) "
        "in the place of rho_t, p_t = exp(logp_t), q_t the same before the update; A = R_i - mean of all rows"
    ),
    "luffy": _rl(
        "-mean of (1/horizon) sum_t rho_t A - 0.001 entropy, on rows from elsewhere p_t / (p_t + 0.1) in the place of "
        "rho_t, p_t = exp(logp_t); A = R_i - mean of all rows"
    ),
    "calibrl": _rl(
        "-mean over tokens of max(min(rho_t A, clip(rho_t, 0.8, 1.2) A), 3 A where A < 0) - 0.1 |A| max(x_t, x_t / 2), "
        "A = R_i - mean, x_t = -s (logp_t - log q(e_t)), s = 1 for right completions and else -1, e_t the token of the "
        "expert at t, q the policy before the update"
    ),
    "rorecomp": _rl(
        "-mean of sum_t min(rho_t A, clip(rho_t, 0.8, 1.2) A), A as in grpo, of the shorter half of the right and the "
        "longer half of the wrong completions; the rest follows from a buffer, with probability 1/2"
    ),
    "prorl": _rl(
        "-mean over tokens of min(rho_t A, clip(rho_t, 0.8, 1.4) A) + 0.05 h^2 / 2 over the mean of T, A as in grpo; "
        "prompts of equal rewards are drawn again; where the reward has not risen for 20 steps pi0 becomes pi and the "
        "optimizer's moments 0"
    ),
    "mvsr": _rl(
        "-mean over tokens of min(rho_t A, clip(rho_t, 0.8, 1.3) A), at least 3 A, + 0.01 k3, A = (R - v) / std of the "
        "batch, centred, v the prompt's own rate of right completions so far"
    ),
    "mssr": _rl("as mvsr with A_t = A + min(0.4 H_t, |A| / 2), H_t = -p log p of the token that was drawn"),
    "apo": _rl(
        f"{_TOKENS} + 0.001 omega k3, A as in grpo, times 2 - 1.00001^-D for wrong completions D > 0 tokens longer "
        "than the group's right ones; omega = 1 - exp(-e acc) where A > 0, acc the group's share of right ones, else 1"
    ),
    "nsr": _rl("-A log pi(y), A = min(R_i - mean, 0)"),
    "psr": _rl("-A log pi(y), A = max(R_i - mean, 0)"),
    "stable_reinforce": _rl(
        "-mean of (1/T) sum_t min(rho_t A, clip(rho_t, 0.8, 1.2) A), rho_t bounded to [0.001, 1000] in its logarithm, "
        "A = (R - mean of the batch) / std of the batch where that is at most 3 in size, else 0"
    ),
    "rover": _rl(
        "mean over tokens of (logp_t - old logp_t - A - m_{t+1})^2, A = R_i - mean, m_t the mean over the vocabulary "
        "of log pi - log old before token t and 0 after the last, A and m held",
    ),
    "a2c": _rl("mean over tokens of -A_t logp_t + 0.5 (V - ret)^2 - 0.01 entropy, A by GAE", CRITIC),
    "ppo_rlhf": _rl(
        f"{_TOKENS} + 0.05 max((V - ret)^2, (V_clip - ret)^2), A by GAE, whitened, of "
        "r_t = -0.05 (logp_t - ref_logp_t), with R at the last token",
        CRITIC,
    ),
    "ob_rl": _rl("-(R - b) log pi(y), b the running mean of earlier rewards"),
    "cot_ro": _rl("-sum_t r_t logp_t, r_t the token's immediate reward: biased", density="process"),
    "cot_ro_to_go": _rl("-sum_t (sum_{s >= t} r_s) logp_t", density="process"),
    "sft": _Line("demonstrations", "-", LIKELIHOOD, "-mean over tokens of logp_t"),
    "dpo": _pairs("-log sigma(0.1 (h_w - h_l))"),
    "dpo_smoothed": _pairs("-0.9 log sigma(d) - 0.1 log sigma(-d), d = 0.1 (h_w - h_l)"),
    "dpo_robust": _pairs("(-0.9 log sigma(d) + 0.1 log sigma(-d)) / 0.8, d = 0.1 (h_w - h_l)"),
    "slic": _pairs("max(0, 1 - 0.1 (h_w - h_l))"),
    "ipo": _pairs("(h_w - h_l - 1 / (2 tau))^2, tau = 0.1"),
    "ipo_per_token": _pairs("(h_w / T_w - h_l / T_l - 1 / (2 tau))^2, tau = 0.1"),
    "kto": _Line(
        "labels of good and bad",
        "outcome",
        PREFERENCE,
        "1 - sigma(0.1 (h - z0)) for good and 1 - sigma(0.1 (z0 - h)) for bad ones, z0 the mean h of completions of "
        "other prompts, at least 0 and held",
    ),
    "orpo": _pairs(
        "-p_w - 0.1 log sigma(o_w - o_l), p the mean of logp_t over the completion's tokens, o = p - log(1 - e^p)"
    ),
    "simpo": _pairs("-log sigma(2 (p_w - p_l) - 1), p the mean of logp_t over the completion's tokens"),
    "cpo": _pairs("-log sigma(0.1 (log pi(y_w) - log pi(y_l))) - log pi(y_w)"),
    "una": _Line("scores", "outcome", PREFERENCE, "(0.1 h - z)^2, z the score (R - beta log Z on fixed data)"),
    "una_bce": _Line(
        "labels of good and bad", "outcome", PREFERENCE, "-z log sigma(0.1 h) - (1 - z) log sigma(-0.1 h)"
    ),
    "bradley_terry": _Line("preferences", "outcome", MODEL, "-log sigma(s_w - s_l), s the model's score"),
    "bradley_terry_margin": _Line("preferences", "outcome", MODEL, "-log sigma(s_w - s_l - margin)"),
    "bradley_terry_centred": _Line("preferences", "outcome", MODEL, "-log sigma(s_w - s_l) + 0.01 (s_w + s_l)^2"),
    "process_reward": _Line(
        "labels of steps",
        "process",
        MODEL,
        "-z_k log sigma(s_k) - (1 - z_k) log sigma(-s_k), a mean over the last tokens k of the steps; a completion's "
        "score is the min or the product of sigma(s_k)",
    ),
    "cql": _Line(
        "rewards of the data",
        "outcome",
        VALUE,
        "mean over tokens of (Q(s, a) - r - gamma max Q(s', .))^2 + logsumexp Q(s, .) - Q(s, a), gamma = 1",
    ),
    "ilql": _Line(
        "rewards of the data",
        "outcome",
        VALUE,
        "mean over tokens of (Q - r - 0.99 V(s'))^2 + |0.7 - 1[Q < V]| (Q - V)^2 + 0.1 (logsumexp Q(s, .) - Q); "
        "decodes with log pi_data + beta (Q - V)",
    ),
}


@dataclass(frozen=True)
class Pipeline:
    """Methods of the catalogue one after another, and what is between them."""

    stages: tuple[str, ...]
    reward: str
    density: str
    loss: str
    source: str


PIPELINES = {
    "rlhf": Pipeline(
        ("sft", "bradley_terry", "ppo_rlhf"),
        "human preferences",
        "outcome",
        "sft on demonstrations; bradley_terry on preferences; ppo_rlhf with R the model's score (LearnedReward)",
        "Ouyang et al. 2022, arXiv 2203.02155, eqs. 1 and 2",
    ),
    "rlaif": Pipeline(
        ("bradley_terry", "ppo_rlhf"),
        "AI preferences",
        "outcome",
        "as rlhf with the labels of a judge (Judge: agreement 1 - eta, bias delta(y))",
        "Lee et al. 2023, arXiv 2309.00267",
    ),
    "constitutional_ai": Pipeline(
        ("sft", "bradley_terry", "ppo_rlhf"),
        "AI preferences",
        "outcome",
        "sft on answers that the model itself criticised and revised; then rlaif",
        "Bai et al. 2022, arXiv 2212.08073",
    ),
    "verifier_guided": Pipeline(
        ("process_reward", "grpo"),
        "a learned verifier",
        "outcome or process",
        "process_reward (with one step a completion a verifier of outcomes); then an on-policy method with R = V(x, y)",
        "Cobbe et al. 2021, arXiv 2110.14168; survey arXiv 2507.04136",
    ),
    "una_on_policy": Pipeline(
        ("una",),
        "scores",
        "outcome",
        "una on the policy's own completions, made anew for each step (fresh): 2 beta times the gradient of "
        "beta KL(pi || pi0) - E R",
        "Wang et al. 2024, arXiv 2408.15339",
    ),
    "verifier_q": Pipeline(
        ("cql",),
        "rewards of the data",
        "process",
        "cql with the candidates for the next reasoning step in the place of tokens; the paper's bounded update and "
        "two expectiles are not here",
        "Qi et al. 2024, arXiv 2410.08048",
    ),
}


@dataclass(frozen=True)
class Entry:
    """A method as the catalogue shows it; `pieces` are the parts of its objective that are not the default, by name."""

    name: str
    kind: str
    reward: str
    density: str
    optimiser: str
    loss: str
    source: str
    pieces: dict[str, str]
    needs: tuple[str, ...]


def names() -> tuple[str, ...]:
    """All names of the catalogue, by optimiser."""
    every = [*CATALOGUE, *OFFLINE, *PIPELINES]
    return tuple(sorted(every, key=lambda name: OPTIMISERS.index(_optimiser(name))))


def entry(name: str) -> Entry:
    """What the catalogue says of a method; raises ValueError with the nearest name for an unknown one."""
    one_of("method", name, names())
    if name in PIPELINES:
        made = PIPELINES[name]
        stages = {"stages": ", ".join(made.stages)}
        needs = tuple(dict.fromkeys(need for stage in made.stages for need in entry(stage).needs))
        return Entry(name, "pipeline", made.reward, made.density, PIPELINE, made.loss, made.source, stages, needs)
    method: Method | OfflineMethod = CATALOGUE[name]() if name in CATALOGUE else OFFLINE[name]()
    line = _line(name)
    if isinstance(method, Method):
        pieces, needs = _changed(method.objective) | _changed(method, without=("objective", "source")), _needs(method)
    else:
        pieces, needs = {"loss": repr(method.loss)}, _offline_needs(method)
    return Entry(name, KINDS[line.optimiser], *line, source=method.source, pieces=pieces, needs=needs)


def _optimiser(name: str) -> str:
    return PIPELINE if name in PIPELINES else _line(name).optimiser


def _line(name: str) -> _Line:
    """What is written of a method; one that was added without a line is told by its pieces."""
    return _LINES.get(name) or _rl("see its pieces", CRITIC if CATALOGUE[name]().objective.needs_critic else NO_CRITIC)


def _changed(made: Any, without: tuple[str, ...] = ()) -> dict[str, str]:
    """The fields of a dataclass that are not what they would be by default."""
    found = {}
    for f in fields(made):
        default = f.default if f.default_factory is MISSING else f.default_factory()
        if f.name not in without and (value := getattr(made, f.name)) != default:
            found[f.name] = value if isinstance(value, str) else repr(value)
    return found


def _needs(method: Method) -> tuple[str, ...]:
    objective = method.objective
    wanted = {
        "a group of completions": objective.needs_group,
        "a reference": objective.needs_reference,
        "a critic": objective.needs_critic,
        "the vocabulary's probabilities": objective.needs_vocab,
        "a greedy completion": objective.needs_greedy,
        "rewards of single tokens": isinstance(getattr(objective, "advantage", None), TokenReturns),
        "the base policy's completions": method.forward_kl is not None,
        "solutions from elsewhere": method.data is not None,
    }
    return tuple(need for need, needed in wanted.items() if needed)


def _offline_needs(method: OfflineMethod) -> tuple[str, ...]:
    loss = method.loss
    data = {"pairs": "pairs", "labelled": "labelled completions", "demonstrations": "demonstrations", "steps": "steps"}
    models = {"score": "a reward model", "q": "Q", "q and v": "Q and V"}
    read = models.get(loss.reads)
    return (data[loss.data], *(["a reference"] if loss.needs_reference else []), *([read] if read else []))
