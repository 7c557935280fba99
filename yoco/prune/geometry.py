"""Rules on features alone: herding, k-center, medoids and Moderate; and two distances that are scores."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn.functional import normalize

from yoco.prune.budget import Budget
from yoco.prune.rules import Items, Rule, need
from yoco.rng import Rng


@dataclass(frozen=True, kw_only=True)
class Herding(Rule):
    """The mean of the chosen features follows the mean of all (Welling, ICML 2009): argmin ||t mu - sum - h_i||."""

    nested: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("features",)

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """Without replacement; of equal ones the first."""
        x = _centred(need(items, "features", "herding"))
        half, total = x.square().sum(1) / 2, torch.zeros_like(x[0])
        chosen: list[int] = []
        for _ in range(budget.total(len(x), items.classes)):
            cost = half + x @ total
            cost[chosen] = torch.inf
            chosen.append(int(cost.argmin()))
            total = total + x[chosen[-1]]
        return torch.tensor(chosen)


@dataclass(frozen=True, kw_only=True)
class KCenter(Rule):
    """First the sample nearest to the mean, then each time the farthest from the chosen (Sener and Savarese, 2018)."""

    nested: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("features",)

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """In the order of choice; of equal ones the first."""
        x = _centred(need(items, "features", "k-center"))
        chosen = [int(x.square().sum(1).argmin())]
        near = torch.full((len(x),), torch.inf, dtype=x.dtype)
        for _ in range(budget.total(len(x), items.classes) - 1):
            near = torch.minimum(near, (x - x[chosen[-1]]).square().sum(1))
            near[chosen] = -1
            chosen.append(int(near.argmax()))
        return torch.tensor(chosen)


@dataclass(frozen=True, kw_only=True)
class Medoids(Rule):
    """The sample nearest to each centre of k-means with as many centres as are kept (YOCO's "ssp")."""

    needs: ClassVar[tuple[str, ...]] = ("features",)

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """The medoids of large clusters first; one that is taken already gives way to the next nearest."""
        x = _centred(need(items, "features", "medoids"))
        total = budget.total(len(x), items.classes)
        centres, own = _means(x, total, rng)
        chosen: list[int] = []
        for c in torch.argsort(torch.bincount(own, minlength=total), descending=True, stable=True):
            far = (x - centres[c]).square().sum(1)
            far[chosen] = torch.inf
            chosen.append(int(far.argmin()))
        return torch.tensor(chosen)


@dataclass(frozen=True, kw_only=True)
class Moderate(Rule):
    """The samples whose distance to their class's centre is nearest to the median distance (Xia et al., ICLR 2023).

    centre: mean, as the paper has it, or median, as its code.

    Raises:
        ValueError: another word for centre.
    """

    nested: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("features",)
    centre: str = "mean"

    def __post_init__(self) -> None:
        if self.centre not in ("mean", "median"):
            raise ValueError(f"moderate: centre must be mean or median, got {self.centre!r}")

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """By the difference from the median of all distances; of equal ones the first."""
        x, labels = need(items, "features", "moderate"), items.labels.cpu()
        far = prototype_distance(x, labels, median=self.centre == "median").double()
        middle = far.quantile(0.5)
        return torch.argsort((far - middle).abs(), stable=True)[: budget.total(len(x), items.classes)]


def prototype_distance(features: Tensor, labels: Tensor, *, median: bool = False) -> Tensor:
    """Distance of each sample to the mean, or median, of its class: float32 [n]."""
    x, far = features.double(), torch.empty(len(features))
    for c in labels.unique():
        mine = x[labels == c]
        centre = mine.quantile(0.5, dim=0) if median else mine.mean(0)
        far[labels == c] = (mine - centre).norm(dim=1).float()
    return far


def ssp_distance(features: Tensor, classes: int, rng: Rng) -> Tensor:
    """1 - cosine to the own centre of k-means with `classes` centres: float32 [n] (Sorscher et al., NeurIPS 2022)."""
    x = normalize(features.double())
    centres, own = _means(x, min(classes, len(x)), rng)
    return (1 - (x * normalize(centres)[own]).sum(1)).float()


def _centred(features: Tensor) -> Tensor:
    return features.double() - features.double().mean(0)


def _means(x: Tensor, count: int, rng: Rng) -> tuple[Tensor, Tensor]:
    """Centres [count, D] of k-means, and the centre of each sample [n]."""
    seed = int(torch.randint(2**31 - 1, (1,), generator=rng.generator()))
    found = KMeans(count, n_init=1, random_state=seed).fit(x.numpy())
    return torch.from_numpy(found.cluster_centers_), torch.from_numpy(found.labels_).long()
