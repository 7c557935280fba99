"""Weights, zeros and FLOPs against loops over every output position."""

from math import log
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.masks import Masks, weights
from yoco.sparsify.measure import Row, measure


def literal(side: tuple[int, int], kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Positions at which a kernel can start on the padded image, counted one by one."""
    count = 0
    for top in range(0, side[0] + 2 * padding, stride):
        for left in range(0, side[1] + 2 * padding, stride):
            reach = dilation * (kernel - 1)
            count += top + reach < side[0] + 2 * padding and left + reach < side[1] + 2 * padding
    return count


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions_are_counted_at_every_position(stride: int, padding: int, dilation: int, groups: int) -> None:
    conv = nn.Conv2d(4, 8, 3, stride, padding, dilation, groups)
    positions = literal((9, 7), 3, stride, padding, dilation)
    (row,) = measure(conv, (4, 9, 7)).rows
    assert row == Row("weight", 288 // groups, 288 // groups, 288 // groups * positions, 288 // groups * positions)


def test_zeros_cost_nothing() -> None:
    network = build("lenet", (1, 8, 8), 3, Rng(0))
    masks = Masks({n: torch.rand(w.shape, generator=Rng(1).generator()) < 0.2 for n, w in weights(network).items()})
    by_masks = measure(network, (1, 8, 8), masks)
    positions = {"stages.0.0.weight": 64, "stages.1.0.weight": 16}
    for row in by_masks.rows:
        mask, at = masks[row.layer], positions.get(row.layer, 1)
        assert (row.weights, row.kept) == (mask.numel(), int(mask.sum()))
        assert (row.dense_flops, row.flops) == (mask.numel() * at, int(mask.sum()) * at)
        assert row.zeros == row.weights - row.kept
        assert row.sparsity == pytest.approx(1 - mask.double().mean().item())
    with torch.no_grad():
        for name, mask in masks.items():
            network.get_parameter(name).mul_(mask)
    assert measure(network, (1, 8, 8)) == by_masks


def test_masks_of_some_layers_leave_the_others_as_they_are() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Linear(3, 2))
    with torch.no_grad():
        network[2].weight[0] = 0
    masks = Masks({"1.weight": torch.zeros(3, 4).bool()})
    assert [row.kept for row in measure(network, (1, 2, 2), masks).rows] == [0, 3]


class Odd(nn.Module):
    """A layer that runs twice, and one that never does."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.never = nn.Conv2d(1, 1, 3, padding=1), nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Any:
        return self.twice(self.twice(images))


def test_a_layer_costs_as_often_as_it_runs() -> None:
    twice, never = measure(Odd(), (1, 4, 4)).rows
    assert (twice.weights, twice.flops) == (9, 2 * 9 * 16)
    assert (never.weights, never.kept, never.dense_flops) == (4, 4, 0)


class Casts(nn.Module):
    """Computes in float32 whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, images: Tensor) -> Any:
        return self.conv(images.float())


def test_a_network_may_cast_its_images() -> None:
    (row,) = measure(Casts(), (1, 5, 5)).rows
    assert (row.weights, row.flops) == (18, 18 * 9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_networks_of_every_type_are_measured(dtype: torch.dtype) -> None:
    network = build("lenet", (1, 8, 8), 3, Rng(0))
    assert measure(network.to(dtype), (1, 8, 8)) == measure(network.float(), (1, 8, 8))


def test_the_total_is_the_sum_and_the_table_shows_it() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(1800, 10))
    with torch.no_grad():
        network[2].weight[:, :900] = 0
    found = measure(network, (1, 32, 32))
    assert found.total == Row("total", 18018, 9018, 34200, 25200)
    assert found.markdown().splitlines() == [
        "| layer | weights | zeros | sparsity | dense FLOPs | FLOPs | effective |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| 0.weight | 18 | 0 | 0.00 % | 16,200 | 16,200 | 9 |",
        "| 2.weight | 18,000 | 9,000 | 50.00 % | 18,000 | 9,000 | 9,000 |",
        "| total | 18,018 | 9,000 | 49.95 % | 34,200 | 25,200 | 9,009 |",
        "",
        "effective: 9,009 weights, 911 of 1,811 nodes, 10^4.9 paths",
    ]
    assert found.effective is not None
    assert found.effective.log_paths == pytest.approx(log(9 * 9000))


def test_what_cannot_be_followed_is_measured_without_its_paths() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Softmax(1), nn.Linear(4, 2))
    found = measure(network, (1, 2, 2))
    assert found.effective is None
    assert found.markdown().splitlines()[-1] == "| total | 24 | 0 | 0.00 % | 24 | 24 |"


def test_measuring_leaves_no_trace_in_the_network() -> None:
    network = build("resnet20:width=4", (1, 8, 8), 3, Rng(0)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    measure(network, (1, 8, 8))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_the_published_count_of_resnet18_holds() -> None:
    network = build("resnet18", (3, 32, 32), 10, Rng(0))
    assert measure(network, (3, 32, 32)).total.dense_flops == 555_422_720


def test_masks_must_fit() -> None:
    with pytest.raises(ValueError, match=r"^masks: names must be of parameters of the network, got 'x'$"):
        measure(nn.Linear(2, 2), (1, 1, 2), Masks({"x": torch.ones(1).bool()}))


class Read(nn.Module):
    """A weight that is read without calling its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Any:
        return F.linear(images.flatten(1), self.layer.weight, self.layer.bias)


def test_a_weight_that_is_read_without_its_layer_costs_nothing() -> None:
    found = measure(Read(), (1, 2, 2))
    assert found.rows == (Row("layer.weight", 12, 12, 0, 0),)
    assert found.effective is not None
    assert found.effective.weights == 12
