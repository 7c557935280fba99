"""What enters layers, and its second moments, against literal loops over images and positions."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from yoco.rng import Rng
from yoco.sparsify.hessian import moments
from yoco.sparsify.network import matrix, neighbours, parts, patches

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


CHANGES: tuple[dict[str, Any], ...] = (
    {"padding": (1, 2)},
    {"padding": 2},
    {"padding": "same", "dilation": (2, 1)},
    {"padding": "valid"},
    {"padding": (0, 1), "dilation": (1, 2), "stride": (2, 1)},
)


@pytest.mark.parametrize("change", CHANGES, ids=str)
@pytest.mark.parametrize("given", [{}, {"padding": 1}, {"padding": "same", "dilation": 2}], ids=str)
def test_padding_and_dilation_may_be_set_on_a_layer_that_is_made(given: dict[str, Any], change: dict[str, Any]) -> None:
    layer, x = convolution(given, True), images(3, 4, 6, 5)
    for name, value in change.items():
        setattr(layer, name, value)
    outputs = layer(x)
    rows = patches(layer, x) @ matrix(layer).mT
    made = rows.unflatten(1, (3, -1)).permute(1, 0, 3, 2).reshape(outputs.shape)
    torch.testing.assert_close(made, outputs, rtol=1e-12, atol=1e-12)


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
