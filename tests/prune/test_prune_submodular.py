"""Facility location and graph cut against greedy searches that compute every gain anew, and against the best sets."""

from collections.abc import Callable
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.prune import submodular
from yoco.prune.budget import Budget
from yoco.prune.distances import Vectors, nearest
from yoco.prune.rules import Items, Rule
from yoco.prune.submodular import (
    FacilityLocation,
    Graph,
    GraphCut,
    cosine_graph,
    distance_graph,
    facility_location,
    graph_cut,
    lazy_greedy,
)
from yoco.rng import Rng


def some(n: int, size: int, seed: int = 0) -> Tensor:
    return torch.randn(n, size, generator=Rng(seed).generator())


def dense(graph: Graph) -> np.ndarray:
    """The whole matrix, 0 where there is no pair."""
    table = np.zeros((len(graph), len(graph)), dtype=np.float32)
    for i in range(len(graph)):
        where, values = graph.row(i)
        table[i, where] = values
    return table


def greedy(gain: Callable[[list[int], int], float], n: int, total: int) -> list[int]:
    chosen: list[int] = []
    for _ in range(total):
        gains = {i: gain(chosen, i) for i in range(n) if i not in chosen}
        chosen.append(max(gains, key=lambda i: (gains[i], -i)))
    return chosen


def located(table: np.ndarray, chosen: list[int]) -> float:
    return float(table[:, chosen].max(1).sum(dtype=np.float64)) if chosen else 0.0


def location_gain(table: np.ndarray, chosen: list[int], i: int) -> float:
    best = table[chosen].max(0) if chosen else np.zeros(len(table), dtype=np.float32)
    return float(np.maximum(table[i] - best, 0).sum(dtype=np.float64))


def cut(table: np.ndarray, chosen: list[int], lam: float) -> float:
    s = table.astype(np.float64)
    return float(lam * s[:, chosen].sum() - s[np.ix_(chosen, chosen)].sum())


DATA = {
    "real": some(40, 4),
    "copies": some(10, 3).repeat(4, 1),
    "zeros": torch.cat([torch.zeros(5, 3), some(20, 3)]),
    "grid": torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0)),
}


