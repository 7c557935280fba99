"""Whitened images (ZCA): the space that MTT and its family learn in; fitted on the training half, applied to both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from yoco.data.source import Batch, Source

SPACES = ("unit", "zca")
"""Where pixels can be learned: in [0, 1], or whitened."""
EPS = 0.1
"""Added to every eigenvalue of the covariance, as MTT does (Cazenavette et al., CVPR 2022)."""
LARGEST = 3 * 64 * 64


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Whitened(Source):
    """A source whose batches hold whitened images; `images`, and with them the checksum, stay the real pixels.

    white: float [n, C, H, W], without bounds; mean and std are 0 and 1, so that normalising changes nothing.
    whitening: `eps`, and the `checksum` of the images that it was fitted on.
    """

    space: ClassVar[str] = "zca"
    white: Tensor
    whitening: Mapping[str, Any] = field(default_factory=dict)

    def _validate(self) -> None:
        super()._validate()
        if self.white.shape != self.images.shape:
            got = f"{list(self.white.shape)} for {list(self.images.shape)}"
            raise ValueError(
                f"data {self.name}: whitened images must be as many and as large as the real ones, got {got}"
            )
        if {*self.mean} != {0.0} or {*self.std} != {1.0}:
            got = f"{self.mean} and {self.std}"
            raise ValueError(f"data {self.name}: whitened images must have mean 0 and std 1, got {got}")

    def batch(self, indices: Tensor) -> Batch:
        """These images, whitened, in torch's default dtype, with their labels, on the device of the source."""
        indices = indices.to(self.device)
        return Batch(self.white[indices].to(torch.get_default_dtype()), self.labels[indices])

    def _parts(self, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        return {**super()._parts(change), "white": change(self.white)}


@dataclass(frozen=True, eq=False)
class Whitening:
    """A fit: apply maps images in [0, 1], float [n, C, H, W], to whitened ones; said: see `Whitened.whitening`."""

    apply: Callable[[Tensor], Tensor]
    said: Mapping[str, Any]

    @classmethod
    def fit(cls, train: Source, eps: float = EPS) -> "Whitening":
        """x -> (x - mean) U (S + eps)^-1/2 U^T, where U S U^T is the covariance over images in [0, 1], not normalised.

        Raises:
            ValueError: fewer than two images, or images so large that the covariance fills any memory.
        """
        from kornia.enhance import ZCAWhitening

        values = train.images[0].numel()
        if len(train) < 2:
            raise ValueError(f"data {train.name}: whitening needs at least 2 images, got {len(train)}")
        if values > LARGEST:
            got = f"{values:,}; give a smaller size"
            raise ValueError(f"data {train.name}: images to be whitened have at most {LARGEST:,} values, got {got}")
        return cls(ZCAWhitening(eps=eps).fit(_unit(train.images)), {"eps": eps, "checksum": train.checksum})

    def __call__(self, source: Source) -> Whitened:
        """The source with its images whitened, whichever half of the data it is."""
        channels = source.shape[0]
        white = torch.cat([self.apply(_unit(part)) for part in source.images.split(1000)])
        return Whitened(
            name=source.name,
            images=source.images,
            labels=source.labels,
            classes=source.classes,
            mean=(0.0,) * channels,
            std=(1.0,) * channels,
            white=white,
            whitening=self.said,
        )


def in_space(space: str, train: Source) -> Source:
    """Plain training images as they are, or whitened by a fit on them; space: one of SPACES."""
    assert space in SPACES
    return train if space == "unit" else Whitening.fit(train)(train)


def refit(whitening: Mapping[str, Any], train: Source, where: str) -> Whitening:
    """The fit by which a set was whitened, made again on the training half of its data. where: the verb, for messages.

    Raises:
        ValueError: the set does not say how it was whitened, or the fit was on other images.
    """
    if "eps" not in whitening:
        raise ValueError(f"{where}: a set in ZCA space must record how it was whitened, got one that does not")
    wanted, got = whitening.get("checksum", train.checksum)[:8], train.checksum[:8]
    if wanted != got:
        rule = f"the set was whitened by a fit on training images with checksum {wanted}"
        raise ValueError(f"{where}: {rule}, got {got} of {train.name}; give the same data, in the same size")
    return Whitening.fit(train, whitening["eps"])


def plain(source: Source) -> Source:
    """The source itself, if it is not whitened.

    Raises:
        ValueError: it is whitened.
    """
    if source.space != "unit":
        rule = "images must not be whitened, got whitened ones; give plain ones (condense: with space=zca)"
        raise ValueError(f"data {source.name}: {rule}")
    return source


def _unit(images: Tensor) -> Tensor:
    """uint8 images in [0, 1], in torch's default dtype."""
    return images.to(torch.get_default_dtype()) / 255
