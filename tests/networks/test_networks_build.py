import sys
import types
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yoco.networks import LeNet, Network, build
from yoco.networks.convnet import ConvNet
from yoco.networks.mlp import MLP
from yoco.rng import Rng

GREY = (1, 8, 8)


class Small(Network):
    def __init__(
        self, channels: int, classes: int, size: tuple[int, int], width=4, scale: float = 1.0, bias: bool = True
    ) -> None:
        super().__init__()
        pixels = channels * size[0] * size[1]
        self.scale = scale
        self.stages = nn.ModuleList([nn.Sequential(nn.Flatten(), nn.Linear(pixels, width), nn.Tanh())])
        self.head = nn.Linear(width, classes, bias=bias)


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = types.ModuleType("my_networks")
    module.Small = Small
    module.Sized = type("Sized", (Small,), {"__init__": lambda self, width=3: None})
    module.Bare = type("Bare", (Small,), {"__init__": lambda self, channels, classes, size, width: None})
    module.Plain = lambda channels, classes, size: nn.Linear(channels, classes)
    monkeypatch.setitem(sys.modules, "my_networks", module)
    return


def test_options_reach_the_constructor() -> None:
    network = build("convnet:width=16,depth=2,norm=batch", (3, 32, 32), 7, Rng(0))
    assert isinstance(network, ConvNet)
    assert len(network.stages) == 2
    assert network.head.in_features == 16 * 8 * 8
    assert isinstance(network.stages[1][1], nn.BatchNorm2d)
    assert build("mlp:width=5", GREY, 3, Rng(0)).head.in_features == 5


@pytest.mark.usefixtures("mine")
def test_ones_own_class_with_and_without_options() -> None:
    assert build("my_networks:Small", GREY, 3, Rng(0)).head.in_features == 4
    network = build("my_networks:Small:width=9,scale=0.5,bias=false", GREY, 3, Rng(0))
    assert network.head.in_features == 9
    assert network.scale == 0.5
    assert network.head.bias is None
    assert network.features(torch.zeros(2, *GREY))[-1].shape == (2, 9)


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "convnt",
            "network: unknown name 'convnt'; did you mean 'convnet'? known: "
            "convnet, densenet, lenet, lenet-300-100, lenet-5, mlp, resnet10, resnet18, resnet20, resnet_ap10, vgg11",
        ),
        (
            "convnet:widht=3",
            "network convnet option: unknown name 'widht'; did you mean 'width'? known: depth, norm, width",
        ),
        ("convnet:channels=3", "network convnet option: unknown name 'channels'; known: depth, norm, width"),
        ("convnet:width=wide", "network convnet: width must be a whole number, got 'wide'"),
        ("convnet:width=", "network convnet: options must read key=value,key=value, got 'width='"),
        ("convnet:width=3,,", "network convnet: options must read key=value,key=value, got 'width=3,,'"),
        ("my_networks:Small:scale=x", "network my_networks:Small: scale must be a number, got 'x'"),
        ("my_networks:Small:bias=1", "network my_networks:Small: bias must be true or false, got '1'"),
        ("my_networks:Plain", "network my_networks:Plain: must be a yoco.networks.Network, got Linear"),
        ("torch.nn:ReLU", "network torch.nn:ReLU: must be a yoco.networks.Network, got ReLU"),
        ("yoco.networks:NETWORKS", "network yoco.networks:NETWORKS: must be a yoco.networks.Network, got dict"),
        (
            "my_networks:Sized",
            "network my_networks:Sized: must be callable as Sized(channels, classes, (height, ",
        ),
        ("my_networks:Bare:width=3", "network my_networks:Bare: options must have defaults, got width without one"),
        ("my_networks:Bare:size=3", "network my_networks:Bare option: unknown name 'size'; known: "),
        ("my_networks:None_", "network: 'my_networks:None_' cannot be imported"),
        ("no_such_module:X", "network: 'no_such_module:X' cannot be imported"),
    ],
)
def test_errors_are_one_line(name: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        build(name, GREY, 3, Rng(0))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^network mlp: needs at least two classes, got 1$"):
        build("mlp", GREY, 1, Rng(0))


def test_initialisation_is_that_of_pytorch() -> None:
    network = build("mlp:width=6", GREY, 3, Rng(5))
    torch.manual_seed(Rng(5).key())
    expected = [nn.Linear(64, 6), nn.Linear(6, 6), nn.Linear(6, 3)]
    assert torch.equal(network.stages[0][1].weight, expected[0].weight)
    assert torch.equal(network.head.weight, expected[2].weight)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize(
    "name",
    [
        *("convnet:width=4", "convnet:width=4,norm=batch", "vgg11:width=4", "densenet:growth=4,blocks=2-2"),
        *("mlp:width=6", "lenet", "lenet-5", "lenet-300-100"),
    ],
)
def test_all_layers_start_as_pytorch_starts_them_one_after_another(name: str, shape: tuple[int, int, int]) -> None:
    found, plain = build(name, shape, 3, Rng(5)), build(name, shape, 3, Rng(6))
    with Rng(5).as_global():
        for module in plain.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    assert all(map(torch.equal, found.state_dict().values(), plain.state_dict().values()))


def manual(network: MLP, images: Tensor) -> Tensor:
    x = images.reshape(len(images), -1)
    for linear in (network.stages[0][1], network.stages[1][0]):
        x = (x @ linear.weight.T + linear.bias).clamp(min=0)
    return x @ network.head.weight.T + network.head.bias


def test_mlp_is_three_linear_layers_of_128() -> None:
    network = build("mlp", (3, 32, 32), 10, Rng(0))
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(images), manual(network, images))
    assert sum(p.numel() for p in network.parameters()) == 3073 * 128 + 129 * 128 + 129 * 10


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("lenet-300-100", [[300, 784], [100, 300], [10, 100]]),
        ("lenet-5", [[20, 1, 5, 5], [50, 20, 5, 5], [500, 800], [10, 500]]),
    ],
)
def test_the_networks_of_work_on_pruning(name: str, shapes: list[list[int]]) -> None:
    network = build(name, (1, 28, 28), 10, Rng(0))
    assert [list(weight.shape) for weight in network.parameters() if weight.ndim > 1] == shapes
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert build(name, (3, 8, 8), 3, Rng(0))(torch.zeros(2, 3, 8, 8)).shape == (2, 3)


