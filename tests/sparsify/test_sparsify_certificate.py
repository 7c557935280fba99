"""The theorem's bound against what is measured, and the products of factors in it."""

from copy import deepcopy
from functools import cache
from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from yoco.data import load
from yoco.data.source import Batch
from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.calibration import Calibration
from yoco.sparsify.certificate import certify, chain, factors
from yoco.sparsify.hessian import moments
from yoco.sparsify.masks import Masks
from yoco.sparsify.network import layers, run
from yoco.sparsify.pruned import Pruned
from yoco.sparsify.pruner import Pruner
from yoco.train import Normalise

CHAINS = (
    "mlp:width=16",
    "lenet",
    "lenet-5",
    "convnet:width=6,depth=2,norm=none",
    "convnet:width=6,depth=3,norm=batch",
    "vgg11:width=4,norm=batch",
)
OTHERS = ("convnet:width=6,depth=2", "resnet10:width=4", "densenet:blocks=2-2,growth=4", "vgg11:width=4")
NORMS = ("frobenius", "spectral")


def images(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 1, 8, 8, generator=Rng(seed).generator(), dtype=torch.float64)


@cache
def digits(n: int) -> Calibration:
    source = load("digits").train
    batch = source.batch(torch.arange(n))
    return Calibration(Batch(batch.images.double(), batch.labels), Normalise(source.mean, source.std), source.device)


@cache
def network(name: str) -> nn.Module:
    """In float64, its batch norms with statistics and weights of their own."""
    made = build(name, (1, 8, 8), 10, Rng(0)).double()
    for norm in made.modules():
        if isinstance(norm, nn.BatchNorm2d):
            with Rng(1).as_global():
                nn.init.uniform_(norm.weight, -1.5, 1.5)
    for batch in digits(40):
        made.train()(batch)
    return made.eval()


def pruned(name: str, solver: str, sparsity: float, **options: Any) -> Pruned:
    return Pruner(solver=solver, **options)(network(name), digits(40), sparsity=sparsity, rng=Rng(0))


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize(
    ("solver", "sparsity", "options"),
    [
        ("obd", 0.5, {"allocation": "erk"}),
        ("lobs", 0.8, {"allocation": "global", "refit": False}),
        ("random", 0.95, {"allocation": "uniform"}),
        ("magnitude", 0.7, {"allocation": "uniform", "sequential": True}),
    ],
)
def test_outputs_move_no_further_than_the_bound(
    name: str, solver: str, sparsity: float, options: dict[str, Any]
) -> None:
    found, dense = pruned(name, solver, sparsity, **options), network(name)
    for batches in (digits(40), [images(20), images(7, 1)], [1e3 * images(5, 2)], [1e-3 * images(5, 3)]):
        certificate = found.certify(dense, batches)
        spectral, frobenius = certificate.bound("spectral"), certificate.bound("frobenius")
        assert spectral is not None
        assert frobenius is not None
        assert 0 < certificate.moved <= spectral * (1 + 1e-9)
        assert spectral <= frobenius * (1 + 1e-9)
        for layer in certificate.layers.values():
            assert layer.spectral <= layer.frobenius * (1 + 1e-9)
        assert certificate.layers["head.weight"].spectral == 1


@pytest.mark.parametrize("name", [*CHAINS, *OTHERS])
def test_what_was_predicted_is_measured(name: str) -> None:
    """All layers, to ten digits: the second moments say it all."""
    solvers = {"exact": {}, "lobs": {"refit": False}, "random": {"sequential": True}}
    if name in ("lenet-5", "vgg11:width=4"):
        solvers.pop("exact")
    for solver, options in solvers.items():
        found = pruned(name, solver, 0.7, allocation="uniform", **options)
        certificate = found.certify(network(name), digits(40))
        for layer, report in found.layers.items():
            assert report.predicted == pytest.approx(certificate.layers[layer].measured, rel=1e-10)
            assert report.predicted > 0


@pytest.mark.parametrize("groups", [2, 4])
def test_what_was_predicted_is_measured_with_groups_strides_and_padding(groups: int) -> None:
    with Rng(3).as_global():
        first = nn.Conv2d(1, 4, 3, 2, padding=2, padding_mode="circular")
        second = nn.Conv2d(4, 8, 3, padding="same", dilation=2, groups=groups, bias=False)
        dense = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(200, 10)).double()
    found = Pruner(solver="obd", allocation="uniform", refit=False)(dense, digits(40), sparsity=0.6, rng=Rng(0))
    certificate = found.certify(dense, digits(40))
    for layer, report in found.layers.items():
        assert report.predicted == pytest.approx(certificate.layers[layer].measured, rel=1e-10)
    assert certificate.moved <= certificate.bound("spectral") <= certificate.bound("frobenius")


