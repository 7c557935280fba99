"""Effective paths, nodes and weights against walking every path of small networks one by one."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from yoco.networks import build
from yoco.networks.densenet import DenseLayer
from yoco.networks.resnet import Residual
from yoco.rng import Rng
from yoco.sparsify.masks import Masks, weights
from yoco.sparsify.paths import effective

SHAPE = (2, 4, 4)


class Point:
    """A position of a map: the points it can be reached from, each through a weight (name, index) or through none."""

    def __init__(self, before: list[tuple["Point", Any]] | None = None) -> None:
        self.before = before

    def paths(self) -> Iterator[tuple[Any, ...]]:
        """Every chain of weights from a pixel to here."""
        if self.before is None:
            yield ()
        for point, weight in self.before or []:
            for path in point.paths():
                yield path if weight is None else (*path, weight)


Maps = np.ndarray
"""Points [channels, height, width] or [features]."""


def pixels() -> Maps:
    maps = np.empty(SHAPE, dtype=object)
    for at in np.ndindex(SHAPE):
        maps[at] = Point()
    return maps


def conv(maps: Maps, name: str, mask: Tensor, stride: int = 1, padding: int = 0, dilation: int = 1) -> Maps:
    out, per, kernel, _ = mask.shape
    groups = len(maps) // per
    sides = [(side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for side in maps.shape[1:]]
    result = np.empty((out, *sides), dtype=object)
    for o, y, x in np.ndindex(result.shape):
        before = []
        for i, ky, kx in np.ndindex(per, kernel, kernel):
            row, column = y * stride + ky * dilation - padding, x * stride + kx * dilation - padding
            inside = 0 <= row < maps.shape[1] and 0 <= column < maps.shape[2]
            if inside and mask[o, i, ky, kx]:
                before.append((maps[o // (out // groups) * per + i, row, column], (name, o, i, ky, kx)))
        result[o, y, x] = Point(before)
    return result


def linear(features: Maps, name: str, mask: Tensor) -> Maps:
    rows = [[(features[i], (name, o, i)) for i in range(len(features)) if mask[o, i]] for o in range(len(mask))]
    return np.array([Point(before) for before in rows], dtype=object)


def pool(maps: Maps, kernel: int, stride: int, padding: int = 0) -> Maps:
    sides = [(side + 2 * padding - kernel) // stride + 1 for side in maps.shape[1:]]
    windows = [[range(i * stride - padding, i * stride - padding + kernel) for i in range(side)] for side in sides]
    return pooled(maps, windows)


def adaptive(maps: Maps, out: int) -> Maps:
    windows = [[range(i * n // out, math.ceil((i + 1) * n / out)) for i in range(out)] for n in maps.shape[1:]]
    return pooled(maps, windows)


def pooled(maps: Maps, windows: list[list[range]]) -> Maps:
    result = np.empty((len(maps), len(windows[0]), len(windows[1])), dtype=object)
    for c, i, j in np.ndindex(result.shape):
        inside = [(y, x) for y in windows[0][i] for x in windows[1][j]]
        inside = [(y, x) for y, x in inside if 0 <= y < maps.shape[1] and 0 <= x < maps.shape[2]]
        result[c, i, j] = Point([(maps[c, y, x], None) for y, x in inside])
    return result


def add(a: Maps, b: Maps) -> Maps:
    result = np.empty(a.shape, dtype=object)
    for at in np.ndindex(a.shape):
        result[at] = Point([(a[at], None), (b[at], None)])
    return result


def sequence(*parts: Any) -> nn.Sequential:
    return nn.Sequential(*parts)


def chain() -> tuple[nn.Module, Callable[[Masks], Maps]]:
    network = sequence(
        *(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(3, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(2, 3)),
    )

    def walk(m: Masks) -> Maps:
        maps = pool(conv(pixels(), "0.weight", m["0.weight"], padding=1), 2, 2)
        return linear(conv(maps, "4.weight", m["4.weight"]).flatten(), "7.weight", m["7.weight"])

    return network, walk


def flattened() -> tuple[nn.Module, Callable[[Masks], Maps]]:
    network = sequence(nn.Conv2d(2, 3, 3, bias=False), nn.GroupNorm(3, 3), nn.GELU(), nn.Flatten(), nn.Linear(12, 2))

    def walk(m: Masks) -> Maps:
        return linear(conv(pixels(), "0.weight", m["0.weight"]).flatten(), "4.weight", m["4.weight"])

    return network, walk


def strided() -> tuple[nn.Module, Callable[[Masks], Maps]]:
    network = sequence(
        nn.Conv2d(2, 4, 3, 1, 2, dilation=2, groups=2),
        nn.AvgPool2d(3, 2, padding=1),
        nn.Conv2d(4, 2, 3, 2, 1),
        nn.Flatten(),
        nn.Linear(2, 2),
    )

    def walk(m: Masks) -> Maps:
        maps = pool(conv(pixels(), "0.weight", m["0.weight"], 1, 2, 2), 3, 2, 1)
        return linear(conv(maps, "2.weight", m["2.weight"], 2, 1).flatten(), "4.weight", m["4.weight"])

    return network, walk


def residual() -> tuple[nn.Module, Callable[[Masks], Maps]]:
    path = sequence(nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 1))
    again = sequence(nn.Conv2d(2, 3, 3, 2, 1))
    network = sequence(
        *(Residual(path, nn.Identity()), Residual(again, nn.Conv2d(2, 3, 1, 2))),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)),
    )

    def walk(m: Masks) -> Maps:
        start = pixels()
        inner = conv(start, "0.path.0.weight", m["0.path.0.weight"], padding=1)
        maps = add(conv(inner, "0.path.3.weight", m["0.path.3.weight"]), start)
        long = conv(maps, "1.path.0.weight", m["1.path.0.weight"], 2, 1)
        maps = add(long, conv(maps, "1.shortcut.weight", m["1.shortcut.weight"], 2))
        return linear(adaptive(maps, 1).flatten(), "4.weight", m["4.weight"])

    return network, walk


def dense() -> tuple[nn.Module, Callable[[Masks], Maps]]:
    network = sequence(DenseLayer(2, 1, "instance"), DenseLayer(3, 1, "batch"), nn.AdaptiveMaxPool2d(3), nn.Flatten(2))
    network.append(Mean()).append(nn.Linear(4, 2))

    def walk(m: Masks) -> Maps:
        maps = pixels()
        for layer in "01":
            new = conv(maps, f"{layer}.new.2.weight", m[f"{layer}.new.2.weight"])
            new = conv(new, f"{layer}.new.5.weight", m[f"{layer}.new.5.weight"], padding=1)
            maps = np.concatenate([maps, new])
        whole = pooled(adaptive(maps, 3), [[range(3)], [range(3)]])
        return linear(whole.flatten(), "5.weight", m["5.weight"])

    return network, walk


class Mean(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean(-1)


def sparse(network: nn.Module, seed: int, share: float) -> Masks:
    generator = Rng(seed).generator()
    return Masks({n: torch.rand(w.shape, generator=generator) < share for n, w in weights(network).items()})


@pytest.mark.parametrize("make", [chain, flattened, strided, residual, dense])
@pytest.mark.parametrize(("seed", "share"), [(0, 0.5), (1, 0.35), (2, 0.35), (3, 0.2), (4, 0.2), (5, 0.12)])
def test_counts_are_those_of_walking_every_path(make: Any, seed: int, share: float) -> None:
    network, walk = make()
    masks = sparse(network, seed, share)
    paths = [path for point in walk(masks) for path in point.paths()]
    found = effective(network, SHAPE, masks)
    used = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    for name, *at in {weight for path in paths for weight in path}:
        used[name][tuple(at)] = True
    assert found.masks == Masks(used)
    assert found.weights == sum(int(mask.sum()) for mask in used.values())
    assert (found.kept, found.total) == (masks.kept, masks.total)
    if paths:
        assert found.log_paths == pytest.approx(math.log(len(paths)), abs=1e-12)
        assert found.log10_paths == pytest.approx(math.log10(len(paths)), abs=1e-12)
    else:
        assert found.log_paths == -math.inf


def test_nodes_are_units_that_enter_a_layer_and_outputs() -> None:
    network, walk = residual()
    for seed in range(8):
        masks = sparse(network, seed, 0.3)
        used = {weight for point in walk(masks) for path in point.paths() for weight in path}
        inputs = {("sum0", at[2]) for at in used if at[0] in ("1.path.0.weight", "1.shortcut.weight")}
        inputs |= {("image", at[2]) for at in used if at[0] == "0.path.0.weight"}
        inputs |= {("inner", at[2]) for at in used if at[0] == "0.path.3.weight"}
        inputs |= {("sum1", at[2]) for at in used if at[0] == "4.weight"}
        outputs = {at[1] for at in used if at[0] == "4.weight"}
        found = effective(network, SHAPE, masks)
        assert (found.nodes, found.all_nodes) == (len(inputs) + len(outputs), 2 + 2 + 2 + 3 + 2)


def test_channels_of_a_dense_block_are_nodes_once_and_grouped_inputs_are_told_apart() -> None:
    network, _ = dense()
    assert effective(network, SHAPE).all_nodes == 2 + 4 + 1 + 4 + 1 + 2
    network, _ = strided()
    masks = sparse(network, 0, 1.0)
    masks["0.weight"][2:] = False
    found = effective(network, SHAPE, masks)
    assert (found.nodes, found.all_nodes) == (1 + 2 + 2 + 2, 2 + 4 + 2 + 2)


def test_resnet20_has_the_701_nodes_of_the_authors() -> None:
    network = build("resnet20", (3, 32, 32), 10, Rng(0))
    found = effective(network, (3, 32, 32))
    assert (found.nodes, found.all_nodes) == (701, 701)
    assert found.weights == found.total == 270_896


def test_by_default_what_is_not_zero_counts() -> None:
    network, _ = residual()
    masks = sparse(network, 3, 0.5)
    with torch.no_grad():
        for name, mask in masks.items():
            network.get_parameter(name).mul_(mask)
    assert effective(network, SHAPE) == effective(network, SHAPE, masks)
    first = Masks({"4.weight": torch.ones(2, 3).bool()})
    changed = Masks({**masks, **first})
    assert effective(network, SHAPE, first).log_paths == effective(network, SHAPE, changed).log_paths


def test_masks_must_fit() -> None:
    with pytest.raises(ValueError, match=r"^masks: 0.weight must be \[3, 2, 3, 3\] as in the network, got \[2\]$"):
        effective(chain()[0], SHAPE, Masks({"0.weight": torch.ones(2).bool()}))


@pytest.mark.parametrize(
    "name", ["mlp:width=8", "lenet", "vgg11:width=4", "resnet_ap10:width=4", "densenet:blocks=2-2"]
)
def test_our_networks_are_in_use_as_a_whole(name: str) -> None:
    network = build(name, (3, 16, 16), 4, Rng(0))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.autocast = torch.bfloat16
    found = effective(network, (3, 16, 16), sparse(network, 0, 1.0))
    assert found.weights == found.total or name in ("vgg11:width=4", "resnet_ap10:width=4")
    assert found.nodes == found.all_nodes
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_adaptive_pools_have_windows_of_their_own_in_each_direction() -> None:
    network = sequence(nn.Conv2d(2, 1, 1), nn.AdaptiveAvgPool2d((3, 2)), nn.Flatten(), nn.Linear(6, 1))
    shape, head = (2, 5, 4), torch.zeros(1, 6).bool()
    for place, window in enumerate([2 * 2, 2 * 2, 3 * 2, 3 * 2, 2 * 2, 2 * 2]):
        masks = Masks({"3.weight": head.index_fill(1, torch.tensor([place]), True)})
        assert effective(network, shape, masks).log_paths == pytest.approx(math.log(2 * window))


def test_positions_that_meet_only_padding_are_not_effective() -> None:
    network = sequence(nn.Conv2d(2, 3, 3, padding=1))
    found = effective(network, (2, 1, 1)).masks["0.weight"]
    assert found[:, :, 1, 1].all()
    assert found.sum() == 6
