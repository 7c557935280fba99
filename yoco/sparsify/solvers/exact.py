"""Exact: greedy optimal brain surgeon, the inverse followed through every removal (Frantar and Alistarh, NeurIPS 2022).

For each output row, with A = H^-1 and w its weights (ExactOBS, algorithm 1), until the row is empty:

    q <- argmin_q w_q^2 / A_qq;    loss <- w_q^2 / 2 A_qq;    w <- w - A_:q w_q / A_qq;    A <- A - A_:q A_q: / A_qq

The last step is one of a pivoted Cholesky factorisation of A, and done like one: within a panel of steps the columns of
the factor are found from A as it was before the panel, and A itself changes once at its end, without the rows and
columns that left. The losses say how many weights each row gives up; then each row is fitted once to what it keeps.
A block of weights leaves alike: its loss is w_B' (A_BB)^-1 w_B / 2, and its step has the rank of the block.

Not in the paper: the panels; how the zeros are split over rows (see `split`), where the paper sorts losses as they
come; and the second choice: what left never comes back, so the zeros of ADMM, which moves all at once, are tried too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from yoco.rng import Rng
from yoco.sparsify.patterns import Pattern
from yoco.sparsify.solvers.admm import admm
from yoco.sparsify.solvers.problem import MEMORY, Problem
from yoco.sparsify.solvers.refit import diagonal_blocks, refit
from yoco.sparsify.solvers.split import Split
from yoco.sparsify.solvers.swaps import swapped

PANEL = 32
"""Steps after which A changes."""
WIDE, LONG = 2048, 96
"""From this width on A changes after so many steps of one weight each: to read and write all of it takes longer."""
SHRINK = 0.6
"""What left is dropped when no more than this share of the rows and columns of A is still there."""


def exact(
    problem: Problem, zeros: int, *, rng: Rng | None = None, second: bool = True, swaps: int = 0, memory: int = MEMORY
) -> tuple[Tensor, Tensor]:
    """Remove the units of each row one by one, at the least loss each time; deterministic.

    second: also try ADMM's count of zeros in each row, with the better of both choices in each row; it is taken if the
    total error falls, which is then smaller than in `errors`.
    swaps: the most exchanges in each row afterwards, see `swapped`; they make the error smaller than in `errors`, too.
    memory: bytes for the rows that are solved at once, at least one; a row takes 8 bytes times inputs squared.
    """
    if swaps < 0:
        raise ValueError(f"exact: swaps must be at least 0, got {swaps}")
    found = trace(problem, zeros, memory)
    mask = _better(problem, zeros, found) if second else found.mask(problem, found.counts(problem, zeros))
    if swaps:
        mask = swapped(problem, mask, swaps)
    return refit(problem, mask), mask


def _better(problem: Problem, zeros: int, found: "Removals") -> Tensor:
    """The mask [m, d] of the trace, or of ADMM's rows and, where it chose worse, of the trace with as many zeros."""
    first, other = found.counts(problem, zeros), admm(problem, zeros)[1]
    counts = (~other).sum(1) // problem.pattern.block
    change = (refit(problem, other) - problem.weight).masked_fill(problem.dead, 0)
    theirs, ours = ((change @ problem.hessian) * change).sum(1) / 2, found.cost(counts)
    if bool(torch.minimum(theirs, ours).sum() >= found.cost(first).sum()):
        return found.mask(problem, first)
    return torch.where((theirs < ours)[:, None], other, found.mask(problem, counts))


def errors(
    problem: Problem, zeros: Sequence[int], *, second: bool = True, swaps: int = 0, memory: int = MEMORY
) -> list[float]:
    """The error 0.5 tr(D H D') with the ridge, at each of these numbers of zeros, from the losses of one trace.

    Second choice and swaps, which make it smaller, are left out.
    """
    found = trace(problem, max(zeros, default=0), memory)
    return [problem.scale * float(found.cost(found.counts(problem, count)).sum()) for count in zeros]


