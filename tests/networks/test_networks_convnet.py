import numpy as np
import pytest
import torch

from yoco.networks.convnet import ConvNet, usual_depth
from yoco.rng import Rng


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def formula(channels: int, classes: int, width: int, depth: int, last: int, affine: int = 2) -> int:
    convolutions = (channels * 9 + 1) * width + (depth - 1) * (width * 9 + 1) * width
    return convolutions + depth * affine * width + (width * last * last + 1) * classes


@pytest.mark.parametrize(
    ("channels", "side", "classes", "depth", "last"),
    [
        (3, 32, 10, 3, 4),
        (3, 32, 100, 3, 4),
        (1, 28, 10, 3, 4),
        (1, 32, 10, 3, 4),
        (3, 28, 10, 3, 3),
        (1, 8, 10, 3, 1),
        (3, 64, 200, 4, 4),
        (3, 128, 10, 5, 4),
    ],
)
def test_parameters(channels: int, side: int, classes: int, depth: int, last: int) -> None:
    assert count(ConvNet(channels, classes, (side, side))) == formula(channels, classes, 128, depth, last)


def test_parameters_of_the_published_network() -> None:
    assert count(ConvNet(3, 10, (32, 32))) == 320_010
    assert count(ConvNet(1, 10, (28, 28))) == 317_706


def test_parameters_with_other_norms() -> None:
    none, batch = (count(ConvNet(3, 10, (32, 32), width=8, norm=norm)) for norm in ("none", "batch"))
    assert none == formula(3, 10, 8, 3, 4, affine=0)
    assert batch == formula(3, 10, 8, 3, 4)


@pytest.mark.parametrize(
    ("side", "depth"),
    [(2, 1), (4, 2), (7, 2), (8, 3), (16, 3), (28, 3), (32, 3), (45, 3), (46, 4), (64, 4), (96, 5), (128, 5), (224, 6)],
)
def test_usual_depth(side: int, depth: int) -> None:
    assert usual_depth((side, side)) == depth
    assert usual_depth((side, 4 * side)) == depth


def test_only_grey_28x28_is_padded_to_32x32() -> None:
    def first_map(channels: int, side: int) -> int:
        network = ConvNet(channels, 10, (side, side), width=4)
        return int(network.features(torch.zeros(1, channels, side, side))[0].shape[-1])

    assert first_map(1, 28) == 16
    assert first_map(3, 28) == 14
    assert first_map(1, 32) == 16


def test_images_need_not_be_square() -> None:
    network = ConvNet(3, 5, (16, 40), width=4, depth=3)
    assert network(torch.zeros(2, 3, 16, 40)).shape == (2, 5)
    assert network.head.in_features == 4 * 2 * 5


def reference(network: ConvNet, images: np.ndarray, groups: int) -> np.ndarray:
    """The network pixel by pixel: cross-correlation, norm with the biased variance and eps 1e-5, ReLU, mean of 2x2."""
    x = images
    for stage in network.stages:
        conv, norm = stage[0], stage[1]
        kernel, bias = conv.weight.detach().numpy(), conv.bias.detach().numpy()
        pad = conv.padding[0]
        padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        n, width = len(x), len(kernel)
        height, across = padded.shape[2] - 2, padded.shape[3] - 2
        y = np.zeros((n, width, height, across))
        for i in range(n):
            for o in range(width):
                for r in range(height):
                    for c in range(across):
                        y[i, o, r, c] = (padded[i, :, r : r + 3, c : c + 3] * kernel[o]).sum() + bias[o]
        grouped = y.reshape(n, groups, -1)
        centred = grouped - grouped.mean(2, keepdims=True)
        y = (centred / np.sqrt(grouped.var(2, keepdims=True) + 1e-5)).reshape(y.shape)
        y = y * norm.weight.detach().numpy()[:, None, None] + norm.bias.detach().numpy()[:, None, None]
        y = np.maximum(y, 0)
        height, across = height // 2 * 2, across // 2 * 2
        y = y[:, :, :height, :across]
        x = (y[..., ::2, ::2] + y[..., 1::2, ::2] + y[..., ::2, 1::2] + y[..., 1::2, 1::2]) / 4
    return x.reshape(len(x), -1) @ network.head.weight.detach().numpy().T + network.head.bias.detach().numpy()


@pytest.mark.parametrize(("norm", "groups"), [("instance", 8), ("group", 4)])
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 28, 28)])
def test_forward_is_the_formula(norm: str, groups: int, shape: tuple[int, int, int]) -> None:
    with Rng(0).as_global():
        network = ConvNet(shape[0], 5, shape[1:], width=8, depth=2, norm=norm).double()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter)
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.from_numpy(reference(network, images.numpy(), groups))
    torch.testing.assert_close(network(images).detach(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 4}, "convnet: depth must be in 1..3 for 8x8 images, got 4"),
        ({"depth": 0}, "convnet: depth must be in 1..3 for 8x8 images, got 0"),
        ({"width": 0}, "convnet: width must be at least 1, got 0"),
        ({"norm": "group", "width": 6}, "convnet: width must be a multiple of 4 for norm=group, got 6"),
        (
            {"norm": "bach"},
            "convnet norm: unknown name 'bach'; did you mean 'batch'? known: batch, group, instance, none",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        ConvNet(1, 10, (8, 8), **options)
    assert str(caught.value) == message


def test_an_image_of_one_pixel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^convnet: images must be at least 2x2, got 1x9$"):
        ConvNet(1, 10, (1, 9))


def test_a_grey_28x28_image_can_be_halved_as_often_as_32x32() -> None:
    assert ConvNet(1, 10, (28, 28), width=4, depth=5)(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    with pytest.raises(ValueError, match=r"1\.\.4 for 28x28 images, got 5"):
        ConvNet(3, 10, (28, 28), width=4, depth=5)
