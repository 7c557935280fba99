"""A better ranking of the same set: greedy kernel regression against YOCO's rules, over the sizes 1, 2, 3 and 5.

    python experiments/idc_fashion.py --bf16                # makes the set
    python experiments/table1_fashion.py --part 0 1         # shares its trials of YOCO
    python experiments/beat_yoco.py

`kernel` looks at 4,000 real training images; `kernel-alone`, which `--ways yoco kernel kernel-alone` adds, at nothing
but the set. The rule and its settings (three networks of 60 epochs, ridge 0.1) were chosen by the accuracy on training
images that were held out; the test images are looked at here for the first time.
"""

from typing import Any

import command_line
import grid
import result
from rows import gain


def main() -> None:
    """Judge all ways at all sizes, and compare their means over the sizes."""
    options = command_line.options(
        __doc__,
        "runs/idc-fashion-bf16/at-400.safetensors",
        "runs/table1-fashion",
        "beat_yoco",
        known={"ways": grid.WAYS},
        ways=["yoco", "kernel"],
        ipc=[1, 2, 3, 5],
        runs=3,
        seeds=2,
        epochs=250,
        score_epochs=250,
        bf16=1,
    )
    if "yoco" not in options.ways:
        raise SystemExit(f"--ways must have yoco, which the others are compared with, got {' '.join(options.ways)}")
    shared = grid.Grid.of(options)
    cells = [(run, seed, ipc) for seed in range(options.seeds) for run in range(options.runs) for ipc in options.ipc]
    wanted = [grid.Trial(way, run, ipc, seed) for way in options.ways for run, seed, ipc in cells]
    done = shared.judged(wanted, options.part)
    if done is None:
        return
    content = {**shared.about(done), "rows": grid.summary(done, ("way", "ipc"))}
    content["gain"] = gains(content["rows"], options.ways)
    print(f"written to {result.write(options.name, folder=options.results, **content)}")


def gains(rows: list[dict[str, Any]], ways: list[str]) -> dict[str, dict[str, float]]:
    """Of each way above YOCO's, see `gain`."""
    found = {way: gain(rows, way, "yoco") for way in ways if way != "yoco"}
    return {way: points for way, points in found.items() if points}


if __name__ == "__main__":
    main()
