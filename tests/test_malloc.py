"""Memory that is freed is kept where that was asked for, which the system's count of pages shows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = """
import ctypes, resource

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def made():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        arrays = [libc.malloc({bytes}) for _ in range(5)]
        for array in arrays:
            ctypes.memset(array, 1, {bytes})
        for array in arrays:
            libc.free(array)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

{first}
made()
print(made())
"""

pytestmark = pytest.mark.skipif(
    not (sys.platform.startswith("linux") and os.confstr("CS_GNU_LIBC_VERSION")), reason="only glibc gives memory back"
)


def pages(first="", size=8_000_000, **environment):
    """How many pages the system hands out for ten times five arrays, once as many were made and freed."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    env = clean | {"PYTHONPATH": str(ROOT)} | environment
    code = PAGES.format(first=first, bytes=size)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1])


KEEP = "from toykit._malloc import keep_freed; assert keep_freed()"
WITHOUT = "from toykit._malloc import keep_freed; assert not keep_freed()"
COMMANDS = """
from toykit.cli import main
try:
    main(["--version"])
except SystemExit:
    pass
"""


def test_the_system_is_asked_for_no_page_that_was_given_back():
    assert pages() > 1_000
    assert pages(KEEP) < 100


@pytest.mark.parametrize("first", ["import toykit; toykit.setup()", COMMANDS], ids=["notebook", "command line"])
def test_notebooks_and_the_command_line_keep_it(first):
    assert pages(first) < 100


def test_larger_arrays_are_given_back():
    assert pages(KEEP, size=50_000_000) > 1_000


@pytest.mark.parametrize(
    "chosen", [{"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}], ids=str
)
def test_settings_of_the_environment_are_left_alone(chosen):
    assert pages(WITHOUT, **chosen) > 1_000


def test_other_tunables_are_none_of_malloc():
    assert pages(KEEP, GLIBC_TUNABLES="glibc.rtld.optional_static_tls=1024") < 100
