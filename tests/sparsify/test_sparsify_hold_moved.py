"""Zeros that a momentum of before has moved since the last forward pass are zeros to all that reads them."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.certificate import certify
from yoco.sparsify.hold import held, install, remove
from yoco.sparsify.masks import Masks
from yoco.sparsify.measure import measure
from yoco.sparsify.methods.random import random
from yoco.sparsify.paths import effective
from yoco.sparsify.sparse import load, save

SHAPE = (1, 8, 8)


def images() -> Tensor:
    return torch.randn(6, *SHAPE, generator=Rng(0).generator())


def dusty(network: nn.Module, masks: Masks) -> bool:
    """Whether something that is masked is not zero."""
    return any(bool(network.get_parameter(name).detach()[~mask].any()) for name, mask in masks.items())


@pytest.fixture
def sparse() -> nn.Module:
    """After a step with a momentum from before its zeros were held."""
    network = build("mlp:width=8", SHAPE, 3, Rng(0))
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    for step in range(4):
        if step == 2:
            install(network, random(network, sparsity=0.6, rng=Rng(1)))
        optimizer.zero_grad()
        cross_entropy(network(images()), torch.arange(6) % 3).backward()
        optimizer.step()
    return network


@pytest.fixture
def masks(sparse: nn.Module) -> Masks:
    found = held(sparse)
    assert found is not None
    assert dusty(sparse, found)
    return found


def test_what_is_not_held_any_more_is_zero(sparse: nn.Module, masks: Masks) -> None:
    copied = deepcopy(sparse)
    assert dusty(copied, masks)
    assert not dusty(remove(copied), masks)
    assert dusty(sparse, masks)
    assert Masks.of(copied) == masks


def test_zeros_are_counted_as_zeros(sparse: nn.Module, masks: Masks) -> None:
    found = measure(sparse, SHAPE)
    assert found == measure(remove(deepcopy(sparse)), SHAPE)
    assert found.total.kept == masks.kept
    assert effective(sparse, SHAPE).kept == masks.kept
    assert dusty(sparse, masks)


def test_zeros_are_written_as_zeros(sparse: nn.Module, masks: Masks, tmp_path: Path) -> None:
    for number, given in enumerate((None, masks)):
        save(sparse, tmp_path / str(number), masks=given)
        found = load(tmp_path / str(number))
        assert found.masks == masks
        clean = remove(deepcopy(sparse)).state_dict()
        assert all(torch.equal(found.state[key], value) for key, value in clean.items())
    assert dusty(sparse, masks)
    assert held(sparse) == masks


def test_zeros_are_certified_as_zeros(sparse: nn.Module, masks: Masks) -> None:
    dense, clean = build("mlp:width=8", SHAPE, 3, Rng(0)), remove(deepcopy(sparse))
    assert certify(dense, sparse, [images()]) == certify(dense, clean, [images()])


class Attending(nn.Module):
    """The weights of `out_proj` are read without that layer, whose hooks never run."""

    def __init__(self) -> None:
        super().__init__()
        with Rng(0).as_global():
            self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(64, 3)

    def forward(self, images: Tensor) -> Any:
        rows = images.flatten(1, 2)
        return self.head(self.attention(rows, rows, rows, need_weights=False)[0].flatten(1))


def test_zeros_that_are_read_without_their_layer_are_certified_as_zeros() -> None:
    dense = Attending()
    name = "attention.out_proj.weight"
    sparse, kept = deepcopy(dense), torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) > 0.5
    install(sparse, Masks({name: kept}))
    with torch.no_grad():
        sparse.get_parameter(name)[~kept] = 1
    assert certify(dense, sparse, [images()]) == certify(dense, remove(deepcopy(sparse)), [images()])
