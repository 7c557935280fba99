"""Biases have the names that the network gives them, whatever their weights are called."""

import pytest
import torch
from torch import Tensor, nn

from yoco.rng import Rng
from yoco.sparsify.calibration import Calibration
from yoco.sparsify.hold import held
from yoco.sparsify.pruned import Pruned
from yoco.sparsify.pruner import Pruner


def pruned(network: nn.Module, data: Calibration, prune_bias: bool = False) -> Pruned:
    pruner = Pruner(solver="obd", allocation="global", weigh="error", prune_bias=prune_bias)
    return pruner(network, data, sparsity=0.5, rng=Rng(0))


class Tied(nn.Module):
    """A convolution that lends its weight to the transposed one, which is registered ahead of it."""

    def __init__(self) -> None:
        super().__init__()
        with Rng(0).as_global():
            self.dec, self.enc = nn.ConvTranspose2d(4, 1, 3), nn.Conv2d(1, 4, 3)
        self.enc.weight = self.dec.weight
        self.double()

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.dec(self.enc(images).relu())
        return answer


@pytest.mark.parametrize("prune_bias", [False, True])
def test_the_bias_is_that_of_the_layer_not_of_the_name_of_its_weight(prune_bias: bool, data: Calibration) -> None:
    network = Tied()
    found = pruned(network, data, prune_bias)
    assert set(found.weights) == {"dec.weight", "enc.bias"}
    assert set(found.masks) == ({"dec.weight", "enc.bias"} if prune_bias else {"dec.weight"})
    before = network.dec.bias.detach().clone()
    found.install(network)
    assert torch.equal(network.dec.bias, before)
    assert torch.equal(network.enc.bias, found.weights["enc.bias"])
    assert held(network) == found.masks


class Embedded(nn.Module):
    """A head whose weight is that of an embedding."""

    def __init__(self) -> None:
        super().__init__()
        with Rng(0).as_global():
            self.words, self.head = nn.Embedding(3, 64), nn.Linear(64, 3)
        self.head.weight = self.words.weight
        self.double()

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.head(images.flatten(1))
        return answer


def test_a_weight_may_have_the_name_of_something_without_a_bias(data: Calibration) -> None:
    network = Embedded()
    found = pruned(network, data)
    assert set(found.weights) == {"words.weight", "head.bias"}
    assert torch.equal(found.applied(network).head.bias, found.weights["head.bias"])


def test_a_bias_of_two_layers_is_refused(data: Calibration) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Linear(5, 5)).double()
    network[2].bias = network[1].bias
    line = "sparsify: the bias next to 1.weight must be a parameter of one layer alone, got a shared or computed one"
    with pytest.raises(ValueError, match=rf"^{line}$"):
        pruned(network, data)
    nn.utils.parametrizations.weight_norm(network[1], "bias", dim=None)
    with pytest.raises(ValueError, match=rf"^{line}$"):
        pruned(network, data)
