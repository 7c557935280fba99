"""Calibration: the images that tell a network's layers what their inputs are like; real ones or a condensed set."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from yoco.cells import upsample
from yoco.condensed import CondensedSet, Examples
from yoco.data.source import Batch, Source
from yoco.rng import Rng
from yoco.sparsify.masks import prunable
from yoco.sparsify.network import dtype_of, run
from yoco.train import Normalise

BATCH = 250
ROOM = BATCH * 3 * 64 * 64
"""Numbers in the images of a batch, at most, unless one image alone has more."""


@dataclass(frozen=True)
class Calibration:
    """Images that are drawn once, normalised in batches; labels for scores that need a loss.

    batch: images in [0, 1] and labels. normalise: what stands between them and the network. dtype: what the network
    computes in, by default that of the images.
    """

    batch: Batch
    normalise: Normalise
    device: torch.device
    dtype: torch.dtype | None = None

    def __iter__(self) -> Iterator[Tensor]:
        """Batches as the network sees them, float [n, C, H, W] on its device: BATCH images, or fewer large ones."""
        each = self.batch.images.shape[1:].numel()
        for images in self.batch.images.split(max(1, min(BATCH, ROOM // each))):
            yield self.normalise(images.to(self.device)).to(self.dtype or images.dtype)

    def __len__(self) -> int:
        return len(self.batch.images)


def calibration(
    network: nn.Module,
    data: Source | CondensedSet,
    rng: Rng,
    images: int | None = None,
    normalise: Normalise | None = None,
) -> Calibration:
    """`images` random ones of a data set, or of the decoded cells of a condensed set; all by default.

    normalise: by default that of the data.

    Raises:
        ValueError: images is below 1, the network has no prunable layers, or cannot take these images.
    """
    prunable(network)
    if not isinstance(data, Source | CondensedSet):
        raise ValueError(f"sparsify: data must be a Source or a condensed set, got {type(data).__name__}")
    if images is not None and images < 1:
        raise ValueError(f"sparsify: images must be at least 1, got {images}")
    count = len(data) if images is None else min(images, len(data))
    chosen = torch.arange(count) if count == len(data) else rng.choice(len(data), count)
    normalise = Normalise(data.mean, data.std) if normalise is None else normalise
    device, dtype = next(network.parameters()).device, dtype_of(network)
    drawn = Calibration(_taken(data, chosen), normalise, device, dtype)
    _check(network, drawn)
    return drawn


def _taken(data: Source | CondensedSet, chosen: Tensor) -> Batch:
    """These images, or decoded cells; the others are not decoded."""
    if isinstance(data, Source):
        return data.batch(chosen)
    soft = None if data.soft_labels is None else data.soft_labels[chosen]
    few = Examples(upsample(data.pixels[chosen], data.size), data.labels[chosen], soft)
    return few.batch(torch.arange(len(chosen)))


@torch.no_grad()
def _check(network: nn.Module, drawn: Calibration) -> None:
    """Refuse images that the network cannot take."""
    try:
        run(network, next(iter(drawn))[:1])
    except RuntimeError as error:
        shape, line = list(drawn.batch.images.shape[1:]), str(error).splitlines()[0]
        raise ValueError(f"sparsify: images must fit the network, got {shape}: {line}") from None
