"""A run directory: config.yaml, metrics.jsonl, one atomic checkpoint, and resuming however a run ended."""

import io
import json
import os
import re
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from yoco.artefact import python_number
from yoco.disk import DAMAGE, at_home, naming, replace_file

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

FREE = ("minutes", "device")
"""Parts of a configuration that may change when a run is resumed; on another device its result has other bits.

The path of the data may change, too, if a checksum shows that the images are the same.
"""
MARK = "# written by yoco condense\n"
"""The first line of a configuration that a run wrote, and may overwrite."""


class Run:
    """The folder of one run; a run of the same configuration in it is resumed.

    named: data names with settings, classes and constants of their own, which may not change to a path of the same
    images, nor the other way round.

    Raises:
        ValueError: the folder holds a run with another configuration, or a configuration or metrics of another origin.
    """

    def __init__(self, folder: str | Path, config: Mapping[str, Any], named: Collection[str] = ()) -> None:
        self.folder, self.named = at_home(folder), named
        self.config = _plain(config)
        self.held = False
        self._check_same()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Make the folder, keep other processes out of it, and write the configuration; nested calls do nothing.

        If the run fails and has left nothing else in a new folder, the folder is removed.

        Raises:
            ValueError: another process works in the folder, or has left another run there.
            OSError: the folder cannot be written.
        """
        if self.held:
            yield
            return
        text = MARK + yaml.safe_dump(self.config, sort_keys=False)
        made = [place for place in (self.folder, *self.folder.parents) if not place.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        with alone(self.folder):
            self._check_same()
            replace_file(self.folder / "config.yaml", lambda path: path.write_text(text))
            self.held = True
            try:
                yield
            except BaseException:
                self._forget(made)
                raise
            finally:
                self.held = False

    def _forget(self, made: Sequence[Path]) -> None:
        """Remove these folders, from within outwards, if there is nothing in them but the configuration."""
        if made and [path.name for path in self.folder.iterdir()] == ["config.yaml"]:
            (self.folder / "config.yaml").unlink()
            with suppress(OSError):
                for place in made:
                    place.rmdir()

    @property
    def metrics(self) -> Path:
        """The file of metrics, one JSON object a line."""
        return self.folder / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The last state from which the run can resume."""
        return self.folder / "checkpoint.pt"

    @property
    def result(self) -> Path:
        """The condensed set, once there is one."""
        return self.folder / "condensed.safetensors"

    @property
    def finished(self) -> bool:
        """Whether the run is complete: there is a result and no checkpoint."""
        return self.result.is_file() and not self.checkpoint.is_file()

    def _check_same(self) -> None:
        path = self.folder / "config.yaml"
        begun = path.is_file() and any((self.folder / "experts").glob("expert-*.safetensors"))
        if not (begun or self.checkpoint.is_file() or self.result.is_file()):
            for mine in (path, self.metrics):
                if mine.is_file() and not (path.is_file() and path.read_bytes().startswith(MARK.encode())):
                    raise ValueError(f"run: {mine} was not written by this version of yoco; choose another folder")
            return
        try:
            before = yaml.safe_load(path.read_text()) if path.is_file() else None
        except (yaml.YAMLError, UnicodeDecodeError):
            before = None
        if not isinstance(before, dict):
            raise ValueError(f"run: {path} is missing or damaged; choose another folder")
        names = {*before, *self.config} - {*FREE, *(("data",) if self._moved(before) else ())}
        for name in sorted(names, key=lambda name: (name == "checksum", name)):  # words say more than checksums
            old, new = before.get(name), self.config.get(name)
            if old != new:
                raise ValueError(f"run: {self.folder} holds a run with {name}={old}, got {new}; choose another folder")

    def _moved(self, before: Mapping[str, Any]) -> bool:
        """Whether the data have the same checksum as before, and their path may have changed."""
        same = self.config.get("checksum") is not None and self.config["checksum"] == before.get("checksum")
        return same and not {self.config.get("data"), before.get("data")} & {*self.named}

    def log(self, **row: Any) -> None:
        """Append one row to the metrics.

        Raises:
            OSError: they cannot be written.
        """
        with naming(self.metrics), self.metrics.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint.

        Raises:
            OSError: it cannot be written; the last one is as it was.
            ValueError: it holds what `restore` would not read.
        """
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        _check_readable(buffer)
        replace_file(self.checkpoint, lambda path: path.write_bytes(buffer.getbuffer()))

    def restore(self) -> dict[str, Any] | None:
        """The last checkpoint, or None. Metrics of episodes after it are dropped: they will be made again.

        Raises:
            ValueError: the file is no checkpoint.
        """
        if not self.checkpoint.is_file():
            self.metrics.unlink(missing_ok=True)
            return None
        try:
            state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            episode = int(state["episode"])
        except DAMAGE as error:
            again = f"remove it, and {self.result.name} if it is there, to start again"
            raise ValueError(f"run: {self.checkpoint} is damaged; {again}") from error
        self._forget_after(episode)
        return dict(state)

    def _forget_after(self, episode: int) -> None:
        if self.metrics.is_file():
            lines = self.metrics.read_text(encoding="utf-8", errors="replace").splitlines()
            kept = [line for line in lines if (row := row_of(line)) and row["episode"] <= episode]
            text = "".join(line + "\n" for line in kept)
            replace_file(self.metrics, lambda path: path.write_text(text))

    def finish(self) -> None:
        """Remove the checkpoint: the run is whole."""
        self.checkpoint.unlink(missing_ok=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes of this computer out of a folder, by a lock that goes with the process, however it ends.

    Raises:
        ValueError: another process works in it.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"run: {folder} is being worked on by another process") from None
        yield
    finally:
        os.close(handle)


def check_state(state: Mapping[str, Any]) -> None:
    """Check ahead, and cheaply, without the values of its tensors, that a checkpoint could hold a state.

    Raises:
        ValueError: `restore` would not read it.
    """
    buffer = io.BytesIO()
    torch.save(_emptied(dict(state)), buffer)
    _check_readable(buffer)


def _emptied(value: Any) -> Any:
    """The same without what is in its plain tensors."""
    if type(value) in (dict, OrderedDict):
        return type(value)((name, _emptied(part)) for name, part in value.items())
    if type(value) in (list, tuple):
        return type(value)(map(_emptied, value))
    return torch.empty(0) if type(value) is Tensor else value


def _check_readable(buffer: io.BytesIO) -> None:
    try:
        _try_out(buffer, "meta")
    except UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = found[1] if found else str(error).splitlines()[0]
        rule = "a checkpoint must hold only tensors, Python numbers and strings, and dicts and lists of these"
        raise ValueError(f"run: {rule}, got {what}") from error


def _try_out(buffer: io.BytesIO, place: str) -> None:
    """Read all but the values of tensors; these, too, if some tensors cannot be read without, such as sparse ones."""
    buffer.seek(0)
    try:
        torch.load(buffer, map_location=place, weights_only=True)
    except RuntimeError:
        if place == "cpu":
            raise
        _try_out(buffer, "cpu")


def row_of(line: str | bytes) -> dict[str, Any] | None:
    """A row of the metrics, which has an episode; None for any other line, such as a truncated one."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and type(row.get("episode")) is int else None


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as YAML will give it back."""
    return dict(yaml.safe_load(yaml.safe_dump({name: _scalar(value) for name, value in config.items()})))


def _scalar(value: Any) -> Any:
    value = _pythons(value)
    return value if isinstance(value, bool | int | float | str | list | dict | None) else str(value)


def _pythons(value: Any) -> Any:
    """Numbers of NumPy as Python's own, and tuples as lists, as YAML gives them back, in lists and mappings, too."""
    if isinstance(value, dict):
        return {_pythons(name): _pythons(part) for name, part in value.items()}
    if type(value) in (list, tuple):
        return [*map(_pythons, value)]
    return python_number(value) if isinstance(value, np.generic) else value
