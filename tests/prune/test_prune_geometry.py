"""Herding, k-center and medoids against loops that do what the formula says, at every size of the pools."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.prune import geometry
from yoco.prune.budget import Budget
from yoco.prune.distances import centred, k_means
from yoco.prune.geometry import (
    Herding,
    KCenter,
    Medoids,
    Moderate,
    herding,
    k_center,
    medoids,
    prototype_distance,
    ssp_distance,
)
from yoco.prune.rules import Items, Rule
from yoco.rng import Rng

ORDER = Rng(7).choice(60, 60)


def some(n: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n, size, generator=Rng(seed).generator())


def clusters(n: int = 60, size: int = 5, seed: int = 0) -> Tensor:
    return some(n, size, seed) + 4 * some(3, size, seed + 100)[torch.arange(n) % 3]


def grid(side: int = 6) -> Tensor:
    """Points with many equal distances, in no order."""
    points = torch.cartesian_prod(torch.arange(float(side)), torch.arange(float(side)))
    return points[Rng(3).choice(len(points), len(points))]


def copies() -> Tensor:
    return clusters(12).repeat(3, 1)


DATA = {
    "clusters": clusters(),
    "offset": clusters() + 1000,
    "copies": copies(),
    "wide": some(40, 90),
    "line": some(50, 1),
}


def literal_herding(x: Tensor, total: int) -> list[int]:
    h = x.double().numpy()
    mean, chosen = h.mean(0), []
    for t in range(1, total + 1):
        wanted = t * mean - sum((h[j] for j in chosen), np.zeros(h.shape[1]))
        apart = [np.inf if i in chosen else np.sqrt(((wanted - h[i]) ** 2).sum()) for i in range(len(h))]
        least = min(apart)
        chosen.append(next(i for i, d in enumerate(apart) if d <= least + 1e-9))
    return chosen


def literal_k_center(x: Tensor, total: int, first: int | None = None) -> list[int]:
    h = x.double().numpy()
    from_mean = ((h - h.mean(0)) ** 2).sum(1)
    chosen = [next(i for i, d in enumerate(from_mean) if d <= min(from_mean) + 1e-9) if first is None else first]
    while len(chosen) < total:
        near = [-1.0 if i in chosen else min(((h[i] - h[j]) ** 2).sum() for j in chosen) for i in range(len(h))]
        chosen.append(next(i for i, d in enumerate(near) if d >= max(near) - 1e-9))
    return chosen


@pytest.mark.parametrize("pool", [1, 3, 512])
@pytest.mark.parametrize("name", DATA)
def test_herding_is_its_formula(name: str, pool: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry, "POOL", pool)
    x = DATA[name]
    found = herding(x, len(x))
    assert found.dtype == torch.long
    assert found.tolist() == literal_herding(x, len(x))


def test_herding_decides_in_float64_what_float32_cannot_tell() -> None:
    base = clusters(10).double()
    x = torch.cat([base + 1e-9 * some(10, 5, seed).double() for seed in range(6)])
    assert herding(x, 40).tolist() == literal_herding_sharp(x, 40)


def literal_herding_sharp(x: Tensor, total: int) -> list[int]:
    h = (x - x.mean(0)).numpy()
    chosen: list[int] = []
    for _ in range(total):
        cost = (h**2).sum(1) / 2 + h @ h[chosen].sum(0)
        cost[chosen] = np.inf
        chosen.append(int(cost.argmin()))
    return chosen


def test_herding_serves_two_steps_with_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    passes, whole = [], geometry._Walk.go
    monkeypatch.setattr(geometry._Walk, "go", lambda self, most: (passes.append(1), whole(self, most))[1])
    herding(some(300, 90), 100)
    assert 50 <= len(passes) < 75


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_herding_and_k_center_do_not_depend_on_units(scale: float) -> None:
    x = clusters().double()
    assert herding(x * scale, 30).tolist() == herding(x, 30).tolist()
    assert k_center(x * scale, 30).tolist() == k_center(x, 30).tolist()


def test_the_herded_mean_is_nearer_than_a_random_one_and_comes_nearer() -> None:
    x = clusters(300, 8)
    found = herding(x, 100)
    apart = [(x[found[:k]].mean(0) - x.mean(0)).norm() for k in (5, 20, 100)]
    random = [(x[Rng(s).choice(300, 20)].mean(0) - x.mean(0)).norm() for s in range(20)]
    assert apart[0] > apart[1] > apart[2]
    assert apart[1] < min(random)


@pytest.mark.parametrize("rule", [Herding(), KCenter(), KCenter(start="random"), Moderate()])
def test_smaller_answers_are_the_beginnings_of_larger_ones(rule: Rule) -> None:
    items = Items(None, torch.arange(60) % 3, 3, features=clusters())
    whole = rule(items, Budget(n=60), Rng(2)).tolist()
    assert sorted(whole) == list(range(60))
    assert all(rule(items, Budget(n=k), Rng(2)).tolist() == whole[:k] for k in range(1, 60))


@pytest.mark.parametrize("method", [herding, k_center])
def test_the_order_of_samples_does_not_matter_and_of_copies_the_first_is_taken(method: Callable[..., Tensor]) -> None:
    x = clusters()
    assert ORDER[method(x[ORDER], 30)].tolist() == method(x, 30).tolist()
    assert sorted(method(copies(), 12).tolist()) == list(range(12)) or method is herding
    assert method(torch.full((30, 4), 0.1), 30).tolist() == list(range(30))
    assert int(method(copies(), 1)) < 12


@pytest.mark.parametrize("wide", [1, 4, 17, 2048])
@pytest.mark.parametrize("name", DATA)
def test_k_center_is_its_formula(name: str, wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry, "WIDE", wide)
    x = DATA[name]
    found = k_center(x, len(x))
    assert found.dtype == torch.long
    assert found.tolist() == literal_k_center(x, len(x))
    assert k_center(x, 9, first=5).tolist() == literal_k_center(x, 9, 5)


@pytest.mark.parametrize("wide", [1, 5, 2048])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_k_center_takes_the_smaller_index_of_equally_far_ones(
    wide: int, offset: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geometry, "WIDE", wide)
    x = (grid().double() + offset) * 0.7
    assert k_center(x, 36).tolist() == literal_k_center(x, 36)


def test_most_samples_learn_of_many_new_centres_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds, one = [], geometry._farthest
    monkeypatch.setattr(geometry, "_farthest", lambda *given: (rounds.append(1), one(*given))[1])
    monkeypatch.setattr(geometry, "WIDE", 100)
    k_center(some(600, 40), 200)
    assert len(rounds) < 40
    k_center(copies().repeat(20, 1), 600)
    assert len(rounds) < 70


def radius(x: Tensor, chosen: Tensor) -> float:
    return float(torch.cdist(x, x[chosen]).amin(1).max())


def test_k_center_is_within_twice_the_best_radius_and_below_random() -> None:
    x = clusters(12, 2)
    best = min(radius(x, torch.tensor(s)) for s in combinations(range(12), 3))
    assert radius(x, k_center(x, 3)) <= 2 * best
    many = clusters(300, 3)
    assert radius(many, k_center(many, 20)) < min(radius(many, Rng(s).choice(300, 20)) for s in range(20))


def test_k_center_starts_near_the_mean_or_at_random() -> None:
    x, items = clusters(), Items(None, torch.zeros(60).long(), 1, features=clusters())
    assert int(k_center(x, 1)) == int((x - x.mean(0)).norm(dim=1).argmin())
    starts = {int(KCenter(start="random")(items, Budget(n=2), Rng(seed))[0]) for seed in range(30)}
    assert len(starts) > 15
    assert KCenter()(items, Budget(n=9), Rng(0)).tolist() == k_center(x, 9).tolist()


def test_medoids_are_the_nearest_samples_of_the_centres_those_of_large_clusters_first() -> None:
    sizes = (5, 30, 12)
    place = torch.arange(3).repeat_interleave(torch.tensor(sizes))[Rng(0).choice(47, 47)]
    x = some(47, 2) + 50 * torch.eye(3)[place, :2]
    expected = []
    for cluster in (1, 2, 0):
        members = torch.nonzero(place == cluster).flatten()
        expected.append(int(members[(x[members] - x[members].mean(0)).norm(dim=1).argmin()]))
    assert medoids(x, 3, Rng(0)).tolist() == expected


@pytest.mark.parametrize("total", [1, 7, 25])
def test_every_centre_takes_its_nearest_sample_that_is_left(total: int) -> None:
    x = clusters()
    groups, centres = k_means(centred(x, "medoids"), total, Rng(4))
    sizes, h, taken = torch.bincount(groups, minlength=total), centred(x, "medoids").numpy(), []
    for c in sorted(range(total), key=lambda c: (-int(sizes[c]), c)):
        apart = [np.inf if i in taken else ((h[i] - centres[c].numpy()) ** 2).sum() for i in range(60)]
        taken.append(int(np.argmin(apart)))
    ranks = sorted(sizes.tolist(), reverse=True)
    expected = [i for _, i in sorted(zip([-r for r in ranks], taken, strict=True))]
    assert medoids(x, total, Rng(4)).tolist() == expected


def test_centres_that_coincide_take_the_next_nearest_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.tensor([[-3.0], [-1.0], [0.5], [1.5], [2.0]])
    same = torch.tensor([0, 0, 0, 1, 2]), torch.tensor([[0.4], [0.5], [0.6]]).double()
    monkeypatch.setattr(geometry, "k_means", lambda *given: same)
    assert medoids(x, 3, Rng(0)).tolist() == [2, 3, 4]


def test_copies_do_not_make_the_medoids_fewer() -> None:
    assert sorted(medoids(torch.ones(9, 3), 9, Rng(0)).tolist()) == list(range(9))
    assert len(medoids(copies(), 20, Rng(0)).unique()) == 20
    items = Items(None, torch.zeros(36).long(), 1, features=copies())
    assert torch.equal(Medoids()(items, Budget(n=20), Rng(0)), medoids(copies(), 20, Rng(0)))
    assert not torch.equal(medoids(clusters(), 9, Rng(0)), medoids(clusters(), 9, Rng(1)))


RULES = {"herding": Herding(), "k-center": KCenter(), "medoids": Medoids(), "moderate": Moderate()}


@pytest.mark.parametrize("name", RULES)
def test_bad_features_are_one_line(name: str) -> None:
    items = Items(None, torch.zeros(3).long(), 1, features=torch.tensor([[1.0], [2.0], [torch.nan]]))
    where = "prototype" if name == "moderate" else name
    with pytest.raises(ValueError, match=rf"^{where}: features must be finite, got nan or infinity$"):
        RULES[name](items, Budget(n=1), Rng(0))
    with pytest.raises(ValueError, match=rf"^{where}: features must be \[n, size\], got \[3\]$"):
        RULES[name](items._replace(features=torch.ones(3)), Budget(n=1), Rng(0))
    with pytest.raises(ValueError, match=rf"^{name}: needs features, got none$"):
        RULES[name](items._replace(features=None), Budget(n=1), Rng(0))


def test_impossible_options_are_one_line() -> None:
    x, labels = some(3, 2), torch.zeros(3).long()
    for clusters in (0, 4):
        with pytest.raises(ValueError, match=rf"^ssp: clusters must be in 1..3, got {clusters}$"):
            ssp_distance(x, clusters, Rng(0))
    with pytest.raises(ValueError, match=r"^k-center: start must be mean or random, got 'far'$"):
        KCenter(start="far")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^moderate: centre must be mean or median, got 'mode'$"):
        Moderate(centre="mode")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^prototype: centre must be mean or median, got 'mode'$"):
        prototype_distance(x, labels, centre="mode")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^prototype: metric must be euclidean or cosine, got 'l1'$"):
        prototype_distance(x, labels, metric="l1")  # type: ignore[arg-type]
