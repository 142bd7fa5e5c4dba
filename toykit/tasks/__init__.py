"""What is asked, and what is right? Tasks: vocabularies, prompts and scorers of completions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from toykit._checks import one_of
from toykit.tasks.alternating import AlternatingSum
from toykit.tasks.arithmetic import Arithmetic
from toykit.tasks.bandit import Bandit, TreeTask, kl_bayes_tree, random_bandit, tricks_tree
from toykit.tasks.base import Prompts, Task, Vocab, split_of, texts
from toykit.tasks.chain_sum import ChainSum
from toykit.tasks.expressions import Expression, evaluate, random_expression
from toykit.tasks.features import FeatureBandit, FeatureTree, sft_base
from toykit.tasks.jsonl import JsonlTask, Problem
from toykit.tasks.letters import Letters
from toykit.tasks.mdp import TreeMDP, tree_mdp
from toykit.tasks.operator import Operator
from toykit.tasks.operator_chain import OperatorChain
from toykit.tasks.programs import Programs
from toykit.tasks.sorting import Sorting
from toykit.tasks.tokenizer import TokenizerVocab
from toykit.tasks.tree import FORBIDDEN, LEAF, Tree
from toykit.tasks.verifiers import Verifier, last_number, verifier

__all__ = [
    "FORBIDDEN",
    "LEAF",
    "NAMES",
    "AlternatingSum",
    "Arithmetic",
    "Bandit",
    "ChainSum",
    "Expression",
    "FeatureBandit",
    "FeatureTree",
    "JsonlTask",
    "Letters",
    "Operator",
    "OperatorChain",
    "Problem",
    "Programs",
    "Prompts",
    "Sorting",
    "Task",
    "TokenizerVocab",
    "Tree",
    "TreeMDP",
    "TreeTask",
    "Verifier",
    "Vocab",
    "constructor",
    "evaluate",
    "kl_bayes_tree",
    "last_number",
    "make",
    "random_bandit",
    "random_expression",
    "sft_base",
    "split_of",
    "texts",
    "tree_mdp",
    "tricks_tree",
    "verifier",
]


def _bandit(rewards: Any = None, n_prompts: int = 4, n_arms: int = 8, seed: int = 0) -> Bandit:
    return random_bandit(n_prompts, n_arms, seed) if rewards is None else Bandit(rewards)


def _tree(seed: int = 0) -> TreeTask:
    return kl_bayes_tree(seed)[0]


_TASKS: dict[str, Callable[..., Task]] = {
    "alternating_sum": AlternatingSum,
    "arithmetic": Arithmetic,
    "bandit": _bandit,
    "chain_sum": ChainSum,
    "feature_bandit": FeatureBandit,
    "feature_tree": FeatureTree,
    "letters": Letters,
    "operator": Operator,
    "operator_chain": OperatorChain,
    "programs": Programs,
    "sorting": Sorting,
    "tree": _tree,
}

NAMES = tuple(_TASKS)


def make(name: str, **options: Any) -> Task:
    """The task of that name (one of `NAMES`), or of a path that ends in .jsonl, with the options of its constructor.

    A JSONL task needs the option `tokenizer`; see `JsonlTask.load`. Raises ValueError for an unknown name or option,
    with the nearest one.
    """
    if name.endswith(".jsonl"):
        if options.get("tokenizer") is None:
            raise ValueError(f"tokenizer must be given for the task {name}: a transformers tokenizer or a Vocab")
        options = {"path": name, **options}
    build = constructor(name)
    known = inspect.signature(build).parameters
    for option in options:
        one_of(f"option of task {name}", option, known)
    return build(**options)


def constructor(name: str) -> Callable[..., Task]:
    """What `make` calls with its options; raises ValueError for an unknown name, with the nearest one."""
    return JsonlTask.load if name.endswith(".jsonl") else _TASKS[one_of("task", name, NAMES)]