@pytest.mark.parametrize("name", ["lenet", "convnet:width=6,depth=2", "resnet10:width=4"])
def test_measures_are_those_of_outputs(name: str) -> None:
    """Of each layer on its dense inputs, and of the whole network, image by image."""
    dense, found = network(name), pruned(name, "random", 0.5, allocation="uniform")
    sparse, x = found.applied(dense), images(6)
    caught: dict[str, Tensor] = {}
    for layer_name, layer in layers(dense).items():
        layer.register_forward_pre_hook(lambda _, given, key=layer_name: caught.update({key: given[0]}))
    outputs = run(dense, x)
    for layer in layers(dense).values():
        layer._forward_pre_hooks.clear()
    certificate = found.certify(dense, x.split(4))
    assert list(certificate.layers) == list(layers(dense))
    for layer_name, measured in certificate.layers.items():
        before, after = (layers(net)[layer_name](caught[layer_name]) for net in (dense, sparse))
        change = (after - before).detach().square()
        assert measured.moved == pytest.approx(sqrt(sum(float(one.sum()) for one in change) / 6), rel=1e-9)
        positions = change[0, 0].numel() if change.dim() == 4 else 1
        assert measured.measured == pytest.approx(float(change.sum()) / 2 / 6 / positions, rel=1e-9)
    gap = (run(sparse, x) - outputs).detach().square().sum(1)
    assert certificate.moved == pytest.approx(float(gap.mean().sqrt()), rel=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_factors_are_products_of_what_follows(norm: str) -> None:
    with Rng(5).as_global():
        modules = [nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)]
        modules += [nn.Conv2d(4, 6, 2), nn.LeakyReLU(0.1), nn.AvgPool2d(1), nn.Dropout(0.5), nn.Flatten()]
        modules += [nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)]
        given = nn.Sequential(*modules).double().eval()
    bn = given[1]
    with torch.no_grad():
        bn.running_var.copy_(torch.tensor([0.5, 2.0, 1.0, 0.1]))
        bn.weight.copy_(torch.tensor([1.0, -3.0, 0.5, 0.2]))
    size = {"frobenius": lambda w: w.flatten(1).norm(), "spectral": lambda w: torch.linalg.svdvals(w.flatten(1))[0]}
    own = {at: float(size[norm](given[at].weight.detach())) for at in (4, 9, 11)}
    stretch = max(abs(w) / sqrt(v + 1e-5) for w, v in zip((1, 3, 0.5, 0.2), (0.5, 2.0, 1.0, 0.1), strict=True))
    wanted = {
        "0.weight": stretch * own[4] * 2 * own[9] * own[11],
        "4.weight": own[9] * own[11],
        "9.weight": own[11],
        "11.weight": 1.0,
    }
    assert factors(given, norm) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_factors_of_an_mlp_are_those_of_the_paper(norm: str) -> None:
    dense, order = network("mlp:width=16"), {"frobenius": "fro", "spectral": 2}[norm]
    sizes = [float(torch.linalg.matrix_norm(layer.weight.detach(), order)) for layer in layers(dense).values()]
    assert list(factors(dense, norm).values()) == pytest.approx([sizes[1] * sizes[2], sizes[2], 1], rel=1e-12)


def test_the_bound_of_one_last_layer_is_what_is_measured() -> None:
    found = pruned("lenet", "magnitude", 0.5, layers=["head.weight"])
    certificate = found.certify(network("lenet"), digits(40))
    for norm in NORMS:
        assert certificate.bound(norm) == pytest.approx(certificate.moved, rel=1e-9)
    assert [layer.moved > 0 for layer in certificate.layers.values()] == [False] * 4 + [True]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_roundings_of_16_bits_are_not_measured(dtype: torch.dtype) -> None:
    dense = deepcopy(network("lenet")).to(dtype)
    sparse = deepcopy(dense)
    with torch.no_grad():
        sparse.head.weight[:, ::2].mul_(0)
    found = certify(dense, sparse, [images(20).to(dtype)])
    assert found == certify(deepcopy(dense).double(), deepcopy(sparse).double(), [images(20).to(dtype).double()])
    assert found.bound("spectral") == pytest.approx(found.moved, rel=1e-9)
    assert found.moved > 0
    assert dense.head.weight.dtype == sparse.head.weight.dtype == dtype


