"""Curves of a run."""

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from yoco.disk import replace_file

BLUE, ORANGE, GREY = "#1a6fb5", "#d9730d", "#5f6368"


def curves(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draw the loss over the episodes and, where it was measured, the accuracy; as PNG.

    rows: of metrics.jsonl; an accuracy is there if a callback of the run answered one. The pale line is every loss, the
    dark one the mean of those around it (a twentieth of all). The scale of the loss is logarithmic where it spans more
    than a factor of ten.

    Raises:
        ValueError: no row has a finite loss or an accuracy.
        OSError: the place cannot be written; what stood there is as it was.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    loss, accuracy = series(rows, "loss"), series(rows, "accuracy")
    panels = drawable(rows)
    if not panels:
        raise ValueError("curves: a row must have a finite loss or an accuracy, got none")
    figure = Figure(figsize=(6.4 * len(panels), 3.8), dpi=120, layout=ConstrainedLayoutEngine(wspace=0.08))
    for place, name in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), place)
        _loss(axes, *loss) if name == "loss" else _accuracy(axes, *accuracy)
        _frame(axes)
    figure.suptitle(spent(rows), fontsize=10, color=GREY)
    replace_file(Path(path), lambda temporary: figure.savefig(temporary, format="png"))


def layer_curves(curves: Mapping[str, Any], zeros: Mapping[str, float], path: str | Path) -> None:
    """Draw what zeros in each layer of a network cost, and with a dot how many it has got; as PNG.

    curves: by layer, with `counts` of zeros, the last of which is all, and `errors`. zeros: shares by their names.

    Raises:
        OSError: the place cannot be written; what stood there is as it was.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), dpi=120, layout="constrained")
    axes, many = figure.add_subplot(), len(curves) > 10
    if many:
        axes.set_prop_cycle(color=colormaps["viridis"](np.linspace(0, 0.95, len(curves))))
    for layer, curve in curves.items():
        kept, errors = 100 * (1 - np.array(curve.counts) / curve.counts[-1]), np.array(curve.errors)
        shown = (kept > 0) & (errors > errors.max() * 1e-9)
        (line,) = axes.plot(kept[shown], errors[shown], linewidth=1.4, label=layer.removesuffix(".weight"))
        if layer in zeros and 0 < zeros[layer] < 1 and shown.any():
            place = 100 * (1 - zeros[layer])
            height = np.interp(-place, -kept[shown], errors[shown])
            axes.plot(place, height, color=line.get_color(), marker="o", markersize=6)
    axes.set(xlabel="weights kept in the layer in percent", ylabel="error of the layer", xscale="log", yscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.invert_xaxis()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    beside = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if many else {"loc": "upper left"}
    axes.legend(frameon=False, fontsize=8, ncols=1 + len(curves) // 26, **beside)
    replace_file(Path(path), lambda temporary: figure.savefig(temporary, format="png"))


def drawable(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Which of loss and accuracy have a finite value in any row."""
    return tuple(name for name in ("loss", "accuracy") if len(series(rows, name)[0]))


def series(rows: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Episodes and values of the rows that have a finite value of this name."""
    found = [(row["episode"], row[name]) for row in rows if isinstance(row.get(name), int | float)]
    found = [(episode, value) for episode, value in found if isfinite(value)]
    return np.array([episode for episode, _ in found]), np.array([value for _, value in found], dtype=float)


def smooth(values: np.ndarray, width: int) -> np.ndarray:  # type: ignore[type-arg]
    """Means over a centred window of `width` values (odd), shorter at both ends, so that none is made up."""
    sums, reach, n = np.concatenate([[0.0], np.cumsum(values)]), width // 2, len(values)
    at = np.arange(n)
    low, high = np.maximum(at - reach, 0), np.minimum(at + reach + 1, n)
    means: np.ndarray = (sums[high] - sums[low]) / (high - low)  # type: ignore[type-arg]
    return means


def spent(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many episodes, and how long they took."""
    episodes = max(row["episode"] for row in rows)
    seconds = max((row["seconds"] for row in rows if isinstance(row.get("seconds"), int | float)), default=None)
    words = f"{episodes:,} {'episode' if episodes == 1 else 'episodes'}"
    return words if seconds is None else f"{words}, {duration(seconds)}"


def duration(seconds: float) -> str:
    """Seconds in the two largest units that fit: 45 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _loss(axes: Any, episodes: Any, values: Any) -> None:
    if len(values) < 40:
        axes.plot(episodes, values, color=BLUE, marker="o", markersize=3)
    else:
        axes.plot(episodes, values, color=BLUE, alpha=0.25, linewidth=0.8)
        axes.plot(episodes, smooth(values, len(values) // 20 | 1), color=BLUE, linewidth=1.8)
    if values.min() > 0 and values.max() / values.min() > 10:
        _logarithmic(axes)
    axes.set_ylabel("matching loss")


def _logarithmic(axes: Any) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _accuracy(axes: Any, episodes: Any, values: Any) -> None:
    axes.plot(episodes, values, color=ORANGE, marker="o", markersize=4, label="at the time")
    best = np.maximum.accumulate(values)
    if (best > values).any():
        axes.plot(episodes, best, color=ORANGE, linestyle="--", linewidth=1, alpha=0.7, label="best so far")
        axes.legend(frameon=False, loc="lower right")
    axes.set_ylabel("test accuracy in percent")


def _frame(axes: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("episode")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
