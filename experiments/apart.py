"""Measure time and peak memory of a piece of work in a process of its own, and keep what was measured."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import result

T = TypeVar("T")


def kept(script: str, how: dict[str, Any], path: Path) -> dict[str, Any]:
    """What `script --one HOW` prints as JSON, with `how`, unless an earlier run has written it to `path`."""
    if not path.is_file():
        command = [sys.executable, script, "--one", json.dumps(how)]
        one = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=one).stdout)
        result.keep(path, {**how, **found, "commit": result.commit()})
        print({**how, **{key: found[key] for key in ("seconds", "megabytes")}}, flush=True)
    return dict(json.loads(path.read_text()))


def timed(work: Callable[[], T]) -> tuple[T, dict[str, float]]:
    """The answer of the work, its seconds, and how far it raised the peak memory of this process, in MiB."""
    baseline, began = peak(), time.perf_counter()
    answer = work()
    seconds, megabytes = time.perf_counter() - began, peak() - baseline
    return answer, {"seconds": round(seconds, 3), "megabytes": round(megabytes, 1), "baseline": round(baseline, 1)}


def peak() -> float:
    """MiB that this process has held at most."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