def graph_of(x: Tensor, kind: str, neighbours: int = 5) -> Graph:
    """Of all pairs, or of the near ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(submodular, "ALL", submodular.ALL if kind == "all" else 0)
        return cosine_graph(x, "here", neighbours)


@pytest.mark.parametrize("kind", ["all", "near"])
@pytest.mark.parametrize("name", DATA)
def test_lazy_facility_location_is_greedy_facility_location(name: str, kind: str) -> None:
    graph, n = graph_of(DATA[name], kind), len(DATA[name])
    table, evaluated = dense(graph), []
    found = facility_location(graph, n)
    assert found.dtype == torch.long
    if kind == "all":
        expected = greedy(lambda chosen, i: location_gain(table, chosen, i), n, n)
        assert found.tolist() == expected
    for k, i in enumerate(found[:20].tolist()):
        before = found[:k].tolist()
        gains = [located(table, [*before, j]) - located(table, before) for j in range(n) if j not in before]
        evaluated.append(located(table, [*before, i]) - located(table, before))
        assert evaluated[-1] >= max(gains) - 1e-6
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(evaluated))


@pytest.mark.parametrize("lam", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("kind", ["all", "near"])
@pytest.mark.parametrize("name", ["real", "zeros"])
def test_lazy_graph_cut_is_greedy_graph_cut(name: str, kind: str, lam: float) -> None:
    graph, n = graph_of(DATA[name], kind), len(DATA[name])
    table, found, evaluated = dense(graph), graph_cut(graph, n, lam).tolist(), []
    assert sorted(found) == list(range(n))
    for k, i in enumerate(found):
        before = found[:k]
        gains = [cut(table, [*before, j], lam) - cut(table, before, lam) for j in range(n) if j not in before]
        evaluated.append(cut(table, [*before, i], lam) - cut(table, before, lam))
        assert evaluated[-1] >= max(gains) - 1e-4
    assert all(later <= earlier + 1e-4 for earlier, later in pairwise(evaluated))
    if lam >= 2:
        assert min(evaluated) >= -1e-4


def test_a_sample_may_be_less_like_itself_than_another() -> None:
    half = torch.rand(25, 25, generator=Rng(0).generator()).numpy()
    table = half + half.T + np.diag(5 * half[0])
    chosen = greedy(lambda before, i: cut(table, [*before, i], 2.0) - cut(table, before, 2.0), 25, 20)
    assert graph_cut(Graph(table), 20).tolist() == chosen


@pytest.mark.parametrize("rule", [FacilityLocation(neighbours=7), GraphCut(neighbours=7)])
def test_the_neighbours_are_those_of_the_rule(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, build = [], submodular.cosine_graph
    monkeypatch.setattr(submodular, "cosine_graph", lambda *given: (asked.append(given[2]), build(*given))[1])
    rule(Items(None, torch.zeros(9).long(), 1, features=some(9, 2)), Budget(n=2), Rng(0))
    assert asked == [7]


@pytest.mark.parametrize("seed", range(5))
def test_greedy_is_near_the_best_set(seed: int) -> None:
    graph = cosine_graph(some(12, 3, seed), "here", 5)
    table = dense(graph)
    sets = [list(s) for s in combinations(range(12), 4)]
    best = max(located(table, s) for s in sets)
    assert located(table, facility_location(graph, 4).tolist()) >= (1 - 1 / np.e) * best
    best = max(cut(table, s, 2.0) for s in sets)
    assert cut(table, graph_cut(graph, 4).tolist(), 2.0) >= (1 - 1 / np.e) * best


@pytest.mark.parametrize("rule", [FacilityLocation(), GraphCut(), GraphCut(lam=0.5)])
@pytest.mark.parametrize("name", DATA)
def test_smaller_answers_are_the_beginnings_of_larger_ones(rule: Rule, name: str) -> None:
    n = len(DATA[name])
    items = Items(None, torch.zeros(n).long(), 1, features=DATA[name])
    whole = rule(items, Budget(n=n), Rng(0)).tolist()
    assert sorted(whole) == list(range(n))
    assert all(rule(items, Budget(n=k), Rng(0)).tolist() == whole[:k] for k in range(1, n))


def test_similarities_are_cosines_between_zero_and_one() -> None:
    x = torch.cat([some(20, 3) * 100, torch.zeros(2, 3)])
    table, h = dense(cosine_graph(x, "here", 5)), x.double().numpy()
    assert table.dtype == np.float32
    assert table.min() >= 0
    assert table.max() <= 1
    assert (np.diagonal(table) == 1).all()
    for i in range(20):
        for j in range(20):
            cosine = h[i] @ h[j] / np.linalg.norm(h[i]) / np.linalg.norm(h[j])
            assert table[i, j] == pytest.approx((1 + cosine) / 2, abs=1e-6)
    assert table[20, :20] == pytest.approx(0.5)
    assert table[20, 21] == pytest.approx(0.5)


@pytest.mark.parametrize("name", DATA)
def test_beyond_a_size_the_graph_holds_the_near_pairs_of_the_whole_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, n = DATA[name], len(DATA[name])
    points = Vectors(x.double())
    whole = dense(distance_graph(points, 5))
    monkeypatch.setattr(submodular, "ALL", n - 1)
    part = distance_graph(points, 5)
    assert part.values.ndim == 1
    assert part.values.dtype == np.float32
    assert len(part.values) <= n * 11
    assert len(part) == n
    around = nearest(points, 5)[0]
    for i in range(n):
        where, values = part.row(i)
        expected = {i, *around[i].tolist(), *(j for j in range(n) if i in around[j])}
        assert where.tolist() == sorted(expected)  # type: ignore[union-attr]
        np.testing.assert_allclose(values, whole[i, where], rtol=1e-6, atol=1e-6)


def test_a_graph_of_all_neighbours_gives_the_answer_of_all_pairs() -> None:
    x = DATA["real"]
    every, sparse = graph_of(x, "all", 39), graph_of(x, "near", 39)
    assert torch.equal(facility_location(every, 30), facility_location(sparse, 30))
    assert torch.equal(graph_cut(every, 30), graph_cut(sparse, 30))


def test_a_rule_switches_at_the_size_that_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    assert submodular.ALL**2 * 4 <= 2**28
    monkeypatch.setattr(submodular, "ALL", 30)
    made, build = [], submodular.distance_graph
    monkeypatch.setattr(submodular, "distance_graph", lambda *given: made.append(build(*given)) or made[-1])
    assert cosine_graph(some(30, 2), "here", 3).starts is None
    assert cosine_graph(some(31, 2), "here", 3).starts is not None
    assert len(made) == 2


def test_facility_location_covers_every_cluster_and_graph_cut_avoids_likeness() -> None:
    x = torch.eye(4).repeat_interleave(torch.tensor([20, 3, 10, 1]), 0) + 0.05 * some(34, 4)
    place = torch.arange(4).repeat_interleave(torch.tensor([20, 3, 10, 1]))
    items = Items(None, place, 4, features=x)
    assert sorted(place[FacilityLocation()(items, Budget(n=4), Rng(0))].tolist()) == [0, 1, 2, 3]
    assert set(place[GraphCut(lam=20.0)(items, Budget(n=4), Rng(0))].tolist()) == {0}
    assert len(place[GraphCut(lam=0.01)(items, Budget(n=4), Rng(0))].unique()) == 4


@pytest.mark.parametrize("rule", [FacilityLocation(), GraphCut()])
def test_of_copies_the_first_is_taken_and_the_order_does_not_matter(rule: Rule) -> None:
    def answer(x: Tensor) -> list[int]:
        return rule(Items(None, torch.zeros(len(x)).long(), 1, features=x), Budget(n=8), Rng(0)).tolist()  # type: ignore[union-attr]

    assert answer(torch.ones(20, 2)) == list(range(8))
    assert answer(DATA["copies"])[0] < 10
    for seed in range(5):
        order, x = Rng(1).choice(40, 40), some(40, 3, seed)
        assert order[answer(x[order])].tolist() == answer(x)


def test_two_samples_that_only_have_each_other_are_taken_by_index() -> None:
    for seed in range(20):
        x = torch.cat([some(30, 4, seed) * 0.01 + torch.eye(4)[0], some(2, 4, seed) * 0.01 - torch.eye(4)[0]])
        assert facility_location(cosine_graph(x, "here", 5), 2).tolist()[1] == 30
        graph = cosine_graph(some(40, 3, seed), "here", 5)
        assert (np.modf(graph.values.astype(np.float64) * 2**24)[0] == 0).all()


def test_few_gains_are_renewed() -> None:
    graph, asked = cosine_graph(some(400, 3), "here", 5), []
    table, best = graph.values, np.zeros(400)

    def gain(i: int) -> float:
        asked.append(i)
        return float(np.maximum(table[i] - best, 0).sum())

    def take(i: int) -> None:
        best[:] = np.maximum(best, table[i])

    lazy_greedy(gain, take, 400, 100)
    assert len(asked) < 400 * 100 / 5


def test_bad_input_is_one_line() -> None:
    items = Items(None, torch.zeros(3).long(), 1, features=some(3, 2))
    for rule, name in ((FacilityLocation(), "facility-location"), (GraphCut(), "graph-cut")):
        with pytest.raises(ValueError, match=rf"^{name}: needs features, got none$"):
            rule(items._replace(features=None), Budget(n=1), Rng(0))
        with pytest.raises(ValueError, match=rf"^{name}: features must be finite, got nan or infinity$"):
            rule(items._replace(features=torch.full((3, 2), torch.nan)), Budget(n=1), Rng(0))
        with pytest.raises(ValueError, match=rf"^{name}: neighbours must be at least 1, got 0$"):
            type(rule)(neighbours=0)
    with pytest.raises(ValueError, match=r"^graph-cut: lam must be at least 0, got -1$"):
        GraphCut(lam=-1.0)
