"""One file, tensors and a JSON header: written whole or not at all, checked when read, never unpickled."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from yoco.disk import at_home, replace_file

_KEY = "yoco"


def python_number(value: Any) -> Any:
    """A NumPy number as a Python number, which JSON and YAML can hold.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"must be a number, a string, or a list or mapping of these, got {type(value).__name__}")


def is_text(value: Any) -> bool:
    """Whether it is a string that files can hold; names on a disk may have bytes that are not text."""
    return isinstance(value, str) and value.encode(errors="replace").decode() == value


def write(path: Path, kind: str, version: int, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write a safetensors file whose bytes depend on its content alone (one metadata key, sorted JSON).

    Raises:
        OSError: see `replace_file`.
    """
    content = {**header, "kind": kind, "version": version}
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, default=python_number)
    clean = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    data = save(clean, metadata={_KEY: text})
    replace_file(path, lambda temporary: temporary.write_bytes(data))


def read(path: Path, kind: str, version: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the header of a file that `write` made.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, not ours, of another kind, or of a newer version than `version`.
    """
    with _opened(path, kind, version) as (file, header):
        return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118


def read_rows(path: Path, kind: str, version: int, name: str, rows: Sequence[int]) -> list[Tensor]:
    """Some rows of one tensor, without reading the others.

    Raises:
        as `read`.
    """
    with _opened(path, kind, version) as (file, _):
        part = file.get_slice(name)
        return [part[row] for row in rows]


def read_header(path: Path, kind: str, version: int) -> dict[str, Any]:
    """The header alone, without reading the tensors.

    Raises:
        as `read`.
    """
    with _opened(path, kind, version) as (_, header):
        return header


@contextmanager
def _opened(path: Path, kind: str, version: int) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The open file and its header."""
    path = at_home(path)
    if path.is_dir():
        inside = " in it, such as condensed.safetensors" if (path / "condensed.safetensors").is_file() else ""
        raise FileNotFoundError(f"load: {path} is a folder, name a file{inside}")
    if not path.is_file():
        raise FileNotFoundError(f"load: no file at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            yield file, _header(path, file.metadata(), kind, version)
    except SafetensorError as error:
        if _is_selection(path):
            rule = "is an index file written by prune, not a set; let prune write .safetensors to evaluate it"
            raise ValueError(f"load: {path} {rule}") from error
        hint = "; yoco convert reads .npz" if path.suffix == ".npz" else ""
        raise ValueError(f"load: {path} is damaged or not a safetensors file ({error}){hint}") from error


def _is_selection(path: Path) -> bool:
    """Whether this is an .npz of indices, as prune writes it."""
    with suppress(BadZipFile), ZipFile(path) as file:
        return {"about.npy", "indices.npy"} <= {*file.namelist()}
    return False


def _header(path: Path, metadata: Mapping[str, str] | None, kind: str, version: int) -> dict[str, Any]:
    try:
        header = json.loads((metadata or {})[_KEY])
    except (KeyError, json.JSONDecodeError):
        raise ValueError(f"load: {path} was not written by yoco") from None
    if not isinstance(header, dict) or header.get("kind") != kind:
        found = header.get("kind") if isinstance(header, dict) else header
        raise ValueError(f"load: {path} must be of the kind {kind}, got {found}")
    if not isinstance(header.get("version"), int) or header["version"] > version:
        raise ValueError(
            f"load: {path} has format version {header.get('version')}, this yoco reads up to {version}; upgrade yoco"
        )
    return header
