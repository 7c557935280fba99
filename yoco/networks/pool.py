"""Average pooling of 2x2 pixels, several times as fast on a CPU as PyTorch's own, equal to it but for rounding.

PyTorch's loop over a map is not vectorised on a CPU: it is over a quarter of the time of a ConvNet. Two rows of a map
lie next to each other in memory, so that all pooling of a batch is one product with a small matrix of quarters.
"""

import torch
from torch import Tensor, nn


class AvgPool2(nn.AvgPool2d):
    """`nn.AvgPool2d(2)`: maps [n, C, H, W] to [n, C, H // 2, W // 2]; differentiable any number of times.

    Quarters are exact in binary, so that the two differ in nothing but the order in which a product adds four numbers:
    by at most two units in the last place of the sum of their sizes, and on most processors in no bit. Where a map has
    an infinity, the pixels beside it may be NaN. Odd sides, maps that are not stored row by row, kinds of tensors other
    than torch's, and devices other than the CPU go to PyTorch's own.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, maps: Tensor) -> Tensor:
        """Mean of every 2x2 pixels."""
        *outer, height, width = maps.shape
        if type(maps) is not Tensor or maps.device.type != "cpu" or height % 2 or width % 2 or not maps.is_contiguous():
            return super().forward(maps)
        with torch.autocast("cpu", enabled=False):
            pooled = maps.view(-1, 2 * width) @ _quarters(width, maps.dtype)
        return pooled.view(*outer, height // 2, width // 2)


def _quarters(width: int, dtype: torch.dtype) -> Tensor:
    """[2 * width, width // 2]: 1/4 where a number of two rows belongs to a pooled pixel."""
    pixel = torch.arange(2 * width) % width // 2
    return (pixel[:, None] == torch.arange(width // 2)).to(dtype) / 4
