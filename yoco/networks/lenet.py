"""LeNet-5 with ReLU and max pooling (LeCun et al., Proceedings of the IEEE, 1998)."""

from torch import nn

from yoco.networks.base import Network


class LeNet(Network):
    """Two stages of Conv5x5 - ReLU - MaxPool2 (6 and 16 channels), two of Linear - ReLU (120 and 84), a linear head.

    Images of 32x32 get no padding, smaller ones padding 2 in the first convolution, after which 28x28 is like 32x32;
    where too little is left for the second (below 12x12), that has padding 2 as well.

    Raises:
        ValueError: an image side is below 4.
    """

    def __init__(self, channels: int, classes: int, size: tuple[int, int]) -> None:
        super().__init__()
        if min(size) < 4:
            raise ValueError(f"lenet: images must be at least 4x4, got {size[0]}x{size[1]}")
        first = 2 if min(size) < 32 else 0
        maps = [(side + 2 * first - 4) // 2 for side in size]
        second = 2 if min(maps) < 6 else 0
        height, width = ((side + 2 * second - 4) // 2 for side in maps)
        self.stages = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(channels, 6, 5, padding=first), nn.ReLU(), nn.MaxPool2d(2)),
                nn.Sequential(nn.Conv2d(6, 16, 5, padding=second), nn.ReLU(), nn.MaxPool2d(2)),
                nn.Sequential(nn.Flatten(), nn.Linear(16 * height * width, 120), nn.ReLU()),
                nn.Sequential(nn.Linear(120, 84), nn.ReLU()),
            ]
        )
        self.head = nn.Linear(84, classes)
