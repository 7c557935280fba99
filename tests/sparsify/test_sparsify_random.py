"""Random masks: chance alone, by the layout."""

import pytest
import torch
from torch import nn

from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.layout import LAYOUTS, layout_of
from yoco.sparsify.masks import weights
from yoco.sparsify.methods.random import random

NET = build("convnet:width=16,depth=2", (1, 8, 8), 3, Rng(0))


@pytest.mark.parametrize("kind", LAYOUTS)
def test_each_layer_keeps_what_the_layout_says(kind: str) -> None:
    masks = random(NET, sparsity=0.75, rng=Rng(1), layout=kind)
    assert {name: count.kept for name, count in masks.by_layer().items()} == layout_of(kind)(NET, 0.75)


def test_the_shares_are_those_of_erk_by_default() -> None:
    assert random(NET, sparsity=0.75, rng=Rng(1)) == random(NET, sparsity=0.75, rng=Rng(1), layout="erk")


def test_weights_and_other_layers_do_not_count() -> None:
    other = build("convnet:width=16,depth=2", (1, 8, 8), 3, Rng(5))
    assert random(NET, sparsity=0.75, rng=Rng(1)) == random(other, sparsity=0.75, rng=Rng(1))
    deeper = build("convnet:width=16,depth=3", (1, 8, 8), 3, Rng(5))
    first = "stages.0.0.weight"
    one, more = (random(net, sparsity=0.0, rng=Rng(1))[first] for net in (NET, deeper))
    assert torch.equal(one, more)


def test_layers_of_one_size_differ() -> None:
    network = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
    masks = random(network, sparsity=0.5, rng=Rng(1))
    assert not torch.equal(masks["0.weight"], masks["1.weight"])


def test_each_weight_is_kept_as_often_as_any_other() -> None:
    name, draws = "stages.0.0.weight", 400
    share = layout_of("uniform")(NET, 0.7)[name] / weights(NET)[name].numel()
    masks = [random(NET, sparsity=0.7, rng=Rng(seed), layout="uniform")[name] for seed in range(draws)]
    often = torch.stack(masks).double().mean(0)
    assert (often - share).abs().max() < 4.5 * (share * (1 - share) / draws) ** 0.5
    assert often.std() == pytest.approx((share * (1 - share) / draws) ** 0.5, rel=0.2)
