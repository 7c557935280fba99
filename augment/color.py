"""Colour jitter of DSA (Zhao and Bilen, ICML 2021): brightness, saturation and contrast."""

from dataclasses import dataclass

import torch
from torch import Tensor

from augment.op import Params, check_magnitude, factors, uniform


@dataclass(frozen=True)
class Brightness:
    """x + b, b ~ U(-strength, strength)."""

    strength: float = 0.5

    def __post_init__(self) -> None:
        check_magnitude("brightness", self.strength)

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Params:
        """b: [count]."""
        return {"shift": uniform(count, -self.strength, self.strength, generator)}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Shift every pixel."""
        return images + factors(params, "shift", images)


@dataclass(frozen=True)
class Saturation:
    """m + (x - m) s, s ~ U(0, strength), m the mean over the channels of each pixel; the identity on one channel."""

    strength: float = 2.0

    def __post_init__(self) -> None:
        check_magnitude("saturation", self.strength)

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Params:
        """s: [count]."""
        return {"factor": uniform(count, 0.0, self.strength, generator)}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Stretch the distance of each pixel from its grey value."""
        grey = images.mean(dim=1, keepdim=True)
        return grey + (images - grey) * factors(params, "factor", images)


@dataclass(frozen=True)
class Contrast:
    """m + (x - m) c, c ~ U(1 - strength, 1 + strength), m the mean of the whole image."""

    strength: float = 0.5

    def __post_init__(self) -> None:
        check_magnitude("contrast", self.strength)

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Params:
        """c: [count]."""
        return {"factor": uniform(count, 1 - self.strength, 1 + self.strength, generator)}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Stretch the distance of each pixel from the mean of its image."""
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        return mean + (images - mean) * factors(params, "factor", images)
