"""Whole numbers, as callers from Python give them."""

from numbers import Integral
from typing import Any

from torch import Tensor


def whole_number(where: str, value: Any) -> int:
    """Convert a whole number of Python, NumPy or torch (a 0-d tensor) to int; where: starts the error message.

    Raises:
        ValueError: it is not a whole number.
    """
    found = value.item() if isinstance(value, Tensor) and value.ndim == 0 else value
    if not isinstance(found, Integral):
        raise ValueError(f"{where} must be a whole number, got {value!r}")
    return int(found)
