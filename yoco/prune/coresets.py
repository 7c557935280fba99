"""CRAIG and GradMatch: weighted samples whose gradients stand for the gradient of all.

The gradient g_i in the weights and bias of the last layer is the outer product of the error e_i, float [n, C], and the
layer's input h_i with a 1 appended, features [n, D]. It is never formed: <g_i, g_j> = <e_i, e_j> (<h_i, h_j> + 1), and
the sum of all is a matrix [C, D + 1].
"""

from dataclasses import dataclass
from math import ceil, log2
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yoco.prune.budget import Budget
from yoco.prune.distances import Points, blocks, first_least, matrix, squared
from yoco.prune.rules import Choice, Items, Rule, need
from yoco.prune.submodular import distance_graph, facility_location
from yoco.rng import Rng


class Gradients:
    """Points whose products are those of the gradients: float64, O(C + D) each.

    Raises:
        ValueError: errors or features are not finite matrices, or not of equal lengths.
    """

    def __init__(self, errors: Tensor, features: Tensor, where: str) -> None:
        self.errors = matrix(errors, where, "errors").double()
        rows = matrix(features, where).double()
        if len(rows) != len(self.errors):
            raise ValueError(f"{where}: errors and features must have equal lengths, got {len(errors)}, {len(rows)}")
        self.inputs = torch.cat([rows, torch.ones(len(rows), 1, dtype=torch.float64)], 1)
        self.diagonal = self.errors.square().sum(1) * self.inputs.square().sum(1)

    def products(self, rows: slice | Tensor, columns: slice | Tensor) -> Tensor:
        """Inner products float64 [rows, columns]."""
        return (self.errors[rows] @ self.errors[columns].T).mul_(self.inputs[rows] @ self.inputs[columns].T)

    def along(self, direction: Tensor) -> Tensor:
        """Products with a matrix [C, D + 1]: float64 [n]."""
        return ((self.inputs @ direction.T) * self.errors).sum(1)

    def combined(self, weights: Tensor, rows: Tensor) -> Tensor:
        """The weighted sum of some gradients: float64 [C, D + 1]."""
        return (self.errors[rows] * weights[:, None]).T @ self.inputs[rows]


def craig(errors: Tensor, features: Tensor, total: int, *, neighbours: int = 64) -> Choice:
    """Medoids of the gradients, each with the number of samples that it stands for (Mirzasoleiman et al., ICML 2020).

    Facility location with s_ij = d_max - ||g_i - g_j||, see `facility_location`. d_max is the largest distance in the
    graph, which holds all pairs or, where these are too many, each gradient with its `neighbours`, see
    `distance_graph`. Weights are cluster sizes: each sample belongs to the nearest chosen one, a chosen one to itself,
    so they are at least 1 and sum to n. Indices are in the order of choice and nested; weights are not nested.
    O(n^2 (C + D)) time, 8 n (C + D) bytes besides the graph.

    Raises:
        ValueError: errors or features are not finite matrices, or not of equal lengths.
    """
    points = Gradients(errors, features, "craig")
    graph = distance_graph(points, neighbours)
    distances = np.sqrt(graph.values, out=graph.values)
    _in_steps(np.subtract(distances.max(), distances, out=distances))
    chosen = facility_location(graph, total)
    return Choice(chosen, cluster_sizes(points, chosen).float())


def _in_steps(values: NDArray[np.float32]) -> None:
    """Round numbers, in place, to multiples of 2^-24 of the power of 2 that is next above the largest."""
    step = np.float32(2.0 ** (ceil(log2(values.max() or 1)) - 24))
    np.multiply(np.rint(np.divide(values, step, out=values), out=values), step, out=values)


def cluster_sizes(points: Points, chosen: Tensor) -> Tensor:
    """How many points have each chosen one as their nearest, the first of equal ones: long [total], sum n."""
    owner = torch.empty(len(points.diagonal), dtype=torch.long)
    for part in blocks(len(owner), len(chosen)):
        owner[part] = squared(points, part, chosen).argmin(1)
    owner[chosen] = torch.arange(len(chosen))
    return torch.bincount(owner, minlength=len(chosen))


