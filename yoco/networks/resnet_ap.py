"""ResNetAP: ResNet with average pooling for strides (Kim et al., IDC, ICML 2022)."""

from torch import nn

from yoco.networks.norm import normalisation
from yoco.networks.pool import AvgPool2
from yoco.networks.resnet import Residual, ResNet, convolution


class ResNetAP(ResNet):
    """ResNet whose convolutions all have stride 1; where one had stride 2, AvgPool2 follows.

    In a path it follows the ReLU of the first convolution, in a shortcut the convolution, ahead of the norm.
    The stem: Conv3x3 up to 64; the same and AvgPool2 up to 127; Conv7x7 and AvgPool4 from 128 on.
    Halving leaves out the last row and column of an uneven map: 28x28 images end as 28, 14, 7, 3, those of 8x8 as
    8, 4, 2, 2. Options, initialisation, features and errors are those of ResNet.
    """

    where = "resnet_ap"

    def _stem(self, channels: int, width: int, halvings: int, norm: str) -> nn.Sequential:
        first = convolution(channels, width, 7 if halvings == 2 else 3)
        pooling = [nn.AvgPool2d(2**halvings)] if halvings else []
        return nn.Sequential(first, normalisation(self.where, norm, width), nn.ReLU(), *pooling)

    def _block(self, channels: int, width: int, halve: bool, norm: str) -> nn.Module:
        path = nn.Sequential(
            convolution(channels, width, 3),
            normalisation(self.where, norm, width),
            nn.ReLU(),
            *([AvgPool2()] if halve else []),
            convolution(width, width, 3),
            normalisation(self.where, norm, width),
        )
        if not halve and channels == width:
            return Residual(path, nn.Identity())
        shortcut = [convolution(channels, width, 1), *([AvgPool2()] if halve else [])]
        return Residual(path, nn.Sequential(*shortcut, normalisation(self.where, norm, width)))

    def _halved(self, side: int) -> int:
        return side // 2


def resnet_ap10(
    channels: int, classes: int, size: tuple[int, int], width: int = 64, norm: str = "instance"
) -> ResNetAP:
    """ResNetAP-10: four stages of one block; with its usual width the network of IDC for ImageNet."""
    return ResNetAP(channels, classes, size, blocks=1, width=width, norm=norm)
