"""NumPy archives, read without ever unpickling."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]
_DAMAGE = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, KeyError, NotImplementedError)


def arrays(path: Path, names: tuple[str, ...] | None = None) -> Arrays:
    """The arrays of an .npz file, by name; of `names` those that are there.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: it may not be read.
        ValueError: it is damaged, no archive, or holds Python objects.
    """
    if not path.is_file():
        raise FileNotFoundError(f"convert: no file at {path}")
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            return {name: file[name] for name in file.files if names is None or name in names}
    except PermissionError:
        raise
    except _DAMAGE as error:
        raise ValueError(f"convert: {path} is damaged or not an .npz file of plain arrays ({_first(error)})") from error


def need(found: Arrays, names: tuple[str, ...], path: Path) -> None:
    """Check that these arrays are there.

    Raises:
        ValueError: one is not.
    """
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"convert: {path} must hold {' and '.join(names)}, got {sorted(found)} without {missing[0]}")


def _first(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
