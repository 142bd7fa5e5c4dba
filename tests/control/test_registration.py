"""The environments are there after the import, in whatever order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import toykit.control
from toykit.control.registration import IDS, register

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "imports",
    ["import toykit.control, gymnasium", "import gymnasium, toykit.control", "import gymnasium"],
)
def test_the_environments_are_registered_in_whatever_order_the_imports_come(imports):
    name = "toykit/Tree-v0" if "toykit" in imports else "toykit.control:toykit/Tree-v0"
    code = f"{imports}\nprint(type(gymnasium.make({name!r}).unwrapped).__name__)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stdout.split() == ["TreeEnv"], done.stderr


def test_a_second_registration_changes_nothing():
    from gymnasium.envs.registration import registry

    before = {name: registry[name] for name in IDS}
    register()
    assert all(registry[name] is spec for name, spec in before.items())


def test_planning_loads_no_scipy_and_no_transformers():
    plan = "from toykit.control import policy_iteration, river_swim; policy_iteration(river_swim())"
    code = f"import sys; {plan}; print([m for m in ('scipy', 'transformers', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_every_public_name_is_there():
    for name in toykit.control.__all__:
        assert getattr(toykit.control, name) is not None


@pytest.mark.parametrize(
    ("name", "options", "best"),
    [
        ("DecoyCorridor", {"length": 4, "decoy": 0.5, "n_actions": 2}, 1.0),
        ("GridWorld", {"design": "shaped", "slip": 0.0}, 2.4),
        ("LinearQ", {"u": 2}, 10.0),
        ("StitchingMaze", {"horizon": 3}, 1.503214724408055),  # exp(-2) + exp(-1) + 1
    ],
)
def test_worlds_are_environments_with_their_tables_behind_them(name, options, best):
    import gymnasium

    mdp = gymnasium.make(f"toykit/{name}-v0", **options).unwrapped.mdp
    assert (mdp.start @ toykit.control.backward_induction(mdp).v[0]).item() == pytest.approx(best, abs=1e-12)
