"""Importing toykit is cheap, and a tabular lesson never pays for transformers."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import toykit

ROOT = Path(__file__).parents[1]
NOT_CORE = ("transformers", "accelerate", "matplotlib", "gymnasium", "sklearn", "pandas", "ipywidgets")
HEAVY = ("torch", "transformers", "numpy", "matplotlib", "gymnasium", "scipy", "ipywidgets", "tensorboard")
PUBLIC = [name for name in toykit.__all__ if name != "__version__"]


def loaded_by(code):
    """The modules of a fresh process after `code`."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_importing_toykit_loads_nothing_heavy():
    assert loaded_by("import toykit").isdisjoint(HEAVY)


def test_listing_toykit_loads_nothing_heavy():
    assert loaded_by("import toykit; dir(toykit)").isdisjoint(HEAVY)


def test_policies_and_training_load_torch_alone():
    packages = "tasks, policies, rollouts, rewards, objectives, selection, training, exact, diagnostics"
    loaded = loaded_by(f"from toykit import {packages}, TabularLM, GPT, PolicyGradient, Trainer")
    assert "torch" in loaded
    assert loaded.isdisjoint(NOT_CORE)


def test_control_loads_nothing_of_its_extra():
    loaded = loaded_by("import toykit.control, toykit.control.online.baselines")
    assert loaded.isdisjoint(("stable_baselines3", "minigrid", "tensorboard", "matplotlib"))


def test_opening_a_notebook_loads_no_transformers():
    loaded = loaded_by("import toykit; toykit.setup(seed=0); toykit.explore, toykit.check")
    assert loaded.isdisjoint(("transformers", "accelerate", "sklearn", "pandas", "scipy", "matplotlib.pyplot"))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there(name):
    assert getattr(toykit, name) is not None
    assert name in dir(toykit)


def test_a_name_stays_the_same_object():
    assert toykit.setup is toykit.setup


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(AttributeError, match="module 'toykit' has no attribute 'explor'; did you mean 'explore'?"):
        toykit.explor  # noqa: B018 (the access is the test)
    with pytest.raises(AttributeError, match="has no attribute 'xyzzy'$"):
        toykit.xyzzy  # noqa: B018


def test_an_unknown_name_cannot_be_imported():
    with pytest.raises(ImportError, match="cannot import name 'Rolouts'"):
        from toykit import Rolouts  # noqa: F401


def test_the_version_is_the_projects():
    assert toykit.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_an_audit_of_toykits_own_loads_no_transformers():
    loaded = loaded_by("from toykit.audit import audit; audit('grpo')")
    assert loaded.isdisjoint(("transformers", "trl", "accelerate", "datasets", "verl", "matplotlib.pyplot"))
