"""D2 (Maharana, Yadav and Bansal, D2 pruning, ICLR 2024): difficulty that is passed on between neighbours.

x_i <- x_i + sum_{j in N(i)} exp(-gamma_f d_ij^2) x_j          forward, equation 2: a dense region is worth more
repeat: take s = argmax x; for j in N(s): x_j <- x_j - exp(-gamma_r d_sj^2) x_s          reverse, equation 4
"""

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import floor
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from yoco.prune.budget import Budget, decimal
from yoco.prune.distances import Vectors, centred, nearest
from yoco.prune.rules import Items, Rule, need
from yoco.rng import Rng


def d2(
    scores: Tensor,
    features: Tensor,
    total: int,
    *,
    neighbours: int = 5,
    gamma: float = 0.1,
    gamma_forward: float = 1.0,
    power: int = 2,
    mutual: bool = False,
) -> Tensor:
    """Hard samples that are not each other's neighbours: long [total], in the order of choice; answers are nested.

    scores: [n], larger = harder = worth more; if any is negative, all are shifted until the smallest is 0, as messages
    carry positive worth. N(i): the `neighbours` nearest others by the Euclidean distance d of features [n, D]; mutual:
    also the samples that have i as a neighbour. power: of d inside the exp. Features are not scaled: where gamma d^2 is
    large everywhere nothing is passed on, and the hardest samples are chosen.
    O(n^2 D) time for the neighbours, O(total (neighbours + log n)) for the choice; 16 n neighbours bytes and a block.

    Raises:
        ValueError: features or scores are not finite.
    """
    if not torch.isfinite(scores).all():
        raise ValueError("d2: scores must be finite, got nan or infinity")
    worth = scores.double() - scores.double().min().clamp(max=0)
    worth /= float(worth.max()) or 1
    around, distance = nearest(Vectors(centred(features, "d2")), neighbours)
    distance = distance.sqrt() ** power
    if mutual:
        here, there, distance = _both_ways(around, distance)
        worth = worth.index_add(0, here, (-gamma_forward * distance).exp() * worth[there])
        lists, weights = _lists(here, there, (-gamma * distance).exp(), len(worth))
        return torch.tensor(_spread(worth.tolist(), lists, weights, total))
    worth = worth + ((-gamma_forward * distance).exp() * worth[around]).sum(1)
    return torch.tensor(_spread(worth.tolist(), around.tolist(), (-gamma * distance).exp().tolist(), total))


def _both_ways(around: Tensor, distance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each pair of neighbours twice, from either side: long [m], long [m] and float64 [m]."""
    n, k = around.shape
    here, there = torch.arange(n).repeat_interleave(k), around.flatten()
    pair = torch.minimum(here, there) * n + torch.maximum(here, there)
    order = pair.argsort(stable=True)
    once = order[pair[order].diff(prepend=torch.tensor([-1])) != 0]
    low, high, apart = pair[once] // n, pair[once] % n, distance.flatten()[once]
    return torch.cat([low, high]), torch.cat([high, low]), apart.repeat(2)


def _lists(here: Tensor, there: Tensor, weights: Tensor, n: int) -> tuple[list[list[int]], list[list[float]]]:
    """The neighbours of each sample, and their weights."""
    around: list[list[int]] = [[] for _ in range(n)]
    sent: list[list[float]] = [[] for _ in range(n)]
    for i, j, weight in zip(here.tolist(), there.tolist(), weights.tolist(), strict=True):
        around[i].append(j)
        sent[i].append(weight)
    return around, sent


def _spread(worth: list[float], around: list[list[int]], weights: list[list[float]], total: int) -> list[int]:
    """The reverse messages; of samples worth the same in float32 the first by index is the next.

    The heap also holds what samples were worth before; these entries are passed over.
    """
    heap = [(-np.float32(value).item(), i, value) for i, value in enumerate(worth)]
    heapify(heap)
    free = [True] * len(worth)
    chosen: list[int] = []
    while len(chosen) < total:
        _, best, value = heappop(heap)
        if not free[best] or value != worth[best]:
            continue
        chosen.append(best)
        free[best] = False
        for j, weight in zip(around[best], weights[best], strict=True):
            worth[j] -= weight * worth[best]
            if free[j]:
                heappush(heap, (-np.float32(worth[j]).item(), j, worth[j]))
    return chosen


@dataclass(frozen=True, kw_only=True)
class D2(Rule):
    """`d2` on the samples that remain once the hardest are left out.

    neighbours: how many; gamma: of the reverse messages; gamma_forward: of the forward ones. mode: "paper", or "repo"
    for the released code, which has d in place of d^2, a gamma_forward of 1, and messages in both directions: to the
    neighbours of a sample and to the samples whose neighbour it is. beta: floor(beta * n) of the hardest samples are
    left out first, as in CCS, but under a quota in each class by itself. drop: the score that decides which; by default
    the ranking one, in the released code the accumulated margin. The authors tune neighbours, gamma and beta for each
    data set and size.

    Features of several runs are scaled to length 1 for each network; those of one run, and given ones, are not scaled,
    so that gamma has other units there.

    Raises:
        ValueError: an impossible option; when called, beta leaves too few.
    """

    nested: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("scores", "features")
    usual: str = "forgetting"
    neighbours: int = 5
    gamma: float = 0.1
    gamma_forward: float = 1.0
    mode: Literal["paper", "repo"] = "paper"
    beta: float = 0.0
    drop: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("paper", "repo"):
            raise ValueError(f"d2: mode must be paper or repo, got {self.mode!r}")
        if self.mode == "repo" and self.gamma_forward != 1:
            raise ValueError(f"d2: gamma_forward must be 1 in mode repo, got {self.gamma_forward:g}")
        if self.neighbours < 1:
            raise ValueError(f"d2: neighbours must be at least 1, got {self.neighbours}")
        for name in ("gamma", "gamma_forward"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"d2: {name} must be at least 0, got {getattr(self, name):g}")
        if not 0 <= self.beta < 1:
            raise ValueError(f"d2: beta must be in [0, 1), got {self.beta:g}")

    @property
    def dropped_by(self) -> str | None:
        """`drop`, if something is left out."""
        return self.drop if self.beta else None

    def left(self, n: int, total: int) -> int:
        """How many samples beta leaves."""
        left = n - floor(decimal(self.beta) * n)
        if left < total:
            raise ValueError(f"d2: beta must leave at least {total} of {n}, got {self.beta:g}, leaving {left}")
        return left

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """In the order of choice."""
        scores, features = need(items, "scores", "d2"), need(items, "features", "d2")
        total = budget.total(len(scores), items.classes)
        doubts = scores if self.dropped_by is None else need(items, "doubts", "d2")
        pool = doubts.argsort(stable=True)[: self.left(len(scores), total)].sort().values
        found = d2(
            scores[pool],
            features[pool],
            total,
            neighbours=self.neighbours,
            gamma=self.gamma,
            gamma_forward=self.gamma_forward,
            power=2 if self.mode == "paper" else 1,
            mutual=self.mode == "repo",
        )
        return pool[found]
