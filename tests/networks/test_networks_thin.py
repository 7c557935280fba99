"""The convolution of grey images is PyTorch's, and its quick gradients are those of PyTorch but for rounding."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from yoco.networks import build
from yoco.networks.thin import ThinConv2d, _Products
from yoco.rng import Rng


def images_of(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=Rng(0).generator()).to(dtype)


def pair(channels: int, padding: int) -> tuple[ThinConv2d, nn.Conv2d]:
    thin = ThinConv2d(channels, 6, 3, padding=padding)
    plain = nn.Conv2d(channels, 6, 3, padding=padding)
    plain.load_state_dict(thin.state_dict())
    return thin, plain


def gradients(layer: nn.Module, images: Tensor, bf16: bool) -> list[Tensor]:
    leaf = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        output = layer(leaf)
    return [output, *torch.autograd.grad(output.float().sin().sum(), [leaf, *layer.parameters()])]


@pytest.mark.parametrize(("channels", "padding"), [(1, 3), (1, 0), (3, 1)])
@pytest.mark.parametrize("bf16", [True, False])
def test_outputs_and_gradients_are_those_of_pytorch(channels: int, padding: int, bf16: bool) -> None:
    images = images_of(5, channels, 8, 10)
    ours, theirs = (gradients(layer, images, bf16) for layer in pair(channels, padding))
    assert torch.equal(ours[0], theirs[0])
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        assert mine.dtype == other.dtype == torch.float32
        assert (mine - other).abs().max() <= (0.02 if bf16 else 0) * other.abs().max()


def test_its_gradients_are_right_and_can_be_differentiated() -> None:
    images, weight, bias = (
        images_of(*shape, dtype=torch.float64).requires_grad_() for shape in ((2, 2, 4, 5), (3, 2, 3, 3), (3,))
    )
    assert torch.autograd.gradcheck(_Products.apply, (images, weight, bias, (1, 1)))
    assert torch.autograd.gradgradcheck(_Products.apply, (images, weight, bias, (1, 1)))


def test_gradients_of_single_images_can_be_mapped() -> None:
    thin, plain = pair(1, 1)
    images = images_of(4, 1, 6, 6)

    def each(layer: nn.Module) -> dict[str, Tensor]:
        def loss(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return functional_call(layer, parameters, (image[None],)).float().sin().sum()

        parameters: dict[str, Tensor] = {name: value.detach() for name, value in layer.named_parameters()}
        return vmap(grad(loss), in_dims=(None, 0))(parameters, images)  # type: ignore[no-any-return]

    for name, found in each(plain).items():
        torch.testing.assert_close(each(thin)[name], found, rtol=0.05, atol=0.05)


def test_a_convnet_begins_with_it_and_can_be_copied() -> None:
    network = build("convnet:width=8", (1, 28, 28), 3, Rng(0))
    assert isinstance(deepcopy(network).stages[0][0], ThinConv2d)  # type: ignore[index]
    assert [isinstance(m, ThinConv2d) for m in network.modules() if isinstance(m, nn.Conv2d)] == [True, False, False]
    wide = build("convnet:width=8", (3, 28, 28), 3, Rng(0))
    assert not any(isinstance(module, ThinConv2d) for module in wide.modules())
