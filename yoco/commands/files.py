"""The commands `report` and `convert`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import tyro

from yoco.cli import parse
from yoco.commands.options import Place


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Draw the images and the curves of a run, and write its table; or compare several runs."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """folder of a run, or of several"""
    out: Path | None = None
    """folder for the pictures and the page; by default the run's own, or for several runs this one"""


def report(argv: list[str]) -> None:
    """`yoco report`."""
    options = parse(ReportOptions, argv, "report")
    from yoco.report import compare
    from yoco.report import report as draw

    if not options.runs:
        raise ValueError("report: needs the folder of a run, got none")
    several = len(options.runs) > 1
    for path in compare(*options.runs, out=options.out or ".") if several else draw(options.runs[0], options.out):
        print(path)


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Read a set in one form and write it in the form that the target's name says."""

    source: Place
    """.safetensors, .npz, a folder of PNGs, or a published .pt or .npz file"""
    target: Place
    """.safetensors, .npz, or a folder for PNGs"""
    form: str | None = None
    """the method of a published file whose name does not tell, such as one of DREAM, named as those of IDC: idc, dream,
    mtt, dsa, kip, or module:function of your own"""
    data: str | None = None
    """the data set it was made from: its constants undo the normalisation"""
    factor: int = 2
    """factor of an IDC file, which does not say it"""
    space: Literal["zca", "normalised"] | None = None
    """pixel space of an MTT or KIP file; by default zca, or normalised for a KIP file with nozca in its name"""
    experiment: int = 0
    """which of the sets in a DSA, DM or DC file, from 0"""


def convert(argv: list[str]) -> None:
    """`yoco convert`."""
    options = parse(ConvertOptions, argv, "convert")
    from yoco.convert import convert as rewrite

    given = {f.name: getattr(options, f.name) for f in fields(options)}
    made = rewrite(given.pop("source"), given.pop("target"), **given)
    print(made)
    if made.soft_labels is not None and options.target.is_dir():
        print("PNGs cannot store soft labels, so they were left out; write .npz to keep them", file=sys.stderr)
    print(f"written to {options.target}", file=sys.stderr)
