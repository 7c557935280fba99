"""k-means is scikit-learn's with the seed of a stream, and gives no warning."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from yoco.kmeans import k_means
from yoco.rng import Rng


def rows(n: int = 60, size: int = 2) -> Tensor:
    return torch.rand(n, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("how", [{}, {"init": "random", "max_iter": 2}])
def test_it_is_the_one_of_scikit_learn(how: dict[str, Any]) -> None:
    x, rng = rows(), Rng(3).child("here")
    labels, centres = k_means(x, 20, rng, **how)
    expected = KMeans(20, n_init=1, random_state=rng.key() % 2**32, **how).fit(x.numpy())
    assert labels.tolist() == expected.labels_.tolist()
    assert centres.tolist() == expected.cluster_centers_.tolist()
    assert (labels.dtype, centres.dtype) == (torch.long, torch.float64)


def test_the_stream_decides_the_clusters() -> None:
    first, again, other = (k_means(rows(), 7, Rng(seed))[1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first.sort(0).values, other.sort(0).values)


def test_copies_give_no_warning() -> None:
    labels, centres = k_means(torch.ones(6, 3, dtype=torch.float64), 3, Rng(0))
    assert labels.shape == (6,)
    assert centres.shape == (3, 3)


def test_threads_take_turns_so_that_warnings_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before, inside = list(warnings.filters), []

    class Slow(KMeans):  # type: ignore[misc]
        def fit(self, x: Any) -> Any:
            inside.append(+1)
            made = super().fit(x)
            assert sum(inside) == 1
            inside.append(-1)
            return made

    monkeypatch.setattr("sklearn.cluster.KMeans", Slow)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: k_means(rows(300), 9, Rng(seed)), range(12)))
    assert list(warnings.filters) == before
