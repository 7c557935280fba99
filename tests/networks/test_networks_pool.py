"""Pooling by a product is PyTorch's pooling but for the order of four additions, and is used where it can be."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from yoco.networks import build
from yoco.networks.pool import AvgPool2
from yoco.rng import Rng

DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def maps_of(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return (10 * torch.randn(shape, generator=Rng(0).generator())).to(dtype).requires_grad_()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 5, 2, 2), (4, 8, 16, 16), (2, 3, 4, 10), (0, 3, 4, 4), (7, 8, 8)])
def test_values_and_gradients_are_those_of_pytorch(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    maps = maps_of(*shape, dtype=dtype)
    ours, theirs = AvgPool2()(maps), avg_pool2d(maps, 2)
    assert ours.dtype == theirs.dtype
    sizes = avg_pool2d(maps.detach().abs(), 2)
    assert ((ours - theirs).abs() <= 2 * torch.finfo(dtype).eps * sizes).all()
    grads = [torch.autograd.grad(pooled, maps, torch.sin(theirs.detach()))[0] for pooled in (ours, theirs)]
    assert torch.equal(*grads)


def test_autocast_does_not_change_the_precision() -> None:
    maps = maps_of(4, 8, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(AvgPool2()(maps), avg_pool2d(maps, 2), rtol=1e-6, atol=1e-6)


def test_it_can_be_differentiated_twice() -> None:
    assert torch.autograd.gradgradcheck(AvgPool2(), maps_of(2, 1, 4, 2, dtype=torch.float64))


@pytest.mark.parametrize(
    "maps", [maps_of(2, 3, 5, 7), maps_of(2, 3, 4, 7), maps_of(2, 3, 4, 4).mT, maps_of(1, 2, 8, 4)[..., ::2]]
)
def test_other_maps_go_to_pytorch(maps: Tensor) -> None:
    assert torch.equal(AvgPool2()(maps), avg_pool2d(maps, 2))


@pytest.mark.parametrize("name", ["convnet:width=8", "resnet_ap10:width=8", "densenet:growth=4,blocks=1-1-1-1"])
def test_networks_do_not_call_the_slow_pooling(name: str) -> None:
    network = build(name, (1, 32, 32), 3, Rng(0))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        network(maps_of(2, 1, 32, 32)).sum().backward()
    called = {event.name for event in profiled.events()}
    assert "aten::mm" in called
    assert "aten::avg_pool2d" not in called
