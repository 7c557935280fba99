"""Networks by name: `build` makes one from a few words, with weights that depend on a random stream alone."""

import torch

from yoco.networks.base import Network
from yoco.networks.convnet import ConvNet
from yoco.networks.densenet import DenseNet
from yoco.networks.lenet import LeNet
from yoco.networks.mlp import MLP
from yoco.networks.resnet import ResNet
from yoco.networks.resnet_ap import ResNetAP
from yoco.networks.vgg import VGG
from yoco.registry import resolve, signature_of, split_options, typed_options
from yoco.rng import Rng

__all__ = ["MLP", "NETWORKS", "VGG", "ConvNet", "DenseNet", "LeNet", "Network", "ResNet", "ResNetAP", "build"]

NETWORKS: dict[str, str] = {
    "convnet": "yoco.networks.convnet:ConvNet",
    "mlp": "yoco.networks.mlp:MLP",
    "lenet": "yoco.networks.lenet:LeNet",
    "lenet-5": "yoco.networks.lenet:lenet_5",
    "lenet-300-100": "yoco.networks.mlp:lenet_300_100",
    "vgg11": "yoco.networks.vgg:vgg11",
    "resnet10": "yoco.networks.resnet:resnet10",
    "resnet18": "yoco.networks.resnet:resnet18",
    "resnet20": "yoco.networks.resnet:resnet20",
    "resnet_ap10": "yoco.networks.resnet_ap:resnet_ap10",
    "densenet": "yoco.networks.densenet:DenseNet",
}
"""name -> class or function, called as Class(channels, classes, (height, width), **options)."""


def build(name: str, shape: tuple[int, int, int], classes: int, rng: Rng) -> Network:
    """A freshly initialised network on the CPU; the same stream gives the same weights on the same machine.

    name: a name of NETWORKS, or `module:Class` of your own Network, called as Class(channels, classes, (height, width),
    **options); options may follow: `convnet:width=64,depth=4,norm=batch` or `my_networks:Small:width=8`.
    shape: (C, H, W) of one image.

    Raises:
        ValueError: no such network or option, or one that does not fit the images.
    """
    base, options = split_options("network", name)
    factory = resolve("network", NETWORKS, base)
    channels, height, width = shape
    if classes < 2:
        raise ValueError(f"network {base}: needs at least two classes, got {classes}")
    if not callable(factory) or (isinstance(factory, type) and not issubclass(factory, Network)):
        got = getattr(factory, "__name__", type(factory).__name__)
        raise ValueError(f"network {base}: must be a yoco.networks.Network, got {got}")
    arguments = typed_options(f"network {base}", factory, options, given=3)
    try:
        signature_of(factory).bind(channels, classes, (height, width), **arguments)
    except TypeError as error:
        rule = f"must be callable as {base.split(':')[-1]}(channels, classes, (height, width), options)"
        raise ValueError(f"network {base}: {rule}, got an error: {error}") from None
    with torch.device("cpu"), rng.as_global():
        network = factory(channels, classes, (height, width), **arguments)
    if not isinstance(network, Network):
        raise ValueError(f"network {base}: must be a yoco.networks.Network, got {type(network).__name__}")
    return network
