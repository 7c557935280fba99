"""CondensedSet: cells, labels and everything needed to know what they are, in one file."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from math import inf
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from yoco import artefact
from yoco.cells import cell_size, upsample
from yoco.data.names import repeated, told_apart
from yoco.data.source import Batch

KIND, VERSION = "condensed set", 1
SPACES = ("unit", "unbounded", "zca")


class Examples(Dataset[tuple[Tensor, Tensor]]):
    """Float images and their labels as a torch Dataset; `batch` takes many at once.

    images: float [n, C, H, W] in [0, 1]; labels: long [n]; targets: labels, or soft labels float [n, classes].
    """

    def __init__(self, images: Tensor, labels: Tensor, soft_labels: Tensor | None = None) -> None:
        self.images, self.labels = images, labels
        self.targets = labels if soft_labels is None else soft_labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index], self.targets[index]

    def to(self, device: torch.device) -> "Examples":
        """The same examples on another device."""
        return Examples(self.images.to(device), self.labels.to(device), self.targets.to(device))

    def batch(self, indices: Tensor) -> Batch:
        """These images and their targets, in torch's default dtype, as those of a Source, or in a wider one."""
        indices = indices.to(self.images.device)
        kind = torch.promote_types(self.images.dtype, torch.get_default_dtype())
        targets = self.targets[indices]
        return Batch(self.images[indices].to(kind), targets.to(kind) if targets.is_floating_point() else targets)


