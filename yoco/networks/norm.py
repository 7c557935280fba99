"""Normalisation layers by name, and the least maps that they make sense on."""

from torch import nn

from yoco.registry import unknown

NORMS = ("instance", "batch", "group")


def normalisation(where: str, norm: str, width: int, known: tuple[str, ...] = NORMS) -> nn.Module:
    """The layer of this name for maps of `width` channels, affine.

    norm: `instance` (one group for each channel), `batch` or `group` (4 groups). where: who asks, for the errors.

    Raises:
        ValueError: an unknown norm, or four groups for a width that is no multiple of 4.
    """
    if norm == "group" and width % 4:
        raise ValueError(f"{where}: width must be a multiple of 4 for norm=group, got {width}")
    if norm == "instance":
        return nn.GroupNorm(width, width)
    if norm == "group":
        return nn.GroupNorm(4, width)
    if norm == "batch":
        return nn.BatchNorm2d(width)
    raise unknown(f"{where} norm", norm, known)


def check_size(where: str, size: tuple[int, int]) -> None:
    """Refuse images on which no norm can work: an instance norm turns a map of one pixel into its bias."""
    if min(size) < 2:
        raise ValueError(f"{where}: images must be at least 2x2, got {size[0]}x{size[1]}")


def may_halve(side: int) -> bool:
    """Whether maps of this shorter side may be halved ahead of a norm: only if at least 2x2 pixels are left.

    One pixel less its mean is zero whatever the image was, and what follows an instance norm of it learns nothing.
    """
    return side >= 4
