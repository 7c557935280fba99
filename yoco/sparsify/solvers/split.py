"""Split a number of removals over rows, each of which gives up its weights in its own order.

The cost of k removals in one row need not be convex in k, so always taking the cheapest next step may be wrong. Instead
each row has the lower convex hull of its cost (pool adjacent violators), and the slopes of all rows are sorted. This is
optimal at counts that cut no pool (Lagrange). At other counts the cheapest of three splits is taken: the pool is cut,
or it stays whole or is left out, and the odd steps go to the row where they cost least.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class Split:
    """Counts of removals by row, for any total, from losses [m, T] of the steps of each row in its order."""

    def __init__(self, losses: Tensor) -> None:
        self.rows, self.steps = losses.shape
        host = losses.cpu()
        slopes = host.new_tensor([pooled(row) for row in host.tolist()]).flatten()
        self.slopes, order = slopes.sort(stable=True)
        self.turns = order // self.steps
        self.costs = torch.cat([host.new_zeros(self.rows, 1), host.cumsum(1)], 1)

    def counts(self, total: int) -> Tensor:
        """How many steps each row takes: long [m], `total` in sum."""
        plain = torch.bincount(self.turns[:total], minlength=self.rows)
        if not 0 < total < len(self.turns) or self.slopes[total - 1] < self.slopes[total]:
            return plain
        row = int(self.turns[total - 1])
        pool = torch.nonzero((self.turns == row) & (self.slopes == self.slopes[total - 1])).flatten()
        before, after = int((pool < total).sum()), int((pool >= total).sum())
        found = [plain]
        for moved in (-before, after):
            corner = plain.clone()
            corner[row] += moved
            found.append(self._with(corner, -moved))
        return min(found, key=self.cost)

    def cost(self, counts: Tensor) -> float:
        """The sum of the losses of so many steps."""
        return float(self.costs.gather(1, counts[:, None]).sum())

    def _with(self, counts: Tensor, more: int) -> Tensor:
        """These counts, and `more` steps in the one row where they cost least; fewer if negative."""
        target = counts + more
        possible = (target >= 0) & (target <= self.steps)
        costs = self.costs.gather(1, target.clamp(0, self.steps)[:, None]) - self.costs.gather(1, counts[:, None])
        changed = counts.clone()
        changed[int(costs.squeeze(1).masked_fill(~possible, torch.inf).argmin())] += more
        return changed


def pooled(losses: Sequence[float]) -> list[float]:
    """The slopes of the lower convex hull of the cumulative losses, never falling (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for loss in losses:
        mean, size = loss, 1
        while pools and pools[-1][0] >= mean:
            before, width = pools.pop()
            mean, size = (before * width + mean * size) / (width + size), width + size
        pools.append((mean, size))
    return [mean for mean, size in pools for _ in range(size)]
