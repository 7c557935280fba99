"""Distances, neighbours and k-means against plain loops, with offsets, ties, rows of zeros, and bounded blocks."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from yoco.prune import distances, geometry
from yoco.prune.coresets import cluster_sizes
from yoco.prune.distances import (
    Vectors,
    blocks,
    centred,
    cosines,
    directions,
    first_least,
    k_means,
    matrix,
    nearest,
    squared,
)
from yoco.rng import Rng


def some(n: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n, size, generator=Rng(seed).generator())


def literal_squared(x: Tensor) -> np.ndarray:
    rows = x.double().numpy()
    return np.array([[((p - q) ** 2).sum() for q in rows] for p in rows])


def literal_nearest(x: Tensor, count: int) -> list[list[int]]:
    table = literal_squared(x)
    rows = range(len(x))
    return [sorted((j for j in rows if j != i), key=lambda j, i=i: (table[i, j], j))[:count] for i in rows]


@pytest.mark.parametrize("offset", [0.0, 1000.0, 1e6])
def test_an_offset_of_all_features_costs_no_digits(offset: float) -> None:
    x = some(20, 7).double() + offset
    found = squared(Vectors(centred(x, "here")), slice(None), slice(None))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), literal_squared(x), rtol=1e-6, atol=1e-6)
    assert (found >= 0).all()


def test_a_part_of_the_distances_is_that_part_of_all() -> None:
    points = Vectors(some(12, 3).double())
    rows, columns = torch.tensor([7, 2]), torch.tensor([0, 11, 2])
    whole = squared(points, slice(None), slice(None))
    torch.testing.assert_close(squared(points, rows, columns), whole[rows][:, columns])
    torch.testing.assert_close(squared(points, slice(3, 5), columns), whole[3:5][:, columns])


@pytest.mark.parametrize("block", [1, 70, 10**6])
@pytest.mark.parametrize("count", [1, 4, 30])
def test_the_nearest_are_those_of_a_sort(count: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "BLOCK", block)
    x = some(25, 4)
    indices, values = nearest(Vectors(centred(x, "here")), count)
    assert indices.tolist() == literal_nearest(x, count)
    found = np.take_along_axis(literal_squared(x), indices.numpy(), 1)
    np.testing.assert_allclose(values.numpy(), found, rtol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_of_equally_near_ones_the_smaller_index_is_taken(count: int) -> None:
    grid = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0))
    x = torch.cat([grid, grid[3:9], torch.full((6, 2), 2.0)])
    table, found = literal_squared(x), nearest(Vectors(centred(x, "here")), count)[0]
    for i, expected in enumerate(literal_nearest(x, count)):
        assert sorted(found[i].tolist()) == sorted(expected)
        assert (np.diff(table[i][found[i].numpy()]) >= 0).all()


def test_the_neighbours_of_many_copies_are_the_first_ones() -> None:
    found = nearest(Vectors(centred(torch.full((40, 3), 0.1), "here")), 3)[0]
    assert found[10].tolist() == [0, 1, 2]
    assert found[1].tolist() == [0, 2, 3]


def test_a_single_point_has_no_neighbours() -> None:
    indices, values = nearest(Vectors(torch.ones(1, 3).double()), 5)
    assert indices.shape == values.shape == (1, 0)


def test_no_block_is_larger_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Watched(Vectors):
        def products(self, rows: slice | Tensor, columns: slice | Tensor) -> Tensor:
            made.append(super().products(rows, columns))
            return made[-1]

    monkeypatch.setattr(distances, "BLOCK", 500)
    nearest(Watched(some(60, 2).double()), 3)
    assert max(part.numel() for part in made) <= 500
    assert sum(part.numel() for part in made) == 3600
    assert [(part.start, part.stop) for part in blocks(7, 200)] == [(0, 2), (2, 4), (4, 6), (6, 7)]
    assert [(part.start, part.stop) for part in blocks(2, 10**9)] == [(0, 1), (1, 2)]


def test_nor_are_those_of_k_center_and_of_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Tensor] = []
    products = Vectors.products

    def watched(self: Vectors, rows: slice | Tensor, columns: slice | Tensor) -> Tensor:
        made.append(products(self, rows, columns))
        return made[-1]

    monkeypatch.setattr(Vectors, "products", watched)
    monkeypatch.setattr(distances, "BLOCK", 500)
    monkeypatch.setattr(geometry, "WIDE", 20)
    x = 0.1 * some(200, 10)
    x[:10] += 100 * torch.eye(10)  # so far from all others that the ten of them are chosen at once
    assert len(geometry.k_center(x, 60).unique()) == 60
    assert max(len(part) for part in made) >= 10
    assert max(part.numel() for part in made) <= 500
    made.clear()
    assert cluster_sizes(Vectors(some(60, 2).double()), torch.arange(20)).sum() == 60
    assert [part.numel() for part in made] == [500, 500, 200]


def test_directions_have_length_one_at_any_scale_and_rows_of_zeros_have_no_cosine() -> None:
    x = torch.stack([torch.tensor([3.0, 4.0])] * 4) * torch.tensor([[1.0], [1e-36], [1e37], [0.0]])
    found = directions(x, "here")
    np.testing.assert_allclose(found.rows[:3].numpy(), [[0.6, 0.8]] * 3, rtol=1e-6)
    assert found.rows[3].tolist() == [0, 0]
    assert squared(found, torch.tensor([3]), torch.tensor([0])).item() == 2
    assert cosines(x, x[:1]).tolist() == pytest.approx([1, 1, 1, 0])
    assert cosines(x, x).tolist() == pytest.approx([1, 1, 1, 0])


class Made(TorchFunctionMode):
    """Keeps the float64 matrices that torch makes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made.dtype == torch.float64 and made.shape == (6, 3):
            self.found.append(made)
        return made


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_one_matrix_is_made_and_what_is_given_stays(kind: torch.dtype) -> None:
    x = some(6, 3).to(kind)
    given, exact = x.clone(), x.double().clone()
    with Made() as about_means:
        apart = centred(x, "here")
    with Made() as about_lengths:
        unit = directions(x, "here").rows
    assert torch.equal(x, given)
    assert torch.equal(apart, exact - exact.mean(0))
    assert torch.equal(unit, exact / exact.norm(dim=1, keepdim=True))
    for made in (about_means, about_lengths):
        assert len({part.data_ptr() for part in made.found} - {x.data_ptr()}) == 1


