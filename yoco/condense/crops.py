"""Random parts of images, resized: the cells of the methods that keep real pixels."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from yoco.rng import Rng


def random_crops(images: Tensor, count: int, size: tuple[int, int], least: float, rng: Rng) -> Tensor:
    """`count` random crops of each image float [n, C, H, W], resized bilinearly, antialiased: [n, count, C, *size].

    A crop keeps the sides' ratio; its share of the area is uniform in [least, 1], its place uniform among those on the
    image, independently for each.
    """
    n, height, width = len(images), images.shape[-2], images.shape[-1]
    draws = torch.rand(n, count, 3, generator=rng.generator(), dtype=torch.float64)
    crops = []
    for image, its in zip(images, draws.tolist(), strict=True):
        for share, down, right in its:
            side = (least + (1 - least) * share) ** 0.5
            h, w = max(1, round(side * height)), max(1, round(side * width))
            top, left = int(down * (height - h + 1)), int(right * (width - w + 1))
            part = image[None, :, top : top + h, left : left + w]
            crops.append(resized(part, size))
    return torch.cat(crops).unflatten(0, (n, count))


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images float [n, C, H, W] resized bilinearly, antialiased: [n, C, *size].

    The gradients of torch's function are not deterministic on CUDA; where they are needed there, products with the
    weights of rows and of columns take its place, which are the same but for rounding.
    """
    if images.is_cuda and torch.is_grad_enabled() and images.requires_grad:
        return by_products(images, size)
    return interpolate(images, size, mode="bilinear", antialias=True)


def by_products(images: Tensor, size: tuple[int, int]) -> Tensor:
    """As `resized`, by products with the weights of rows and of columns."""
    rows, columns = (_weights(images, had, made) for had, made in zip(images.shape[-2:], size, strict=True))
    return rows @ images @ columns.T


def _weights(like: Tensor, had: int, made: int) -> Tensor:
    """Weights [made, had] that resize a line of `had` pixels to `made` ones."""
    eye = torch.eye(had, dtype=like.dtype, device=like.device)
    return interpolate(eye[None, None], (made, had), mode="bilinear", antialias=True)[0, 0]
