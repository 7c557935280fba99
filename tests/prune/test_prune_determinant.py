"""The log-determinant against determinants that are computed anew for every candidate."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.prune.budget import Budget
from yoco.prune.determinant import LogDet
from yoco.prune.rules import Items
from yoco.rng import Rng


def items_of(features: Tensor) -> Items:
    return Items(None, torch.zeros(len(features), dtype=torch.long), 1, features=features)


def some_features(n: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n, size, generator=torch.Generator().manual_seed(seed))


def answer(features: Tensor, total: int, ridge: float = 0.1) -> list[int]:
    found = LogDet(ridge=ridge)(items_of(features), Budget(n=total), Rng(0))
    assert found.dtype == torch.long
    return found.tolist()


def kernel(features: Tensor, ridge: float) -> np.ndarray:
    h = features.double().numpy()
    h = h / np.linalg.norm(h, axis=1, keepdims=True)
    return h @ h.T + ridge * np.eye(len(h))


def volume(matrix: np.ndarray, chosen: list[int]) -> float:
    sign, value = np.linalg.slogdet(matrix[np.ix_(chosen, chosen)])
    assert sign == 1
    return float(value)


@pytest.mark.parametrize("ridge", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize("size", [2, 5, 40])
def test_each_next_sample_raises_the_determinant_most(ridge: float, size: int) -> None:
    features = some_features(25, size)
    matrix = kernel(features, ridge)
    found = answer(features, 25, ridge)
    assert found[0] == 0
    assert sorted(found) == list(range(25))
    for k in range(1, 25):
        rest = [i for i in range(25) if i not in found[:k]]
        best = max(volume(matrix, [*found[:k], i]) for i in rest)
        assert volume(matrix, found[: k + 1]) == pytest.approx(best, abs=1e-9)


def test_smaller_answers_are_the_beginnings_of_larger_ones() -> None:
    features = some_features(30, 6)
    whole = answer(features, 30)
    assert all(answer(features, k) == whole[:k] for k in range(1, 31))


def test_copies_come_last() -> None:
    apart = torch.eye(4)
    assert sorted(answer(torch.cat([apart[:1]] * 6 + [apart]), 4)[:4]) == [0, 7, 8, 9]
    assert answer(torch.cat([apart, 3 * apart]), 8)[:4] == [0, 1, 2, 3]


def test_the_greedy_answer_is_near_the_best_and_far_from_the_worst() -> None:
    features = some_features(12, 8, 3)
    matrix = np.eye(12) + kernel(features, 0.0)
    every = [volume(matrix, list(s)) for s in combinations(range(12), 4)]
    assert volume(matrix, answer(features, 4, 1.0)) >= (1 - 1 / np.e) * max(every)
    assert volume(matrix, answer(features, 4, 1.0)) > np.median(every)


def test_rows_of_zeros_and_many_equal_rows_are_no_obstacle() -> None:
    features = torch.cat([torch.zeros(2, 3), torch.ones(5, 3)])
    assert answer(features, 7)[:3] == [0, 1, 2]
    assert sorted(answer(torch.ones(50, 2), 50, 1e-9)) == list(range(50))


def test_length_does_not_count() -> None:
    features = some_features(20, 5)
    scale = torch.rand(20, 1, generator=torch.Generator().manual_seed(1)) * 100 + 1
    assert answer(features, 10) == answer(features * scale, 10)


@pytest.mark.parametrize("ridge", [0.0, -1.0, 1e-10, float("nan"), float("inf")])
def test_an_impossible_ridge_is_one_line(ridge: float) -> None:
    with pytest.raises(ValueError, match=rf"^log-det: ridge must be at least 1e-9, got {ridge:g}$"):
        LogDet(ridge=ridge)


def test_features_that_are_missing_are_one_line() -> None:
    with pytest.raises(ValueError, match=r"^log-det: needs features, got none$"):
        LogDet()(items_of(torch.ones(3, 2))._replace(features=None), Budget(n=1), Rng(0))