@dataclass(frozen=True, eq=False, kw_only=True)
class CondensedSet:
    """A condensed set. Its unit is the cell: factor 2 packs four cells into the room of one image.

    cells: float32 in [0, 1] or uint8 [n, C, h, w]; within a class, `subset` keeps the first ones;
    labels: long [n]; size: (H, W) of a training image; soft_labels: float [n, classes];
    scores: float [n], larger = harder.
    space: "unit" pixels in [0, 1]; "unbounded" the same scale but values may leave it; "zca" whitened pixels, see
    `whitening`.
    order: what the order of the cells in a class means: "condensed" as they were made, or the rule that ranked them.
    """

    cells: Tensor
    labels: Tensor
    factor: int
    size: tuple[int, int]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    method: str
    order: str = "condensed"
    space: str = "unit"
    seed: int | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    soft_labels: Tensor | None = None
    scores: Tensor | None = None

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "factor", int(self.factor))

    def __len__(self) -> int:
        return len(self.cells)

    def __repr__(self) -> str:
        c, h, w = self.cells.shape[1:]
        per_class = "/".join(f"{count / self.factor**2:g}" for count in sorted({*self.counts}))
        made = f"{self.method} on {self.source.get('name', 'unknown data')}"
        return (
            f"CondensedSet({made}: {len(self.classes)} classes, {per_class} images per class"
            f" = {len(self)} cells {c}x{h}x{w}, factor {self.factor} -> {self.size[0]}x{self.size[1]},"
            f" order {self.order}, {self.storage})"
        )

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Cells of each class."""
        return tuple(torch.bincount(self.labels, minlength=len(self.classes)).tolist())

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a training image."""
        return self.cells.shape[1], self.size[0], self.size[1]

    @property
    def form(self) -> dict[str, Any]:
        """The recorded `size` and `grey`, with which `yoco.data.load` brings the set's data into its form."""
        return {"size": self.source.get("size"), "grey": self.source.get("grey", False)}

    @property
    def header(self) -> dict[str, Any]:
        """Everything but the tensors, by field."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in TENSORS}

    @property
    def checksum(self) -> str:
        """sha256 over pixels, labels, soft labels and how cells decode, as hexadecimal digits."""
        digest = hashlib.sha256(repr((self.factor, tuple(self.size), self.space)).encode())
        for part in (self.cells, self.labels, self.soft_labels):
            digest.update(_bytes(part) if part is not None else b"none")
        return digest.hexdigest()

    @cached_property
    def bytes_of(self) -> dict[str, int]:
        """The bytes of each part of the storage budget; cells are only enlarged, so that no decoder is stored."""
        parts = {"pixels": self.cells, "labels": self.labels, "soft labels": self.soft_labels, "decoder": None}
        return {name: 0 if part is None else part.numel() * part.element_size() for name, part in parts.items()}

    @property
    def whitening(self) -> Mapping[str, Any]:
        """Of a set in ZCA space: `eps` of the fit and the `checksum` of its images, as far as they are known."""
        found: Mapping[str, Any] = self.config.get("whitening", {})
        return found

    @property
    def nbytes(self) -> int:
        """Bytes of all parts."""
        return sum(self.bytes_of.values())

    @property
    def storage(self) -> str:
        """The bytes in words: all, and those of each part."""
        return f"{self.nbytes:,} bytes: " + ", ".join(f"{name} {size:,}" for name, size in self.bytes_of.items())

    @property
    def pixels(self) -> Tensor:
        """The cells in float32, whether or not they are stored as bytes: [n, C, h, w]."""
        return self.cells.float() / 255 if self.cells.dtype == torch.uint8 else self.cells

    def decode(self) -> Tensor:
        """All cells decoded to training images, in new memory: float [n, C, H, W]; the same at every call."""
        return upsample(self.pixels.clone(), self.size)

    def as_dataset(self) -> Examples:
        """The decoded images and labels as a torch Dataset."""
        return Examples(self.decode(), self.labels, self.soft_labels)

    def cells_per_class(self, *, ipc: int | None = None, cells: int | None = None) -> int:
        """The cells per class that a size stands for.

        Raises:
            ValueError: not exactly one of the two is given, or it is below 1.
        """
        if (ipc is None) == (cells is None):
            raise ValueError("size: give exactly one of ipc and cells")
        name, wanted = ("ipc", ipc) if ipc is not None else ("cells", cells)
        if not isinstance(wanted, Integral):
            raise ValueError(f"size: {name} must be a whole number, got {wanted!r}")
        if wanted < 1:
            raise ValueError(f"size: {name} must be at least 1, got {wanted}")
        return int(wanted) * self.factor**2 if ipc is not None else int(wanted)

    def subset(self, *, ipc: int | None = None, cells: int | None = None) -> "CondensedSet":
        """The first cells of each class: `ipc` whole images' worth, or `cells` cells, per class.

        Raises:
            ValueError: a class has fewer cells than that.
        """
        count = self.cells_per_class(ipc=ipc, cells=cells)
        if count > min(self.counts):
            short = self.classes[self.counts.index(min(self.counts))]
            raise ValueError(f"subset: needs {count} cells of each class, got {min(self.counts)} of class {short!r}")
        firsts = [torch.nonzero(self.labels == c).flatten()[:count] for c in range(len(self.classes))]
        return self.take(torch.cat(firsts))

    def take(self, indices: Tensor, **changes: Any) -> "CondensedSet":
        """These cells, class by class, within a class in the order of `indices`."""
        indices = indices[torch.argsort(self.labels[indices], stable=True)]
        rows = {"cells": self.cells, "labels": self.labels, "soft_labels": self.soft_labels, "scores": self.scores}
        kept = {name: part[indices].clone() for name, part in rows.items() if part is not None}
        return replace(self, **{**kept, **changes})

    def quantised(self) -> "CondensedSet":
        """The same set with cells in uint8: a quarter of the bytes, each pixel off by at most 1/510."""
        if self.space != "unit":
            raise ValueError(f"quantised: pixels must be in [0, 1], got the pixel space {self.space!r}")
        floats = self.cells.is_floating_point()
        return replace(self, cells=(self.cells * 255).round().to(torch.uint8)) if floats else self

    def save(self, path: str | Path) -> None:
        """Write one safetensors file; the same set always gives the same bytes.

        Raises:
            OSError: the file cannot be written; an earlier one is left as it was.
        """
        tensors = {name: part for name in TENSORS if (part := getattr(self, name)) is not None}
        artefact.write(Path(path), KIND, VERSION, tensors, self.header)


TENSORS = ("cells", "labels", "soft_labels", "scores")
_TUPLES = ("size", "classes", "mean", "std", "history")


def _bytes(part: Tensor) -> bytes:
    head = repr((str(part.dtype), tuple(part.shape))).encode()
    return head + part.detach().cpu().contiguous().numpy().tobytes()


def assembled(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> CondensedSet:
    """The set of a header read from JSON and of these tensors; repeated class names are followed by their labels.

    Raises:
        TypeError: a part is missing.
        ValueError: they break a rule of condensed sets.
    """
    content: dict[str, Any] = {f.name: header[f.name] for f in fields(CondensedSet) if f.name in header}
    content |= {name: tuple(content[name]) for name in _TUPLES if isinstance(content.get(name), list)}
    content |= {name: tensors[name] for name in TENSORS if name in tensors}
    if "classes" in content:
        content["classes"] = told_apart(content["classes"])
    return CondensedSet(**content)


def load(path: str | Path, *, ipc: int | None = None, cells: int | None = None) -> CondensedSet:
    """Read a condensed set, whole or, with `ipc` or `cells`, only its first cells of each class.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, not a condensed set, of a newer format, or its content breaks a rule.
    """
    tensors, header = artefact.read(Path(path), KIND, VERSION)
    try:
        whole = assembled(header, tensors)
    except TypeError as error:
        raise ValueError(f"load: {path} has a missing or invalid part ({error})") from error
    except ValueError as error:
        raise ValueError(f"load: {path}: {error}") from error
    return whole if ipc is None and cells is None else whole.subset(ipc=ipc, cells=cells)


def check(s: CondensedSet) -> None:
    """Check every rule of condensed sets.

    Raises:
        ValueError: the first rule that is broken.
    """
    _require(s.cells.ndim == 4 and len(s.cells) > 0, "cells must be [n, C, h, w] with n > 0", list(s.cells.shape))
    (n, channels), k = s.cells.shape[:2], len(s.classes)
    _require(s.cells.dtype in (torch.float32, torch.uint8), "cells must be float32 or uint8", s.cells.dtype)
    _require(isinstance(s.factor, Integral) and s.factor >= 1, "factor must be a whole number of at least 1", s.factor)
    _require(sum(isinstance(x, int) and x > 0 for x in s.size) == len(s.size) == 2, "size must be (H, W)", s.size)
    expected = cell_size(s.size, s.factor)
    _require(tuple(s.cells.shape[2:]) == expected, f"cells must be {expected}", tuple(s.cells.shape[2:]))
    whole = s.labels.dtype == torch.long and s.labels.shape == (n,)
    _require(whole, f"labels must be int64 [{n}]", list(s.labels.shape))
    _require(k >= 2, "classes must be at least two", k)
    _require((twice := repeated(s.classes)) is None, "classes must have different names", f"{twice!r} twice")
    low, high = int(s.labels.min()), int(s.labels.max())
    _require(low >= 0 and high < k, f"labels must be in 0..{k - 1}", f"{low}..{high}")
    _require(s.space in SPACES, f"space must be one of {', '.join(SPACES)}", s.space)
    _check_values(s)
    finite = all(abs(each) < inf for each in (*s.mean, *s.std)) and min(s.std, default=0) > 0
    known = finite and len(s.mean) == len(s.std) == channels
    _require(known, f"mean and std must have {channels} values, std above 0", (s.mean, s.std))


def _check_values(s: CondensedSet) -> None:
    n, k = len(s.cells), len(s.classes)
    for name in ("cells", "soft_labels", "scores"):
        part = getattr(s, name)
        _require(part is None or bool(torch.isfinite(part).all()), f"{name} must be finite", "nan or infinity")
    if s.space == "unit" and s.cells.is_floating_point():
        low, high = float(s.cells.min()), float(s.cells.max())
        _require(low >= 0 and high <= 1, "cells must be in [0, 1]", f"[{low:g}, {high:g}]")
    if s.soft_labels is not None:
        _require(s.soft_labels.is_floating_point(), "soft_labels must be float", s.soft_labels.dtype)
        _require(s.soft_labels.shape == (n, k), f"soft_labels must be [{n}, {k}]", list(s.soft_labels.shape))
    if s.scores is not None:
        _require(s.scores.shape == (n,), f"scores must be [{n}]", list(s.scores.shape))


def _require(holds: bool, rule: str, got: object) -> None:
    if not holds:
        raise ValueError(f"condensed set: {rule}, got {got}")