@dataclass(frozen=True)
class Removals:
    """How each row empties: order long [m, T], its units as they leave; losses float64 [m, T] of the steps."""

    order: Tensor
    losses: Tensor

    @cached_property
    def _split(self) -> Split:
        return Split(self.losses)

    def counts(self, problem: Problem, zeros: int) -> Tensor:
        """How many units of each row leave: long [m]."""
        units, rows = zeros // problem.pattern.block, len(self.order)
        if problem.pattern.by_row or problem.pattern.group:
            return torch.full((rows,), units // rows, device=self.order.device)
        return self._split.counts(units).to(self.order.device)

    def cost(self, counts: Tensor) -> Tensor:
        """The sum of the losses of so many steps of each row: float64 [m]."""
        return self.losses.masked_fill(~self._taken(counts), 0).sum(1)

    def mask(self, problem: Problem, counts: Tensor) -> Tensor:
        """What is kept after so many steps of each row: bool [m, d]."""
        gone = torch.zeros(len(self.order), len(problem.dead_units), dtype=torch.bool, device=counts.device)
        return problem.whole(problem.pattern.spread(~gone.scatter(1, self.order, self._taken(counts))))

    def _taken(self, counts: Tensor) -> Tensor:
        return torch.arange(self.order.shape[1], device=counts.device) < counts[:, None]


def trace(problem: Problem, zeros: int, memory: int = MEMORY) -> Removals:
    """How each row empties: as far as `zeros` needs where rows have equal counts, else all; kept with the problem."""
    pattern, rows = problem.pattern, len(problem.weight)
    depth = zeros // rows if pattern.by_row or pattern.group else len(problem.dead_units)
    known = problem.memo.get("exact")
    if not isinstance(known, Removals) or known.order.shape[1] < depth:
        known = problem.memo["exact"] = _traced(problem, depth, memory)
    return known


def _traced(problem: Problem, depth: int, memory: int) -> Removals:
    """Units of dead inputs leave first, by index, as far as a group of N:M allows it; then all rows, some at a time."""
    pattern, dead = problem.pattern, problem.dead_units
    room = None
    if pattern.group:
        dead_in_group = dead.view(-1, pattern.group)
        dead = (dead_in_group & (dead_in_group.cumsum(1) <= pattern.limit)).flatten()
        room = pattern.limit - dead.view(-1, pattern.group).sum(1)
    free, live = torch.nonzero(dead).flatten(), torch.nonzero(~dead).flatten()
    columns = torch.nonzero(problem.pattern.spread(~dead[None])[0]).flatten()
    inverse, weight = problem.inverse[columns][:, columns], problem.live[:, columns]
    order = free[:depth].expand(len(weight), -1)
    panel = _panel(len(columns), pattern.block) * pattern.block
    now = max(1, memory // (8 * max(1, len(columns)) * (len(columns) + 2 * panel)))
    place = weight.new_empty(min(now, len(weight)), len(columns) ** 2)
    parts = [_Rows(rows, inverse, pattern, live, room, place).run(depth - order.shape[1]) for rows in weight.split(now)]
    traced, losses = (torch.cat(part) for part in zip(*parts, strict=True))
    return Removals(torch.cat([order, traced], 1), torch.cat([torch.zeros_like(order, dtype=losses.dtype), losses], 1))


def _panel(width: int, block: int) -> int:
    return LONG if width >= WIDE and block == 1 else PANEL


class _Rows:
    """Rows in flight: b rows, g units of c weights each, e = g c; what left is dropped now and then, to save work.

    schur: A as it was when the panel began, [b, e, e], in `memory`; at first one matrix shared by all rows.
    blocks: diagonal blocks of A as it is, [b, g, c, c]. weight: [b, e]. alive: bool [b, g].
    units: their numbers in the layer, rising, long [b, g]. room: how many units may still leave of each group of N:M.
    """

    def __init__(
        self, weight: Tensor, inverse: Tensor, pattern: Pattern, units: Tensor, room: Tensor | None, memory: Tensor
    ) -> None:
        b, self.size, self.group, self.memory = len(weight), pattern.block, pattern.group, memory
        self.weight = weight.clone()
        self.schur, self.shared = inverse.expand(b, -1, -1), True
        self.blocks = diagonal_blocks(inverse, self.size).expand(b, -1, -1, -1).clone()
        self.units = units.expand(b, -1)
        self.alive = torch.ones_like(self.units, dtype=torch.bool)
        self.room = None if room is None else room.expand(b, -1).clone()

    def run(self, steps: int) -> tuple[Tensor, Tensor]:
        """The next `steps` units that leave, and their losses: [b, steps]."""
        order, losses = self.units.new_empty(len(self.units), steps), self.weight.new_empty(len(self.units), steps)
        start = 0
        while start < steps:
            now = range(start, min(start + _panel(self.weight.shape[1], self.size), steps))
            panel = self.weight.new_empty(len(self.weight), len(now) * self.size, self.weight.shape[1])
            for t in now:
                unit, done = self._scores().argmin(1, keepdim=True), (t - start) * self.size
                losses[:, t : t + 1] = self._remove(unit, panel[:, :done], panel[:, done : done + self.size])
                order[:, t : t + 1] = self.units.gather(1, unit)
            start = now.stop
            if start < steps:
                self._fold(panel)
        return order, losses

    def _scores(self) -> Tensor:
        """Twice the loss of each unit, or infinity if it may not leave: [b, g]."""
        weight, allowed = self.weight.unflatten(1, (-1, self.size)), self.alive
        if self.room is not None:
            allowed = allowed & (self.room.gather(1, self.units // self.group) > 0)
        if self.size == 1:
            scores = self.weight.square() / self.blocks.flatten(1)
        else:
            factor = torch.linalg.cholesky_ex(self.blocks).L
            scores = torch.linalg.solve_triangular(factor, weight[..., None], upper=False).square().sum((2, 3))
        return scores.masked_fill(~allowed, torch.inf)

    def _remove(self, unit: Tensor, before: Tensor, rows: Tensor) -> Tensor:
        """Take out one unit [b, 1] of each row, write its rows of the factor [b, c, e], answer the losses [b, 1]."""
        c, e = self.size, self.weight.shape[1]
        places = unit * c + torch.arange(c, device=unit.device)
        found = self.schur.gather(1, places[:, :, None].expand(-1, c, e))
        if before.shape[1]:
            found = found - before.gather(2, places[:, None, :].expand(-1, before.shape[1], c)).mT @ before
        factor = torch.linalg.cholesky(found.gather(2, places[:, None, :].expand(-1, c, c)))
        step = torch.linalg.solve_triangular(factor, self.weight.gather(1, places)[:, :, None], upper=False)
        self.alive.scatter_(1, unit, False)
        rows.copy_(torch.linalg.solve_triangular(factor, found, upper=False))
        rows *= self.alive.repeat_interleave(c, 1)[:, None, :]
        self.weight -= (rows * step).sum(1)
        split = rows.unflatten(2, (-1, c))
        self.blocks -= torch.einsum("bkgi,bkgj->bgij", split, split)
        if self.room is not None:
            self.room.scatter_add_(1, self.units.gather(1, unit) // self.group, -torch.ones_like(unit))
        return step.square().sum(1) / 2

    def _fold(self, panel: Tensor) -> None:
        """Bring A up to date with a panel of the factor; what left goes if it is much."""
        if self.shared or int(self.alive[0].sum()) < SHRINK * self.alive.shape[1]:
            panel = self._shrink(panel)
        self.schur.baddbmm_(panel.mT, panel, alpha=-1)

    def _shrink(self, panel: Tensor) -> Tensor:
        """Drop what left, and answer the panel without it; the smaller matrices take the place of the larger ones."""
        b, c = len(self.weight), self.size
        units = torch.nonzero(self.alive)[:, 1].view(b, -1)
        places = torch.nonzero(self.alive.repeat_interleave(c, 1))[:, 1].view(b, -1)
        e = places.shape[1]
        for large, small, kept in zip(self.schur, self.memory, places, strict=False):
            small[: e * e] = large[kept[:, None], kept].flatten()
        self.schur, self.shared = self.memory[:b, : e * e].unflatten(1, (e, e)), False
        self.weight = self.weight.gather(1, places)
        self.blocks = self.blocks.gather(1, units[:, :, None, None].expand(-1, -1, c, c))
        self.units, self.alive = self.units.gather(1, units), torch.ones_like(units, dtype=torch.bool)
        return panel.gather(2, places[:, None, :].expand(-1, panel.shape[1], -1))
