"""Forwards of one's own under the methods that run a network as a linear map: synflow and dpai."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yoco.rng import Rng
from yoco.sparsify.layout import erk
from yoco.sparsify.masks import Masks, budget
from yoco.sparsify.methods.dpai import dpai
from yoco.sparsify.methods.synflow import synflow
from yoco.sparsify.trial import unsigned

Method = Callable[[nn.Module, tuple[int, int, int]], Masks]


def by_synflow(network: nn.Module, shape: tuple[int, int, int]) -> Masks:
    return synflow(network, sparsity=0.5, rng=Rng(0), shape=shape, iterations=5)


def by_dpai(network: nn.Module, shape: tuple[int, int, int]) -> Masks:
    return dpai(network, sparsity=0.5, rng=Rng(0), shape=shape, steps=3)


METHODS = pytest.mark.parametrize("method", [by_synflow, by_dpai])


class Shuffled(nn.Module):
    """Channels of two groups change places, as in ShuffleNet."""

    def __init__(self) -> None:
        super().__init__()
        with Rng(0).as_global():
            self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(64, 3)

    def forward(self, images: Tensor) -> Any:
        maps = self.conv(images)
        n, _, height, width = maps.shape
        mixed = maps.view(n, 2, 2, height, width).transpose(1, 2).contiguous().view(n, 4, height, width)
        return self.head(mixed.flatten(1))


@METHODS
def test_channels_may_be_shuffled(method: Method) -> None:
    network = Shuffled()
    masks = method(network, (1, 6, 6))
    assert masks.kept == budget(36 + 192, 0.5)
    if method is by_dpai:
        assert {name: count.kept for name, count in masks.by_layer().items()} == erk(network, 0.5)


class Copying(nn.Module):
    """A copy that is changed in place, beside what it was copied from."""

    def __init__(self, copy: bool) -> None:
        super().__init__()
        with Rng(0).as_global():
            self.first, self.left, self.right = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 3)
        self.copy = copy

    def forward(self, images: Tensor) -> Any:
        hidden = self.first(images.flatten(1))
        shift = torch.tensor([9.0] * 4 + [-9.0] * 4, dtype=hidden.dtype)
        if self.copy:
            changed = hidden.clone()
            changed.add_(shift)
        else:
            changed = hidden + shift
        return self.left(changed) + self.right(hidden)


@METHODS
def test_a_copy_is_no_alias(method: Method) -> None:
    assert method(Copying(True), (1, 2, 3)) == method(Copying(False), (1, 2, 3))


def edges(kernel: Tensor) -> nn.Module:
    """Kernels that nobody trains ahead of two layers."""
    with Rng(0).as_global():
        first, second = nn.Conv2d(1, len(kernel), 3, bias=False), nn.Conv2d(len(kernel), 4, 3)
        network = nn.Sequential(first, second, nn.Flatten(), nn.Linear(64, 3))
    del network[0].weight
    network[0].register_buffer("weight", kernel)
    return network


@METHODS
def test_a_fixed_kernel_counts_without_its_signs(method: Method) -> None:
    kernel = torch.tensor([[[1.0, 0.0, -1.0]] * 3, [[-1.0, -2.0, -1.0]] * 3]).reshape(2, 1, 3, 3)
    signed, plain = (method(edges(given), (1, 8, 8)) for given in (kernel, kernel.abs()))
    assert signed == plain
    assert list(signed) == ["1.weight", "3.weight"]
    assert all(count.kept for count in signed.by_layer().values())


class Scaled(nn.Module):
    """A scale that is learned beside the layers."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        with Rng(0).as_global():
            self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)
        self.scale = nn.Parameter(scale)

    def forward(self, images: Tensor) -> Any:
        return self.second(self.first(images.flatten(1)) * self.scale)


@METHODS
def test_a_scale_counts_without_its_signs(method: Method) -> None:
    size = torch.linspace(0.5, 2, 8)
    signs = torch.tensor([1.0, -1.0] * 4)
    plain = Scaled(size)
    found = [method(network, (1, 2, 3)) for network in (plain, Scaled(size * signs), Scaled(-size))]
    assert found[0] == found[1] == found[2]
    assert torch.equal(plain.scale, size)


def test_signs_are_taken_from_what_is_finite_and_no_integer() -> None:
    network = nn.Linear(2, 1, bias=False)
    network.register_buffer("far", torch.tensor([-torch.inf, -2.0]))
    network.register_buffer("turns", torch.tensor([-3]))
    network.register_buffer("beside", torch.tensor([-100.0]), persistent=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[-1.0, 2.0]]))
        unsigned(network)
    found = {name: value.flatten().tolist() for name, value in network.state_dict().items()}
    assert found == {"weight": [1.0, 2.0], "far": [-torch.inf, 2.0], "turns": [-3]}
    assert network.get_buffer("beside").item() == -100


@METHODS
@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (nn.Conv1d, (2, 8)),
        (nn.Conv3d, (2, 2, 2, 2)),
        (nn.ConvTranspose1d, (2, 8)),
        (nn.ConvTranspose2d, (2, 2, 4)),
        (nn.ConvTranspose3d, (2, 2, 2, 2)),
    ],
)
def test_biases_of_layers_of_other_kinds_have_no_part(method: Method, kind: Any, shape: tuple[int, ...]) -> None:
    with Rng(0).as_global():
        first, other, last = nn.Linear(6, 16), kind(2, 3, 1), nn.Linear(24, 3)
    network = nn.Sequential(nn.Flatten(), first, nn.Unflatten(1, shape), other, nn.Flatten(), last)
    plain = method(network, (1, 2, 3))
    with torch.no_grad():
        other.bias.fill_(1e6)
    assert method(network, (1, 2, 3)) == plain


@METHODS
@pytest.mark.parametrize(
    ("last", "name"), [(nn.LogSoftmax(1), "log_softmax"), (nn.Softmax(1), "softmax"), (nn.Softmin(1), "softmin")]
)
def test_a_softmax_is_refused(method: Method, last: nn.Module, name: str) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3), last)
    with pytest.raises(ValueError, match=rf"^paths: cannot follow {name}; it has no linear part$"):
        method(network, (1, 2, 3))
