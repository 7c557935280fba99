"""What the methods try things on: a copy of the network, since the network itself stays as it is, and a batch."""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from yoco.data.source import Batch
from yoco.networks.base import Network
from yoco.sparsify.hold import remove
from yoco.sparsify.masks import Masks, prunable

Normaliser = Callable[[Tensor], Tensor]
"""Images in [0, 1] to what the network sees, such as yoco.train.Normalise."""


def still(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode that holds no zeros, requires no gradients and computes in the dtype of its weights."""
    copied = remove(deepcopy(network)).eval().requires_grad_(False)
    for module in copied.modules():
        if isinstance(module, Network):
            module.autocast = None
    return copied


def twin(network: nn.Module) -> nn.Module:
    """A copy in float64 and in evaluation mode that holds no zeros; only its prunable weights want gradients."""
    copied = still(network).double()
    for weight in leaves(copied).values():
        weight.requires_grad_(True)
    return copied


def leaves(network: nn.Module) -> dict[str, nn.Parameter]:
    """The prunable parameters themselves, by name."""
    parameters = dict(network.named_parameters())
    return {name: parameters[name] for name in prunable(network)}


@torch.no_grad()
def impose(network: nn.Module, masks: Masks) -> None:
    """Set the weights that are not kept to zero, in place."""
    for name, weight in leaves(network).items():
        weight.mul_(masks[name])


@torch.no_grad()
def unsigned(network: nn.Module) -> None:
    """Replace all finite floating-point values of the state_dict by their absolute values, in place."""
    for value in network.state_dict().values():
        if isinstance(value, Tensor) and value.is_floating_point():
            value.copy_(value.abs().where(value.isfinite(), value))


def material(where: str, network: nn.Module, data: Batch | None, normalise: Normaliser | None) -> Batch:
    """The batch as the network sees it: normalised images in float64, and their labels, on its device.

    Raises:
        ValueError: there is no batch, or it is empty.
    """
    if data is None or not len(data.images):
        raise ValueError(f"{where}: needs data, a batch of images with their labels, got none")
    device = next(network.parameters()).device
    images, labels = data.images.to(device).double(), data.labels.to(device)
    return Batch(images if normalise is None else normalise(images), labels)


def image_shape(where: str, data: Batch | None, shape: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """(C, H, W) of one image: what was given, or else that of the data.

    Raises:
        ValueError: neither is there.
    """
    if shape is not None:
        return shape
    if data is None:
        raise ValueError(f"{where}: needs shape=(C, H, W) of an image, or data, got neither")
    c, h, w = data.images.shape[1:]
    return c, h, w
