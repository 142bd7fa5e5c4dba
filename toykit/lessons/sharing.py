"""Work on one folder that several processes share out: who begins a piece has it, the others take the next one.

Pieces are what an experiment keeps in its folder: the runs of a comparison, a base that is pretrained, results that
are remembered. The system gives back what a process held that has died, so that another one goes on with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout

from toykit.training import Processes
from toykit.training.checkpoint import write_whole

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@contextmanager
def held(lock: Path | None, wait: bool = True) -> Iterator[bool]:
    """Within, no other process holds the file `lock`; False where one does and this one does not `wait` for it.

    Nothing is locked where there is no file, and in processes that train together, which do every piece together.
    """
    if lock is None or Processes.here().several:
        yield True
        return
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        taken = FileLock(lock).acquire(blocking=wait)
    except Timeout:
        yield False
        return
    with taken:
        yield True


def shared(makes: Mapping[K, Callable[[], T]], lock: Callable[[K], Path | None]) -> dict[K, T]:
    """What each function gives, called while its lock is held: first those that no other process holds.

    A function finds what another process has kept, or goes on from there.
    """
    found: dict[K, T] = {}
    for wait in (False, True):
        for key, make in makes.items():
            if key in found:
                continue
            with held(lock(key), wait) as mine:
                if mine:
                    found[key] = make()
    return {key: found[key] for key in makes}


def remembered(
    makes: Mapping[str, Callable[[], T]], folder: Path | None, progress: bool = False, unit: str = "it"
) -> dict[str, T]:
    """What each function gives, which is JSON-able; kept as NAME.json in `folder` and read from there the next time."""
    from tqdm.auto import tqdm

    def one(name: str) -> T:
        path = None if folder is None else folder / f"{name}.json"
        if path is None or not path.exists():
            found = makes[name]()
            if path is not None:
                write_whole(path, json.dumps(found).encode())
        else:
            found = json.loads(path.read_text())
        bar.update()
        return found

    with tqdm(total=len(makes), unit=unit, disable=not progress) as bar:
        return shared(
            {name: partial(one, name) for name in makes},
            lambda name: None if folder is None else folder / f".{name}.lock",
        )
