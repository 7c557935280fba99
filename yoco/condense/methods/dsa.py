"""DSA: "Dataset Condensation with Differentiable Siamese Augmentation", Zhao and Bilen, ICML 2021."""

from dataclasses import dataclass
from typing import Self

from yoco.condense.alternating import Alternating, digits, loops
from yoco.condense.siamese import WORDS, words_for


@dataclass(frozen=True, kw_only=True)
class DSA(Alternating):
    """DC started from real images; real and synthetic images are augmented in the same way before they are matched."""

    start: str = "real"
    """noise, real (whole images, cut into cells), mix (one shrunk image a cell) or k-means (a mix of typical images)"""
    augment: str = WORDS
    """augmentations shared by real and synthetic images, and of the network's training"""

    @classmethod
    def published(
        cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None, outer: int | None = None
    ) -> Self:
        """The paper's settings; digits and letters are not mirrored. scikit-learn's digits have settings of our own."""
        if data == "digits":
            return cls(lr_image=1e-3 * per_class, augment=words_for(data), **digits(outer))
        outer, inner = loops(per_class, outer)
        return cls(episodes=1000 * outer, outer=outer, inner=inner, augment=words_for(data))


# The algorithm is `yoco.condense.alternating`; not in the paper: what DC's file lists.
