"""Masks: which weights of a network are kept, by parameter name; thresholds, and how many weights each layer keeps."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from yoco import artefact
from yoco.sparsify.patterns import lowest

KIND, VERSION = "masks", 1
REMEDY = (
    "remove the parametrization first (torch.nn.utils.parametrize.remove_parametrizations, torch.nn.utils.prune.remove)"
)
"""What to do with a weight that is computed."""


class Count(NamedTuple):
    """Of `total` weights `kept` are not zero."""

    kept: int
    total: int

    @property
    def sparsity(self) -> float:
        """The share of zeros."""
        return 1 - self.kept / self.total


@dataclass(frozen=True, eq=False)
class Masks(Mapping[str, Tensor]):
    """Parameter name -> bool tensor of its shape, True = kept; the tensors are copies.

    Raises:
        ValueError: there are no tensors, or one is empty or not of bools.
    """

    tensors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        if not self.tensors:
            raise ValueError("masks: must hold at least one mask, got none")
        for name, mask in self.tensors.items():
            if mask.dtype != torch.bool or not mask.numel():
                got = f"{str(mask.dtype).removeprefix('torch.')} {list(mask.shape)}"
                raise ValueError(f"masks: {name} must be bools, at least one, got {got}")
        copies = {name: mask.detach().clone() for name, mask in self.tensors.items()}
        object.__setattr__(self, "tensors", MappingProxyType(copies))

    @classmethod
    def of(cls, network: nn.Module) -> "Masks":
        """Masks of the prunable parameters of a network, which keep the weights that are not zero."""
        return cls({name: weight != 0 for name, weight in weights(network).items()})

    def __reduce__(self) -> tuple[type["Masks"], tuple[dict[str, Tensor]]]:
        """How it is copied and pickled."""
        return Masks, (dict(self.tensors),)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Masks)
            and set(self) == set(other)
            and all(torch.equal(mask, other[name].to(mask.device)) for name, mask in self.items())
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        layers = len({name.removesuffix("bias").removesuffix("weight") for name in self})
        return f"Masks({self.kept} of {self.total} weights kept in {layers} layers, sparsity {self.sparsity:.4f})"

    def __and__(self, other: "Masks") -> "Masks":
        """What both keep, on the device of the left masks; a parameter that only one names has the mask of that one."""
        for name in set(self) & set(other):
            _same_shape(name, self[name], other[name], "the other masks")
        other = other.to(next(iter(self.values())).device) if self else other
        both = {name: mask & other[name] if name in other else mask for name, mask in self.items()}
        return Masks({**both, **{name: mask for name, mask in other.items() if name not in both}})

    @property
    def kept(self) -> int:
        """Weights that stay."""
        return sum(int(mask.sum()) for mask in self.values())

    @property
    def total(self) -> int:
        """All weights."""
        return sum(mask.numel() for mask in self.values())

    @property
    def sparsity(self) -> float:
        """Share of zeros."""
        return Count(self.kept, self.total).sparsity

    def by_layer(self) -> dict[str, Count]:
        """Kept and all weights of each parameter."""
        return {name: Count(int(mask.sum()), mask.numel()) for name, mask in self.items()}

    def check(self, network: nn.Module) -> None:
        """Check that each mask has a parameter of its name and shape.

        Raises:
            ValueError: the network has no parameter of this name, or one of another shape.
        """
        known = dict(network.named_parameters())
        for name, mask in self.items():
            if name not in known:
                raise ValueError(f"masks: names must be of parameters of the network, got {name!r}")
            _same_shape(name, mask, known[name], "the network")

    def to(self, device: torch.device | str) -> "Masks":
        """The same masks on another device."""
        return Masks({name: mask.to(device) for name, mask in self.items()})

    def save(self, path: str | Path) -> None:
        """Write one safetensors file with a bit for each weight.

        Raises:
            OSError: the place cannot be written; what stood there is as it was.
        """
        bits = {name: packed(mask) for name, mask in self.items()}
        layers = [[name, list(mask.shape)] for name, mask in self.items()]
        artefact.write(Path(path), KIND, VERSION, bits, {"layers": layers})


def load(path: str | Path) -> Masks:
    """The masks of a file that `save` made, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, no file of masks, or of a newer version.
    """
    bits, header = artefact.read(Path(path), KIND, VERSION)
    masks = {}
    for name, shape in header.get("layers", []):
        mask = unpacked(bits.get(name), shape)
        if mask is None:
            raise ValueError(f"load: {path} is damaged, the mask of {name} is not {shape}")
        masks[name] = mask
    return Masks(masks)


def packed(mask: Tensor) -> Tensor:
    """A bit for each weight, on the CPU: uint8 [bytes]."""
    return torch.from_numpy(np.packbits(mask.cpu().numpy()))


def unpacked(bits: Tensor | None, shape: Sequence[int]) -> Tensor | None:
    """The mask of this shape that `packed` has made bits of; None if they are not bits of so many weights."""
    count = int(np.prod(shape))
    if bits is None or bits.dtype != torch.uint8 or bits.shape != (ceil(count / 8),):
        return None
    return torch.from_numpy(np.unpackbits(bits.numpy(), count=count)).bool().reshape(shape)


def prunable(network: nn.Module) -> tuple[str, ...]:
    """Names of the weights of all Linear and Conv2d layers, in the network's order; biases and norms are none.

    A weight that is a buffer, such as a fixed kernel, is none either.

    Raises:
        ValueError: there are no such layers, or one whose weight is computed from other parameters.
    """
    wanted = set()
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            own = dict(module.named_parameters(recurse=False))
            if "weight" in dict(module.named_buffers(recurse=False)):
                continue
            if "weight" not in own:
                got = f"a computed one in {name or type(module).__name__}"
                raise ValueError(f"prunable: weights must be parameters, got {got}; {REMEDY}")
            wanted.add(id(own["weight"]))
    names = tuple(name for name, parameter in network.named_parameters() if id(parameter) in wanted)
    if not names:
        raise ValueError(f"prunable: the network must have Linear or Conv2d layers, got {type(network).__name__}")
    return names


def weights(network: nn.Module) -> dict[str, Tensor]:
    """The prunable parameters by name, detached; see `prunable`."""
    parameters = dict(network.named_parameters())
    return {name: parameters[name].detach() for name in prunable(network)}


def budget(total: int, sparsity: float) -> int:
    """How many of `total` weights are kept: ceil((1 - sparsity) * total), never sparser than `sparsity`.

    Raises:
        ValueError: sparsity is not in [0, 1).
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity: must be at least 0 and below 1, got {sparsity:g}")
    return total - int(Fraction(str(float(sparsity))) * total)


