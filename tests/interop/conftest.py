from __future__ import annotations

import pytest

GROUP = 4


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
