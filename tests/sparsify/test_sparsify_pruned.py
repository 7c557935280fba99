"""What pruning has given: put into a network, into a copy of it, and judged."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.certificate import certify
from yoco.sparsify.hold import held
from yoco.sparsify.masks import Masks
from yoco.sparsify.pruned import Pruned, Report


@pytest.fixture
def network() -> nn.Module:
    return build("mlp:width=8", (1, 8, 8), 3, Rng(0))


@pytest.fixture
def pruned() -> Pruned:
    generator = Rng(1).generator()
    masks = Masks({"head.weight": torch.rand(3, 8, generator=generator) < 0.5})
    weights = {"head.weight": torch.randn(3, 8, generator=generator), "head.bias": torch.ones(3)}
    return Pruned(masks, weights, {"head.weight": Report(0.1, 0.2, 1e-6, 3)}, "own")


def test_install_puts_weights_and_zeros_into_the_network_itself(network: nn.Module, pruned: Pruned) -> None:
    others = deepcopy(network.stages)
    assert pruned.install(network) is network
    assert torch.equal(network.head.weight, pruned.weights["head.weight"] * pruned.masks["head.weight"])
    assert torch.equal(network.head.bias, torch.ones(3))
    assert held(network) == pruned.masks
    assert all(torch.equal(*pair) for pair in zip(others.parameters(), network.stages.parameters(), strict=True))


def test_applied_is_a_copy(network: nn.Module, pruned: Pruned) -> None:
    before = deepcopy(network.state_dict())
    sparse = pruned.applied(network)
    assert sparse is not network
    assert held(network) is None
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(
        torch.equal(*pair) for pair in zip(sparse.parameters(), pruned.install(network).parameters(), strict=True)
    )


def test_masks_alone_leave_the_weights(network: nn.Module, pruned: Pruned) -> None:
    alone = Pruned(pruned.masks, {}, {}, "random")
    wanted = network.head.weight.detach() * pruned.masks["head.weight"]
    assert torch.equal(alone.applied(network).head.weight, wanted)
    assert alone.curves == {}


def test_certify_is_that_of_the_applied_copy(network: nn.Module, pruned: Pruned) -> None:
    images = torch.randn(6, 1, 8, 8, generator=Rng(2).generator())
    found = pruned.certify(network, images.split(4))
    assert found == certify(network, pruned.applied(network), images.split(4))
    assert found.moved == pytest.approx(found.bound("spectral"), rel=1e-5)
    assert held(network) is None


def test_it_says_what_it_is(pruned: Pruned) -> None:
    kept = pruned.masks.kept
    words = f"Pruned(own: Masks({kept} of 24 weights kept in 1 layers, sparsity {1 - kept / 24:.4f}))"
    assert repr(pruned) == words
    assert Report() == Report(None, None, 0.0, 0)


def test_another_network_is_refused(pruned: Pruned) -> None:
    other = build("mlp:width=9", (1, 8, 8), 3, Rng(0))
    with pytest.raises(ValueError, match=r"^masks: head\.weight must be \[3, 9\] as in the network, got \[3, 8\]$"):
        pruned.applied(other)
