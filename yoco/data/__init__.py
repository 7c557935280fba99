"""Data by name, by folder or from Python: `load` turns all of them into the same two sources."""

import os
from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from torch import Tensor

from yoco.data import folder, idx
from yoco.data.arrays import from_arrays, labelled, whole
from yoco.data.dataset import from_dataset, read
from yoco.data.pixels import adapt
from yoco.data.source import Batch, Source, Splits
from yoco.data.splits import hold_out, pair
from yoco.data.whitened import Whitening, plain
from yoco.device import cpu_by_default
from yoco.disk import at_home
from yoco.registry import resolve, unknown
from yoco.whole import whole_number

__all__ = [
    "SOURCES",
    "Batch",
    "Source",
    "Splits",
    "Whitening",
    "from_arrays",
    "from_dataset",
    "hold_out",
    "load",
    "pair",
]

SOURCES: dict[str, str] = {
    "digits": "yoco.data.digits:digits",
    "mnist": "yoco.data.mnist:mnist",
    "fashion-mnist": "yoco.data.mnist:fashion_mnist",
    "kmnist": "yoco.data.mnist:kmnist",
    "emnist": "yoco.data.mnist:emnist",
    "cifar10": "yoco.data.vision:cifar10",
    "cifar100": "yoco.data.vision:cifar100",
    "svhn": "yoco.data.vision:svhn",
}
"""name -> function(download: bool) -> Splits."""


@cpu_by_default
def load(data: Any, *, size: int | None = None, grey: bool = False, download: bool = False) -> Splits:
    """The training and the test half of a data set; the test half carries the mean and std of the training half.

    data: a name out of SOURCES; a folder of images or of idx files; `module:function`, a function without arguments
    that returns any of the following; or, from Python, Splits, (train, test), a mapping with "train" and "test", or one
    part alone, of which a fixed fifth of each class is held out. A part is a Source, a pair of arrays
    (images, labels), or a map-style dataset of (image, label).
    size: resize the shorter side to this many pixels, antialiased, and cut out the square in the centre.
    grey: turn colour into luminance, one channel.
    mean and std are the published ones of a named set, and computed from the training images everywhere else, which
    includes a named set that was resized or turned grey.

    Raises:
        ValueError: the data do not exist, cannot be read, or contradict themselves.
    """
    size = None if size is None else whole_number("data: size", size)
    if size is not None and size < 1:
        raise ValueError(f"data: size must be at least 1, got {size}")
    if not isinstance(data, str | os.PathLike):
        return _from_python(data, size, grey)
    place = os.fspath(data)
    halves = (adapt(half, size, grey) for half in _by_name(place, size, grey, download))
    return pair(*(replace(half, place=place) for half in halves))


def _by_name(name: str, size: int | None, grey: bool, download: bool) -> Splits:
    path = at_home(name)
    if name in SOURCES:
        splits: Splits = resolve("data", SOURCES, name)(download=download)
        return splits
    if path.is_dir():
        return idx.from_folder(path) if idx.sets_in(path) else folder.from_folder(path, size=size, grey=grey)
    if path.exists():
        raise ValueError(f"data: a path must be a folder, got the file {name}")
    if os.sep in name:
        raise ValueError(f"data: there is no folder {name}")
    if ":" in name:
        found = resolve("data", SOURCES, name)
        return _from_python(found() if callable(found) else found, size, grey)
    raise ValueError(f"{unknown('data', name, SOURCES)}; nor is there a folder {name!r}")


def _from_python(data: Any, size: int | None, grey: bool) -> Splits:
    if isinstance(data, Mapping):
        if not {"train", "test"} <= set(data):
            raise ValueError(f"data: a mapping must have the keys train and test, got {sorted(map(str, data))}")
        data = (data["train"], data["test"])
    if isinstance(data, tuple) and len(data) == 2 and not _is_arrays(data):
        train = _part(data[0], size, "train")
        test = _part(data[1], size, "test", train)
        return pair(adapt(train, size, grey), adapt(test, size, grey))
    return hold_out(adapt(_part(data, size, "arrays"), size, grey))


def _is_arrays(data: Any) -> bool:
    """Whether these are (images, labels) and not (train, test)."""
    return isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], np.ndarray | Tensor)


def _part(data: Any, size: int | None, name: str, like: Source | None = None) -> Source:
    """One part as a source; labels without class names are matched to the class names of `like`.

    Integer labels are positions among these classes, unless a class name is a number.
    """
    if isinstance(data, Source):
        return plain(data)
    if _is_arrays(data):
        (images, labels), classes = data, None
    elif hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        images, labels, classes = read(data, size=size, name=name)
    else:
        rule = "must be a name, a folder, Splits, a Source, (images, labels) or a map-style dataset"
        raise ValueError(f"data: {rule}, got {type(data).__name__}")
    if like is not None and classes is None:
        values = [whole(label) for label in (labels.tolist() if isinstance(labels, np.ndarray | Tensor) else labels)]
        labels = values if _are_places(values, like.classes) else [str(label) for label in values]
        classes = like.classes
    if _is_arrays(data):
        return from_arrays(images, labels, classes=classes, name=name)
    return labelled(images, labels, classes=classes, name=name)


def _are_places(values: Any, classes: tuple[str, ...]) -> bool:
    """Whether labels can only be positions among these classes: integers, where no class name is one."""
    numbers = all(isinstance(value, Integral) for value in values)
    return numbers and not any(name.lstrip("-").isdigit() for name in classes)
