"""DenseNet-BC: every layer sees the maps of all layers before it (Huang et al., CVPR 2017)."""

import re

import torch
from torch import Tensor, nn

from yoco.networks.base import Network
from yoco.networks.norm import check_size, may_halve, normalisation
from yoco.networks.pool import AvgPool2


class DenseNet(Network):
    """A stem of 2 * `growth` maps, dense blocks with transitions between them, norm, ReLU and the mean of every map.

    blocks: layers of each block, joined by hyphens: 6-12-24-16 is DenseNet-121, 6-12-32-32 is 169, 6-12-48-32 is 201.
    growth: maps that a layer adds. With 12, the default, it is the small DenseNet-121 that IDC and YOCO train on CIFAR;
    32 is the paper's. norm: `batch`, `instance` or `group` (4 groups).
    A layer: norm, ReLU, Conv1x1 to 4 * growth, norm, ReLU, Conv3x3 to growth. A transition: norm, ReLU, Conv1x1 to half
    of the maps, AvgPool2. Convolutions have no bias and start as PyTorch does.
    The stem: Conv3x3 for sides below 128, else Conv7x7 of stride 2, norm, ReLU and MaxPool3 of stride 2.
    AvgPool2 leaves out the last row and column of an uneven map (28x28 images end as 28, 14, 7, 3) and is itself left
    out for maps with a side below 4, so that every norm sees at least 2x2 pixels (8x8 images end as 8, 4, 2, 2).
    features: the stem, then each block with its transition; the last one after the mean, [n, maps, 1, 1].

    Raises:
        ValueError: blocks or a growth that cannot be, an image side below 2, an unknown norm or a width that does not
            fit it.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        size: tuple[int, int],
        growth: int = 12,
        blocks: str = "6-12-24-16",
        norm: str = "batch",
    ) -> None:
        super().__init__()
        check_size("densenet", size)
        if growth < 1:
            raise ValueError(f"densenet: growth must be at least 1, got {growth}")
        if norm == "group" and growth % 4:
            raise ValueError(f"densenet: growth must be a multiple of 4 for norm=group, got {growth}")
        counts, width, large = _counts(blocks), 2 * growth, min(size) >= 128
        side = (min(size) + 3) // 4 if large else min(size)
        self.stages = nn.ModuleList([_stem(channels, width, large, norm)])
        for index, count in enumerate(counts):
            layers = [DenseLayer(width + layer * growth, growth, norm) for layer in range(count)]
            width += count * growth
            end: list[nn.Module] = [normalisation("densenet", norm, width), nn.ReLU()]
            if index == len(counts) - 1:
                end.append(nn.AdaptiveAvgPool2d(1))
            else:
                end.append(nn.Conv2d(width, width // 2, 1, bias=False))
                width //= 2
                if may_halve(side):
                    end.append(AvgPool2())
                    side //= 2
            self.stages.append(nn.Sequential(*layers, *end))
        self.head = nn.Linear(width, classes)


class DenseLayer(nn.Module):
    """The maps that come in, and `growth` new ones made of all of them."""

    def __init__(self, width: int, growth: int, norm: str) -> None:
        super().__init__()
        self.new = nn.Sequential(
            normalisation("densenet", norm, width),
            nn.ReLU(),
            nn.Conv2d(width, 4 * growth, 1, bias=False),
            normalisation("densenet", norm, 4 * growth),
            nn.ReLU(),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """[n, width, H, W] to [n, width + growth, H, W]."""
        return torch.cat([maps, self.new(maps)], 1)


def _stem(channels: int, width: int, large: bool, norm: str) -> nn.Module:
    if not large:
        return nn.Conv2d(channels, width, 3, padding=1, bias=False)
    first = nn.Conv2d(channels, width, 7, 2, padding=3, bias=False)
    return nn.Sequential(first, normalisation("densenet", norm, width), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1))


def _counts(blocks: str) -> list[int]:
    """`6-12-24-16` -> [6, 12, 24, 16]."""
    if not re.fullmatch(r"[1-9]\d*(-[1-9]\d*)*", blocks, re.ASCII):
        raise ValueError(f"densenet: blocks must read like 6-12-24-16, got {blocks!r}")
    return [int(count) for count in blocks.split("-")]
