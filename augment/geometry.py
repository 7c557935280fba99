"""Flip, crop, scale, rotate and translate, with zeros where an image does not reach."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from augment.op import Params, rows, uniform, whole


@dataclass(frozen=True)
class Flip:
    """Mirror left and right with a probability."""

    probability: float = 0.5

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Params:
        """Whether to: bool [count]."""
        return {"flip": uniform(count, 0, 1, generator) < self.probability}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Mirror the images that are to be."""
        return torch.where(rows(params, "flip", images).view(-1, 1, 1, 1), images.flip(3), images)


@dataclass(frozen=True)
class Crop:
    """Shift by whole pixels, up to a share of each side, zeros moving in."""

    share: float = 0.125

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Params:
        """down, right: pixels, long [count]."""
        reach = [int(side * self.share + 0.5) for side in size]
        down, right = (whole(count, -pixels, pixels, generator) for pixels in reach)
        return {"down": down, "right": right}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Shift the images."""
        down, right = rows(params, "down", images), rows(params, "right", images)
        edge = int(torch.cat([down.abs(), right.abs()]).max())
        height, width = images.shape[-2:]
        padded = pad(images, (edge, edge, edge, edge))
        if len(down) == 1:
            top, left = edge - int(down), edge - int(right)
            return padded[..., top : top + height, left : left + width]
        y = (torch.arange(height, device=down.device) + (edge - down)[:, None])[:, :, None]
        x = (torch.arange(width, device=down.device) + (edge - right)[:, None])[:, None, :]
        image = torch.arange(len(images), device=down.device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[image, y, x].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Translate:
    """Shift by fractions of pixels, up to a share of each side; bilinear, zeros moving in."""

    share: float = 0.125

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Params:
        """map: float64 [count, 2, 3]."""
        right, down = (uniform(count, -2 * self.share, 2 * self.share, generator) for _ in range(2))
        one, zero = torch.ones_like(right), torch.zeros_like(right)
        return {"map": _matrix((one, zero, -right), (zero, one, -down))}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Shift the images."""
        return warp(images, params)


@dataclass(frozen=True)
class Scale:
    """Stretch the two axes independently; the factor of the sampling grid is U(1 / strength, strength)."""

    strength: float = 1.2

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Params:
        """map: float64 [count, 2, 3]."""
        across, along = (uniform(count, 1 / self.strength, self.strength, generator) for _ in range(2))
        zero = torch.zeros_like(across)
        return {"map": _matrix((across, zero, zero), (zero, along, zero))}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Stretch the images about their centres."""
        return warp(images, params)


@dataclass(frozen=True)
class Rotate:
    """Turn about the centre by U(-degrees, degrees)."""

    degrees: float = 15.0

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Params:
        """map: float64 [count, 2, 3]."""
        angle = uniform(count, -self.degrees, self.degrees, generator) * math.pi / 180
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        return {"map": _matrix((cos, -sin, zero), (sin, cos, zero))}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Turn the images."""
        return warp(images, params)


def warp(images: Tensor, params: Params) -> Tensor:
    """Sample each image bilinearly on a mapped grid, corners not aligned, zeros outside.

    params: map, [1 or n, 2, 3], from the coordinates (x, y) in [-1, 1] of a target pixel to those of its source.
    """
    dtype = images.dtype if images.dtype in (torch.float32, torch.float64) else torch.float32
    maps = rows(params, "map", images).to(dtype).expand(len(images), 2, 3)
    grid = affine_grid(maps, list(images.shape), align_corners=False)
    return grid_sample(images.to(dtype), grid, align_corners=False).to(images.dtype)


def _matrix(*lines: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([torch.stack(line, dim=1) for line in lines], dim=1)
