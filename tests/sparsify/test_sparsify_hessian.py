"""Second moments against literal loops over images and positions; the network that was watched is as it was."""

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from yoco.data.source import Splits
from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.hessian import moments, moments_after
from yoco.sparsify.network import layers, matrix, neighbours, parts, patches, run

CONVOLUTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"stride": (2, 1)},
    {"padding": (1, 2)},
    {"padding": "same", "kernel_size": (4, 3)},
    {"padding": "same", "dilation": 2},
    {"padding": "valid"},
    {"padding": 2, "padding_mode": "reflect"},
    {"padding": (2, 1), "padding_mode": "circular", "stride": 2},
    {"padding": "same", "kernel_size": (2, 3), "padding_mode": "replicate"},
    {"dilation": (2, 1), "stride": (1, 3), "padding": 1},
    {"groups": 2, "padding": 1},
    {"groups": 4},
    {"groups": 4, "out_channels": 8, "stride": 2, "padding": 1},
    {"kernel_size": 1},
)
EVEN = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
MODES = {"zeros": "constant", "reflect": "reflect", "circular": "wrap", "replicate": "edge"}


def convolution(given: dict[str, Any], bias: bool) -> nn.Conv2d:
    with Rng(1).as_global():
        return nn.Conv2d(**{"in_channels": 4, "out_channels": 4, "kernel_size": 3, "bias": bias, **given}).double()


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=Rng(seed).generator(), dtype=torch.float64)


