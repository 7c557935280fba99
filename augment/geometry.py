"""Flip, crop, scale, rotate and translate, with zeros where an image does not reach; and crops that are resized."""

import math
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, pad

from augment.op import Params, check_magnitude, rows, uniform, whole

TRIES = 10
"""How many random parts of an image are drawn; the first that lies within it is taken."""


@dataclass(frozen=True)
class Flip:
    """Mirror left and right with a probability."""

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_magnitude("flip", self.probability, 0, 1)

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Params:
        """Whether to mirror: bool [count]."""
        return {"flip": uniform(count, 0, 1, generator) < self.probability}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Mirror the images drawn to be mirrored."""
        return torch.where(rows(params, "flip", images).view(-1, 1, 1, 1), images.flip(3), images)


@dataclass(frozen=True)
class Crop:
    """Shift by whole pixels, up to a share of each side, zeros moving in."""

    share: float = 0.125

    def __post_init__(self) -> None:
        check_magnitude(type(self).__name__.lower(), self.share, 0, 1)

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Params:
        """down, right: pixels, long [count]."""
        reach = [int(side * self.share + 0.5) for side in size]
        down, right = (whole(count, -pixels, pixels, generator) for pixels in reach)
        return {"down": down, "right": right}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Shift the images."""
        down, right = rows(params, "down", images), rows(params, "right", images)
        if len(down) == len(right) == 1:
            return _shift_all(images, int(params["down"]), int(params["right"]))
        y, inside_y = self._sources(down, images.shape[2])
        x, inside_x = self._sources(right, images.shape[3])
        places = (y[:, :, None] * images.shape[3] + x[:, None, :]).flatten(1)[:, None]
        moved = images.flatten(2).gather(2, places.expand(*images.shape[:2], -1)).view(images.shape)
        return moved.masked_fill(~(inside_y[:, :, None] & inside_x[:, None, :])[:, None], 0)

    def _sources(self, shift: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Where the pixels along a side come from, long [rows, side], and whether that is inside the image."""
        source = torch.arange(side, device=shift.device) - shift[:, None]
        return source.clamp(0, side - 1), (source >= 0) & (source < side)


@dataclass(frozen=True)
class Translate(Crop):
    """The translation of DiffAugment (Zhao et al., NeurIPS 2020): what DSA calls crop, whole pixels and no blur."""


@dataclass(frozen=True)
class Scale:
    """Stretch the two axes independently; the factor of the sampling grid is U(1 / strength, strength)."""

    strength: float = 1.2

    def __post_init__(self) -> None:
        check_magnitude("scale", self.strength, 1)

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
    """Turn about the centre by U(-degrees, degrees); right angles stay right where an image is not square."""

    degrees: float = 15.0

    def __post_init__(self) -> None:
        check_magnitude("rotate", self.degrees, 0, 180)

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Params:
        """map: float64 [count, 2, 3]."""
        angle = uniform(count, -self.degrees, self.degrees, generator) * math.pi / 180
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        tall = size[0] / size[1]
        return {"map": _matrix((cos, -sin * tall, zero), (sin / tall, cos, zero))}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Turn the images."""
        return warp(images, params)


@dataclass(frozen=True)
class ResizedCrop:
    """A random part of each image, enlarged to all of it: U(least, 1) of the area, its sides 3 : 4 to 4 : 3.

    The ratio is uniform in its logarithm; the place is uniform. Of `TRIES` parts the first that fits on
    the image is taken, else the largest of its ratio (Szegedy et al., "Going Deeper with Convolutions", CVPR 2015).
    """

    least: float = 0.08

    def __post_init__(self) -> None:
        check_magnitude("resized crop", self.least, 0, 1)

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Params:
        """map: float64 [count, 2, 3]."""
        area = uniform(count * TRIES, self.least, 1, generator).view(count, TRIES)
        ratio = uniform(count * TRIES, -math.log(4 / 3), math.log(4 / 3), generator).view(count, TRIES).exp()
        sides = torch.stack([(area * ratio * size[0] / size[1]).sqrt(), (area / ratio * size[1] / size[0]).sqrt()])
        first = (sides <= 1).all(0).int().argmax(1)
        found = sides[:, torch.arange(count), first]
        wide, high = found / found.amax(0).clamp(min=1)
        right, down = ((1 - side) * uniform(count, -1, 1, generator) for side in (wide, high))
        zero = torch.zeros_like(wide)
        return {"map": _matrix((wide, zero, right), (zero, high, down))}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Enlarge the parts, bilinearly; nothing comes from outside of the image."""
        return warp(images, params, inside=True)


def warp(images: Tensor, params: Params, inside: bool = False) -> Tensor:
    """Sample each image bilinearly on a mapped grid, corners not aligned, zeros outside.

    params: map, [1 or n, 2, 3], from the coordinates (x, y) in [-1, 1] of a target pixel to those of its source.
    inside: repeat the outermost pixels outside instead of zeros.
    """
    dtype = images.dtype if images.dtype in (torch.float32, torch.float64) else torch.float32
    maps = rows(params, "map", images, dtype)
    grid = affine_grid(maps, [len(maps), 1, *images.shape[2:]], align_corners=False)
    grid = grid.expand(len(images), -1, -1, -1)
    if inside:
        most = 1 - 1 / grid.new_tensor((images.shape[3], images.shape[2]))
        grid = grid.clamp(-most, most)
    repeatable = images.is_cuda and torch.are_deterministic_algorithms_enabled()
    sample = bilinear if repeatable else partial(grid_sample, align_corners=False)
    return sample(images.to(dtype), grid).to(images.dtype)


def bilinear(images: Tensor, grid: Tensor) -> Tensor:
    """`grid_sample`, corners not aligned, with a deterministic gradient on CUDA.

    images: [n, C, H, W]; grid: [n, H', W', 2], (x, y) in [-1, 1]; the result: [n, C, H', W'], zeros from outside.
    """
    sides = grid.new_tensor((images.shape[3], images.shape[2]))
    place = ((grid + 1) * sides - 1) / 2
    corner = place.floor()
    near, sampled = place - corner, images.new_zeros(())
    for step in product((0, 1), (0, 1)):
        at = corner + corner.new_tensor(step)
        inside = ((at >= 0) & (at < sides)).all(-1)
        x, y = at.clamp(min=0).minimum(sides - 1).long().unbind(-1)
        weight = torch.where(grid.new_tensor(step) > 0, near, 1 - near).prod(-1) * inside
        index = (y * images.shape[3] + x).flatten(1)[:, None].expand(-1, images.shape[1], -1)
        sampled = sampled + images.flatten(2).gather(2, index).unflatten(2, grid.shape[1:3]) * weight[:, None]
    return sampled


def _shift_all(images: Tensor, down: int, right: int) -> Tensor:
    """All images moved by the same whole pixels, zeros moving in."""
    height, width = images.shape[2:]
    edge = max(abs(down), abs(right))
    padded = pad(images, (edge, edge, edge, edge))
    return padded[..., edge - down : edge - down + height, edge - right : edge - right + width]


def _matrix(*lines: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([torch.stack(line, dim=1) for line in lines], dim=1)
