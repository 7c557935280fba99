"""Numbers from anywhere: tensors, arrays and lists, as tensors; and which of them are whole, or finite."""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor


def tensor(what: str, values: Tensor | ArrayLike) -> Tensor:
    """A tensor of these numbers: itself without its graph, or a copy of an array or list.

    Raises:
        ValueError: they are no numbers. what: how the message calls them.
    """
    if isinstance(values, Tensor):
        return values.detach()
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{what} must be numbers in rows of equal length") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} must be numbers, got {array.dtype}")
    native = {"i": np.int64, "u": np.int64, "f": np.float32 if array.dtype.itemsize <= 4 else np.float64, "b": np.bool_}
    return torch.from_numpy(array.astype(native[array.dtype.kind]))


def whole(values: Tensor) -> bool:
    """Whether these are whole numbers; truth values are not."""
    return not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)


def finite(rows: Tensor) -> bool:
    """Whether all of these numbers [n, size] are; few rows are read at a time, so that a mapped file stays on disk."""
    few = max(1, 2**20 // max(1, rows.shape[1]))
    return all(bool(torch.isfinite(part).all()) for part in rows.split(few))