def test_the_first_of_values_that_rounding_may_have_parted_is_the_least() -> None:
    values, ones = torch.tensor([2.0, 1 + 1e-14, 1.0, 1.0]).double(), torch.ones(4).double()
    values[1] = 1 + 1e-14
    assert first_least(values, ones) == 1
    assert first_least(values, 0 * ones) == 2
    assert first_least(values + torch.tensor([0, 1e-9, 0, 0]), ones) == 2


def groups_of(labels: Tensor) -> set[tuple[int, ...]]:
    return {tuple(torch.nonzero(labels == c).flatten().tolist()) for c in labels.unique()}


@pytest.mark.parametrize("thorough", [0, 10**6])
def test_k_means_finds_clusters_that_are_far_apart(thorough: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "THOROUGH", thorough)
    x = (some(30, 3) + 100 * (torch.arange(30) % 2)[:, None]).double()
    groups, centres = k_means(x, 2, Rng(0))
    assert groups_of(groups) == {tuple(range(0, 30, 2)), tuple(range(1, 30, 2))}
    for c in range(2):
        torch.testing.assert_close(centres[c], x[groups == c].mean(0))


def test_k_means_beyond_a_size_stops_after_some_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    x = some(400, 4).double()
    long = k_means(x, 20, Rng(1))[0]
    monkeypatch.setattr(distances, "THOROUGH", 0)
    monkeypatch.setattr(distances, "ITERATIONS", 1)
    short, centres = k_means(x, 20, Rng(1))
    means = torch.stack([x[short == c].mean(0) for c in range(20)])
    assert not torch.allclose(means, centres)
    assert groups_of(long) != groups_of(short)


def test_k_means_follows_its_stream_and_leaves_the_global_one_alone() -> None:
    x, before = some(60, 2).double(), np.random.get_state()[1].tolist()  # noqa: NPY002
    kept = x.clone()
    first, again, other = (k_means(x, 6, Rng(seed))[0] for seed in (0, 0, 3))
    assert torch.equal(first, again)
    assert groups_of(first) != groups_of(other)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    assert torch.equal(x, kept)


def test_k_means_of_copies_gives_no_warning() -> None:
    groups, centres = k_means(torch.ones(5, 2).double(), 5, Rng(0))
    assert groups.shape == (5,)
    assert centres.shape == (5, 2)


def test_what_is_no_matrix_of_numbers_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"^here: features must be \[n, size\], got \[2, 3, 4\]$"):
        matrix(torch.ones(2, 3, 4), "here")
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"^here: errors must be finite, got nan or infinity$"):
            matrix(torch.tensor([[1.0, bad]]), "here", "errors")
        with pytest.raises(ValueError, match=r"^there: features must be finite, got nan or infinity$"):
            centred(torch.tensor([[1.0, bad]]), "there")