def keep_schedule(total: int, kept: int, count: int) -> list[int]:
    """How many weights stay after each of `count` rounds, of which each keeps the same share: total to kept."""
    return [ceil(total * (kept / total) ** (step / count)) for step in range(1, count)] + [kept]


def top(scores: Mapping[str, Tensor], keep: int | Mapping[str, int]) -> Masks:
    """Keep the weights with the largest scores: `keep` in the whole model, or so many in each layer.

    The counts are exact: of equal scores the earlier weight stays, in the order of the mapping.

    Raises:
        ValueError: a score is nan, there are fewer weights than `keep`, or it names other layers than the scores.
    """
    for name, score in scores.items():
        if score.isnan().any():
            raise ValueError(f"top: scores must be numbers, got nan in {name}")
    flat = {name: score.flatten().double() for name, score in scores.items()}
    if isinstance(keep, Mapping):
        if set(keep) != set(scores):
            raise ValueError(
                f"top: keep must have the same names as scores, got {sorted(set(keep) ^ set(scores))[0]!r} in only one"
            )
        return Masks({name: _largest(flat[name], keep[name]).reshape(score.shape) for name, score in scores.items()})
    largest = _largest(torch.cat([*flat.values()]), keep)
    parts = largest.split([score.numel() for score in scores.values()])
    return Masks({name: part.reshape(scores[name].shape) for name, part in zip(scores, parts, strict=True)})


def _largest(scores: Tensor, keep: int) -> Tensor:
    """bool [n] with `keep` True, of equal ones the first."""
    if not 0 <= keep <= len(scores):
        raise ValueError(f"top: keep must be in 0..{len(scores)}, got {keep}")
    return lowest(-scores, keep)


def _same_shape(name: str, mask: Tensor, other: Tensor, where: str) -> None:
    if mask.shape != other.shape:
        raise ValueError(f"masks: {name} must be {list(other.shape)} as in {where}, got {list(mask.shape)}")
