"""Files of torch.save, read as data alone: nothing in them is ever called."""

import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from yoco.disk import DAMAGE


def read(path: Path, allowed: tuple[Any, ...] = ()) -> Any:
    """What a file of torch.save holds. allowed: types beside those that torch itself holds to be safe.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or would have to be unpickled.
    """
    if not path.is_file():
        raise FileNotFoundError(f"convert: no file at {path}")
    with safe_globals(list(allowed)):
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except UnpicklingError as error:
            if wanted := _wanted(path, str(error)):
                rule = "must hold only tensors and plain values, as its code is never run"
                raise ValueError(f"convert: {path} {rule}, got references to {', '.join(wanted)}") from error
            raise _damaged(path) from error
        except DAMAGE as error:
            raise _damaged(path) from error


def _wanted(path: Path, said: str) -> list[str]:
    """The names that the file wants to import; of the oldest format the first one, which torch's refusal names."""
    try:
        return sorted(get_unsafe_globals_in_checkpoint(path))
    except (RuntimeError, ValueError, UnpicklingError):
        return re.findall(r"GLOBAL (\S+)", said)[:1]


def _damaged(path: Path) -> ValueError:
    return ValueError(f"convert: {path} is damaged or not a torch.save file")
