"""The commands: for each a form of options (tyro reads it) and what is done with them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
import yaml

from yoco.cli import parse

Device = Literal["auto", "cpu", "cuda", "mps"]
Place = Annotated[Path, tyro.conf.Positional]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which data, and in which form."""

    data: str = "digits"
    """a name (digits, mnist, fashion-mnist, kmnist, emnist, cifar10, cifar100, svhn), a folder, or module:function"""
    size: int | None = None
    """pixels: resize and centre-crop the images to this side"""
    grey: bool = False
    """turn colour images into one channel"""
    download: bool = False
    """let torchvision fetch CIFAR or SVHN when they are not there"""


@dataclass(frozen=True, kw_only=True)
class CondenseOptions(DataOptions):
    """Learn a small synthetic set from a data set. Options of the method follow; run again to go on after a kill."""

    method: str = "idc"
    """a name, or module:Class of your own"""
    ipc: int = 10
    """images per class"""
    out: Path = Path("runs/condensed")
    """folder of the run"""
    seed: int = 0
    """everything random follows from it"""
    minutes: float | None = None
    """minutes: stop then and keep what is there"""
    network: str = "convnet"
    """the network that is matched on"""
    device: Device = "auto"
    """where to compute"""
    bf16: bool = False
    """run networks in bfloat16; pixels stay float32"""
    sink: str | None = None
    """also send the metrics to tensorboard or wandb (extras of the same names)"""
    config: Path | None = None
    """a config.yaml whose options come before those of the command line"""


def condense(argv: list[str]) -> None:
    """`yoco condense`."""
    from yoco.condense import Interrupted
    from yoco.condense import condense as run

    argv = [*_from_config(argv), *argv]
    published = _published(argv)
    form: Any = make_dataclass("Condense", [], bases=(type(published), CondenseOptions), frozen=True, kw_only=True)
    form.__doc__ = CondenseOptions.__doc__
    options = parse(form, argv, "condense", default=form(**asdict(published)))
    given = {f.name: getattr(options, f.name) for f in fields(CondenseOptions) if f.name != "config"}
    settings = {name: getattr(options, name) for name in _named(argv, published)}
    try:
        made = run(given.pop("data"), given.pop("method"), **given, **settings)
    except Interrupted:
        raise KeyboardInterrupt(f"stopped and saved; the same command goes on from {options.out}") from None
    from yoco.report.images import sheet

    sheet(made, path=options.out / "images.png")
    print(made)
    print(f"yoco prune {options.out / 'condensed.safetensors'} --ipc 1 --out small.safetensors  # any smaller size")


def _published(argv: Sequence[str]) -> Any:
    """The settings that the method's options start from: those for the data of this name."""
    from yoco.condense import settings_of

    said = _peek(argv, CondenseOptions)
    ipc = int(said["ipc"]) if str(said["ipc"]).isdigit() else CondenseOptions.ipc
    return settings_of(said["method"], said["data"], ipc, None)


def _from_config(argv: Sequence[str]) -> list[str]:
    """The options of the file that --config names, as words; a typo in it is named as any other."""
    path = _peek(argv, CondenseOptions)["config"]
    if path is None:
        return []
    content = yaml.safe_load(Path(path).read_text())
    if not isinstance(content, dict):
        raise ValueError(f"condense: {path} must be a mapping of options, got {type(content).__name__}")
    words = []
    for name, value in content.items():
        flag = str(name).replace("_", "-")
        if value is None or name == "checksum":
            continue
        words.append(f"--{'' if value else 'no-'}{flag}" if isinstance(value, bool) else f"--{flag}={value}")
    return words


def _peek(argv: Sequence[str], form: Any) -> dict[str, Any]:
    """The options that decide which others there are, before they are parsed."""
    found = {f.name: f.default for f in fields(form)}
    for place, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name.startswith("--") and name[2:] in found:
            found[name[2:]] = value if equals else next(iter(argv[place + 1 :]), None)
    return found


def _named(argv: Sequence[str], form: Any) -> list[str]:
    """The fields of a form whose flags stand on the command line."""
    words = {word.partition("=")[0].removeprefix("--").replace("-", "_") for word in argv if word.startswith("--")}
    return [f.name for f in fields(form) if f.name in words or f"no_{f.name}" in words]


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Train networks on a set from scratch, under a named protocol, and measure last and best accuracy."""

    set: Place
    """a condensed set (.safetensors)"""
    data: str | None = None
    """the data whose test half is used; by default those the set was made from"""
    size: int | None = None
    """pixels: resize and centre-crop the images to this side"""
    grey: bool = False
    """turn colour images into one channel"""
    download: bool = False
    """let torchvision fetch CIFAR or SVHN when they are not there"""
    protocol: str = "idc"
    """idc, dsa or dc"""
    epochs: int | None = None
    """epochs, in place of the protocol's"""
    same_compute: bool = False
    """divide the protocol's epochs by factor^2: as many image passes as for whole images"""
    network: tuple[str, ...] = ("convnet",)
    """names of networks"""
    seeds: int = 2
    """networks trained on each set"""
    jobs: int = 1
    """processes that train at the same time"""
    baselines: tuple[Literal["random", "full"], ...] = ()
    """also a random real subset of the same size, and the full data"""
    full_epochs: int | None = None
    """epochs on the full data"""
    device: Device = "auto"
    """where to compute"""
    bf16: bool = False
    """run networks in bfloat16"""
    out: Path | None = None
    """JSON file of the result; by default evaluation-PROTOCOL.json beside the set"""


