"""Scores: how hard each sample of one set is, in a file that knows its set."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yoco import artefact
from yoco.condensed import CondensedSet
from yoco.data.source import Source
from yoco.disk import replace_file, write_npz
from yoco.prune.numbers import tensor

KIND, VERSION = "scores", 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Scores:
    """How hard each sample of one set is.

    values: float32 [n], larger = harder; name: of the score; checksum: of the set; meta: how they were made.

    Raises:
        ValueError: values are not one finite number for each sample.
    """

    values: Tensor
    name: str
    checksum: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or self.values.dtype != torch.float32 or not len(self.values):
            got = f"{str(self.values.dtype).removeprefix('torch.')} {list(self.values.shape)}"
            raise ValueError(f"scores: values must be float32 [n], got {got}")
        if not torch.isfinite(self.values).all():
            raise ValueError("scores: values must be finite, got nan or infinity")

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def of(cls, data: CondensedSet | Source, values: Any, name: str = "given", **meta: Any) -> "Scores":
        """Wrap your own numbers, larger = harder, as the scores of this set.

        values: a tensor, an array or a list [n], sample for sample as in the set; meta: JSON values.

        Raises:
            ValueError: there is not one finite number for each sample.
        """
        found = tensor("scores: values", values)
        if found.shape != (len(data),):
            raise ValueError(f"scores: values must be [{len(data)}], got {list(found.shape)}")
        return cls(values=found.cpu().float().clone(), name=name, checksum=data.checksum, meta=meta)

    def check(self, data: CondensedSet | Source) -> None:
        """Make sure that these are the scores of this set, sample for sample.

        Raises:
            ValueError: they are of another set, or of the same one in another order.
        """
        found = data.checksum
        if found != self.checksum or len(data) != len(self):
            theirs = f"{len(self)} samples, checksum {self.checksum[:8]}"
            mine = f"{len(data)} samples, checksum {found[:8]}"
            raise ValueError(f"scores: must be made for this set ({mine}), got those of another ({theirs}); score it")

    def save(self, path: str | Path) -> None:
        """Write one safetensors file.

        Raises:
            OSError: the place cannot be written; what stood there is as it was.
        """
        header = {"name": self.name, "checksum": self.checksum, "meta": self.meta}
        artefact.write(Path(path), KIND, VERSION, {"values": self.values}, header)

    @classmethod
    def load(cls, path: str | Path) -> "Scores":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, of another kind, of a newer format, or its content breaks a rule.
        """
        tensors, header = artefact.read(Path(path), KIND, VERSION)
        if "values" not in tensors or not {"name", "checksum", "meta"} <= set(header):
            raise ValueError(f"load: {path} is incomplete")
        return cls(values=tensors["values"], **{part: header[part] for part in ("name", "checksum", "meta")})

    @property
    def ranks(self) -> Tensor:
        """Place of each sample from the easiest, 0, to the hardest: long [n]; of equal ones the first is easier."""
        order = torch.argsort(self.values, stable=True)
        return torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=order.device))

    def export(self, path: str | Path, labels: Tensor, classes: tuple[str, ...], files: Sequence[str] = ()) -> None:
        """Write index, class, score and rank of every sample, and its file, if it is one: CSV or npz, as the name says.

        Raises:
            ValueError: the name ends in neither.
            OSError: the place cannot be written.
        """
        path, ranks = Path(path), self.ranks
        if path.suffix == ".npz":
            columns: dict[str, Any] = {
                "score": self.values.numpy(),
                "rank": ranks.numpy(),
                "label": labels.cpu().numpy(),
            }
            write_npz(path, **columns, classes=np.array(classes), **({"files": np.array(files)} if files else {}))
            return
        if path.suffix != ".csv":
            raise ValueError(f"scores: the file must end in .csv, .npz or .safetensors, got {path.name!r}")
        text = StringIO(newline="")
        table = csv.writer(text)
        table.writerow(["index", "class", "score", "rank", *(["file"] if files else [])])
        names = [[file] for file in files] or [[]] * len(self)
        rows = enumerate(zip(labels.tolist(), self.values.tolist(), ranks.tolist(), names, strict=True))
        table.writerows([i, classes[label], f"{value:.9g}", rank, *file] for i, (label, value, rank, file) in rows)
        replace_file(path, lambda temporary: temporary.write_bytes(text.getvalue().encode()))
