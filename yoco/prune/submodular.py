"""Greedy facility location and graph cut over a graph of similarities of limited size.

A graph holds all pairs of up to `ALL` samples, in float32. Of more samples it holds each with its nearest ones, both
ways, and all other pairs have similarity 0. Gains only fall as the choice grows (submodularity), so that an old gain is
an upper bound: the lazy greedy algorithm (Minoux, 1978) recomputes the largest until it stays the largest. Its answer
is the greedy one, which has at least 1 - 1/e of the best value where f is monotone (Nemhauser et al., 1978).
Similarities are multiples of 2^-24 of the power of 2 above them, so that sums are exact and equal gains compare equal.
"""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yoco.prune.budget import Budget
from yoco.prune.distances import Points, blocks, directions, nearest, squared
from yoco.prune.rules import Items, Rule, need
from yoco.rng import Rng

ALL = 8192
"""Most samples of which all pairs are held: 268 MB."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Graph:
    """Symmetric values of pairs, each sample with itself among them.

    values: float32 [n, n]; or those of the pairs (i, columns[k]) for k in starts[i]..starts[i + 1], flat.
    """

    values: Floats
    starts: NDArray[np.int64] | None = None
    columns: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.values if self.starts is None else self.starts[1:])

    def row(self, i: int) -> tuple[slice | NDArray[np.int64], Floats]:
        """The samples that i has a value with, and the values."""
        if self.starts is None or self.columns is None:
            return slice(None), self.values[i]
        part = slice(self.starts[i], self.starts[i + 1])
        return self.columns[part], self.values[part]


def distance_graph(points: Points, neighbours: int) -> Graph:
    """Squared distances of all pairs of up to `ALL` points, else of each with its `neighbours` nearest ones.

    A pair is in if one of the two is near to the other. O(n^2 D) time; 4 n^2, or about 40 n neighbours, bytes.
    """
    n = len(points.diagonal)
    if n <= ALL:
        values = np.empty((n, n), dtype=np.float32)
        for part in blocks(n, n):
            values[part, part.start :] = squared(points, part, slice(part.start, None)).numpy()
            values[part.stop :, part] = values[part, part.stop :].T
        np.fill_diagonal(values, 0)
        return Graph(values)
    near, distance = nearest(points, neighbours)
    here = torch.arange(n)[:, None].expand_as(near)
    own = torch.arange(n) * (n + 1)
    keys = torch.cat([(here * n + near).flatten(), (near * n + here).flatten(), own])
    flat = torch.cat([distance.flatten(), distance.flatten(), torch.zeros(n, dtype=torch.float64)]).float()
    pairs, first = np.unique(keys.numpy(), return_index=True)
    starts = np.searchsorted(pairs, np.arange(n + 1) * n)
    return Graph(flat.numpy()[first], starts, pairs % n)


def cosine_graph(features: Tensor, where: str, neighbours: int) -> Graph:
    """Similarities (1 + cosine) / 2 in 0..1 of features [n, D], not centred; that of a row of zeros with others is 0.5.

    They are 1 minus a float32 number, so multiples of 2^-24.

    Raises:
        ValueError: features are not a finite matrix.
    """
    graph = distance_graph(directions(features, where), neighbours)
    np.subtract(1, np.divide(graph.values, 4, out=graph.values), out=graph.values)
    return graph


def lazy_greedy(gain: Callable[[int], float], take: Callable[[int], object], n: int, total: int) -> Tensor:
    """The greedy order of `total` out of range(n), of equal gains the smaller number: long [total].

    gain: what i would add now, which must never rise; take: add i.
    """
    heap = [(-gain(i), i) for i in range(n)]
    heapify(heap)
    chosen: list[int] = []
    while len(chosen) < total:
        best = heappop(heap)[1]
        entry = (-gain(best), best)
        if heap and entry > heap[0]:
            heappush(heap, entry)
            continue
        take(best)
        chosen.append(best)
    return torch.tensor(chosen)


def facility_location(graph: Graph, total: int) -> Tensor:
    """Greedy for f(S) = sum_i max_{j in S} s_ij, s at least 0: long [total], in the order of choice.

    f is monotone; answers are nested. A gain takes O(row): first all gains are computed, then few in each step.
    """
    best = np.zeros(len(graph), dtype=np.float32)

    def gain(j: int) -> float:
        where, values = graph.row(j)
        return float(np.maximum(values - best[where], 0).sum(dtype=np.float64))

    def take(j: int) -> None:
        where, values = graph.row(j)
        best[where] = np.maximum(values, best[where])

    return lazy_greedy(gain, take, len(graph), total)


def graph_cut(graph: Graph, total: int, lam: float = 2.0) -> Tensor:
    """Greedy for f(S) = lam sum_i sum_{j in S} s_ij - sum_{i in S} sum_{j in S} s_ij: long [total], in that order.

    s is at least 0; the first sum is over all samples. Answers are nested. With S chosen, j gains
    lam sum_i s_ij - 2 sum_{i in S} s_ij - s_jj. f is monotone for lam of at least 2; below, gains may be negative,
    and samples are still added up to the total. O(row) a step; 16 n bytes.
    """
    size = len(graph)
    alone = np.array([lam * graph.row(j)[1].sum(dtype=np.float64) for j in range(size)])
    lost = np.zeros(size)
    for j in range(size):
        where, values = graph.row(j)
        alone[j] -= values[j if isinstance(where, slice) else np.searchsorted(where, j)]

    def take(i: int) -> None:
        where, values = graph.row(i)
        lost[where] += values

    return lazy_greedy(lambda j: float(alone[j] - 2 * lost[j]), take, size, total)


@dataclass(frozen=True, kw_only=True)
class _OverGraph(Rule):
    """neighbours: of each sample in the graph where it is too large to hold all pairs.

    Raises:
        ValueError: neighbours are below 1.
    """

    nested: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("features",)
    name: ClassVar[str]
    neighbours: int = 64

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"{self.name}: neighbours must be at least 1, got {self.neighbours}")

    def graph(self, items: Items, budget: Budget) -> tuple[Graph, int]:
        """Similarities of the features, and how many to choose."""
        features = need(items, "features", self.name)
        total = budget.total(len(features), items.classes)
        return cosine_graph(features, self.name, self.neighbours), total


@dataclass(frozen=True, kw_only=True)
class FacilityLocation(_OverGraph):
    """`facility_location` over `cosine_graph`."""

    name: ClassVar[str] = "facility-location"

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """In the order of choice."""
        return facility_location(*self.graph(items, budget))


@dataclass(frozen=True, kw_only=True)
class GraphCut(_OverGraph):
    """`graph_cut` over `cosine_graph`. lam: the weight of similarity to all samples against that to the chosen ones.

    Raises:
        ValueError: lam is below 0.
    """

    name: ClassVar[str] = "graph-cut"
    lam: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.lam < float("inf"):
            raise ValueError(f"graph-cut: lam must be at least 0, got {self.lam:g}")

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """In the order of choice."""
        return graph_cut(*self.graph(items, budget), self.lam)
