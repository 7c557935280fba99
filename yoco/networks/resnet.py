"""ResNet of basic blocks for small and large images (He et al., CVPR 2016)."""

import torch
from torch import Tensor, nn

from yoco.networks.base import Network
from yoco.networks.norm import check_size, may_halve, normalisation


class ResNet(Network):
    """A stem, `stages` stages of `blocks` basic blocks, each twice as wide as the last, and the mean of every map.

    width: channels of the stem and the first stage. norm: `batch`, `instance` or `group` (4 groups).
    The stem, by the shorter side of the image: Conv3x3 up to 64; the same and MaxPool3 of stride 2 up to 127; Conv7x7
    of stride 2 and MaxPool3 of stride 2 from 128 on. Norm and ReLU follow the convolution.
    The first block of each stage but the first halves the map, rounded up. Maps with a side below 4 are not halved, so
    that every norm sees at least 2x2 pixels: 8x8 images end as 8, 4, 2, 2, images of 28x28 as 28, 14, 7, 4.
    Shortcuts that change width or size are Conv1x1 and norm, also in ResNet-20, for which the paper takes padded
    identities without weights. Convolutions have no bias and start as He's normal of the fan out.
    features: the stem, then the stages; the last one after the mean, [n, width * 2^(stages - 1), 1, 1].
    ResNet-32 is `yoco.networks.resnet:ResNet:stages=3,blocks=5,width=16`.

    Raises:
        ValueError: an option below 1, an image side below 2, an unknown norm or a width that does not fit it.
    """

    where = "resnet"

    def __init__(
        self,
        channels: int,
        classes: int,
        size: tuple[int, int],
        stages: int = 4,
        blocks: int = 1,
        width: int = 64,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        _check(self.where, size, stages=stages, blocks=blocks, width=width)
        side, halvings, before = min(size), _stem_halvings(min(size)), width
        self.stages = nn.ModuleList([self._stem(channels, width, halvings, norm)])
        for _ in range(halvings):
            side = self._halved(side)
        for stage in range(stages):
            after, halve = width << stage, stage > 0 and may_halve(side)
            first = self._block(before, after, halve, norm)
            rest = [self._block(after, after, False, norm) for _ in range(blocks - 1)]
            mean = [nn.AdaptiveAvgPool2d(1)] if stage == stages - 1 else []
            self.stages.append(nn.Sequential(first, *rest, *mean))
            side, before = self._halved(side) if halve else side, after
        self.head = nn.Linear(before, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _stem(self, channels: int, width: int, halvings: int, norm: str) -> nn.Sequential:
        first = convolution(channels, width, 7, 2) if halvings == 2 else convolution(channels, width, 3)
        pooling = [nn.MaxPool2d(3, 2, padding=1)] if halvings else []
        return nn.Sequential(first, normalisation(self.where, norm, width), nn.ReLU(), *pooling)

    def _block(self, channels: int, width: int, halve: bool, norm: str) -> nn.Module:
        stride = 2 if halve else 1
        path = nn.Sequential(
            convolution(channels, width, 3, stride),
            normalisation(self.where, norm, width),
            nn.ReLU(),
            convolution(width, width, 3),
            normalisation(self.where, norm, width),
        )
        if not halve and channels == width:
            return Residual(path, nn.Identity())
        shortcut = convolution(channels, width, 1, stride)
        return Residual(path, nn.Sequential(shortcut, normalisation(self.where, norm, width)))

    def _halved(self, side: int) -> int:
        return (side + 1) // 2


class Residual(nn.Module):
    """ReLU of the sum of a path and its shortcut."""

    def __init__(self, path: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.path = path
        self.shortcut = shortcut

    def forward(self, maps: Tensor) -> Tensor:
        """[n, C, H, W] to what both branches make of it."""
        return torch.relu(self.path(maps) + self.shortcut(maps))


def convolution(channels: int, width: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias, padded such that it keeps the size if its stride is 1."""
    return nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False)


def _check(where: str, size: tuple[int, int], **options: int) -> None:
    check_size(where, size)
    for option, value in options.items():
        if value < 1:
            raise ValueError(f"{where}: {option} must be at least 1, got {value}")


def _stem_halvings(side: int) -> int:
    """How often the stem halves an image of this shorter side."""
    return 2 if side >= 128 else 1 if side > 64 else 0


def resnet10(channels: int, classes: int, size: tuple[int, int], width: int = 64, norm: str = "batch") -> ResNet:
    """ResNet-10: four stages of one block; width=32 is the one that IDC and YOCO take for CIFAR."""
    return ResNet(channels, classes, size, blocks=1, width=width, norm=norm)


def resnet18(channels: int, classes: int, size: tuple[int, int], width: int = 64, norm: str = "batch") -> ResNet:
    """ResNet-18: four stages of two blocks."""
    return ResNet(channels, classes, size, blocks=2, width=width, norm=norm)


def resnet20(channels: int, classes: int, size: tuple[int, int], width: int = 16, norm: str = "batch") -> ResNet:
    """ResNet-20, the CIFAR network of 270 thousand weights: three stages of three blocks."""
    return ResNet(channels, classes, size, stages=3, blocks=3, width=width, norm=norm)
