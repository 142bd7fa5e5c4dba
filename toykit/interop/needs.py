"""What a method needs beside log-probabilities and rewards of sampled groups, and who cannot supply it."""

from __future__ import annotations

from collections.abc import Collection

from toykit.objectives import Method, Objective, PolicyGradient, RunningMean, TokenReturns, Tracker, method


def as_method(objective: str | Method | Objective) -> Method:
    """The method of a name, or of an objective alone; raises ValueError for an unknown name, with the nearest one."""
    given = method(objective) if isinstance(objective, str) else objective
    return given if isinstance(given, Method) else Method(given, "given")


def needs(given: Method) -> dict[str, str]:
    """What a method asks of the library around it: {kind: in words}.

    The kinds are critic, greedy, vocabulary, tokens, running, base, selection, recomposition, schedule (of the
    reference), shaping, reference (in the loss alone), penalty (a reference in the reward), penalties (further terms of
    the loss), transforms (of the advantages), log_clip, weights (of a KL), external (weights of tokens that another
    policy wrote), solutions (in the batch), prepared (log-probabilities, the reference's too, where advantages are
    made), groups (whole ones, in the loss) and loss (another one than a policy gradient).
    """
    if given.objective.whole_groups:
        return {"groups": "whole groups where the loss is computed"}
    if not isinstance(given.objective, PolicyGradient):
        return {"loss": f"a loss that is no policy gradient ({type(given.objective).__name__})"}
    objective, found = given.objective, {}
    if objective.needs_critic:
        found["critic"] = "a critic's values"
    if objective.needs_greedy:
        found["greedy"] = "the reward of each prompt's greedy completion"
    if objective.needs_vocab:
        whose = ", ".join(type(term).__name__ for term in objective.penalties if term.needs_vocab)
        found["vocabulary"] = f"log-probabilities of the whole vocabulary ({whose or 'kl estimator ' + repr('exact')})"
    if isinstance(objective.advantage, TokenReturns):
        found["tokens"] = "rewards of single tokens"
    if isinstance(objective.advantage, RunningMean):
        found["running"] = "a mean of the rewards that is kept from batch to batch"
    if isinstance(objective.advantage, Tracker):
        found["running"] = "a value of each prompt that is kept from batch to batch"
    if given.forward_kl is not None:
        found["base"] = "completions of the base policy (its forward KL)"
    if given.selection is not None:
        found["selection"] = f"the selection of prompts {given.selection!r}"
    if given.recomposition is not None:
        found["recomposition"] = "a batch that is recomposed after the advantages"
    if given.reference is not None and given.reference.kind != "frozen":
        found["schedule"] = "a reference that is reset" if given.reference.kind == "reset" else "a reference that moves"
    if given.shaping is not None:
        found["shaping"] = f"the reward's shaping by {', '.join(given.shaping.terms)}"
    if objective.kl is not None and objective.kl.route != "autodiff":
        found["penalty"] = f"a KL penalty by the route {objective.kl.route!r}"
    elif objective.kl is not None:
        found["reference"] = "the reference's log-probabilities in the loss"
    if objective.penalties:
        found["penalties"] = "terms beside the surrogate (its penalties)"
    if objective.transforms:
        names = ", ".join(type(t).__name__ for t in objective.transforms)
        found["transforms"] = f"advantages that are transformed ({names})"
    if objective.log_clip is not None:
        found["log_clip"] = "a bound of the ratio's logarithm"
    if objective.kl is not None and objective.kl.weight is not None:
        found["weights"] = "a KL penalty that is weighted by completion"
    if objective.external is not None:
        found["external"] = f"a weight of tokens that another policy wrote ({type(objective.external).__name__})"
    if given.data is not None:
        found["solutions"] = f"solutions from elsewhere (extras[{given.data!r}])"
    if objective.signal is not None:
        found["prepared"] = "the policy's and the reference's log-probabilities where advantages are made (its signal)"
    return found


def lacking(given: Method, supplied: Collection[str]) -> list[str]:
    """What a method needs, in words, and that is not among the kinds `supplied`."""
    return [words for kind, words in needs(given).items() if kind not in supplied]


def check_supplied(given: Method, supplied: Collection[str], library: str) -> None:
    """Raises ValueError naming all that a method needs and a library cannot supply."""
    if absent := lacking(given, supplied):
        raise ValueError(f"objective must be one that {library} can run, this one needs {' and '.join(absent)}")
