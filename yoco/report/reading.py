"""What the folder of a run holds."""

import json
from collections.abc import Mapping
from decimal import ROUND_DOWN, Context
from pathlib import Path
from typing import Any

import yaml

from yoco.condensed import CondensedSet, load
from yoco.disk import at_home
from yoco.run import row_of

Metrics = list[dict[str, Any]]
Evaluations = dict[str, Mapping[str, Any]]
Header = Mapping[str, Any]
"""A set without its tensors, see `CondensedSet.header`, or what a merged set keeps of a part."""
SPENT = ("episodes_done", "seconds", "learned", "whitening")
"""What a set says of the run that made it in which repetitions differ, or which follows from all else."""
ASKED = ("rule", "mode", "options", "quota", "budget", "scores", "views", "teacher", "epochs", "data", "temperature")
"""What the history of a set says that a step was asked for, or how that was made; all else is its outcome."""


class RunFiles:
    """The files of one run.

    Raises:
        ValueError: the folder is none, or holds neither a condensed set nor metrics.
    """

    def __init__(self, folder: Path) -> None:
        folder = at_home(folder)
        self.folder = folder
        self.condensed = folder / "condensed.safetensors"
        self._metrics = folder / "metrics.jsonl"
        if not folder.is_dir():
            raise ValueError(f"report: must be the folder of a run, got {folder}")
        if not self.condensed.is_file() and not self._metrics.is_file():
            raise ValueError(
                f"report: a run has {self.condensed.name} or {self._metrics.name}, got neither in {folder}"
            )

    def metrics(self) -> Metrics:
        """The rows of metrics.jsonl, each with an episode; a last line that a kill cut short is left out.

        Raises:
            ValueError: another line is damaged.
        """
        lines = self._metrics.read_bytes().splitlines() if self._metrics.is_file() else []
        rows = []
        for number, line in enumerate(lines, 1):
            row = row_of(line)
            if row is None and number < len(lines):
                raise ValueError(
                    f"report: {self._metrics} line {number} must be a row with an episode, got {line[:40]!r}"
                )
            if row is not None:
                rows.append(row)
        return rows

    def evaluations(self) -> Evaluations:
        """The results in evaluation-*.json, by what their names say."""
        files = sorted(self.folder.glob("evaluation-*.json"))
        return {file.stem.removeprefix("evaluation-"): evaluation(file) for file in files}

    def config(self) -> dict[str, Any]:
        """The settings of the run; none where config.yaml is not there.

        Raises:
            ValueError: it is damaged.
        """
        path = self.folder / "config.yaml"
        if not path.is_file():
            return {}
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"report: {path} is damaged") from error
        if not isinstance(content, dict):
            raise ValueError(f"report: {path} must be a mapping, got {type(content).__name__}")
        return content

    def settings(self) -> dict[str, Any]:
        """`config`; without that file what the set says of how it was made, or just the folder if it says nothing.

        The time budget is among them where it ended the run, see `_cut`.

        Raises:
            ValueError: as `config`, or the set is damaged.
        """
        made = load(self.condensed) if self.condensed.is_file() else None
        if config := self.config():
            asked = config.pop("minutes", None)
            return {**config, **(_cut(made.config, asked) if made and asked else {})}
        if made is None or _silent(made.header):
            return {"method": made.method if made else None, "folder": self.folder.as_posix()}
        return _said(made.header, made.soft_labels is not None)


def evaluation(path: Path) -> Mapping[str, Any]:
    """One result of an evaluation.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or no result of an evaluation.
    """
    if not path.is_file():
        raise FileNotFoundError(f"report: no file at {path}")
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"report: {path} is damaged") from error
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, list) or not all(map(_measured, results)):
        raise ValueError(
            f"report: {path} must be the result of an evaluation, with accuracies `last` and `best` in every row"
        )
    return dict(content)


def of_another(found: Mapping[str, Any], condensed: CondensedSet) -> bool:
    """Whether an evaluation is of another set, or of this one before it was learned further."""
    return bool((found.get("set_checksum") or condensed.checksum) != condensed.checksum)


def _silent(header: Header) -> bool:
    """Whether a set, or a part of a merged one, does not say how it was made."""
    return not (header["config"] or header["source"]) or any(map(_silent, _parts(header)))


def _parts(header: Header) -> list[Header]:
    """What the parts of a merged set said; none of others."""
    found = header["config"].get("parts")
    return found if isinstance(found, list) else []


def _said(header: Header, soft: bool = False) -> dict[str, Any]:
    """How a set says that it was made, and what was done with it since; of a merged one so for each part, too.

    soft: whether it has soft labels. Where data have a checksum, those of a part go by it, however they are spelt.
    """
    config, source, parts = header["config"], header["source"], _parts(header)
    unsaid = (*SPENT, "parts") if parts else SPENT
    own = {name: value for name, value in config.items() if name not in unsaid}
    own["bf16"] = own.pop("autocast", None) is not None
    own |= {} if header["space"] == "unit" else {"space": header["space"]}
    data = {"data": source.get("data") or source.get("name"), "checksum": source.get("checksum")}
    data |= {"size": source.get("size"), "grey": source.get("grey", False)}
    said = {"method": header["method"], **data, **own, **_unusual(header, soft), **_later(header), **_cut(config)}
    for at, part in enumerate(map(_said, parts), 1):
        known = ("data",) if part["checksum"] else ()
        said |= {f"part {at} {name}": value for name, value in part.items() if name not in known}
    return said


def _unusual(header: Header, soft: bool) -> dict[str, Any]:
    """The labels and the order of a set where they are not those that its method is known to make."""
    found = {"labels": "soft"} if soft and header["config"].get("labels", "hard") == "hard" else {}
    return {**found, "order": header["order"]} if header["order"] not in ("condensed", header["method"]) else found


def _later(header: Header) -> dict[str, Any]:
    """The steps that a set has gone through since it was made, and what each was asked for; seeds are left out."""
    names = [str(entry.get("step")) for entry in header["history"]]
    found: dict[str, Any] = {"steps": ", ".join(names)} if names else {}
    for at, (name, entry) in enumerate(zip(names, header["history"], strict=True)):
        before = names[:at].count(name)
        head = f"{name} {before + 1}" if before else name
        for part in ASKED:
            value = entry.get(part)
            inner = value if isinstance(value, Mapping) else {"": value}
            found |= {f"{head} {part} {word}".strip(): each for word, each in inner.items() if word != "seed"}
    return found


def _cut(config: Mapping[str, Any], asked: float = 0) -> dict[str, str]:
    """The minutes of a run that ended ahead of its last episode; none of others.

    They are those that were asked for if the run took as long, and less than twice that; else, as of a set that does
    not say them, those that it took, cut to two digits: repetitions may differ a little in them.
    """
    done, wanted, seconds = (config.get(name) for name in ("episodes_done", "episodes", "seconds"))
    if done is None or wanted is None or seconds is None or done >= wanted:
        return {}
    spent = seconds / 60
    if asked <= spent < 2 * asked:
        return {"minutes": f"{asked:g}"}
    return {"minutes": f"{float(Context(prec=2, rounding=ROUND_DOWN).create_decimal(spent)):g}"}


def _measured(row: Any) -> bool:
    """Whether a row of results has its names and its accuracies."""
    if not isinstance(row, dict) or not {"name", "network", "images", "epochs"} <= {*row}:
        return False
    numbers = [row.get("last"), row.get("best")]
    return all(isinstance(n, list) and n and all(isinstance(x, int | float) for x in n) for n in numbers)
