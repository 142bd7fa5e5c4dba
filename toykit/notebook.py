"""What a notebook needs: `setup` opens one, `check` grades in one, `python -m toykit.notebook run` executes some."""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import sys
import time
import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from toykit import __version__
from toykit._checks import at_least, one_of
from toykit._malloc import keep_freed
from toykit.exercises import Verdict, find, grade, registry
from toykit.plots.explorer import VIEW
from toykit.plots.images import register
from toykit.plots.style import use
from toykit.training.checkpoint import write_whole

MOST_THREADS = 4  # the tensors of a toy are small: more threads only wait for each other


def setup(seed: int = 0, dtype: str | torch.dtype = "float64", threads: int | None = None) -> torch.Generator:
    """Opens a notebook: seeds, default dtype, threads, quiet warnings, the house style; prints one line on all that.

    `dtype` is "float64" (rung 0) or "float32"; `threads` are torch's (by default OMP_NUM_THREADS, else at most 4).
    Memory that is freed is kept for the next array, up to half a gigabyte (`toykit._malloc`).
    Returns a CPU generator with the seed. Python's, numpy's and torch's global generators get it too, for code that
    is not toykit's.
    """
    at_least("seed", seed, 0)
    kind = one_of("dtype", str(dtype).removeprefix("torch."), ("float64", "float32"))
    count = _threads() if threads is None else int(at_least("threads", threads, 1))
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.set_default_dtype(getattr(torch, kind))
    torch.set_num_threads(count)
    keep_freed()
    _quiet()
    use()
    _display()
    parts = [
        f"toykit {__version__}",
        f"torch {torch.__version__}",
        f"Python {platform.python_version()}",
        torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        f"{count} thread{'s' if count > 1 else ''}",
        kind,
        f"seed {seed}",
    ]
    print(" · ".join(parts))
    return torch.Generator().manual_seed(seed)


def _threads() -> int:
    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        return max(1, int(os.environ["OMP_NUM_THREADS"]))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_THREADS)


def _quiet() -> None:
    """Silences what a reader can do nothing about; warnings of toykit's own doing stay."""
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category)
    warnings.filterwarnings("ignore", message=".*IProgress not found")
    warnings.filterwarnings("ignore", message=".*CSR tensor support is in beta")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _display() -> None:
    """Teaches IPython, where it runs, to show the house's figures, and a generator without its address."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return
    register(shell)
    texts = shell.display_formatter.formatters["text/plain"]
    texts.for_type(torch.Generator, lambda g, printer, cycle: printer.text(f"generator with seed {g.initial_seed()}"))


def check(name: str, answer: Any) -> Verdict:
    """Grades the answer to an exercise: "01.ex1", or "ex1" where only one lesson of this notebook has it.

    The answer is a function or a value, as the exercise asks. Returns a `Verdict` whose message names a known
    mistake; raises ValueError with the nearest name for an exercise that does not exist.
    """
    number = name.partition(".")[0]
    if name not in registry() and number.isdigit():
        from toykit.lessons import load

        load(number)
    return grade(find(name), answer)


@dataclass(frozen=True)
class Report:
    """An executed notebook: wall seconds with the kernel's start, peak memory of the kernel, lines left out."""

    path: Path
    seconds: float
    peak_mb: float
    dropped: int

    def __str__(self) -> str:
        dropped = f", {self.dropped} lines on stderr left out" if self.dropped else ""
        return f"{self.path}: {self.seconds:.1f} s, peak {self.peak_mb:.0f} MB{dropped}"


# Peak memory in bytes. Linux's getrusage would count what the parent used before the kernel began.
PROBE = """
import sys
if sys.platform == "linux":
    print(1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")))
else:
    import resource
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def execute(path: Path, timeout: int = 600) -> Report:
    """Runs a notebook from a clean kernel and saves it with its outputs, in a form that stays the same.

    Raises nbclient's CellExecutionError, and leaves the file as it was, where a cell fails.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    work = deepcopy(notebook)
    work.cells.append(nbformat.v4.new_code_cell(PROBE, metadata={"tags": ["raises-exception"]}))
    client = NotebookClient(
        work,
        timeout=timeout,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        resources={"metadata": {"path": str(path.parent)}},
    )
    began = time.perf_counter()
    client.execute(env={**os.environ, "TOYKIT_STATIC": "1"})
    seconds = time.perf_counter() - began
    probe = work.cells.pop()
    dropped = trim(work)
    write_whole(path, nbformat.writes(work).encode() + b"\n")
    return Report(path, seconds, _megabytes(probe), dropped)


def _megabytes(probe: Any) -> float:
    """The probe's answer in MB; NaN where the system has no such count."""
    told = "".join(out.text for out in probe.outputs if out.get("name") == "stdout")
    return int(told) / 1e6 if told.strip().isdigit() else float("nan")


def trim(notebook: Any) -> int:
    """Removes what differs from run to run: timings, widget state, progress bars, stderr, paths of tracebacks.

    Returns how many lines on stderr were left out.
    """
    notebook.metadata = {
        **{k: v for k, v in notebook.metadata.items() if k != "widgets"},
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    dropped = 0
    for cell in notebook.cells:
        for noise in ("execution", "ExecuteTime"):
            cell.metadata.pop(noise, None)
        if cell.cell_type == "code":
            dropped += sum(out.text.count("\n") or 1 for out in cell.outputs if out.get("name") == "stderr")
            cell.outputs = _stable(cell.outputs)
    return dropped


def _stable(outputs: Sequence[Any]) -> list[Any]:
    kept: list[Any] = []
    for out in outputs:
        if out.output_type == "stream":
            if out.name == "stderr":
                continue
            if kept and kept[-1].output_type == "stream":  # where a stream is cut depends on the clock
                kept[-1].text += out.text
            else:
                kept.append(out)
            continue
        if out.output_type == "error":
            out.traceback = [f"{out.ename}: {out.evalue}"]
        elif VIEW in out.data:
            del out.data[VIEW]
            if set(out.data) <= {"text/plain"}:  # a widget alone, such as a progress bar
                continue
        kept.append(out)
    for out in kept:
        if out.output_type == "stream":
            out.text = re.sub(r"[^\n]*\r(?!\n)", "", out.text)  # a line that was written over
    return kept


COLOURS = r"\x1b\[[0-9;]*m"  # of a traceback


def find_notebooks(paths: Sequence[Path]) -> list[Path]:
    """The notebooks that are named and those in folders that are named; raises ValueError where there is none."""
    found = []
    for path in paths:
        inside = sorted(p for p in path.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
        if path.is_file():
            inside = [path]
        if not inside:
            raise ValueError(f"paths must be notebooks or folders that hold some, got {path}")
        found += inside
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: returns 1 where a notebook failed, having tried them all."""
    from nbclient.exceptions import CellExecutionError, CellTimeoutError

    parser = argparse.ArgumentParser(prog="python -m toykit.notebook", description=__doc__)
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="execute notebooks from clean kernels and save their outputs")
    run.add_argument("paths", nargs="+", type=Path, help="notebooks, or folders that hold some")
    run.add_argument("--timeout", type=int, default=600, help="seconds that a cell may take (600)")
    chosen = parser.parse_args(arguments)
    try:
        found = find_notebooks(chosen.paths)
    except ValueError as error:
        parser.error(str(error))
    failed = 0
    for path in found:
        try:
            print(execute(path, chosen.timeout), flush=True)
        except (CellExecutionError, CellTimeoutError) as error:
            failed += 1
            print(f"{path}: failed\n{re.sub(COLOURS, '', str(error))}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
