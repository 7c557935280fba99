"""Networks by name: `build` makes one from a few words, with weights that depend on a random stream alone."""

import inspect
from typing import Any, get_args, get_type_hints

import torch

from yoco.networks.base import Network
from yoco.networks.convnet import ConvNet
from yoco.networks.densenet import DenseNet
from yoco.networks.lenet import LeNet
from yoco.networks.mlp import MLP
from yoco.networks.resnet import ResNet
from yoco.networks.resnet_ap import ResNetAP
from yoco.networks.vgg import VGG
from yoco.registry import resolve, unknown
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
    """A freshly initialised network on the CPU; the same stream gives the same weights on every machine.

    name: a name out of NETWORKS or `module:Class`; options may follow, which are keyword arguments of the class:
    `convnet:width=64,depth=4,norm=batch` or `my_networks:Small:width=8`.
    shape: (C, H, W) of one image.

    Raises:
        ValueError: no such network or option, or one that does not fit the images.
    """
    base, options = _parse(name)
    factory = resolve("network", NETWORKS, base)
    channels, height, width = shape
    if classes < 2:
        raise ValueError(f"network {base}: needs at least two classes, got {classes}")
    arguments = _typed(base, factory, options)
    with torch.device("cpu"), rng.as_global():
        network = factory(channels, classes, (height, width), **arguments)
    if not isinstance(network, Network):
        raise ValueError(f"network {base}: must be a yoco.networks.Network, got {type(network).__name__}")
    return network


def _parse(name: str) -> tuple[str, dict[str, str]]:
    """`a:b:x=1,y=2` -> ("a:b", {"x": "1", "y": "2"}); options are what follows the last colon, if it has a `=`."""
    base, _, text = name.rpartition(":")
    if not base or "=" not in text:
        return name, {}
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(key and equals and value for key, equals, value in pairs):
        raise ValueError(f"network {base}: options must read key=value,key=value, got {text!r}")
    return base, {key.strip(): value.strip() for key, _, value in pairs}


def _typed(base: str, factory: Any, options: dict[str, str]) -> dict[str, Any]:
    """Options with the types that the constructor declares."""
    parameters = inspect.signature(factory).parameters.values()
    known = {p.name: type(p.default) for p in parameters if p.default is not p.empty}
    hints = get_type_hints(factory.__init__ if inspect.isclass(factory) else factory)
    typed: dict[str, Any] = {}
    for key, text in options.items():
        if key not in known:
            raise unknown(f"network {base} option", key, known)
        hint = hints.get(key, known[key])
        typed[key] = _value(f"network {base}: {key}", text, get_args(hint) or (hint,))
    return typed


def _value(where: str, text: str, kinds: tuple[Any, ...]) -> Any:
    if bool in kinds:
        if text not in ("true", "false"):
            raise ValueError(f"{where} must be true or false, got {text!r}")
        return text == "true"
    for kind, rule in ((int, "a whole number"), (float, "a number")):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError as error:
                raise ValueError(f"{where} must be {rule}, got {text!r}") from error
    return text
