"""Sparse weights on disk and back: a bit for each weight, and the values of those that are kept."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from yoco import artefact, networks
from yoco.disk import at_home
from yoco.rng import Rng
from yoco.sparsify.hold import held, remove
from yoco.sparsify.masks import Masks, packed, unpacked, weights
from yoco.sparsify.shrink import resized

KIND, VERSION = "sparse", 1
BITS = ":kept"
"""Behind the name of a parameter: the bits that say which of its weights are kept."""


class Size(NamedTuple):
    """Bytes of the dense state_dict, and of the file that was written."""

    dense: int
    file: int


@dataclass(frozen=True)
class Sparse:
    """The content of a file of sparse weights.

    state: the dense state_dict, on the CPU. masks: which weights are kept. about: as it was passed to `save`.
    """

    state: dict[str, Tensor]
    masks: Masks
    about: dict[str, Any]


def save(
    network: nn.Module, path: str | Path, *, masks: Masks | None = None, about: Mapping[str, Any] | None = None
) -> Size:
    """Write the state of a network as one safetensors file; zeros that it holds are zero there, whatever moved them.

    masks: which weights, and biases that it names, are kept, even where they are 0. Layers that it does not name, by
    default all, keep what is not zero. about: anything that JSON can hold, such as network, shape and classes for
    `rebuild`.

    Raises:
        ValueError: masks that do not fit, or a weight outside of its mask that is not 0.
        OSError: the file cannot be written; an older one stays as it was.
    """
    if masks is not None:
        masks.check(network)
    if held(network) is not None:
        network = remove(deepcopy(network))
    tensors, layers = {}, {}
    biases = {name: network.get_parameter(name).detach() for name in masks or ()}
    for name, weight in {**weights(network), **biases}.items():
        kept = masks[name].cpu() if masks is not None and name in masks else weight.cpu() != 0
        if bool((weight.cpu()[~kept] != 0).any()):
            raise ValueError(f"save: weights outside of the mask must be 0, got others in {name}")
        tensors[name] = weight.cpu()[kept]
        tensors[name + BITS] = packed(kept)
        layers[name] = list(weight.shape)
    state = network.state_dict()
    tensors |= {name: value for name, value in state.items() if name not in layers}
    path = at_home(path)
    artefact.write(path, KIND, VERSION, tensors, {"layers": layers, "about": dict(about or {})})
    return Size(sum(value.numel() * value.element_size() for value in state.values()), path.stat().st_size)


def load(path: str | Path) -> Sparse:
    """Read what `save` wrote; the weights that are kept are the same in every bit, the others are 0.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, no file of sparse weights, or of a newer version.
    """
    tensors, header = artefact.read(Path(path), KIND, VERSION)
    masks = {}
    for name, shape in header.get("layers", {}).items():
        values, mask = tensors.get(name), unpacked(tensors.pop(name + BITS, None), shape)
        if values is None or mask is None:
            raise ValueError(f"load: {path} is damaged, the weights of {name} are not {shape}")
        if values.shape != (int(mask.sum()),):
            got = f"{len(values)} weights for {int(mask.sum())} mask bits"
            raise ValueError(f"load: {path} is damaged, {name} has {got}")
        tensors[name] = values.new_zeros(shape)
        tensors[name][mask] = values
        masks[name] = mask
    return Sparse(tensors, Masks(masks), header.get("about", {}))


def rebuild(path: str | Path, device: torch.device | str = "cpu") -> nn.Module:
    """Build the network that a file describes (`network`, `shape` and `classes` in `about`), in evaluation mode.

    If `about` says `shrunk`, the layers have as many channels as the stored weights.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, does not describe its network, or holds weights that do not fit it.
    """
    found = load(path)
    missing = [name for name in ("network", "shape", "classes") if name not in found.about]
    if missing:
        raise ValueError(f"rebuild: {path} must say network, shape and classes, got no {missing[0]}")
    network = networks.build(found.about["network"], tuple(found.about["shape"]), found.about["classes"], Rng(0))
    if found.about.get("shrunk"):
        resized(network, found.state)
    try:
        network.load_state_dict(found.state)
    except RuntimeError as error:
        raise ValueError(f"rebuild: {path} must fit its network, got: {str(error).splitlines()[-1].strip()}") from None
    return network.to(device).eval()
