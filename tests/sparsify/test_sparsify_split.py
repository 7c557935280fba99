"""The split over rows: pool adjacent violators against the lower convex hull and the exact dynamic programme."""

import numpy as np
import pytest
import torch

from yoco.sparsify.solvers.split import Split, pooled


def steps(seed: int) -> np.ndarray:
    """Losses of a few rows that are far from rising."""
    rng = np.random.default_rng(seed)
    return rng.random((int(rng.integers(1, 7)), int(rng.integers(1, 9)))) ** 3


def costs(losses: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((len(losses), 1)), losses.cumsum(1)], 1)


def programme(losses: np.ndarray) -> np.ndarray:
    """The least cost of every total, over all ways to share it."""
    best = np.zeros(1)
    for row in costs(losses):
        wider = np.full(len(best) + len(row) - 1, np.inf)
        for k, cost in enumerate(row):
            wider[k : k + len(best)] = np.minimum(wider[k : k + len(best)], best + cost)
        best = wider
    return best


def corners(losses: np.ndarray) -> list[int]:
    """The totals at which no pool is cut: those where the least cost lies on its own convex hull."""
    slopes = np.sort(np.concatenate([pooled(row.tolist()) for row in losses]))
    return [0, *(t for t in range(1, len(slopes)) if slopes[t - 1] < slopes[t]), len(slopes)]


def test_pooled_slopes_are_those_of_the_lower_convex_hull() -> None:
    for seed in range(50):
        for row in steps(seed):
            cost = np.concatenate([[0], row.cumsum()])
            hull = [
                min(
                    cost[a] + (cost[b] - cost[a]) * (k - a) / (b - a) if b > a else cost[a]
                    for a in range(k + 1)
                    for b in range(k, len(cost))
                )
                for k in range(len(cost))
            ]
            np.testing.assert_allclose(np.concatenate([[0], np.cumsum(pooled(row.tolist()))]), hull, atol=1e-14)


def test_slopes_never_fall() -> None:
    slopes = np.array(pooled([3.0, 1.0, 2.0, 5.0, 4.0, 0.0, 9.0]))
    assert slopes.tolist() == [2, 2, 2, 3, 3, 3, 9]


@pytest.mark.parametrize("seeds", [range(50), range(50, 100)])
def test_the_split_is_the_optimum_where_no_pool_is_cut(seeds: range) -> None:
    for seed in seeds:
        losses = steps(seed)
        split, best = Split(torch.tensor(losses)), programme(losses)
        for total in corners(losses):
            counts = split.counts(total)
            assert int(counts.sum()) == total
            assert split.cost(counts) == pytest.approx(best[total], abs=1e-12)


def test_elsewhere_it_is_mostly_the_optimum_and_never_worse_than_cutting_the_pool() -> None:
    optimal = plain_optimal = every = 0
    for seed in range(100):
        losses = steps(seed)
        split, best = Split(torch.tensor(losses)), programme(losses)
        for total in range(losses.size + 1):
            counts = split.counts(total)
            plain = split.cost(torch.bincount(split.turns[:total], minlength=len(losses)))
            assert int(counts.sum()) == total
            assert best[total] - 1e-12 <= split.cost(counts) <= plain
            optimal += split.cost(counts) <= best[total] + 1e-12
            plain_optimal += plain <= best[total] + 1e-12
            every += 1
    assert optimal > 0.88 * every
    assert plain_optimal < 0.7 * every


def test_costs_are_sums_of_losses() -> None:
    losses = steps(3)
    split = Split(torch.tensor(losses))
    counts = split.counts(losses.size // 2)
    assert split.cost(counts) == pytest.approx(sum(row[:k].sum() for row, k in zip(losses, counts, strict=True)))


def test_of_equal_rows_the_first_gives_first() -> None:
    split = Split(torch.ones(3, 4, dtype=torch.float64))
    assert split.counts(6).tolist() == [4, 2, 0]
