"""CutMix: "Regularization Strategy to Train Strong Classifiers with Localizable Features", Yun et al., ICCV 2019."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from augment.op import check_count, check_magnitude


@dataclass(frozen=True, eq=False)
class Mix:
    """One drawn mix of images of this (height, width).

    partner: of each image, long [n]; box: the pixels taken from it, (top, bottom, left, right), the ends not included.
    """

    partner: Tensor
    box: tuple[int, int, int, int]
    size: tuple[int, int]


@dataclass(frozen=True)
class CutMix:
    """With this probability, replace the same box in all images of a batch by that of their partners.

    beta: the share of the area that is kept is drawn from Beta(beta, beta), before the box is clipped at the border.

    Raises:
        ValueError: a probability outside [0, 1], or a beta that is not above 0.
    """

    probability: float = 0.5
    beta: float = 1.0

    def __post_init__(self) -> None:
        check_magnitude("cutmix probability", self.probability, 0, 1)
        if not 0 < self.beta < math.inf:
            raise ValueError(f"augment: cutmix beta must be above 0 and finite, got {self.beta}")

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Mix | None:
        """A mix for a batch of `count` images of this (height, width), or None for no mix."""
        check_count(count)
        if float(torch.rand(1, generator=generator)) >= self.probability:
            return None
        cut = math.sqrt(1 - self._share(generator))
        partner = torch.randperm(count, generator=generator)
        edges: list[int] = []
        for side in size:
            centre, half = int(torch.randint(side, (1,), generator=generator)), int(side * cut) // 2
            edges += [max(0, centre - half), min(side, centre + half)]
        return Mix(partner, (edges[0], edges[1], edges[2], edges[3]), size)

    def apply(self, images: Tensor, mix: Mix | None) -> tuple[Tensor, Tensor, float]:
        """The mixed images, the partner of each, long [n], and the exact share of pixels that are an image's own.

        The loss is share * CE(labels) + (1 - share) * CE(labels[partner]).

        Raises:
            ValueError: the mix was drawn for another number or size of images.
        """
        if mix is None:
            return images, torch.arange(len(images), device=images.device), 1.0
        if len(mix.partner) != len(images):
            raise ValueError(f"augment: a mix was drawn for {len(mix.partner)} images, got {len(images)}")
        height, width = images.shape[-2:]
        if (height, width) != mix.size:
            raise ValueError(f"augment: a mix was drawn for images of {mix.size}, got {(height, width)}")
        top, bottom, left, right = mix.box
        partner = mix.partner.to(images.device)
        box = images.new_zeros(height, width, dtype=torch.bool)
        box[top:bottom, left:right] = True
        own = 1 - (bottom - top) * (right - left) / (height * width)
        return torch.where(box, images[partner], images), partner, own

    def _share(self, generator: torch.Generator) -> float:
        """A draw from Beta(beta, beta): (1 + z / sqrt(1 + z^2)) / 2, where z sqrt(2 beta) is Student's t of 2 beta.

        z = sqrt(u^(-1/beta) - 1) cos(2 pi v) for two uniform numbers (Bailey, Mathematics of Computation, 1994).
        """
        u, v = 1 - torch.rand(2, generator=generator, dtype=torch.float64)
        z = (u ** (-1 / self.beta) - 1).sqrt() * (2 * math.pi * v).cos()
        return float((1 + z.atan().sin()) / 2)
