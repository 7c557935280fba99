"""Allocation: how many zeros each layer gets, from curves of the error that zeros cause in it.

A curve has the error of a layer at some numbers of zeros, and a price: the worth of one zero (1, or its FLOPs). The
problem is to minimise the sum of errors such that all zeros together are worth `saved`.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Key = TypeVar("Key", bound=Hashable)
BUCKETS = 10_000


@dataclass(frozen=True)
class Curve:
    """Errors at rising numbers of zeros, from 0 to all weights that may be zero.

    price: what one zero is worth. step: between `counts`, all multiples of it are possible, too.
    """

    counts: tuple[int, ...]
    errors: tuple[float, ...]
    price: float = 1.0
    step: int = 1

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in pairwise(self.counts))
        if not self.counts or self.counts[0] or not rising or len(self.counts) != len(self.errors):
            raise ValueError("curve: counts must increase from 0, with one error for each, got other values")

    @property
    def worth(self) -> float:
        """Of all zeros."""
        return self.price * self.counts[-1]

    def zeros(self, wanted: float) -> int:
        """The fewest zeros, at least these and in whole steps, that are possible."""
        return min(ceil(wanted / self.step - 1e-9) * self.step, self.counts[-1])


def hull(curves: Mapping[Key, Curve], saved: float) -> dict[Key, int]:
    """Take the pieces of the lower convex hulls of all curves, the cheapest first, until enough is saved.

    This is optimal for the hulls. Their error is a lower bound for the curves, which meet it at the corners of the
    hulls (Lagrange). The last piece is cut where enough is saved.
    """
    pieces = [(slope, at, key) for at, (key, curve) in enumerate(curves.items()) for slope in _slopes(curve)]
    counts, left = dict.fromkeys(curves, 0), _possible(curves, saved)
    for (_, length), _, key in sorted(pieces, key=lambda piece: (piece[0][0], piece[1])):
        if left <= 1e-9:
            break
        before, price = counts[key], curves[key].price
        counts[key] = curves[key].zeros(before + min(length, left / price))
        left -= (counts[key] - before) * price
    return counts


def _slopes(curve: Curve) -> list[tuple[float, int]]:
    """(error for each unit of worth, zeros) of the pieces of the lower convex hull, rising."""
    corners: list[tuple[int, float]] = []
    for x, y in zip(curve.counts, curve.errors, strict=True):
        while len(corners) > 1 and _slope(corners[-1], (x, y)) <= _slope(corners[-2], corners[-1]):
            corners.pop()
        corners.append((x, y))
    return [(_slope(a, b) / curve.price, b[0] - a[0]) for a, b in pairwise(corners)]


def _slope(a: tuple[int, float], b: tuple[int, float]) -> float:
    return (b[1] - a[1]) / (b[0] - a[0])


def programme(curves: Mapping[Key, Curve], saved: float, buckets: int = BUCKETS) -> dict[Key, int]:
    """The best choice among the counts of the curves, by dynamic programming (OBC: Frantar and Alistarh, NeurIPS 2022).

    The worth of zeros is counted in at most `buckets` units and rounded down, so that at least `saved` is saved. If no
    choice is left after rounding, `hull` shares out the zeros.
    """
    saved = _possible(curves, saved)
    bucket = max(saved / buckets, 1.0)
    buckets = ceil(saved / bucket - 1e-9)
    best = np.full(buckets + 1, np.inf)
    best[0] = 0.0
    choices = []
    for curve in curves.values():
        best, choice = _extended(best, curve, bucket)
        choices.append(choice)
    if not np.isfinite(best[-1]):
        return hull(curves, saved)
    counts, left = {}, buckets
    for (key, curve), choice in reversed(list(zip(curves.items(), choices, strict=True))):
        counts[key] = curve.counts[choice[left]]
        left = max(left - _buckets(curve, int(choice[left]), bucket), 0)
    return {key: counts[key] for key in curves}


def _buckets(curve: Curve, level: int, bucket: float) -> int:
    return int(curve.counts[level] * curve.price / bucket + 1e-9)


def _extended(best: NDArray[np.float64], curve: Curve, bucket: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The least error with one layer more for each number of buckets, and the level that gives it."""
    places = np.arange(len(best))
    rows = [
        best[np.maximum(places - _buckets(curve, level, bucket), 0)] + error for level, error in enumerate(curve.errors)
    ]
    table = np.stack(rows)
    choice = table.argmin(0)
    return table[choice, places], choice


def tolerance(curves: Mapping[Key, Curve], saved: float) -> dict[Key, int]:
    """As many zeros in each layer as keep its error within one tolerance: the smallest that saves enough (L-OBS).

    Between the counts of a curve its errors are interpolated linearly.
    """
    saved = _possible(curves, saved)
    low, high = 0.0, max(max(curve.errors) for curve in curves.values())
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (low, middle) if _worth(curves, within(curves, middle)) >= saved else (middle, high)
    counts = within(curves, high)
    for key in sorted(curves, key=lambda key: -_error(curves[key], counts[key])):
        curve = curves[key]
        surplus = int((_worth(curves, counts) - saved) / curve.price / curve.step + 1e-9) * curve.step
        counts[key] = max(counts[key] - surplus, 0)
    return counts


def within(curves: Mapping[Key, Curve], most: float) -> dict[Key, int]:
    """As many zeros in each layer as keep its error within `most`; between the counts of a curve it is straight."""
    return {key: most_zeros(curve, most) for key, curve in curves.items()}


def most_zeros(curve: Curve, most: float) -> int:
    """The most zeros whose error is within `most`, where errors are made to rise."""
    errors = np.maximum.accumulate(curve.errors)
    level = int(np.searchsorted(errors, most, side="right")) - 1
    if level < 0:
        return 0
    if level == len(errors) - 1:
        return curve.counts[-1]
    share = (most - errors[level]) / (errors[level + 1] - errors[level])
    count = curve.counts[level] + share * (curve.counts[level + 1] - curve.counts[level])
    return max(int(count / curve.step + 1e-9) * curve.step, curve.counts[level])


def _error(curve: Curve, count: int) -> float:
    return float(np.interp(count, curve.counts, curve.errors))


def _worth(curves: Mapping[Key, Curve], counts: Mapping[Key, int]) -> float:
    return sum(curves[key].price * count for key, count in counts.items())


def _possible(curves: Mapping[Key, Curve], saved: float) -> float:
    return min(saved, sum(curve.worth for curve in curves.values()))


ALLOCATIONS: dict[str, Callable[[Mapping[Key, Curve], float], dict[Key, int]]] = {
    "hull": hull,
    "programme": programme,
    "tolerance": tolerance,
}
"""name -> function(curves, saved)."""
