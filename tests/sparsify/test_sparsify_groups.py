"""Groups of a convolution share the zeros of their layer by scores, wherever they stand."""

import pytest
import torch
from torch import Tensor, nn

from yoco.data.source import Batch
from yoco.rng import Rng
from yoco.sparsify.calibration import Calibration
from yoco.sparsify.pruner import Pruner
from yoco.train import Normalise


def drawn(images: Tensor) -> Calibration:
    batch = Batch(images, torch.zeros(len(images)).long())
    return Calibration(batch, Normalise((0.0,), (1.0,)), torch.device("cpu"))


def depthwise(weight: Tensor) -> nn.Conv2d:
    """A convolution with a group for each channel, float64."""
    channels, _, size, _ = weight.shape
    made = nn.Conv2d(channels, channels, size, groups=channels, bias=False).double()
    with torch.no_grad():
        made.weight.copy_(weight)
    return made


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=Rng(seed).generator(), dtype=torch.float64)


@pytest.mark.parametrize("solver", ["magnitude", "obd", "exact"])
def test_the_smaller_of_two_groups_loses_its_weight(solver: str) -> None:
    network = depthwise(torch.tensor([1.0, 0.01]).reshape(2, 1, 1, 1))
    found = Pruner(solver=solver, allocation={"weight": 1})
    masks = found(network, drawn(normal(9, 2, 4, 4, seed=0)), sparsity=None, rng=Rng(0)).masks
    assert masks["weight"].flatten().tolist() == [True, False]


@pytest.mark.parametrize("solver", ["magnitude", "obd"])
def test_groups_in_another_order_have_their_zeros_in_that_order(solver: str) -> None:
    weight, order = normal(8, 1, 3, 3, seed=1), torch.tensor([3, 0, 7, 5, 1, 6, 2, 4])
    images = normal(20, 8, 6, 6, seed=2) * torch.linspace(0.5, 3, 8).reshape(8, 1, 1)
    how = Pruner(solver=solver, allocation="uniform")
    first = how(depthwise(weight), drawn(images), sparsity=0.5, rng=Rng(0)).masks["weight"]
    other = how(depthwise(weight[order]), drawn(images[:, order]), sparsity=0.5, rng=Rng(0)).masks["weight"]
    assert torch.equal(other, first[order])
    assert int(first.sum()) == 36
    if solver == "magnitude":
        assert torch.equal(first.flatten(), weight.abs().flatten() >= weight.abs().flatten().sort().values[36])


def test_rows_stay_alike_in_each_group() -> None:
    network = depthwise(normal(4, 1, 3, 3, seed=3))
    how = Pruner(solver="magnitude", allocation={"weight": 18}, pattern="row")
    mask = how(network, drawn(normal(9, 4, 5, 5, seed=4)), sparsity=None, rng=Rng(0)).masks["weight"]
    assert mask.flatten(1).sum(1).tolist() == [4, 4, 5, 5]


def test_bounds_of_equal_groups_are_in_sum_that_of_their_layer() -> None:
    weight, images = normal(1, 1, 3, 3, seed=5).repeat(4, 1, 1, 1), normal(9, 1, 5, 5, seed=6).repeat(1, 4, 1, 1)
    network, given = depthwise(weight), drawn(images)
    curves = Pruner(solver="magnitude", refit=False, weigh="bound").curves(network, given, Rng(0))
    assert len(curves) == 4
    for at, zeros in enumerate(curves["weight"].counts):
        how = Pruner(solver="magnitude", refit=False, allocation={"weight": 4 * zeros})
        bound = how(network, given, sparsity=None, rng=Rng(0)).certify(network, given).bound("spectral")
        assert sum(curve.errors[at] for curve in curves.values()) == pytest.approx(bound, rel=1e-9)
