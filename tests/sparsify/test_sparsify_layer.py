"""One layer: what every solver under every pattern must hold, which is best, and one line for what cannot be."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from yoco.data import load
from yoco.rng import Rng
from yoco.sparsify.layer import Layer, curve, solve
from yoco.sparsify.patterns import parse
from yoco.sparsify.solvers import FITTED, SOLVERS
from yoco.sparsify.solvers.problem import damped

PATTERNS: dict[str | None, int | None] = {None: 71, "row": 72, "2:4": None, "1:4": None, "block:4": 60}
PAIRS = [(solver, text) for solver in SOLVERS for text in PATTERNS if (solver, text) != ("lobs", "block:4")]


def correlated(m: int, d: int, seed: int = 0, dead: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """Weights at random, and second moments of inputs that are not negative and depend on one another."""
    generator = Rng(seed).generator()
    mix = torch.randn(d, d, generator=generator, dtype=torch.float64) / d**0.5
    x = (torch.randn(4 * d, d, generator=generator, dtype=torch.float64) @ (mix + 0.5 * torch.eye(d))).relu()
    x[:, list(dead)] = 0
    return torch.randn(m, d, generator=generator, dtype=torch.float64), x.T @ x / (4 * d)


def with_bias(weight: Tensor, hessian: Tensor) -> tuple[Tensor, Tensor]:
    """A constant input beside the others, whose means are their standard deviations."""
    means = hessian.diagonal().sqrt()[:, None] / 2
    return torch.cat([weight, weight[:, :1]], 1), torch.cat(
        [torch.cat([hessian, means], 1), torch.cat([means.T, torch.ones(1, 1)], 1)]
    )


@pytest.mark.parametrize(("solver", "text"), PAIRS)
@pytest.mark.parametrize("bias", [False, True])
def test_every_solver_under_every_pattern(solver: str, text: str | None, bias: bool) -> None:
    weight, hessian = correlated(6, 24, dead=(3, 4, 5, 6, 7, 17))
    if bias:
        weight, hessian = with_bias(weight, hessian)
    zeros, pattern, before = PATTERNS[text], parse(text), (weight.clone(), hessian.clone())
    layer = Layer(weight, hessian, pattern=text, bias=bias)
    fit, own = (layer.solve(zeros, solver, refit=refit, rng=Rng(0)) for refit in (True, False))
    assert int((~fit.mask).sum()) == pattern.count(zeros, 6, 24)
    assert pattern.allows(fit.mask[:, :24])
    assert not bias or bool(fit.mask[:, -1].all())
    for found in (fit, own):
        change = found.weight - weight
        assert not found.weight[~found.mask].any()
        assert found.error == pytest.approx(float(torch.trace(change @ hessian @ change.T)) / 2, rel=1e-12)
        assert found.ridge == 1e-6
        assert found.dead.nonzero().flatten().tolist() == [3, 4, 5, 6, 7, 17]
        assert torch.equal(found.weight[:, found.dead], weight[:, found.dead] * found.mask[:, found.dead])
    assert torch.equal(fit.mask, own.mask)
    assert fit.error <= own.error * (1 + 1e-5)
    if text is None and solver not in ("magnitude", "random"):
        assert not fit.mask[:, fit.dead].any()
    again = solve(weight, hessian, zeros=zeros, solver=solver, pattern=text, bias=bias, rng=Rng(0))
    assert torch.equal(again.weight, fit.weight)
    assert all(torch.equal(*pair) for pair in zip(before, (weight, hessian), strict=True))


@pytest.mark.parametrize("text", PATTERNS)
@pytest.mark.parametrize("solver", FITTED)
def test_what_a_solver_has_fitted_is_not_fitted_again(
    solver: str, text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = Layer(*with_bias(*correlated(6, 24, dead=(3, 17))), pattern=text, bias=True)
    with monkeypatch.context() as patched:
        patched.setattr("yoco.sparsify.layer.FITTED", ())
        twice = layer.solve(PATTERNS[text], solver)
    monkeypatch.setattr("yoco.sparsify.layer.fitted", None)
    for refit in (True, False):
        once = layer.solve(PATTERNS[text], solver, refit=refit)
        assert torch.equal(once.mask, twice.mask)
        assert torch.equal(once.weight, twice.weight)
        assert once.error == twice.error


@pytest.mark.parametrize(("solver", "text"), PAIRS)
def test_the_scale_of_the_hessian_changes_nothing(solver: str, text: str | None) -> None:
    weight, hessian = correlated(6, 24, dead=(3,))
    first = solve(weight, hessian, zeros=PATTERNS[text], solver=solver, pattern=text, rng=Rng(0))
    for factor in (1e-12, 0.37, 2.0**20, 1e9):
        other = solve(weight, factor * hessian, zeros=PATTERNS[text], solver=solver, pattern=text, rng=Rng(0))
        assert torch.equal(other.mask, first.mask)
        assert torch.allclose(other.weight, first.weight, rtol=1e-9)
        assert other.error == pytest.approx(factor * first.error, rel=1e-9)
        assert other.ridge == first.ridge


@pytest.mark.parametrize("text", [None, "row", "block:4"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_none_and_all_can_leave(solver: str, text: str | None) -> None:
    if (solver, text) == ("lobs", "block:4"):
        return
    weight, hessian = with_bias(*correlated(3, 8, dead=(1,)))
    layer = Layer(weight, hessian, pattern=text, bias=True)
    none, whole = (layer.solve(zeros, solver, rng=Rng(0)) for zeros in (0, 1.0))
    assert torch.equal(none.weight, weight)
    assert none.error == 0
    assert int(whole.mask.sum()) == 3
    bias = weight[:, -1] + (weight[:, :-1] @ hessian[:-1, -1]) / hessian[-1, -1]
    assert torch.allclose(whole.weight[:, -1], bias, rtol=1e-4)


@pytest.mark.parametrize(("solver", "text"), PAIRS)
def test_neighbours_may_follow_one_another_in_another_order(solver: str, text: str | None) -> None:
    weight, hessian = with_bias(*correlated(6, 24, dead=(3,)))
    order = torch.cat([torch.arange(24).view(4, 6).T.flatten(), torch.tensor([24])])
    found = Layer(weight, hessian, pattern=text, bias=True, order=order).solve(PATTERNS[text], solver, rng=Rng(0))
    moved = text not in (None, "row")
    at, back = (order, order.argsort()) if moved else (torch.arange(25), torch.arange(25))
    wanted = solve(
        weight[:, at], hessian[at][:, at], zeros=PATTERNS[text], solver=solver, pattern=text, bias=True, rng=Rng(0)
    )
    assert torch.equal(found.weight, wanted.weight[:, back])
    assert torch.equal(found.mask, wanted.mask[:, back])
    assert (found.error, found.ridge) == (wanted.error, wanted.ridge)
    assert found.dead.nonzero().tolist() == [[3]]


@pytest.mark.parametrize("text", ["0:4", "4:4"])
def test_n_of_m_can_mean_none_or_all(text: str) -> None:
    weight, hessian = correlated(3, 8)
    for solver in SOLVERS:
        found = solve(weight, hessian, solver=solver, pattern=text, rng=Rng(0))
        assert torch.equal(found.weight, weight * (text == "4:4"))


def test_a_pruned_bias_is_a_weight_like_others() -> None:
    weight, hessian = with_bias(*correlated(3, 7))
    weight[:, -1] = 1e-3
    found = solve(weight, hessian, zeros=0.5, bias=True, prune_bias=True)
    assert int((~found.mask).sum()) == 12
    assert not found.mask[:, -1].any()
    free = solve(weight, hessian, zeros=12, bias=True)
    assert free.mask[:, -1].all()
    assert int((~free.mask).sum()) == 12


def test_dead_inputs_leave_first_the_others_as_if_they_were_not_there() -> None:
    weight, hessian = correlated(4, 12, dead=(0, 5))
    live = [q for q in range(12) if q not in (0, 5)]
    few = solve(weight, hessian, zeros=3)
    assert few.error == 0
    assert (~few.mask).sum(0)[[0, 5]].sum() == 3
    assert torch.equal(few.weight, weight * few.mask)
    for solver in ("exact", "column", "admm", "lobs", "wanda", "obd"):
        whole = solve(weight, hessian, zeros=8 + 20, solver=solver)
        part = solve(weight[:, live], hessian[live][:, live], zeros=20, solver=solver)
        assert torch.equal(whole.mask[:, live], part.mask)
        assert torch.allclose(whole.weight[:, live], part.weight)


def test_a_layer_without_live_inputs_costs_nothing() -> None:
    weight = torch.randn(3, 4, generator=Rng(0).generator())
    for solver in SOLVERS:
        found = solve(weight, torch.zeros(4, 4), zeros=5, solver=solver, rng=Rng(0))
        assert found.error == 0
        assert int((~found.mask).sum()) == 5
        assert torch.equal(found.weight, weight * found.mask)


def test_the_ridge_rises_tenfold_until_it_can_be_factorised_and_is_told() -> None:
    weight, hessian = correlated(4, 12)
    hessian[:, 5], hessian[5] = hessian[:, 2].clone(), hessian[2].clone()
    hessian[5, 5] = hessian[2, 2]
    assert solve(weight, hessian, zeros=20, ridge=0.0).ridge == pytest.approx(1e-12)
    assert solve(weight, hessian, zeros=20).ridge == 1e-6
    dented = hessian - 3e-4 * torch.eye(12)
    assert solve(weight, dented, zeros=20).ridge == pytest.approx(1e-3)
    matrix, ridge = damped(torch.diag(torch.tensor([1.0, 1.0, -0.004], dtype=torch.float64)), 1e-4)
    assert ridge == pytest.approx(1e-2)
    assert torch.equal(matrix.diagonal(), torch.tensor([1, 1, -0.004], dtype=torch.float64) + ridge)


def test_dtypes_come_back_and_float32_sums_are_symmetric_enough() -> None:
    weight, hessian = correlated(4, 12)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        found = solve(weight.to(dtype), hessian.float(), zeros=0.5)
        assert found.weight.dtype == dtype
        change = found.weight.double() - weight.to(dtype).double()
        error = float((change @ hessian.float().double() * change).sum()) / 2
        assert found.error == pytest.approx(error, rel=1e-5)
    skewed = hessian.clone()
    skewed[0, 1] *= 1 + 1e-6
    assert torch.equal(solve(weight, skewed, zeros=0.5).mask, solve(weight, hessian, zeros=0.5).mask)


def test_gradients_are_not_followed_and_layers_are_reusable() -> None:
    weight, hessian = correlated(4, 12)
    layer = Layer(weight.requires_grad_(), hessian)
    found = layer.solve(0.5)
    assert not found.weight.requires_grad
    layer.solve(0.8, "admm")
    assert torch.equal(layer.solve(0.5).weight, found.weight)


def test_curves_of_other_solvers_are_their_errors() -> None:
    weight, hessian = correlated(4, 12)
    for solver in ("column", "wanda"):
        found = curve(weight, hessian, levels=[0.25, 24, 0.75], solver=solver)
        assert found.tolist() == [solve(weight, hessian, zeros=z, solver=solver).error for z in (12, 24, 36)]
    assert curve(weight, hessian, levels=[]).shape == (0,)


def test_a_curve_holds_its_ridge_and_is_never_below_the_measured_error() -> None:
    weight, hessian = correlated(4, 12)
    for ridge in (1e-6, 1e-2):
        found = curve(weight, hessian, levels=[6, 24, 42], ridge=ridge).tolist()
        measured = [solve(weight, hessian, zeros=z, ridge=ridge, second=False).error for z in (6, 24, 42)]
        assert all(one >= two for one, two in zip(found, measured, strict=True))
        assert found == pytest.approx(measured, rel=10 * ridge)


@pytest.mark.parametrize("text", [None, "row", "block:4", "2:4"])
def test_on_random_layers_exact_is_never_worse_than_any(text: str | None) -> None:
    for seed in range(4):
        layer = Layer(*correlated(12, 48, seed), pattern=text)
        for share in (0.25, 0.5, 0.75) if text != "2:4" else (0.5,):
            best = layer.solve(share).error
            others = [solver for solver in SOLVERS if solver != "lobs" or text != "block:4"]
            errors = {solver: layer.solve(share, solver, rng=Rng(0)).error / best for solver in others}
            assert min(errors.values()) > 1 - 1e-6, errors


def trained() -> list[tuple[Tensor, Tensor]]:
    """Two layers of a network that has learned the digits, biases with them, and the second moments of their inputs."""
    train = load("digits").train
    images, labels = train.batch(torch.arange(len(train.labels))).images.flatten(1), train.labels
    with Rng(0).as_global():
        network = nn.Sequential(nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 10))
    for step in range(400):
        some = Rng(0).child(step).choice(len(labels), 100)
        loss = cross_entropy(network(images[some]), labels[some])
        moved = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(network.parameters(), moved, strict=True):
                parameter -= 0.5 * gradient
    layers, values = [], images
    for part in (network[0], network[2]):
        x = torch.cat([values, torch.ones(len(values), 1)], 1).double().detach()
        layers.append((torch.cat([part.weight, part.bias[:, None]], 1).detach(), x.T @ x / len(x)))
        values = part(values).relu()
    return layers


def test_on_trained_layers_exact_is_better_than_all_others() -> None:
    for weight, hessian in trained():
        layer = Layer(weight, hessian, bias=True)
        for share in (0.5, 0.8, 0.9):
            best = layer.solve(share).error
            errors = {solver: layer.solve(share, solver, rng=Rng(0)).error / best for solver in SOLVERS}
            assert all(ratio > 1 for solver, ratio in errors.items() if solver != "exact"), errors
            assert layer.solve(share, swaps=20).error <= best
            assert layer.solve(share, "lobs", refit=False).error > errors["lobs"] * best


def test_under_n_of_m_greedy_can_lose_and_a_second_choice_or_swaps_make_up_for_it() -> None:
    layer = Layer(*correlated(12, 48), pattern="2:4")
    greedy, swapped = layer.solve(second=False).error, layer.solve(second=False, swaps=20).error
    admm, best = layer.solve(solver="admm").error, layer.solve().error
    assert admm < 0.9 * greedy
    assert swapped < 0.2 * greedy + 0.8 * admm
    assert layer.solve(swaps=20).error <= best <= admm
