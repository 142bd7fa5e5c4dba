"""The machine that is measured: versions, memory, device, and which packages are there."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path


def installed(package: str) -> bool:
    """Whether a package could be imported; it is not."""
    return importlib.util.find_spec(package) is not None


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """{name: version} of Python, toykit and distributions; None for one that is not installed. Imports none."""
    from toykit import __version__

    found: dict[str, str | None] = {"python": platform.python_version(), "toykit": __version__}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> dict[str, int | None]:
    """Bytes of main memory {"total", "available"}; None for what the system does not tell."""
    found = _proc("/proc/meminfo")
    return {"total": found.get("MemTotal"), "available": found.get("MemAvailable")}


def peak_memory() -> int | None:
    """The most bytes that this process has held in main memory, None where the system does not tell.

    Linux counts it anew for each program that is started, where getrusage keeps the value of the process before it.
    """
    if (peak := _proc("/proc/self/status").get("VmHWM")) is not None:
        return peak
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def _proc(path: str) -> dict[str, int]:
    """Bytes by name from a file of lines "Name: 123 kB"; nothing where there is no such file."""
    if not Path(path).exists():
        return {}
    lines = (line.split() for line in Path(path).read_text().splitlines())
    return {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}
