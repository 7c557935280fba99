"""Selection: which samples of a set were kept, in a small file without pickle, and what that means as a table."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yoco import artefact
from yoco.condensed import CondensedSet
from yoco.data.source import Source
from yoco.disk import at_home, write_npz
from yoco.prune.material import AnySet
from yoco.prune.quotas import lost, shortage
from yoco.prune.scored import Scores

FORM = "yoco selection 1"
PARTS = ("indices", "weights", "scores")


@dataclass(frozen=True, eq=False, kw_only=True)
class Selection:
    """The samples that a rule kept.

    indices: long [m], places in the set, best first; weights: float32 [m], if the method gives them;
    scores: float32 [m], larger = harder, if the rule read them; checksum: of the set;
    entry: the request and its outcome, JSON values; if the rule read features, "views" says how they were made;
    classes: their names; files: if the images are files, the path of each kept one within the data folder.
    """

    indices: Tensor
    weights: Tensor | None = None
    scores: Tensor | None = None
    checksum: str
    entry: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        if not self.entry:
            return f"Selection({len(self)} samples)"
        return f"Selection({len(self)} of {sum(self.entry['had'])} samples, rule {self.entry['rule']})"

    def check(self, data: CondensedSet | Source) -> None:
        """Make sure that the samples were chosen from these data.

        Raises:
            ValueError: these are others.
        """
        found = data.checksum
        if found != self.checksum:
            mine = self.checksum[:8]
            raise ValueError(
                f"selection: must be used with the set that it was made for, checksum {mine}, got {found[:8]}"
            )

    def of(self, data: AnySet) -> AnySet:
        """The kept samples as a new set, whose history records the step if it is a condensed set.

        data: the set that they were chosen from.

        Raises:
            ValueError: this is another set.
        """
        self.check(data)
        if isinstance(data, CondensedSet) and self.entry:
            return kept_set("prune", data, self)
        return data.take(self.indices)

    def weights_of(self, data: CondensedSet | Source) -> Tensor | None:
        """The weights in the order of the samples of `of(data)`: float32 [m], or None if the method gives none.

        data: the set that they were chosen from. `as_set` also sorts images of a Source by class; their weights in
        that order are `s.weights[argsort(labels[s.indices], stable=True)]`.

        Raises:
            ValueError: this is another set.
        """
        self.check(data)
        if self.weights is None or isinstance(data, Source):
            return self.weights
        return self.weights[torch.argsort(data.labels.cpu()[self.indices], stable=True)]

    def save(self, path: str | Path) -> None:
        """Write an .npz file: indices, weights, scores, files, and all else as JSON text in `about`.

        Raises:
            ValueError: the name does not end in .npz.
            OSError: the place cannot be written; what stood there is as it was.
        """
        path = Path(path)
        if path.suffix != ".npz":
            raise ValueError(f"selection: the file must end in .npz, got {path.name!r}")
        arrays: dict[str, Any] = {name: part.numpy() for name in PARTS if (part := getattr(self, name)) is not None}
        arrays |= {"files": np.array(self.files)} if self.files else {}
        about = {"form": FORM, "checksum": self.checksum, "entry": self.entry, "classes": self.classes}
        write_npz(path, about=np.array(json.dumps(about, default=artefact.python_number)), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "Selection":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not a selection.
        """
        try:
            with np.load(at_home(path), allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                parts = {name: torch.from_numpy(file[name]) for name in PARTS if name in file.files}
                files = tuple(file["files"].tolist()) if "files" in file.files else ()
        except FileNotFoundError:
            raise
        except Exception as error:
            raise ValueError(f"load: {path} is not a selection ({' '.join(str(error).split())})") from error
        needed = {"checksum", "entry", "classes"}
        if not isinstance(about, dict) or about.get("form") != FORM or "indices" not in parts or not needed <= {*about}:
            raise ValueError(f"load: {path} is not a selection that this version of yoco can read")
        said: dict[str, Any] = {**parts, "files": files, "classes": tuple(about["classes"])}
        return cls(**said, checksum=about["checksum"], entry=about["entry"])

    def report(self) -> str:
        """What was kept, as a Markdown table; without an entry, how many samples."""
        return table(self.entry, self.classes) if self.entry else f"{len(self)} samples"


def table(entry: Mapping[str, Any], classes: tuple[str, ...]) -> str:
    """For each class what there was, what is kept and its scores; the rule; bytes before and after.

    classes: of the set, for an entry that does not say what they were then.
    """
    lines = ["| class | had | kept | scores of the kept |", "|---|---|---|---|"]
    known = entry.get("classes", classes)
    for name, had, kept, span in zip(known, entry["had"], entry["kept"], entry["spans"], strict=True):
        lines.append(f"| {name.replace('|', chr(92) + '|')} | {had} | {kept} | {_span(span)} |")
    spans = [span for span in entry["spans"] if span]
    whole = [min(low for low, _ in spans), max(high for _, high in spans)] if spans else None
    lines.append(f"| all | {sum(entry['had'])} | {sum(entry['kept'])} | {_span(whole)} |")
    lines += ["", f"rule {entry['rule']}{_mode(entry)}, {_size(entry)}{_made(entry['scores'])}"]
    if entry["short"]:
        names = ", ".join(repr(name) for name in entry["short"])
        lines.append(f"fewer than an {entry['quota']} share in {names}: all of it is kept, and the others fill up")
    if entry["lost"]:
        lines.append(f"nothing is kept of {', '.join(repr(name) for name in entry['lost'])}")
    if entry["weighted"]:
        lines.append("the samples have weights, which training must use: they are in the selection")
    before, after = entry["bytes"]
    return "\n".join([*lines, f"{before:,} bytes before, {after:,} after ({100 * after / before:.1f} %)"])


def outcome(
    data: CondensedSet | Source, picked: Tensor, chosen: Scores | None, kind: str, floor: float
) -> dict[str, Any]:
    """What there was, what is kept, and what could not be met."""
    classes, labels = len(data.classes), data.labels.cpu()
    had, kept = (torch.bincount(part, minlength=classes).tolist() for part in (labels, labels[picked]))
    size = data.nbytes
    return {
        "scores": None if chosen is None else {"score": chosen.name, **chosen.meta},
        "classes": list(data.classes),
        "had": had,
        "kept": kept,
        "spans": spans(None if chosen is None else chosen.values, labels[picked], classes),
        "short": [data.classes[c] for c in shortage(kind, had, kept, len(picked), floor=floor)],
        "lost": [data.classes[c] for c in lost(had, kept)],
        "bytes": [size, size * len(picked) // len(data)],
    }


def spans(scores: Tensor | None, labels: Tensor, classes: int) -> list[list[float] | None]:
    """The lowest and the highest score in each class; None for a class without samples."""
    if scores is None:
        return [None] * classes
    mine = [scores[labels == c] for c in range(classes)]
    return [[float(part.min()), float(part.max())] if len(part) else None for part in mine]


def _span(span: list[float] | None) -> str:
    return "-" if span is None else f"{span[0]:.4g} .. {span[1]:.4g}"


def _mode(entry: Mapping[str, Any]) -> str:
    options = ", ".join(f"{name}={value}" for name, value in sorted(entry["options"].items()))
    mode = " as in the released code" if entry["mode"] == "repo" else ""
    return f"{mode}{f' ({options})' if options else ''}, quota {entry['quota']}"


def _size(entry: Mapping[str, Any]) -> str:
    if entry.get("step") == "rank":
        return "all samples, best first"
    return ", ".join(f"{kind}={value}" for kind, value in entry["budget"].items())


def _made(scores: Mapping[str, Any] | None) -> str:
    if not scores:
        return ""
    shown = [f"{name}={value}" for name, value in sorted(scores.items()) if name not in ("score", "recipe")]
    return f"; score {scores['score']}" + (f" ({', '.join(shown)})" if shown else "")


def kept_set(step: str, data: CondensedSet, found: Selection) -> CondensedSet:
    """The chosen cells with their scores, and a line in the history."""
    small = data.take(found.indices, order=found.entry["rule"])
    if found.scores is not None:
        small = replace(small, scores=found.scores[torch.argsort(data.labels.cpu()[found.indices], stable=True)])
    return replace(small, history=(*data.history, {"step": step, **found.entry}))


def report(result: CondensedSet) -> str:
    """A Markdown table of a pruned or ranked set: counts before and after and scores of the kept, by class; bytes.

    Raises:
        ValueError: the set was neither pruned nor ranked, or no longer has the cells that were kept then.
    """
    steps = [entry for entry in result.history if entry.get("step") in ("prune", "rank")]
    if not steps:
        raise ValueError("report: the set must have been pruned or ranked, got one that was not")
    if not _as_kept(result, steps[-1]):
        raise ValueError("report: the set must have been pruned or ranked, got one that was cut after that")
    return table(steps[-1], result.classes)


def _as_kept(result: CondensedSet, entry: Mapping[str, Any]) -> bool:
    """Whether a set still has as many cells of each class as a step has kept."""
    names, kept, counts = entry.get("classes", result.classes), entry["kept"], result.counts
    if not len(names) == len(kept) == len(counts):
        return False
    return dict(zip(names, kept, strict=True)) == dict(zip(result.classes, counts, strict=True))
