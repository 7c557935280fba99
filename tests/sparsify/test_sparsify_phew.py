"""PHEW: the odds of its walks, where they begin, and exact counts."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from yoco.networks import build
from yoco.networks.resnet import Residual
from yoco.rng import Rng
from yoco.sparsify.flow import follow
from yoco.sparsify.masks import Masks, budget, weights
from yoco.sparsify.methods.phew import FEWEST, _starts, _Walks, phew
from yoco.sparsify.paths import effective


def linear(*widths: int) -> nn.Module:
    with Rng(3).as_global():
        layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
    return nn.Sequential(nn.Flatten(), *layers)


def visits(network: nn.Module, shape: tuple[int, int, int], batches: int) -> dict[str, np.ndarray]:
    """How often a walk crosses each weight, on average."""
    walks, generator = _Walks(network, shape), Rng(0).generator()
    crossed = torch.cat([walks.crossed(k * FEWEST // 2, FEWEST, generator) for k in range(batches)])
    sizes = weights(network)
    counts = torch.bincount(crossed, minlength=sum(w.numel() for w in sizes.values())).double() / (batches * FEWEST)
    parts = counts.split([w.numel() for w in sizes.values()])
    return {n: part.reshape(w.shape).numpy() for (n, w), part in zip(sizes.items(), parts, strict=True)}


def test_units_come_with_the_odds_of_their_weights_in_both_directions() -> None:
    network = linear(3, 4, 2)
    first, second = (np.abs(weight.numpy()) for weight in weights(network).values())
    found = visits(network, (1, 1, 3), 60)
    there = first / first.sum(0) / 3
    onward = there.sum(1) * second / second.sum(0)
    back = second / second.sum(1, keepdims=True) / 2
    further = back.sum(0)[:, None] * first / first.sum(1, keepdims=True)
    assert np.abs(found["1.weight"] - (there + further) / 2).max() < 0.015
    assert np.abs(found["2.weight"] - (onward + back) / 2).max() < 0.015


def test_positions_of_a_kernel_come_with_the_odds_of_their_weights() -> None:
    with Rng(4).as_global():
        network = nn.Sequential(nn.Conv2d(2, 3, 2), nn.AdaptiveAvgPool2d(1))
    kernels = np.abs(weights(network)["0.weight"].numpy())
    sums = kernels.sum((2, 3), keepdims=True)
    forward = kernels / sums * (sums / sums.sum(0, keepdims=True)) / 2
    backward = kernels / sums * (sums / sums.sum(1, keepdims=True)) / 3
    assert np.abs(visits(network, (2, 3, 3), 60)["0.weight"] - (forward + backward) / 2).max() < 0.015


def test_walks_stay_in_their_group() -> None:
    with Rng(0).as_global():
        network = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 2, 1, groups=2))
    walks, generator = _Walks(network, (4, 2, 2)), Rng(0).generator()
    crossed = torch.cat([walks.crossed(k * FEWEST // 2, FEWEST, generator) for k in range(8)])
    pairs = crossed.reshape(-1, 2).sort(1).values
    groups = torch.stack([pairs[:, 0] // 4, (pairs[:, 1] - 8) // 2], 1)
    assert torch.equal(groups[:, 0], groups[:, 1])
    assert sorted(crossed.unique().tolist()) == list(range(12))


def test_every_walk_is_a_chain_from_an_input_to_an_output() -> None:
    network = linear(5, 6, 7, 3)
    crossed = _Walks(network, (1, 1, 5)).crossed(0, FEWEST, Rng(0).generator()).reshape(FEWEST, 3)
    for turn, walk in enumerate(crossed.tolist()):
        first, second, third = sorted(walk)
        assert walk == ([first, second, third] if turn % 2 == 0 else [third, second, first])
        (a, start), (b, middle), (end, c) = divmod(first, 5), divmod(second - 30, 6), divmod(third - 72, 7)
        assert (a, b) == (middle, c)
        assert start == turn // 2 % 5 if turn % 2 == 0 else end == turn // 2 % 3


def test_walks_begin_at_channels_or_at_pixels_where_these_are_flattened() -> None:
    def starts(network: nn.Module, shape: tuple[int, int, int]) -> int:
        return len(_starts(follow(network, shape, lambda name, weight, log: torch.ones_like(weight) > 0)))

    assert starts(build("mlp:width=4", (2, 3, 3), 3, Rng(0)), (2, 3, 3)) == 18
    assert starts(build("convnet:width=4,depth=1", (2, 4, 4), 3, Rng(0)), (2, 4, 4)) == 2


def test_branches_are_equally_likely_and_positions_of_flattened_maps_too() -> None:
    network = nn.Sequential(Residual(nn.Conv2d(1, 1, 1), nn.Identity()), nn.Flatten(), nn.Linear(4, 1))
    with torch.no_grad():
        network[2].weight.copy_(torch.tensor([[1.0, 0.0, 0.0, 3.0]]))
    found = visits(network, (1, 2, 2), 60)
    assert found["0.path.weight"].item() == pytest.approx(0.5, abs=0.015)
    expected = (np.full(4, 0.25) + np.array([0.25, 0, 0, 0.75])) / 2
    assert np.abs(found["2.weight"][0] - expected).max() < 0.015


class Wide(nn.Module):
    """Maps that go to two layers at once."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(8, 2, 1)

    def forward(self, maps: Tensor) -> Tensor:
        return self.head(torch.cat([maps, self.one(maps), self.two(maps)], 1))


