"""Distances to prototypes, and Moderate: against loops that do what the formula says."""

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.data import from_arrays
from yoco.prune import distances, find, geometry, select
from yoco.prune.budget import Budget
from yoco.prune.distances import centred, k_means
from yoco.prune.geometry import (
    Herding,
    KCenter,
    Medoids,
    Moderate,
    moderate,
    prototype_distance,
    ssp_distance,
)
from yoco.prune.rules import Items
from yoco.prune.sampling import Window
from yoco.rng import Rng


def some(n: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n, size, generator=Rng(seed).generator())


def clusters(n: int = 60, size: int = 5, seed: int = 0) -> Tensor:
    return some(n, size, seed) + 4 * some(3, size, seed + 100)[torch.arange(n) % 3]


LABELS = torch.tensor([3, 7, 7, 3, 11, 7, 3, 7, 3, 3])


def literal_prototype(x: Tensor, labels: Tensor, centre: str, metric: str) -> list[float]:
    h, found = x.double().numpy(), []
    for i in range(len(h)):
        mates = np.array([h[j] for j in range(len(h)) if labels[j] == labels[i]])
        middle = mates.mean(0) if centre == "mean" else np.median(mates, 0)
        if metric == "euclidean":
            found.append(np.sqrt(((h[i] - middle) ** 2).sum()))
        else:
            lengths = np.linalg.norm(h[i]) * np.linalg.norm(middle)
            found.append(1 - h[i] @ middle / lengths if lengths else 1)
    return found


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("centre", ["mean", "median"])
def test_prototype_distances_are_their_formula_for_any_labels(centre: str, metric: str) -> None:
    x = some(10, 4) + 0.5
    x[1] = 0
    found = prototype_distance(x, LABELS, centre=centre, metric=metric)  # type: ignore[arg-type]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), literal_prototype(x, LABELS, centre, metric), rtol=1e-5, atol=1e-6)
    assert float(found[4]) == pytest.approx(0, abs=1e-6)
    if metric == "cosine":
        assert float(found[1]) == 1


def test_a_prototype_keeps_its_digits_far_from_zero() -> None:
    x = some(10, 4) + 1000
    np.testing.assert_allclose(
        prototype_distance(x, LABELS), literal_prototype(x, LABELS, "mean", "euclidean"), rtol=1e-6, atol=1e-9
    )


def test_ssp_is_one_minus_the_cosine_to_the_own_centre() -> None:
    x = clusters(60, 4) + 1
    x[0] = 0
    found, groups = ssp_distance(x, 3, Rng(5)), k_means(centred(x, "ssp"), 3, Rng(5))[0]
    assert found.dtype == torch.float32
    assert float(found[0]) == 1
    for i in range(1, 60):
        h, middle = x[i].double(), x[groups == groups[i]].double().mean(0)
        assert float(found[i]) == pytest.approx(1 - float(h @ middle / h.norm() / middle.norm()), abs=1e-6)
    line = torch.tensor([[1.0, y] for y in (-3.0, -0.2, 0.1, 0.3, 2.0)])
    assert ssp_distance(line, 1, Rng(0)).argsort(descending=True)[:2].tolist() == [4, 0]


@pytest.mark.parametrize(("block", "sizes"), [(40, [8] * 4 + [7] * 4), (295, [30, 30]), (300, [60])])
def test_ssp_is_the_same_in_blocks_none_of_which_is_one_row(
    block: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, found = clusters(60, 5) + 1, []
    whole = ssp_distance(x, 3, Rng(5))

    def watched(rows: Tensor, others: Tensor) -> Tensor:
        assert rows.dtype == torch.float64
        assert rows.shape == others.shape
        found.append(len(rows))
        return distances.cosine_distances(rows, others)

    monkeypatch.setattr(geometry, "cosine_distances", watched)
    monkeypatch.setattr(distances, "BLOCK", block)
    assert torch.equal(ssp_distance(x, 3, Rng(5)), whole)
    assert found == sizes


def test_a_sample_is_no_distance_from_itself() -> None:
    """Not even one of rounding, which may be below 0."""
    x = some(40, 7)
    assert prototype_distance(x, torch.arange(40), metric="cosine").tolist() == [0] * 40
    assert ssp_distance(x, 40, Rng(0)).tolist() == [0] * 40


def literal_moderate(x: Tensor, labels: Tensor, total: int, centre: str) -> list[int]:
    distance = literal_prototype(x, labels, centre, "euclidean")
    middle = np.median(distance)
    return sorted(range(len(x)), key=lambda i: abs(distance[i] - middle))[:total]


@pytest.mark.parametrize("centre", ["mean", "median"])
@pytest.mark.parametrize(("n", "total"), [(58, 1), (58, 20), (59, 9), (59, 59)])
def test_moderate_is_its_formula(centre: str, n: int, total: int) -> None:
    x, labels = clusters(n), torch.arange(n) ** 2 % 5
    items = Items(None, labels, 5, features=x)
    found = Moderate(centre=centre)(items, Budget(n=total), Rng(0))  # type: ignore[arg-type]
    assert found.tolist() == literal_moderate(x, labels, total, centre)
    assert torch.equal(found, moderate(x, labels, total, centre=centre))  # type: ignore[arg-type]


def test_moderate_keeps_the_middle_and_not_the_tails() -> None:
    x = torch.cat([torch.arange(1.0, 12.0), -torch.arange(1.0, 12.0)])[:, None]
    found = moderate(x, torch.zeros(22).long(), 6)
    assert sorted(x[found].abs().flatten().tolist()) == [5, 5, 6, 6, 7, 7]
    assert found[:2].tolist() == [5, 16]
    assert found[2:].tolist() == [4, 6, 15, 17]


def test_the_released_code_of_moderate_keeps_ranks_around_the_median() -> None:
    x = torch.tensor([0.0, 1, 2, 3, 4, 10, 20, 30, 40])[:, None]
    data = from_arrays(np.zeros((9, 4, 4), np.uint8), [0] * 9, classes=("all", "none"))
    ranks = select(data, rule="moderate", mode="repo", n=7, features=x)
    assert sorted(ranks.indices.tolist()) == [0, 1, 2, 3, 5, 6, 7]
    distances = select(data, rule="moderate", centre="median", n=7, features=x)
    assert sorted(distances.indices.tolist()) == [0, 1, 2, 3, 4, 5, 6]
    rule = find("moderate", "repo", centre=0.25)
    assert isinstance(rule, Window)
    assert (rule.centre, rule.score, rule.settings, rule.quota) == (0.25, "prototype", {"centre": "median"}, "none")


def test_classes_of_one_sample_and_of_none_are_no_obstacle() -> None:
    items = Items(None, torch.tensor([0, 4, 4]), 6, features=some(3, 2))
    assert sorted(Moderate()(items, Budget(n=3), Rng(0)).tolist()) == [0, 1, 2]
    alone = Items(None, torch.tensor([4]), 6, features=some(1, 2))
    for rule in (Herding(), KCenter(), Medoids(), Moderate()):
        assert rule(alone, Budget(n=1), Rng(0)).tolist() == [0]