def evaluate(argv: list[str]) -> None:
    """`yoco evaluate`."""
    options = parse(EvaluateOptions, argv, "evaluate")
    from yoco.condensed import load
    from yoco.data import load as load_data
    from yoco.evaluate import evaluate as measure

    condensed = load(options.set)
    name = options.data or condensed.source.get("name")
    if not name:
        raise ValueError("evaluate: the set does not say where it comes from; give --data")
    data = load_data(name, size=options.size, grey=options.grey, download=options.download)
    skip = {"set", "data", "size", "grey", "download", "network", "out"}
    given = {f.name: getattr(options, f.name) for f in fields(options) if f.name not in skip}
    result = measure(condensed, data, networks=options.network, **given)
    out = options.out or options.set.with_name(f"evaluation-{options.set.stem}-{options.protocol}.json")
    result.save(out)
    print(result)
    print(f"written to {out}")


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """Keep the best cells of a condensed set, by YOCO's two rules or another one; exactly one size is given."""

    set: Place
    """a condensed set (.safetensors)"""
    out: Path
    """the smaller set"""
    rule: str = "yoco"
    """yoco, easy, hard, random, or the same with -balanced"""
    ipc: int | None = None
    """images per class"""
    cells: int | None = None
    """cells per class (factor^2 cells fill one image)"""
    keep: float | None = None
    """share of all cells, above 0 and up to 1"""
    n: int | None = None
    """number of cells in all"""
    scores: Path | None = None
    """score file: used when it is there, else written"""
    epochs: int | None = None
    """epochs of the dynamics that the scores are made from"""
    top: int | None = None
    """of those, the epochs of highest training accuracy that count"""
    mode: Literal["clean", "train"] | None = None
    """dynamics from un-mixed evaluation passes (clean, the default) or augmented training batches (the authors' way)"""
    network: str | None = None
    """the network that is trained to score; a convnet by default"""
    seed: int = 0
    """everything random follows from it"""
    uint8: bool = False
    """store the cells in a quarter of the bytes"""


def prune(argv: list[str]) -> None:
    """`yoco prune`."""
    options = parse(PruneOptions, argv, "prune")
    from yoco.condensed import load
    from yoco.prune import Scores, report
    from yoco.prune import prune as select
    from yoco.prune import score as measure

    whole = load(options.set)
    budget = {name: getattr(options, name) for name in ("ipc", "cells", "keep", "n")}
    wanted = {name: getattr(options, name) for name in ("epochs", "top", "mode", "network")}
    training = {"seed": options.seed, **{name: value for name, value in wanted.items() if value is not None}}
    scores = None
    if options.scores:
        scores = Scores.load(options.scores) if options.scores.is_file() else measure(whole, **training)
        scores.save(options.scores)
    small = select(whole, rule=options.rule, scores=scores, **budget, **training)
    (small.quantised() if options.uint8 else small).save(options.out)
    print(report(small))
    print(f"{small}\nwritten to {options.out}")


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Draw the images and the curves of a run directory, and write its table."""

    run: Place
    """folder of a run"""
    out: Path | None = None
    """folder for the pictures and report.md; by default the run's own"""


def report(argv: list[str]) -> None:
    """`yoco report`."""
    options = parse(ReportOptions, argv, "report")
    from yoco.report import report as draw

    for path in draw(options.run, options.out):
        print(path)


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Read a set in one form and write it in the form that the target's name says."""

    source: Place
    """.safetensors, .npz, a folder of PNGs, or a published .pt or .npz file"""
    target: Place
    """.safetensors, .npz, or a folder for PNGs"""
    form: Literal["idc", "mtt", "dsa", "kip"] | None = None
    """whose file it is, when its name does not tell"""
    data: str | None = None
    """the data set it was made from: its constants undo the normalisation"""
    factor: int = 2
    """factor of an IDC file, which does not say it"""
    space: Literal["zca", "normalised"] = "zca"
    """pixel space of an MTT or KIP file"""
    experiment: int = 0
    """which of the sets in a DSA, DM or DC file, from 0"""


def convert(argv: list[str]) -> None:
    """`yoco convert`."""
    options = parse(ConvertOptions, argv, "convert")
    from yoco.convert import convert as rewrite

    given = {f.name: getattr(options, f.name) for f in fields(options)}
    print(rewrite(given.pop("source"), given.pop("target"), **given))
    print(f"written to {options.target}", file=sys.stderr)


COMMANDS: dict[str, Callable[[list[str]], int | None]] = {
    "condense": condense,
    "prune": prune,
    "evaluate": evaluate,
    "report": report,
    "convert": convert,
}
