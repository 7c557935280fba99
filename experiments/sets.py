"""What the comparisons of methods say of a condensed set: what it holds, and what it is worth."""

from argparse import Namespace
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import yaml
from claims import Folder

import yoco
from yoco import registry
from yoco.condense import METHODS, settings_of
from yoco.data import Source, Splits


@dataclass(frozen=True)
class Bench:
    """What all trials of a comparison share."""

    folder: Folder
    data: Splits
    options: Namespace

    def fewer(self, method: str, ipc: int, **changes: Any) -> dict[str, int]:
        """The number of episodes, if the options ask for fewer than are published, or than the changes have."""
        asked = self.options.episodes
        return {"episodes": asked} if 0 < asked < settings(method, self.data, ipc, **changes)["episodes"] else {}

    def judges(self, seed: int) -> range:
        """The seeds of the networks that judge the set of a seed."""
        many = self.options.networks_per_set
        return range(seed * many, (seed + 1) * many)

    def common(self, *names: str) -> dict[str, Any]:
        """What the result says of the data and the seeds, and these options."""
        options, train = self.options, self.data.train
        made = {"data": train.name, "checksum": train.checksum, "protocol": "idc", "seeds": list(range(options.seeds))}
        return {**made, **{name: getattr(options, name) for name in ("networks_per_set", *names)}}


def named(method: str) -> tuple[str, dict[str, Any]]:
    """`readout:nested=true` -> readout, and what is changed in its settings."""
    name, changes = registry.split_options("method", method)
    return name, {key: value_of(word) for key, word in changes.items()}


def value_of(word: str) -> Any:
    """What a word means, in YAML, which takes 1e-3 for a word, or as a number."""
    value = yaml.safe_load(word)
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def settings(method: str, data: Splits, ipc: int, **changes: Any) -> dict[str, Any]:
    """The published settings of a method for this data, with some of them changed."""
    name, own = named(method)
    chosen: Any = settings_of(name, data.train.name, ipc, data.train.shape, **{**own, **changes})
    return asdict(chosen)


def warm_up() -> None:
    """Load what methods and networks need, so that the first trial is not charged for it."""
    made = yoco.condense("digits", "dsa", ipc=1, progress=False, episodes=1, outer=1)
    yoco.evaluate(made, "digits", epochs=2, seeds=1, progress=False)


def held(made: yoco.CondensedSet, method: str) -> dict[str, Any]:
    """Training images per class, bytes of pixels and labels of both kinds, who made the labels, and the checksum."""
    kinds = getattr(registry.resolve("method", METHODS, named(method)[0]), "label_kinds", ())
    soft = kinds[0] if len(kinds) == 1 else str(made.config.get("labels", "teacher"))
    labels = "hard" if made.soft_labels is None else soft
    size = {"images": len(made) // len(made.classes), "bytes": made.nbytes}
    return {**size, "labels": labels, "checksum": made.checksum}


def worth(examples: yoco.CondensedSet | Source, data: Splits, seeds: Iterable[int], **how: Any) -> dict[str, Any]:
    """Accuracies of new networks that were trained on these images alone: at the end, and at the best measurement."""
    found = yoco.evaluate(examples, data, protocol="idc", seeds=tuple(seeds), progress=False, **how)
    (row,) = found.results
    done = {"epochs": found.epochs, "measured_seconds": found.seconds, "judged_on": found.device}
    return {"last": list(row.last), "best": list(row.best), **done}


def by_network(trials: Iterable[dict[str, Any] | None]) -> list[dict[str, Any]]:
    """A row for each network of the trials that are there and have any."""
    return [
        {**trial, "last": last, "best": best}
        for trial in trials
        if trial and "last" in trial
        for last, best in zip(trial["last"], trial["best"], strict=True)
    ]
