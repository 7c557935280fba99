"""Magnitude against a plain sort."""

import numpy as np
import pytest
import torch

from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.layout import layout_of
from yoco.sparsify.masks import budget, weights
from yoco.sparsify.methods.magnitude import magnitude

NET = build("convnet:width=8,depth=2", (1, 8, 8), 3, Rng(0))
VALUES = {name: weight.numpy() for name, weight in weights(NET).items()}


def test_globally_the_largest_weights_of_the_network_stay() -> None:
    masks = magnitude(NET, sparsity=0.8, rng=Rng(0))
    every = np.sort(np.abs(np.concatenate([value.ravel() for value in VALUES.values()])))[::-1]
    least = every[budget(len(every), 0.8) - 1]
    assert all((masks[name].numpy() == (np.abs(value) >= least)).all() for name, value in VALUES.items())


@pytest.mark.parametrize("kind", ["uniform", "uniform_plus", "erk"])
def test_by_layer_the_largest_of_each_stay(kind: str) -> None:
    masks, counts = magnitude(NET, sparsity=0.6, rng=Rng(0), layout=kind), layout_of(kind)(NET, 0.6)
    for name, value in VALUES.items():
        order = np.argsort(-np.abs(value).ravel(), kind="stable")[: counts[name]]
        assert set(np.flatnonzero(masks[name].numpy())) == set(order)


def test_of_equal_weights_the_first_stay() -> None:
    equal = build("mlp:width=3", (1, 2, 2), 2, Rng(0))
    with torch.no_grad():
        for weight in equal.parameters():
            weight.fill_(-1)
    masks = magnitude(equal, sparsity=0.5, rng=Rng(0))
    assert [count.kept for count in masks.by_layer().values()] == [12, 2, 0]
    assert masks["stages.1.0.weight"].flatten().tolist() == [True] * 2 + [False] * 7


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^layout: unknown name 'local'"):
        magnitude(NET, sparsity=0.5, rng=Rng(0), layout="local")
