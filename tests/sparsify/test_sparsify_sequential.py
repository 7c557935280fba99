"""Sequential pruning: each layer mends what those before it have changed."""

from copy import deepcopy
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.calibration import Calibration
from yoco.sparsify.hessian import moments, moments_after
from yoco.sparsify.hold import held as held_masks
from yoco.sparsify.hold import install
from yoco.sparsify.network import layers, matrix, patches, run
from yoco.sparsify.pruned import Pruned
from yoco.sparsify.pruner import Pruner

FIRST, SECOND, LAST = "0.weight", "2.weight", "5.weight"


def prune(network: nn.Module, data: Calibration, sparsity: float | None = 0.6, seed: int = 0, **how: Any) -> Pruned:
    return Pruner(**how)(network, data, sparsity=sparsity, rng=Rng(seed))


def literal_target(dense: nn.Module, sparse: nn.Module, name: str, after: nn.Module, x: Tensor) -> float:
    """0.5 mean |W^ y - W x|^2: y enters the layer in `sparse`, x in `dense`, and W^ is that of `after`."""
    entered = []
    for network in (dense, sparse):
        caught: list[Tensor] = []
        layer = layers(network)[name]
        handle = layer.register_forward_pre_hook(lambda _, given, to=caught: to.append(given[0].detach()))
        run(network, x)
        handle.remove()
        entered.append(patches(layer, caught[0]))
    before, new = matrix(layers(dense)[name]), matrix(layers(after)[name])
    gap = entered[1] @ new.mT - entered[0] @ before.mT
    return float(gap.square().sum()) / gap.shape[1] / 2


@pytest.mark.parametrize(
    ("solver", "name"),
    [("exact", "own"), ("magnitude", "own"), ("column", "own"), ("obd", "lenet"), ("exact", "resnet10:width=2")],
)
def test_sequential_mends_what_came_before(solver: str, name: str, network: nn.Module, data: Calibration) -> None:
    """Next to the same zeros solved without a look at them, on the same sparse inputs."""
    dense = network if name == "own" else build(name, (1, 8, 8), 3, Rng(0)).double()
    x, how = torch.cat(list(data)), {"solver": solver, "allocation": "uniform"}
    plain, found = (prune(dense, data, 0.6, sequential=mends, **how) for mends in (False, True))
    mended = found.applied(dense)
    for at, (layer, report) in enumerate(found.layers.items()):
        assert report.target == pytest.approx(literal_target(dense, mended, layer, mended, x), rel=1e-6)
        unseeing = literal_target(dense, mended, layer, plain.applied(dense), x)
        assert report.target <= unseeing * (1 + 1e-9)
        assert at == 0 or report.target < 0.99 * unseeing
        assert plain.layers[layer].target == pytest.approx(plain.layers[layer].predicted, rel=1e-9)
    moved, before = (each.certify(dense, data).moved for each in (found, plain))
    assert moved < before


def test_sequential_weights_are_least_squares_on_what_is_seen(network: nn.Module, data: Calibration) -> None:
    found = prune(network, data, 0.6, sequential=True, solver="magnitude", allocation="uniform", ridge=1e-12)
    mended = found.applied(network)
    sums = moments_after(network, mended, data, LAST)
    keep = torch.cat([found.masks[LAST], torch.ones(3, 1).bool()], 1)
    rows = torch.cat([found.weights[LAST], found.weights["5.bias"][:, None]], 1)
    for row, kept, dense in zip(rows, keep & (sums.sparse[0].diagonal() > 0), matrix(network[5])[0], strict=True):
        second, cross = sums.sparse[0][kept][:, kept], sums.cross[0][kept]
        torch.testing.assert_close(row[kept], torch.linalg.solve(second, cross @ dense), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("solver", ["exact", "magnitude", "lobs"])
def test_sequential_is_the_same_where_one_layer_is_pruned(solver: str, network: nn.Module, data: Calibration) -> None:
    for layer in (FIRST, SECOND, LAST):
        one, two = (prune(network, data, 0.6, solver=solver, layers=[layer], sequential=s) for s in (False, True))
        assert one.masks == two.masks
        for name, weight in one.weights.items():
            torch.testing.assert_close(weight, two.weights[name], rtol=1e-12, atol=1e-14)
        assert two.layers[layer].target == pytest.approx(one.layers[layer].target, rel=1e-9)


@pytest.mark.parametrize("sequential", [False, True])
def test_zeros_that_are_held_do_not_count(sequential: bool, network: nn.Module, data: Calibration) -> None:
    """A network that is pruned again is what its weights are."""
    first = prune(network, data, 0.5, solver="magnitude")
    held = first.applied(network)
    plain = deepcopy(network)
    with torch.no_grad():
        for name, weight in held.named_parameters():
            plain.get_parameter(name).copy_(weight)
    one, two = (prune(net, data, 0.6, solver="random", sequential=sequential) for net in (held, plain))
    assert one.masks == two.masks
    assert all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)
    assert one.layers == two.layers
    assert held_masks(install(held, one.masks, one.weights)) == one.masks


