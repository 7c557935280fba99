"""The result of an evaluation: accuracies, mean and spread, as JSON and a table; and whether it replaces another."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import nan
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from yoco.artefact import python_number
from yoco.disk import replace_file
from yoco.evaluate.trials import Confusion, Curve, Measured, Trial

HEAD = ("name", "network", "images", "epochs", "last", "best")
ALIKE = ("protocol", "set_checksum", "data", "checksum", "test_checksum", "weighted", "bf16", "measurements")
"""Fields in which two evaluations must agree, if trials of one may replace those of the other."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One training set and one network: test accuracies in percent, one for each seed.

    images: number of training images; epochs: those of the protocol; dc, dsa and mtt train one more.
    last: after the last epoch; best: the highest of all measurements, which is a choice by the test data.
    curves: for each seed the pairs (epochs done, accuracy) of all measurements.
    confusions: for each seed, counts of test images by true class (row) and predicted class (column), at the end.
    """

    name: str
    network: str
    images: int
    epochs: int
    seeds: tuple[int, ...]
    last: tuple[float, ...]
    best: tuple[float, ...]
    curves: tuple[Curve, ...] | None = None
    confusions: tuple[Confusion, ...] | None = None

    @property
    def by_class(self) -> tuple[float, ...]:
        """Accuracy on the test images of each class at the end, in percent, mean over seeds; NaN where there is none.

        Raises:
            ValueError: confusions were not kept.
        """
        if self.confusions is None:
            raise ValueError("by_class: needs confusions, got none; evaluate with confusion=True")
        shares = [[100 * row[at] / sum(row) if sum(row) else nan for at, row in enumerate(c)] for c in self.confusions]
        return tuple(map(fmean, zip(*shares, strict=True)))

    def covers(self, kept: Mapping[str, Any]) -> bool:
        """Whether it has the seeds of a saved row (`to_dict`) of the same training, and confusions if that one has."""
        counted = self.confusions is not None or "confusions" not in kept
        return counted and {*kept["seeds"]} <= {*self.seeds}

    def to_dict(self) -> dict[str, Any]:
        """Everything, with mean and sample standard deviation (over n - 1; 0.0 for one seed) of last and best."""
        parts = {name: value for name, value in asdict(self).items() if value is not None}
        for kind in ("last", "best"):
            values = parts[kind]
            parts |= {f"{kind}_mean": fmean(values), f"{kind}_std": stdev(values) if len(values) > 1 else 0.0}
        plain: dict[str, Any] = json.loads(json.dumps(parts, default=python_number))
        return plain

    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        said = self.to_dict()
        spread = {kind: f" ± {said[f'{kind}_std']:.2f}" if len(self.seeds) > 1 else "" for kind in ("last", "best")}
        scores = (f"{said[f'{kind}_mean']:.2f}{spread[kind]}" for kind in ("last", "best"))
        return self.name, self.network, str(self.images), str(self.epochs), *scores


@dataclass(frozen=True, kw_only=True, repr=False)
class Result:
    """The accuracies of all rows, and how they were obtained.

    set: a description of the evaluated set; set_checksum: of its images; storage: its bytes, if it is a condensed set;
    epochs: of its own rows, not of the baselines.
    data, checksum, test_checksum: the name of the real data, and checksums of their training and test half.
    same_data: whether the set says that it was made from exactly these images; None if it does not say.
    teachers: network, epochs or file, and test accuracy in percent of each teacher. weighted: whether the images of the
    set had weights. classes: the class names, if rows have confusions.
    bf16: whether networks computed in bfloat16. measurements: `best` is the highest of at most so many accuracies; a
    row of fewer epochs has one for each epoch.
    """

    set: str
    protocol: str
    epochs: int
    data: str
    checksum: str
    same_data: bool | None
    results: tuple[Row, ...]
    seconds: float
    threads: int
    device: str
    versions: Mapping[str, str] = field(default_factory=dict)
    storage: str = ""
    set_checksum: str = ""
    teachers: tuple[Mapping[str, Any], ...] = ()
    weighted: bool = False
    classes: tuple[str, ...] = ()
    bf16: bool = False
    measurements: int = 4
    test_checksum: str = ""

    def covers(self, kept: Mapping[str, Any]) -> bool:
        """Whether it has all trials of a saved evaluation (`to_dict`), and so may replace it.

        Raises:
            KeyError, TypeError: what was saved is not an evaluation.
        """
        mine = [_told_apart(each) for each in self.teachers]
        strange = any(_told_apart(each) not in mine for each in kept["teachers"])
        if strange or any(kept[name] != getattr(self, name) for name in ALIKE):
            return False
        rows = {(row.name, row.network, row.epochs): row for row in self.results}
        return all(
            (own := rows.get((row["name"], row["network"], row["epochs"]))) is not None and own.covers(row)
            for row in kept["results"]
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, words, lists and dicts."""
        rows, teachers = [row.to_dict() for row in self.results], [dict(each) for each in self.teachers]
        words = {"versions": dict(self.versions), "classes": list(self.classes)}
        return {**vars(self), **words, "results": rows, "teachers": teachers}

    def save(self, path: str | Path) -> None:
        """Write `to_dict` as JSON.

        Raises:
            OSError: the file cannot be written; an earlier one is left as it was.
        """
        text = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, default=python_number) + "\n"
        replace_file(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def __repr__(self) -> str:
        lines = [HEAD, *(row.cells() for row in self.results)]
        widths = [max(len(line[at]) for line in lines) for at in range(len(HEAD))]
        table = [_aligned(line, widths) for line in lines]
        seeds = max(len(row.seeds) for row in self.results)
        head = f"{self.data}, protocol {self.protocol}, {seeds} {'seed' if seeds == 1 else 'seeds'}"
        held = [f"the set: {self.storage}"] if self.storage else []
        held += ["the set was made from other images than these"] if self.same_data is False else []
        held += ["its images had weights"] if self.weighted else []
        held += [_teacher(**each) for each in self.teachers]
        apart = [self._by_class(row) for row in self.results if row.confusions is not None]
        return "\n".join([f"{head}: test accuracy in percent", *held, *table, *apart])

    def _by_class(self, row: Row) -> str:
        shares = ", ".join(f"{name} {share:.1f}" for name, share in zip(self.classes, row.by_class, strict=True))
        return f"{row.name}, {row.network}, by class: {shares}"


class Interrupted(KeyboardInterrupt):
    """An evaluation was interrupted. result: of the trials that were done, or None; its rows may lack seeds."""

    def __init__(self, result: Result | None) -> None:
        super().__init__()
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.result,)


