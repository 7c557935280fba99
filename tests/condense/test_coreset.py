"""Herding and k-means medoids against literal versions, and against the rules of the same names in `yoco.prune`."""

import numpy as np
import torch
from sklearn.cluster import KMeans

from yoco.condense.coreset import enough, herding, medoids
from yoco.prune import geometry
from yoco.rng import Rng


def points(n: int = 30, size: int = 5) -> torch.Tensor:
    return torch.randn(n, size, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def literal_herding(x: np.ndarray, count: int, mean: np.ndarray, groups: list[int]) -> list[int]:
    chosen: list[int] = []
    for step in range(1, count + 1):
        gaps = []
        for i in range(len(x)):
            taken = groups[i] in [groups[j] for j in chosen]
            near = np.linalg.norm(step * mean - sum((x[j] for j in chosen), np.zeros(len(mean))) - x[i])
            gaps.append(np.inf if taken else near)
        chosen.append(int(np.argmin(gaps)))
    return chosen


def test_herding_is_the_literal_one_and_that_of_prune() -> None:
    x = points()
    found = herding(x, 12)
    assert found.tolist() == literal_herding(x.numpy(), 12, x.numpy().mean(0), list(range(30)))
    assert torch.equal(found, geometry.herding(x, 12))
    assert torch.equal(found[:5], herding(x, 5))


def test_herding_towards_a_mean_takes_one_row_of_a_group() -> None:
    x, groups = points(), torch.arange(30) // 3
    mean = torch.full((5,), 0.3, dtype=torch.float64)
    found = herding(x, 10, mean, groups)
    assert found.tolist() == literal_herding(x.numpy(), 10, mean.numpy(), groups.tolist())
    assert sorted((found // 3).tolist()) == list(range(10))
    assert len(herding(x, 99, mean, groups)) == 10


def test_herding_follows_the_mean_closer_than_chance() -> None:
    x = points(200, 8)
    apart = [float((x[rows].mean(0) - x.mean(0)).norm()) for rows in (herding(x, 20), Rng(0).choice(200, 20))]
    assert apart[0] < apart[1] / 3


def test_medoids_are_next_to_the_centres_and_those_of_prune() -> None:
    x, rng = points(60), Rng(3)
    fit = KMeans(6, n_init=1, random_state=rng.child("k-means").key() % 2**32).fit(x.numpy())
    sizes, expected = np.bincount(fit.labels_), []
    for centre in sorted(range(6), key=lambda k: -sizes[k]):
        gaps = np.linalg.norm(x.numpy() - fit.cluster_centers_[centre], axis=1)
        gaps[expected] = np.inf
        expected.append(int(np.argmin(gaps)))
    assert medoids(x, 6, rng).tolist() == expected
    assert set(expected) == set(geometry.medoids(x, 6, rng).tolist())


def test_equal_rows_are_taken_once_each() -> None:
    assert sorted(medoids(torch.ones(4, 2), 4, Rng(0)).tolist()) == [0, 1, 2, 3]
    assert len(medoids(points(4), 9, Rng(0))) == 4


def test_a_short_order_is_gone_through_again() -> None:
    assert enough(torch.tensor([2, 0, 1]), 7).tolist() == [2, 0, 1, 2, 0, 1, 2]
    assert enough(torch.tensor([2, 0, 1]), 2).tolist() == [2, 0]
