"""CRAIG and GradMatch against gradients written out, plain greedy searches and scipy's non-negative least squares."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import Tensor

from yoco.prune import coresets, submodular
from yoco.prune.budget import Budget
from yoco.prune.coresets import CRAIG, Gradients, GradMatch, cluster_sizes, craig, gradmatch
from yoco.prune.distances import Vectors, squared
from yoco.prune.rules import Choice, Items, Rule
from yoco.rng import Rng


def some(n: int, classes: int = 3, size: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Errors of a classifier and the features that it sees."""
    features = torch.randn(n, size, generator=Rng(seed).generator()).relu()
    logits = torch.randn(n, classes, generator=Rng(seed + 1).generator())
    return logits.softmax(1) - torch.eye(classes)[torch.arange(n) ** 2 % classes], features


def written_out(errors: Tensor, features: Tensor) -> np.ndarray:
    e, h = errors.double().numpy(), features.double().numpy()
    return np.array([np.outer(a, [*b, 1.0]).ravel() for a, b in zip(e, h, strict=True)])


def apart(errors: Tensor, features: Tensor) -> np.ndarray:
    g = written_out(errors, features)
    return np.array([[np.sqrt(((a - b) ** 2).sum()) for b in g] for a in g])


def items_of(errors: Tensor, features: Tensor) -> Items:
    return Items(None, torch.zeros(len(errors)).long(), 1, features=features, errors=errors)


