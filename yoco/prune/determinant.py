"""Log-determinant: samples that span the largest volume together."""

from dataclasses import dataclass
from math import inf
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from yoco.prune.budget import Budget
from yoco.prune.rules import Items, Rule, need
from yoco.rng import Rng


@dataclass(frozen=True, kw_only=True)
class LogDet(Rule):
    """Greedily add the sample that most raises log det L of the chosen ones.

    This is greedy MAP inference for a determinantal point process (Chen et al., NeurIPS 2018, algorithm 1). L is the
    cosine similarity of the features, plus `ridge` on its diagonal: the smaller the ridge, the less a sample gains that
    resembles chosen ones. With S chosen, sample i gains log(L_ii - L_iS L_SS^-1 L_Si); its argument is updated in each
    step by one new row of the Cholesky factor of L: O(n m (D + m)) time, O(n (D + m)) memory.
    All gain the same at first, and the first sample by place begins. A row of zeros resembles nothing.

    Raises:
        ValueError: ridge is below 1e-9, where rounding begins to decide.
    """

    nested: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("features",)
    quota: str = "equal"
    ridge: float = 0.1

    def __post_init__(self) -> None:
        if not 1e-9 <= self.ridge < inf:
            raise ValueError(f"log-det: ridge must be at least 1e-9, got {self.ridge:g}")

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """Greedily, without what is chosen already."""
        directions = normalize(need(items, "features", "log-det").double(), dim=1)
        total = budget.total(len(directions), items.classes)
        inside = torch.full((len(directions),), 1 + self.ridge, dtype=torch.float64)
        factor = torch.zeros(total, len(directions), dtype=torch.float64)
        chosen = torch.empty(total, dtype=torch.long)
        for step in range(total):
            best = chosen[step] = inside.argmax()
            row = directions @ directions[best]
            factor[step] = (row - factor[:step, best] @ factor[:step]) / inside[best].sqrt()
            inside -= factor[step].square()
            inside[best] = -torch.inf
        return chosen
