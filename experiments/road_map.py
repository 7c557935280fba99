"""The figure of road.py: what every try cost, and what its set is worth."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter


def draw(content: dict[str, Any], path: Path) -> None:
    """Accuracy on held-back images against processor minutes, 1 at least: a point for each try; test images beside."""
    drawing = Figure(figsize=(8, 6), dpi=110, layout="constrained")
    axes = drawing.add_subplot()
    for number, row in enumerate(content["rows"]):
        minutes, style = max(row["processor_seconds"] / 60, 1.0), {"color": f"C{number % 10}"}
        marker = "os^"[number // 10 % 3]
        axes.plot(minutes, row["last_mean"], marker, label=row["try"], **style)
        if "test" in row:
            axes.errorbar(minutes, row["test_mean"], row["test_std"], marker="_", markersize=10, capsize=3, **style)
    axes.set(xscale="log", xlabel="processor minutes, 1 at least", ylabel="accuracy in per cent")
    axes.set_title(title(content), fontsize=9, loc="left")
    axes.grid(alpha=0.25, which="both")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(LogFormatter())
    drawing.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    drawing.savefig(path)


def title(content: dict[str, Any]) -> str:
    """What is shown."""
    bars = ", bars on test images" if any("test" in row for row in content["rows"]) else ""
    return f"{content['ipc']} per class: points on held-back training images{bars}"
