"""Scores: Dynamics -> float32 [n], larger = harder, always.

A score is a function of the dynamics and of keyword options with defaults. Its option `epochs` says how many epochs it
reads, and so how many are trained.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from yoco.prune.dynamics import Dynamics

Score = Callable[..., Tensor]

SCORES: dict[str, str] = {
    "lbpe": "yoco.prune.scores:lbpe",
    "el2n": "yoco.prune.scores:el2n",
}
"""name -> function(dynamics, *, options)."""

LBPE_SETTINGS: dict[tuple[str, str], tuple[int, int]] = {
    ("idc", "cifar10"): (100, 10),
    ("idc", "cifar100"): (200, 10),
    ("idc", "imagenet-10"): (200, 10),
    ("dream", "cifar10"): (200, 10),
    ("mtt", "cifar10"): (10, 3),
    ("kip", "cifar10"): (50, 3),
    ("dsa", "cifar10"): (100, 3),
}
"""(method, data) -> (epochs, top) of YOCO's code; for all others the defaults of `lbpe`."""


def lbpe(
    dynamics: Dynamics, *, epochs: int = 100, top: int = 10, by: Literal["accuracy", "loss"] = "accuracy"
) -> Tensor:
    """Logit-based prediction error: the error norm, summed over the best of the first epochs (YOCO, NeurIPS 2023).

    epochs: how many epochs are looked at. top: of these, how many are summed: those of highest accuracy, or lowest mean
    loss, on the recorded samples; of equal ones the earlier.

    Raises:
        ValueError: fewer epochs were recorded, top is not in 1..epochs, or an unknown word for `by`.
    """
    enough("lbpe", dynamics, epochs)
    if not 1 <= top <= epochs:
        raise ValueError(f"lbpe: top must be in 1..epochs = 1..{epochs}, got {top}")
    if by not in ("accuracy", "loss"):
        raise ValueError(f"lbpe: by must be accuracy or loss, got {by!r}")
    merit = dynamics.hits if by == "accuracy" else -dynamics.loss
    best = torch.argsort(merit[:epochs], descending=True, stable=True)[:top]
    return dynamics.error[best.sort().values].double().sum(0).float()


def el2n(dynamics: Dynamics, *, epochs: int = 10) -> Tensor:
    """Error norm, summed over the first epochs of one run, as YOCO's code has it (Paul et al., NeurIPS 2021).

    Raises:
        ValueError: fewer epochs were recorded.
    """
    enough("el2n", dynamics, epochs)
    return dynamics.error[:epochs].double().sum(0).float()


def enough(name: str, dynamics: Dynamics, epochs: int) -> None:
    """Check that a score has the epochs that it reads.

    Raises:
        ValueError: it has not.
    """
    if epochs < 1:
        raise ValueError(f"{name}: epochs must be at least 1, got {epochs}")
    if dynamics.epochs < epochs:
        raise ValueError(f"{name}: needs the dynamics of {epochs} epochs, got {dynamics.epochs}")
