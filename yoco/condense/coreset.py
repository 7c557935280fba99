"""Indices of images that represent a class by their features: herding, and the neighbours of k-means centres."""

import numpy as np
import torch
from torch import Tensor

from yoco.kmeans import k_means
from yoco.rng import Rng


def herding(features: Tensor, count: int, mean: Tensor | None = None, groups: Tensor | None = None) -> Tensor:
    """Indices of rows whose mean follows `mean`, by default that of all rows: long, in the order of choice, best first.

    Step t takes argmin_i || t mean - (sum of the chosen) - h_i || among the others (Welling, ICML 2009; so written in
    iCaRL, CVPR 2017, algorithm 4). features: [n, D]; mean: [D]. groups: long [n]; a group gives one row at most.
    As many as `count`, or as there are rows or groups; a smaller count gives a prefix. O(n D count) time.
    """
    x = features.cpu().double()
    x = x - (x.mean(0) if mean is None else mean.cpu().double())
    groups = torch.arange(len(x)) if groups is None else groups
    half, total, chosen = x.square().sum(1) / 2, torch.zeros_like(x[0]), []
    for _ in range(min(count, len(groups.unique()))):
        pick = int((half + x @ total).argmin())
        chosen.append(pick)
        total += x[pick]
        half[groups == groups[pick]] = torch.inf
    return torch.tensor(chosen)


def medoids(features: Tensor, count: int, rng: Rng) -> Tensor:
    """The row nearest to each of `count` k-means centres: long, the centres of larger clusters first.

    Each centre takes its nearest row that no other has taken, so that all are distinct. features: [n, D].
    As many as `count`, or as there are rows; a smaller count has other centres, and does not give a prefix.
    """
    from sklearn.metrics import pairwise_distances

    x = features.cpu().double()
    labels, centres = k_means(x, min(count, len(x)), rng.child("k-means"))
    sizes = np.bincount(labels.numpy(), minlength=len(centres))
    distances, chosen = pairwise_distances(centres.numpy(), x.numpy()), []
    for centre in np.argsort(-sizes, kind="stable"):
        chosen.append(int(distances[centre].argmin()))
        distances[:, chosen[-1]] = np.inf
    return torch.tensor(chosen)


def enough(order: Tensor, wanted: int) -> Tensor:
    """The first `wanted` of an order, which is repeated where it is too short."""
    return order.repeat(-(-wanted // len(order)))[:wanted]
