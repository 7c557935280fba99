"""Material: what ranking and training need to know of a condensed set or a source, read the same way from both."""

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from yoco.condensed import CondensedSet
from yoco.data.source import Source
from yoco.prune.numbers import tensor
from yoco.train import Examples, Normalise

AnySet = TypeVar("AnySet", CondensedSet, Source)


@dataclass(frozen=True)
class Material:
    """examples: images and targets by index, on the device; shape: (C, H, W) of an image; classes: how many."""

    examples: Examples
    shape: tuple[int, int, int]
    classes: int
    normalise: Normalise
    device: torch.device
    checksum: str


def check_kind(where: str, data: Any, more: str = "") -> None:
    """Refuse what is neither a condensed set nor a Source, and say how to get one. more: what else is accepted.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(data, CondensedSet | Source):
        rule = "needs a condensed set or a Source (yoco.data.load(...).train, from_arrays, from_dataset)"
        raise ValueError(f"{where}: {rule}{more}, got {type(data).__name__}")


def material(data: CondensedSet | Source, device: torch.device) -> Material:
    """What to train on: decoded cells or images, on the device. Whitened pixels are not normalised again."""
    channels, whitened = data.shape[0], data.space == "zca"
    normalise = Normalise((0.0,) * channels, (1.0,) * channels) if whitened else Normalise(data.mean, data.std)
    return Material(data.as_dataset().to(device), data.shape, len(data.classes), normalise, device, data.checksum)


def given_features(data: CondensedSet | Source, features: Any) -> Tensor:
    """Given features as numbers: float32 [n, D] on the CPU.

    features: "pixels", or numbers [n, ...] as a tensor or an array, sample for sample as in the set.

    Raises:
        ValueError: another word, a wrong number of samples, or values that are not finite.
    """
    if isinstance(features, str):
        if features != "pixels":
            raise ValueError(f"features: must be network, pixels or numbers [{len(data)}, ...], got {features!r}")
        cpu = torch.device("cpu")
        return material(data, cpu).examples.batch(torch.arange(len(data))).images.flatten(1).float()
    found = tensor("features:", features).cpu().float()
    if found.ndim < 2 or len(found) != len(data):
        raise ValueError(f"features: must be [{len(data)}, ...], got {list(found.shape)}")
    if not torch.isfinite(found).all():
        raise ValueError("features: must be finite, got nan or infinity")
    return found.flatten(1)


def features_name(features: Any) -> str:
    """The name of given features in records of how a result was made: "pixels", or "given" for numbers."""
    return features if isinstance(features, str) else "given"


def data_name(data: CondensedSet | Source) -> str:
    """The name of the data set that this is, or was made from."""
    return data.name if isinstance(data, Source) else str(data.source.get("name", ""))
