"""Select some classes of a data set or a condensed set, and merge condensed sets: to learn task by task."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from yoco.condensed import CondensedSet
from yoco.data.source import Source, Splits
from yoco.device import cpu_by_default
from yoco.registry import unknown

MADE = ("method", "order", "space", "seed", "source", "config", "history")
"""What a merged set keeps of each of its parts: how it was made, and what was done with it since."""


@cpu_by_default
def only(part: Any, names: Sequence[str]) -> Any:
    """Select the images of these classes, which become the classes 0, 1 and so on in this order.

    part: both halves of a data set, a source, or a condensed set; the result is of the same kind. Mean and standard
    deviation stay those of the whole. Soft labels keep the columns of these classes; if all rows summed to 1, they are
    scaled to sum to 1 again, and rows without a share of these classes become one-hot.

    Raises:
        ValueError: a class is unknown or given twice, there are fewer than two, none has an image, or the classes of a
            set in ZCA space would change, as it is evaluated by a fit on the images of all.
    """
    if isinstance(part, Splits):
        return Splits(only(part.train, names), only(part.test, names))
    if not isinstance(part, Source | CondensedSet):
        raise ValueError(f"only: needs data or a condensed set, got {type(part).__name__}")
    wanted, places = tuple(map(str, names)), {name: at for at, name in enumerate(part.classes)}
    if len({*wanted}) < max(2, len(wanted)):
        raise ValueError(f"only: needs at least two different classes, got {', '.join(wanted) or 'none'}")
    for name in wanted:
        if name not in places:
            raise unknown("class", name, part.classes)
    columns = torch.tensor([places[name] for name in wanted])
    numbers = torch.full((len(part.classes),), -1).index_copy(0, columns, torch.arange(len(wanted)))
    labels = numbers.to(part.labels.device)[part.labels]
    rows = torch.nonzero(labels >= 0).flatten()
    if isinstance(part, Source):
        return replace(part.take(rows), labels=labels[rows], classes=wanted)
    if part.space == "zca" and wanted != part.classes:
        rule = "a set in ZCA space must keep its classes, as evaluation whitens by a fit on the images of all of them"
        raise ValueError(f"only: {rule}, got {', '.join(wanted)}")
    if not len(rows):
        raise ValueError(f"only: needs cells of these classes, got none of {', '.join(wanted)}")
    return _cells(part, rows[torch.argsort(labels[rows], stable=True)], labels, wanted, columns)


def _cells(s: CondensedSet, rows: Tensor, labels: Tensor, names: tuple[str, ...], columns: Tensor) -> CondensedSet:
    soft = None if s.soft_labels is None else s.soft_labels[rows][:, columns]
    if soft is not None and s.soft_labels is not None and _shares(s.soft_labels):
        soft = torch.where(soft.sum(1, keepdim=True) > 0, soft, one_hot(labels[rows], len(names)).to(soft.dtype))
        soft = soft / soft.sum(1, keepdim=True)
    scores = None if s.scores is None else s.scores[rows]
    gone = ("checksum", "images") if len(names) < len(s.classes) else ()  # of the whole data
    source = {name: value for name, value in s.source.items() if name not in gone}
    parts: dict[str, Any] = {"cells": s.cells[rows], "labels": labels[rows], "soft_labels": soft, "scores": scores}
    return replace(s, classes=names, source=source, **parts)


def _shares(soft: Tensor) -> bool:
    return bool((soft >= 0).all()) and torch.allclose(soft.sum(1), soft.new_ones(len(soft)), atol=1e-3)


@cpu_by_default
def merge(*sets: CondensedSet) -> CondensedSet:
    """Merge condensed sets: classes are joined by name, and each class has the cells of all sets, in turn.

    Mean and standard deviation are those of all images that the sets were made from; if one set does not record their
    number, all sets count equally. If one set has soft labels, the labels of the others become one-hot; classes that a
    set lacks are 0 in its soft labels. Scores are dropped, as they are not comparable; so is the order of the cells,
    unless each class comes from one set and all sets have the same order. `config` records under "parts" how each set
    was made; learned numbers, such as the step size for protocol mtt, are kept if all sets have exactly the same.

    Raises:
        ValueError: no set is given, or they differ in factor, size, channels, pixel space or whitening.
    """
    if not sets or not all(isinstance(each, CondensedSet) for each in sets):
        raise ValueError(
            f"merge: needs condensed sets, got {', '.join(type(each).__name__ for each in sets) or 'none'}"
        )
    first, names = sets[0], tuple(dict.fromkeys(name for each in sets for name in each.classes))
    for word in ("factor", "shape", "space", "whitening"):
        for each in sets:
            if getattr(each, word) != getattr(first, word):
                rule = f"merge: sets must have the same {word}"
                raise ValueError(f"{rule}, got {getattr(first, word)} and {getattr(each, word)}")
    alone = len(names) == sum(len(each.classes) for each in sets)
    mean, std = _statistics(sets)
    parts = [_known(each, names) for each in sets]
    soft = [one_hot(labels, len(names)).float() if some is None else some for labels, some in parts]
    whole = replace(
        first,
        cells=torch.cat(_pixels(sets)),
        labels=torch.cat([labels for labels, _ in parts]),
        classes=names,
        mean=mean,
        std=std,
        method=_one({each.method for each in sets}, "merged"),
        order=_one({each.order for each in sets} if alone else {"condensed"}, "condensed"),
        seed=None,
        source=_source(sets),
        config=_config(sets),
        history=({"step": "merge", "sets": [each.checksum for each in sets]},),
        versions=_common([each.versions for each in sets]),
        soft_labels=None if all(some is None for _, some in parts) else torch.cat(soft),
        scores=None,
    )
    return whole.take(torch.arange(len(whole)))


def _known(s: CondensedSet, names: tuple[str, ...]) -> tuple[Tensor, Tensor | None]:
    """Labels [n] and soft labels [n, classes] of a set among these names."""
    columns = torch.tensor([names.index(name) for name in s.classes])
    if s.soft_labels is None:
        return columns[s.labels], None
    wide = s.soft_labels.new_zeros(len(s), len(names))
    return columns[s.labels], wide.index_copy(1, columns, s.soft_labels)


def _pixels(sets: Sequence[CondensedSet]) -> list[Tensor]:
    """The cells of each set, in one type."""
    if len({each.cells.dtype for each in sets}) == 1:
        return [each.cells for each in sets]
    return [each.pixels for each in sets]


def _statistics(sets: Sequence[CondensedSet]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over the images of all sets; the same data count once."""
    sets = _of_each_data(sets)
    if len({(each.mean, each.std) for each in sets}) == 1:
        return sets[0].mean, sets[0].std
    counts = [each.source.get("images") for each in sets]
    weights = torch.tensor([1.0 if None in counts else float(count or 0) for count in counts], dtype=torch.float64)
    means, stds = (torch.tensor([getattr(s, name) for s in sets], dtype=torch.float64) for name in ("mean", "std"))
    share = (weights / weights.sum())[:, None]
    mean = (share * means).sum(0)
    spread = (share * (stds.square() + means.square())).sum(0) - mean.square()
    return tuple(mean.tolist()), tuple(spread.clamp(min=1e-12).sqrt().tolist())


