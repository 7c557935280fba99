import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from yoco.networks import DenseNet, build
from yoco.rng import Rng


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def formula(channels: int, classes: int, growth: int, blocks: list[int]) -> int:
    """Weights and norms of a 3x3 stem, the layers and the transitions; the last norm and the head."""
    width = 2 * growth
    total = channels * 9 * width
    for block in blocks:
        for _ in range(block):
            total += 2 * width + width * 4 * growth + 2 * 4 * growth + 4 * growth * growth * 9
            width += growth
        total += 2 * width + width * (width // 2)
        width //= 2
    return total - 2 * width * width + (2 * width + 1) * classes


@pytest.mark.parametrize("side", [8, 28, 32, 64])
def test_parameters_do_not_depend_on_the_side_of_small_images(side: int) -> None:
    with torch.device("meta"):
        assert count(DenseNet(3, 10, (side, side))) == formula(3, 10, 12, [6, 12, 24, 16]) == 1_000_618
        assert count(DenseNet(1, 3, (side, side), growth=4, blocks="3-1")) == formula(1, 3, 4, [3, 1])


@pytest.mark.parametrize("depth", [121, 169, 201])
def test_large_images_have_the_parameters_of_torchvision(depth: int) -> None:
    blocks = {121: "6-12-24-16", 169: "6-12-32-32", 201: "6-12-48-32"}[depth]
    with torch.device("meta"):
        theirs = getattr(torchvision.models, f"densenet{depth}")()
        assert count(DenseNet(3, 1000, (224, 224), growth=32, blocks=blocks)) == count(theirs)


@pytest.mark.parametrize("size", [(128, 140), (150, 131)])
def test_large_images_have_the_logits_of_torchvision(size: tuple[int, int]) -> None:
    with Rng(0).as_global():
        mine = DenseNet(3, 5, size, growth=4, blocks="2-3-1")
        theirs = torchvision.models.DenseNet(4, (2, 3, 1), num_init_features=8, num_classes=5)
    for here, there in zip(mine.parameters(), theirs.parameters(), strict=True):
        assert here.shape == there.shape
        there.data = here.data
    images = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(mine(images), theirs(images))
        torch.testing.assert_close(mine.eval()(images), theirs.eval()(images))


def activated(maps: Tensor, parameters: list[Tensor]) -> Tensor:
    weight, bias = parameters.pop(0), parameters.pop(0)
    return F.relu(F.instance_norm(maps, weight=weight, bias=bias))


def reference(network: DenseNet, images: Tensor, blocks: list[int]) -> Tensor:
    """The network of 3x3 stem out of functions, taking the parameters one by one in their order."""
    parameters = [value.detach() for value in network.parameters()]
    x = F.conv2d(images, parameters.pop(0), padding=1)
    for index, block in enumerate(blocks):
        for _ in range(block):
            y = F.conv2d(activated(x, parameters), parameters.pop(0))
            y = F.conv2d(activated(y, parameters), parameters.pop(0), padding=1)
            x = torch.cat([x, y], 1)
        x = activated(x, parameters)
        if index < len(blocks) - 1:
            x = F.conv2d(x, parameters.pop(0))
            x = F.avg_pool2d(x, 2) if min(x.shape[2:]) >= 4 else x
    weight, bias = parameters
    return x.mean((2, 3)) @ weight.T + bias


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (7, 21), (64, 127)])
def test_forward_is_the_formula(size: tuple[int, int]) -> None:
    with Rng(0).as_global():
        network = DenseNet(2, 5, size, growth=3, blocks="2-1-2-1", norm="instance").double()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter)
    images = torch.rand(2, 2, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(network(images).detach(), reference(network, images, [2, 1, 2, 1]))


@pytest.mark.parametrize(
    ("side", "sides"),
    [
        (2, [2, 2, 2, 2]),
        (8, [8, 4, 2, 2]),
        (16, [16, 8, 4, 2]),
        (28, [28, 14, 7, 3]),
        (31, [31, 15, 7, 3]),
        (32, [32, 16, 8, 4]),
        (64, [64, 32, 16, 8]),
        (127, [127, 63, 31, 15]),
        (128, [32, 16, 8, 4]),
        (129, [33, 16, 8, 4]),
    ],
)
def test_sizes_of_the_maps(side: int, sides: list[int]) -> None:
    network = DenseNet(1, 3, (side, side), growth=2, blocks="2-1-1-1")
    outputs = network.features(torch.zeros(2, 1, side, side))
    assert [output.shape[-1] for output in outputs] == [*sides, 1]
    assert [output.shape[1] for output in outputs] == [4, 4, 3, 2, 4]
    assert outputs[-1].shape[2:] == (1, 1)


def test_the_default_is_what_idc_trains_on_small_images() -> None:
    network = build("densenet", (1, 8, 8), 3, Rng(0))
    assert [sum(type(layer).__name__ == "DenseLayer" for layer in stage) for stage in network.stages[1:]] == [
        *(6, 12, 24, 16)
    ]
    assert network.head.in_features == 384
    assert {type(m) for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)} == {nn.BatchNorm2d}
    instance = build("densenet:norm=instance,growth=8,blocks=1-1", (1, 8, 8), 3, Rng(0))
    assert {type(m) for m in instance.modules() if isinstance(m, nn.BatchNorm2d | nn.GroupNorm)} == {nn.GroupNorm}


def test_two_images_differ_after_all_58_layers_of_instance_norm_on_8x8() -> None:
    network = build("densenet:norm=instance", (1, 8, 8), 3, Rng(0))
    first, second = network(torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert (first - second).abs().max() > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"growth": 0}, "densenet: growth must be at least 1, got 0"),
        ({"blocks": "6,12"}, "densenet: blocks must read like 6-12-24-16, got '6,12'"),
        ({"blocks": ""}, "densenet: blocks must read like 6-12-24-16, got ''"),
        ({"blocks": "6-0"}, "densenet: blocks must read like 6-12-24-16, got '6-0'"),
        ({"blocks": "121\n"}, "densenet: blocks must read like 6-12-24-16, got '121\\n'"),
        ({"growth": 5, "norm": "group"}, "densenet: growth must be a multiple of 4 for norm=group, got 5"),
        (
            {"growth": 4, "blocks": "1-1", "norm": "group"},
            "densenet: width must be a multiple of 4 for norm=group, got 6",
        ),
        ({"norm": "none"}, "densenet norm: unknown name 'none'; known: batch, group, instance"),
    ],
)
def test_what_does_not_fit_is_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        DenseNet(1, 10, (8, 8), **options)
    assert str(caught.value) == message