def gathered(trials: Sequence[Trial], found: Mapping[int, Measured], seeds: int, keep: bool) -> tuple[Row, ...]:
    """One row for each training set and network with finished trials; the trials of a row are next to each other."""
    rows = []
    for at in range(0, len(trials), seeds):
        done = [number for number in range(at, at + seeds) if number in found]
        if not done:
            continue
        first, own = trials[at], tuple(found[number].curve for number in done)
        counted = tuple(kept for number in done if (kept := found[number].confusion) is not None)
        row = Row(
            name=first.name,
            network=first.network,
            images=first.images,
            epochs=first.recipe.epochs,
            seeds=tuple(trials[number].seed for number in done),
            last=tuple(curve[-1][1] for curve in own),
            best=tuple(max(accuracy for _, accuracy in curve) for curve in own),
            curves=own if keep else None,
            confusions=counted or None,
        )
        rows.append(row)
    return tuple(rows)


def _told_apart(teacher: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies a teacher: how it was trained, or, if it was given, its accuracy, too."""
    shown = {name: value for name, value in teacher.items() if name != "accuracy" or "epochs" not in teacher}
    return {**shown, "file": os.path.realpath(shown["file"])} if "file" in shown else shown


def _teacher(network: str, accuracy: float, epochs: int | None = None, file: str = "") -> str:
    learned = f" after {epochs} epochs on the training images" if epochs else ""
    return f"the teacher: {network}{learned}{f' of {file}' if file else ''}, {accuracy:.2f}"


def _aligned(line: tuple[str, ...], widths: list[int]) -> str:
    words = [text.ljust(width) for text, width in zip(line[:2], widths[:2], strict=True)]
    numbers = [text.rjust(width) for text, width in zip(line[2:], widths[2:], strict=True)]
    return "  ".join([*words, *numbers])
