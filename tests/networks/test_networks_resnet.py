import pytest
import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

from yoco.networks import build
from yoco.networks.resnet import ResNet, resnet10, resnet18, resnet20
from yoco.rng import Rng


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def formula(channels: int, classes: int, widths: list[int], blocks: int) -> int:
    """Weights and norms of the 3x3 stem, of two 3x3 convolutions a block, of a 1x1 at a new width; and the head."""
    total, before = (channels * 9 + 2) * widths[0], widths[0]
    for width in widths:
        total += before * width * 9 + (2 * blocks - 1) * width * width * 9 + 4 * blocks * width
        total += (before + 2) * width if before != width else 0
        before = width
    return total + (before + 1) * classes


@pytest.mark.parametrize("side", [8, 32, 64])
def test_parameters_do_not_depend_on_the_side_of_small_images(side: int) -> None:
    with torch.device("meta"):
        assert count(resnet10(3, 10, (side, side))) == formula(3, 10, [64, 128, 256, 512], 1) == 4_903_242
        assert count(resnet18(1, 10, (side, side))) == formula(1, 10, [64, 128, 256, 512], 2)
        assert count(resnet10(3, 10, (side, side), width=32)) == formula(3, 10, [32, 64, 128, 256], 1)


def test_resnet20_has_the_270_thousand_parameters_of_the_paper_and_those_of_its_two_1x1_shortcuts() -> None:
    shortcuts = 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64
    assert count(resnet20(3, 10, (32, 32))) == formula(3, 10, [16, 32, 64], 3) == 269_722 + shortcuts
    name = "yoco.networks.resnet:ResNet:stages=3,blocks=5,width=16"
    assert count(build(name, (3, 32, 32), 10, Rng(0))) == 464_154 + shortcuts


@pytest.mark.parametrize("side", [128, 224])
def test_large_images_have_the_parameters_of_torchvision(side: int) -> None:
    with torch.device("meta"):
        assert count(resnet18(3, 1000, (side, side))) == count(torchvision.models.resnet18()) == 11_689_512
        theirs = torchvision.models.ResNet(BasicBlock, [1, 1, 1, 1], num_classes=7)
        assert count(resnet10(3, 7, (side, side))) == count(theirs)


def test_large_images_have_the_logits_of_torchvision() -> None:
    with Rng(0).as_global():
        mine = resnet18(3, 5, (140, 128))
        theirs = torchvision.models.resnet18(num_classes=5)
    for here, there in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert here.shape == there.shape
        there.data = here.data
    images = torch.randn(2, 3, 140, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(mine(images), theirs(images))
        torch.testing.assert_close(mine.eval()(images), theirs.eval()(images))


def normalised(maps: Tensor, parameters: list[Tensor]) -> Tensor:
    weight, bias = parameters.pop(0), parameters.pop(0)
    return F.instance_norm(maps, weight=weight, bias=bias)


def reference(network: ResNet, images: Tensor, widths: list[int], blocks: int) -> Tensor:
    """The network of 3x3 stem out of functions, taking the parameters one by one in their order."""
    parameters = [value.detach() for value in network.parameters()]
    x = F.relu(normalised(F.conv2d(images, parameters.pop(0), padding=1), parameters))
    for stage, width in enumerate(widths):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 and min(x.shape[2:]) >= 4 else 1
            y = F.relu(normalised(F.conv2d(x, parameters.pop(0), stride=stride, padding=1), parameters))
            y = normalised(F.conv2d(y, parameters.pop(0), padding=1), parameters)
            if x.shape[1] != width:
                x = normalised(F.conv2d(x, parameters.pop(0), stride=stride), parameters)
            x = F.relu(x + y)
    weight, bias = parameters
    return x.mean((2, 3)) @ weight.T + bias


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (7, 21), (33, 64)])
def test_forward_is_the_formula(size: tuple[int, int]) -> None:
    with Rng(0).as_global():
        network = ResNet(2, 5, size, stages=4, blocks=2, width=4, norm="instance").double()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter)
    images = torch.rand(2, 2, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = reference(network, images, [4, 8, 16, 32], 2)
    torch.testing.assert_close(network(images).detach(), expected)


@pytest.mark.parametrize(
    ("side", "sides"),
    [
        (2, [2, 2, 2, 2, 2]),
        (3, [3, 3, 3, 3, 3]),
        (4, [4, 4, 2, 2, 2]),
        (8, [8, 8, 4, 2, 2]),
        (9, [9, 9, 5, 3, 3]),
        (16, [16, 16, 8, 4, 2]),
        (28, [28, 28, 14, 7, 4]),
        (32, [32, 32, 16, 8, 4]),
        (64, [64, 64, 32, 16, 8]),
        (65, [33, 33, 17, 9, 5]),
        (127, [64, 64, 32, 16, 8]),
        (128, [32, 32, 16, 8, 4]),
        (224, [56, 56, 28, 14, 7]),
    ],
)
def test_sizes_of_the_maps(side: int, sides: list[int]) -> None:
    network = resnet10(1, 3, (side, side), width=2)
    outputs = network.features(torch.zeros(2, 1, side, side))
    assert [tuple(output.shape[1:]) for output in outputs[:-1]] == [
        (width, at, at) for width, at in zip([2, 2, 4, 8], sides[:-1], strict=True)
    ]
    assert outputs[-1].shape == (2, 16, 1, 1)
    last = network.stages[-1][0](outputs[-2])
    assert last.shape == (2, 16, sides[-1], sides[-1])


def test_the_last_feature_is_the_mean_of_the_last_maps() -> None:
    network = resnet20(1, 3, (28, 28), width=4).eval()
    outputs = network.features(torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0)))
    assert [tuple(output.shape[1:]) for output in outputs] == [(4, 28, 28), (4, 28, 28), (8, 14, 14), (16, 1, 1)]
    maps = outputs[-2]
    for block in network.stages[-1][:-1]:
        maps = block(maps)
    torch.testing.assert_close(outputs[-1], maps.mean((2, 3), keepdim=True))


