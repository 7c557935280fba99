"""A whole network: exact numbers of zeros under every solver and allocation, and what is given."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from yoco.data.source import Batch, Splits
from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.allocate import BUCKETS
from yoco.sparsify.calibration import Calibration
from yoco.sparsify.counts import counts
from yoco.sparsify.hold import held
from yoco.sparsify.layer import solve
from yoco.sparsify.masks import Masks, prunable
from yoco.sparsify.measure import measure
from yoco.sparsify.network import run
from yoco.sparsify.pruned import Pruned
from yoco.sparsify.pruner import Pruner
from yoco.sparsify.solvers import SOLVERS
from yoco.train import Normalise

FIRST, SECOND, LAST = "0.weight", "2.weight", "5.weight"
EXACT = ("hull", "tolerance", "global", "uniform", "erk")
"""Allocations that meet the number of zeros to one."""


def prune(network: nn.Module, data: Calibration, sparsity: float | None = 0.6, seed: int = 0, **how: Any) -> Pruned:
    return Pruner(**how)(network, data, sparsity=sparsity, rng=Rng(seed))


def zeros(found: Pruned) -> int:
    return found.masks.total - found.masks.kept


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("allocation", [*EXACT, "programme"])
def test_the_number_of_zeros_is_exact(solver: str, allocation: str, data: Calibration) -> None:
    with Rng(1).as_global():
        first, second = nn.Conv2d(1, 2, 3, stride=3), nn.Conv2d(2, 2, 2, groups=2, bias=False)
        network = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(2, 3)).double()
    for sparsity in (0.0, 0.37, 0.999):
        found, wanted = prune(network, data, sparsity, solver=solver, allocation=allocation), int(32 * sparsity)
        assert tuple(found.masks) == prunable(network) == tuple(found.layers)
        if allocation == "programme":
            assert wanted <= zeros(found) <= wanted + 2
        else:
            assert zeros(found) == wanted
        sparse = found.applied(network)
        assert Masks.of(sparse) == found.masks
        assert all(bool(weight.isfinite().all()) for weight in found.weights.values())
        assert found.method == solver
        assert bool(found.curves) == (allocation in ("hull", "tolerance", "programme"))


@pytest.mark.parametrize(
    "name", ["lenet", "convnet:width=4,depth=2", "resnet10:width=4", "densenet:blocks=1-1,growth=4"]
)
@pytest.mark.parametrize("how", [{}, {"sequential": True, "solver": "obd"}])
def test_networks_of_every_kind(name: str, how: dict[str, Any], data: Calibration) -> None:
    network = build(name, (1, 8, 8), 3, Rng(0)).double()
    options = {"allocation": "global", **how}
    found = prune(network, data, 0.7, **({"layers": prunable(network)[-3:]} if not how else {}), **options)
    assert zeros(found) == int(0.7 * found.masks.total + 1e-9)
    assert set(found.masks) == set(prunable(network)[-3:] if not how else prunable(network))
    certificate = found.certify(network, data)
    for layer, report in found.layers.items():
        assert report.predicted == pytest.approx(certificate.layers[layer].measured, rel=1e-10)


def test_only_the_layers_that_are_named(network: nn.Module, data: Calibration) -> None:
    found = prune(network, data, 0.5, layers=[LAST, FIRST])
    assert list(found.masks) == list(found.layers) == [FIRST, LAST]
    assert zeros(found) == 54
    assert set(found.weights) == {FIRST, "0.bias", LAST, "5.bias"}
    assert set(found.curves) == {FIRST, LAST}
    assert torch.equal(found.applied(network)[2].weight, network[2].weight)


def test_counts_and_shares_may_be_given(network: nn.Module, data: Calibration) -> None:
    found = prune(network, data, None, allocation={FIRST: 0.25, SECOND: 11, LAST: 70})
    assert [count.total - count.kept for count in found.masks.by_layer().values()] == [9, 11, 70]
    equal = prune(network, data, None, allocation={FIRST: 0.25, SECOND: 11, LAST: 70}, solver="random")
    assert [int(group.sum()) for group in (~equal.masks[SECOND]).split(3)] == [6, 5]


def test_groups_share_the_tolerance_of_their_layer(network: nn.Module, data: Calibration) -> None:
    how: dict[str, Any] = {"allocation": "tolerance", "weigh": "error", "refit": False, "solver": "magnitude"}
    whole = prune(network, data, 0.9, solver="magnitude", refit=False, allocation="uniform").layers[SECOND].predicted
    found = prune(network, data, None, tolerance=whole / 2, **how)
    assert 0.2 * whole < found.layers[SECOND].predicted <= 1.3 * whole / 2


@pytest.mark.parametrize("weigh", ["error", "bound", "loss", "relative"])
@pytest.mark.parametrize("allocation", ["hull", "tolerance"])
def test_every_way_to_weigh(weigh: str, allocation: str, network: nn.Module, data: Calibration) -> None:
    found = prune(network, data, 0.7, solver="obd", weigh=weigh, allocation=allocation)
    assert zeros(found) == 109
    pruner = Pruner(solver="obd", weigh=weigh)
    curves = pruner.curves(network, data, Rng(0))
    assert found.curves == curves
    units = pruner.units(network, pruner.moments(network, data))
    wanted = counts(network, units, allocation, 0.7, "obd", lambda: {unit: curves[unit.label] for unit in units})
    assert [count.total - count.kept for count in found.masks.by_layer().values()] == [
        sum(count for unit, count in wanted.items() if unit.name == name) for name in (FIRST, SECOND, LAST)
    ]


@pytest.mark.parametrize("prune_bias", [False, True])
def test_shares_of_zeros_are_those_of_the_curves(prune_bias: bool, network: nn.Module, data: Calibration) -> None:
    found = prune(network, data, 0.7, solver="obd", prune_bias=prune_bias)
    pruner = Pruner(solver="obd", prune_bias=prune_bias)
    units = pruner.units(network, pruner.moments(network, data))
    wanted = counts(network, units, "hull", 0.7, "obd", lambda: {unit: found.curves[unit.label] for unit in units})
    shares = {unit.label: count / units[unit].count(1.0) for unit, count in wanted.items()}
    assert found.shares == pytest.approx(shares)


def one_step_less(found: Pruned, wanted: float) -> float:
    """What programme may save too much: less than the smallest last step of a layer, and a bucket for each layer."""
    steps = []
    for layer, count in found.masks.by_layer().items():
        curve = found.curves[layer]
        at = curve.counts.index(count.total - count.kept)
        steps += [curve.price * (curve.counts[at] - curve.counts[at - 1])] if at else []
    return min(steps) + len(found.curves) * max(wanted / BUCKETS, 1.0)


@pytest.mark.parametrize("name", ["lenet", "convnet:width=4,depth=2"])
@pytest.mark.parametrize("allocation", ["hull", "programme", "tolerance"])
@pytest.mark.parametrize("sparsity", [0.6])
def test_flops_are_saved_as_asked(name: str, allocation: str, sparsity: float, data: Calibration) -> None:
    network = build(name, (1, 8, 8), 3, Rng(0)).double()
    found = prune(network, data, sparsity, solver="obd", cost="flops", allocation=allocation)
    total = measure(network, (1, 8, 8), found.masks).total
    wanted = sparsity * total.dense_flops
    most = one_step_less(found, wanted) if allocation == "programme" else {"hull": 64, "tolerance": 3 * 64}[allocation]
    assert 0 <= total.dense_flops - total.flops - wanted + 1e-9 < most
    assert measure(found.applied(network), (1, 8, 8)).total == total


def test_the_network_is_as_it_was(network: nn.Module, data: Calibration) -> None:
    given = build("convnet:width=4,depth=2,norm=batch", (1, 8, 8), 3, Rng(0)).double().train()
    before = {name: value.clone() for name, value in given.state_dict().items()}
    state = torch.random.get_rng_state()
    prune(given, data, 0.5, solver="obd", weigh="loss", sequential=True)
    assert given.training
    assert all(torch.equal(value, before[name]) for name, value in given.state_dict().items())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in given.modules())
    assert not any(name.endswith("_mask") for name, _ in given.named_buffers())
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("solver", ["exact", "random"])
def test_the_same_seed_gives_the_same_bits(solver: str, network: nn.Module, data: Calibration) -> None:
    one, two, other = (prune(network, data, solver=solver, seed=seed) for seed in (1, 1, 2))
    assert one.masks == two.masks
    assert all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)
    assert (one.masks == other.masks) == (solver == "exact")


def test_chance_is_another_in_each_group() -> None:
    with Rng(0).as_global():
        network = nn.Conv2d(4, 8, 3, groups=4).double()
    batch = Batch(torch.rand(9, 4, 5, 5, dtype=torch.float64, generator=Rng(0).generator()), torch.zeros(9).long())
    given = Calibration(batch, Normalise((0.0,), (1.0,)), torch.device("cpu"))
    mask = prune(network, given, 0.5, solver="random", allocation="uniform").masks["weight"]
    assert len({tuple(group.flatten().tolist()) for group in mask.split(2)}) == 4


@pytest.mark.parametrize("solver", ["lobs", "exact", "wanda"])
@pytest.mark.parametrize("refit", [False, True])
def test_one_layer_is_what_solve_answers(solver: str, refit: bool, data: Calibration) -> None:
    network = build("mlp:width=8", (1, 8, 8), 3, Rng(0)).double()
    found = prune(network, data, 0.7, solver=solver, refit=refit, layers=["head.weight"])
    x = torch.cat(list(data))
    caught: list[Tensor] = []
    handle = network.head.register_forward_pre_hook(lambda _, given: caught.append(given[0].detach()))
    run(network, x)
    handle.remove()
    rows = torch.cat([caught[0], torch.ones(len(x), 1)], 1)
    weight = torch.cat([network.head.weight, network.head.bias[:, None]], 1).detach()
    wanted = solve(weight, rows.T @ rows / len(x), zeros=int(24 * 0.7), solver=solver, bias=True, refit=refit)
    assert torch.equal(found.masks["head.weight"], wanted.mask[:, :-1])
    torch.testing.assert_close(found.weights["head.weight"], wanted.weight[:, :-1], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.weights["head.bias"], wanted.weight[:, -1], rtol=1e-9, atol=1e-12)
    report = found.layers["head.weight"]
    assert report.predicted == pytest.approx(wanted.error, rel=1e-8)
    assert (report.ridge, report.dead) == (wanted.ridge, int(wanted.dead.sum()))


def test_biases_are_refitted_and_kept(network: nn.Module, data: Calibration) -> None:
    refit, none = (prune(network, data, 0.5, solver="obd", refit=refit) for refit in (True, False))
    for name in ("0.bias", "5.bias"):
        assert not torch.equal(refit.weights[name], network.get_parameter(name))
        assert torch.equal(none.weights[name], network.get_parameter(name))
    assert set(refit.masks) == set(prunable(network))


@pytest.mark.parametrize("allocation", ["global", "hull"])
def test_pruned_biases_have_masks_and_stay_zero_whoever_trains(
    allocation: str, network: nn.Module, data: Calibration
) -> None:
    found = prune(network, data, 0.6, solver="magnitude", allocation=allocation, prune_bias=True)
    assert list(found.masks) == [FIRST, "0.bias", SECOND, LAST, "5.bias"]
    assert (found.masks.total, zeros(found)) == (163, int(163 * 0.6))
    assert repr(found.masks).startswith("Masks(66 of 163 weights kept in 3 layers")
    sparse = found.applied(network)
    assert held(sparse) == found.masks
    optimizer = torch.optim.Adam(sparse.train().parameters(), 0.05, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        cross_entropy(sparse(torch.cat(list(data))), data.batch.labels).backward()
        optimizer.step()
    gone = 0
    for name, mask in found.masks.items():
        assert not found.weights[name][~mask].any()
        assert not sparse.get_parameter(name)[~mask].any()
        gone += int((~mask).sum()) if name.endswith("bias") else 0
    assert gone > 0
    assert not torch.equal(sparse.get_parameter(LAST), found.weights[LAST])


def test_scaled_inputs_change_no_mask(network: nn.Module, data: Calibration) -> None:
    """Of a network that answers in proportion to its inputs."""
    with Rng(0).as_global():
        bare = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3, bias=False)
        ).double()
    for how in ({}, {"allocation": "erk", "solver": "column"}, {"allocation": "global", "sequential": True}):
        wanted = prune(bare, data, 0.6, **how).masks
        for scale in (2.0**-30, 2.0**20):
            scaled = Calibration(Batch(scale * torch.cat(list(data)), data.batch.labels), nothing(), data.device)
            assert prune(bare, scaled, 0.6, **how).masks == wanted


def nothing() -> Normalise:
    return Normalise((0.0,), (1.0,))


def test_dead_inputs_are_reported(tiny: Splits) -> None:
    images = torch.rand(30, 1, 8, 8, generator=Rng(0).generator()).double()
    images[:, :, 0], images[:, :, :, 7] = 0, 0
    given = Calibration(Batch(images, torch.zeros(30).long()), nothing(), torch.device("cpu"))
    network = build("mlp:width=8", (1, 8, 8), 3, Rng(0)).double()
    found = prune(
        network, given, None, allocation={"stages.0.1.weight": 8 * 15, "stages.1.0.weight": 0, "head.weight": 0}
    )
    dead = (images == 0).all(0).flatten()
    assert found.layers["stages.0.1.weight"].dead == int(dead.sum()) == 15
    assert not found.masks["stages.0.1.weight"][:, dead].any()
    assert found.layers["stages.0.1.weight"].predicted == pytest.approx(0, abs=1e-12)
    assert found.layers["head.weight"].ridge == 1e-6


def test_options_reach_the_solver(network: nn.Module, data: Calibration) -> None:
    plain, swapped = (prune(network, data, 0.8, allocation="uniform", options=o) for o in ({}, {"swaps": 20}))
    for name, report in swapped.layers.items():
        assert report.predicted <= plain.layers[name].predicted * (1 + 1e-9)
    assert swapped.masks != plain.masks


def test_float32_networks_get_float32_weights(tiny: Splits) -> None:
    network = build("lenet", (1, 8, 8), 3, Rng(0))
    given = Calibration(tiny.train.batch(torch.arange(50)), nothing(), torch.device("cpu"))
    found = prune(network, given, 0.6, solver="obd", sequential=True)
    assert all(weight.dtype == torch.float32 for weight in found.weights.values())
    assert all(weight.is_contiguous() for weight in found.weights.values())
    certificate = found.certify(network, given)
    for name, report in found.layers.items():
        assert report.predicted == pytest.approx(certificate.layers[name].measured, rel=1e-3)
