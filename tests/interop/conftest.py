from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest

GROUP = 4


def agg_loss(
    loss_mat, loss_mask, loss_agg_mode, dp_size=1, batch_num_tokens=None, global_batch_size=None, loss_scale_factor=None
):
    """verl's aggregations, as verl.json's notes define them; with the bool masks of its workers their 1e-8 is lost."""
    mask = loss_mask.double()
    n, tokens = global_batch_size or len(mask), batch_num_tokens or mask.sum()
    if loss_agg_mode == "token-mean":
        return (loss_mat * mask).sum() / tokens * dp_size
    each = (loss_mat * mask).sum(-1)
    if loss_agg_mode == "seq-mean-token-mean":
        each = each / mask.sum(-1)
    if loss_agg_mode == "seq-mean-token-sum-norm":
        each = each / (loss_scale_factor or loss_mask.shape[-1])
    return each.sum() / n * dp_size


def stand_in() -> ModuleType:
    """What toykit uses of verl.trainer.ppo.core_algos."""
    module = ModuleType("verl.trainer.ppo.core_algos")
    module.losses, module.estimators, module.agg_loss = {}, {}, agg_loss
    module.register_policy_loss = lambda name: lambda fn: module.losses.setdefault(name, fn)
    module.register_adv_est = lambda name: lambda fn: module.estimators.setdefault(name, fn)
    return module


@pytest.fixture
def core_algos(monkeypatch) -> ModuleType:
    """The stand-in where `import toykit.interop.verl` looks for verl; the import registers."""
    module = stand_in()
    for name in ("verl", "verl.trainer", "verl.trainer.ppo"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["verl.trainer.ppo"].core_algos = module
    monkeypatch.setitem(sys.modules, "verl.trainer.ppo.core_algos", module)
    monkeypatch.delitem(sys.modules, "toykit.interop.verl", raising=False)
    importlib.import_module("toykit.interop.verl")
    yield module
    sys.modules.pop("toykit.interop.verl")


@pytest.fixture
def handed(tricks, tmp_path):
    """Makes TRL trainers of the tricks' policy: 2 prompts x 4 completions a batch, in `pieces` micro-batches.

    Each piece is one optimizer step, so that TRL keeps the log-probabilities of the policy that made the completions.
    """
    from toykit.interop import trl

    def make(objective=None, policy=None, reference=None, pieces=4, **options):
        size = {"per_device_train_batch_size": 2 * GROUP // pieces, "steps_per_generation": pieces}
        args = trl.config(tricks.task, tmp_path, 1, group_size=GROUP, **{**size, **options})
        return trl.trainer(policy or tricks.policy(), tricks.task, args, objective, reference)

    return make
