"""The command `evaluate`."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from yoco.cli import one_line, parse
from yoco.commands.options import Device, Place, apart, load_for

if TYPE_CHECKING:
    from yoco.data.source import Source
    from yoco.evaluate import Result
    from yoco.networks import Network


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Train networks on a set from scratch, under a named protocol, and measure last and best accuracy."""

    set: Place
    """a condensed set (.safetensors)"""
    data: str | None = None
    """the data whose test half is used; by default those the set was made from"""
    size: int | None = None
    """pixels: resize and centre-crop the images to this side; by default as for the set"""
    grey: bool = False
    """turn colour images into one channel; by default as for the set"""
    download: bool = False
    """let torchvision fetch the MNIST family, CIFAR or SVHN when they are not there"""
    protocol: str = "idc"
    """idc, dsa, dc, mtt (dsa with the step size that was learned with the set), frepo (regression, an epoch is a step),
    sre2l or rded (a teacher, trained on the training half, says what each augmented image is), or module:function of
    your own: (data, shape, factor, ipc) -> yoco.train.Recipe"""
    epochs: int | None = None
    """epochs, in place of the protocol's"""
    same_compute: bool = False
    """divide the protocol's epochs by factor^2, as the set has factor^2 times as many images in the same storage"""
    network: tuple[str, ...] = ("convnet",)
    """names of networks, or module:Class of your own; options may follow: convnet:width=32"""
    seeds: int = 2
    """networks trained on each set"""
    jobs: int = 1
    """processes that train at the same time"""
    baselines: tuple[Literal["random", "full"], ...] = ()
    """also a random real subset of the same size, and the full data"""
    full_epochs: int | None = None
    """epochs on the full data"""
    measurements: int = 4
    """how often the accuracy is measured, evenly and at the end; no more often than there are epochs"""
    confusion: bool = False
    """print the accuracy of each class, and keep the confusion matrix"""
    device: Device = "auto"
    """where to compute"""
    bf16: bool = False
    """run networks in bfloat16"""
    teacher_epochs: int | None = None
    """epochs of the teacher that sre2l and rded need; 20 by default"""
    teacher: Path | None = None
    """the weights of a trained teacher (.safetensors, or a .pt state_dict), in the place of one that is trained"""
    teacher_network: str | None = None
    """the network that the file of the teacher holds; a convnet by default"""
    out: Path | None = None
    """JSON file of the result; by default evaluation-SET-PROTOCOL.json beside the set, replacing an older one. After
    Ctrl-C or a failure, the finished trials are in partial-NAME (partial-2-NAME, if that holds others)"""


def read_teacher(options: EvaluateOptions, real: Source) -> Network | None:
    """The teacher of a file, in the order of classes of the data."""
    from yoco.artefact import is_text
    from yoco.networks import build
    from yoco.rng import Rng
    from yoco.sparsify.weights import load_weights

    if options.teacher is None:
        if options.teacher_network is not None:
            raise ValueError(f"evaluate: --teacher-network needs --teacher, got {options.teacher_network}")
        return None
    if not is_text(str(options.teacher)):
        raise ValueError(f"evaluate: --teacher must be a path in UTF-8, got {str(options.teacher)!r}")
    teacher = build(options.teacher_network or "convnet", real.shape, len(real.classes), Rng(0))
    load_weights(teacher, options.teacher, "evaluate")
    return teacher


def evaluate(argv: list[str]) -> None:
    """`yoco evaluate`."""
    options = parse(EvaluateOptions, argv, "evaluate")
    from yoco.condensed import load
    from yoco.disk import check_place
    from yoco.evaluate import Interrupted, Result
    from yoco.evaluate import evaluate as measure

    apart("evaluate", set=options.set, teacher=options.teacher, out=options.out)
    condensed = load(options.set)
    data = load_for("evaluate", condensed, options)
    skip = {"set", "data", "size", "grey", "download", "network", "teacher", "teacher_network", "out"}
    given = {f.name: getattr(options, f.name) for f in fields(options) if f.name not in skip}
    teacher = read_teacher(options, data.train)
    protocol = re.sub(r"[^\w.-]", "-", options.protocol)
    out = options.out or options.set.with_name(f"evaluation-{options.set.stem}-{protocol}.json")
    check_place(out)
    try:
        result = measure(condensed, data, networks=options.network, teacher=teacher, **given)
    except Interrupted as stopped:
        if stopped.result is None:
            raise
        place = _keep_partial(_of_file(stopped.result, options.teacher), out)
        raise KeyboardInterrupt(f"interrupted; finished trials are in {place}") from None
    except Exception as error:
        if isinstance(done := getattr(error, "partial", None), Result):
            _save_partial(_of_file(done, options.teacher), out)
        raise
    result = _of_file(result, options.teacher)
    _keep(result, out)
    for path in _partial(out):
        if _covers(result, path):
            path.unlink(missing_ok=True)
    print(f"written to {out}")


def _partial(out: Path) -> list[Path]:
    """Where trials can be kept of an evaluation that does not come to its end."""
    return [out.with_name(f"partial-{out.name}"), *(out.with_name(f"partial-{k}-{out.name}") for k in range(2, 100))]


def _of_file(result: Result, teacher: Path | None) -> Result:
    """The result, whose teachers are said to come from this file, if there is one."""
    if teacher is None:
        return result
    return replace(result, teachers=tuple({**each, "file": str(teacher)} for each in result.teachers))


def _save_partial(result: Result, out: Path) -> None:
    """Keep trials beside a failure, which is told first where they cannot be kept."""
    try:
        print(f"finished trials are in {_keep_partial(result, out)}")
    except OSError as full:
        print(f"finished trials cannot be saved: {one_line(full)}", file=sys.stderr)


def _keep_partial(result: Result, out: Path) -> Path:
    """Keep trials, in the place of others that they stand for, or in a free one, which is told."""
    places = _partial(out)
    place = next((path for path in places if _covers(result, path)), places[0])
    _keep(result, place)
    return place


def _covers(result: Result, path: Path) -> bool:
    """Whether a result has all trials of the one that this file keeps; also if there is none."""
    try:
        return result.covers(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _keep(result: Result, out: Path) -> None:
    """Print the result, also where it cannot be written."""
    try:
        result.save(out)
    finally:
        print(result)