def test_mlp_refuses_width_zero() -> None:
    with pytest.raises(ValueError, match=r"^mlp: width must be at least 1, got 0$"):
        build("mlp:width=0", GREY, 3, Rng(0))


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 32, 32)])
def test_lenet_has_the_published_sizes(shape: tuple[int, int, int]) -> None:
    network = LeNet(1, 10, shape[1:])
    sizes = [tuple(feature.shape[1:]) for feature in network.features(torch.zeros(2, *shape))]
    assert sizes == [(6, 14, 14), (16, 5, 5), (120,), (84,)]
    assert sum(p.numel() for p in network.parameters()) == 156 + 2416 + 48120 + 10164 + 850


@pytest.mark.parametrize("name", ["lenet", "lenet-5"])
def test_lenet_is_its_formula(name: str) -> None:
    network = build(name, (1, 28, 28), 10, Rng(0)).double()
    images = torch.randn(2, 1, 28, 28, dtype=torch.float64, generator=Rng(1).generator())
    parts, padding = list(network.parameters()), 2 if name == "lenet" else 0
    seen = F.max_pool2d(F.conv2d(images, parts[0], parts[1], padding=padding).relu(), 2)
    seen = F.max_pool2d(F.conv2d(seen, parts[2], parts[3]).relu(), 2).flatten(1)
    for at in range(4, len(parts) - 2, 2):
        seen = F.linear(seen, parts[at], parts[at + 1]).relu()
    torch.testing.assert_close(network(images), F.linear(seen, parts[-2], parts[-1]))


@pytest.mark.parametrize("size", [(4, 4), (5, 9), (8, 8), (11, 30), (12, 12), (31, 33), (64, 48)])
def test_lenet_fits_any_size_from_4x4(size: tuple[int, int]) -> None:
    assert LeNet(3, 10, size)(torch.zeros(2, 3, *size)).shape == (2, 10)


def test_lenet_refuses_smaller_images() -> None:
    with pytest.raises(ValueError, match=r"^lenet: images must be at least 4x4, got 3x8$"):
        LeNet(1, 10, (3, 8))


@pytest.mark.parametrize("name", ["convnet:width=4,depth=2", "mlp:width=4", "resnet10:width=4"])
def test_what_the_head_sees_is_the_last_of_the_features(name: str) -> None:
    network, images = build(name, GREY, 3, Rng(0)), torch.rand(2, *GREY)
    for autocast in (None, torch.bfloat16):
        network.autocast = autocast
        seen = network.seen(images)
        assert torch.equal(seen, network.features(images)[-1].flatten(1))
        assert seen.dtype == torch.float32
    network.autocast = None
    assert torch.equal(network(images), network.head(network.seen(images)))
