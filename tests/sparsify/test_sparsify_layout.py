"""Layouts: exact totals, and shares against the slow loops of the papers."""

import math

import pytest
import torch
from torch import nn

from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.layout import LAYOUTS, erk, layout_of, uniform, uniform_plus
from yoco.sparsify.masks import budget, weights

NETWORKS = ["mlp:width=12", "lenet", "convnet:width=8,depth=2", "resnet20:width=4", "densenet:blocks=2-2,growth=4"]
SPARSITIES = [0.0, 0.001, 0.3, 0.5, 0.8, 0.9, 0.968377, 0.99, 0.998]


def net(name: str) -> nn.Module:
    return build(name, (1, 8, 8), 3, Rng(0))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", LAYOUTS)
def test_totals_are_exact_and_no_layer_is_empty_or_overfull(name: str, kind: str) -> None:
    sizes = {n: w.numel() for n, w in weights(net(name)).items()}
    for sparsity in SPARSITIES:
        total = budget(sum(sizes.values()), sparsity)
        if kind == "uniform_plus" and sparsity > 0.8:
            continue
        counts = layout_of(kind)(net(name), sparsity)
        assert list(counts) == list(sizes)
        assert sum(counts.values()) == total
        least = 1 if total >= len(sizes) else 0
        assert all(least <= counts[n] <= sizes[n] for n in sizes)


def published(shapes: dict[str, torch.Size], density: float) -> dict[str, float]:
    """The loop of RigL's code: layers whose probability exceeds one become dense, and epsilon is solved anew."""
    dense: set[str] = set()
    while True:
        divisor, rhs, raw = 0.0, 0.0, {}
        for name, shape in shapes.items():
            n = math.prod(shape)
            if name in dense:
                rhs -= n * (1 - density)
            else:
                rhs += n * density
                raw[name] = sum(shape) / n
                divisor += raw[name] * n
        epsilon, most = rhs / divisor, max(raw.values())
        if most * epsilon <= 1:
            return {n: 1.0 if n in dense else epsilon * raw[n] for n in shapes}
        dense |= {n for n in raw if raw[n] == most}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.8, 0.95])
def test_erk_has_the_shares_of_the_published_loop(name: str, sparsity: float) -> None:
    shapes = {n: w.shape for n, w in weights(net(name)).items()}
    counts, expected = erk(net(name), sparsity), published(shapes, 1 - sparsity)
    for n, shape in shapes.items():
        assert abs(counts[n] - expected[n] * shape.numel()) <= 1
    if sparsity == 0.3:
        assert any(counts[n] == shape.numel() for n, shape in shapes.items())


def test_uniform_shares_differ_by_less_than_a_weight() -> None:
    counts = uniform(net("resnet20:width=4"), 0.9)
    for n, weight in weights(net("resnet20:width=4")).items():
        assert abs(counts[n] - 0.1 * weight.numel()) < 1


def test_a_layer_of_few_weights_keeps_one_and_the_largest_share_pays() -> None:
    small = nn.Sequential(nn.Linear(1, 2, bias=False), nn.Linear(2, 400, bias=False), nn.Linear(400, 3, bias=False))
    assert uniform(small, 0.99) == {"0.weight": 1, "1.weight": 8, "2.weight": 12}
    assert uniform(small, 0.9985) == {"0.weight": 1, "1.weight": 1, "2.weight": 2}
    assert uniform(small, 0.9991) == {"0.weight": 0, "1.weight": 1, "2.weight": 1}


def test_uniform_plus_leaves_the_first_convolution_and_a_fifth_of_the_last_layer() -> None:
    network = net("convnet:width=8,depth=2")
    sizes = {n: w.numel() for n, w in weights(network).items()}
    first, middle, last = sizes
    counts = uniform_plus(network, 0.8)
    assert counts[first] == sizes[first] == 72
    assert counts[last] == math.ceil(sizes[last] / 5) == 20
    assert counts[middle] == budget(sum(sizes.values()), 0.8) - 92
    mild = uniform_plus(network, 0.3)
    assert mild[first] == 72
    assert abs(mild[middle] / sizes[middle] - mild[last] / sizes[last]) < 0.01


def test_uniform_plus_does_not_spare_a_linear_first_layer() -> None:
    counts = uniform_plus(net("mlp:width=12"), 0.9)
    sizes = {n: w.numel() for n, w in weights(net("mlp:width=12")).items()}
    first, middle, last = sizes
    assert counts[last] == math.ceil(sizes[last] / 5)
    assert abs(counts[first] / sizes[first] - counts[middle] / sizes[middle]) < 0.01


def test_uniform_plus_says_how_sparse_it_can_be() -> None:
    network = net("convnet:width=8,depth=2")
    with pytest.raises(ValueError, match=r"^uniform_plus: sparsity must be at most 0.8750 for this network, got 0.95$"):
        uniform_plus(network, 0.95)
    assert sum(uniform_plus(network, 0.875).values()) == 93
    assert uniform_plus(network, 0.875)["stages.1.0.weight"] == 1


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^layout: unknown name 'erp'; did you mean 'erk'\?"):
        layout_of("erp")
