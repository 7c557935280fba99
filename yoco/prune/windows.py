"""Scores over windows of epochs: Dyn-Unc, DUAL and TDDS. Dynamics -> float32 [n], larger = harder."""

from collections.abc import Callable
from numbers import Integral

import torch
from torch import Tensor

from yoco.prune.dynamics import Dynamics
from yoco.prune.scores import doubt, enough, total


def dyn_unc(dynamics: Dynamics, *, epochs: int | None = None, window: int = 10) -> Tensor:
    """Dynamic uncertainty: how much the label's probability varies within ten epochs (He et al., CVPR workshops 2024).

    The standard deviation of p_y in each window of `window` consecutive epochs, squares divided by window - 1; then
    the mean over all windows. The paper's own direction.
    Not in the paper: its code leaves out the last window and multiplies by 10.

    Raises:
        ValueError: fewer epochs were recorded, or window is not in 2..epochs.
    """
    return _mean("dyn-unc", dynamics, epochs, window, lambda doubts: doubts.std(0))


def dual(dynamics: Dynamics, *, epochs: int = 30, window: int = 10) -> Tensor:
    """Difficulty times uncertainty early in training (DUAL, Cho et al., ICML 2025).

    std(p_y) (1 - mean(p_y)) in each window of `window` consecutive epochs, squares of std divided by window - 1; then
    the mean over all windows. The paper's own direction.
    Not in the paper: its code multiplies by 10. Without a recipe, data other than condensed sets are trained for
    `epochs` epochs, by default ten, and all of them are read.

    Raises:
        ValueError: fewer epochs were recorded, or window is not in 2..epochs.
    """
    return _mean("dual", dynamics, epochs, window, lambda doubts: doubts.std(0) * doubts.mean(0))


def tdds(dynamics: Dynamics, *, epochs: int = 90, window: int = 10, decay: float = 0.9) -> Tensor:
    """Temporal dual-depth score: how unsteadily the prediction moves, late windows first (Zhang et al., CVPR 2024).

    Let a_e = sum over classes of |p_e (log p_e - log p_{e-1})|. A window of `window` epochs holds window - 1 of these;
    its value is the norm of their differences from their mean. The windows are summed with the weights
    decay (1 - decay)^(number of later windows). The paper's own direction.
    (epochs, window) for 30, 50, 70, 80 and 90 % pruned CIFAR: (90, 10), (70, 10), (60, 20), (20, 10), (10, 5).
    Not in the paper: its code adds 1e-8 to every probability; here the logarithms are exact. Without a recipe, data
    other than condensed sets are trained for `epochs` epochs, by default ten, and all of them are read.

    Raises:
        ValueError: the shift was not recorded, fewer epochs were, window is not in 3..epochs, or decay not in (0, 1].
    """
    epochs = enough("tdds", dynamics, epochs)
    _fits("tdds", window, 3, epochs)
    if not 0 < decay <= 1:
        raise ValueError(f"tdds: decay must be above 0 and at most 1, got {decay!r}")
    if dynamics.shift is None:
        raise ValueError(
            "tdds: needs the shift of every epoch, got dynamics without it; record with Recorder(n, shift=True)"
        )
    score = torch.zeros(len(dynamics), dtype=torch.float64, device=dynamics.shift.device)
    for first in range(epochs - window + 1):
        moves = dynamics.shift[first + 1 : first + window].double()
        score = (1 - decay) * score + decay * (moves - moves.mean(0)).square().sum(0).sqrt()
    return score.float()


def _mean(name: str, dynamics: Dynamics, epochs: int | None, window: int, worth: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean over all windows of their worth, a function of 1 - p_y, float64 [window, n], which varies as p_y does."""
    epochs = enough(name, dynamics, epochs)
    _fits(name, window, 2, epochs)
    windows = epochs - window + 1
    return (total(worth(doubt(dynamics.log_p[k : k + window])) for k in range(windows)) / windows).float()


def _fits(name: str, window: int, least: int, epochs: int) -> None:
    if not isinstance(window, Integral) or isinstance(window, bool) or not least <= window <= epochs:
        raise ValueError(f"{name}: window must be in {least}..epochs = {least}..{epochs}, got {window!r}")
