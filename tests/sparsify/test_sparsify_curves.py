"""What zeros cost, each way of weighing them against its own definition."""

from copy import deepcopy
from dataclasses import replace
from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from yoco.data.source import Batch, Splits
from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.allocate import Curve
from yoco.sparsify.calibration import Calibration
from yoco.sparsify.certificate import certify, factors
from yoco.sparsify.curves import SHARES, WEIGHINGS, Solving, Unit, levels, loss, put
from yoco.sparsify.hold import install
from yoco.sparsify.layer import Layer
from yoco.sparsify.masks import Masks
from yoco.sparsify.network import layers, matrix, run
from yoco.sparsify.pruner import Pruner
from yoco.train import Normalise


@pytest.fixture(scope="module")
def data(tiny: Splits) -> Calibration:
    batch = tiny.train.batch(torch.arange(0, 120, 3))
    doubled = Batch(batch.images.double(), batch.labels)
    return Calibration(doubled, Normalise(tiny.train.mean, tiny.train.std), torch.device("cpu"))


FIRST, SECOND, LAST = "0.weight", "2.weight", "5.weight"


def curves(network: nn.Module, data: Calibration, solver: str = "obd", **options: Any) -> dict[str, Curve]:
    return Pruner(solver=solver, **options).curves(network, data, Rng(0))


def test_there_is_a_curve_for_each_group_of_a_layer(network: nn.Module, data: Calibration) -> None:
    found = curves(network, data)
    assert list(found) == [FIRST, SECOND, f"{SECOND} 1", LAST]
    assert [curve.counts[-1] for curve in found.values()] == [36, 24, 24, 72]
    assert all(curve.errors[0] == 0 and curve.price == curve.step == 1 for curve in found.values())
    assert (Unit("a", 0).label, Unit("a", 2).label) == ("a", "a 2")


def test_levels_come_closer_and_closer_to_everything() -> None:
    assert len(SHARES) == 45
    assert SHARES[0] == 0
    assert SHARES[-1] == pytest.approx(0.9903, abs=1e-4)
    layer = Layer(torch.ones(10, 100), torch.eye(100))
    wanted = {int(1000 * (1 - 0.9**k) + 0.5) for k in range(45)} | {1000}
    assert levels(layer) == sorted(wanted)
    assert levels(Layer(torch.ones(10, 100), torch.eye(100), pattern="row"))[1:3] == [100, 190]
    assert all(level % 4 == 0 for level in levels(Layer(torch.ones(1, 8), torch.eye(8), pattern="block:4")))
    assert levels(Layer(torch.ones(1, 3), torch.eye(3), bias=True)) == [0, 1, 2]


def test_levels_may_go_on_to_the_last_weight() -> None:
    layer = Layer(torch.ones(10, 100), torch.eye(100))
    wanted = {int(1000 * (1 - 0.9**k) + 0.5) for k in range(66)} | {1000}
    assert levels(layer, far=True) == sorted(wanted)
    assert levels(layer, far=True)[-2:] == [999, 1000]
    assert levels(layer)[-2:] == [990, 1000]
    assert levels(Layer(torch.ones(10, 100), torch.eye(100), pattern="row"), far=True)[-2:] == [990, 1000]
    assert levels(Layer(torch.ones(1, 3), torch.eye(3), bias=True), far=True) == [0, 1, 2]


@pytest.mark.parametrize(
    ("allocation", "sparsity", "far"), [("programme", 0.95, True), ("programme", 0.9, False), ("hull", 0.95, False)]
)
def test_programme_sees_them_where_little_is_kept(
    allocation: str, sparsity: float, far: bool, data: Calibration
) -> None:
    with Rng(0).as_global():
        plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).double()
    pruner = Pruner(solver="magnitude", allocation=allocation)
    layer = pruner.units(plain, pruner.moments(plain, data))[Unit("1.weight", 0)]
    found = pruner(plain, data, sparsity=sparsity, rng=Rng(0)).curves["1.weight"]
    assert found.counts == tuple(levels(layer, far))
    assert (191 in found.counts) == far


