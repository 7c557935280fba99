"""Dead channels taken out beside parameters that no map enters, and of networks in 16 bits."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yoco.rng import Rng
from yoco.sparsify.shrink import shrink

SHAPE = (1, 8, 8)


def images() -> Tensor:
    return torch.randn(5, *SHAPE, generator=Rng(5).generator())


def zero(weight: Tensor, place: Any) -> None:
    with torch.no_grad():
        weight[place] = 0


def sizes(network: nn.Module) -> list[list[int]]:
    return [list(m.weight.shape) for m in network.modules() if isinstance(m, nn.Linear)]


class Scale(nn.Module):
    """It is called with nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.size = nn.Parameter(torch.ones(1))

    def forward(self) -> Tensor:
        return self.size


class Pair(nn.Module):
    """It is called with a list, and answers two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.size = nn.Parameter(torch.ones(1))

    def forward(self, maps: list[Tensor]) -> Any:
        return maps[0] * self.size, maps[0]


class Beside(nn.Module):
    """A rule between two layers, and parameters that no map enters."""

    def __init__(self, rule: Any) -> None:
        super().__init__()
        self.first, self.read, self.last = nn.Linear(64, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.scale, self.pair, self.table, self.rule = Scale(), Pair(), nn.Embedding(6, 1), rule

    def forward(self, images: Tensor) -> Any:
        return self.last(self.rule(self, self.first(images.flatten(1))).relu())


@pytest.mark.parametrize(
    ("rule", "width"),
    [
        (lambda net, x: F.linear(x, net.read.weight, net.read.bias), 6),
        (lambda net, x: x * net.scale(), 5),
        (lambda net, x: x + net.table(torch.arange(1)), 5),
        (lambda net, x: sum(net.pair([x])), 6),
    ],
)
def test_parameters_that_no_map_enters_stay(rule: Any, width: int) -> None:
    network = Beside(rule).eval()
    zero(network.last.weight, (slice(None), 2))
    small = shrink(network, SHAPE)
    assert sizes(small) == [[width, 64], [6, 6], [2, width]]
    assert torch.allclose(small(images()), network(images()), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_constants_of_16_bits_move_into_biases(dtype: torch.dtype) -> None:
    layers = nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)
    network = nn.Sequential(nn.Flatten(), *layers).to(dtype).eval()
    zero(network[1].weight, 0)
    with torch.no_grad():
        network[1].bias[0] = 1 / 3
    small = shrink(network, SHAPE)
    assert sizes(small) == [[5, 64], [5, 5], [2, 5]]
    assert {parameter.dtype for parameter in small.parameters()} == {dtype}
    assert torch.allclose(small.double()(images().double()), network.double()(images().double()), atol=0.02)


def test_one_slope_for_all_channels_stays() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.PReLU(), nn.Linear(6, 2)).eval()
    zero(network[3].weight, (slice(None), 2))
    small = shrink(network, SHAPE)
    assert sizes(small) == [[6, 64], [2, 6]]
    assert torch.equal(small(images()), network(images()))


def test_layers_of_one_weight_stay_of_one_weight() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.Linear(64, 2)).eval()
    network[3].weight = network[1].weight
    small = shrink(network, SHAPE)
    assert small[3].weight is small[1].weight
