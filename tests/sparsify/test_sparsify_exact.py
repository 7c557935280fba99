"""Exact: its traces against the literal loop with explicit downdates, its choices against all choices, its swaps."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.rng import Rng
from yoco.sparsify.layer import Layer, curve, solve
from yoco.sparsify.patterns import Pattern, parse
from yoco.sparsify.solvers import exact as module
from yoco.sparsify.solvers.exact import Removals, trace
from yoco.sparsify.solvers.problem import Problem
from yoco.sparsify.solvers.swaps import swapped


def correlated(m: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Weights at random, and second moments of inputs that are not negative and depend on one another."""
    generator = Rng(seed).generator()
    mix = torch.randn(d, d, generator=generator, dtype=torch.float64) / d**0.5
    x = (torch.randn(4 * d, d, generator=generator, dtype=torch.float64) @ (mix + 0.5 * torch.eye(d))).relu()
    return torch.randn(m, d, generator=generator, dtype=torch.float64), x.T @ x / (4 * d)


def problem(weight: Tensor, hessian: Tensor, text: str | None = None, columns: int | None = None) -> Problem:
    return Problem(weight, hessian, columns or weight.shape[1], parse(text), 0.0)


def literal(weight: np.ndarray, hessian: np.ndarray, steps: int, pattern: Pattern) -> tuple[list[int], list[float]]:
    """One row of ExactOBS: every candidate's loss, the update, and the inverse downdated in full."""
    w, inverse, c = weight.copy(), np.linalg.inv(hessian), pattern.block
    gone: list[int] = []
    losses: list[float] = []
    for _ in range(steps):
        best = None
        for unit in range(len(w) // c):
            group = [u for u in gone if pattern.group and u // pattern.group == unit // pattern.group]
            if unit in gone or (pattern.group and len(group) == pattern.limit):
                continue
            b = slice(unit * c, unit * c + c)
            loss = w[b] @ np.linalg.solve(inverse[b, b], w[b]) / 2
            if best is None or loss < best[0]:
                best = loss, unit
        assert best is not None
        b = slice(best[1] * c, best[1] * c + c)
        w -= inverse[:, b] @ np.linalg.solve(inverse[b, b], w[b])
        inverse -= inverse[:, b] @ np.linalg.solve(inverse[b, b], inverse[b])
        w[b], inverse[b, :], inverse[:, b] = 0, 0, 0
        inverse[b, b] = np.eye(c)
        losses.append(best[0])
        gone.append(best[1])
    return gone, losses


@pytest.mark.parametrize(
    ("text", "steps"), [(None, 84), ("row", 84), ("row", 40), ("2:4", 42), ("1:4", 63), ("block:3", 28)]
)
def test_traces_are_those_of_the_literal_loop(text: str | None, steps: int) -> None:
    weight, hessian = correlated(3, 84)
    given, c = problem(weight, hessian, text), parse(text).block
    found = trace(given, 3 * steps * c)
    for row, order, losses in zip(weight, found.order, found.losses, strict=True):
        wanted, wanted_losses = literal(row.numpy(), hessian.numpy(), steps, parse(text))
        assert order.tolist() == wanted
        np.testing.assert_allclose(given.scale * losses.numpy(), wanted_losses, rtol=1e-9)


def test_neither_memory_nor_panels_nor_dropping_change_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, hessian = correlated(7, 60)
    whole = trace(problem(weight, hessian), 1)
    for panel, shrink, memory in ((1, 0.6, 1), (7, 1.0, 2 * 8 * 60 * 80), (60, 0.0, 2**28)):
        monkeypatch.setattr(module, "PANEL", panel)
        monkeypatch.setattr(module, "SHRINK", shrink)
        other = trace(problem(weight, hessian), 1, memory)
        assert torch.equal(other.order, whole.order)
        assert torch.allclose(other.losses, whole.losses, rtol=1e-10)
    monkeypatch.setattr(module, "SHRINK", 0.9)
    monkeypatch.setattr(module, "WIDE", 40)
    monkeypatch.setattr(module, "LONG", 11)
    assert torch.equal(trace(problem(weight, hessian), 1).order, whole.order)


def test_rows_in_flight_fit_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    run = module._Rows.run

    def spy(rows: module._Rows, steps: int) -> tuple[Tensor, Tensor]:
        seen.append((len(rows.weight), rows.memory.numel()))
        return run(rows, steps)

    monkeypatch.setattr(module._Rows, "run", spy)
    weight, hessian = correlated(10, 40)
    for memory, most in ((1, 1), (3 * 8 * 40 * (40 + 64), 3), (2**28, 10)):
        seen.clear()
        trace(problem(weight, hessian), 1, memory)
        assert sum(b for b, _ in seen) == 10
        assert max(b for b, _ in seen) == most
        assert all(numbers == most * 40**2 for _, numbers in seen)


def test_predicted_errors_are_measured_errors() -> None:
    weight, hessian = correlated(6, 40)
    for text, levels in ((None, [0, 1, 57, 120, 199, 239]), ("row", [6, 120, 234]), ("block:4", [4, 100, 236])):
        predicted = curve(weight, hessian, levels=levels, pattern=text, ridge=0.0)
        for zeros, error in zip(levels, predicted.tolist(), strict=True):
            measured = solve(weight, hessian, zeros=zeros, pattern=text, ridge=0.0, second=False)
            assert measured.ridge == 0
            assert measured.error == pytest.approx(error, rel=1e-10, abs=1e-300)
    assert predicted.dtype == torch.float64
    layer = Layer(weight, hessian, pattern="2:4", ridge=0.0)
    assert layer.solve(second=False).error == pytest.approx(float(layer.curve([120])[0]), rel=1e-10)


@pytest.mark.parametrize("text", ["2:4", "row", None])
def test_the_second_choice_is_the_better_one_of_each_row(text: str | None) -> None:
    weight, hessian = correlated(12, 48, 1)
    hessian[5], hessian[:, 5] = 0, 0
    layer, zeros = Layer(weight, hessian, pattern=text, ridge=0.0), 12 * 48 // 2
    found, theirs, wanted = layer.solve(zeros), layer.solve(zeros, "admm"), 0.0
    for row, gone in zip(weight, ~theirs.mask, strict=True):
        alone = Layer(row[None], hessian, pattern=text, ridge=0.0)
        live = [q for q in torch.nonzero(gone).flatten().tolist() if q != 5]
        full = hessian + torch.diag((hessian.diagonal() == 0).double())
        wanted += min(alone.solve(int(gone.sum()), second=False).error, least(row, full, tuple(live)))
    assert found.error == pytest.approx(wanted, rel=1e-9)
    assert found.error <= theirs.error
    assert found.error < layer.solve(zeros, second=False).error


def test_the_second_choice_is_left_alone_where_it_is_worse() -> None:
    weight, hessian = torch.tensor([[1.0, 2.0, 3.0, 4.0]], dtype=torch.float64), torch.eye(4, dtype=torch.float64)
    assert torch.equal(solve(weight, hessian, zeros=2).mask, solve(weight, hessian, zeros=2, second=False).mask)


def test_errors_rise_with_the_number_of_zeros_up_to_all_of_the_energy() -> None:
    weight, hessian = correlated(6, 40)
    predicted = curve(weight, hessian, levels=list(range(0, 241, 10)), ridge=0.0)
    assert predicted[0] == 0
    assert (predicted.diff() > 0).all()
    assert float(predicted[-1]) == pytest.approx(float((weight @ hessian * weight).sum()) / 2)


def test_one_trace_serves_all_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    traced = module._traced
    monkeypatch.setattr(module, "_traced", lambda *given: calls.append(given[1]) or traced(*given))
    weight, hessian = correlated(4, 20)
    layer = Layer(weight, hessian)
    layer.curve([0.1, 0.5, 0.9])
    layer.solve(0.7)
    assert calls == [20]
    rows = Layer(weight, hessian, pattern="row")
    rows.solve(0.2)
    rows.curve([0.1, 0.8, 0.3])
    rows.solve(0.75)
    assert calls == [20, 4, 16]


def least(row: Tensor, hessian: Tensor, gone: tuple[int, ...]) -> float:
    """The error of the best weights with these zeros: w_P' (A_PP)^-1 w_P / 2."""
    w, inverse, places = row.numpy(), np.linalg.inv(hessian.numpy()), list(gone)
    return float(w[places] @ np.linalg.solve(inverse[np.ix_(places, places)], w[places])) / 2


def test_one_removal_is_the_best_of_all() -> None:
    for seed in range(20):
        weight, hessian = correlated(3, 7, seed)
        errors = torch.tensor([[least(row, hessian, (q,)) for q in range(7)] for row in weight])
        found = solve(weight, hessian, zeros=1, ridge=0.0)
        assert (~found.mask).flatten().nonzero().item() == errors.argmin()
        assert found.error == pytest.approx(float(errors.min()))


def test_more_removals_are_near_the_best_of_all_on_tiny_layers() -> None:
    ratios, swaps = [], []
    for seed in range(30):
        weight, hessian = correlated(1, 8, seed)
        for zeros in (2, 4, 6):
            best = min(least(weight[0], hessian, gone) for gone in combinations(range(8), zeros))
            found = solve(weight, hessian, zeros=zeros, ridge=0.0)
            after = torch.nonzero(~swapped(problem(weight, hessian), found.mask, 8)[0]).flatten()
            ratios.append(found.error / best)
            swaps.append(least(weight[0], hessian, tuple(after.tolist())) / best)
    assert min(ratios) > 1 - 1e-9
    assert sum(ratio < 1 + 1e-9 for ratio in ratios) > 0.75 * len(ratios)
    assert max(ratios) < 2.0
    assert sum(ratio < 1 + 1e-9 for ratio in swaps) > 0.9 * len(swaps)
    assert max(swaps) <= max(ratios) * (1 + 1e-9)


def misled() -> tuple[Tensor, Tensor]:
    """The third input is nearly the sum of the others and hardly used, but alone it would do for both."""
    hessian = torch.tensor([[1.0, 0, 1], [0, 1, 1], [1, 1, 2.01]], dtype=torch.float64)
    return torch.tensor([[1.0, 1.01, 0.02]], dtype=torch.float64), hessian


def test_greedy_can_be_far_from_the_best_and_one_swap_mends_it() -> None:
    weight, hessian = misled()
    greedy = solve(weight, hessian, zeros=2, ridge=0.0, second=False)
    best = min(least(weight[0], hessian, gone) for gone in combinations(range(3), 2))
    assert greedy.mask.tolist() == [[False, True, False]]
    assert greedy.error > 50 * best
    mended = solve(weight, hessian, zeros=2, ridge=0.0, second=False, swaps=1)
    assert mended.mask.tolist() == [[False, False, True]]
    assert mended.error == pytest.approx(best)


@pytest.mark.parametrize(("group", "keep"), [(12, 9), (12, 6), (12, 3), (4, 2), (6, 1)])
def test_swaps_are_the_best_pairs_until_none_helps(group: int, keep: int) -> None:
    weight, hessian = correlated(4, 12, 5)
    chance = torch.rand(4, 12 // group, group, generator=Rng(1).generator())
    mask = (chance.argsort(2) < keep).view(4, 12)
    found = swapped(problem(weight, hessian, f"{keep}:{group}" if group < 12 else None), mask, 100)
    for row, before, after in zip(weight, mask, found, strict=True):
        gone = {q for q in range(12) if not before[q]}
        while True:
            pairs = [
                (least(row, hessian, tuple((gone - {j}) | {i})), i, j)
                for j in gone
                for i in set(range(12)) - gone
                if i // group == j // group
            ]
            error, i, j = min(pairs)
            if error > least(row, hessian, tuple(gone)) * (1 - 1e-7):
                break
            gone = (gone - {j}) | {i}
        assert {q for q in range(12) if not after[q]} == gone


def test_swaps_leave_bias_dead_inputs_and_counts_alone() -> None:
    weight, hessian = correlated(8, 40)
    hessian[3], hessian[:, 3] = 0, 0
    layer = Layer(weight, hessian, bias=True)
    greedy, one, better = layer.solve(0.6), layer.solve(0.6, swaps=1), layer.solve(0.6, swaps=50)
    assert better.error < greedy.error
    assert better.mask[:, -1].all()
    assert not better.mask[:, 3].any()
    assert torch.equal(better.mask.sum(1), greedy.mask.sum(1))
    assert int((one.mask != greedy.mask).sum(1).max()) == 2
    assert better.error <= one.error
    chance = torch.rand(8, 40, generator=Rng(2).generator()) < 0.5
    chance[:, -1] = True
    found = swapped(layer.problem, chance, 100)
    assert torch.equal(found[:, [3, -1]], chance[:, [3, -1]])
    assert torch.equal(found.sum(1), chance.sum(1))
    assert int((swapped(layer.problem, chance, 2) != chance).sum(1).max()) == 4


def test_rows_that_keep_all_or_nothing_have_nothing_to_swap() -> None:
    weight, hessian = correlated(3, 8)
    layer = Layer(weight, hessian)
    for zeros in (0, 24):
        assert int((~layer.solve(zeros, swaps=2).mask).sum()) == zeros
    mask = torch.ones(3, 8, dtype=torch.bool)
    mask[1] = False
    assert torch.equal(swapped(layer.problem, mask, 2), mask)


def test_dead_inputs_take_no_step_of_a_trace() -> None:
    weight, hessian = correlated(2, 12)
    for q in (1, 4, 5, 6, 7):
        hessian[q], hessian[:, q] = 0, 0
    whole = trace(problem(weight, hessian), 1)
    assert whole.order[:, :5].tolist() == [[1, 4, 5, 6, 7]] * 2
    assert not whole.losses[:, :5].any()
    half = trace(problem(weight, hessian, "2:4"), 12)
    assert half.order[:, :3].tolist() == [[1, 4, 5]] * 2
    assert sorted(half.order[0].tolist())[2:4] == [4, 5]
    assert isinstance(half, Removals)


def test_bad_options_are_one_line() -> None:
    weight, hessian = correlated(2, 8)
    with pytest.raises(ValueError, match=r"^exact: swaps must be at least 0, got -1$"):
        solve(weight, hessian, zeros=3, swaps=-1)
    with pytest.raises(ValueError, match=r"^swaps: can only exchange single weights, got pattern block:4$"):
        solve(weight, hessian, zeros=4, pattern="block:4", swaps=1)
