"""The inputs of each layer and their second moments, streamed: what one layer's error is measured with.

A linear layer has one input x for each image (or more), a convolution one for each position: its patch, in the order of
`nn.Unfold` and of `weight.flatten(1)`. A bias is the weight of a last input that is always 1. Each group of a grouped
convolution has inputs of its own.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, unfold

from yoco.sparsify.masks import prunable

Prunable = nn.Linear | nn.Conv2d


@dataclass(eq=False)
class Moments:
    """Sums over n inputs x [d] of a layer's dense network, and y [d] of the network as it is made sparse.

    dense: x x', sparse: y y', cross: y x', float64 [groups, d, d]; where both networks are one, the three are one.
    n: inputs, that is images times positions; images: how many there were.
    """

    dense: Tensor
    sparse: Tensor
    cross: Tensor
    n: int = 0
    images: int = 0

    @property
    def positions(self) -> float:
        """Inputs for each image: 1 for most linear layers."""
        return self.n / self.images

    def add(self, dense: Tensor, sparse: Tensor | None, images: int) -> None:
        """Count inputs, float64 [groups, n, d]; sparse: None if they are the same."""
        self.dense += dense.mT @ dense
        if sparse is not None:
            self.sparse += sparse.mT @ sparse
            self.cross += sparse.mT @ dense
        self.n, self.images = self.n + dense.shape[1], self.images + images


def layers(network: nn.Module) -> dict[str, Prunable]:
    """The Linear and Conv2d layers by the name of their weight; a weight that several share stands for the first.

    Raises:
        ValueError: there are none.
    """
    parameters = dict(network.named_parameters())
    wanted = {id(parameters[name]): name for name in prunable(network)}
    found: dict[str, Prunable] = {}
    for module in network.modules():
        if isinstance(module, Prunable) and id(module.weight) in wanted:
            found.setdefault(wanted[id(module.weight)], module)
    return {name: found[name] for name in wanted.values()}


def dtype_of(network: nn.Module) -> torch.dtype:
    """What a network's images are to be: as its first floating parameter."""
    return next(parameter.dtype for parameter in network.parameters() if parameter.is_floating_point())


def biases(network: nn.Module) -> dict[str, str]:
    """Name of the weight -> name of the bias, of layers that have one; none of a bias that is computed from others."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    own = {weight: dict(layer.named_parameters(recurse=False)) for weight, layer in layers(network).items()}
    return {weight: names[id(found["bias"])] for weight, found in own.items() if "bias" in found}


def matrix(layer: Prunable, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Weights as a matrix for each group: [groups, out, in], with the bias, if there is one, as the last input."""
    weight = layer.weight.detach() if weight is None else weight
    bias = layer.bias.detach() if bias is None and layer.bias is not None else bias
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    rows = weight.flatten(1).unflatten(0, (groups, -1))
    return rows if bias is None else torch.cat([rows, bias.view(groups, -1, 1)], 2)


def parts(layer: Prunable, matrices: Tensor) -> tuple[Tensor, Tensor | None]:
    """The inverse of `matrix`: the weight in its shape, and the bias [out] or None."""
    rows = matrices.flatten(0, 1)
    if layer.bias is None:
        return rows.reshape(layer.weight.shape), None
    return rows[:, :-1].reshape(layer.weight.shape), rows[:, -1].clone()


def neighbours(layer: Prunable) -> Tensor:
    """The order of inputs in which patterns find neighbours, the bias last: long [in].

    Of a convolution it is (kh, kw, C), so that neighbours are channels at one position of the kernel, as in OBC
    (Frantar and Alistarh, NeurIPS 2022); `weight.permute(0, 2, 3, 1).flatten(1)` is in this order. Of a linear layer it
    is its own.
    """
    shape, places = layer.weight.shape[1:], torch.arange(layer.weight[0].numel() + (layer.bias is not None))
    inputs = places[: shape.numel()].view(shape)
    return torch.cat([inputs.movedim(0, -1).flatten(), places[shape.numel() :]]).to(layer.weight.device)


