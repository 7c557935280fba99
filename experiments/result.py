"""Where every experiment writes its result, one JSON file with what made it beside what came out, and its trials."""

import hashlib
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch

from yoco.device import pick
from yoco.disk import replace_file

FOLDER = Path(__file__).parent / "results"
CORES = os.cpu_count() or 1
SAID = ("made_on", "condensed_on", "checksum")
"""What trials say of the place where they were done, and of the set that they judge; older ones do not."""
_BEGAN = time.monotonic()


def write(name: str, *, folder: Path = FOLDER, **content: Any) -> Path:
    """Write `folder`/`name`.json: what made it, then the content of the experiment.

    processor: what the CPU's instructions reach, such as AVX2, which decides on how fast it is beside its cores.

    Raises:
        SystemExit: there are no rows: a result without any would take the place of one that has some.
    """
    if not content["rows"]:
        raise SystemExit(f"{name}: no trial is there, so that nothing is written")
    made = {
        "command": shlex.join(["python", f"experiments/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "commit": commit(),
        "seconds": round(time.monotonic() - _BEGAN, 1),
        "cores": CORES,
        "processor": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**made, **content}, indent=1) + "\n")
    return path


def keep(path: Path, row: Mapping[str, Any]) -> None:
    """The file of a trial, whole or not at all."""
    text = json.dumps(row)
    replace_file(path, lambda temporary: temporary.write_text(text))


def spread(kind: str, values: Sequence[float]) -> dict[str, float]:
    """Mean and sample standard deviation of numbers of one kind."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {f"{kind}_mean": round(statistics.mean(values), 3), f"{kind}_std": round(deviation, 3)}


def summary(
    rows: Iterable[dict[str, Any]], by: tuple[str, ...], listed: tuple[str, ...], values: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Rows that share the columns `by` as one: all that is listed, and every value, with its mean and deviation.

    Different values of `SAID` stand with them, of the rows that have any.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in by), []).append(row)
    return [
        {
            **dict(zip(by, key, strict=True)),
            **{name: [row[name] for row in group] for name in (*listed, *values)},
            **{k: v for value in values for k, v in spread(value, [row[value] for row in group]).items()},
            "commits": sorted({row["commit"] for row in group}),
            **{name: said for name in SAID if (said := sorted({row[name] for row in group if name in row}))},
        }
        for key, group in groups.items()
    ]


def plus(row: dict[str, Any], kind: str) -> str:
    """Mean and, of several, deviation."""
    single = len(row[kind]) == 1
    return f"{row[f'{kind}_mean']:.2f}" + ("" if single else f" ± {row[f'{kind}_std']:.2f}")


def digest(numbers: torch.Tensor) -> str:
    """A checksum of a tensor."""
    return hashlib.blake2b(numbers.contiguous().numpy().tobytes(), digest_size=8).hexdigest()


def made_on(device: str = "auto") -> str:
    """What trains here unless told otherwise, what the CPU's instructions reach, and the threads of torch as of now."""
    return f"{pick(device).type}, {torch.backends.cpu.get_cpu_capability()}, threads: {torch.get_num_threads()}"


@cache
def commit() -> str:
    """The commit that runs, as of the start, marked when the tree held changes to what is run."""
    try:
        here: Any = {"text": True, "cwd": Path(__file__).parents[1]}
        head = subprocess.check_output(["git", "rev-parse", "HEAD"], **here).strip()
        changed = subprocess.check_output(
            ["git", "status", "--porcelain", "yoco", "augment", "experiments/*.py"], **here
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+changes" if changed else "")


COMMIT = commit()
"""Asked for while the tree is what Python has read: a commit made during a long trial is not the one that ran."""
