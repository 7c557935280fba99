"""Random real images, the baseline of every paper on condensation."""

from dataclasses import dataclass

from torch import Tensor

from yoco.condense.selection import See, Selection
from yoco.rng import Rng


@dataclass(frozen=True, kw_only=True)
class Random(Selection):
    """A random choice of the real images of each class."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.episodes:
            raise ValueError(f"random: episodes must be 0, as no features are compared, got {self.episodes}")

    def choose(self, images: Tensor, see: See, count: int, rng: Rng) -> Tensor:
        """Distinct images, each as likely as any other."""
        return images[rng.choice(len(images), count)]
