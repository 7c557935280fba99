"""Trials that processes share: a small file for each finished trial, and a lock for the process that works on it.

A lock ends with its process, however that ends, so that a killed trial becomes free again. Processes need not know of
each other: each takes the next free trial.
"""

import fcntl
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import result

from yoco.disk import replace_file


def key(**content: Any) -> str:
    """A short name of whatever a trial rests on, so that one made under other settings is not taken for it."""
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=4).hexdigest()


class Folder:
    """The folder of an experiment. part: (i, n) does every n-th trial only; (1, 1) does none, and reads what is there.

    settings: what all its trials depend on, such as the data; the names of their files change with them.
    missing, there: how many of the trials passed to `keep` have no result, or have one.
    """

    def __init__(self, path: Path, part: tuple[int, ...] = (0, 1), **settings: Any) -> None:
        self.path, self.part, self.at, self.missing, self.there = path, tuple(part), 0, 0, 0
        self.ending = f"-{key(**settings)}" if settings else ""

    def keep(self, name: str, work: Callable[[], dict[str, Any]], shared: bool = False) -> dict[str, Any] | None:
        """The result of a trial: read, or made now if it belongs to this process and no other works on it; else None.

        The file also records the commit and, unless the work does, where it was done.
        shared: all parts need this trial: the first process that comes does it, and the others wait for it.
        """
        path = self.file(name, "json")
        mine = self.part[0] < self.part[1] and (shared or self.at % self.part[1] == self.part[0])
        self.at += not shared
        if mine and not path.is_file():
            with self.file(name, "claim").open("w") as handle:
                if claimed(handle, wait=shared) and not path.is_file():
                    result.keep(path, {"made_on": result.made_on(), **work(), "commit": result.commit()})
                    print(path.stem, flush=True)
        found = path.is_file()
        self.missing, self.there = self.missing + (not found), self.there + found
        return dict(json.loads(path.read_text())) if found else None

    def file(self, name: str, ending: str) -> Path:
        """Where something of a trial is kept."""
        return self.path / f"{name.replace(':', '_').replace('/', '_')}{self.ending}.{ending}"

    def complete(self) -> bool:
        """Whether to write the result: all trials are there, or this process was to do none, and some are."""
        if self.missing:
            print(f"{self.missing} trials are missing: other processes are at them, or they are to be done", flush=True)
        return self.missing == 0 or (self.part[0] >= self.part[1] and self.there > 0)


def once(path: Path, make: Callable[[Path], object]) -> Path:
    """A file that all processes need: made by the first that comes, whole or not at all; others wait for it."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".claim").open("w") as handle:
            claimed(handle, wait=True)
            if not path.is_file():
                replace_file(path, make)
    return path


def claimed(handle: IO[str], wait: bool) -> bool:
    """Whether the lock on this file is ours, until the file is closed; when another has it, wait or answer False."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
