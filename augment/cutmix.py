"""CutMix: "Regularization Strategy to Train Strong Classifiers with Localizable Features", Yun et al., ICCV 2019."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Mix:
    """One drawn mix: the partner of each image, long [n], and the box (top, bottom, left, right) that it gives."""

    partner: Tensor
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class CutMix:
    """With a probability, replace one box of all images of a batch by that of their partners.

    beta: the area share that is kept is drawn from Beta(beta, beta).
    """

    probability: float = 0.5
    beta: float = 1.0

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Mix | None:
        """A mix for a batch of `count` images of this (height, width), or None for no mix."""
        if float(torch.rand(1, generator=generator)) >= self.probability:
            return None
        cut = math.sqrt(1 - self._share(generator))
        partner = torch.randperm(count, generator=generator)
        edges: list[int] = []
        for side in size:
            centre, half = int(torch.randint(side, (1,), generator=generator)), int(side * cut) // 2
            edges += [max(0, centre - half), min(side, centre + half)]
        return Mix(partner, (edges[0], edges[1], edges[2], edges[3]))

    def apply(self, images: Tensor, mix: Mix | None) -> tuple[Tensor, Tensor, float]:
        """The mixed images, the partner of each, long [n], and the exact share of pixels that are an image's own."""
        if mix is None:
            return images, torch.arange(len(images), device=images.device), 1.0
        if len(mix.partner) != len(images):
            raise ValueError(f"cutmix: was drawn for {len(mix.partner)} images, got {len(images)}")
        height, width = images.shape[-2:]
        top, bottom, left, right = mix.box
        partner = mix.partner.to(images.device)
        box = images.new_zeros(height, width, dtype=torch.bool)
        box[top:bottom, left:right] = True
        own = 1 - (bottom - top) * (right - left) / (height * width)
        return torch.where(box, images[partner], images), partner, own

    def _share(self, generator: torch.Generator) -> float:
        """A draw from Beta(beta, beta)."""
        seed = int(torch.randint(2**62, (1,), generator=generator))
        return float(np.random.default_rng(seed).beta(self.beta, self.beta))
