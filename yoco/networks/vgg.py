"""VGG for small images (Simonyan and Zisserman, ICLR 2015), as Zhao et al. (ICLR 2021) build it: one linear layer."""

from torch import nn

from yoco.networks.base import Network
from yoco.networks.norm import check_size, may_halve, normalisation

CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""depth -> convolutions in each of the five stages; the linear layers that it counts are one here."""


class VGG(Network):
    """Five stages of Conv3x3 - norm - ReLU with MaxPool2 at their ends, then the mean of every map.

    depth: 11, 13, 16 or 19. width: channels of the first stage; the next ones have 2, 4, 8 and 8 times as many.
    norm: `instance` (of the paper), `batch` or `group` (4 groups). Initialised as PyTorch does.
    MaxPool2 leaves out the last row and column of an uneven map. The first four are left out for maps with a side below
    4, so that every norm sees at least 2x2 pixels; the fifth is always there, as no norm follows. Images of 8x8 go
    8, 4, 2, 2, 2, 1, those of 16x16 16, 8, 4, 2, 2, 1, those of 28x28 28, 14, 7, 3, 3, 1; from 32x32 on all five halve.
    The mean is of one pixel, hence nothing, up to 63x63. Grey images are not padded, which the published code does.
    features: the stages; the last one after the mean, [n, 8 * width, 1, 1].

    Raises:
        ValueError: an unknown depth or norm, an image side below 2, a width below 1 or one that does not fit the norm.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        size: tuple[int, int],
        depth: int = 11,
        width: int = 64,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        check_size("vgg", size)
        if depth not in CONVOLUTIONS:
            raise ValueError(f"vgg: depth must be 11, 13, 16 or 19, got {depth}")
        if width < 1:
            raise ValueError(f"vgg: width must be at least 1, got {width}")
        side, before = min(size), channels
        self.stages = nn.ModuleList()
        for stage, count in enumerate(CONVOLUTIONS[depth]):
            after, last = width << min(stage, 3), stage == 4
            layers: list[nn.Module] = [_layer(before, after, norm)]
            layers += [_layer(after, after, norm) for _ in range(count - 1)]
            if last or may_halve(side):
                layers.append(nn.MaxPool2d(2))
                side //= 2
            if last:
                layers.append(nn.AdaptiveAvgPool2d(1))
            self.stages.append(nn.Sequential(*layers))
            before = after
        self.head = nn.Linear(before, classes)


def _layer(channels: int, width: int, norm: str) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), normalisation("vgg", norm, width), nn.ReLU())


def vgg11(channels: int, classes: int, size: tuple[int, int], width: int = 64, norm: str = "instance") -> VGG:
    """VGG-11: eight convolutions."""
    return VGG(channels, classes, size, depth=11, width=width, norm=norm)
