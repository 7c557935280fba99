"""How far two samples of features are apart in the space of a kernel: their maximum mean discrepancy."""

import torch
from torch import Tensor

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of the Gaussians that are summed, in units of the mean squared distance."""


def gaussian(points: Tensor) -> Tensor:
    """Sum of five Gaussians exp(-|x - y|^2 / (width mean |x - y|^2)).

    The mean is over pairs of different points, and takes no gradient.
    """
    rows = points - points.mean(0).detach()
    norms = rows.square().sum(1)
    squares = (norms[:, None] + norms - 2 * rows @ rows.T).clamp(min=0)
    n = len(points)
    mean = (squares.detach().sum() / (n * n - n)).clamp(min=torch.finfo(points.dtype).eps ** 2)
    return torch.stack([(squares / (-width * mean)).exp() for width in WIDTHS]).sum(0)


def polynomial(points: Tensor) -> Tensor:
    """(x'y + 1)^2: mean and second moments."""
    return (points @ points.T + 1).square()


def linear(points: Tensor) -> Tensor:
    """x'y, of points without their mean, which changes no discrepancy: the mean alone, as DM matches it."""
    rows = points - points.mean(0).detach()
    return rows @ rows.T


KERNELS = {"gaussian": gaussian, "polynomial": polynomial, "linear": linear}


def discrepancy(real: Tensor, synthetic: Tensor, kernel: str) -> Tensor:
    """Squared distance of the mean embeddings of two batches: float [n, ...], [m, ...] -> scalar.

    mean k(r, r') - 2 mean k(r, s) + mean k(s, s'), over all pairs, a point with itself among them: the biased estimate
    of the squared MMD (Gretton et al., JMLR 2012, equation 5; M3D, AAAI 2024). It takes O((n + m)^2 D) time and
    O((n + m)^2) memory.

    Raises:
        ValueError: no such kernel.
    """
    if kernel not in KERNELS:
        raise ValueError(f"discrepancy: kernel must be one of {', '.join(KERNELS)}, got {kernel!r}")
    values, n = KERNELS[kernel](torch.cat([real, synthetic]).flatten(1)), len(real)
    return values[:n, :n].mean() - 2 * values[:n, n:].mean() + values[n:, n:].mean()
