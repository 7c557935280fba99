"""DC: "Dataset Condensation with Gradient Matching", Zhao, Mopuri and Bilen, ICLR 2021; see `alternating`."""

from dataclasses import dataclass
from typing import Any, Self

from yoco.condense.alternating import Alternating, loops


@dataclass(frozen=True, kw_only=True)
class DC(Alternating):
    """Match, row by row, the gradients of real and synthetic images of a class in a network trained on the latter."""

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """The paper's settings, the same for all data; the digits of scikit-learn have settings of our own."""
        outer, inner = loops(per_class)
        own: dict[str, Any] = {"episodes": 100, "lr_image": 0.5} if data == "digits" else {"episodes": 1000 * outer}
        return cls(outer=outer, inner=inner, **own)


# Not in the paper:
# - pixels are cut to [0, 1] after every update, and noise begins there; step sizes act as on normalised pixels;
# - gradients are taken class by class, which is the same sum with one class's graph at a time;
# - batch norms are not frozen on real images before matching: networks have instance norm unless asked otherwise.