def test_the_norms_are_those_of_the_sparse_network() -> None:
    dense = network("mlp:width=16")
    sparse = deepcopy(dense)
    with torch.no_grad():
        sparse.head.weight.mul_(0)
    after = certify(dense, sparse, [images(4)]).layers
    assert [after[name].spectral for name in after] == [0, 0, 1]


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_have_no_bound(name: str) -> None:
    found = pruned(name, "magnitude", 0.5, allocation="uniform").certify(network(name), digits(40))
    assert all(layer.spectral is None and layer.frobenius is None for layer in found.layers.values())
    assert found.bound("spectral") is None
    assert found.bound("frobenius") is None
    assert found.moved > 0


class Twice(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def test_what_is_no_chain_of_known_modules_has_no_bound() -> None:
    one = nn.Linear(4, 4)
    tied = nn.Linear(4, 4)
    tied.weight = one.weight
    frozen = nn.BatchNorm1d(4, track_running_stats=False)
    for odd in (Twice(), nn.GELU(), nn.LeakyReLU(2), nn.LeakyReLU(-2), frozen, nn.Softmax(1)):
        assert factors(nn.Sequential(one, odd, nn.Linear(4, 2)), "spectral") == {}
    assert factors(nn.Sequential(one, nn.ReLU(), one), "spectral") == {}
    assert factors(nn.Sequential(one, nn.ReLU(), tied), "spectral") == {}
    assert set(factors(nn.Sequential(one, nn.LeakyReLU(-1), nn.Linear(4, 2)), "spectral")) == {"0.weight", "2.weight"}
    assert chain(nn.Sequential(one, nn.Sequential(nn.ReLU(), nn.Sequential()))) is not None
    assert chain(nn.ModuleList([one])) is None
    assert factors(one, "spectral") == {"weight": 1.0}


def test_a_layer_that_comes_twice_is_measured_but_not_bounded() -> None:
    with Rng(0).as_global():
        one = nn.Linear(4, 4)
    dense = nn.Sequential(nn.Flatten(), one, nn.ReLU(), one).double()
    found = Pruner(solver="random")(dense, digits_like(dense), sparsity=0.5, rng=Rng(0))
    certificate = found.certify(dense, list(digits_like(dense)))
    assert certificate.bound("spectral") is None
    assert found.layers["1.weight"].predicted == pytest.approx(certificate.layers["1.weight"].measured, rel=1e-10)
    assert certificate.layers["1.weight"].moved ** 2 == pytest.approx(4 * certificate.layers["1.weight"].measured)


def digits_like(_: nn.Module) -> Calibration:
    batch = Batch(images(30)[:, :, :2, :2], torch.zeros(30).long())
    return Calibration(batch, Normalise((0.0,), (1.0,)), torch.device("cpu"))


def test_scaled_inputs_change_no_mask() -> None:
    dense = network("convnet:width=6,depth=2,norm=none")
    layers_of = moments(dense, digits(40))
    for scale in (2.0**-20, 2.0**12):
        scaled = moments(dense, digits(40))
        for name, sums in scaled.items():
            sums.dense *= scale
            assert torch.equal(sums.dense, scale * layers_of[name].dense)
            pruner = Pruner(layers=[name])
            units = [
                next(iter(pruner.units(dense, found).values())) for found in ({name: layers_of[name]}, {name: sums})
            ]
            assert torch.equal(*(unit.solve(0.6).mask for unit in units))


def test_there_must_be_images() -> None:
    with pytest.raises(ValueError, match=r"^certify: needs images, got none$"):
        certify(network("lenet"), network("lenet"), [])


def test_certifying_changes_neither_network() -> None:
    dense = deepcopy(network("vgg11:width=4,norm=batch")).train()
    masks = Masks({"head.weight": torch.zeros(10, 32).bool()})
    sparse = Pruned(masks, {}, {}, "none").applied(dense)
    before = [parameters_to_vector(net.parameters()).clone() for net in (dense, sparse)]
    certify(dense, sparse, [images(3)])
    after = [parameters_to_vector(net.parameters()) for net in (dense, sparse)]
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert dense.training
    assert not any(module._forward_pre_hooks for module in dense.modules())