@pytest.mark.parametrize(("side", "kernel", "pooling"), [(64, 3, 0), (65, 3, 3), (127, 3, 3), (128, 7, 3)])
def test_the_stem_goes_by_the_shorter_side(side: int, kernel: int, pooling: int) -> None:
    stem = resnet10(1, 3, (side, 300), width=4).stages[0]
    assert stem[0].kernel_size == (kernel, kernel)
    assert [layer.kernel_size for layer in stem[3:]] == ([pooling] if pooling else [])


@pytest.mark.parametrize(
    ("name", "blocks", "width"), [("resnet10", [1] * 4, 64), ("resnet18", [2] * 4, 64), ("resnet20", [3] * 3, 16)]
)
def test_names_stand_for_blocks_and_widths(name: str, blocks: list[int], width: int) -> None:
    network = build(name, (1, 8, 8), 3, Rng(0))
    residuals = [sum(type(layer).__name__ == "Residual" for layer in stage) for stage in network.stages[1:]]
    assert residuals == blocks
    assert network.stages[0][0].out_channels == width


def test_options_reach_the_network() -> None:
    network = build("resnet10:norm=instance,width=32", (1, 8, 8), 3, Rng(0))
    assert isinstance(network, ResNet)
    assert network.head.in_features == 256
    assert {type(m).__name__ for m in network.modules() if "Norm" in type(m).__name__} == {"GroupNorm"}
    assert isinstance(resnet10(1, 3, (8, 8), width=4).stages[0][1], torch.nn.BatchNorm2d)


def test_convolutions_start_as_he_normal_of_the_fan_out() -> None:
    with Rng(0).as_global():
        network = resnet20(3, 10, (32, 32))
    weights = [m.weight for m in network.modules() if isinstance(m, torch.nn.Conv2d) and m.weight.numel() > 1000]
    assert len(weights) == 19
    for weight in weights:
        fan_out = weight.shape[0] * weight.shape[2] * weight.shape[3]
        assert weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.06)
        assert abs(weight.mean().item()) < 0.1 * weight.std().item()
        assert weight.abs().max() > 2.5 * weight.std()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "resnet: width must be at least 1, got 0"),
        ({"blocks": 0}, "resnet: blocks must be at least 1, got 0"),
        ({"stages": 0}, "resnet: stages must be at least 1, got 0"),
        ({"norm": "group", "width": 6}, "resnet: width must be a multiple of 4 for norm=group, got 6"),
        ({"norm": "none"}, "resnet norm: unknown name 'none'; known: batch, group, instance"),
    ],
)
def test_what_does_not_fit_is_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        ResNet(1, 10, (8, 8), **options)
    assert str(caught.value) == message
