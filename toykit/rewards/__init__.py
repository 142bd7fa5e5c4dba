"""How is a completion scored beyond right and wrong? Named terms with weights, added to the task's reward."""

from toykit.rewards.terms import Shaping, SoftOverlong, Term, length

__all__ = ["Shaping", "SoftOverlong", "Term", "length"]
