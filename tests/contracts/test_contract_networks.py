"""Every row of NETWORKS, and the variants that options make, through one list."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from yoco.networks import NETWORKS, Network, build
from yoco.rng import Rng

SHAPES = [(1, 28, 28), (1, 8, 8), (3, 32, 32)]
NARROW = {
    "vgg11": "width=8",
    "resnet10": "norm=instance,width=8",
    "resnet18": "width=8",
    "resnet20": "norm=group,width=8",
    "resnet_ap10": "width=8",
    "densenet": "growth=4,blocks=2-2-2",
}
NAMES = [
    *(f"{name}:{NARROW[name]}" if name in NARROW else name for name in NETWORKS),
    *("convnet:norm=batch,width=32", "convnet:norm=group,width=16", "convnet:norm=none,width=32,depth=2"),
]
CLASSES = 10


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=SHAPES, ids=str)
def shape(request: pytest.FixtureRequest) -> tuple[int, int, int]:
    return tuple(request.param)


def images(shape: tuple[int, int, int], count: int = 4) -> Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


def labels(count: int = 4) -> Tensor:
    return torch.arange(count)


def test_logits_and_features_have_their_shapes(name: str, shape: tuple[int, int, int]) -> None:
    network = build(name, shape, CLASSES, Rng(0))
    features = network.features(images(shape))
    assert isinstance(network, Network)
    assert network(images(shape)).shape == (4, CLASSES)
    assert len(features) == len(network.stages)
    assert features[-1].flatten(1).shape == (4, network.head.in_features)
    assert network.head.out_features == CLASSES


def test_the_head_on_the_last_feature_is_the_logits(name: str, shape: tuple[int, int, int]) -> None:
    network = build(name, shape, CLASSES, Rng(0)).eval()
    logits = network.head(network.features(images(shape))[-1].flatten(1))
    torch.testing.assert_close(logits, network(images(shape)), rtol=0, atol=0)


def test_the_stream_alone_decides_the_weights(name: str, shape: tuple[int, int, int]) -> None:
    first = build(name, shape, CLASSES, Rng(3).child("net")).state_dict()
    torch.rand(7)
    again = build(name, shape, CLASSES, Rng(3).child("net")).state_dict()
    other = build(name, shape, CLASSES, Rng(4).child("net")).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])
    assert not any(
        torch.equal(first[key], other[key]) for key in first if key.endswith("weight") and first[key].ndim > 1
    )


def test_the_global_generator_is_untouched(name: str) -> None:
    before = torch.random.get_rng_state()
    network = build(name, (1, 8, 8), CLASSES, Rng(0))
    network(images((1, 8, 8)))
    assert torch.equal(before, torch.random.get_rng_state())


def test_weights_are_made_on_the_cpu_whatever_the_default_device(name: str) -> None:
    with torch.device("meta"):
        network = build(name, (1, 8, 8), CLASSES, Rng(0))
    assert {value.device.type for value in network.state_dict().values()} == {"cpu"}


def test_it_runs_in_float64(name: str, shape: tuple[int, int, int]) -> None:
    network = build(name, shape, CLASSES, Rng(0)).eval()
    logits = network(images(shape))
    double = network.double()(images(shape).double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), logits, rtol=1e-3, atol=1e-4)


def second_order(network: Network, pixels: Tensor) -> Tensor:
    """The gradient in the pixels of the squared norm of the gradient in the weights."""
    pixels = pixels.clone().requires_grad_()
    loss = cross_entropy(network(pixels), labels().to(pixels.device))
    gradients = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
    return torch.autograd.grad(sum((g**2).sum() for g in gradients), pixels)[0]


def test_second_order_gradients_are_right(name: str, shape: tuple[int, int, int]) -> None:
    network = build(name, shape, CLASSES, Rng(0)).double()
    pixels = images(shape).double()
    gradient = second_order(network, pixels)
    assert torch.isfinite(gradient).all()
    assert all(one.abs().max() > 0 for one in gradient)

    def distance(at: Tensor) -> Tensor:
        gradients = torch.autograd.grad(cross_entropy(network(at), labels()), list(network.parameters()))
        return sum((g**2).sum() for g in gradients)

    direction = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    step = 1e-7 * direction
    slope = (distance(pixels + step) - distance(pixels - step)) / 2e-7
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-3, atol=1e-6)


def test_autocast_computes_in_bfloat16_and_answers_in_float32(name: str, shape: tuple[int, int, int]) -> None:
    network = build(name, shape, CLASSES, Rng(0))
    full = network(images(shape))
    network.autocast = torch.bfloat16
    low = network(images(shape))
    assert low.dtype == torch.float32
    assert {feature.dtype for feature in network.features(images(shape))} == {torch.float32}
    assert not torch.equal(low, full)
    assert (low - full).norm() < 0.05 * full.norm()
    assert torch.isfinite(second_order(network, images(shape))).all()