def outputs_of(network: nn.Module, data: Calibration) -> dict[str, Tensor]:
    """What each layer answers in the dense network."""
    caught: dict[str, Tensor] = {}
    copied = deepcopy(network)
    for name, layer in layers(copied).items():
        layer.register_forward_hook(lambda _, __, output, key=name: caught.update({key: output.detach()}))
    run(copied, torch.cat(list(data)))
    return caught


def changed(network: nn.Module, name: str, unit: Layer, group: int, count: int, solver: str) -> nn.Module:
    """A copy of which this layer alone is sparse."""
    copied = deepcopy(network)
    place = layers(copied)[name]
    rows = matrix(place).clone()
    rows[group] = unit.solve(count, solver).weight
    put(place, rows)
    return copied


def test_error_is_that_of_the_outputs_of_the_layer(network: nn.Module, data: Calibration) -> None:
    pruner = Pruner(solver="obd", weigh="error")
    units, found = pruner.units(network, pruner.moments(network, data)), pruner.curves(network, data, Rng(0))
    energy, relative = outputs_of(network, data), curves(network, data, weigh="relative")
    for unit, layer in units.items():
        curve = found[unit.label]
        channels = energy[unit.name].transpose(0, 1).flatten(1).square().mean(1)
        for count, error, share in zip(curve.counts, curve.errors, relative[unit.label].errors, strict=True):
            if count % 5 == 0:
                after = changed(network, unit.name, layer, unit.group, count, "obd")
                measured = certify(network, after, data).layers[unit.name].measured
                assert error == pytest.approx(measured, rel=1e-9)
            assert share == pytest.approx(error / (float(channels.sum()) / 2), rel=1e-9)


def test_all_of_a_layer_without_bias_is_all_of_its_energy(network: nn.Module, data: Calibration) -> None:
    found = curves(network, data)
    assert found[SECOND].errors[-1] + found[f"{SECOND} 1"].errors[-1] == pytest.approx(1, rel=1e-12)


def test_bound_is_the_term_of_the_theorem(network: nn.Module, data: Calibration) -> None:
    error, bound = (curves(network, data, weigh=weigh) for weigh in ("error", "bound"))
    known, share = factors(network, "spectral"), {FIRST: 9, SECOND: 4 / 2, LAST: 1}
    for label, curve in bound.items():
        name = label.split()[0]
        wanted = [known[name] * sqrt(2 * e * share[name]) for e in error[label].errors]
        assert list(curve.errors) == pytest.approx(wanted, rel=1e-12)
    pruner = Pruner(solver="obd")
    units = pruner.units(network, pruner.moments(network, data))
    after = changed(network, LAST, units[Unit(LAST, 0)], 0, bound[LAST].counts[9], "obd")
    assert bound[LAST].errors[9] == pytest.approx(certify(network, after, data).bound("spectral"), rel=1e-9)


def test_loss_is_its_rise_when_a_layer_alone_is_sparse(network: nn.Module, data: Calibration) -> None:
    pruner, before = Pruner(solver="obd", weigh="loss"), [p.clone() for p in network.parameters()]
    units, found = pruner.units(network, pruner.moments(network, data)), pruner.curves(network, data, Rng(0))
    images, labels = torch.cat(list(data)), data.batch.labels
    dense = float(cross_entropy(run(network, images).detach(), labels))
    assert loss(network, data) == pytest.approx(dense, rel=1e-12)
    rises = 0
    for unit, layer in units.items():
        curve = found[unit.label]
        for count, rise in list(zip(curve.counts, curve.errors, strict=True))[::4]:
            after = changed(network, unit.name, layer, unit.group, count, "obd")
            literal = float(cross_entropy(run(after, images).detach(), labels)) - dense
            assert rise == pytest.approx(max(literal, 0), rel=1e-9, abs=1e-14)
            rises += rise > 0
    assert rises > 5
    assert all(torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True))


def test_loss_counts_every_class_of_a_soft_label(network: nn.Module, data: Calibration) -> None:
    soft = torch.rand(len(data), 3, generator=Rng(1).generator(), dtype=torch.float64).softmax(1)
    shares = run(network, torch.cat(list(data))).detach().log_softmax(1)
    found = loss(network, replace(data, batch=Batch(data.batch.images, soft)))
    assert found == pytest.approx(-float((soft * shares).sum(1).mean()), rel=1e-12)


