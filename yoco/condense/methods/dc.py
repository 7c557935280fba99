"""DC: "Dataset Condensation with Gradient Matching", Zhao, Mopuri and Bilen, ICLR 2021; see `alternating`."""

from dataclasses import dataclass
from typing import Self

from yoco.condense.alternating import Alternating, digits, loops


@dataclass(frozen=True, kw_only=True)
class DC(Alternating):
    """Match, row by row, the gradients of real and synthetic images of a class in a network trained on the latter."""

    @classmethod
    def published(
        cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None, outer: int | None = None
    ) -> Self:
        """The paper's settings, the same for all data; the digits of scikit-learn have settings of our own."""
        if data == "digits":
            return cls(lr_image=1e-3 * per_class, **digits(outer))
        outer, inner = loops(per_class, outer)
        return cls(episodes=1000 * outer, outer=outer, inner=inner)


# Not in the paper:
# - pixels are cut to [0, 1] after every update, and noise begins there; step sizes act as on normalised pixels;
# - the step size is the paper's for networks of convolutions; for an MLP it has 0.01;
# - gradients are taken class by class, which is the same sum with one class's graph at a time;
# - batch norms are not frozen on real images before matching: networks have instance norm unless asked otherwise.