def literal(layer: nn.Conv2d, given: np.ndarray) -> list[np.ndarray]:
    """All patches of each group, image by image and position by position."""
    (kh, kw), (sh, sw), (dh, dw) = layer.kernel_size, layer.stride, layer.dilation
    if layer.padding == "same":
        total = [dh * (kh - 1), dw * (kw - 1)]
        around = [(size // 2, size - size // 2) for size in total]
    else:
        around = [(0, 0), (0, 0)] if layer.padding == "valid" else [(size, size) for size in layer.padding]
    padded = np.pad(given, [(0, 0), (0, 0), *around], mode=MODES[layer.padding_mode])
    found: list[list[list[float]]] = [[] for _ in range(layer.groups)]
    channels = given.shape[1] // layer.groups
    for image in padded:
        for top in range(0, image.shape[1] - dh * (kh - 1), sh):
            for left in range(0, image.shape[2] - dw * (kw - 1), sw):
                for group, rows in enumerate(found):
                    row = [
                        image[group * channels + c, top + i * dh, left + j * dw]
                        for c in range(channels)
                        for i in range(kh)
                        for j in range(kw)
                    ]
                    rows.append(row + [1.0] * (layer.bias is not None))
    return [np.array(rows) for rows in found]


@EVEN
@pytest.mark.parametrize("given", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_moments_of_a_convolution_are_sums_over_images_and_positions(given: dict[str, Any], bias: bool) -> None:
    layer, x = convolution(given, bias), images(3, 4, 6, 5)
    rows = literal(layer, x.numpy())
    found = moments(layer, [x[:2], x[2:]])["weight"]
    assert (found.n, found.images) == (len(rows[0]), 3)
    assert found.positions == layer(x)[0, 0].numel()
    assert found.dense.dtype == torch.float64
    np.testing.assert_allclose(found.dense.numpy(), np.stack([r.T @ r for r in rows]), rtol=1e-12, atol=1e-12)
    assert found.sparse is found.dense
    assert found.cross is found.dense


@EVEN
@pytest.mark.parametrize("given", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_matrix_and_patches_are_the_convolution(given: dict[str, Any], bias: bool) -> None:
    layer, x = convolution(given, bias), images(3, 4, 6, 5)
    np.testing.assert_array_equal(patches(layer, x).numpy(), np.stack(literal(layer, x.numpy())))
    outputs = layer(x)
    rows = patches(layer, x) @ matrix(layer).mT
    made = rows.unflatten(1, (3, -1)).permute(1, 0, 3, 2).reshape(outputs.shape)
    torch.testing.assert_close(made, outputs, rtol=1e-12, atol=1e-12)
    weight, offset = parts(layer, matrix(layer))
    assert torch.equal(weight, layer.weight)
    assert (offset is None) == (layer.bias is None)
    assert offset is None or torch.equal(offset, layer.bias)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_neighbours_are_channels_at_one_position_of_the_kernel(groups: int, bias: bool) -> None:
    layer = convolution({"groups": groups, "kernel_size": (3, 2)}, bias)
    found = matrix(layer)[:, :, neighbours(layer)].flatten(0, 1)
    assert torch.equal(found[:, : found.shape[1] - bias], layer.weight.permute(0, 2, 3, 1).flatten(1))
    assert not bias or torch.equal(found[:, -1], layer.bias)
    assert neighbours(nn.Linear(5, 2, bias=bias)).tolist() == list(range(5 + bias))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(5, 4), (5, 3, 4), (5, 2, 3, 4)])
def test_a_linear_layer_has_an_input_for_each_place_of_leading_dimensions(bias: bool, shape: tuple[int, ...]) -> None:
    with Rng(1).as_global():
        layer = nn.Linear(4, 3, bias=bias).double()
    x = images(*shape)
    rows = np.array([[*row, 1.0][: 4 + bias] for row in x.reshape(-1, 4).tolist()])
    found = moments(layer, x.split(2))["weight"]
    assert (found.n, found.images, found.positions) == (len(rows), 5, len(rows) / 5)
    np.testing.assert_allclose(found.dense[0].numpy(), sum(np.outer(row, row) for row in rows), rtol=1e-13)
    made = (patches(layer, x) @ matrix(layer).mT)[0].reshape(*shape[:-1], 3)
    torch.testing.assert_close(made, layer(x), rtol=1e-13, atol=1e-13)
    weight, offset = parts(layer, matrix(layer))
    assert torch.equal(weight, layer.weight)
    assert (offset is None) == (not bias)


def test_patches_and_kernels_are_flattened_alike() -> None:
    """The released L-OBS code has channels last in its patches, first in its kernels."""
    layer, x = convolution({}, False), images(1, 4, 3, 3)
    for channel, i, j in np.ndindex(4, 3, 3):
        nn.init.zeros_(layer.weight)
        layer.weight.data[0, channel, i, j] = 1
        (place,) = matrix(layer)[0, 0].nonzero().flatten().tolist()
        assert patches(layer, x)[0, 0, place] == x[0, channel, i, j]
    layer = convolution({}, False)
    other = layer.weight.permute(0, 2, 3, 1).flatten(1)
    assert not torch.allclose(patches(layer, x)[0] @ other.T, layer(x).flatten(1))
    assert torch.equal(patches(layer, x)[0], nn.Unfold(3)(x)[0].T)


def test_batches_of_any_size_give_the_same_sums(tiny: Splits) -> None:
    network = build("lenet", (1, 8, 8), 3, Rng(0)).double()
    x = tiny.train.batch(torch.arange(30)).images.double()
    whole = moments(network, [x])
    assert list(whole) == [f"stages.{k}.{0 if k != 2 else 1}.weight" for k in range(4)] + ["head.weight"]
    for size in (1, 7, 29):
        for name, found in moments(network, x.split(size)).items():
            assert (found.n, found.images) == (whole[name].n, 30)
            torch.testing.assert_close(found.dense, whole[name].dense, rtol=1e-12, atol=1e-12)


def test_batches_are_streamed() -> None:
    alive: list[weakref.ref[Tensor]] = []

    def batches() -> Iterator[Tensor]:
        for number in range(4):
            assert all(batch() is None for batch in alive[:-1])
            batch = images(2, 4, seed=number)
            alive.append(weakref.ref(batch))
            yield batch
            del batch

    assert moments(nn.Linear(4, 2).double(), batches())["weight"].images == 8


def test_sums_of_float32_images_are_float64() -> None:
    layer, x = nn.Linear(3, 2), images(1000, 3).float() + 1e4
    found = moments(layer, x.split(10))["weight"].dense[0, :3, :3]
    torch.testing.assert_close(found, x.double().T @ x.double(), rtol=1e-13, atol=0)


class Odd(nn.Module):
    """A layer that runs twice, one that shares its weight, and one that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.twin, self.never = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.twin.weight = self.twice.weight

    def forward(self, x: Tensor) -> Any:
        return self.twin(self.twice(self.twice(x).relu()))


def test_a_layer_that_runs_twice_has_twice_the_inputs() -> None:
    with Rng(0).as_global():
        network = Odd().double()
    x = images(6, 4)
    assert list(layers(network)) == ["twice.weight", "never.weight"]
    assert layers(network)["twice.weight"] is network.twice
    found = moments(network, x.split(4))
    assert list(found) == ["twice.weight"]
    rows = torch.cat([x, network.twice(x).relu()])
    rows = torch.cat([rows, torch.ones(12, 1)], 1)
    torch.testing.assert_close(found["twice.weight"].dense[0], rows.T @ rows, rtol=1e-12, atol=1e-12)
    assert (found["twice.weight"].n, found["twice.weight"].images, found["twice.weight"].positions) == (12, 6, 2)


class Named(nn.Module):
    """Calls its layer by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2, bias=False).double()

    def forward(self, x: Tensor) -> Any:
        return self.layer(input=x)


def test_a_layer_may_be_called_by_keyword() -> None:
    x = images(6, 4)
    torch.testing.assert_close(moments(Named(), [x])["layer.weight"].dense[0], x.T @ x)


def test_only_the_layers_that_are_named(tiny: Splits) -> None:
    network, x = build("mlp:width=8", (1, 8, 8), 3, Rng(0)), tiny.train.batch(torch.arange(9)).images
    assert list(moments(network, [x], ["head.weight"])) == ["head.weight"]


@pytest.mark.parametrize("batches", [[], [torch.zeros(0, 4)]])
def test_there_must_be_images(batches: list[Tensor]) -> None:
    with pytest.raises(ValueError, match=r"^hessian: needs images that reach the layers, got none$"):
        moments(nn.Linear(4, 2), batches)


def test_there_must_be_layers() -> None:
    with pytest.raises(ValueError, match=r"^prunable: the network must have Linear or Conv2d layers, got ReLU$"):
        layers(nn.ReLU())


def state(network: nn.Module) -> tuple[list[Tensor], list[bool], list[int]]:
    """Values, modes and numbers of hooks."""
    modules = list(network.modules())
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules]
    return [value.clone() for value in network.state_dict().values()], [m.training for m in modules], hooks


