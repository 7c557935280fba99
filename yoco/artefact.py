"""One file, tensors and a JSON header: written whole or not at all, checked when read, never unpickled."""

import errno
import json
import os
import secrets
import stat
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

_KEY = "yoco"
DAMAGE = (
    *(RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError),
    *(UnpicklingError, BadZipFile, struct.error),
)
"""What torch.load raises of files that are no files of torch.save, or only their beginning."""


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a temporary file beside `path`, flush it to the disk, then put it in the place of `path`.

    A link stays one, and a file keeps its permissions.

    Raises:
        OSError: the folder cannot be written or the disk is full; the file that stood there is as it was.
    """
    with naming(path):
        _replaced(_plain_file(path), write)


def _replaced(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    temporary.open("xb").close()
    try:
        if path.exists():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode) | 0o600)
        write(temporary)
        with temporary.open("r+b") as written:
            os.fsync(written.fileno())
        if path.exists():
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the disk that names no file, as that of a full one, name this one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def python_number(value: Any) -> Any:
    """A number of NumPy as Python's own, which JSON and YAML know.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"must be a number, a word or a list or mapping of them, got {type(value).__name__}")


def at_home(path: str | Path) -> Path:
    """The path, with the home folder in place of a leading ~; of a user who does not exist it stays as it is."""
    return Path(os.path.expanduser(path))


def check_place(path: Path) -> None:
    """Find out ahead of long work whether a file can be written.

    Raises:
        OSError: it cannot.
    """
    path = _plain_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent):
        pass


def _plain_file(path: Path) -> Path:
    """Where links lead; nothing but a file is replaced, such as no device or pipe."""
    path = at_home(path)
    place = Path(os.path.realpath(path))
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a folder, name a file", str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "Is a device or a pipe, name a file", str(path))
    return place


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
    """Some rows of one tensor, however large the others are.

    Raises:
        as `read`.
    """
    with _opened(path, kind, version) as (file, _):
        part = file.get_slice(name)
        return [part[row] for row in rows]


def read_header(path: Path, kind: str, version: int) -> dict[str, Any]:
    """The header alone, whatever the size of the tensors.

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
        hint = "; yoco convert reads .npz" if path.suffix == ".npz" else ""
        raise ValueError(f"load: {path} is damaged or no safetensors file ({error}){hint}") from error


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


def write_npz(path: Path, **arrays: Any) -> None:
    """Write an .npz file of numbers and words, whole or not at all.

    Raises:
        OSError: the place cannot be written; what stood there is as it was.
    """
    assert all(np.asarray(array).dtype != object for array in arrays.values()), "objects would be pickled"

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)

    replace_file(path, write)
