"""Whole numbers, as callers from Python give them."""

from numbers import Integral
from typing import Any

from torch import Tensor


def whole_number(where: str, value: Any) -> int:
    """A whole number of Python, NumPy or torch, the last as a tensor without axes, as Python's; where: of the message.

    Raises:
        ValueError: it is none.
    """
    found = value.item() if isinstance(value, Tensor) and value.ndim == 0 else value
    if not isinstance(found, Integral):
        raise ValueError(f"{where} must be a whole number, got {value!r}")
    return int(found)
