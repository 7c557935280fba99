"""The space that pixels are in: told by their range, or made plain by undoing a normalisation."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from yoco.convert.known import names
from yoco.convert.origin import Constants, Origin
from yoco.registry import unknown

ROUNDING = 1e-6
NONE: Mapping[str, Constants] = {}


def space_of(images: Tensor, path: Path) -> str:
    """ "unit" for pixels in [0, 1], else "unbounded", with a warning; the pixels stay as they are."""
    low, high = float(images.min()), float(images.max())
    if low >= 0 and high <= 1:
        return "unit"
    if low == low and high == high:
        said = f"convert: {path}: pixels go beyond [0, 1], from {low:.4g} to {high:.4g}"
        warnings.warn(f"{said}; kept as they are, with space unbounded", stacklevel=2)
    return "unbounded"


def constants(origin: Origin, own: Mapping[str, Constants] = NONE) -> Constants:
    """Mean and std that a file was normalised with.

    own: data set -> mean and std of the authors of the file, where theirs are others than those that are published.

    Raises:
        ValueError: the data set is not said, or not known.
    """
    if not origin.data:
        origin.refuse("the data set must be named to undo the normalisation", "none; add --data, cifar10 for example")
    if origin.known is None:
        raise unknown("data with published constants", origin.data, names())
    return own.get(origin.known.name, (origin.known.mean, origin.known.std))


def denormalise(images: Tensor, mean_std: Constants, origin: Origin) -> tuple[Tensor, str]:
    """Normalised images as plain ones, x * std + mean, and their space.

    The space is "unit" where only rounding, up to 1e-6, leaves [0, 1], and that is cut off; else "unbounded".

    Raises:
        ValueError: the images have another number of channels than the constants.
    """
    origin.check_channels(images)
    mean, std = (torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in mean_std)
    plain = images.double() * std + mean
    if float(plain.min()) >= -ROUNDING and float(plain.max()) <= 1 + ROUNDING:
        return plain.clamp(0, 1).float(), "unit"
    return plain.float(), "unbounded"


def plain_or_white(
    images: Tensor, origin: Origin, own: Mapping[str, Constants] = NONE
) -> tuple[Tensor, str, Constants | None]:
    """Images, their space, and the constants that were undone: by what is said of a file that can be either.

    own: see `constants`.

    Raises:
        ValueError: the space is neither "zca" nor "normalised", or the constants are not known.
    """
    if origin.space == "zca":
        return images, "zca", None
    if origin.space != "normalised":
        raise ValueError(f"convert: space must be zca or normalised, got {origin.space}")
    undone = constants(origin, own)
    return *denormalise(images, undone, origin), undone