def patches(layer: Prunable, images: Tensor) -> Tensor:
    """All inputs of a layer: float64 [groups, n, in], with a 1 at the end for a bias, from what enters it.

    images: [..., in] of a Linear, [n, C, H, W] of a Conv2d with any stride, padding, dilation and groups.
    """
    if isinstance(layer, nn.Linear):
        given = images.reshape(1, 1, -1, images.shape[-1])
    else:
        how = {name: getattr(layer, name) for name in ("kernel_size", "dilation", "stride")}
        unfolded = unfold(_padded(layer, images), padding=0, **how)
        given = unfolded.unflatten(1, (layer.groups, -1)).permute(1, 0, 3, 2)
    size = given.shape[3]
    rows = given.new_empty(*given.shape[:3], size + (layer.bias is not None), dtype=torch.float64)
    rows[..., :size], rows[..., size:] = given, 1
    return rows.flatten(1, 2)


def _padded(layer: nn.Conv2d, images: Tensor) -> Tensor:
    """With the padding that the layer would add, of any mode."""
    around = layer._reversed_padding_repeated_twice
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return pad(images, around, mode) if any(around) else images


def empty(layer: Prunable, device: torch.device, *, apart: bool = False) -> Moments:
    """Sums over nothing; apart: of two networks that differ."""
    groups, _, d = matrix(layer).shape
    dense = torch.zeros(groups, d, d, dtype=torch.float64, device=device)
    return Moments(dense, dense.clone(), dense.clone()) if apart else Moments(dense, dense, dense)


@torch.no_grad()
def moments(network: nn.Module, batches: Iterable[Tensor], names: Iterable[str] | None = None) -> dict[str, Moments]:
    """The second moments of the inputs of these layers, all by default, in one pass; the network is not changed.

    batches: images as the network sees them, [n, C, H, W].

    Raises:
        ValueError: there are no images.
    """
    known = layers(network)
    chosen = {name: known[name] for name in (known if names is None else names)}
    found: dict[str, Moments] = {}
    with watched(chosen) as seen:
        for images in batches:
            run(network, images)
            for name, inputs in seen.items():
                layer = chosen[name]
                kept = found.setdefault(name, empty(layer, inputs[0].device))
                for number, given in enumerate(inputs):
                    kept.add(patches(layer, given), None, 0 if number else len(images))
            seen.clear()
    if not any(sums.n for sums in found.values()):
        raise ValueError("hessian: needs images that reach the layers, got none")
    return found


@contextmanager
def watched(chosen: Mapping[str, Prunable], stop: bool = False) -> Iterator[dict[str, list[Tensor]]]:
    """A dict that fills with what enters these layers, in the order of calls; stop: end a run at the first of them."""
    seen: dict[str, list[Tensor]] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], dict[str, Tensor]], None]:
        """A hook that notes what enters the layer of this name."""

        def hook(_: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
            given = (inputs[0] if inputs else named["input"]).detach()
            seen.setdefault(name, []).append(given.float() if given.dtype.itemsize < 4 else given)
            if stop:
                raise Reached

        return hook

    handles = [layer.register_forward_pre_hook(note(name), with_kwargs=True) for name, layer in chosen.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


class Reached(Exception):
    """The layer that was waited for has been reached."""


def run(network: nn.Module, images: Tensor) -> Tensor | None:
    """The outputs in evaluation mode, or None if the run was ended on its way; the mode is put back."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        answer: Tensor = network(images)
        return answer
    except Reached:
        return None
    finally:
        for module, mode in modes.items():
            module.training = mode


@torch.no_grad()
def moments_after(dense: nn.Module, sparse: nn.Module, batches: Iterable[Tensor], name: str) -> Moments:
    """The second moments of the inputs of one layer in a network and in a copy that is sparse ahead of it."""
    pair = [layers(network)[name] for network in (dense, sparse)]
    found, once = empty(pair[0], pair[0].weight.device, apart=True), False
    for images in batches:
        inputs = []
        for network, layer in zip((dense, sparse), pair, strict=True):
            with watched({name: layer}, stop=once) as seen:
                run(network, images)
            inputs.append(seen[name])
        for number, (before, after) in enumerate(zip(*inputs, strict=True)):
            found.add(patches(pair[0], before), patches(pair[1], after), 0 if number else len(images))
        once = len(inputs[0]) == 1
    return found
