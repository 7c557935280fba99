"""`yoco.sparsify(...)`: a network and images, or a condensed set alone, to masks and weights; errors in one line."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import yoco
from yoco.condensed import CondensedSet
from yoco.data.source import Source, Splits
from yoco.networks import build
from yoco.registry import resolve
from yoco.rng import Rng
from yoco.sparsify import METHODS, SOLVERS, Masks, Pruner, held, install, measure, remove
from yoco.sparsify.calibration import calibration
from yoco.sparsify.masks import budget, prunable
from yoco.train import Normalise

NAME = "convnet:width=4,depth=2,norm=batch"
FEWER = {"synflow": {"iterations": 5}, "iterative_snip": {"iterations": 3}, "dpai": {"steps": 5}}


@pytest.fixture
def network() -> nn.Module:
    return build(NAME, (1, 8, 8), 3, Rng(0))


@pytest.fixture(params=["source", "set"])
def data(request: pytest.FixtureRequest, tiny: Splits, tiny_set: CondensedSet) -> Source | CondensedSet:
    return tiny.train if request.param == "source" else tiny_set


def state(network: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in network.state_dict().values()]


def on_a_source(names: Iterable[str], *also_on_a_set: str) -> list[tuple[str, str]]:
    """Each name with the source, and these with the set alone as well."""
    return [*((name, "source") for name in names), *((name, "set") for name in also_on_a_set)]


@pytest.mark.parametrize(("solver", "data"), on_a_source(SOLVERS, "exact", "wanda"), indirect=["data"])
def test_every_solver_on_a_source_and_two_on_a_set_alone(
    solver: str, network: nn.Module, data: Source | CondensedSet
) -> None:
    before = state(network.train())
    found = yoco.sparsify(network, data, sparsity=0.6, solver=solver, allocation="global")
    assert all(torch.equal(*pair) for pair in zip(before, state(network), strict=True))
    assert network.training
    assert held(network) is None
    assert found.masks.kept == budget(found.masks.total, 0.6)
    assert tuple(found.masks) == prunable(network) == tuple(found.layers)
    assert found.method == solver
    assert measure(found.applied(network), (1, 8, 8)).total.kept == found.masks.kept
    again = yoco.sparsify(network, data, sparsity=0.6, solver=solver, allocation="global")
    assert again.masks == found.masks
    assert all(torch.equal(again.weights[name], weight) for name, weight in found.weights.items())


@pytest.mark.parametrize(("method", "data"), on_a_source(METHODS, "snip", "grasp"), indirect=["data"])
def test_every_method_on_a_source_and_two_on_a_set_alone(
    method: str, network: nn.Module, data: Source | CondensedSet
) -> None:
    before, options = state(network.train()), FEWER.get(method, {})
    found = yoco.sparsify(network, data, sparsity=0.6, at_init=method, images=30, **options)
    assert all(torch.equal(*pair) for pair in zip(before, state(network), strict=True))
    assert network.training
    assert found.masks.kept == budget(found.masks.total, 0.6)
    assert (found.weights, found.layers, found.curves, found.method) == ({}, {}, {}, method)
    rng = Rng(0).child("sparsify")
    drawn = calibration(network, data, rng.child("images"), 30)
    call = resolve("method", METHODS, method)
    wanted = call(network, sparsity=0.6, rng=rng, data=drawn.batch, normalise=drawn.normalise, **options)
    assert found.masks == wanted
    sparse = found.applied(network)
    assert all(torch.equal(sparse.get_parameter(n), network.get_parameter(n) * m) for n, m in found.masks.items())


def test_it_is_the_pruner_on_images_of_the_seed(network: nn.Module, tiny: Splits) -> None:
    how = {"allocation": "tolerance", "weigh": "error", "layers": prunable(network)[1:], "refit": False}
    found = yoco.sparsify(network, tiny.train, sparsity=0.5, solver="lobs", images=50, seed=3, **how)
    rng = Rng(3).child("sparsify")
    drawn = calibration(network, tiny.train, rng.child("images"), 50)
    wanted = Pruner(solver="lobs", **how)(network, drawn, sparsity=0.5, rng=rng)
    assert found.masks == wanted.masks
    assert found.layers == wanted.layers
    assert found.curves == wanted.curves
    other = yoco.sparsify(network, tiny.train, sparsity=0.5, solver="lobs", images=50, seed=4, **how)
    assert other.layers != found.layers


def test_options_go_to_the_pruner_and_to_the_solver(network: nn.Module, tiny: Splits) -> None:
    found = yoco.sparsify(network, tiny.train, sparsity=0.5, solver="rounds", allocation="uniform", count=1)
    plain = yoco.sparsify(network, tiny.train, sparsity=0.5, solver="rounds", allocation="uniform", count=7)
    assert found.masks != plain.masks
    how = {"solver": "rounds", "allocation": "uniform", "options": {"count": 1}}
    assert yoco.sparsify(network, tiny.train, sparsity=0.5, **how).masks == found.masks
    assert Pruner.of({"options": {"swaps": 20}, "second": False}).options == {"swaps": 20, "second": False}


def test_fewer_images_are_the_default_at_initialisation(
    network: nn.Module, tiny: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def note(given: nn.Module, data: Source, rng: Rng, images: int, normalise: Normalise | None) -> Any:
        asked.append(images)
        return calibration(given, data, rng, images, normalise)

    monkeypatch.setattr(yoco.sparsify, "calibration", note)
    yoco.sparsify(network, tiny.train, sparsity=0.5, solver="random", allocation="uniform")
    yoco.sparsify(network, tiny.train, sparsity=0.5, at_init="magnitude")
    yoco.sparsify(network, tiny.train, sparsity=0.5, at_init="magnitude", images=9)
    assert asked == [2048, 128, 9]


def test_images_may_be_normalised_in_another_way(network: nn.Module, tiny: Splits) -> None:
    how = {"sparsity": 0.5, "solver": "obd", "allocation": "uniform"}
    given = replace(tiny.train, mean=(0.1,), std=(3.0,))
    one, two = yoco.sparsify(network, given, **how), yoco.sparsify(network, tiny.train, **how)
    other = yoco.sparsify(network, tiny.train, normalise=Normalise((0.1,), (3.0,)), **how)
    assert one.layers == other.layers != two.layers


def test_a_pattern_needs_no_sparsity(network: nn.Module, tiny: Splits) -> None:
    found = yoco.sparsify(network, tiny.train, pattern="2:4", layers=prunable(network)[1:])
    assert found.masks.sparsity == 0.5


def test_a_mapping_needs_no_sparsity(network: nn.Module, tiny: Splits) -> None:
    found = yoco.sparsify(network, tiny.train, allocation=dict.fromkeys(prunable(network), 0.25), solver="wanda")
    assert found.masks.sparsity == 0.25


@pytest.mark.parametrize("weigh", ["relative", "error"])
def test_a_tolerance_needs_no_sparsity(weigh: str, network: nn.Module, tiny: Splits) -> None:
    before = 0
    for most in (0.0, 1e-4, 1e-2, 0.3):
        how = {"allocation": "tolerance", "tolerance": most, "weigh": weigh, "ridge": 1e-9}
        found = yoco.sparsify(network, tiny.train, **how)
        zeros = found.masks.total - found.masks.kept
        assert zeros >= before
        before = zeros
        for name, report in found.layers.items():
            counts, errors = found.curves[name].counts, found.curves[name].errors
            gone = int((~found.masks[name]).sum())
            assert np.interp(gone, counts, errors) <= most * (1 + 1e-9)
            assert gone == counts[-1] or np.interp(gone + 1, counts, errors) > most
            if weigh == "error":
                assert report.predicted <= most * 1.3 + 1e-12  # straight lines between the levels of a curve
    assert 0 < before < found.masks.total


def test_the_words_of_the_package(network: nn.Module, tiny: Splits) -> None:
    found = yoco.sparsify(network, tiny.train, sparsity=0.5, solver="magnitude", allocation="global")
    assert install(network, found.masks, found.weights) is network
    assert held(network) == found.masks == Masks.of(network)
    assert held(remove(network)) is None
    assert all(hasattr(yoco.sparsify, name) for name in yoco.sparsify.__all__)
    assert yoco.sparsify.sparsify is not yoco.sparsify


FIRST, SECOND, HEAD = "stages.0.0.weight", "stages.1.0.weight", "head.weight"
FREE: tuple[tuple[dict[str, Any], str], ...] = (
    *(({"allocation": name}, f"allocation {name}") for name in ("global", "uniform", "uniform_plus", "erk")),
    ({"allocation": {FIRST: 0.5}, "sparsity": None}, "zeros of each layer"),
    ({"allocation": "tolerance", "tolerance": 0.1, "sparsity": None}, "tolerance 0.1"),
    ({"pattern": "2:4", "sparsity": None}, "pattern 2:4"),
)
"""What no cost decides on, and how it is called."""
WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"sparsity": 1.5}, "sparsity: must be at least 0 and below 1, got 1.5"),
    ({"sparsity": -0.5}, "sparsity: must be at least 0 and below 1, got -0.5"),
    ({"sparsity": 1.5, "at_init": "magnitude"}, "sparsity: must be at least 0 and below 1, got 1.5"),
    ({"sparsity": None}, "sparsify: needs sparsity, got None"),
    ({"sparsity": None, "at_init": "snip"}, "sparsify: needs sparsity, got None"),
    (
        {"layers": ["stages.2.0.weight"]},
        f"layer: unknown name 'stages.2.0.weight'; did you mean '{SECOND}'? known: {HEAD}, {FIRST}, {SECOND}",
    ),
    (
        {"solver": "exakt"},
        f"solver: unknown name 'exakt'; did you mean 'exact'? known: {', '.join(sorted(SOLVERS))}",
    ),
    ({"solver": "none:at_all"}, "solver: 'none:at_all' cannot be imported (No module named 'none')"),
    (
        {"at_init": "snap"},
        f"method: unknown name 'snap'; did you mean 'snip'? known: {', '.join(sorted(METHODS))}",
    ),
    (
        {"allocation": "hulls"},
        "allocation: unknown name 'hulls'; did you mean 'hull'? "
        "known: erk, global, hull, programme, tolerance, uniform, uniform_plus",
    ),
    ({"weigh": "size"}, "weigh: unknown name 'size'; known: bound, error, loss, relative"),
    ({"cost": "weight"}, "cost: unknown name 'weight'; did you mean 'weights'? known: flops, weights"),
    ({"swap": 1}, "solver exact: has options memory, second, swaps, got 'swap'"),
    ({"solver": "obd", "swaps": 1, "allocation": "uniform"}, "solver obd: has options none, got 'swaps'"),
    (
        {"at_init": "synflow", "iteration": 3},
        "option of synflow: unknown name 'iteration'; did you mean 'iterations'? known: iterations, shape",
    ),
    ({"at_init": "snip", "solver": "lobs"}, "sparsify: solver is for trained networks, got it together with at_init"),
    ({"at_init": "random", "allocation": "erk"}, "option of random: unknown name 'allocation'; known: layout"),
    ({"pattern": "2;4"}, "pattern: must be unstructured, row, N:M (N kept of M) or block:C, got '2;4'"),
    ({"pattern": "2:4"}, "pattern 2:4: inputs must be a multiple of 4, got 9 of stages.0.0.weight"),
    ({"pattern": "block:5"}, "pattern block:5: inputs must be a multiple of 5, got 9 of stages.0.0.weight"),
    (
        {"pattern": "2:4", "layers": [HEAD], "sparsity": 0.9},
        "sparsify: pattern 2:4 fixes the number of zeros, got sparsity 0.9",
    ),
    ({"allocation": "global", "pattern": "row"}, "allocation global: prunes only single weights, got pattern row"),
    ({"allocation": "erk", "layers": [HEAD]}, "sparsify: allocation erk needs all layers, got only some"),
    (
        {"allocation": {FIRST: 0.5, SECOND: 3}, "sparsity": None},
        f"sparsify: allocation must name all layers that are pruned, got none for '{HEAD}'",
    ),
    (
        {"allocation": {FIRST: 0.5, SECOND: 3}, "images": 0},
        "sparsify: needs either sparsity or an allocation of zeros by layer, got 0.5 and 2 layers",
    ),
    *(
        (
            {"cost": "flops", "images": 0, **how},
            f"sparsify: cost flops needs sparsity and allocation hull or programme or tolerance, got {got}",
        )
        for how, got in FREE
    ),
    ({"pattern": "block:4", "swaps": 20, "images": 0}, "swaps: can only exchange single weights, got pattern block:4"),
    ({"images": 0}, "sparsify: images must be at least 1, got 0"),
    (
        {"allocation": "tolerance", "tolerance": 0.1},
        "sparsify: needs either sparsity or tolerance, got 0.5 and 0.1",
    ),
    (
        {"tolerance": 0.1},
        "sparsify: tolerance must be at least 0 and needs allocation tolerance, got 0.1 and allocation hull",
    ),
    (
        {"allocation": "tolerance", "tolerance": -1.0},
        "sparsify: tolerance must be at least 0 and needs allocation tolerance, got -1 and allocation tolerance",
    ),
    ({"ridge": 2.0}, "sparsify: ridge must be in 0..1, got 2"),
)


@pytest.mark.parametrize(("how", "line"), WRONG, ids=lambda case: str(case)[:60])
def test_what_cannot_be_is_one_line(how: dict[str, Any], line: str, network: nn.Module, tiny: Splits) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(line)}$"):
        yoco.sparsify(network, tiny.train, **{"sparsity": 0.5, **how})


def test_a_network_must_have_layers(tiny: Splits) -> None:
    line = "prunable: the network must have Linear or Conv2d layers, got Sequential"
    for how in ({}, {"at_init": "snip"}):
        with pytest.raises(ValueError, match=rf"^{line}$"):
            yoco.sparsify(nn.Sequential(nn.Flatten(), nn.ReLU()), tiny.train, sparsity=0.5, **how)


@pytest.mark.parametrize("at_init", [None, "snip"])
@pytest.mark.parametrize(
    ("shape", "line"),
    [
        (
            (1, 16, 16),
            "sparsify: images must fit the network, got [1, 8, 8]: "
            "mat1 and mat2 shapes cannot be multiplied (1x16 and 64x3)",
        ),
        (
            (3, 8, 8),
            "sparsify: images must fit the network, got [1, 8, 8]: Given groups=1, weight of size [4, 3, 3, 3], "
            "expected input[1, 1, 8, 8] to have 3 channels, but got 1 channels instead",
        ),
    ],
)
def test_images_must_fit(
    at_init: str | None, shape: tuple[int, int, int], line: str, data: Source | CondensedSet
) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(line)}$"):
        yoco.sparsify(build(NAME, shape, 3, Rng(0)), data, sparsity=0.5, at_init=at_init)
