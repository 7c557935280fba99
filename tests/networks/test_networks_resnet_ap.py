import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

from yoco.networks import ResNetAP, build
from yoco.networks.resnet import resnet10
from yoco.networks.resnet_ap import resnet_ap10
from yoco.rng import Rng


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("side", [8, 32, 96, 224])
def test_it_has_the_parameters_of_resnet(side: int) -> None:
    with torch.device("meta"):
        assert count(resnet_ap10(3, 10, (side, side))) == count(resnet10(3, 10, (side, side)))


def test_large_images_have_the_parameters_of_torchvision() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)
        assert count(resnet_ap10(3, 10, (224, 224))) == count(theirs)


def normalised(maps: Tensor, parameters: list[Tensor]) -> Tensor:
    weight, bias = parameters.pop(0), parameters.pop(0)
    return F.instance_norm(maps, weight=weight, bias=bias)


def reference(network: ResNetAP, images: Tensor, kernel: int, pooling: int) -> Tensor:
    """The network out of functions, taking the parameters one by one in their order."""
    parameters = [value.detach() for value in network.parameters()]
    x = F.relu(normalised(F.conv2d(images, parameters.pop(0), padding=kernel // 2), parameters))
    x = F.avg_pool2d(x, pooling)
    for width in (4, 8, 16, 32):
        pooling = 2 if width > 4 and min(x.shape[2:]) >= 4 else 1
        y = F.relu(normalised(F.conv2d(x, parameters.pop(0), padding=1), parameters))
        y = normalised(F.conv2d(F.avg_pool2d(y, pooling), parameters.pop(0), padding=1), parameters)
        if x.shape[1] != width:
            x = normalised(F.avg_pool2d(F.conv2d(x, parameters.pop(0)), pooling), parameters)
        x = F.relu(x + y)
    weight, bias = parameters
    return x.mean((2, 3)) @ weight.T + bias


@pytest.mark.parametrize(
    ("size", "kernel", "pooling"),
    [((8, 8), 3, 1), ((28, 28), 3, 1), ((7, 21), 3, 1), ((64, 90), 3, 1), ((65, 75), 3, 2), ((128, 135), 7, 4)],
)
def test_forward_is_the_formula(size: tuple[int, int], kernel: int, pooling: int) -> None:
    with Rng(0).as_global():
        network = resnet_ap10(2, 5, size, width=4).double()
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter)
    images = torch.rand(2, 2, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(network(images).detach(), reference(network, images, kernel, pooling))


@pytest.mark.parametrize(
    ("side", "sides"),
    [
        (2, [2, 2, 2, 2, 2]),
        (5, [5, 5, 2, 2, 2]),
        (8, [8, 8, 4, 2, 2]),
        (16, [16, 16, 8, 4, 2]),
        (28, [28, 28, 14, 7, 3]),
        (32, [32, 32, 16, 8, 4]),
        (64, [64, 64, 32, 16, 8]),
        (127, [63, 63, 31, 15, 7]),
        (128, [32, 32, 16, 8, 4]),
        (224, [56, 56, 28, 14, 7]),
    ],
)
def test_sizes_of_the_maps(side: int, sides: list[int]) -> None:
    network = resnet_ap10(1, 3, (side, side), width=2)
    outputs = network.features(torch.zeros(2, 1, side, side))
    assert [output.shape[-1] for output in outputs[:-1]] == sides[:-1]
    assert [output.shape[1] for output in outputs] == [2, 2, 4, 8, 16]
    assert outputs[-1].shape[2:] == (1, 1)
    assert network.stages[-1][0](outputs[-2]).shape[-1] == sides[-1]


def test_no_convolution_has_a_stride_and_nothing_takes_a_maximum() -> None:
    modules = list(resnet_ap10(3, 10, (128, 128), width=4).modules())
    assert {module.stride for module in modules if isinstance(module, nn.Conv2d)} == {(1, 1)}
    assert not any(isinstance(module, nn.MaxPool2d) for module in modules)
    assert [module.kernel_size for module in modules if isinstance(module, nn.AvgPool2d)] == [4] + 6 * [2]


def test_instance_norm_is_usual_and_options_reach_the_network() -> None:
    network = build("resnet_ap10:width=8", (1, 8, 8), 3, Rng(0))
    assert isinstance(network, ResNetAP)
    assert {(m.num_groups, m.num_channels) for m in network.modules() if isinstance(m, nn.GroupNorm)} == {
        (width, width) for width in (8, 16, 32, 64)
    }
    batch = build("resnet_ap10:width=8,norm=batch", (1, 8, 8), 3, Rng(0))
    assert isinstance(batch.stages[0][1], nn.BatchNorm2d)
    two = build("yoco.networks.resnet_ap:ResNetAP:blocks=2,width=4,norm=instance", (1, 8, 8), 3, Rng(0))
    assert len(two.stages[1]) == 2


def test_what_does_not_fit_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"^resnet_ap: width must be at least 1, got -1$"):
        resnet_ap10(1, 10, (8, 8), width=-1)
    with pytest.raises(ValueError, match=r"^resnet_ap: width must be a multiple of 4 for norm=group, got 2$"):
        resnet_ap10(1, 10, (8, 8), width=2, norm="group")
