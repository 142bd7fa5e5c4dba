"""A small atlas: one problem, and results that are written by hand."""

from __future__ import annotations

import pytest
import torch

from toykit.atlas import MEASURES, problems


@pytest.fixture
def one_problem(monkeypatch):
    """The ladder alone, with a network that is fitted to it only roughly."""
    for name in ("lengths", "shared"):
        monkeypatch.delitem(problems.PROBLEMS, name)
    monkeypatch.setattr(problems, "FIT_STEPS", 40)
    problems._fitted.cache_clear()
    yield problems.PROBLEMS["ladder"]()
    problems._fitted.cache_clear()


@pytest.fixture
def by_hand():
    """Results of ten methods on two problems with three seeds: on the gpt rung the order of all measures is that of
    the exact one but for the last two methods, which are exchanged; `slic` failed on one problem, `dpo` is offline."""
    names = ["reinforce", "rloo", "kl_rl", "ppo", "grpo", "dr_grpo", "dapo", "gspo", "dpo", "slic"]
    noise = torch.tensor([-0.01, 0.0, 0.01])

    def trained(value):
        return {"lr": 0.1, "figures": {m: (value + noise).tolist() for m in MEASURES}}

    def method(i, name):
        swapped = {7: 8, 8: 7}.get(i, i)
        rungs = {
            "exact": {"ladder": trained(i / 10), "shared": trained(i / 20)},
            "gpt": {"ladder": trained(swapped / 11), "shared": trained(swapped / 22)},
        }
        if name == "slic":
            rungs["gpt"]["shared"] = {"failed": "logp must be finite"}
        sheet = {
            "properties": {
                "direction.objective": {"verdict": "exact", "detail": "the gradient of E[r]"},
                "edges.empty": {"verdict": "fault", "detail": "<nan>"},
            },
            "diagnosis": [],
            "notes": [],
        }
        offline = name in ("dpo", "slic")
        kind = "offline" if offline else "on policy"
        return {
            "kind": kind,
            "source": "a paper",
            "audit": None if offline else sheet,
            "unaudited": "no group" if offline else None,
            "rungs": rungs,
        }

    start = {rung: dict.fromkeys(MEASURES, 0.05) for rung in ("exact", "gpt")}
    about = {"about": "small", "right": [[0.1]], "reference": start, "apart": 0.0}
    return {
        "made": {"command": "toykit atlas", "seeds": [0, 1, 2], "workers": 1, "seconds": 12.0, "cpu_seconds": 11.0},
        "settings": {
            "seeds": 3,
            "steps": 5,
            "rungs": ["exact", "gpt"],
            "group_size": 8,
            "beta": 0.1,
            "rate": "by a rule",
            "data": "some completions",
            "measures": MEASURES,
        },
        "problems": {"ladder": about, "shared": about},
        "left_out": {"cql": "it trains values and no policy"},
        "methods": {name: method(i, name) for i, name in enumerate(names)},
    }
