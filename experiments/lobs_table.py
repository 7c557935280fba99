"""The table of L-OBS on Fashion-MNIST: test error after pruning and after light retraining, by solver.

    python experiments/lobs_table.py --part 0 2 &
    python experiments/lobs_table.py --part 1 2
    python experiments/lobs_table.py            # writes the result once all trials are there

The number of zeros of each layer is set once, by the hull of `exact`'s curves, and is the same for all solvers. random,
magnitude, obd, wanda and lobs have no refit, as published; `+ refit` adds least squares on the same mask. lobs sorts
once and never updates its inverse, as released; but here that is the inverse of the Hessian with its ridge, dead inputs
are pruned first, and biases stay. column (SparseGPT's mask) and exact, without its second choice, end with a refit.
"""

from functools import partial
from math import ceil
from typing import Any

import result
import trained
from claims import key

from yoco.rng import Rng
from yoco.sparsify import Pruner
from yoco.sparsify.calibration import calibration
from yoco.sparsify.study import BATCH

KEPT = {"lenet-300-100": (0.07, 0.015), "lenet-5": (0.07, 0.01), "convnet:width=32": (0.1,)}
WAYS: dict[str, dict[str, Any]] = {
    "random": {"solver": "random", "refit": False},
    "magnitude": {"solver": "magnitude", "refit": False},
    "obd": {"solver": "obd", "refit": False},
    "wanda": {"solver": "wanda", "refit": False},
    "lobs": {"solver": "lobs", "refit": False},
    "magnitude + refit": {"solver": "magnitude"},
    "lobs + refit": {"solver": "lobs"},
    "column": {"solver": "column"},
    "exact": {"solver": "exact", "second": False},
}
VALUES = ("dense", "pruned", "retrained")


def main() -> None:
    """Every network, share, seed and way; then the table."""
    options = trained.options(
        __doc__,
        "runs/lobs-table",
        "lobs_table",
        known={"networks": KEPT},
        networks=list(KEPT),
        seeds=3,
        steps=600,
        images=2048,
    )
    trials = trained.Trials(options, steps=options.steps, images=options.images)
    rows = [
        row
        for network in options.networks
        for seed in range(options.seeds)
        for kept in KEPT[network]
        for row in judged(trials, network, seed, kept, options)
    ]
    if not trials.complete():
        return
    content = {
        **trained.about(trials, options),
        "protocol": "prune, then retrain with Adam",
        "steps": options.steps,
        "images": options.images,
        "epochs": {network: trials.epochs[network] for network in options.networks},
        "ways": WAYS,
        "rows": result.summary(rows, ("network", "kept", "way"), ("seed",), VALUES),
    }
    print(f"written to {result.write(options.name, folder=options.results, **content)}")


def judged(trials: Any, network: str, seed: int, kept: float, options: Any) -> list[dict[str, Any]]:
    """All ways on one network at one share."""
    decided = trials.keep(f"zeros-{network}-{kept}-{seed}", partial(shared, trials, network, seed, kept, options), True)
    rows = []
    for way, how in WAYS.items() if decided else ():
        made = partial(trial, trials, network, seed, {**how, "allocation": decided["zeros"]}, options)
        row = trials.keep(f"{network}-{kept}-{seed}-{way}-{key(**how)}", made)
        if row:
            rows.append({**row, "network": network, "kept": kept, "seed": seed, "way": way})
    return rows


def trial(trials: Any, network: str, seed: int, how: dict[str, Any], options: Any) -> dict[str, Any]:
    """Test errors in per cent, and seconds."""
    epochs = options.steps / ceil(len(trials.data.train) / BATCH)
    found = trials.study(network, seed, images=options.images, options=how, retrain=epochs).run()
    return {"seconds": dict(found.seconds), **{stage: 100 - value for stage, value in found.accuracy.items()}}


def shared(trials: Any, network: str, seed: int, kept: float, options: Any) -> dict[str, Any]:
    """Zeros of each layer."""
    study = trials.study(network, seed, sparsity=1 - kept)
    dense = study.fresh()
    study.train(dense)
    drawn = calibration(dense, trials.data.train, Rng(seed).child("zeros"), options.images)
    pruned = Pruner()(dense, drawn, sparsity=1 - kept, rng=Rng(seed))
    return {"zeros": {name: count.total - count.kept for name, count in pruned.masks.by_layer().items()}}


if __name__ == "__main__":
    main()
