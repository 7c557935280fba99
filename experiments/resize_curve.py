"""Accuracy against size, from 1 to 10 images per class, for every rule: one curve each, drawn with its band.

    python experiments/resize_curve.py --part 0 2 &
    python experiments/resize_curve.py --part 1 2
    python experiments/resize_curve.py      # writes the result and the figure

It shares its set and its trials with table1_digits.py, which says how the set is made.
"""

from pathlib import Path
from typing import Any

import command_line
import grid
import matplotlib
import result
from rows import WHOLE

matplotlib.use("Agg")
from matplotlib import pyplot


def main() -> None:
    """Judge every rule at every size; the whole set stands at the end of every curve."""
    options = command_line.options(
        __doc__,
        "runs/idc-digits/condensed.safetensors",
        "runs/table1-digits",
        "resize_curve",
        known={"ways": grid.WAYS},
        ways=[way for way in grid.WAYS if way not in ("easy", "first")],
        ipc=[1, 2, 3, 5, 7],
        runs=3,
        seeds=1,
        epochs=1000,
        score_epochs=1000,
    )
    shared = grid.Grid.of(options)
    cells = [(seed, ipc, run) for seed in range(options.seeds) for ipc in options.ipc for run in range(options.runs)]
    wanted = [grid.Trial(way, run, ipc, seed) for seed, ipc, run in cells for way in options.ways]
    wanted += [grid.Trial(WHOLE, 0, shared.full, seed) for seed in range(options.seeds * options.runs)]
    done = shared.judged(wanted, options.part)
    if done is None:
        return
    rows, content = grid.summary(done, ("way", "ipc")), shared.about(done)
    content["seeds"] = sorted({row["seed"] for row in done if row["way"] != WHOLE})
    written = result.write(options.name, folder=options.results, **content, rows=rows)
    draw(rows, written.with_suffix(".png"))
    print(f"written to {written} and {written.with_suffix('.png')}")


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Mean and one standard deviation of every way."""
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    whole = [row for row in rows if row["way"] == WHOLE]
    for number, way in enumerate(dict.fromkeys(row["way"] for row in rows if row["way"] != WHOLE)):
        mine = [row for row in rows if row["way"] == way] + whole
        x, mean, deviation = ([row[key] for row in mine] for key in ("ipc", "last_mean", "last_std"))
        band = [(m - d, m + d) for m, d in zip(mean, deviation, strict=True)]
        style = {"color": f"C{number % 10}", "linestyle": "--" if number >= 10 else "-"}
        axes.plot(x, mean, marker="o", markersize=3, label=way, **style)
        axes.fill_between(x, *zip(*band, strict=True), color=style["color"], alpha=0.12, linewidth=0)
    axes.set(xlabel="images per class", ylabel="test accuracy in per cent", xticks=sorted({row["ipc"] for row in rows}))
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
