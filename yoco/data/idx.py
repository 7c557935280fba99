"""idx files, the format of MNIST and its family, plain or gzipped."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from yoco.data.arrays import from_arrays
from yoco.data.source import Splits
from yoco.data.splits import pair

TRAIN = ("train",)
TEST = ("t10k", "test")
"""What the files of the two halves begin with, after the prefix of the set."""


def read_idx(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """The uint8 array of one idx file; a name that ends in .gz is unpacked.

    Layout (LeCun, MNIST): bytes 0, 0, type 8, number of axes; each length as a big-endian uint32; the values.

    Raises:
        ValueError: another kind of file, or one of another length than it says.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"data {path}: cannot be read ({error})") from error
    if len(raw) < 4 or raw[:3] != b"\x00\x00\x08" or len(raw) < 4 + 4 * raw[3]:
        raise ValueError(f"data {path}: an idx file of bytes must begin with 0 0 8, got {list(raw[:3])}")
    start = 4 + 4 * raw[3]
    shape = tuple(np.frombuffer(raw[4:start], ">u4").tolist())
    if len(raw) - start != int(np.prod(shape)):
        raise ValueError(f"data {path}: shape {list(shape)} needs {np.prod(shape)} bytes, got {len(raw) - start}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy()


def sets_in(folder: Path) -> list[tuple[Path, str]]:
    """Every (folder, file prefix) with training images in FOLDER, FOLDER/raw or FOLDER/*/raw."""
    found = set()
    for place in (folder, folder / "raw", *folder.glob("*/raw")):
        for file in place.glob("*train-images?idx3-ubyte*"):
            if not file.name.startswith("."):
                found.add((place, file.name.split("train-images")[0]))
    return sorted(found)


def from_folder(folder: Path) -> Splits:
    """The one set whose idx files lie in this folder; classes are named by their labels, mean and std are computed.

    The set is named after the folder. If the folder of its files, or the one above `raw`, is named after a member of
    the MNIST family, in any spelling (FashionMNIST), the set has the name by which methods and protocols know it.

    Raises:
        ValueError: the folder holds several sets, or files that cannot be read.
    """
    sets = sets_in(folder)
    if len(sets) != 1:
        several = ", ".join(f"{place}/{prefix}train-images" for place, prefix in sets[:3])
        raise ValueError(f"data {folder}: must hold one set of idx files, got {len(sets)}: {several}")
    name = _member(*sets[0]) or _member(folder, "") or folder.resolve().name
    images, labels = half_of(*sets[0], TRAIN)
    train = from_arrays(images, labels, name=name)
    images, labels = half_of(*sets[0], TEST)
    return pair(train, from_arrays(images, [str(label) for label in labels.tolist()], classes=train.classes, name=name))


FAMILY = {"mnist": "mnist", "fashionmnist": "fashion-mnist", "kmnist": "kmnist", "emnist": "emnist"}
"""Names of folders in small letters, without - and _, and what the set is called."""


def _member(place: Path, prefix: str) -> str | None:
    """The member of the MNIST family whose files, by their folder or prefix, these are."""
    place = place.resolve()
    name = (place.parent if place.name == "raw" else place).name
    return FAMILY.get("emnist" if prefix.startswith("emnist") else name.lower().replace("-", "").replace("_", ""))


def half_of(folder: Path, prefix: str, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Images uint8 [n, 1, H, W] and labels long [n] of one half, TRAIN or TEST.

    EMNIST's images are stored with rows and columns exchanged; they come back upright.

    Raises:
        ValueError: a file is missing or unreadable, or images and labels differ in number.
    """
    images = read_idx(_file(folder, prefix, names, "images", 3))
    path = _file(folder, prefix, names, "labels", 1)
    labels = read_idx(path)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        got = f"images {list(images.shape)} and labels {list(labels.shape)}"
        raise ValueError(f"data {path}: needs one label for each image, got {got}")
    if prefix.startswith("emnist"):
        images = images.transpose(0, 2, 1).copy()
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels).long()


def _file(folder: Path, prefix: str, names: tuple[str, ...], what: str, axes: int) -> Path:
    stems = [f"{prefix}{half}-{what}{mark}idx{axes}-ubyte" for half in names for mark in "-."]
    found = [folder / (stem + suffix) for stem in stems for suffix in ("", ".gz")]
    for path in found:
        if path.is_file():
            return path
    raise ValueError(f"data {folder}: needs the file {stems[0]}[.gz], got none")
