"""The figure of methods_fashion.py: accuracy against minutes, a curve for each method."""

from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rows import thread_count

STRONG = ("readout", "idc", "dm", "mtt", "random")
"""The methods whose curves stand out: what this library has of its own, and what it is usually compared with."""


def draw(content: dict[str, Any], path: Path) -> None:
    """Accuracy against minutes; what stays as it is from there on is dotted. The best at the end are named first."""
    drawing = Figure(figsize=(8, 4.8), dpi=110, layout="constrained")
    axes, runs = drawing.add_subplot(), {}
    shown = sorted((row for row in content["rows"] if row["ipc"] == content["ipc"]), key=lambda row: row["stop"])
    for row in shown:
        runs.setdefault(row["method"], []).append(row)
    for number, (method, rows) in enumerate(sorted(runs.items(), key=lambda run: -run[1][-1]["last_mean"])):
        curve(axes, method, rows, number, max(content["stops"]))
    lowest = [row["last_mean"] for method in STRONG for row in runs.get(method, [])]
    if lowest:  # one that is far below them would hide the rest
        axes.set_ylim(min(lowest) - 4, max(row["last_mean"] + row["last_std"] for row in shown) + 1)
    axes.set(xlabel=f"minutes of {thread_count(content['threads'])}", ylabel="test accuracy in percent")
    axes.grid(alpha=0.25)
    drawing.legend(loc="outside right upper", frameon=False, fontsize=8)
    drawing.savefig(path)


def curve(axes: Axes, method: str, rows: list[dict[str, Any]], number: int, end: float) -> None:
    """One method."""
    x, y, spread = ([row[key] for row in rows] for key in ("minutes_mean", "last_mean", "last_std"))
    strong = method in STRONG
    colour = f"C{STRONG.index(method)}" if strong else colormaps["tab20b"](7 * number % 20)
    line = {"linewidth": 2.2, "linestyle": "-"} if strong else {"linewidth": 0.9, "linestyle": "--"}
    mark = {"marker": "o" if strong else "sv^D<>*"[number % 7], "markersize": 4}
    axes.errorbar(x, y, spread, elinewidth=0.6, color=colour, label=method, zorder=2 + strong, **line, **mark)
    if x[-1] < 0.9 * end:
        axes.plot([x[-1], end], [y[-1]] * 2, color=colour, linestyle=":", linewidth=0.8)
