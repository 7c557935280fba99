"""What all networks with norms share: no norm, on images of any size, may lose the image."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from yoco.networks import Network, build
from yoco.networks.norm import may_halve, normalisation
from yoco.rng import Rng

NAMES = [
    "resnet10:width=8",
    "resnet20:width=8",
    "resnet_ap10:width=8",
    "densenet:growth=4,blocks=2-2-2-2",
    "vgg11:width=8",
]
NORMS = ["instance", "batch", "group"]
SHAPES = [(1, 2, 2), (1, 8, 8), (3, 16, 16), (1, 28, 28), (3, 32, 32), (3, 64, 64)]
CLASSES = 3


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=NORMS)
def norm(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=SHAPES, ids=str)
def shape(request: pytest.FixtureRequest) -> tuple[int, int, int]:
    return tuple(request.param)


def images(shape: tuple[int, int, int], count: int) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


def seen_by_norms(network: Network, shape: tuple[int, int, int]) -> list[int]:
    """The shorter sides of all maps that a norm is given."""
    sides: list[int] = []
    for module in network.modules():
        if isinstance(module, nn.GroupNorm | nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda _, inputs: sides.append(min(inputs[0].shape[2:])))
    network(torch.zeros(2, *shape))
    return sides


@pytest.mark.parametrize("side", [2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 20, 28, 31, 32, 33, 65])
def test_every_norm_sees_at_least_2x2_pixels(name: str, side: int) -> None:
    network = build(name, (1, side, side + 3), CLASSES, Rng(0))
    assert min(seen_by_norms(network, (1, side, side + 3))) >= 2


@pytest.mark.parametrize(("side", "least"), [(8, 2), (16, 2), (31, 3), (32, 4), (64, 8)])
def test_small_images_are_halved_no_more_than_that_demands(side: int, least: int) -> None:
    assert min(seen_by_norms(build("resnet_ap10:width=4", (1, side, side), CLASSES, Rng(0)), (1, side, side))) == least


@pytest.mark.parametrize(
    ("name", "side"),
    [
        *(("yoco.networks.resnet:ResNet:stages=7,width=2", side) for side in (65, 127, 128, 129)),
        *(("yoco.networks.resnet_ap:ResNetAP:stages=7,width=2", side) for side in (65, 127, 128, 131)),
        *(("densenet:growth=2,blocks=1-1-1-1-1-1-1", side) for side in (127, 128, 129)),
    ],
)
def test_many_halvings_of_large_images_end_at_2x2_or_3x3(name: str, side: int) -> None:
    assert min(seen_by_norms(build(name, (1, side, side), CLASSES, Rng(0)), (1, side, side))) in (2, 3)


def test_two_images_have_different_logits(name: str, norm: str, shape: tuple[int, int, int]) -> None:
    network = build(f"{name},norm={norm}", shape, CLASSES, Rng(0)).double()
    for training in (True, False):
        first, second = network.train(training)(images(shape, 2).double())
        assert first.shape == (CLASSES,)
        assert (first - second).abs().max() > 1e-5 * first.abs().max()


def test_the_gradient_reaches_every_parameter(name: str, norm: str, shape: tuple[int, int, int]) -> None:
    network = build(f"{name},norm={norm}", shape, CLASSES, Rng(0)).double()
    cross_entropy(network(images(shape, 6).double()), torch.arange(6) % CLASSES).backward()
    cancelled = {
        f"{stage}.0.bias"
        for stage, module in network.named_modules()
        if isinstance(module, nn.Sequential) and isinstance(module[0], nn.Conv2d) and norm != "group"
    }
    reached = {parameter for parameter, value in network.named_parameters() if value.grad.abs().max() > 1e-7}
    assert reached == {parameter for parameter, _ in network.named_parameters()} - cancelled


def test_the_gradient_reaches_the_image(name: str, norm: str, shape: tuple[int, int, int]) -> None:
    network = build(f"{name},norm={norm}", shape, CLASSES, Rng(0)).double().eval()
    pixels = images(shape, 2).double().requires_grad_()
    network(pixels)[:, 0].sum().backward()
    assert all(one.abs().max() > 1e-7 for one in pixels.grad)


@pytest.mark.parametrize("norm", NORMS)
def test_one_image_alone_in_evaluation_is_as_in_a_batch(name: str, norm: str) -> None:
    network = build(f"{name},norm={norm}", (1, 8, 8), CLASSES, Rng(0)).train()
    network(images((1, 8, 8), 4))
    together = network.eval()(images((1, 8, 8), 4))
    torch.testing.assert_close(network(images((1, 8, 8), 1)), together[:1])


def test_batch_norm_is_able_to_train_on_one_image(name: str) -> None:
    assert torch.isfinite(build(f"{name},norm=batch", (1, 8, 8), CLASSES, Rng(0)).train()(images((1, 8, 8), 1))).all()


def test_bfloat16_is_near(name: str, norm: str) -> None:
    network = build(f"{name},norm={norm}", (3, 32, 32), CLASSES, Rng(0))
    full = network(images((3, 32, 32), 4))
    network.autocast = torch.bfloat16
    low = network(images((3, 32, 32), 4))
    assert low.dtype == torch.float32
    assert 0 < (low - full).norm() < 0.05 * full.norm()


@pytest.mark.parametrize("groups", [8, 4])
def test_instance_and_group_norm_are_the_formula(groups: int) -> None:
    layer = normalisation("here", "instance" if groups == 8 else "group", 8)
    maps = images((8, 3, 5), 2).double()
    grouped = maps.reshape(2, groups, -1)
    grouped = (grouped - grouped.mean(2, keepdim=True)) / (grouped.var(2, keepdim=True, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(layer.double()(maps), grouped.reshape(maps.shape))


def test_an_instance_norm_forgets_one_pixel() -> None:
    answers = normalisation("here", "instance", 4)(images((4, 1, 1), 3))
    torch.testing.assert_close(answers, torch.zeros(3, 4, 1, 1), rtol=0, atol=1e-4)
    assert [side for side in range(1, 9) if may_halve(side)] == [4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("norm", "width", "message"),
    [
        ("group", 6, "here: width must be a multiple of 4 for norm=group, got 6"),
        ("bach", 8, "here norm: unknown name 'bach'; did you mean 'batch'? known: batch, group, instance"),
        ("none", 8, "here norm: unknown name 'none'; known: batch, group, instance"),
    ],
)
def test_what_is_no_norm_is_one_line(norm: str, width: int, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        normalisation("here", norm, width)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["convnet", "resnet10", "resnet_ap10", "densenet", "vgg11"])
def test_an_image_of_one_pixel_across_is_refused(name: str) -> None:
    where = {"resnet10": "resnet", "resnet_ap10": "resnet_ap", "vgg11": "vgg"}.get(name, name)
    with pytest.raises(ValueError, match=rf"^{where}: images must be at least 2x2, got 1x9$"):
        build(name, (1, 1, 9), CLASSES, Rng(0))
