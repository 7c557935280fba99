"""Rules by distance between features: herding, k-center, k-means medoids, Moderate; and two distances as scores.

Features are float [n, D]. All of it is computed in float64, so 8 n D bytes are held beside the features at least.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from yoco.prune.budget import Budget
from yoco.prune.distances import (
    TIE,
    Vectors,
    blocks,
    centred,
    cosine_distances,
    first_least,
    k_means,
    matrix,
    squared,
)
from yoco.prune.rules import Items, Rule, need
from yoco.rng import Rng

POOL = 512
WIDE = 2048

Centre = Literal["mean", "median"]


def herding(features: Tensor, total: int) -> Tensor:
    """Samples whose mean follows the mean of all: long [total], in the order of choice; smaller answers are beginnings.

    Step t takes argmin_i || t mu - (sum of the chosen) - h_i || among the others (Welling, Herding dynamical weights to
    learn, ICML 2009; so written in iCaRL, CVPR 2017, algorithm 4). Features are centred, so that mu is 0.
    O(n D total) time, 12 n D bytes and 8 n D for a moment. The sum moves far in each step, so every step must look at
    all samples, and only memory traffic can be saved. Float32 products with a bound on their rounding error narrow the
    candidates, and float64 decides among these. One pass over all samples serves this step, and also the next one if a
    small pool predicts this step's choice correctly.

    Raises:
        ValueError: features are not a finite matrix.
    """
    walk = _Walk(centred(features, "herding"))
    while len(walk.chosen) < total:
        walk.go(total)
    return torch.tensor(walk.chosen)


class _Walk:
    """The sum s of what is chosen; sample i costs ||h_i||^2 / 2 + s.h_i, and without end once it is chosen."""

    def __init__(self, x: Tensor) -> None:
        largest = max(-float(x.min()), float(x.max()))
        self.x = x.div_(largest or 1)
        self.rough, self.norms = self.x.float(), self.x.norm(dim=1)
        self.half = self.norms.square() / 2
        self.sum = torch.zeros_like(x[0])
        self.chosen: list[int] = []
        self.pool = torch.arange(min(POOL, len(x)))

    def go(self, most: int) -> None:
        """One step, or two."""
        guess = int(self.pool[(self.half[self.pool] + self.rough[self.pool] @ self.sum.float()).argmin()])
        products = self.rough @ torch.stack([self.sum, self.sum + self.x[guess]]).float().T
        cost = self._take(products[:, 0])
        if self.chosen[-1] == guess and len(self.chosen) < most:
            cost = self._take(products[:, 1])
        self.pool = cost.topk(len(self.pool), largest=False).indices

    def _take(self, products: Tensor) -> Tensor:
        """Choose the cheapest sample; products: with the sum, in float32, which err by less than `slack`."""
        cost, length = self.half + products, self.sum.norm()
        slack = self.norms * (length * (len(self.sum) + 8) * 2.0**-23 + self.norms * TIE)
        some = torch.nonzero(cost - slack <= (cost + slack).min()).flatten()
        exact = self.half[some] + self.x[some] @ self.sum
        pick = int(some[first_least(exact, self.norms[some] * (self.norms[some] + length))])
        self.chosen.append(pick)
        self.half[pick], self.sum = torch.inf, self.sum + self.x[pick]
        return cost


def k_center(features: Tensor, total: int, *, first: int | None = None) -> Tensor:
    """Samples that leave no other far from a chosen one: long [total], in the order of choice.

    Each step adds argmax_i min_{j chosen} ||h_i - h_j||, whose radius is at most twice the best one (Gonzalez, 1985;
    for coresets Sener and Savarese, ICLR 2018). first: the first sample, by default the one nearest to the mean.
    Smaller answers are prefixes.
    At most O(n D total) time, mostly in products of large matrices; 8 n (2 D + 3) bytes and a block. Distances to the
    chosen set only fall: while the farthest sample of a pool of `WIDE` is farther than all outside it were, it is the
    farthest of all. Only when that ends are the distances outside updated, for many new choices at once.

    Raises:
        ValueError: features are not a finite matrix.
    """
    points = Vectors(centred(features, "k-center"))
    norms = points.diagonal
    new = [first_least(norms, norms) if first is None else first]
    chosen, near = new, torch.full_like(norms, torch.inf)
    while len(chosen) < total:
        for part in blocks(len(norms), len(new)):
            near[part] = torch.minimum(near[part], squared(points, torch.tensor(new), part).amin(0))
        near[new] = -torch.inf
        new = _farthest(points, near, total - len(chosen))
        chosen = chosen + new
    return torch.tensor(chosen)


def _farthest(points: Vectors, near: Tensor, most: int) -> list[int]:
    """The next picks, as many as are certain while only a pool learns of them; near: squared distances [n]."""
    order = near.argsort(descending=True, stable=True)
    outside = near[order[WIDE]] if len(order) > WIDE else -torch.inf
    new = [first_least(-near, points.diagonal + near)]
    if near[new[0]] <= TIE * points.diagonal[new[0]]:
        return torch.nonzero(near > -torch.inf).flatten()[:most].tolist()
    pool = order[:WIDE].sort().values
    mine, own = Vectors(points.rows[pool], points.diagonal[pool]), near[pool]
    while len(new) < most:
        distances = mine.rows @ points.rows[new[-1]]
        own = torch.minimum(own, distances.mul_(-2).add_(mine.diagonal).add_(points.diagonal[new[-1]]))
        own[pool == new[-1]] = -torch.inf
        slack = mine.diagonal + own
        at = first_least(-own, slack)
        if not own[at] > outside + TIE * slack[at]:
            break
        new.append(int(pool[at]))
    return new


def medoids(features: Tensor, total: int, rng: Rng) -> Tensor:
    """The sample nearest to each of `total` k-means centres: long [total], those of larger clusters first.

    In that order each centre takes its nearest sample that no other has taken, so that all are distinct. YOCO's code
    calls this "ssp". A smaller answer has other centres, and is no beginning of a larger one.
    O(n D total) time for each of the iterations of `k_means`; 16 n D bytes and a block.

    Raises:
        ValueError: features are not a finite matrix.
    """
    x = centred(features, "medoids")
    groups, centres = k_means(x, total, rng)
    sizes = torch.bincount(groups, minlength=total)
    order = sizes.argsort(descending=True, stable=True)
    norms = x.square().sum(1)
    free, chosen = norms.clone(), []
    for part in blocks(total, len(x)):
        for row in centres[order[part]] @ x.T:
            chosen.append(first_least(free - 2 * row, norms))
            free[chosen[-1]] = torch.inf
    found = torch.tensor(chosen)
    return found[torch.argsort(-sizes[order] * len(x) + found)]


def prototype_distance(
    features: Tensor, labels: Tensor, *, centre: Centre = "mean", metric: Literal["euclidean", "cosine"] = "euclidean"
) -> Tensor:
    """Distance from the centre of the own class: float32 [n], far = hard.

    labels: long [n], any numbers. centre: the mean of the class, or the median of each feature; metric: the length of
    the difference, or 1 - cosine, which is 1 for a row of zeros. O(n D) time, 16 D bytes for each member of a class.

    Raises:
        ValueError: an unknown word, or features that are not a finite matrix.
    """
    if centre not in ("mean", "median"):
        raise ValueError(f"prototype: centre must be mean or median, got {centre!r}")
    if metric not in ("euclidean", "cosine"):
        raise ValueError(f"prototype: metric must be euclidean or cosine, got {metric!r}")
    found = torch.empty(len(matrix(features, "prototype")))
    for label in labels.unique():
        members = torch.nonzero(labels == label).flatten()
        rows = features[members].double()
        middle = rows.mean(0) if centre == "mean" else torch.from_numpy(np.median(rows.numpy(), axis=0))
        apart = (rows - middle).norm(dim=1) if metric == "euclidean" else cosine_distances(rows, middle[None])
        found[members] = apart.float()
    return found


def ssp_distance(features: Tensor, clusters: int, rng: Rng) -> Tensor:
    """1 - cosine to the own k-means centre: float32 [n] in [0, 2], far = hard (Sorscher et al., NeurIPS 2022).

    They take self-supervised features; the score `ssp` has by default one cluster for each class here. A row of zeros
    is 1 away. O(n D clusters) time for each iteration of `k_means`, 16 n D bytes and some blocks.

    Raises:
        ValueError: clusters are not in 1..n, or features are not a finite matrix.
    """
    x = centred(features, "ssp")
    if not 1 <= clusters <= len(x):
        raise ValueError(f"ssp: clusters must be in 1..{len(x)}, got {clusters}")
    groups, centres = k_means(x, clusters, rng)
    del x
    centres = centres + features.double().mean(0)
    parts = len([*blocks(*features.shape)])  # all of one size, as torch adds up a long row that is alone otherwise
    pairs = zip(features.tensor_split(parts), groups.tensor_split(parts), strict=True)
    return torch.cat([cosine_distances(some.double(), centres[own]) for some, own in pairs]).float()


def moderate(features: Tensor, labels: Tensor, total: int, *, centre: Centre = "mean") -> Tensor:
    """Samples neither near to nor far from their class: long [total] (Xia et al., Moderate coreset, ICLR 2023).

    d_i is the distance from the centre of the own class; first come those with the smallest |d_i - median of all d|.
    The authors' code takes the median of each feature as the centre, and as many ranks of d on both sides of the
    median: that is `Window`, mode "repo" of the rule. O(n D) time; smaller answers are beginnings.

    Raises:
        ValueError: an unknown centre, or features that are not a finite matrix.
    """
    distance = prototype_distance(features, labels, centre=centre).double()
    return (distance - float(np.median(distance.numpy()))).abs().argsort(stable=True)[:total]


@dataclass(frozen=True, kw_only=True)
class Herding(Rule):
    """`herding`."""

    nested: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("features",)

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """In the order of choice."""
        features = need(items, "features", "herding")
        return herding(features, budget.total(len(features), items.classes))


@dataclass(frozen=True, kw_only=True)
class KCenter(Rule):
    """`k_center`. start: the first sample is the one nearest to the mean, or a random one.

    Raises:
        ValueError: an unknown start.
    """

    nested: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("features",)
    start: Literal["mean", "random"] = "mean"

    def __post_init__(self) -> None:
        if self.start not in ("mean", "random"):
            raise ValueError(f"k-center: start must be mean or random, got {self.start!r}")

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """In the order of choice."""
        features = need(items, "features", "k-center")
        first = int(rng.choice(len(features), 1)) if self.start == "random" else None
        return k_center(features, budget.total(len(features), items.classes), first=first)


@dataclass(frozen=True, kw_only=True)
class Medoids(Rule):
    """`medoids`."""

    needs: ClassVar[tuple[str, ...]] = ("features",)

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """Those of larger clusters first."""
        features = need(items, "features", "medoids")
        return medoids(features, budget.total(len(features), items.classes), rng)


@dataclass(frozen=True, kw_only=True)
class Moderate(Rule):
    """`moderate` over the given samples, which under a quota are one class: the median is then that of the class.

    Raises:
        ValueError: an unknown centre.
    """

    nested: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("features",)
    centre: Centre = "mean"

    def __post_init__(self) -> None:
        if self.centre not in ("mean", "median"):
            raise ValueError(f"moderate: centre must be mean or median, got {self.centre!r}")

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """The nearest to the median first."""
        features = need(items, "features", "moderate")
        total = budget.total(len(features), items.classes)
        return moderate(features, items.labels.cpu(), total, centre=self.centre)
