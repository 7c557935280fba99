"""The figure of methods_fashion.py: accuracy against minutes, a curve for each method."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rows import thread_count


def draw(content: dict[str, Any], path: Path) -> None:
    """Accuracy against minutes; what stays as it is from there on is dotted."""
    drawing, end = Figure(figsize=(8, 4.8), dpi=110, layout="constrained"), max(content["stops"])
    FigureCanvasAgg(drawing)
    axes = drawing.add_subplot()
    rows = [row for row in content["rows"] if row["ipc"] == content["ipc"]]
    for number, method in enumerate(dict.fromkeys(row["method"] for row in rows)):
        mine = sorted((row for row in rows if row["method"] == method), key=lambda row: row["stop"])
        x, y, spread = ([row[key] for row in mine] for key in ("minutes_mean", "last_mean", "last_std"))
        style = {"color": f"C{number % 10}", "linestyle": "--" if number >= 10 else "-"}
        axes.errorbar(x, y, spread, marker="o", markersize=3, elinewidth=0.6, label=method, **style)
        if x[-1] < 0.9 * end:
            axes.plot([x[-1], end], [y[-1]] * 2, color=style["color"], linestyle=":", linewidth=0.8)
    axes.set(xlabel=f"minutes of {thread_count(content['threads'])}", ylabel="test accuracy in percent")
    axes.grid(alpha=0.25)
    drawing.legend(loc="outside right upper", frameon=False, fontsize=8)
    drawing.savefig(path)
