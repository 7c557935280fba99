"""Best crops: herding over random crops of real images, this library's baseline without a teacher for RDED."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from yoco.cells import cell_size, upsample
from yoco.condense.coreset import herding
from yoco.condense.crops import random_crops
from yoco.condense.selection import See, Selection
from yoco.rng import Rng


@dataclass(frozen=True, kw_only=True)
class BestCrops(Selection):
    """Crops whose mean, once decoded, follows that of the whole images of their class; one crop of an image at most."""

    name: ClassVar[str] = "best-crops"
    pool: int = 300
    """random images of each class from which crops are cut; more where there are more cells"""
    crops: int = 5
    """random crops of each of them"""
    least: float = 0.25
    """smallest share of the image's area in a crop, above 0; the largest is all of it"""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("pool", "crops"):
            if getattr(self, name) < 1:
                raise ValueError(f"best-crops: {name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.least <= 1:
            raise ValueError(f"best-crops: least must be above 0 and at most 1, got {self.least:g}")

    def choose(self, images: Tensor, see: See, count: int, rng: Rng) -> Tensor:
        """In the order of herding; up to `pool` cells a smaller choice is the beginning of a larger one."""
        size = (images.shape[-2], images.shape[-1])
        pool = images[rng.child("pool").choice(len(images), max(self.pool, count))]
        cell = cell_size(size, self.factor)
        crops = random_crops(pool, self.crops, cell, self.least, rng.child("crops")).flatten(0, 1)
        groups = torch.arange(len(pool)).repeat_interleave(self.crops)
        return crops[herding(see(upsample(crops, size)), count, see(images).mean(0), groups)]