class Again(nn.Module):
    """A layer in the middle that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.last = nn.Linear(16, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        return self.last(self.twice(self.twice(self.first(x[:, 0, ::2, ::2].flatten(1)).relu()).relu()).relu())


def test_a_layer_that_runs_twice_is_solved_for_all_that_it_sees(data: Calibration) -> None:
    with Rng(0).as_global():
        dense = Again().double()
    x = torch.cat(list(data))
    sparse = prune(dense, data, None, allocation={"first.weight": 0.6}, layers=["first.weight"]).applied(dense)
    found = moments_after(dense, sparse, [x[:40], x[40:]], "twice.weight")
    literal = []
    for network in (dense, sparse):
        first = network.first(x[:, 0, ::2, ::2].flatten(1)).relu()
        rows = torch.cat([first, network.twice(first).relu()])
        literal.append(torch.cat([rows, rows.new_ones(len(rows), 1)], 1).detach())
    for sums, (one, two) in ((found.dense, (0, 0)), (found.sparse, (1, 1)), (found.cross, (1, 0))):
        torch.testing.assert_close(sums[0], literal[one].T @ literal[two])
    assert (found.n, found.images) == (120, 60)


class Sometimes(nn.Module):
    """A layer in the middle that runs once for each 5 that a batch is brighter, and `more` times."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last, self.more = nn.Linear(16, 8), nn.Linear(8, 8), nn.Linear(8, 3), 0

    def forward(self, x: Tensor) -> Any:
        found = self.first(x[:, 0, ::2, ::2].flatten(1)).relu()
        for _ in range(round(float(x.mean()) / 5) + self.more):
            found = self.middle(found).relu()
        return self.last(found)


MIDDLE = "middle.weight"


@pytest.fixture
def sometimes() -> Sometimes:
    with Rng(0).as_global():
        return Sometimes().double()


def test_a_layer_that_some_batches_meet_is_solved_for_those(sometimes: Sometimes, data: Calibration) -> None:
    x, how = torch.cat(list(data)), Pruner(solver="magnitude", allocation="uniform", sequential=True)
    bright = x[:40] + 5
    found = how(sometimes, [bright, x[40:]], sparsity=0.5, rng=Rng(0))  # type: ignore[arg-type]
    mended = found.applied(sometimes)
    target = literal_target(sometimes, mended, MIDDLE, mended, bright)
    assert target > 0
    assert found.layers[MIDDLE].target == pytest.approx(target, rel=1e-6)


def test_a_layer_must_run_as_often_in_both_networks_and_all_batches(sometimes: Sometimes, data: Calibration) -> None:
    x, other = torch.cat(list(data)), deepcopy(sometimes)
    other.more = 1
    with pytest.raises(
        ValueError, match=rf"^sequential: {MIDDLE} must run equally often in both networks, got 1 and 2 times$"
    ):
        moments_after(sometimes, other, [x + 5], MIDDLE)
    batches = [x[:40] + 5, x[40:] + 10]
    known = moments(sometimes, batches)[MIDDLE]
    line = rf"^sequential: {MIDDLE} must run equally often in all batches that reach it, got 60 of 80 inputs$"
    with pytest.raises(ValueError, match=line):
        moments_after(sometimes, deepcopy(sometimes), batches, MIDDLE, known)


def test_what_is_known_of_the_dense_network_is_not_summed_again(
    network: nn.Module, data: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: Any = torch.cat(list(data)).split(25)
    how: Any = {"solver": "magnitude", "allocation": "uniform", "sequential": True}
    module, squares = import_module("yoco.sparsify.hessian"), list[int]()
    plain = module.squared
    with monkeypatch.context() as patched:
        after = import_module("yoco.sparsify.pruner")
        patched.setattr(after, "moments_after", lambda dense, sparse, x, name, _: moments_after(dense, sparse, x, name))
        twice = prune(network, batches, **how)
    monkeypatch.setattr(module, "squared", lambda rows: (squares.append(1), plain(rows))[1])
    once = prune(network, batches, **how)
    assert len(squares) == 2 * 3 * 3  # of both networks, three layers and three batches
    assert once.masks == twice.masks
    assert once.layers == twice.layers
    assert all(torch.equal(weight, twice.weights[name]) for name, weight in once.weights.items())


def test_what_is_known_is_left_as_it_is(network: nn.Module, data: Calibration) -> None:
    sparse = prune(network, data, 0.6, solver="magnitude").applied(network)
    known = moments(network, data)[LAST]
    before, plain = known.dense.clone(), moments_after(network, sparse, data, LAST)
    found = moments_after(network, sparse, data, LAST, known)
    assert torch.equal(known.dense, before)
    assert (found.n, found.images) == (plain.n, plain.images)
    for name in ("dense", "sparse", "cross"):
        assert torch.equal(getattr(found, name), getattr(plain, name))
    assert not torch.equal(found.sparse, found.dense)
