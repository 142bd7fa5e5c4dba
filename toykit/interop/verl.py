"""toykit inside verl: importing this module registers the catalogue's methods as `toykit_NAME`.

Each becomes an advantage estimator and a policy loss. `refused` says why the others are not there, `settings` gives
the lines of a job that runs one, and `register` adds an objective of your own.
"""

from __future__ import annotations

from toykit.interop import verl_methods
from toykit.interop.verl_methods import PREFIX, settings
from toykit.objectives import Method, Objective

try:
    from verl.trainer.ppo import core_algos
except ImportError as error:
    raise ImportError(
        "toykit.interop.verl must be imported where verl is installed, in verl's own environment"
    ) from error

__all__ = ["refused", "register", "registered", "settings"]

refused = verl_methods.refusals()
registered = tuple(PREFIX + name for name in verl_methods.expressible())


def register(name: str, objective: str | Method | Objective) -> None:
    """Puts an objective into verl's registries under `name`, in every process that runs this line.

    Raises ValueError for an objective that needs what verl cannot supply.
    """
    verl_methods.register(core_algos, name, objective)


for _name, _method in verl_methods.expressible().items():
    register(PREFIX + _name, _method)
