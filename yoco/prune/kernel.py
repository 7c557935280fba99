"""Greedy kernel ridge regression: keep the samples from which a kernel machine best predicts all others.

Not from a paper: the loss is that of KIP and FRePo (Nguyen et al., ICLR 2021; Zhou et al., NeurIPS 2022), which learn
images with it; here it selects existing samples. Classes take turns to add the sample that lowers the loss most:

    S <- {}
    repeat until |S| = m, over the classes that have not had their turn:
        S <- S + argmin_j  sum_i || y_i - f_{S + j}(x_i) ||^2          f_S: ridge regression on S, on unit features
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from yoco.prune.budget import Budget
from yoco.prune.rules import Items, Rule, need
from yoco.rng import Rng

BLOCK = 4096


@dataclass(frozen=True, kw_only=True)
class KernelGreedy(Rule):
    """Greedily choose the samples that best predict the references, classes in turns; the answers are nested.

    The references are real images if there are some, see `Items.reference`, else the samples themselves. Classes take
    turns in the order of their gain, so that their counts differ by one at most, until a class has no more samples.
    ridge: the weight of the penalty; features have length 1.

    Raises:
        ValueError: ridge is not above 0.
    """

    nested: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("features",)
    refers: ClassVar[bool] = True
    ridge: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.ridge < float("inf"):
            raise ValueError(f"kernel: ridge must be above 0, got {self.ridge:g}")

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """In the order of choice."""
        own, labels = need(items, "features", "kernel").double(), items.labels.cpu()
        centre = own.mean(0)
        features, total = normalize(own - centre), budget.total(len(own), items.classes)
        references, answers = features, labels
        if items.reference is not None:
            references, answers = normalize(items.reference[0].double() - centre), items.reference[1]
        own, goal = (centred_targets(part, items.classes) for part in (labels, answers))
        machine = _Machine(features, own, references, goal, self.ridge, total)
        chosen: list[int] = []
        turn = torch.zeros(items.classes, dtype=torch.long)
        free = torch.ones(len(labels), dtype=torch.bool)
        for _ in range(total):
            behind = turn[labels].masked_fill(~free, len(labels))
            gain = machine.gain().masked_fill(~free | (behind > behind.min()), -torch.inf)
            chosen.append(int(gain.argmax()))
            machine.add(chosen[-1])
            free[chosen[-1]] = False
            turn[labels[chosen[-1]]] += 1
        return torch.tensor(chosen)


def centred_targets(labels: Tensor, classes: int) -> Tensor:
    """Targets float64 [n, C] of mean 0 over the classes."""
    return torch.eye(classes, dtype=torch.float64)[labels] - 1 / classes


class _Machine:
    """Ridge regression on a growing set S. With K the products of samples x, V those of references with samples:

    rows: B, the pivoted Cholesky factor, K - K_S (K_SS + ridge)^-1 K_S' = K - B'B; seen: A, the same for V.
    left: what is not yet predicted of the references; guess: the prediction of the samples.
    own: diagonal of K - B'B; square: column norms of V - A'B, squared; pull: (V - A'B)' left.
    V is held where it is no larger than the references, for n up to D.
    Memory O(most (n + m)), most being the largest S; a step takes O((n + m) (min(n, D) + |S| + C)).
    """

    def __init__(self, x: Tensor, y: Tensor, references: Tensor, answers: Tensor, ridge: float, most: int) -> None:
        self.x, self.y, self.references, self.ridge, self.size = x, y, references, ridge, 0
        self.left, self.guess = answers.clone(), torch.zeros_like(y)
        self._rows, self._seen = x.new_empty(most, len(x)), x.new_empty(most, len(references))
        self.own, self.pull = x.square().sum(1), x @ (references.T @ answers)
        self.held = x @ references.T if len(x) <= x.shape[1] else None
        parts = references.T.split(max(1, BLOCK * BLOCK // len(x)), 1) if self.held is None else ()
        products = map(x.matmul, parts) if self.held is None else (self.held,)
        self.square = sum(part.square().sum(1) for part in products)

    @property
    def rows(self) -> Tensor:
        """B: [|S|, n]."""
        return self._rows[: self.size]

    @property
    def seen(self) -> Tensor:
        """A: [|S|, m]."""
        return self._seen[: self.size]

    def gain(self) -> Tensor:
        """How much the loss falls with each sample: [n]."""
        step = (self.y - self.guess) / (self.own + self.ridge)[:, None]
        return 2 * (self.pull * step).sum(1) - self.square * step.square().sum(1)

    def add(self, j: int) -> None:
        """Take sample j into S."""
        root = (self.own[j] + self.ridge).sqrt()
        row = (self.x @ self.x[j] - self.rows.T @ self.rows[:, j]) / root
        seen = (self._products(j) - self.seen.T @ self.rows[:, j]) / root
        step = (self.y[j] - self.guess[j]) / root
        with_j, length = self._against(seen), seen.square().sum()
        self.square = (self.square - 2 * with_j * row + length * row.square()).clamp(min=0)
        self.own = (self.own - row.square()).clamp(min=0)
        self.pull -= torch.outer(with_j - length * row, step) + torch.outer(row, seen @ self.left)
        self.left, self.guess = self.left - torch.outer(seen, step), self.guess + torch.outer(row, step)
        self._rows[self.size], self._seen[self.size] = row, seen
        self.size += 1

    def _products(self, j: int) -> Tensor:
        """Column j of V: [m]."""
        return self.references @ self.x[j] if self.held is None else self.held[j]

    def _against(self, column: Tensor) -> Tensor:
        """(V - A'B)' column: [n] of a column [m]."""
        whole = self.x @ (self.references.T @ column) if self.held is None else self.held @ column
        return whole - self.rows.T @ (self.seen @ column)
