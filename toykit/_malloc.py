"""Keeping memory that is freed for what comes next, where glibc would give it back to the system."""

from __future__ import annotations

import ctypes
import os
import sys

LARGEST = 2**25  # bytes of one array; glibc takes no larger limit
KEPT = 2**29  # bytes of freed memory that are kept at most

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's numbers for the two settings


def keep_freed() -> bool:
    """Lets this process keep up to `KEPT` bytes that it has freed, of arrays up to `LARGEST`; True where it now does.

    Left to itself glibc gives them back, and the system hands the next array out page by page, which can take as long
    as the work on it. Changes nothing without glibc, and where the environment has its own settings of malloc.
    """
    chosen = any(name.startswith("MALLOC_") for name in os.environ) or "glibc.malloc" in os.getenv("GLIBC_TUNABLES", "")
    if chosen or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(*s) for s in ((_MMAP_THRESHOLD, LARGEST), (_TRIM_THRESHOLD, KEPT)))
