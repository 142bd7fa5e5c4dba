"""Whose trainer runs it? The same objectives and policies inside TRL and verl, which are imported where they are used.

`toykit.interop.trl` trains a toykit policy, or any objective, under TRL's GRPOTrainer; importing `toykit.interop.verl`
registers the objectives that verl can express.
"""
