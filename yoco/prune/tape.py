"""Tape: one .npy file to which a recording appends its epochs, and which is mapped, not loaded, when it is read."""

import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from torch import Tensor

from yoco.artefact import python_number
from yoco.disk import at_home


class Tape:
    """A record array with one record an epoch: float32 [n] for each of `floats`, bool [n] for each of `bits`.

    Any NumPy reads it: np.load(path, mmap_mode="r", allow_pickle=False)["log_p"] is float32 [E, n]. A label, as JSON,
    follows the array. An epoch counts once the header says so, which is written after it.

    Raises:
        FileExistsError: something stands at `path`.
        OSError: the place cannot be written.
    """

    def __init__(self, path: str | Path, n: int, floats: Sequence[str], bits: Sequence[str]) -> None:
        self.path, self.row = at_home(path), layout(n, floats, bits)
        if self.path.exists():
            raise FileExistsError(f"recorder: file must be a new one, got {self.path}, which exists; name another")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("xb") as file:
            file.write(self._head(0))

    def append(self, epoch: int, parts: Mapping[str, Tensor]) -> None:
        """Write epoch number `epoch`, counted from 0; those before it are there."""
        record = np.zeros((), self.row)
        for name, part in parts.items():
            record[name] = part.numpy()
        with self._at(epoch) as file:
            file.write(record.tobytes())
            file.truncate()
            file.flush()
            file.seek(0)
            file.write(self._head(epoch + 1))

    def label(self, epochs: int, label: Mapping[str, Any]) -> None:
        """Write JSON values behind the `epochs` epochs, and all to the disk; more epochs may follow, over the label."""
        text = json.dumps({"tape": label}, sort_keys=True, ensure_ascii=False, default=python_number)
        with self._at(epochs) as file:
            file.write(text.encode())
            file.truncate()
            file.flush()
            os.fsync(file.fileno())

    def _at(self, epoch: int) -> BinaryIO:
        file = self.path.open("r+b")
        file.seek(len(self._head(epoch)) + epoch * self.row.itemsize)
        return file

    def _head(self, epochs: int) -> bytes:
        """The .npy header, whose length does not depend on the number of epochs."""
        text = io.BytesIO()
        fields = {"descr": npy.dtype_to_descr(self.row), "fortran_order": False, "shape": (epochs,)}
        npy.write_array_header_1_0(text, fields)
        return text.getvalue()


def layout(n: int, floats: Sequence[str], bits: Sequence[str]) -> np.dtype[Any]:
    """One epoch of a tape: 4 n bytes for each of `floats`, n for each of `bits`, up to a multiple of four."""
    sizes = [4 * n] * len(floats) + [n] * len(bits)
    return np.dtype(
        {
            "names": [*floats, *bits],
            "formats": [("<f4", (n,))] * len(floats) + [("?", (n,))] * len(bits),
            "offsets": [sum(sizes[:place]) for place in range(len(sizes))],
            "itemsize": (sum(sizes) + 3) // 4 * 4,
        }
    )


def read(path: Path) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any] | None]:
    """The arrays [E, n] by name, mapped, and the label; None if the recording was cut short before it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, no tape, or without a finished epoch.
    """
    if not path.is_file():
        raise FileNotFoundError(f"open: no file at {path}")
    with path.open("rb") as file:
        row, epochs = _head(path, file)
        start, size = file.tell(), path.stat().st_size
        end = start + epochs * row.itemsize
        if size < end:
            raise ValueError(f"open: {path} is truncated: must have {end} bytes for {epochs} epochs, got {size}")
        file.seek(end)
        label = _label(path, file.read())
    mapped = np.memmap(path, dtype=row, mode="c", offset=start, shape=(epochs,))
    return {name: np.asarray(mapped[name]) for name in row.names or ()}, label


def _head(path: Path, file: BinaryIO) -> tuple[np.dtype[Any], int]:
    """What one epoch is, and how many there are."""
    try:
        if npy.read_magic(file) != (1, 0):
            raise ValueError("not of version 1.0")
        shape, _, row = npy.read_array_header_1_0(file)
    except (ValueError, EOFError) as error:
        raise ValueError(f"open: {path} is damaged or not a .npy file ({str(error).splitlines()[0]})") from error
    fields = {name: row[name].subdtype for name in row.names or ()}
    whole = {name: part for name, part in fields.items() if part and len(part[1]) == 1}
    floats = [name for name, part in whole.items() if part[0] == np.dtype("<f4")]
    n = next((part[1][0] for part in whole.values()), 0)
    if len(shape) != 1 or not n or row != layout(n, floats, [name for name in fields if name not in floats]):
        raise ValueError(f"open: {path} must hold a recording, got another .npy file")
    if not shape[0]:
        raise ValueError(f"open: {path} must hold a finished epoch, got none")
    return row, shape[0]


def _label(path: Path, tail: bytes) -> dict[str, Any] | None:
    """What follows the epochs: a label, nothing, or the beginning of another epoch."""
    if not tail.startswith(b'{"tape": '):
        return None
    try:
        return dict(json.loads(tail)["tape"])
    except (ValueError, TypeError) as error:
        raise ValueError(f"open: {path} is damaged after its epochs ({error})") from error
