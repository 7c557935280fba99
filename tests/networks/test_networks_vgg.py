import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.vgg import make_layers

from yoco.networks import VGG, build
from yoco.networks.vgg import vgg11
from yoco.rng import Rng


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("side", [8, 32, 64])
def test_parameters_of_the_published_network(side: int) -> None:
    with torch.device("meta"):
        assert count(vgg11(3, 10, (side, side))) == 9_231_114


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_convolutions_and_norms_have_the_parameters_of_torchvision(depth: int) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision.models, f"vgg{depth}_bn")().features
        assert count(VGG(3, 10, (32, 32), depth=depth)) == count(theirs) + 513 * 10


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (33, 70)])
def test_convolutions_and_norms_have_the_outputs_of_torchvision(size: tuple[int, int]) -> None:
    words = [4, "M", 8, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M"]
    with Rng(0).as_global():
        mine, theirs = vgg11(3, 5, size, width=4, norm="batch"), make_layers(words, batch_norm=True)
    for here, there in zip(mine.stages.parameters(), theirs.parameters(), strict=True):
        there.data = here.data
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(mine.features(images)[-1], theirs(images).mean((2, 3), keepdim=True))
        assert mine(images).shape == (2, 5)


def reference(network: VGG, images: Tensor, poolings: list[int]) -> Tensor:
    """VGG-11 out of functions, taking the parameters one by one in their order."""
    parameters = [value.detach() for value in network.parameters()]
    x = images
    for layer in range(8):
        kernel, bias, weight, shift = (parameters.pop(0) for _ in range(4))
        x = F.relu(F.instance_norm(F.conv2d(x, kernel, bias, padding=1), weight=weight, bias=shift))
        x = F.max_pool2d(x, 2) if layer in poolings else x
    weight, bias = parameters
    return x.mean((2, 3)) @ weight.T + bias


@pytest.mark.parametrize(
    ("size", "poolings"),
    [
        ((8, 8), [0, 1, 7]),
        ((2, 9), [7]),
        ((28, 28), [0, 1, 3, 7]),
        ((32, 40), [0, 1, 3, 5, 7]),
        ((64, 64), [0, 1, 3, 5, 7]),
    ],
)
def test_forward_is_the_formula(size: tuple[int, int], poolings: list[int]) -> None:
    with Rng(0).as_global():
        network = vgg11(2, 5, size, width=4).double()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter)
    images = torch.rand(2, 2, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(network(images).detach(), reference(network, images, poolings))


@pytest.mark.parametrize(
    ("side", "sides"),
    [
        (2, [2, 2, 2, 2, 1]),
        (3, [3, 3, 3, 3, 1]),
        (8, [4, 2, 2, 2, 1]),
        (16, [8, 4, 2, 2, 1]),
        (28, [14, 7, 3, 3, 1]),
        (32, [16, 8, 4, 2, 1]),
        (64, [32, 16, 8, 4, 1]),
    ],
)
def test_sizes_of_the_maps(side: int, sides: list[int]) -> None:
    outputs = vgg11(1, 3, (side, side), width=2).features(torch.zeros(2, 1, side, side))
    assert [tuple(output.shape[1:]) for output in outputs] == [
        (width, at, at) for width, at in zip([2, 4, 8, 16, 16], sides, strict=True)
    ]


def test_instance_norm_is_usual_and_options_reach_the_network() -> None:
    network = build("vgg11:width=8", (1, 8, 8), 3, Rng(0))
    assert isinstance(network, VGG)
    groups = [(m.num_groups, m.num_channels) for m in network.modules() if isinstance(m, nn.GroupNorm)]
    assert groups == [(width, width) for width in (8, 16, 32, 32, 64, 64, 64, 64)]
    batch = build("vgg11:width=8,norm=batch", (1, 8, 8), 3, Rng(0))
    assert sum(isinstance(m, nn.BatchNorm2d) for m in batch.modules()) == 8
    deep = build("yoco.networks.vgg:VGG:depth=16,width=4", (1, 8, 8), 3, Rng(0))
    assert sum(isinstance(m, nn.Conv2d) for m in deep.modules()) == 13


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 12}, "vgg: depth must be 11, 13, 16 or 19, got 12"),
        ({"width": 0}, "vgg: width must be at least 1, got 0"),
        ({"norm": "group", "width": 6}, "vgg: width must be a multiple of 4 for norm=group, got 6"),
        ({"norm": "none"}, "vgg norm: unknown name 'none'; known: batch, group, instance"),
    ],
)
def test_what_does_not_fit_is_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        VGG(1, 10, (8, 8), **options)
    assert str(caught.value) == message
