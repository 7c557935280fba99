"""MLP: three linear layers (Zhao et al., Dataset Condensation with Gradient Matching, ICLR 2021)."""

from torch import nn

from yoco.networks.base import Network


class MLP(Network):
    """Two stages of Linear - ReLU on the flattened image, then a linear head.

    width: of both hidden layers.

    Raises:
        ValueError: width is below 1.
    """

    def __init__(self, channels: int, classes: int, size: tuple[int, int], width: int = 128) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"mlp: width must be at least 1, got {width}")
        pixels = channels * size[0] * size[1]
        first = nn.Sequential(nn.Flatten(), nn.Linear(pixels, width), nn.ReLU())
        self.stages = nn.ModuleList([first, nn.Sequential(nn.Linear(width, width), nn.ReLU())])
        self.head = nn.Linear(width, classes)
