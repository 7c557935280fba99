"""ConvNet: equal blocks of convolution, norm, ReLU and average pooling (Gidaris and Komodakis, CVPR 2018)."""

import math

from torch import nn

from yoco.networks.base import Network
from yoco.networks.norm import NORMS, check_size, normalisation
from yoco.networks.pool import AvgPool2
from yoco.networks.thin import ThinConv2d


class ConvNet(Network):
    """`depth` blocks of Conv3x3 (padding 1) - norm - ReLU - AvgPool2, then a linear head; initialised as PyTorch does.

    width: channels of every block. depth: see `usual_depth`.
    norm: `instance` (one group for each channel, affine), `batch`, `group` (4 groups) or `none`.
    Grey 28x28 images get padding 3 in the first convolution, which makes them 32x32 (Zhao et al., ICLR 2021). The
    published rule looks at the channels alone and turns grey 32x32 images into 36x36; this one leaves all others alone.

    Raises:
        ValueError: more halvings than the image has pixels for, an unknown norm, or a width that does not fit it.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        size: tuple[int, int],
        width: int = 128,
        depth: int | None = None,
        norm: str = "instance",
    ) -> None:
        super().__init__()
        padding = 3 if (channels, *size) == (1, 28, 28) else 1
        height, across = size[0] + 2 * (padding - 1), size[1] + 2 * (padding - 1)
        depth = usual_depth(size) if depth is None else depth
        _check(size, (height, across), width, depth)
        first = _block(channels, width, norm, padding)
        self.stages = nn.ModuleList([first, *(_block(width, width, norm, 1) for _ in range(depth - 1))])
        self.head = nn.Linear(width * (height >> depth) * (across >> depth), classes)


def usual_depth(size: tuple[int, int]) -> int:
    """Blocks for images of this (height, width): the last map is about 4 pixels wide, and 3 blocks are the least.

    max(3, round(log2(side)) - 2) of the shorter side: 3 up to 45, hence for 28 and 32, 4 for 64, 5 for 128, 6 for 224;
    never more than leave one pixel: 2 for sides 4 to 7.
    """
    side = min(size)
    return min(max(3, round(math.log2(side)) - 2), side.bit_length() - 1)


def _check(size: tuple[int, int], padded: tuple[int, int], width: int, depth: int) -> None:
    check_size("convnet", size)
    most = min(padded).bit_length() - 1
    if not 1 <= depth <= most:
        raise ValueError(f"convnet: depth must be in 1..{most} for {size[0]}x{size[1]} images, got {depth}")
    if width < 1:
        raise ValueError(f"convnet: width must be at least 1, got {width}")


def _block(channels: int, width: int, norm: str, padding: int) -> nn.Sequential:
    conv = (ThinConv2d if channels == 1 else nn.Conv2d)(channels, width, 3, padding=padding)
    return nn.Sequential(conv, *_norm(norm, width), nn.ReLU(), AvgPool2())


def _norm(norm: str, width: int) -> list[nn.Module]:
    return [] if norm == "none" else [normalisation("convnet", norm, width, (*NORMS, "none"))]
