"""Column, ADMM, rounds and the simple scores against literal loops; the last step, least squares."""

import re
from inspect import signature

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.rng import Rng
from yoco.sparsify.layer import Layer, solve
from yoco.sparsify.patterns import parse
from yoco.sparsify.solvers.admm import admm
from yoco.sparsify.solvers.column import column, quota
from yoco.sparsify.solvers.problem import Problem
from yoco.sparsify.solvers.refit import refit, refit_with_inverse


def correlated(m: int, d: int, seed: int = 0, dead: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    """Weights at random, and second moments of inputs that are not negative and depend on one another."""
    generator = Rng(seed).generator()
    mix = torch.randn(d, d, generator=generator, dtype=torch.float64) / d**0.5
    x = (torch.randn(4 * d, d, generator=generator, dtype=torch.float64) @ (mix + 0.5 * torch.eye(d))).relu()
    x[:, list(dead)] = 0
    return torch.randn(m, d, generator=generator, dtype=torch.float64), x.T @ x / (4 * d)


def fitted(weight: np.ndarray, hessian: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Least squares on what each row keeps, as the normal equations say it."""
    found = np.zeros_like(weight)
    for row, w, keep in zip(found, weight, mask, strict=True):
        row[keep] = np.linalg.solve(hessian[np.ix_(keep, keep)], hessian[keep] @ w)
    return found


def lowest(scores: np.ndarray, count: int) -> np.ndarray:
    """The mask without so many of the lowest scores."""
    mask = np.ones(scores.size, dtype=bool)
    mask[np.argsort(scores, axis=None, kind="stable")[:count]] = False
    return mask.reshape(scores.shape)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 1.0])
def test_the_refit_is_least_squares_on_what_each_row_keeps(share: float) -> None:
    weight, hessian = correlated(9, 20)
    chance = torch.rand(9, 20, generator=Rng(4).generator())
    mask = chance >= share * torch.linspace(0.5, 1.5, 9)[:, None] if 0 < share < 1 else chance < 1 - share
    given = Problem(weight, hessian, 20, parse(None), 0.0)
    wanted = fitted(weight.numpy(), hessian.numpy(), mask.numpy())
    np.testing.assert_allclose(refit(given, mask).numpy(), wanted, atol=1e-10)
    again, inverse = refit_with_inverse(given, mask)
    np.testing.assert_allclose(again.numpy(), wanted, atol=1e-10)
    for keep, blocks in zip(mask.numpy(), inverse.flatten(1).numpy(), strict=True):
        diagonal = np.linalg.inv(hessian.numpy()[np.ix_(keep, keep)]).diagonal() / given.scale**-1
        np.testing.assert_allclose(blocks[keep], diagonal, rtol=1e-9)


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_blocks_of_the_inverse_are_those_of_what_is_kept(share: float) -> None:
    weight, hessian = correlated(5, 13)
    given = Problem(weight, hessian, 12, parse("block:3"), 0.0)
    units = torch.rand(5, 4, generator=Rng(3).generator()) >= share
    mask = given.whole(given.pattern.spread(units))
    _, found = refit_with_inverse(given, mask)
    for row, keep, whole in zip(found, units, mask, strict=True):
        places = whole.nonzero().flatten().tolist()
        inverse = np.linalg.inv(given.hessian.numpy()[np.ix_(places, places)])
        for unit in keep.nonzero().flatten().tolist():
            now = [places.index(3 * unit + k) for k in range(3)]
            np.testing.assert_allclose(row[unit].numpy(), inverse[np.ix_(now, now)], rtol=1e-9)


def literal_column(weight: np.ndarray, hessian: np.ndarray, span: int, counts: list[int], size: int = 1) -> np.ndarray:
    """Column by column with the inverse of what is to the right, made anew for each; weights without a refit."""
    w, d = weight.copy(), weight.shape[1]
    mask = np.ones(w.shape, dtype=bool)
    for start, count in zip(range(0, d, span), counts, strict=True):
        units = []
        for q in range(start, start + span, size):
            corner = np.linalg.inv(hessian[q:, q:])[:size, :size]
            units.append([row @ np.linalg.solve(corner, row) for row in w[:, q : q + size]])
        mask[:, start : start + span] = np.repeat(lowest(np.array(units).T, count), size, 1)
        for q in range(start, start + span):
            inverse = np.linalg.inv(hessian[q:, q:])
            gone = ~mask[:, q]
            w[gone, q:] -= np.outer(w[gone, q] / inverse[0, 0], inverse[0])
    return w * mask


@pytest.mark.parametrize(("span", "counts"), [(5, [8, 8, 8, 8]), (4, [6, 7, 6, 7, 6]), (20, [32])])
def test_column_is_the_literal_pass(span: int, counts: list[int]) -> None:
    weight, hessian = correlated(4, 20)
    found = solve(weight, hessian, zeros=32, solver="column", span=span, refit=False, ridge=0.0)
    wanted = literal_column(weight.numpy(), hessian.numpy(), span, counts)
    np.testing.assert_allclose(found.weight.numpy(), wanted, atol=1e-10)
    assert np.array_equal(found.mask.numpy(), wanted != 0)


def test_column_takes_blocks_whole() -> None:
    weight, hessian = correlated(4, 24)
    found = solve(weight, hessian, zeros=48, solver="column", pattern="block:3", span=14, refit=False, ridge=0.0)
    wanted = literal_column(weight.numpy(), hessian.numpy(), 12, [8, 8], 3)
    np.testing.assert_allclose(found.weight.numpy(), wanted, atol=1e-10)


def test_column_under_n_of_m_chooses_group_by_group() -> None:
    weight, hessian = correlated(1, 12)
    found = solve(weight, hessian, solver="column", pattern="2:4", refit=False, ridge=0.0)
    wanted = literal_column(weight.numpy(), hessian.numpy(), 4, [2, 2, 2])
    np.testing.assert_allclose(found.weight.numpy(), wanted, atol=1e-10)


def test_column_shares_zeros_by_live_inputs_and_takes_dead_ones_first() -> None:
    weight, hessian = correlated(3, 12, dead=(0, 1, 2, 7))
    given = Problem(weight, hessian, 12, parse(None), 0.0)
    assert [quota(given, 10, stop) for stop in (4, 8, 12)] == [9, 10, 10]
    assert [quota(given, 20, stop) for stop in (4, 8, 12)] == [10, 16, 20]
    assert [quota(given, 36, stop) for stop in (4, 8, 12)] == [12, 24, 36]
    for zeros in (5, 12, 13, 29):
        mask = solve(weight, hessian, zeros=zeros, solver="column", span=4).mask
        assert int((~mask).sum()) == zeros
        assert int((~mask[:, [0, 1, 2, 7]]).sum()) == min(zeros, 12)


def test_admm_takes_a_layer_apart_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, plain = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda given: (calls.append(1), plain(given))[1])
    generator = Rng(0).generator()
    weight, x = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((4, 6), (30, 6)))
    layer = Layer(weight, x.T @ x / 30)
    again = [layer.solve(zeros, "admm") for zeros in (5, 12, 18)]
    assert len(calls) == 1
    for zeros, found in zip((5, 12, 18), again, strict=True):
        assert torch.equal(found.weight, Layer(weight, x.T @ x / 30).solve(zeros, "admm").weight)


def literal_admm(
    weight: np.ndarray, hessian: np.ndarray, zeros: int, rho: float = 0.1, size: int = 1
) -> tuple[np.ndarray, list[float]]:
    """ALPS with an inverse anew at every step: weights without a refit, and by what rho was multiplied each time."""
    root = np.sqrt(hessian.diagonal())
    h, w0, eye = hessian / np.outer(root, root), weight * root, np.eye(len(hessian))
    d, v, before, grown = w0, 0 * w0, np.ones(w0.shape, dtype=bool), list[float]()
    for step in range(1, 301):
        b = (w0 @ h - v + rho * d) @ np.linalg.inv(h + rho * eye)
        sums = ((b + v / rho) ** 2).reshape(len(b), -1, size).sum(2)
        mask = np.repeat(lowest(sums, zeros // size), size, 1)
        d = (b + v / rho) * mask
        v = v + rho * (b - d)
        if step % 3 == 0:
            share = (mask != before).sum() / mask.sum()
            if share == 0:
                break
            grown.append(1.3 if share > 0.1 else 1.2 if share > 0.005 else 1.1)
            rho *= grown[-1]
            before = mask
    return d / root, grown


@pytest.mark.parametrize("zeros", [20, 60, 90])
def test_admm_is_the_literal_iteration(zeros: int) -> None:
    weight, hessian = correlated(6, 18)
    found = solve(weight, hessian, zeros=zeros, solver="admm", refit=False, ridge=0.0)
    wanted, _ = literal_admm(weight.numpy(), hessian.numpy(), zeros)
    np.testing.assert_allclose(found.weight.numpy(), wanted, atol=1e-9)
    assert np.array_equal(found.mask.numpy(), wanted != 0)


def test_admm_is_the_literal_iteration_where_few_of_many_weights_change() -> None:
    """Of 1,440 kept weights 0.5 % are seven; of those of the small layers they are less than one."""
    weight, hessian = correlated(60, 40)
    found = solve(weight, hessian, zeros=960, solver="admm", refit=False, ridge=0.0)
    wanted, grown = literal_admm(weight.numpy(), hessian.numpy(), 960)
    assert set(grown) == {1.3, 1.2, 1.1}
    np.testing.assert_allclose(found.weight.numpy(), wanted, atol=1e-9)
    assert np.array_equal(found.mask.numpy(), wanted != 0)


@pytest.mark.parametrize(("count", "left"), [(1, [27]), (2, [54, 27]), (3, [69, 43, 27])])
def test_rounds_sort_by_the_loss_of_one_removal_from_what_is_kept(count: int, left: list[int]) -> None:
    weight, hessian = correlated(6, 18)
    w, h, mask = weight.numpy(), hessian.numpy(), np.ones((6, 18), dtype=bool)
    assert left == [np.ceil(108 * 0.25 ** (k / count)) for k in range(1, count + 1)]
    for keep in left:
        now, scores = fitted(w, h, mask), np.full(mask.shape, -1.0)
        for j in range(6):
            alive = mask[j]
            scores[j, alive] = now[j, alive] ** 2 / np.linalg.inv(h[np.ix_(alive, alive)]).diagonal() / 2
        mask = lowest(scores, 108 - keep)
    found = solve(weight, hessian, zeros=81, solver="rounds", count=count, refit=False, ridge=0.0)
    assert np.array_equal(found.mask.numpy(), mask)
    np.testing.assert_allclose(found.weight.numpy(), fitted(w, h, mask), atol=1e-10)


def test_one_round_chooses_as_lobs_and_one_for_each_weight_as_greedy() -> None:
    weight, hessian = correlated(1, 14)
    layer = Layer(weight, hessian, ridge=0.0)
    assert torch.equal(layer.solve(9, "rounds", count=1).mask, layer.solve(9, "lobs").mask)
    assert torch.equal(layer.solve(9, "rounds", count=200).mask, layer.solve(9, "exact").mask)


def test_simple_scores_are_their_formulas() -> None:
    weight, hessian = correlated(4, 10)
    w, diagonal = weight.numpy(), hessian.numpy().diagonal()
    layer = Layer(weight, hessian)
    assert np.array_equal(layer.solve(17, "magnitude").mask.numpy(), lowest(np.abs(w), 17))
    assert np.array_equal(layer.solve(17, "obd").mask.numpy(), lowest(0.5 * w**2 * diagonal, 17))
    rows = [lowest(np.abs(row) * np.sqrt(diagonal), k) for row, k in zip(w, (5, 4, 4, 4), strict=True)]
    assert np.array_equal(layer.solve(17, "wanda").mask.numpy(), np.stack(rows))
    even = Layer(weight, hessian, pattern="row")
    assert torch.equal(even.solve(16, "wanda").mask, layer.solve(16, "wanda").mask)
    assert torch.equal(even.solve(16, "wanda").mask, even.solve(16, "obd").mask)
    for solver in ("magnitude", "obd", "wanda"):
        plain = layer.solve(17, solver, refit=False)
        assert torch.equal(plain.weight, weight * plain.mask)


@pytest.mark.parametrize("solver", ["obd", "wanda", "rounds", "admm"])
def test_blocks_leave_by_what_their_weights_do_together(solver: str) -> None:
    weight, hessian = correlated(6, 18)
    w, h, inverse = weight.numpy(), hessian.numpy(), np.linalg.inv(hessian.numpy())
    sums = (w**2 * h.diagonal()).reshape(6, 6, 3).sum(2)
    if solver == "rounds":
        spans = [slice(start, start + 3) for start in range(0, 18, 3)]
        sums = np.array([[row[b] @ np.linalg.solve(inverse[b, b], row[b]) for b in spans] for row in w])
    wanted = np.repeat(lowest(sums, 18), 3, 1)
    if solver == "admm":
        wanted = literal_admm(w, h, 54, size=3)[0] != 0
    options = {"count": 1} if solver == "rounds" else {}
    found = solve(weight, hessian, zeros=54, solver=solver, pattern="block:3", refit=False, ridge=0.0, **options)
    assert np.array_equal(found.mask.numpy(), wanted)


def test_chance_is_by_rng_and_spares_nobody() -> None:
    weight, hessian = correlated(4, 10)
    layer = Layer(weight, hessian)
    masks = [layer.solve(15, "random", rng=Rng(seed)).mask for seed in (0, 0, *range(1, 60))]
    assert torch.equal(masks[0], masks[1])
    often = torch.stack(masks[1:]).double().mean(0)
    assert float(often.min()) > 0.35
    assert float(often.max()) < 0.85
    with pytest.raises(ValueError, match=r"^random: needs rng, got None$"):
        layer.solve(15, "random")


def test_spans_and_the_first_penalty_are_those_of_the_papers() -> None:
    assert signature(column).parameters["span"].default == 128
    assert signature(admm).parameters["rho"].default == 0.1


@pytest.mark.parametrize(
    ("solver", "options", "line"),
    [
        ("column", {"span": 0}, "column: span must be at least 1, got 0"),
        ("admm", {"rho": 0.0}, "admm: rho must be above 0 and steps at least 1, got 0 and 300"),
        ("admm", {"steps": 0}, "admm: rho must be above 0 and steps at least 1, got 0.1 and 0"),
        ("rounds", {"count": 0}, "rounds: count must be at least 1, got 0"),
    ],
)
def test_bad_options_are_one_line(solver: str, options: dict[str, float], line: str) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(line)}$"):
        solve(*correlated(2, 8), zeros=3, solver=solver, **options)
