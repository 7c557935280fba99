"""K-means to real images: a strong baseline in "DC-BENCH", Cui et al., NeurIPS 2022, Datasets and Benchmarks."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from yoco.condense.coreset import medoids
from yoco.condense.selection import See, Selection
from yoco.rng import Rng


@dataclass(frozen=True, kw_only=True)
class KMeans(Selection):
    """The images of a class nearest to the centres of as many clusters as there are cells."""

    name: ClassVar[str] = "k-means"

    def choose(self, images: Tensor, see: See, count: int, rng: Rng) -> Tensor:
        """Those of larger clusters first."""
        return images[medoids(see(images), count, rng)]
