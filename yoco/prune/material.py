"""Material: what ranking and training need to know of a condensed set or a source, read the same way from both."""

import hashlib
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from yoco.condensed import CondensedSet, Examples
from yoco.data.source import Source
from yoco.train import Examples as Trainable
from yoco.train import Normalise

AnySet = TypeVar("AnySet", CondensedSet, Source)


@dataclass(frozen=True)
class Material:
    """examples: images and targets by index; shape: (C, H, W) of an image; classes: how many."""

    examples: Trainable
    shape: tuple[int, int, int]
    classes: int
    normalise: Normalise


def material(data: CondensedSet | Source, device: torch.device) -> Material:
    """What to train on: decoded cells or images, on the device. Whitened pixels are not normalised again."""
    if isinstance(data, Source):
        return Material(data.to(device), data.shape, len(data.classes), Normalise(data.mean, data.std))
    channels = data.cells.shape[1]
    soft = None if data.soft_labels is None else data.soft_labels.to(device)
    whitened = Normalise((0.0,) * channels, (1.0,) * channels)
    normalise = whitened if data.space == "zca" else Normalise(data.mean, data.std)
    examples = Examples(data.decode().to(device), data.labels.to(device), soft)
    return Material(examples, (channels, *data.size), len(data.classes), normalise)


def data_name(data: CondensedSet | Source) -> str:
    """The name of the data set that this is, or was made from."""
    return data.name if isinstance(data, Source) else str(data.source.get("name", ""))


def checksum(data: CondensedSet | Source) -> str:
    """sha256 over pixels, labels, soft labels and how cells decode, as hexadecimal digits."""
    if isinstance(data, Source):
        return data.checksum
    digest = hashlib.sha256(repr((data.factor, data.size, data.space)).encode())
    for part in (data.cells, data.labels, data.soft_labels):
        digest.update(_bytes(part) if part is not None else b"none")
    return digest.hexdigest()


def nbytes(data: CondensedSet | Source) -> int:
    """Bytes of pixels and labels, soft ones included."""
    if isinstance(data, CondensedSet):
        return data.nbytes
    return sum(part.numel() * part.element_size() for part in (data.images, data.labels))


def _bytes(part: Tensor) -> bytes:
    head = repr((str(part.dtype), tuple(part.shape))).encode()
    return head + part.detach().cpu().contiguous().numpy().tobytes()
