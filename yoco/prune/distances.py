"""Distances in blocks: squared Euclidean ones of centred features, cosines, nearest neighbours; never N x N numbers.

Everything is float64: a squared distance p.p + q.q - 2 p.q then keeps about twelve digits once the mean is taken off.
Two values that differ by less than `TIE` of what they were made from count as equal, so that rounding decides nothing.
"""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from yoco import kmeans
from yoco.rng import Rng

BLOCK = 2**23
"""Most numbers of one block: 64 MB."""
TIE = 1e-12
THOROUGH, ITERATIONS = 4 * 10**6, 10
"""Samples times clusters up to which k-means runs until it is done, and for how long beyond."""


class Points(Protocol):
    """n vectors of which inner products are known. diagonal: the product of each with itself, float64 [n]."""

    diagonal: Tensor

    def products(self, rows: slice | Tensor, columns: slice | Tensor) -> Tensor:
        """Inner products float64 [rows, columns], in new memory."""
        ...


class Vectors:
    """The rows of a matrix float64 [n, D]."""

    def __init__(self, rows: Tensor, diagonal: Tensor | None = None) -> None:
        self.rows = rows
        self.diagonal = rows.square().sum(1) if diagonal is None else diagonal

    def products(self, rows: slice | Tensor, columns: slice | Tensor) -> Tensor:
        """O(rows columns D)."""
        return self.rows[rows] @ self.rows[columns].T


def matrix(features: Tensor, where: str, part: str = "features") -> Tensor:
    """The same numbers, checked.

    Raises:
        ValueError: they are not [n, D], or not finite.
    """
    if features.ndim != 2:
        raise ValueError(f"{where}: {part} must be [n, size], got {list(features.shape)}")
    if not torch.isfinite(features).all():
        raise ValueError(f"{where}: {part} must be finite, got nan or infinity")
    return features


def centred(features: Tensor, where: str) -> Tensor:
    """Features without their mean: float64 [n, D], in new memory, 8 n D bytes.

    Distances stay, and no digits are lost to a common offset.
    """
    rows = matrix(features, where).double()
    mean = rows.mean(0)
    return rows - mean if rows is features else rows.sub_(mean)


def directions(features: Tensor, where: str) -> Vectors:
    """Rows of length 1: their products are cosines, their squared distances 2 - 2 cosine; float64, 8 n D bytes.

    A row of zeros has a cosine of 0 with all others.
    """
    rows = matrix(features, where).double()
    length = rows.norm(dim=1, keepdim=True)
    length = torch.where(length > 0, length, 1)
    rows = rows / length if rows is features else rows.div_(length)
    return Vectors(rows, torch.ones(len(rows), dtype=torch.float64))


def blocks(count: int, width: int) -> Iterator[slice]:
    """Slices of range(count) such that a slice times `width` numbers fit into a block."""
    size = max(1, BLOCK // max(1, width))
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


def squared(points: Points, rows: slice | Tensor, columns: slice | Tensor) -> Tensor:
    """Squared distances float64 [rows, columns], at least 0."""
    distances = points.products(rows, columns).mul_(-2).add_(points.diagonal[columns])
    return distances.add_(points.diagonal[rows][:, None]).clamp_(min=0)


def first_least(values: Tensor, made_from: Tensor) -> int:
    """The first of the smallest values; those within TIE * made_from of it are as small. Both are [n]."""
    best = values.argmin()
    return int((values <= values[best] + TIE * made_from[best]).to(torch.uint8).argmax())


def nearest(points: Points, count: int) -> tuple[Tensor, Tensor]:
    """The `count` nearest other points of each, or all others if there are fewer; nearest first.

    Of equally near ones those of smaller index are in. Returns indices long [n, count] and squared distances float64
    [n, count]. O(n^2 D) time, `BLOCK` numbers of memory.
    """
    n = len(points.diagonal)
    count = min(count, n - 1)
    found = torch.empty(n, count, dtype=torch.long), torch.empty(n, count, dtype=torch.float64)
    everyone = torch.arange(n)
    for rows in blocks(n, n) if count else ():
        distances = squared(points, rows, slice(None))
        distances[everyone[rows] - rows.start, everyone[rows]] = torch.inf
        found[0][rows] = indices = _smallest(distances, count, points.diagonal[rows])
        found[1][rows] = distances.gather(1, indices)
    return found


def _smallest(distances: Tensor, count: int, diagonal: Tensor) -> Tensor:
    """Columns of the `count` smallest of each row, long [rows, count]; of equal ones those of smaller index."""
    values, order = distances.topk(min(count + 1, distances.shape[1]), largest=False)
    indices, last = order[:, :count].sort(1).values, values[:, count - 1]
    slack = TIE * (diagonal + last)
    doubtful = torch.nonzero((values[:, count:] <= (last + slack)[:, None]).any(1)).flatten()
    for row in doubtful:
        certain = distances[row] < last[row] - slack[row]
        tied = (distances[row] <= last[row] + slack[row]) & ~certain
        fill = torch.nonzero(tied).flatten()[: count - int(certain.sum())]
        indices[row] = torch.cat([torch.nonzero(certain).flatten(), fill])
    return indices.gather(1, distances.gather(1, indices).argsort(dim=1, stable=True))


def cosines(rows: Tensor, others: Tensor) -> Tensor:
    """Cosine of each row with its partner, or with the only one: float64 [n], 0 for a row of zeros."""
    return (directions(rows, "cosine").rows * directions(others, "cosine").rows).sum(1)


def cosine_distances(rows: Tensor, others: Tensor) -> Tensor:
    """1 - cosine of each row to its partner, or to the only one: float64 [n] in [0, 2], 0 up to rounding is 0."""
    apart = 1 - cosines(rows, others)
    return apart.where(apart > TIE, 0)


def k_means(x: Tensor, clusters: int, rng: Rng) -> tuple[Tensor, Tensor]:
    """The cluster of each row, long [n], and the centres, float64 [clusters, D].

    x: float64 [n, D], centred. Up to n * clusters = `THOROUGH` it begins with k-means++ and runs until nothing moves,
    beyond with random samples and for `ITERATIONS`, O(n D clusters) time each.
    """
    stream = rng.child("k-means")
    if len(x) * clusters <= THOROUGH:
        return kmeans.k_means(x, clusters, stream)
    return kmeans.k_means(x, clusters, stream, init="random", max_iter=ITERATIONS)
