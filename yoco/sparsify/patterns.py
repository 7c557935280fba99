"""Patterns: which sets of zeros are allowed in one layer, and which weights leave when scores decide.

None or "unstructured": any. "row": the same count in each output row. "N:M": N kept of every M neighbours along the
inputs, such as 2:4. "block:C": C neighbours along the inputs, from a multiple of C on, leave together or stay.

In a convolution, neighbours are input channels (of one group) at one position of the kernel (see `neighbours` in
`network`). If the number of channels is not a multiple of M or C, the rest joins the channels of the next position; the
number of all inputs must be a multiple.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from numbers import Integral, Real

import torch
from torch import Tensor

Zeros = int | float
"""A count of zeros, or the share of zeros as a float in 0..1."""


@dataclass(frozen=True)
class Pattern:
    """The rule for the zeros of [m, p] prunable weights; a unit is `block` neighbours that leave together.

    by_row: rows have equal counts. group, limit: of `group` units in a line `limit` leave; group 0: no such rule.
    """

    name: str = "unstructured"
    block: int = 1
    by_row: bool = False
    group: int = 0
    limit: int = 0

    def count(self, zeros: Zeros | None, rows: int, columns: int) -> int:
        """How many weights leave; a share is rounded to the nearest count that the pattern allows, halves up.

        Raises:
            ValueError: `zeros` or the size of the layer does not fit the pattern.
        """
        line = self.group or self.block
        if columns % line:
            raise ValueError(f"pattern {self.name}: inputs must be a multiple of {line}, got {columns}")
        total = rows * columns
        if self.group:
            fixed = total // self.group * self.limit
            if zeros is not None and counted(zeros, total, 1) != fixed:
                raise ValueError(f"pattern {self.name}: zeros must be {fixed} as the pattern says, got {zeros}")
            return fixed
        if zeros is None:
            raise ValueError("zeros: must be a count, or a share as a float, got None")
        step = rows if self.by_row else self.block
        count = counted(zeros, total, step)
        if count % step:
            raise ValueError(f"pattern {self.name}: zeros must be a multiple of {step}, got {zeros}")
        return count

    def step(self, rows: int) -> int:
        """Counts of zeros are multiples of this: one weight of every row, or a block."""
        return rows if self.by_row else self.block

    def pool(self, scores: Tensor) -> Tensor:
        """Scores of units, the sums of those of their weights: [m, p] -> [m, p / block]."""
        return scores if self.block == 1 else scores.unflatten(1, (-1, self.block)).sum(2)

    def spread(self, units: Tensor) -> Tensor:
        """From units to their weights: [m, p / block] -> [m, p]."""
        return units if self.block == 1 else units.repeat_interleave(self.block, 1)

    def keep(self, scores: Tensor, zeros: int) -> Tensor:
        """The mask bool [m, p] without the `zeros` weights of the lowest scores [m, p / block] that may leave.

        Of equal scores the one of the smaller index leaves. If rows cannot share the count equally, the first rows lose
        one more. Under N:M there may be fewer zeros than in the pattern, as a step on the way to it.
        """
        count = zeros // self.block
        if self.group:
            taken = _ranks(scores.unflatten(1, (-1, self.group))).flatten(1) >= self.limit
            scores = scores.masked_fill(taken, torch.inf)
        if self.by_row:
            each, more = divmod(count, len(scores))
            counts = each + (torch.arange(len(scores), device=scores.device) < more).long()
            return self.spread(_ranks(scores) >= counts[:, None])
        return self.spread(~lowest(scores.flatten(), count).reshape(scores.shape))

    def allows(self, mask: Tensor) -> bool:
        """Whether a mask [m, p] follows the pattern."""
        gone = ~mask
        if self.by_row:
            return bool((gone.sum(1) == gone[0].sum()).all())
        if self.group:
            return bool((gone.unflatten(1, (-1, self.group)).sum(2) == self.limit).all())
        if self.block > 1:
            blocks = gone.unflatten(1, (-1, self.block))
            return bool((blocks == blocks[:, :, :1]).all())
        return True


def parse(text: str | None) -> Pattern:
    """The pattern of this name.

    Raises:
        ValueError: it is none.
    """
    if text is None or text == "unstructured":
        return Pattern()
    if text == "row":
        return Pattern("row", by_row=True)
    if found := re.fullmatch(r"block:([1-9]\d*)", text):
        return Pattern(text, block=int(found[1]))
    if (found := re.fullmatch(r"(\d+):([1-9]\d*)", text)) and int(found[1]) <= int(found[2]):
        return Pattern(text, group=int(found[2]), limit=int(found[2]) - int(found[1]))
    raise ValueError(f"pattern: must be unstructured, row, N:M (N kept of M) or block:C, got {text!r}")


def lowest(scores: Tensor, count: int) -> Tensor:
    """bool [n] with `count` True at the lowest scores, of equal ones the first."""
    if count == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    last = scores.kthvalue(count).values
    below, equal = scores < last, scores == last
    return below | (equal & (equal.cumsum(0) <= count - below.sum()))


def counted(zeros: Zeros, total: int, step: int) -> int:
    """The count that is meant, of `total`; a share becomes the nearest multiple of `step`, halves up.

    Raises:
        ValueError: it is neither a count of at most `total` nor a share in 0..1.
    """
    if isinstance(zeros, Integral) and not isinstance(zeros, bool):
        if not 0 <= zeros <= total:
            raise ValueError(f"zeros: a count must be in 0..{total}, got {zeros}")
        return int(zeros)
    if isinstance(zeros, bool) or not isinstance(zeros, Real) or not 0 <= zeros <= 1:
        raise ValueError(f"zeros: must be a count, or a share as a float in 0..1, got {zeros}")
    return floor(Fraction(str(float(zeros))) * total / step + Fraction(1, 2)) * step


def _ranks(scores: Tensor) -> Tensor:
    """Places in rising order along the last dimension, of equal ones the first first."""
    order = scores.argsort(dim=-1, stable=True)
    places = torch.arange(scores.shape[-1], device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter(-1, order, places)
