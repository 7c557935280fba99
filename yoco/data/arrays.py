"""Sources from arrays in memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yoco.data.pixels import as_pixels, doubt_channels
from yoco.data.source import Source


def from_arrays(images: Any, labels: Any, *, classes: Sequence[str] | None = None, name: str = "arrays") -> Source:
    """A source from images and labels.

    images: NumPy or torch; uint8 or float in [0, 1]; [n, H, W], [n, C, H, W] or [n, H, W, C].
    The last axis holds the channels if its length is 1, 3 or 4 and that of the second axis is not; otherwise the second
    axis does, with a warning if the last one is the shortest.
    labels: [n], integers or strings; whole-number floats are integers.
    classes: the class names, which integer labels index and string labels must be among. Without it, the distinct
    labels in sorted order are the names of the classes 0..C-1.

    Raises:
        ValueError: images and labels do not fit each other, or one of them cannot be read.
    """
    pixels = as_pixels(images, name)
    doubt_channels(pixels, name)
    return labelled(pixels, labels, classes=classes, name=name)


def labelled(pixels: Tensor, labels: Any, *, classes: Sequence[str] | None, name: str) -> Source:
    """A source of pixels uint8 [n, C, H, W], which are not copied; labels and classes as in `from_arrays`.

    Raises:
        ValueError: the labels do not fit the images, or cannot be read.
    """
    at, names = encode(labels, classes, name)
    if len(at) != len(pixels):
        raise ValueError(f"data {name}: labels must be one for each of the {len(pixels)} images, got {len(at)}")
    return Source(name, pixels, at.to(pixels.device), names)


def encode(labels: Any, classes: Sequence[str] | None, name: str) -> tuple[Tensor, tuple[str, ...]]:
    """Labels as long [n] in range(C), and the names of the C classes; see `from_arrays`.

    Raises:
        ValueError: labels are neither integers nor strings, or not among the classes.
    """
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if values.dtype.kind == "O":  # as pandas keeps its strings
        _check_strings(values.ravel().tolist(), name)
        values = np.asarray(values.tolist())
    if values.dtype.kind == "f" and all(isinstance(whole(value), int) for value in values.ravel().tolist()):
        values = values.astype(np.int64) if values.size else values
    if values.ndim != 1 or values.dtype.kind not in "iuUb":
        got = f"{values.dtype} {list(values.shape)}"
        raise ValueError(f"data {name}: labels must be a list of integers or of strings, got {got}")
    if classes is None:
        distinct, at = np.unique(values, return_inverse=True)
        return torch.from_numpy(at.astype(np.int64)), tuple(str(value) for value in distinct)
    if values.dtype.kind != "U":
        return torch.from_numpy(values.astype(np.int64)), tuple(map(str, classes))
    position = {label: at for at, label in enumerate(classes)}
    strange = sorted(set(values.tolist()) - set(position))
    if strange:
        raise ValueError(f"data {name}: labels must be among the {len(classes)} known classes, got {strange[0]!r}")
    return torch.tensor([position[value] for value in values.tolist()], dtype=torch.long), tuple(classes)


def whole(label: Any) -> Any:
    """A whole-number float, as which tables of numbers keep labels, as an integer; all else unchanged."""
    label = label.item() if isinstance(label, np.generic) else label
    return int(label) if isinstance(label, float) and label.is_integer() and abs(label) < 2**53 else label


def _check_strings(labels: list[Any], name: str) -> None:
    """Refuse what is no string among strings, such as a missing label of pandas."""
    others = [label for label in labels if not isinstance(label, str)]
    if 0 < len(others) < len(labels):
        raise ValueError(f"data {name}: labels must be strings, all of them or none, got {others[0]!r} among them")