def gradmatch(errors: Tensor, features: Tensor, total: int, *, lam: float = 1.0) -> Choice:
    """Orthogonal matching pursuit of min_{w >= 0} || sum_i w_i g_i - g ||^2 + lam ||w||^2.

    Killamsetty et al., GRAD-MATCH, ICML 2021. g is the sum of all gradients. Each step adds the sample whose gradient
    has the largest product with what is left of g, then fits the weights of all chosen ones anew, exactly; so the
    objective never rises. When no product is above 0 nothing can be gained: samples are still added in the order of
    that product, with weight 0, up to the total. A sample whose weight falls to 0 stays chosen.
    In the order of choice; indices are nested, weights are not.
    O(total (n C D + total^2)) time and 8 (n (C + D) + 2 total^2) bytes: seconds for 500 of 5,000 samples of a class,
    but minutes for 5,000 of 50,000 at once.

    Raises:
        ValueError: errors or features are not finite matrices, or not of equal lengths.
    """
    points = Gradients(errors, features, "gradmatch")
    whole = points.errors.T @ points.inputs
    wanted, lengths = points.along(whole), points.diagonal.sqrt()
    fit, left = _Fit(total, lam), whole
    chosen = torch.empty(total, dtype=torch.long)
    free = torch.zeros(len(wanted), dtype=torch.float64)
    for step in range(total):
        best = chosen[step] = first_least(free - points.along(left), lengths * whole.norm())
        free[best] = torch.inf
        known = chosen[: step + 1]
        fit.add(points.products(known[-1:], known)[0], wanted[best])
        left = whole - points.combined(fit.weights, known)
    return Choice(chosen, fit.weights.float())


class _Fit:
    """min_{w >= 0} w'(G + lam)w - 2 w'b for a growing G, by active sets, each time from the last answer.

    Lawson and Hanson, Solving least squares problems, 1974, chapter 23.
    active: the places of weights above 0; inverse: of G + lam at these, in that order. A place enters or leaves it in
    O(active^2).
    """

    def __init__(self, most: int, lam: float) -> None:
        self.lam = lam
        self.gram, self.inverse = torch.zeros(2, most, most, dtype=torch.float64)
        self.b = self.weights = torch.zeros(0, dtype=torch.float64)
        self.active: list[int] = []

    def add(self, row: Tensor, b: Tensor) -> None:
        """One more sample: its products with all, itself last, and with the target."""
        n = len(row)
        self.gram[n - 1, :n] = self.gram[:n, n - 1] = row
        self.gram[n - 1, n - 1] += self.lam
        self.b = torch.cat([self.b, b[None]])
        self.weights = torch.cat([self.weights, b.new_zeros(1)])
        refused = torch.zeros(n, dtype=torch.bool)
        for _ in range(3 * n):
            slope = self.b - self.gram[:n, :n] @ self.weights
            slope[self.active] = slope[refused] = -torch.inf
            place = int(slope.argmax())
            if slope[place] <= 1e-10 * self.b.abs().max():
                return
            self._enter(place)
            refused[place] = place not in self.active

    def _enter(self, place: int) -> None:
        """Let a weight be above 0, and others fall to 0 for it; not if its gradient is a sum of the others'."""
        p, diagonal = len(self.active), self.gram[place, place]
        row = self.gram[place, self.active]
        step = self.inverse[:p, :p] @ row
        rest = diagonal - row @ step
        if rest <= 1e-10 * diagonal:
            return
        step = torch.cat([-step, step.new_ones(1)])
        self.inverse[p, : p + 1] = self.inverse[: p + 1, p] = 0
        self.inverse[: p + 1, : p + 1].addr_(step, step / rest)
        self.active.append(place)
        while True:
            goal = self.inverse[: len(self.active), : len(self.active)] @ self.b[self.active]
            now = self.weights[self.active]
            falling = torch.nonzero(goal <= 0).flatten()
            if not len(falling):
                self.weights[self.active] = goal
                return
            share = now[falling] / (now[falling] - goal[falling])
            self.weights[self.active] = now + share.min() * (goal - now)
            self._leave(int(falling[share.argmin()]))

    def _leave(self, at: int) -> None:
        """Hold a weight at 0."""
        p = len(self.active)
        self.weights[self.active.pop(at)] = 0
        keep = torch.arange(p)[torch.arange(p) != at]
        column = self.inverse[keep, at]
        smaller = self.inverse[keep][:, keep].addr(column, column / self.inverse[at, at], alpha=-1)
        self.inverse[: p - 1, : p - 1] = smaller


@dataclass(frozen=True, kw_only=True)
class CRAIG(Rule):
    """`craig`. neighbours: of each gradient in the graph where it is too large to hold all pairs.

    Raises:
        ValueError: neighbours are below 1.
    """

    nested: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("errors", "features")
    neighbours: int = 64

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise ValueError(f"craig: neighbours must be at least 1, got {self.neighbours}")

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Choice:
        """In the order of choice."""
        errors, features = need(items, "errors", "craig"), need(items, "features", "craig")
        return craig(errors, features, budget.total(len(errors), items.classes), neighbours=self.neighbours)


@dataclass(frozen=True, kw_only=True)
class GradMatch(Rule):
    """`gradmatch`. lam: the penalty on the squared norm of the weights.

    Raises:
        ValueError: lam is below 0.
    """

    nested: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("errors", "features")
    lam: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.lam < float("inf"):
            raise ValueError(f"gradmatch: lam must be at least 0, got {self.lam:g}")

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Choice:
        """In the order of choice."""
        errors, features = need(items, "errors", "gradmatch"), need(items, "features", "gradmatch")
        return gradmatch(errors, features, budget.total(len(errors), items.classes), lam=self.lam)
