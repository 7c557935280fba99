"""A network as its prunable layers: their names, their weights as matrices, and what enters them when it runs.

A linear layer has one input x for each image (or more), a convolution one for each position: its patch, in the order of
`nn.Unfold` and of `weight.flatten(1)`. A bias is the weight of a last input that is always 1. Each group of a grouped
convolution has inputs of its own.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, unfold

from yoco.sparsify.masks import prunable
from yoco.train import evaluating

Prunable = nn.Linear | nn.Conv2d
ROOM = 2**26
"""Bytes for inputs of a layer at one time."""


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


def sharers(network: nn.Module) -> dict[str, int]:
    """How many Linear and Conv2d layers have each weight, by its name; a layer that runs twice is one."""
    counts = Counter(id(module.weight) for module in network.modules() if isinstance(module, Prunable))
    return {name: counts[id(layer.weight)] for name, layer in layers(network).items()}


def dtype_of(network: nn.Module) -> torch.dtype:
    """What a network's images are to be: as its first floating parameter."""
    return next(parameter.dtype for parameter in network.parameters() if parameter.is_floating_point())


def biases(network: nn.Module) -> dict[str, str]:
    """Name of the weight -> name of the bias, of layers that have one; none of a bias that is computed from others."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    own = {weight: dict(layer.named_parameters(recurse=False)) for weight, layer in layers(network).items()}
    return {weight: names[id(found["bias"])] for weight, found in own.items() if "bias" in found}


def matrix(layer: Prunable) -> Tensor:
    """Weights as a matrix for each group: [groups, out, in], with the bias, if there is one, as the last input."""
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    rows = layer.weight.detach().flatten(1).unflatten(0, (groups, -1))
    return rows if layer.bias is None else torch.cat([rows, layer.bias.detach().view(groups, -1, 1)], 2)


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


def portions(layer: Prunable, images: Tensor) -> tuple[Tensor, ...]:
    """What enters a layer, as many images at a time as have `patches` of about ROOM bytes, or one."""
    each = 8 * images[:1].numel() * layer.weight[0, 0].numel()
    return images.split(max(1, ROOM // max(each, 1)))


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
    around = _around(layer)
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return pad(images, around, mode) if any(around) else images


def _around(layer: nn.Conv2d) -> list[int]:
    """Zeros left, right, above and below as the layer has them now; other modes take those that it was made with."""
    if layer.padding_mode != "zeros":
        return list(layer._reversed_padding_repeated_twice)
    if layer.padding == "valid":
        return [0, 0, 0, 0]
    if layer.padding == "same":
        high, wide = (far * (size - 1) for far, size in zip(both(layer.dilation), layer.kernel_size, strict=True))
        return [wide // 2, wide - wide // 2, high // 2, high - high // 2]
    high, wide = both(layer.padding)
    return [wide, wide, high, high]


def both(value: Any) -> tuple[int, int]:
    """An argument for height and width, given as one number or as two."""
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


@contextmanager
def watched(chosen: Mapping[str, Prunable], stop: bool = False) -> Iterator[dict[str, list[Tensor]]]:
    """A dict that fills with what enters these layers, in the order of calls; stop: end a run at the first of them."""
    seen: dict[str, list[Tensor]] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], dict[str, Tensor]], None]:
        """A hook that notes what enters the layer of this name, before anything else changes it in place."""

        def hook(_: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
            given = (inputs[0] if inputs else named["input"]).detach()
            seen.setdefault(name, []).append(given.float() if given.dtype.itemsize < 4 else given.clone())
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
    with evaluating(network):
        try:
            answer: Tensor = network(images)
            return answer
        except Reached:
            return None


def answered(where: str, answer: Any, labels: Tensor | None = None) -> Tensor:
    """What a network has answered, if it is one tensor and, where labels are read, has a column for each class.

    labels: long [n], or soft [n, k], for which the answer must be [n, k].

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(answer, Tensor):
        raise ValueError(f"{where}: the network must return one tensor, got {type(answer).__name__}")
    if labels is not None:
        soft = labels.dim() > 1
        least = labels.shape[1] if soft else int(labels.max()) + 1
        rows, *columns = answer.shape or (0,)
        if rows != len(labels) or len(columns) != 1 or columns[0] < least or (soft and columns[0] > least):
            wanted = f"[{len(labels)}, {least}{'' if soft else ' or more'}]"
            raise ValueError(f"{where}: the network must return {wanted} to match the labels, got {list(answer.shape)}")
    return answer


@torch.no_grad()
def entering(network: nn.Module, shape: tuple[int, int, int]) -> dict[str, list[Tensor]]:
    """What enters the layers that an image of zeros (C, H, W) meets, in their order; see `watched`."""
    device = next(network.parameters()).device
    with watched(layers(network)) as seen:
        run(network, torch.zeros(1, *shape, dtype=dtype_of(network), device=device))
    return seen