def test_loss_of_batches_is_the_mean_over_images(network: nn.Module, data: Calibration) -> None:
    many = Calibration(Batch(*(part.repeat(8, *[1] * (part.dim() - 1)) for part in data.batch)), *without(data))
    assert [len(batch) for batch in many] == [250, 70]
    assert loss(network, many) == pytest.approx(loss(network, data), rel=1e-12)


def without(data: Calibration) -> tuple[Normalise, torch.device]:
    return data.normalise, data.device


def test_zeros_that_are_held_do_not_hide_in_the_loss(data: Calibration) -> None:
    """Weights that a layer gets on trial are not those that the network may have."""
    plain = build("mlp:width=6", (1, 8, 8), 3, Rng(0)).double()
    masks = Masks({"head.weight": torch.rand(3, 6, generator=Rng(1).generator()) < 0.5})
    with torch.no_grad():
        plain.head.weight.mul_(masks["head.weight"])
    both = [curves(net, data, "random", weigh="loss") for net in (plain, install(deepcopy(plain), masks))]
    assert both[0] == both[1]


def test_exact_curves_are_hardly_above_what_is_then_measured(network: nn.Module, data: Calibration) -> None:
    units = Pruner().units(network, Pruner().moments(network, data))
    plain = curves(network, data, "exact", weigh="error")
    for unit, layer in units.items():
        for count, error in zip(plain[unit.label].counts, plain[unit.label].errors, strict=True):
            measured = layer.solve(count, second=False).error
            assert layer.solve(count).error <= measured <= error * (1 + 1e-9) + 1e-15
            assert error <= 1.01 * measured + 1e-6 * plain[unit.label].errors[-1]


@pytest.mark.parametrize("weigh", WEIGHINGS)
def test_flops_are_worth_the_positions(weigh: str, network: nn.Module, data: Calibration) -> None:
    flops, weights = (curves(network, data, weigh=weigh, cost=cost) for cost in ("flops", "weights"))
    assert [curve.price for curve in flops.values()] == [9, 4, 4, 1]
    for label, curve in flops.items():
        assert curve.worth == curve.price * curve.counts[-1]
        assert (curve.counts, curve.errors) == (weights[label].counts, weights[label].errors)


def test_steps_are_those_of_the_pattern(network: nn.Module, data: Calibration) -> None:
    found = curves(network, data, pattern="row")
    assert [curve.step for curve in found.values()] == [4, 3, 3, 3]
    found = curves(network, data, pattern="block:8", layers=[LAST, SECOND])
    assert [curve.step for curve in found.values()] == [8, 8, 8]


def test_each_unit_has_a_stream_and_the_options() -> None:
    how = Solving("random", False, Rng(0), {"swaps": 3})
    one, two = how.of(Unit("a", 0)), how.of(Unit("a", 1))
    assert (one["refit"], one["swaps"]) == (False, 3)
    assert one["rng"] != two["rng"]
    assert one["rng"] == how.of(Unit("a", 0))["rng"]


def test_unknown_words_are_one_line(network: nn.Module, data: Calibration) -> None:
    with pytest.raises(
        ValueError, match=r"^weigh: unknown name 'los'; did you mean 'loss'\? known: bound, error, loss,"
    ):
        curves(network, data, weigh="los")
    with pytest.raises(ValueError, match=r"^cost: unknown name 'flop'; did you mean 'flops'\? known: flops, weights$"):
        curves(network, data, cost="flop")


@pytest.mark.parametrize("name", ["convnet:width=4,depth=2", "resnet10:width=4"])
def test_there_is_a_bound_for_chains_alone(name: str, data: Calibration) -> None:
    line = r"^weigh bound: needs a chain of layers, ReLU, pooling and batch norm, got another network$"
    with pytest.raises(ValueError, match=line):
        curves(build(name, (1, 8, 8), 3, Rng(0)).double(), data, weigh="bound")
