"""The command `condense`: its form grows by the settings of the method that is named."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, make_dataclass
from pathlib import Path
from typing import Any, Literal

from yoco.cli import parse
from yoco.commands.config import content_of, parted, words_of
from yoco.commands.options import DataOptions, Device, Space, named, peek


@dataclass(frozen=True, kw_only=True)
class CondenseOptions(DataOptions):
    """Learn a small synthetic set from a data set. Options of the method follow; run again to go on after a kill."""

    method: str = "idc"
    """dc, dsa, dm, idc, dream, accdd, idm, mdc, pdd, cafe, datadam, m3d, mtt, datm, frepo, readout, sre2l, rded,
    random, herding, k-means, best-crops, or module:Class of your own; with it, --help lists its settings"""
    ipc: int = 10
    """images per class: the storage of the set; each holds factor^2 training images"""
    out: Path = Path("runs/condensed")
    """folder of the run"""
    seed: int = 0
    """everything random follows from it"""
    minutes: float | None = None
    """stop after so many minutes, with the set so far; by default all episodes are run, which may take days"""
    network: str = "convnet"
    """the network that is matched on: a name, or module:Class of your own; options may follow: convnet:width=32"""
    space: Space = "unit"
    """of the learned pixels: unit ([0, 1]) or zca (whitened, as all sets of datm and some of mtt are published)"""
    device: Device = "auto"
    """where to compute"""
    bf16: bool = False
    """run networks in bfloat16; pixels stay float32"""
    sink: str | None = None
    """also send the metrics to tensorboard or wandb (extras of the same names)"""
    dry_run: bool = False
    """take two or three steps, say what the whole run costs in time and memory, and write nothing"""
    labels: Literal["hard", "teacher", "learned"] | None = None
    """hard (classes), teacher (shares that a trained network gives) or learned (shares, with datm, frepo and readout);
    by default those of the method"""
    teacher_epochs: int | None = None
    """with --labels teacher: epochs that the teacher is trained on the real data, if the method has none of its own; 20
    by default"""
    config: Path | None = None
    """a config.yaml with options; those of the command line override them"""


def condense(argv: list[str]) -> None:
    """`yoco condense`."""
    from yoco.condense import Interrupted, estimate, labels_of
    from yoco.condense import condense as run
    from yoco.condense.ending import Unlabelled

    typed = named(argv, CondenseOptions)
    content = _content(argv)
    published = _published([*words_of(content), *argv])
    ahead, beside = parted(content, type(published))
    options = _options(published, beside, ahead, argv)
    argv = [*ahead, *argv]
    given = {f.name: getattr(options, f.name) for f in fields(CondenseOptions) if f.name not in ("config", "dry_run")}
    settings = {name: getattr(options, name) for name in (*beside, *named(argv, published)) if name not in given}
    if "teacher_epochs" not in typed and not labels_of(options.method, options.labels).afterwards:
        given["teacher_epochs"] = None  # of a file whose labels or method are not those of the words
    data, method = given.pop("data"), given.pop("method")
    if options.dry_run:
        print(estimate(data, method, **given, **settings))
        return
    _say_experts(getattr(options, "experts", None))
    file, on = options.out / "condensed.safetensors", f"stopped and saved; the same command goes on from {options.out}"
    try:
        made = run(data, method, **given, **settings)
    except Unlabelled:
        raise KeyboardInterrupt(f"{on}, where {file.name} is the set without the labels of the teacher") from None
    except Interrupted as stopped:
        done, asked = (stopped.condensed.config[name] for name in ("episodes_done", "episodes"))
        more = ", and with --minutes 0.01 writes the set as it stands" if done < asked else ""
        raise KeyboardInterrupt(f"{on}{more}") from None
    from yoco.report.images import sheet

    sheet(made, path=options.out / "images.png")
    print(made)
    done, asked = made.config["episodes_done"], made.config["episodes"]
    if done < asked:
        print(f"stopped by --minutes after {done:,} of {asked:,} episodes; schedules over --episodes are unfinished")
    rule = "" if made.order == "condensed" else " --rule first"
    print(f"yoco prune {shlex.quote(str(file))} --ipc 1{rule} --out small.safetensors  # any smaller size")


def _say_experts(folder: Any) -> None:
    """Say that the folder of --experts, which may be misspelt, is still to be filled, which takes long."""
    from yoco.disk import at_home

    if isinstance(folder, str) and folder and not any(at_home(folder).glob("expert-*.safetensors")):
        print(f"condense: {folder} holds no experts yet; each is recorded when it is first needed", file=sys.stderr)


def _form(method: type) -> Any:
    """The options and those of a method, which checks its own when they are handed over, not here."""
    # fields that follow from others are not there yet, so that they must not be compared
    same: dict[str, Any] = {"__hash__": object.__hash__, "__eq__": object.__eq__}
    space, bases = {"__post_init__": lambda self: None, **same}, (method, CondenseOptions)
    form: Any = make_dataclass("Condense", [], bases=bases, namespace=space, frozen=True, kw_only=True, eq=False)
    form.__doc__ = CondenseOptions.__doc__
    return form


def _options(published: Any, beside: dict[str, Any], ahead: list[str], argv: list[str]) -> Any:
    """The options of the file, words and what is beside them, then those of the line; its mistakes name the file."""
    form = _form(type(published))
    default = form(**{f.name: getattr(published, f.name) for f in fields(published) if f.init} | beside)
    try:
        return parse(form, [*ahead, *argv], "condense", default=default)
    except ValueError:
        if ahead:
            parse(form, ahead, f"condense: {peek(argv, CondenseOptions)['config']}", default=default)
        raise


def _published(argv: Sequence[str]) -> Any:
    """The settings that the method's options start from: those for the data of this name."""
    from yoco.condense import settings_of

    said = peek(argv, CondenseOptions)
    ipc = int(said["ipc"]) if str(said["ipc"]).isdigit() else CondenseOptions.ipc
    side = int(said["size"]) if str(said["size"]).isdigit() and said["data"] == "digits" else 0
    return settings_of(said["method"], said["data"], ipc, (1, side, side) if side else None)


def _content(argv: Sequence[str]) -> dict[str, Any]:
    """The options of the file that --config names, if it is there."""
    path = peek(argv, CondenseOptions)["config"]
    return {} if path is None else content_of(path)
