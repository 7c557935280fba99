"""What a set is worth: networks trained on it from scratch, under a named protocol, and their accuracy on real test data."""

import time
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from platform import python_version

import torch

import yoco
from yoco import data as data_sets
from yoco import networks as architectures
from yoco.condensed import CondensedSet
from yoco.data.source import Source, Splits
from yoco.device import pick
from yoco.evaluate.result import Result, Row
from yoco.evaluate.trials import Curve, Plan, Trial, random_subset, run
from yoco.protocols import recipe
from yoco.registry import unknown
from yoco.rng import Rng
from yoco.train import Normalise, Recipe
from yoco.verb import make_callable

__all__ = ["BASELINES", "Result", "Row", "evaluate"]

BASELINES = ("random", "full")
FULL_EPOCHS = 10


def evaluate(
    examples: CondensedSet | Source,
    data: str | Path | Splits | None = None,
    *,
    protocol: str = "idc",
    epochs: int | None = None,
    same_compute: bool = False,
    networks: str | Sequence[str] = ("convnet",),
    seeds: int | Sequence[int] = 2,
    jobs: int = 1,
    device: str = "auto",
    bf16: bool = False,
    baselines: Sequence[str] = (),
    full_epochs: int | None = None,
    progress: bool = True,
    curve: bool = False,
) -> Result:
    """Train networks on a condensed set, or on any images, from scratch, and measure them on the test half of `data`.

    data: by default those the set says it was made from; its images are not trained on, except in the baselines.
    epochs: in place of the protocol's. same_compute: the protocol's divided by factor^2, so that the decoded images of a
    set cost as many image passes as whole images of its size would.
    seeds: how many, 0 and up, or which; each gives a new network. jobs: processes that train at the same time; a script
    that asks for more than one guards its main part with `if __name__ == "__main__"`.
    baselines: "random": for each seed another random real subset with as many images of each class as the set has room
    for (cells / factor^2, rounded up), trained for as many image passes; "full": all training images, for `full_epochs`
    epochs or as many image passes, and 10 epochs at least. Both are normalised as the set is.
    Accuracy is measured four times, every quarter of the epochs, and at the end: `last` is the end, `best` the highest.
    The standard deviation is that of a sample (over n - 1), and 0.0 for one seed. curve: keep all measurements.

    Raises:
        ValueError: an unknown name, a number below its least, or a set that does not fit the data.
    """
    names = (networks,) if isinstance(networks, str) else tuple(networks)
    numbers = _seeds(seeds)
    _check_numbers(epochs, same_compute, jobs, full_epochs, names)
    _check_baselines(baselines)
    where = pick(device)
    splits = _splits(examples, data)
    _check_fit(examples, splits.test, names)
    budget, rows = _rows(examples, splits, protocol, epochs, same_compute, baselines, full_epochs)
    trials = [
        Trial(name=name, network=network, seed=seed, recipe=made, images=images)
        for name, (made, images) in rows.items()
        for network in names
        for seed in numbers
    ]
    plan = Plan(
        examples=examples.to("cpu") if isinstance(examples, Source) else examples,
        splits=Splits(splits.train.to("cpu"), splits.test.to("cpu")),
        budget=budget,
        normalise=Normalise(examples.mean, examples.std),
        device=where,
        autocast=torch.bfloat16 if bf16 else None,
        trials=tuple(trials),
    )
    began = time.monotonic()
    curves = run(plan, jobs, progress)
    found = _gather(plan.trials, curves, len(numbers), curve)
    return _result(examples, splits, protocol, found, time.monotonic() - began, where)
