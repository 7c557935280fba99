"""Cells: how canvases are cut into them, and how each is enlarged to a training image."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad


def cell_size(size: tuple[int, int], factor: int) -> tuple[int, int]:
    """Height and width of a cell: ceil(H / factor), ceil(W / factor)."""
    return -(-size[0] // factor), -(-size[1] // factor)


def visible(size: tuple[int, int], factor: int) -> list[tuple[int, int]]:
    """Height and width of the part of each tile that lies on the H x W canvas, tile row by tile row.

    Where factor does not divide a side, the last tiles stick out of the canvas; that part is constant 0.5, not learned.
    """
    h, w = cell_size(size, factor)
    heights = [max(0, min(h, size[0] - i * h)) for i in range(factor)]
    widths = [max(0, min(w, size[1] - j * w)) for j in range(factor)]
    return [(height, width) for height in heights for width in widths]


def cut(canvases: Tensor, factor: int) -> Tensor:
    """Canvases [n, C, H, W] as cells [n * factor^2, C, h, w], tile-major: cell t * n + i is tile t of canvas i.

    Canvases are first padded right and below with 0.5 to a multiple of the cell (IDC, ICML 2022).
    """
    size = (canvases.shape[-2], canvases.shape[-1])
    h, w = cell_size(size, factor)
    padded = pad(canvases, (0, w * factor - size[1], 0, h * factor - size[0]), value=0.5)
    tiles = [padded[..., i * h : (i + 1) * h, j * w : (j + 1) * w] for i in range(factor) for j in range(factor)]
    return torch.cat(tiles)


def upsample(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Cells float [n, C, h, w] as training images [n, C, H, W]: bilinear, corners not aligned (IDC, ICML 2022)."""
    if cells.shape[-2:] == size:
        return cells
    return interpolate(cells, size=size, mode="bilinear", align_corners=False)
