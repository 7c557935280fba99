"""Evaluate a set: train networks on it from scratch by a named protocol, and measure their accuracy on real images."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from platform import python_version
from typing import Any

import torch
from torch import nn

import yoco
from yoco import data as data_sets
from yoco import networks as architectures
from yoco.condensed import CondensedSet
from yoco.data.names import misplaced, of_others, unshared
from yoco.data.source import Source, Splits
from yoco.data.whitened import plain, refit
from yoco.device import compute_type, cpu_by_default, pick
from yoco.evaluate.asked import BASELINES, check_kind, check_numbers, check_sent, seeds_of
from yoco.evaluate.result import Interrupted, Result, Row, gathered
from yoco.evaluate.teachers import with_teachers
from yoco.evaluate.trials import Measured, Plan, Trial, evened, run, threads_of
from yoco.protocols import LEARNED, PROTOCOLS, recipe
from yoco.recipes import Distilled
from yoco.rng import Rng
from yoco.train import Normalise
from yoco.verb import make_callable

__all__ = ["BASELINES", "Interrupted", "Result", "Row", "evaluate"]

FULL_EPOCHS = 10


@cpu_by_default
def evaluate(
    examples: CondensedSet | Source,
    data: Any = None,
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
    measurements: int = 4,
    curve: bool = False,
    confusion: bool = False,
    teacher: nn.Module | None = None,
    teacher_epochs: int | None = None,
    weights: Any = None,
) -> Result:
    """Train networks on a condensed set, or on any images, from scratch, and measure them on the test half of `data`.

    data: as in `yoco.data.load`, brought into the size and colours that the set records of its own data; by default the
    data that it was made from, by name or path. Only baselines and teachers are trained on its training half.
    protocol: a name, or `module:function` of (data name, (C, H, W), factor, images per class) that returns a
    `yoco.train.Recipe`. networks: names, or `module:Class`, with their options, see `yoco.networks.build`.
    epochs: in place of the protocol's. same_compute: divide the protocol's epochs by factor^2, or by what makes the
    decoded images of the set cost as many image passes as whole images in their room would.
    seeds: how many, from 0 up, or which; each gives a new network. jobs: how many processes train at the same time; a
    script that uses more than one must guard its main part with `if __name__ == "__main__"`.
    baselines: "random": for each seed a new random real subset with as many images of each class as the set has room
    for (cells / factor^2, rounded up), trained for as many image passes; "full": all training images, for `full_epochs`
    epochs or, by default, as many image passes, but at least 10 epochs. Both are normalised as the set is.
    For a set in ZCA space, the baselines and the test images are whitened by a fit on the training half, as it was.
    Accuracy is measured `measurements` times, but at most once an epoch, at even intervals and at the end: `last` is
    the final accuracy, `best` the highest.
    teacher: for protocols whose networks learn a teacher's outputs for each augmented image instead of labels: a module
    in place of the default, a network of the same kind trained on the training half for `teacher_epochs` (20). It maps
    images [n, C, H, W], normalised as the set says, to logits [n, classes] in the class order of the data.
    weights: factors [n] of at least 0 of each example's cross-entropy, such as those of CRAIG (`Selection.weights_of`);
    they are scaled to a mean of 1.
    The standard deviation is that of a sample (over n - 1), and 0.0 for one seed. curve: keep all measurements.
    confusion: count at the end as which class the test images of each class are predicted; see `Row.by_class`.

    Raises:
        ValueError: an unknown name, a number below its minimum, a set that does not fit the data, or that was whitened
            by other images or does not say by which, or a training that diverges.
        Interrupted: Ctrl-C during the trials; its `result` has those that were done.
        Exception: whatever a trial raises; if others were done before, its `partial` is the Result of those.
    """
    check_kind(examples)
    names = (networks,) if isinstance(networks, str) else tuple(networks)
    numbers, where = seeds_of(seeds), pick(device)
    counts = {"epochs": epochs, "jobs": jobs, "full_epochs": full_epochs, "measurements": measurements}
    check_numbers({**counts, "teacher_epochs": teacher_epochs}, same_compute, names, baselines)
    splits = _fitting(examples, data, names)
    rows = _rows(examples, splits.train, protocol, epochs, same_compute, baselines, full_epochs)
    check_sent([row.recipe for row in rows], teacher, jobs)
    seen, normalise = _alike(examples, splits, rows)
    plan = Plan(
        examples=examples.to("cpu") if isinstance(examples, Source) else examples,
        splits=seen,
        budget=_budget(examples),
        normalise=normalise,
        device=where,
        autocast=compute_type(bf16, where),
        trials=tuple(replace(row, network=name, seed=seed) for row in rows for name in names for seed in numbers),
        measurements=measurements,
        confusion=confusion,
        weights=None if weights is None else evened(weights, len(examples), rows[0].recipe),
    )
    began, found = time.monotonic(), dict[int, Measured]()
    plan, teachers = with_teachers(plan, protocol, teacher, teacher_epochs, progress)
    about: dict[str, Any] = {"protocol": protocol, "epochs": rows[0].recipe.epochs, "teachers": teachers}
    about |= {**_images(examples, splits), **_how(plan), **_machine(where, min(jobs, len(plan.trials)))}

    def result(found: Mapping[int, Measured]) -> Result:
        rows, seconds = gathered(plan.trials, found, len(numbers), curve), round(time.monotonic() - began, 2)
        return Result(results=rows, seconds=seconds, **about)

    try:
        run(plan, jobs, progress, found)
    except KeyboardInterrupt:
        raise Interrupted(result(found) if found else None) from None
    except Exception as error:
        if found:
            vars(error)["partial"] = result(found)
        raise
    return result(found)


def _images(examples: CondensedSet | Source, splits: Splits) -> dict[str, Any]:
    """What a result records of the set and of the real images."""
    storage = examples.storage if isinstance(examples, CondensedSet) else ""
    own = {"set": repr(examples), "set_checksum": examples.checksum, "storage": storage}
    halves = {"checksum": splits.train.checksum, "test_checksum": splits.test.checksum}
    return {**own, "data": splits.train.name, **halves, "same_data": _same_data(examples, splits.train)}


def _how(plan: Plan) -> dict[str, Any]:
    """The parts of a plan that decide its results, and the classes of its confusions."""
    numbers = {"bf16": plan.autocast is not None, "measurements": int(plan.measurements)}
    classes = plan.splits.test.classes if plan.confusion else ()
    return {"weighted": plan.weights is not None, "classes": classes, **numbers}


def _machine(device: torch.device, jobs: int) -> dict[str, Any]:
    """The device, threads and versions that train the networks."""
    versions = {"yoco": yoco.__version__, "torch": torch.__version__, "python": python_version()}
    return {"threads": threads_of(jobs), "device": str(device), "versions": versions}


def _fitting(examples: CondensedSet | Source, data: Any, names: tuple[str, ...]) -> Splits:
    """The data to measure on, which fit the set and the networks."""
    splits = _splits(examples, data)
    _check_fit(examples, splits, names)
    return splits


def _splits(examples: CondensedSet | Source, data: str | Path | Splits | None) -> Splits:
    if isinstance(examples, Source):
        plain(examples)
    form = {} if isinstance(examples, Source) else examples.form
    return data_sets.load(made_from(examples) if data is None else data, **form)


def made_from(examples: CondensedSet | Source, who: str = "evaluate") -> str:
    """The name or the path of the data that a set was made from; who: the command, for messages.

    Raises:
        ValueError: the set does not say, or its data have neither.
    """
    if isinstance(examples, Source) and (examples.place or examples.name in data_sets.SOURCES):
        return examples.place or examples.name
    if isinstance(examples, Source) or examples.source.get("python"):
        raise ValueError(f"{who}: data must be given again for a set made from Python objects, got none")
    name = examples.source.get("data") or examples.source.get("name")
    if not name:
        raise ValueError(f"{who}: data must be given, as the set does not record what it was made from, got none")
    return str(name)


def _check_fit(examples: CondensedSet | Source, splits: Splits, names: tuple[str, ...]) -> None:
    test, count, own = splits.test, len(splits.test.classes), len(examples.classes)
    if own != count:
        raise ValueError(f"evaluate: the set must have the {count} classes of {test.name}, got {own}")
    strange = unshared(examples.classes, test.classes) and not _same_data(examples, splits.train)
    if strange or of_others(examples.classes, test.classes):
        theirs, ours = (f"{part[0]} to {part[-1]}" for part in (test.classes, examples.classes))
        raise ValueError(f"evaluate: the set must have the classes of {test.name}, {theirs}, got {ours}; give its data")
    if (name := misplaced(examples.classes, test.classes)) is not None:
        rule = f"the classes of the set must be in the order of {test.name}"
        raise ValueError(f"evaluate: {rule}, got {name!r} in another position")
    if examples.shape != test.shape:
        want, got = ("x".join(map(str, sides)) for sides in (test.shape, examples.shape))
        raise ValueError(
            f"evaluate: the images must be {want} like those of {test.name}, got {got}; give the data in that size"
        )
    for name in names:
        architectures.build(name, test.shape, len(test.classes), Rng(0))


def _alike(examples: CondensedSet | Source, splits: Splits, rows: Sequence[Trial]) -> tuple[Splits, Normalise]:
    """The data on the CPU, plain or whitened as the set was, and how images are normalised.

    The training half stays plain if no baseline and no teacher is trained on it.
    """
    train, test = splits
    if isinstance(examples, Source) or examples.space != "zca":
        return Splits(train.to("cpu"), test.to("cpu")), Normalise(examples.mean, examples.std)
    whiten = refit(examples.whitening, train, "evaluate")
    learned, white = len(rows) > 1 or isinstance(rows[0].recipe, Distilled), whiten(test)
    train = whiten(train) if learned else train
    return Splits(train.to("cpu"), white.to("cpu")), Normalise(white.mean, white.std)


def _budget(examples: CondensedSet | Source) -> tuple[int, ...]:
    """Whole images of each class that the set has room for."""
    return tuple(ceil(count / examples.factor**2) for count in examples.counts)


def _rows(
    examples: CondensedSet | Source,
    train: Source,
    protocol: str,
    epochs: int | None,
    same_compute: bool,
    baselines: Sequence[str],
    full_epochs: int | None,
) -> list[Trial]:
    """One trial of each row; the network and the seed are filled in later."""
    factor = examples.factor

    def row(name: str, factor: int, ipc: float, images: int, epochs: int | None) -> Trial:
        made = recipe(protocol, train.name, train.shape, factor, ipc, epochs)
        return Trial(name=name, network="", seed=0, recipe=made, images=images)

    name = "coreset" if isinstance(examples, Source) else "condensed"
    own = row(name, factor, max(examples.counts) / factor**2, len(examples), epochs)
    if PROTOCOLS.get(protocol, protocol) in LEARNED:
        own = replace(own, recipe=replace(own.recipe, lr=_learned_lr(examples, protocol)))
    if same_compute:
        own = replace(own, recipe=replace(own.recipe, epochs=own.recipe.shared(own.images, factor)).brief())
    passes, rows = own.recipe.epochs * own.recipe.seen(own.images), [own]
    if "random" in baselines:
        budget = _budget(examples)
        images = sum(min(count, len(members)) for count, members in zip(budget, train.by_class, strict=True))
        rows.append(row("random", 1, max(budget), images, max(1, round(passes / own.recipe.seen(images)))))
    if "full" in baselines:
        whole = full_epochs or max(FULL_EPOCHS, round(passes / len(train)))
        turns = ceil(whole * len(train) / own.recipe.seen(len(train)))
        rows.append(row("full", 1, max(train.counts), len(train), turns))
    return rows


def _learned_lr(examples: CondensedSet | Source, protocol: str) -> float:
    """The step size that was learned with a set."""
    learned = {} if isinstance(examples, Source) else examples.config.get("learned", {})
    if "lr" not in learned:
        raise ValueError(f"evaluate: protocol {protocol} needs a set with a learned step size, got none; use dsa")
    return float(learned["lr"])


def _same_data(examples: CondensedSet | Source, train: Source) -> bool | None:
    stated = None if isinstance(examples, Source) else examples.source.get("checksum")
    return None if stated is None else stated == train.checksum


make_callable(__name__)