def _of_each_data(sets: Sequence[CondensedSet]) -> list[CondensedSet]:
    """One of the sets that were made from the same images."""
    return list({each.source.get("checksum") or at: each for at, each in enumerate(sets)}.values())


def _source(sets: Sequence[CondensedSet]) -> dict[str, Any]:
    """What all sets record alike of their data, and the total number of images."""
    counts = [each.source.get("images") for each in _of_each_data(sets)]
    found = _common([each.source for each in sets])
    found.pop("images", None)
    return found if None in counts else {**found, "images": sum(int(count) for count in counts if count is not None)}


def _config(sets: Sequence[CondensedSet]) -> dict[str, Any]:
    """How each part was made, and the entries that hold for the whole set, too."""
    learned = _common([each.config.get("learned", {}) for each in sets])
    whole = {"whitening": dict(sets[0].whitening), "learned": learned}
    parts = [{name: each.header[name] for name in MADE} | {"history": [*each.history]} for each in sets]
    return {"parts": parts, **{name: value for name, value in whole.items() if value}}


def _common(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries that are the same in all of them."""
    return {name: value for name, value in parts[0].items() if all(part.get(name) == value for part in parts)}


def _one(words: set[str], otherwise: str) -> str:
    return words.pop() if len(words) == 1 else otherwise
