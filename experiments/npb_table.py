"""Pruning at initialisation on Fashion-MNIST: accuracy, FLOPs, effective nodes and paths, and seconds to prune.

    python experiments/npb_table.py --part 0 2 &
    python experiments/npb_table.py --part 1 2
    python experiments/npb_table.py            # writes the result once all trials are there

Networks are trained for very few epochs, the same for all; the papers train for 100 and more.
"""

from functools import partial
from typing import Any

import result
import trained
from claims import key

from yoco.sparsify.study import Study

WAYS: dict[str, dict[str, Any]] = {
    "random": {"at_init": "random", "options": {"layout": "uniform"}},
    "erk": {"at_init": "random", "options": {"layout": "erk"}},
    "snip": {"at_init": "snip"},
    "synflow": {"at_init": "synflow"},
    "phew": {"at_init": "phew"},
    "npb": {"at_init": "npb"},
}
"""way -> how masks are made; both are in the names of kept trials, and the README names the method instead."""
VALUES = ("accuracy", "flops", "nodes", "log10_paths", "seconds")


def main() -> None:
    """Every network, sparsity, way and seed; then the table."""
    options = trained.options(
        __doc__,
        "runs/npb-table",
        "npb_table",
        networks=["convnet:width=32", "resnet20"],
        sparsities=[0.68, 0.9, 0.97, 0.99],
        known={"ways": WAYS},
        ways=list(WAYS),
        seeds=1,
        epochs=1,
        lr=0.004,
    )
    trials = trained.Trials(options, training=[options.epochs, options.lr, "no drop ahead"])
    cells = [
        (network, seed, sparsity, way)
        for seed in range(options.seeds)
        for network in options.networks
        for sparsity in options.sparsities
        for way in options.ways
    ]
    rows = []
    for network, seed, sparsity, way in cells:
        made = partial(trial, trials, network, seed, sparsity, way, options)
        if row := trials.keep(f"{network}-{sparsity}-{way}-{seed}-{key(**WAYS[way])}", made):
            rows.append({**row, "network": network, "sparsity": sparsity, "way": way, "seed": seed})
    if not trials.complete():
        return
    content = {
        **trained.about(trials, options),
        "protocol": "masks, then SGD",
        "epochs": options.epochs,
        "lr": options.lr,
        "first_lr": options.lr,
        "ways": WAYS,
        "rows": result.summary(rows, ("network", "sparsity", "way"), ("seed",), VALUES),
    }
    print(f"written to {result.write(options.name, folder=options.results, **content)}")


def trial(trials: Any, network: str, seed: int, sparsity: float, way: str, options: Any) -> dict[str, Any]:
    """One network with masks, trained."""
    training: dict[str, Any] = {"epochs": options.epochs, "lr": options.lr, "bf16": trials.bf16}
    study = Study(data=trials.data, network=network, seed=seed, sparsity=sparsity, **training, **WAYS[way])
    found = study.run()
    paths = found.measure.effective
    assert paths is not None
    return {
        "accuracy": found.accuracy["trained"],
        "flops": found.measure.total.flops,
        "dense_flops": found.measure.total.dense_flops,
        "nodes": paths.nodes,
        "all_nodes": paths.all_nodes,
        "log10_paths": paths.log10_paths if paths.nodes else 0.0,
        "seconds": found.seconds["pruned"],
        "training_seconds": found.seconds["trained"],
    }


if __name__ == "__main__":
    main()
