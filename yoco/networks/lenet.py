"""LeNet-5 with ReLU and max pooling (LeCun et al., Proceedings of the IEEE, 1998), and the wider one of Caffe."""

from torch import nn

from yoco.networks.base import Network


class LeNet(Network):
    """Two stages of Conv5x5 - ReLU - MaxPool2 (6 and 16 channels), two of Linear - ReLU (120 and 84), a linear head.

    caffe: the LeNet-5 of the pruning literature: 20 and 50 channels, one hidden layer of 500; 431,080 parameters for
    grey 28x28 images and ten classes. Here its convolutions are followed by ReLU, too.
    Images from 32x32 on (with `caffe` from 28x28 on) get no padding, smaller ones padding 2 in the first convolution.
    The second convolution has padding 2, too, if its maps have a side below 6.
    Weights and biases start as those of PyTorch's layers do.

    Raises:
        ValueError: an image side is below 4.
    """

    def __init__(self, channels: int, classes: int, size: tuple[int, int], caffe: bool = False) -> None:
        super().__init__()
        if min(size) < 4:
            raise ValueError(f"lenet: images must be at least 4x4, got {size[0]}x{size[1]}")
        first = 2 if min(size) < (28 if caffe else 32) else 0
        maps = [(side + 2 * first - 4) // 2 for side in size]
        second = 2 if min(maps) < 6 else 0
        height, width = ((side + 2 * second - 4) // 2 for side in maps)
        narrow, wide, *hidden = (20, 50, 500) if caffe else (6, 16, 120, 84)
        before = wide * height * width
        stages = [_convolution(channels, narrow, first), _convolution(narrow, wide, second)]
        for flatten, after in zip(([nn.Flatten()], []), hidden, strict=False):
            stages.append(nn.Sequential(*flatten, nn.Linear(before, after), nn.ReLU()))
            before = after
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(before, classes)


def lenet_5(channels: int, classes: int, size: tuple[int, int]) -> LeNet:
    """LeNet-5 of Caffe and of the pruning literature; see `LeNet`."""
    return LeNet(channels, classes, size, caffe=True)


def _convolution(channels: int, maps: int, padding: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, maps, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2))
