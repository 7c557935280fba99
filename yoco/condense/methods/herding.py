"""Herding: "Herding dynamical weights to learn", Welling, ICML 2009, as iCaRL (Rebuffi et al., CVPR 2017) writes it."""

from dataclasses import dataclass

from torch import Tensor

from yoco.condense.coreset import herding
from yoco.condense.selection import See, Selection
from yoco.rng import Rng


@dataclass(frozen=True, kw_only=True)
class Herding(Selection):
    """Images of a class, one after the other, whose mean follows that of the class."""

    def choose(self, images: Tensor, see: See, count: int, rng: Rng) -> Tensor:
        """Algorithm 4 of iCaRL; a smaller choice is the beginning of a larger one."""
        return images[herding(see(images), count)]


# Not in the paper:
# - iCaRL divides features by their length; here they are taken as they are.
