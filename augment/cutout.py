"""Cutout (DeVries and Taylor, 2017), as DSA uses it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from augment.op import Params, check_magnitude, rows, whole


@dataclass(frozen=True)
class Cutout:
    """Zero a rectangle with a share of each side, its centre uniform over the image, cut off at the border."""

    share: float = 0.5

    def __post_init__(self) -> None:
        check_magnitude("cutout", self.share, 0, 1)

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Params:
        """y, x: the centre in pixels, long [count]; of an even rectangle it may be just past the last pixel."""
        y, x = (whole(count, 0, side - 1 + (int(side * self.share + 0.5) + 1) % 2, generator) for side in size)
        return {"y": y, "x": x}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Zero the rectangles."""
        height, width = images.shape[-2:]
        tall = self._inside(rows(params, "y", images), height)
        wide = self._inside(rows(params, "x", images), width)
        return images.masked_fill((tall[:, :, None] & wide[:, None, :])[:, None], 0)

    def _inside(self, centre: Tensor, side: int) -> Tensor:
        """Which of the pixels along a side the rectangles cover: bool [rows, side]."""
        length = int(side * self.share + 0.5)
        start = centre[:, None] - length // 2
        place = torch.arange(side, device=centre.device)
        return (place >= start) & (place < start + length)
