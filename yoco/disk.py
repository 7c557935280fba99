"""The disk: files are written whole or not at all, and named in every error; what reading a damaged one raises."""

import errno
import os
import secrets
import stat
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import numpy as np

DAMAGE = (
    *(RuntimeError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError),
    *(UnpicklingError, BadZipFile, struct.error),
)
"""What torch.load raises for files that torch.save did not write, or that are truncated."""


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
            _set_mode(temporary, stat.S_IMODE(path.stat().st_mode) | 0o600)
        write(temporary)
        with temporary.open("r+b") as written:
            os.fsync(written.fileno())
        if path.exists():
            _set_mode(temporary, stat.S_IMODE(path.stat().st_mode))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _set_mode(path: Path, mode: int) -> None:
    """Change permissions where they differ: on mounted shares all files have the same, and only their owner may ask."""
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add this path to errors of the disk that name no file, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def at_home(path: str | Path) -> Path:
    """The path, with the home folder in place of a leading ~; of a user who does not exist it stays as it is."""
    return Path(os.path.expanduser(path))


def same_file(one: str | Path, other: str | Path) -> bool:
    """Whether two paths lead to the same file, which need not exist, also on disks that ignore case."""
    try:
        return os.path.samefile(at_home(one), at_home(other))
    except OSError:
        return os.path.realpath(at_home(one)) == os.path.realpath(at_home(other))


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
    """The path behind links; refuse what is not a file, such as a folder, a device or a pipe."""
    path = at_home(path)
    place = Path(os.path.realpath(path))
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a folder, name a file", str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "Is a device or a pipe, name a file", str(path))
    return place


def write_npz(path: Path, **arrays: Any) -> None:
    """Write an .npz file of numbers and words, whole or not at all.

    Raises:
        OSError: the file cannot be written; an earlier one is left as it was.
    """
    assert all(np.asarray(array).dtype != object for array in arrays.values()), "objects would be pickled"

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)

    replace_file(path, write)