@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.9])
def test_all_but_the_last_walk_lie_on_paths(sparsity: float) -> None:
    network = Wide()
    masks = phew(network, sparsity=sparsity, rng=Rng(1), shape=(2, 5, 5))
    assert masks.kept == budget(masks.total, sparsity)
    assert effective(network, (2, 5, 5), masks).weights >= masks.kept - 1


def test_each_batch_of_walks_begins_where_the_last_one_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, whole = [], _Walks.crossed

    def crossed(self: _Walks, first: int, count: int, generator: torch.Generator) -> Tensor:
        begun.append((first, count))
        return whole(self, first, count, generator)

    monkeypatch.setattr(_Walks, "crossed", crossed)
    phew(linear(60, 40, 2), sparsity=0.5, rng=Rng(0), shape=(1, 1, 60))
    assert len(begun) > 2
    assert begun[0] == (0, 1240)
    assert [first for first, _ in begun[1:]] == [first + count // 2 for first, count in begun[:-1]]
    assert all(FEWEST <= count <= 1240 and count % 2 == 0 for _, count in begun)


def test_weights_of_zero_are_taken_last_and_then_by_their_size() -> None:
    network = linear(6, 8, 4)
    rare = torch.rand(8, 6, generator=Rng(8).generator()) < 0.6
    with torch.no_grad():
        network[1].weight[rare] = 0
        network[1].weight[0] = torch.tensor([1e-12, 3e-12, 2e-12, 1.0, 1.0, 1.0])
    total = 48 + 32
    dead = int((network[1].weight == 0).sum())
    masks = phew(network, sparsity=(dead + 2) / total, rng=Rng(0), shape=(1, 1, 6))
    assert masks.kept == total - dead - 2
    assert not masks["1.weight"][network[1].weight == 0].any()
    assert masks["1.weight"][0].tolist() == [False, True, False, True, True, True]


def test_large_weights_are_kept_rather_than_small_ones() -> None:
    network = build("convnet:width=16,depth=2", (1, 8, 8), 3, Rng(0))
    masks = phew(network, sparsity=0.8, rng=Rng(0), shape=(1, 8, 8))
    for name, weight in weights(network).items():
        if name != "stages.0.0.weight":
            kept, gone = weight[masks[name]].abs().mean(), weight[~masks[name]].abs().mean()
            assert kept > 1.2 * gone


def test_a_shape_is_needed_and_the_network_must_be_one_that_can_be_followed() -> None:
    with pytest.raises(ValueError, match=r"^phew: needs shape=\(C, H, W\) of an image, or data, got neither$"):
        phew(linear(2, 2), sparsity=0.5, rng=Rng(0))
    with pytest.raises(ValueError, match=r"^paths: cannot follow softmax"):
        phew(nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.Softmax(1)), sparsity=0.5, rng=Rng(0), shape=(2, 1, 1))


def test_the_result_is_masks_of_the_whole_network() -> None:
    network = build("densenet:blocks=2-2,growth=4", (1, 8, 8), 3, Rng(0))
    masks = phew(network, sparsity=0.9, rng=Rng(0), shape=(1, 8, 8))
    assert isinstance(masks, Masks)
    masks.check(network)
    assert all(count.kept for count in masks.by_layer().values())
