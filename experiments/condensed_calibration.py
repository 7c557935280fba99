"""Pruning with a condensed set instead of the data: Hessians and retraining from real images and from condensed ones.

    python experiments/idc_fashion.py --bf16               # makes the set
    python experiments/condensed_calibration.py --part 0 2 &
    python experiments/condensed_calibration.py --part 1 2
    python experiments/condensed_calibration.py            # writes the result and its figure

Layers are pruned by `exact` without its second choice; each source also gives the images on which the sparse network is
retrained. The set of one image per class is the larger one, pruned by the rule of YOCO.
"""

from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import grid
import result
import trained
from claims import key, once

import yoco
from yoco.rng import Rng
from yoco.sparsify.study import BATCH

PRUNER: dict[str, Any] = {"solver": "exact", "second": False}
VALUES = ("dense", "pruned", "retrained")


def main() -> None:
    """Every network, source, sparsity and seed; then the table and the figure."""
    options = trained.options(
        __doc__,
        "runs/condensed-calibration",
        "condensed_calibration",
        "runs/idc-fashion-bf16/at-400.safetensors",
        networks=["lenet-5", "convnet:width=32"],
        sparsities=[0.5, 0.8, 0.9, 0.95, 0.98],
        seeds=2,
        steps=300,
        full=60_000,
    )
    whole = yoco.load(options.set)
    trials = trained.Trials(options, steps=options.steps, full=options.full, set=whole.checksum)
    rows = [
        {**row, "network": network, "source": source, "sparsity": sparsity, "seed": seed}
        for seed in range(options.seeds)
        for network in options.networks
        for source in SOURCES
        for sparsity in options.sparsities
        if (row := judged(trials, network, source, sparsity, seed, options))
    ]
    if not trials.complete():
        return
    content = {
        **trained.about(trials, options),
        "set": grid.described(whole),
        "protocol": "prune by exact, then retrain with Adam",
        "steps": options.steps,
        "epochs": {network: trials.epochs.get(network, trials.usual) for network in options.networks},
        "sources": {name: len(drawn(trials, name, 0, options)) for name in SOURCES},
        "rows": result.summary(rows, ("network", "source", "sparsity"), ("seed",), VALUES),
    }
    figure(content, options.results / f"{options.name}.png")
    print(f"written to {result.write(options.name, folder=options.results, **content)}")


SOURCES = ("full data", "512 real images", "100 real images", "condensed, 10 per class", "condensed, 1 per class")


def drawn(trials: Any, source: str, seed: int, options: Any) -> Any:
    """The images of a source."""
    train = trials.data.train
    if source.startswith("condensed"):
        whole = yoco.load(options.set)
        return small(trials, whole) if "1 per" in source else whole
    if source == "full data":
        return train if options.full >= len(train) else train.take(Rng(seed).choice(len(train), options.full))
    return train.take(Rng(seed).child(source).choice(len(train), int(source.split()[0])))


def small(trials: Any, whole: yoco.CondensedSet) -> yoco.CondensedSet:
    """The condensed set at one image per class; ranked once and kept."""

    def make(path: Path) -> None:
        yoco.prune(whole, ipc=1, rule="yoco", bf16=trials.bf16).save(path)

    return yoco.load(once(trials.file("one", "safetensors"), make))


def judged(trials: Any, network: str, source: str, sparsity: float, seed: int, options: Any) -> dict[str, Any] | None:
    """One network, pruned and retrained on a source."""
    return trials.keep(
        f"{network}-{source}-{sparsity}-{seed}-{key(**PRUNER)}",
        partial(trial, trials, network, source, sparsity, seed, options),
    )


def trial(trials: Any, network: str, source: str, sparsity: float, seed: int, options: Any) -> dict[str, Any]:
    """Its accuracies and seconds."""
    images = drawn(trials, source, seed, options)
    epochs = options.steps / ceil(len(trials.data.train) / BATCH)
    study = trials.study(
        network,
        seed,
        sparsity=sparsity,
        options=PRUNER,
        calibrate=images,
        retrain_on=images,
        retrain=epochs,
        images=len(images),
    )
    found = study.run()
    return {"seconds": dict(found.seconds), **found.accuracy}


def figure(content: dict[str, Any], path: Path) -> None:
    """Accuracy against sparsity, before (dashed) and after retraining, a panel for each network."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["network"] for row in content["rows"]))
    drawing = Figure(figsize=(5.5 * len(names), 4.2), dpi=110, layout="constrained")
    for place, network in enumerate(names, 1):
        axes = drawing.add_subplot(1, len(names), place)
        for number, source in enumerate(SOURCES):
            rows = [row for row in content["rows"] if (row["network"], row["source"]) == (network, source)]
            shares = [100 * (1 - row["sparsity"]) for row in rows]
            for value, style in (("pruned", "--"), ("retrained", "-")):
                label = source if value == "retrained" else None
                means = [row[f"{value}_mean"] for row in rows]
                axes.plot(shares, means, style, color=f"C{number}", marker="o", markersize=3, label=label)
        axes.set(title=network, xlabel="weights kept in percent", ylabel="test accuracy in percent", xscale="log")
        axes.set_xticks(sorted({100 * (1 - row["sparsity"]) for row in content["rows"]}))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.invert_xaxis()
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=8)
    drawing.savefig(path)


if __name__ == "__main__":
    main()
