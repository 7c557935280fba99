"""Sources from map-style datasets: torchvision's, Hugging Face's, or anything with a length and an index."""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Subset

from yoco.data.arrays import labelled, whole
from yoco.data.names import told_apart
from yoco.data.pixels import as_pixels, deep_mode, doubt_channels, resize
from yoco.data.source import Source


def from_dataset(
    dataset: Any, *, classes: Sequence[str] | None = None, size: int | None = None, name: str = "dataset"
) -> Source:
    """A source from a map-style dataset of (image, label) pairs or of dicts with `image` and `label`.

    Images are Pillow images (grey stays grey, the rest becomes RGB, and transparency is left out), arrays or tensors,
    [H, W], [C, H, W] or [H, W, C]; among coloured ones, grey ones get three equal channels. The axis of the channels is
    determined as in `from_arrays`.
    classes: as in `from_arrays`; by default the dataset's own `classes` or `features["label"].names`, a sequence of
    names or a mapping from name to label. A name that several classes share, as two of ImageNet are called crane, is
    followed by the label.
    size: needed if the images differ in size; the square in the centre of each is resized to it.

    Raises:
        ValueError: an item has another form, or the images differ in size or channels.
    """
    images, labels, own = read(dataset, size=size, name=name, named=classes is None)
    return labelled(images, labels, classes=own if classes is None else classes, name=name)


def read(
    dataset: Any, *, size: int | None, name: str, named: bool = True
) -> tuple[Tensor, list[Any], tuple[str, ...] | None]:
    """Images uint8 [n, C, H, W], labels unchanged, and the class names that integer labels index, if there are any.

    named: give labels by name for a Subset that has only some of the classes, so that the others are left out.

    Raises:
        ValueError: as `from_dataset`.
    """
    images, labels = [], []
    for at in range(len(dataset)):
        image, label = _item(dataset[at], at, name)
        pixels = _pixels(image, f"{name}[{at}]")
        if size is not None and not at:  # once it is resized nobody can tell
            doubt_channels(pixels, name)
        images.append(pixels if size is None else resize(pixels, size))
        labels.append(label)
        if images[at].shape[2:] != images[0].shape[2:]:
            got = f"{list(images[0].shape[1:])} in item 0 and {list(images[at].shape[1:])} in item {at}"
            raise ValueError(f"data {name}: images must have one shape, got {got}; choose a --size")
    if not images:
        raise ValueError(f"data {name}: needs at least one image, got none")
    pixels, own = _together(images, name), _class_names(dataset, labels)
    if size is None:
        doubt_channels(pixels, name)
    if named and own is not None and isinstance(dataset, Subset) and len({*labels}) < len(own):
        return pixels, [own[label] for label in labels], None
    return pixels, labels, own


def _together(images: list[Tensor], name: str) -> Tensor:
    """The images, all of as many channels, in one tensor; the list is emptied, so that none is held twice."""
    channels = sorted({image.shape[1] for image in images})
    if len(channels) > 1 and channels != [1, 3]:
        raise ValueError(
            f"data {name}: images must all have the same number of channels, got {' and '.join(map(str, channels))}"
        )
    pixels = images[0].new_empty(len(images), channels[-1], *images[0].shape[2:])
    while images:
        image = images.pop()[0]
        pixels[len(images)] = image
    return pixels


def _item(item: Any, at: int, name: str) -> tuple[Any, Any]:
    if isinstance(item, Mapping) and {"image", "label"} <= set(item):
        image, label = item["image"], item["label"]
    elif isinstance(item, tuple | list) and len(item) == 2:
        image, label = item
    else:
        got = f"the keys {sorted(map(str, item))}" if isinstance(item, Mapping) else type(item).__name__
        raise ValueError(f"data {name}: item {at} must be (image, label) or have the keys image and label, got {got}")
    if isinstance(label, np.ndarray | Tensor) and math.prod(label.shape) != 1:
        raise ValueError(f"data {name}: item {at} must have one label, got the shape {list(label.shape)}")
    return image, whole(label.item() if hasattr(label, "item") else label)


def _pixels(image: Any, name: str) -> Tensor:
    """One image as uint8 [1, C, H, W]."""
    if hasattr(image, "convert"):
        if (deep := deep_mode(image)) is not None:
            raise ValueError(f"data {name}: images need 8 bits a channel, got mode {deep}")
        bands = np.array(image if image.mode == "L" else image.convert("RGB"))
        image = bands if bands.ndim == 2 else bands.transpose(2, 0, 1)
    elif not isinstance(image, Tensor):
        image = np.asarray(image)
    return as_pixels(image[None], name)


def _class_names(dataset: Any, labels: list[Any]) -> tuple[str, ...] | None:
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    names = _in_order(getattr(dataset, "classes", None))
    if names is None:
        features = getattr(dataset, "features", None)
        label = features.get("label") if isinstance(features, Mapping) else None
        names = _in_order(getattr(label, "names", None))
    fits = names is not None and all(isinstance(label, int) and 0 <= label < len(names) for label in labels)
    return told_apart([str(name) for name in names]) if names is not None and fits else None


def _in_order(names: Any) -> list[Any] | None:
    """Names in the order of their labels, if that is known: a sequence, or a mapping that gives each name its label."""
    if isinstance(names, Mapping):
        places = list(names.values())
        numbered = all(isinstance(at, Integral) for at in places) and sorted(places) == list(range(len(places)))
        return sorted(names, key=names.__getitem__) if numbered else None
    names = names.tolist() if hasattr(names, "tolist") else names
    ordered = hasattr(names, "__len__") and hasattr(names, "__getitem__") and not isinstance(names, str | bytes)
    return list(names) if ordered else None
