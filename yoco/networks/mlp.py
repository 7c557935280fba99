"""MLP: three linear layers; of DC's width, or 300 and 100 as in work on pruning."""

from torch import nn

from yoco.networks.base import Network


class MLP(Network):
    """Two stages of Linear - ReLU on the flattened image, then a linear head (Zhao et al., DC, ICLR 2021).

    width: of the first hidden layer. second: of the second one, by default the same.
    Weights and biases start as those of PyTorch's layers do.

    Raises:
        ValueError: a width is below 1.
    """

    def __init__(
        self, channels: int, classes: int, size: tuple[int, int], width: int = 128, second: int | None = None
    ) -> None:
        super().__init__()
        second = width if second is None else second
        if min(width, second) < 1:
            raise ValueError(f"mlp: width must be at least 1, got {min(width, second)}")
        pixels = channels * size[0] * size[1]
        first = nn.Sequential(nn.Flatten(), nn.Linear(pixels, width), nn.ReLU())
        self.stages = nn.ModuleList([first, nn.Sequential(nn.Linear(width, second), nn.ReLU())])
        self.head = nn.Linear(second, classes)


def lenet_300_100(channels: int, classes: int, size: tuple[int, int]) -> MLP:
    """LeNet-300-100: hidden layers of 300 and 100 (LeCun et al., Proceedings of the IEEE, 1998), with ReLU."""
    return MLP(channels, classes, size, width=300, second=100)
