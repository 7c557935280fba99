"""k-means by scikit-learn, the same to the bit: one start, from a stream of its own, and no more than two threads."""

from threading import Lock
from warnings import catch_warnings, simplefilter

import torch
from torch import Tensor

from yoco.device import two_threads
from yoco.rng import Rng


def k_means(rows: Tensor, count: int, rng: Rng, init: str = "k-means++", max_iter: int = 300) -> tuple[Tensor, Tensor]:
    """The cluster of each row, long [n], and the centres, float64 [count, D].

    rows: float64 [n, D], at least `count`. init: "k-means++" or "random". It runs until nothing moves, or for
    `max_iter` iterations, O(n D count) time each.
    """
    from sklearn.cluster import KMeans

    clustering = KMeans(count, init=init, n_init=1, max_iter=max_iter, random_state=rng.key() % 2**32)
    with _ONE, catch_warnings(), two_threads():
        simplefilter("ignore")  # fewer distinct rows than clusters, or iterations that end early
        fit = clustering.fit(rows.numpy())
    return torch.from_numpy(fit.labels_).long(), torch.from_numpy(fit.cluster_centers_)


_ONE = Lock()
"""Warnings and threads are those of the whole process."""
