"""DC: "Dataset Condensation with Gradient Matching", Zhao, Mopuri and Bilen, ICLR 2021; see `alternating`."""

from dataclasses import dataclass
from typing import Self

from yoco.condense.alternating import DIGITS, Alternating, loops


@dataclass(frozen=True, kw_only=True)
class DC(Alternating):
    """Match, row by row, the gradients of real and synthetic images of a class in a network trained on the latter."""

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """The paper's settings, the same for all data; the digits of scikit-learn have settings of our own."""
        if data == "digits":
            return cls(lr_image=1e-3 * per_class, **DIGITS)
        outer, inner = loops(per_class)
        return cls(episodes=1000 * outer, outer=outer, inner=inner)


# Not in the paper:
# - pixels are cut to [0, 1] after every update, and noise begins there; step sizes act as on normalised pixels;
# - gradients are taken class by class, which is the same sum with one class's graph at a time;
# - batch norms are not frozen on real images before matching: networks have instance norm unless asked otherwise.
