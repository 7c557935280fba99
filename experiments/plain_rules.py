"""The rules as one would write them first: whole matrices in float32, and every gain anew in every step.

`prune_benchmark.py` times them beside those of the package, and compares the answers.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import nnls
from sklearn.cluster import KMeans
from torch import Tensor

from yoco.prune import Items
from yoco.rng import Rng


def herding(items: Items, total: int) -> Tensor:
    """Every step measures all samples from t mu - sum."""
    h = items.features
    mean, chosen = h.mean(0), []
    for t in range(1, total + 1):
        apart = (t * mean - h[chosen].sum(0) - h).norm(dim=1)
        apart[chosen] = torch.inf
        chosen.append(int(apart.argmin()))
    return torch.tensor(chosen)


def k_center(items: Items, total: int) -> Tensor:
    """All pairs, then the farthest from the chosen rows."""
    h = items.features
    apart = torch.cdist(h, h)
    chosen = [int((h - h.mean(0)).norm(dim=1).argmin())]
    while len(chosen) < total:
        chosen.append(int(apart[chosen].amin(0).argmax()))
    return torch.tensor(chosen)


def medoids(items: Items, total: int) -> Tensor:
    """k-means to its end; centres that share a sample give it once, so there may be fewer."""
    seed = Rng(0).child("k-means").key() % 2**32
    centres = KMeans(total, n_init=1, random_state=seed).fit(items.features.numpy()).cluster_centers_
    return torch.cdist(torch.from_numpy(centres), items.features).argmin(1).unique()


def moderate(items: Items, total: int) -> Tensor:
    """Each sample beside the mean of its class."""
    h = items.features
    means = torch.stack([h[items.labels == c].mean(0) for c in range(items.classes)])
    apart = (h - means[items.labels]).norm(dim=1)
    return (apart - np.median(apart)).abs().argsort()[:total]


def d2(items: Items, total: int) -> Tensor:
    """A matrix of all messages, and a search through all samples for each choice."""
    h, n = items.features, len(items.labels)
    apart = torch.cdist(h, h).fill_diagonal_(torch.inf)
    near = torch.zeros(n, n, dtype=torch.bool).scatter_(1, apart.topk(5, largest=False).indices, True)
    worth = items.scores + torch.where(near, (-apart.square()).exp(), 0) @ items.scores
    back = torch.where(near, (-0.1 * apart.square()).exp(), 0)
    chosen: list[int] = []
    for _ in range(total):
        free = worth.clone()
        free[chosen] = -torch.inf
        chosen.append(int(free.argmax()))
        worth = worth - back[chosen[-1]] * worth[chosen[-1]]
    return torch.tensor(chosen)


def cosines(h: Tensor) -> Tensor:
    """(1 + cosine) / 2 of all pairs."""
    unit = torch.nn.functional.normalize(h)
    return (1 + unit @ unit.T) / 2


def located(similar: Tensor, total: int) -> Tensor:
    """Every step sums what each sample would add."""
    best, chosen = torch.zeros(len(similar)), []
    for _ in range(total):
        gain = (similar - best).clamp(min=0).sum(1)
        gain[chosen] = -torch.inf
        chosen.append(int(gain.argmax()))
        best = torch.maximum(best, similar[chosen[-1]])
    return torch.tensor(chosen)


def facility_location(items: Items, total: int) -> Tensor:
    """All gains anew in every step."""
    return located(cosines(items.features), total)


def graph_cut(items: Items, total: int) -> Tensor:
    """All gains anew in every step."""
    similar = cosines(items.features)
    chosen: list[int] = []
    for _ in range(total):
        gain = 2 * similar.sum(1) - 2 * similar[:, chosen].sum(1) - similar.diagonal()
        gain[chosen] = -torch.inf
        chosen.append(int(gain.argmax()))
    return torch.tensor(chosen)


def written_out(items: Items) -> Tensor:
    """Last-layer gradients [n, C (D + 1)]."""
    inputs = torch.cat([items.features, torch.ones(len(items.labels), 1)], 1)
    return (items.errors[:, :, None] * inputs[:, None]).flatten(1)


def craig(items: Items, total: int) -> Tensor:
    """Gradients written out, and all pairs of them."""
    g = written_out(items)
    apart = torch.cdist(g, g)
    return located(apart.max() - apart, total)


def gradmatch(items: Items, total: int) -> Tensor:
    """Gradients written out, and a least squares from nothing after each choice."""
    g = written_out(items).double().numpy()
    wanted, chosen = g.sum(0), list[int]()
    left = wanted
    for _ in range(total):
        products = g @ left
        products[chosen] = -np.inf
        chosen.append(int(products.argmax()))
        rows = np.concatenate([g[chosen].T, np.eye(len(chosen))])
        weights = nnls(rows, np.concatenate([wanted, np.zeros(len(chosen))]))[0]
        left = wanted - weights @ g[chosen]
    return torch.tensor(chosen)


PLAIN: dict[str, Callable[[Items, int], Tensor]] = {
    "herding": herding,
    "k-center": k_center,
    "medoids": medoids,
    "moderate": moderate,
    "d2": d2,
    "facility-location": facility_location,
    "graph-cut": graph_cut,
    "craig": craig,
    "gradmatch": gradmatch,
}
MOST = {"gradmatch": 1000}
"""name -> the most samples that the plain one can take in minutes."""
