"""Hold zeros: put sparse weights into a network, and keep their zeros while anybody trains it."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from yoco.sparsify.masks import Masks
from yoco.sparsify.network import Prunable, biases, layers

MASK, BIAS_MASK = "yoco_weight_mask", "yoco_bias_mask"
BUFFERS = {"weight": MASK, "bias": BIAS_MASK}
"""Parameter of a layer -> the buffer with its mask, by a name that no layer has for masks of its own."""


class Hold:
    """What a layer does ahead of each forward pass: set its zeros, and see that they get no gradients.

    A mask is a buffer of the layer: it moves with it to other devices and is copied with it, but is not in its
    `state_dict`, which is that of the dense network.
    """

    def __call__(self, layer: nn.Module, _: object) -> None:
        for name in _impose(layer):
            _shield(layer, name)


def _impose(layer: nn.Module) -> list[str]:
    """Set the zeros that a layer holds; which of its parameters have some."""
    found = []
    for name, buffer in BUFFERS.items():
        mask, weight = getattr(layer, buffer, None), getattr(layer, name, None)
        if mask is not None and isinstance(weight, nn.Parameter):  # torch.func may have put another tensor in its place
            weight.data.mul_(mask)  # not noticed by autograd: what another pass has kept stays valid
            found.append(name)
    return found


def _shield(layer: nn.Module, name: str) -> None:
    """Mask the gradients of a weight or bias, unless they are; copies of one, and those from files, are not."""
    weight = getattr(layer, name)
    hooks = (weight._backward_hooks or {}).values()
    if weight.requires_grad and not any(isinstance(hook, Gradient) and hook.layer is layer for hook in hooks):
        weight.register_hook(Gradient(layer, BUFFERS[name]))


class Gradient:
    """What a held weight or bias does with a gradient."""

    __torch_unserializable__ = True  # not written with a weight: the hold makes it anew

    def __init__(self, layer: nn.Module, buffer: str) -> None:
        self.layer, self.buffer = layer, buffer

    def __call__(self, gradient: Tensor) -> Tensor:
        mask = getattr(self.layer, self.buffer, None)
        return gradient if mask is None else gradient * mask


@torch.no_grad()
def install(network: nn.Module, masks: Masks, weights: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Put masks, and weights and biases by parameter name, into the network itself and hold the zeros; returns it.

    masks: of weights of Linear and Conv2d layers, and of their biases. They replace all masks that these layers held.
    Batch norms keep the running means and variances of the dense weights. After a solver, re-estimate them by
    `yoco.sparsify.reestimate(network, examples, normalise, rng)`, where examples are a source, or `set.as_dataset()` of
    a condensed set.

    Any optimiser may then train the network. The zeros get no gradient and are set again before each forward pass of
    their layer, except for a weight that is read without calling its layer. In between, the momentum of an optimiser
    that was there before can move zeros in the weights and in a `state_dict`; `measure`, `save`, `certify` and `remove`
    see zeros. `copy.deepcopy` copies the hold, except for a weight that is read without calling its layer. A
    `state_dict` does not contain it: to go on from one, load it and install the masks again.

    Raises:
        ValueError: masks or weights that do not fit the network.
    """
    masks.check(network)
    known, places = dict(network.named_parameters()), _places(network)
    for name, weight in (weights or {}).items():
        if name not in known or known[name].shape != weight.shape:
            raise ValueError(f"install: weights must fit the network, got {name} {list(weight.shape)}")
    for name in masks:
        if name not in places:
            raise ValueError(f"install: masks must be of Linear or Conv2d layers, got {name!r}")
    for name, weight in (weights or {}).items():
        known[name].copy_(weight)
    for name in masks:
        _detach(places[name][0])
    for name, mask in masks.items():
        _attach(*places[name], mask)
    return network


def _places(network: nn.Module) -> dict[str, tuple[Prunable, str]]:
    """The layer of each parameter that a mask can be of, and what it is there: weight or bias."""
    found, own = dict[str, tuple[Prunable, str]](), biases(network)
    for name, layer in layers(network).items():
        found[name] = (layer, "weight")
        if name in own:
            found.setdefault(own[name], (layer, "bias"))
    return found


def _attach(layer: Prunable, name: str, mask: Tensor) -> None:
    weight = getattr(layer, name)
    layer.register_buffer(BUFFERS[name], mask.to(weight.device), persistent=False)
    if not any(isinstance(hook, Hold) for hook in layer._forward_pre_hooks.values()):
        layer.register_forward_pre_hook(Hold())
    weight.mul_(mask.to(weight.device))
    _shield(layer, name)  # at once, for modules such as attention that read a weight without calling its layer


def _detach(layer: nn.Module) -> None:
    for key, hook in list(layer._forward_pre_hooks.items()):
        if isinstance(hook, Hold):
            del layer._forward_pre_hooks[key]
    for buffer in BUFFERS.values():
        layer._buffers.pop(buffer, None)


def remove(network: nn.Module) -> nn.Module:
    """Stop holding zeros; they are set a last time and stay until the network is trained. Returns the network."""
    for layer in layers(network).values():
        _impose(layer)
        _detach(layer)
    return network


def held(network: nn.Module) -> Masks | None:
    """The masks that are held in a network, if there are any."""
    places = _places(network).items()
    found = {name: getattr(layer, BUFFERS[own]) for name, (layer, own) in places if hasattr(layer, BUFFERS[own])}
    return Masks(found) if found else None
