"""The command line that experiments share: where trials and the result go, their options, and which part to do."""

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import result
import torch


def options(
    description: str | None, set: str, out: str, name: str, known: Mapping[str, Iterable[str]] = {}, **defaults: Any
) -> argparse.Namespace:
    """Parse the command line, make the folders, and set torch to one thread. known: option -> the only words it takes.

    Modules in the working folder can be named as `module:Class`.
    defaults: of the experiment's own options, beside the shared ones.
    """
    torch.set_num_threads(1)
    if "" not in sys.path:
        sys.path.append("")
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", type=Path, default=Path(set))
    add_places(parser, out, name)
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), help="which part, from 0, of how many")
    for word, value in defaults.items():
        many: dict[str, Any] = {"nargs": "*"} if isinstance(value, list) else {}
        kind = type(value) if not many else type(value[0]) if value else str
        if word in known:
            many |= {"choices": list(known[word]), "metavar": word.upper()}
        parser.add_argument(f"--{word.replace('_', '-')}", type=kind, default=value, **many)  # type: ignore[arg-type]
    found = parser.parse_args()
    mine, parts = found.part
    if not (0 <= mine < parts or (mine, parts) == (1, 1)):
        parser.error(f"--part must be I N with I in 0..N-1, or 1 1, got {mine} {parts}")
    for folder in (found.out, found.results):
        folder.mkdir(parents=True, exist_ok=True)
    return found


def add_places(parser: argparse.ArgumentParser, out: str, name: str) -> None:
    """The folder of the trials, and the name and the folder of the result."""
    parser.add_argument("--out", type=Path, default=Path(out), help="folder of the trials")
    parser.add_argument("--name", default=name, help="of the result")
    parser.add_argument("--results", type=Path, default=result.FOLDER)
