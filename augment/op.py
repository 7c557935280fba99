"""What an augmentation is: a draw of random parameters, and their deterministic, differentiable application."""

import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

Params = Mapping[str, Tensor]
"""Parameters by name; the first dimension of each is 1 (one draw for a whole batch) or n (one for each image)."""


class Op(Protocol):
    """One augmentation of images float [n, C, H, W], usually normalised; values are never cut to a range."""

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Params:
        """`count` sets of parameters for images of this (height, width), drawn on the CPU."""

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """The augmented images; the same for the same parameters, differentiable in the images."""


def rows(params: Params, name: str, images: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """One parameter on the device of the images, as [1 or n, ...], in this dtype, or its own.

    It is converted ahead of the device, as some have no float64.

    Raises:
        ValueError: it has neither one row nor one for each image.
    """
    values = params[name]
    if len(values) not in (1, len(images)):
        raise ValueError(f"augment: parameters must have 1 or {len(images)} rows, got {len(values)}")
    return values.to(values.dtype if dtype is None else dtype).to(images.device)


def factors(params: Params, name: str, images: Tensor) -> Tensor:
    """One parameter as numbers that multiply or shift images: [1 or n, 1, 1, 1] in their dtype."""
    return rows(params, name, images, images.dtype).view(-1, 1, 1, 1)


def uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Numbers drawn uniformly from [low, high): float64 [count].

    Raises:
        ValueError: a count below 1.
    """
    check_count(count)
    return low + (high - low) * torch.rand(count, generator=generator, dtype=torch.float64)


def whole(count: int, low: int, high: int, generator: torch.Generator) -> Tensor:
    """Whole numbers drawn uniformly from low to high, both included: long [count].

    Raises:
        ValueError: a count below 1.
    """
    check_count(count)
    return torch.randint(low, high + 1, (count,), generator=generator)


def check_count(count: int) -> None:
    """Refuse to draw fewer than one row.

    Raises:
        ValueError: a count below 1.
    """
    if count < 1:
        raise ValueError(f"augment: count must be at least 1, got {count}")


def check_magnitude(name: str, value: float, low: float = 0.0, high: float = math.inf) -> None:
    """Refuse a magnitude that is not a finite number from low to high.

    Raises:
        ValueError: it is not.
    """
    if not (low <= value <= high and math.isfinite(value)):
        rule = f"at least {low:g} and finite" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"augment: {name} must be {rule}, got {value}")
