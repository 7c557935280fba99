"""Accuracy against size, from 1 to 10 images per class, for every rule: one curve each, drawn with its band.

    python experiments/resize_curve.py --set runs/digits/condensed.safetensors --part 0 2 &
    python experiments/resize_curve.py --set runs/digits/condensed.safetensors --part 1 2
    python experiments/resize_curve.py --set runs/digits/condensed.safetensors      # writes the result and the figure

It shares its trials with table1_digits.py. A set that was made at a size of its own (`--direct FOLDER`, with
ipc-1.safetensors and so on) is drawn as one more curve; so is one that MDC made (`--mdc FILE`): its prefixes, and what
YOCO's rule keeps of it.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import grid
import matplotlib
import result

matplotlib.use("Agg")
from matplotlib import pyplot

DIRECT, WHOLE = "made at its size", "whole"
MDC = {"MDC, its first": "first", "MDC, yoco": "yoco", "MDC, kernel": "kernel"}
"""way -> what ranks the set that MDC made."""


def main() -> None:
    """Judge every rule at every size; the whole set stands at the end of every curve."""
    options = grid.options(
        __doc__,
        "runs/digits/condensed.safetensors",
        "runs/table1-digits",
        "resize_curve",
        ways=[way for way in grid.WAYS if way not in ("easy", "first")],
        ipc=[1, 2, 3, 5, 7],
        runs=3,
        seeds=1,
        epochs=1000,
        score_epochs=1000,
        direct="",
        mdc="",
    )
    how = {"epochs": options.epochs, "score_epochs": options.score_epochs, "bf16": False}
    shared = grid.Grid(set=options.set, out=options.out, **how)
    cells = [(seed, ipc, run) for seed in range(options.seeds) for ipc in options.ipc for run in range(options.runs)]
    wanted = [grid.Trial(way, run, ipc, seed) for seed, ipc, run in cells for way in options.ways]
    wanted += [grid.Trial(WHOLE, 0, shared.full, seed) for seed in range(options.seeds * options.runs)]
    shared.judge_all(wanted, tuple(options.part))
    if options.part[1] > 1:
        return
    done = shared.done(wanted) + direct(shared, options) + mdc(shared, options)
    rows = grid.summary(done, ("way", "ipc"))
    written = result.write(options.name, folder=options.results, **shared.about(done), rows=rows)
    draw(rows, written.with_suffix(".png"))
    print(f"written to {written} and {written.with_suffix('.png')}")


def direct(shared: grid.Grid, options: Any) -> list[dict[str, Any]]:
    """The sets that were made at each size."""
    found = []
    for ipc in options.ipc:
        path = Path(options.direct) / f"ipc-{ipc}.safetensors"
        if options.direct and path.is_file():
            own = replace(shared, set=path)
            found += [own.judge(grid.Trial(DIRECT, 0, ipc, seed)) for seed in range(options.seeds)]
    return found


def mdc(shared: grid.Grid, options: Any) -> list[dict[str, Any]]:
    """The set that MDC made: at every size, and whole."""
    if not options.mdc:
        return []
    own = replace(shared, set=Path(options.mdc), out=shared.out / "mdc")
    own.out.mkdir(exist_ok=True)
    sizes = [*options.ipc, own.full]
    return [
        {**own.judge(grid.Trial(rule, run, ipc, seed)), "way": way}
        for way, rule in MDC.items()
        for seed in range(options.seeds)
        for ipc in sizes
        for run in range(options.runs)
    ]


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
