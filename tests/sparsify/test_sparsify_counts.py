"""Zeros for each layer: one literal sort over all of them, layouts, mappings; and what cannot be."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from yoco.data.source import Batch
from yoco.rng import Rng
from yoco.sparsify.allocate import ALLOCATIONS, Curve
from yoco.sparsify.calibration import Calibration
from yoco.sparsify.counts import counts
from yoco.sparsify.curves import Unit
from yoco.sparsify.layer import Layer
from yoco.sparsify.layout import LAYOUTS
from yoco.sparsify.pruner import Pruner
from yoco.sparsify.scores import by_score
from yoco.sparsify.solvers import SOLVERS
from yoco.train import Normalise

FIRST, SECOND, LAST = "0.weight", "2.weight", "5.weight"
A, B, C, D = Unit(FIRST, 0), Unit(SECOND, 0), Unit(SECOND, 1), Unit(LAST, 0)


@pytest.fixture(scope="module")
def data() -> Calibration:
    images = torch.randn(40, 1, 8, 8, generator=Rng(1).generator(), dtype=torch.float64)
    return Calibration(Batch(images, torch.zeros(40).long()), Normalise((0.0,), (1.0,)), torch.device("cpu"))


def units(network: nn.Module, data: Calibration, **options: Any) -> dict[Unit, Layer]:
    pruner = Pruner(**options)
    return pruner.units(network, pruner.moments(network, data))


def found(
    network: nn.Module,
    given: Mapping[Unit, Layer],
    allocation: Any,
    sparsity: float | None = None,
    curves: Mapping[Unit, Curve] | None = None,
    solver: str = "exact",
) -> dict[Unit, int]:
    def make() -> dict[Unit, Curve]:
        assert curves is not None
        return dict(curves)

    return counts(network, given, allocation, sparsity, solver, make)


def literal(given: Mapping[Unit, Layer], solver: str, zeros: int) -> dict[Unit, int]:
    """One sort of all scores as their formulas have them, on the moments as they were."""
    scores = []
    for layer in given.values():
        columns = layer.problem.columns
        weight, hessian = layer.given.numpy(), layer.moments.numpy()
        ridge = layer.problem.ridge * layer.problem.scale * np.eye(len(hessian))
        own = {
            "magnitude": weight**2,
            "obd": weight**2 * np.diag(hessian) / 2,
            "exact": weight**2 / np.diag(np.linalg.inv(hessian + ridge)) / 2,
        }[solver]
        scores.append(own[:, :columns].ravel())
    lowest = np.argsort(np.concatenate(scores), kind="stable")[:zeros]
    bounds = np.cumsum([0, *(len(score) for score in scores)])
    return {
        unit: int(((lowest >= a) & (lowest < b)).sum()) for unit, a, b in zip(given, bounds, bounds[1:], strict=False)
    }


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("prune_bias", [False, True])
def test_global_is_one_sort_of_one_score(solver: str, prune_bias: bool, network: nn.Module, data: Calibration) -> None:
    given = units(network, data, prune_bias=prune_bias)
    total = 156 + 7 * prune_bias
    for zeros in (0, 1, 40, 100, total - 1, total):
        made = by_score(given, solver, zeros)
        assert sum(made.values()) == zeros
        if solver == "random":
            sizes = {unit: layer.count(1.0) for unit, layer in given.items()}
            assert all(abs(made[unit] - zeros * size / total) < 1.01 for unit, size in sizes.items())
        else:
            formula = {"magnitude": "magnitude", "obd": "obd", "wanda": "obd"}.get(solver, "exact")
            assert made == literal(given, formula, zeros)
    assert found(network, given, "global", 0.5, solver=solver) == by_score(given, solver, total // 2)


def test_scores_do_not_look_at_the_unit_of_the_moments(network: nn.Module, data: Calibration) -> None:
    """Of all layers together: that of one against another matters."""
    given = units(network, data)
    for solver in ("exact", "obd", "magnitude"):
        scaled = {
            unit: Layer(layer.given, 2.0**30 * layer.moments, bias=unit.name != SECOND) for unit, layer in given.items()
        }
        assert by_score(given, solver, 70) == by_score(scaled, solver, 70)
    louder = dict(given)
    louder[D] = Layer(given[D].given, 1e9 * given[D].moments, bias=True)
    assert by_score(louder, "exact", 84)[D] == 3 * int(given[D].problem.dead.sum())
    assert by_score(louder, "magnitude", 84) == by_score(given, "magnitude", 84)


def test_weights_of_dead_inputs_leave_first() -> None:
    hessian = torch.eye(4, dtype=torch.float64)
    hessian[2, 2] = 0
    given = {
        A: Layer(torch.ones(3, 4).double(), torch.eye(4).double()),
        D: Layer(10 * torch.ones(3, 4).double(), hessian),
    }
    for solver in ("exact", "obd", "lobs"):
        assert by_score(given, solver, 3) == {A: 0, D: 3}
        assert by_score(given, solver, 4) == {A: 1, D: 3}
    assert by_score(given, "magnitude", 4) == {A: 4, D: 0}


def test_of_equal_scores_the_first_layer_pays() -> None:
    given = {unit: Layer(torch.ones(2, 3), torch.eye(3)) for unit in (A, D)}
    assert by_score(given, "magnitude", 7) == {A: 6, D: 1}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.66])
def test_layouts_are_theirs_and_groups_share(
    layout: str, sparsity: float, network: nn.Module, data: Calibration
) -> None:
    given, kept = units(network, data), LAYOUTS[layout](network, sparsity)
    made = found(network, given, layout, sparsity)
    assert made[A] == 36 - kept[FIRST]
    assert {unit: made[unit] for unit in (B, C)} == by_score({B: given[B], C: given[C]}, "exact", 48 - kept[SECOND])
    equal = found(network, given, layout, sparsity, solver="random")
    assert equal[B] + equal[C] == 48 - kept[SECOND]
    assert equal[B] - equal[C] in (0, 1)
    assert made[D] == 72 - kept[LAST]
    assert sum(made.values()) == int(156 * sparsity + 1e-9)


def test_layouts_are_rounded_down_to_whole_steps(network: nn.Module, data: Calibration) -> None:
    given = units(network, data, pattern="row")
    made = found(network, given, "uniform", 0.5)
    assert made == {A: 16, B: 12, C: 12, D: 36}


def test_counts_and_shares_may_be_given(network: nn.Module, data: Calibration) -> None:
    given = units(network, data)
    assert found(network, given, {LAST: 70, FIRST: 0.25, SECOND: 7}, solver="random") == {A: 9, B: 4, C: 3, D: 70}
    assert found(network, given, {LAST: 1.0, FIRST: 0, SECOND: 0.5}, solver="random") == {A: 0, B: 12, C: 12, D: 72}
    rows = units(network, data, pattern="row")
    assert found(network, rows, {LAST: 70, FIRST: 0.3, SECOND: 13}) == {A: 12, B: 6, C: 6, D: 69}
    assert found(network, rows, {LAST: 0, FIRST: 0, SECOND: 15}) == {A: 0, B: 9, C: 6, D: 0}
    some = units(network, data, layers=[LAST])
    assert found(network, some, {LAST: 3}) == {D: 3}


def test_a_share_of_numpy_is_a_share(network: nn.Module, data: Calibration) -> None:
    given = units(network, data)
    assert found(network, given, {FIRST: np.float32(0.25), SECOND: np.int64(7), LAST: 70})[A] == 9
    assert found(network, given, {FIRST: 1, SECOND: np.float64(0.5), LAST: 70}, solver="random")[B] == 12


def test_a_share_of_a_layer_is_not_rounded_in_each_of_its_groups() -> None:
    with Rng(0).as_global():
        network = nn.Conv2d(8, 8, 3, groups=8).double()
    batch = Batch(torch.rand(9, 8, 5, 5, dtype=torch.float64, generator=Rng(0).generator()), torch.zeros(9).long())
    given = Calibration(batch, Normalise((0.0,), (1.0,)), torch.device("cpu"))
    pruner = Pruner(allocation={"weight": 0.95}, solver="random")
    mask = pruner(network, given, sparsity=None, rng=Rng(0)).masks["weight"]
    assert (~mask).flatten(1).sum(1).tolist() == [9] * 4 + [8] * 4


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_curves_decide(allocation: str, network: nn.Module, data: Calibration) -> None:
    given = units(network, data)
    straight = {
        unit: Curve(tuple(range(25)), tuple(float(k * slope) for k in range(25))) for slope, unit in enumerate(given)
    }
    made = found(network, given, allocation, 30 / 156, straight)
    assert made == ALLOCATIONS[allocation](seen(allocation, straight), 30)
    dear = {unit: Curve(curve.counts, curve.errors, price=2.0) for unit, curve in straight.items()}
    made = found(network, given, allocation, 0.25, dear)
    assert made == ALLOCATIONS[allocation](seen(allocation, dear), 0.25 * 4 * 48)
    assert 2 * sum(made.values()) >= 48


def seen(allocation: str, curves: Mapping[Unit, Curve]) -> dict[Unit, Curve]:
    """For tolerance each of the two groups of the second layer has twice its error."""
    twice = (B, C) if allocation == "tolerance" else ()
    return {
        unit: replace(curve, errors=tuple((1 + (unit in twice)) * error for error in curve.errors))
        for unit, curve in curves.items()
    }


def test_groups_have_equal_parts_of_a_tolerance(network: nn.Module, data: Calibration) -> None:
    given = units(network, data)
    lines = {unit: Curve((0, layer.count(1.0)), (0.0, float(layer.count(1.0)))) for unit, layer in given.items()}
    wanted = {A: 20, B: 10, C: 10, D: 20}
    assert found(network, given, "tolerance", 60.5 / 156, lines) == wanted
    assert counts(network, given, "tolerance", None, "exact", lambda: lines, most=20.0) == wanted


def test_programme_leaves_a_few_weights_where_they_are_enough(data: Calibration) -> None:
    """At 99.2 %, the first layer would be empty if its curve ended with 99.03 % and all of it."""
    first, second = nn.Linear(64, 100), nn.Linear(100, 3)
    with torch.no_grad():
        for layer in (first, second):
            layer.weight.fill_(1e-3)
            layer.bias.zero_()
        first.weight[:10, :10].fill_diagonal_(1)
        second.weight[0, :10] = 1
    network = nn.Sequential(nn.Flatten(), first, nn.ReLU(), second).double()
    pruner = Pruner(solver="magnitude", refit=False, allocation="programme")
    masks = pruner(network, data, sparsity=0.992, rng=Rng(0)).masks
    assert masks.kept <= 54
    assert min(count.kept for count in masks.by_layer().values()) >= 10


def test_no_curves_are_made_where_none_are_needed(network: nn.Module, data: Calibration) -> None:
    given = units(network, data)
    for allocation in (*LAYOUTS, "global", {FIRST: 1, SECOND: 2, LAST: 3}):
        found(network, given, allocation, 0.5)


def test_a_pattern_may_say_it_all(network: nn.Module, data: Calibration) -> None:
    given = units(network, data, pattern="2:4", layers=[SECOND, LAST])
    for allocation in ("hull", "global", "erk"):
        for sparsity in (None, 0.5):
            assert found(network, given, allocation, sparsity) == {B: 12, C: 12, D: 36}
    with pytest.raises(ValueError, match=r"^pattern 2:4: zeros must be 12 as the pattern says, got 0\.9$"):
        found(network, given, "hull", 0.9)


@pytest.mark.parametrize(
    ("allocation", "sparsity", "line"),
    [
        ("hull", None, "sparsify: needs sparsity, got None"),
        ("erk", 1.5, "sparsity: must be at least 0 and below 1, got 1.5"),
        ("global", -0.1, "sparsity: must be at least 0 and below 1, got -0.1"),
        ("hull", 1.0, "sparsity: must be at least 0 and below 1, got 1"),
    ],
)
def test_bad_numbers_are_one_line(
    allocation: str, sparsity: float | None, line: str, network: nn.Module, data: Calibration
) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(line)}$"):
        found(network, units(network, data), allocation, sparsity)


def test_scores_next_to_the_outputs_do_not_look_at_the_scale_of_a_layer(network: nn.Module, data: Calibration) -> None:
    given = units(network, data)
    louder = dict(given)
    louder[D] = Layer(given[D].given, 2.0**20 * given[D].moments, bias=True)
    energies: dict[str, float] = {}
    for unit, layer in given.items():
        energy = np.trace(layer.given.numpy() @ layer.moments.numpy() @ layer.given.numpy().T) / 2
        energies[unit.name] = energies.get(unit.name, 0.0) + energy
    alike = {
        unit: Layer(layer.given, layer.moments / energies[unit.name], bias=unit.name != SECOND)
        for unit, layer in given.items()
    }
    for solver in ("exact", "obd"):
        made = by_score(given, solver, 70, "relative")
        assert made == by_score(louder, solver, 70, "relative") == literal(alike, solver, 70)
        assert made != by_score(given, solver, 70)
        assert counts(network, given, "global", 70.5 / 156, solver, dict, "relative") == made
    assert by_score(given, "magnitude", 70, "relative") == by_score(given, "magnitude", 70)
