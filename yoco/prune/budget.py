"""Budget: how many samples to keep, said in one of four ways."""

from dataclasses import dataclass
from fractions import Fraction
from math import floor
from numbers import Integral, Real

SIZES = ("ipc", "cells", "keep", "n")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How many samples to keep: exactly one of ipc, cells, keep and n.

    ipc: images per class, factor^2 cells each; cells: cells per class; keep: share of all samples, in (0, 1], a decimal
    such as 0.29 meaning 29/100 exactly; n: samples in all.

    Raises:
        ValueError: none or several are given, or one is not a number above 0.
    """

    ipc: int | None = None
    cells: int | None = None
    keep: float | Fraction | None = None
    n: int | None = None
    factor: int = 1

    def __post_init__(self) -> None:
        given = [kind for kind in SIZES if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(f"budget: give exactly one of {', '.join(SIZES)}, got {' and '.join(given) or 'none'}")
        if self.keep is not None:
            if not isinstance(self.keep, Real) or isinstance(self.keep, bool):
                raise ValueError(f"budget: keep must be a share, such as 0.1, got {self.keep!r}")
            if not 0 < self.keep <= 1:
                raise ValueError(f"budget: keep must be above 0 and at most 1, got {float(self.keep):g}")
            return
        value = getattr(self, given[0])
        if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < 1:
            raise ValueError(f"budget: {given[0]} must be a whole number of at least 1, got {value!r}")

    @property
    def per_class(self) -> int | None:
        """Samples per class, where the budget says so."""
        return self.cells if self.ipc is None else self.ipc * self.factor**2

    @property
    def said(self) -> dict[str, int | float]:
        """The kind that was given and its value."""
        values = {kind: getattr(self, kind) for kind in SIZES}
        return {k: float(v) if k == "keep" else int(v) for k, v in values.items() if v is not None}

    def total(self, count: int, classes: int) -> int:
        """Samples to keep out of `count`; a share is rounded to the nearest number, halves up.

        Raises:
            ValueError: that is none, or more than there are.
        """
        if self.keep is not None:
            exact = self.keep if isinstance(self.keep, Fraction) else decimal(self.keep)
            total = floor(exact * count + Fraction(1, 2))
        else:
            total = self.n if self.n is not None else (self.per_class or 0) * classes
        text = ", ".join(f"{kind}={value}" for kind, value in self.said.items())
        if total < 1:
            raise ValueError(f"budget: must keep at least 1 of {count}, got {text}")
        if total > count:
            raise ValueError(f"budget: must keep at most the {count} there are, got {text} = {total}")
        return total


def decimal(share: float) -> Fraction:
    """A share as it is written: 0.29 is 29/100, not the float next to it."""
    return Fraction(str(float(share)))