def test_products_and_sums_are_those_of_the_gradients_written_out() -> None:
    points, g = Gradients(*some(20), "here"), written_out(*some(20))
    np.testing.assert_allclose(points.products(slice(None), slice(None)).numpy(), g @ g.T, rtol=1e-9)
    np.testing.assert_allclose(points.diagonal.numpy(), (g * g).sum(1), rtol=1e-9)
    rows = torch.tensor([3, 9, 4])
    np.testing.assert_allclose(points.products(rows, slice(2, 5)).numpy(), g[[3, 9, 4]] @ g[2:5].T, rtol=1e-9)
    weights = torch.tensor([1.0, 0.5, 2.0]).double()
    combined = points.combined(weights, rows)
    np.testing.assert_allclose(combined.flatten().numpy(), weights.numpy() @ g[[3, 9, 4]], rtol=1e-9)
    np.testing.assert_allclose(points.along(combined).numpy(), g @ combined.flatten().numpy(), rtol=1e-9)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_distances_of_gradients_keep_their_digits(offset: float) -> None:
    errors, features = some(20)
    found = squared(Gradients(errors, features + offset, "here"), slice(None), slice(None)).sqrt()
    np.testing.assert_allclose(found.numpy(), apart(errors, features + offset), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("total", [1, 6, 29, 30])
def test_craig_is_greedy_facility_location_of_gradients(total: int) -> None:
    errors, features = some(30)
    distance = apart(errors, features)
    similar, chosen = distance.max() - distance, list[int]()
    for _ in range(total):
        values = {j: similar[:, [*chosen, j]].max(1).sum() for j in range(30) if j not in chosen}
        chosen.append(max(values, key=lambda j: (round(values[j], 5), -j)))
    found = CRAIG()(items_of(errors, features), Budget(n=total), Rng(0))
    assert isinstance(found, Choice)
    assert found.indices.tolist() == chosen
    owners = [min(chosen, key=lambda j, i=i: distance[i, j]) for i in range(30)]
    assert found.weights is not None
    assert found.weights.dtype == torch.float32
    assert found.weights.tolist() == [owners.count(j) for j in chosen]


@pytest.mark.parametrize("most", [0, submodular.ALL])
def test_the_weights_of_craig_are_clusters_of_all_samples(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submodular, "ALL", most)
    errors, features = some(50)
    for e, h in ((errors, features), (errors[:5].repeat(10, 1), features[:5].repeat(10, 1)), (0 * errors, features)):
        for total in (1, 7, 50):
            found = craig(e, h, total, neighbours=4)
            assert found.weights is not None
            assert float(found.weights.sum()) == 50
            assert float(found.weights.min()) >= 1
            assert len(found.indices.unique()) == total


def test_the_first_of_equally_near_chosen_ones_owns_a_sample() -> None:
    line = Vectors(torch.tensor([[0.0], [2.0], [1.0], [0.0], [5.0]]).double())
    assert cluster_sizes(line, torch.tensor([1, 0])).tolist() == [3, 2]
    assert cluster_sizes(line, torch.tensor([0, 1])).tolist() == [3, 2]
    assert cluster_sizes(line, torch.tensor([0, 3, 4])).tolist() == [3, 1, 1]


def test_craig_over_near_pairs_is_craig_where_all_are_near(monkeypatch: pytest.MonkeyPatch) -> None:
    errors, features = some(40)
    whole = craig(errors, features, 20)
    monkeypatch.setattr(submodular, "ALL", 0)
    sparse, few = (craig(errors, features, 20, neighbours=k) for k in (39, 3))
    assert torch.equal(whole.indices, sparse.indices)
    assert not torch.equal(whole.indices, few.indices)


def test_the_neighbours_are_those_of_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, build = [], coresets.distance_graph
    monkeypatch.setattr(coresets, "distance_graph", lambda *given: (asked.append(given[1]), build(*given))[1])
    CRAIG(neighbours=7)(items_of(*some(9)), Budget(n=2), Rng(0))
    assert asked == [7]


def test_similarities_are_whole_steps_so_that_sums_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    made, choose = [], coresets.facility_location
    monkeypatch.setattr(coresets, "facility_location", lambda *given: (made.append(given[0]), choose(*given))[1])
    for seed in range(5):
        craig(*some(40, seed=seed), 3)
        values = made[-1].values.astype(np.float64)
        steps = values / 2.0 ** (np.ceil(np.log2(values.max())) - 24)
        assert (np.modf(steps)[0] == 0).all()
        assert 2**23 < steps.max() <= 2**24
    craig(torch.zeros(4, 2), torch.ones(4, 1), 2)
    assert made[-1].values.tolist() == np.zeros((4, 4)).tolist()


@pytest.mark.parametrize("rule", [CRAIG(), GradMatch(), GradMatch(lam=0.0)])
def test_smaller_answers_are_the_beginnings_of_larger_ones(rule: Rule) -> None:
    items = items_of(*some(40))
    whole = rule(items, Budget(n=40), Rng(0))
    assert isinstance(whole, Choice)
    assert sorted(whole.indices.tolist()) == list(range(40))
    for k in range(1, 40):
        part = rule(items, Budget(n=k), Rng(0))
        assert isinstance(part, Choice)
        assert part.indices.tolist() == whole.indices[:k].tolist()


def objective(g: np.ndarray, chosen: list[int], weights: np.ndarray, lam: float) -> float:
    return float(((weights @ g[chosen] - g.sum(0)) ** 2).sum() + lam * (weights**2).sum())


def fitted(g: np.ndarray, chosen: list[int], lam: float) -> np.ndarray:
    left = np.vstack([g[chosen].T, np.sqrt(lam) * np.eye(len(chosen))])
    return nnls(left, np.concatenate([g.sum(0), np.zeros(len(chosen))]), maxiter=10000)[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("lam", [0.0, 0.01, 1.0, 30.0])
@pytest.mark.parametrize("seed", range(4))
def test_gradmatch_is_matching_pursuit_with_scipys_weights(lam: float, seed: int) -> None:
    errors, features = some(40, 3, 6, seed)
    g, chosen, before = written_out(errors, features), list[int](), np.inf
    answer = GradMatch(lam=lam)(items_of(errors, features), Budget(n=16), Rng(0))
    assert isinstance(answer, Choice)
    weights = np.zeros(0)
    for step in range(16):
        products = g @ (g.sum(0) - weights @ g[chosen])
        products[chosen] = -np.inf
        best = int(answer.indices[step])
        assert products[best] >= products.max() - 1e-9 * (g.sum(0) ** 2).sum()
        chosen.append(best)
        weights = fitted(g, chosen, lam)
        now = objective(g, chosen, weights, lam)
        assert now <= before + 1e-9
        before = now
        partial = gradmatch(errors, features, step + 1, lam=lam)
        assert partial.weights is not None
        assert partial.weights.dtype == torch.float32
        assert float(partial.weights.min()) >= 0
        found = partial.weights.double().numpy()
        assert objective(g, chosen, found, lam) == pytest.approx(now, rel=1e-5, abs=1e-9 * (g.sum(0) ** 2).sum())
        if now > 1e-6:
            np.testing.assert_allclose(found, weights, rtol=1e-4, atol=1e-5 * max(1, weights.max()))


def test_weights_fall_to_zero_and_rise_again_as_the_choice_grows() -> None:
    ups = downs = 0
    for seed in range(3):
        errors, features = some(60, 2, 8, seed)
        g, last = written_out(errors, features), np.zeros(0)
        chosen = gradmatch(errors, features, 25, lam=0.01).indices.tolist()
        for k in range(1, 26):
            answer = gradmatch(errors, features, k, lam=0.01)
            assert answer.weights is not None
            now = answer.weights.double().numpy()
            best = fitted(g, chosen[:k], 0.01)
            assert objective(g, chosen[:k], now, 0.01) <= objective(g, chosen[:k], best, 0.01) * (1 + 1e-5) + 1e-6
            ups += int(((last == 0) & (now[:-1] > 0)).sum()) if k > 1 else 0
            downs += int(((last > 0) & (now[:-1] == 0)).sum()) if k > 1 else 0
            last = now
    assert ups > 0
    assert downs > 0


def test_when_nothing_helps_the_rest_comes_with_weight_zero_in_the_order_of_its_product() -> None:
    errors = torch.tensor([[1.0], [-0.2], [-0.1], [-0.3], [1.0]])
    answer = gradmatch(errors, torch.zeros(5, 2), 5, lam=0.0)
    assert answer.weights is not None
    assert answer.indices[0] == 0
    assert sorted(answer.indices.tolist()) == [0, 1, 2, 3, 4]
    assert answer.weights.tolist() == pytest.approx([1.4, 0, 0, 0, 0])
    shrunk = gradmatch(torch.tensor([[2.0], [-0.2], [-0.1], [-0.3]]), torch.zeros(4, 1), 4)
    assert shrunk.indices.tolist() == [0, 2, 1, 3]
    assert shrunk.weights is not None
    assert shrunk.weights.tolist() == pytest.approx([2.8 / 5, 0, 0, 0])
    nothing = gradmatch(torch.zeros(4, 2), torch.ones(4, 2), 3)
    assert nothing.indices.tolist() == [0, 1, 2]
    assert nothing.weights is not None
    assert nothing.weights.tolist() == [0, 0, 0]


@pytest.mark.parametrize("lam", [0.0, 1e-6, 1.0])
def test_copies_and_more_samples_than_directions_are_no_obstacle(lam: float) -> None:
    errors, features = some(12, 2, 1)
    for e, h in ((errors.repeat(4, 1), features.repeat(4, 1)), (errors, features)):
        g = written_out(e, h)
        answer = gradmatch(e, h, len(e), lam=lam)
        assert answer.weights is not None
        assert float(answer.weights.min()) >= 0
        found = objective(g, answer.indices.tolist(), answer.weights.double().numpy(), lam)
        ideal = fitted(g, answer.indices.tolist(), lam)
        assert found <= objective(g, answer.indices.tolist(), ideal, lam) + 1e-5 * (g.sum(0) ** 2).sum()


@pytest.mark.parametrize("rule", [CRAIG(), GradMatch()])
def test_the_order_of_samples_does_not_matter(rule: Rule) -> None:
    errors, features = some(40)
    order = Rng(3).choice(40, 40)
    one = rule(items_of(errors, features), Budget(n=10), Rng(0))
    other = rule(items_of(errors[order], features[order]), Budget(n=10), Rng(0))
    assert isinstance(one, Choice)
    assert isinstance(other, Choice)
    assert order[other.indices].tolist() == one.indices.tolist()
    torch.testing.assert_close(one.weights, other.weights)


def test_what_is_given_is_not_changed() -> None:
    errors, features = some(20)
    craig(errors, features, 5)
    gradmatch(errors, features, 5)
    assert torch.equal(errors, some(20)[0])
    assert torch.equal(features, some(20)[1])


def test_bad_input_is_one_line() -> None:
    items = items_of(*some(3))
    for rule, name in ((CRAIG(), "craig"), (GradMatch(), "gradmatch")):
        for part in ("errors", "features"):
            with pytest.raises(ValueError, match=rf"^{name}: needs {part}, got none$"):
                rule(items._replace(**{part: None}), Budget(n=1), Rng(0))
            with pytest.raises(ValueError, match=rf"^{name}: {part} must be finite, got nan or infinity$"):
                rule(items._replace(**{part: torch.full((3, 2), torch.nan)}), Budget(n=1), Rng(0))
        with pytest.raises(ValueError, match=rf"^{name}: errors and features must have equal lengths, got 3, 2$"):
            rule(items._replace(features=torch.ones(2, 2)), Budget(n=1), Rng(0))
    with pytest.raises(ValueError, match=r"^craig: neighbours must be at least 1, got 0$"):
        CRAIG(neighbours=0)
    with pytest.raises(ValueError, match=r"^gradmatch: lam must be at least 0, got -1$"):
        GradMatch(lam=-1.0)