@pytest.mark.parametrize("size", [8, 9])
def test_the_network_is_as_it_was_also_after_an_error(size: int) -> None:
    network = build("convnet:width=4,depth=2,norm=batch", (1, 8, 8), 3, Rng(0)).train()
    network.stages[1].eval()
    values, modes, hooks = state(network)
    batches = [torch.rand(2, 1, 8, 8), torch.rand(2, 1, size + 8, size)][: 1 + (size == 9)]
    if size == 9:
        with pytest.raises(RuntimeError):
            moments(network, batches)
        with pytest.raises(RuntimeError):
            moments_after(network, network, [torch.rand(2, 2, 8, 8)], "head.weight")
    else:
        moments(network, batches)
        moments_after(network, network, batches, "stages.1.0.weight")
        run(network, batches[0])
    after = state(network)
    assert all(torch.equal(*pair) for pair in zip(values, after[0], strict=True))
    assert (modes, hooks) == after[1:]
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_inputs_are_those_of_evaluation_mode() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.9), nn.Linear(4, 2)).double().train()
    x = images(5, 4)
    rows = torch.cat([network[0](x), torch.ones(5, 1)], 1).detach()
    found = moments(network, [x])["2.weight"].dense[0]
    torch.testing.assert_close(found, rows.T @ rows, rtol=1e-13, atol=1e-13)


def test_networks_that_compute_in_bfloat16(tiny: Splits) -> None:
    network = build("convnet:width=4,depth=2,norm=batch", (1, 8, 8), 3, Rng(0))
    x = tiny.train.batch(torch.arange(10)).images
    plain, caught = moments(network, [x]), []
    network.autocast = torch.bfloat16
    handle = network.head.register_forward_pre_hook(lambda _, given: caught.append(given[0].detach()))
    found = moments(network, [x])
    handle.remove()
    assert caught[0].dtype == torch.bfloat16
    rows = torch.cat([caught[0].double(), torch.ones(10, 1)], 1)
    torch.testing.assert_close(found["head.weight"].dense[0], rows.T @ rows, rtol=1e-12, atol=1e-12)
    for name in plain:
        gap = (found[name].dense - plain[name].dense).norm() / plain[name].dense.norm()
        assert found[name].dense.dtype == torch.float64
        assert gap < 0.02
