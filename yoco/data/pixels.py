"""Pixels of whole sources: any array to uint8 [n, C, H, W], luminance, and size."""

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from yoco.data.source import Source

CHANNELS = (1, 3, 4)
EIGHT_BIT = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV")
"""Modes of Pillow's images with 8 bits a channel or less; Pillow converts others by cutting, not by scaling."""
DEEP = re.compile(r"\b(?!BGR;)\w+;16\w*")
"""Pillow's modes of 16 bits a channel in files of coloured images, which it cuts; BGR;16 has 16 bits a pixel."""
BITS = 258
"""The tag of a TIFF with the bits of each channel: where each has a plane of its own, nothing else tells them."""
LUMINANCE = (19595, 38470, 7471)
"""Weights of red, green and blue, in units of 1/65536 (ITU-R BT.601: 0.299, 0.587, 0.114)."""


def as_pixels(images: Any, name: str) -> Tensor:
    """Images as uint8 [n, C, H, W].

    images: NumPy or torch; uint8, or float in [0, 1], rounded to 1/255; [n, H, W], [n, C, H, W] or [n, H, W, C].
    The last axis holds the channels where its length is 1, 3 or 4 and that of the second axis is not.

    Raises:
        ValueError: another type, another number of axes, or floats outside [0, 1].
    """
    pixels = images.detach() if isinstance(images, Tensor) else _tensor(images, name)
    if pixels.ndim not in (3, 4):
        raise ValueError(f"data {name}: images must have 3 or 4 axes, got shape {list(pixels.shape)}")
    if pixels.ndim == 3:
        pixels = pixels[:, None]
    elif pixels.shape[3] in CHANNELS and pixels.shape[1] not in CHANNELS:
        pixels = pixels.permute(0, 3, 1, 2)
    if pixels.is_floating_point():
        low, high = (float(pixels.min()), float(pixels.max())) if pixels.numel() else (0.0, 1.0)
        if low != low:
            raise ValueError(f"data {name}: images must be finite, got nan")
        if not (low >= -1e-6 and high <= 1 + 1e-6):
            raise ValueError(f"data {name}: float images must be in [0, 1], got {low:.4g}..{high:.4g}")
        pixels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8)
    if pixels.dtype != torch.uint8:
        raise ValueError(f"data {name}: images must be uint8, or float in [0, 1], got {pixels.dtype}")
    pixels = pixels.contiguous()
    mine = isinstance(images, Tensor) and pixels.data_ptr() == images.data_ptr()
    return pixels.clone() if mine else pixels  # what the caller does with its tensor later is its own business


def deep_mode(image: Any) -> str | None:
    """The mode of a Pillow image, or of its file if that is not read yet, with more than 8 bits a channel; else None.

    For coloured images that were read already it cannot be told, except for a TIFF.
    """
    if image.mode not in EIGHT_BIT:
        return str(image.mode)
    found = DEEP.search(str([tile[3] for tile in getattr(image, "tile", ())]))
    if found is None and max(getattr(image, "tag_v2", {}).get(BITS, ()), default=8) > 8:
        return f"{image.mode};16"
    return found.group() if found else None


def doubt_channels(pixels: Tensor, name: str) -> None:
    """Warn of images [n, C, H, W] whose last axis looks as if it held the channels: shorter than both others.

    There is no warning if the second axis has a length of 1, 3 or 4.
    """
    channels, height, width = pixels.shape[1:]
    if channels not in CHANNELS and width < min(channels, height):
        said = f"data {name}: images are read as [n, C, H, W], of {channels} channels, got shape {list(pixels.shape)}"
        warnings.warn(f"{said}; put the channels second if they are last", stacklevel=3)


def _tensor(images: Any, name: str) -> Tensor:
    try:
        array = np.array(images, order="C")
    except ValueError as error:
        raise ValueError(f"data {name}: images must all be of one size") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"data {name}: images must be uint8, or float in [0, 1], got {array.dtype}")
    return torch.from_numpy(array)


def luminance(images: Tensor) -> Tensor:
    """uint8 [n, 3, H, W] -> [n, 1, H, W], rounded as Pillow rounds; one channel comes back as it is.

    Raises:
        ValueError: neither one nor three channels.
    """
    if images.shape[1] == 1:
        return images
    if images.shape[1] != 3:
        raise ValueError(f"data: grey needs images of 1 or 3 channels, got {images.shape[1]}")
    weights = torch.tensor(LUMINANCE, dtype=torch.int32, device=images.device).view(1, 3, 1, 1)
    return _in_parts(lambda part: (((part * weights).sum(1, keepdim=True) + 32768) >> 16).to(torch.uint8), images)


def resize(images: Tensor, size: int) -> Tensor:
    """uint8 [n, C, H, W] -> [n, C, size, size]: the central square, by antialiased bilinear interpolation."""
    height, width = images.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = images[:, :, top : top + side, left : left + side]
    if side == size:
        return square.contiguous()

    def resized(part: Tensor) -> Tensor:
        out = interpolate(part.float(), size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        return out.round().clamp(0, 255).to(torch.uint8)

    return _in_parts(resized, square)


def adapt(source: Source, size: int | None, grey: bool) -> Source:
    """The source resized to `size`, if given, and turned `grey`, if true; new pixels get their own mean and std."""
    images = luminance(source.images) if grey else source.images
    if size is not None and images.shape[2:] != (size, size):
        images = resize(images, size)
    return source if images is source.images else replace(source, images=images, mean=(), std=(), place="")


def _in_parts(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    return torch.cat([function(part) for part in torch.split(images, 1000)])
