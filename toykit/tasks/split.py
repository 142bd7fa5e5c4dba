"""A split into train and test by a stable hash of the text, so that a problem is always on the same side."""

from __future__ import annotations

import hashlib

from toykit._checks import at_least


def hash_share(text: str) -> float:
    """A number in [0, 1), uniform over texts and the same on every machine (SHA-256)."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def in_test(text: str, test_fraction: float) -> bool:
    """Whether `text` is held out; a problem held out at one fraction is held out at every larger one."""
    return hash_share(text) < test_fraction


def check_test_fraction(test_fraction: float) -> float:
    """Returns `test_fraction`; raises ValueError unless it is in [0, 1)."""
    if not at_least("test_fraction", test_fraction, 0) < 1:
        raise ValueError(f"test_fraction must be < 1, got {test_fraction}")
    return test_fraction
