"""Shares: samples requested by class name, whether a rule can give them, and the order in which rules see samples."""

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from yoco.condensed import CondensedSet
from yoco.data.source import Source
from yoco.prune.quotas import QUOTAS, quotas, water
from yoco.prune.rules import Rule
from yoco.prune.sampling import turn_in
from yoco.registry import unknown


def counts_of(data: CondensedSet | Source, kind: str, shares: Mapping[Any, int] | None) -> list[int]:
    """How many samples `shares` requests of each class, by its name or the label that it had; [] without shares.

    Raises:
        ValueError: shares without the quota given, or the other way round; no mapping, an unknown class, or more than
            a class has.
    """
    if (shares is not None) != (kind == "given"):
        got = f"the quota {kind} {'with' if shares else 'without'} shares"
        raise ValueError(f"prune: shares and the quota given must be used together, got {got}")
    if shares is None:
        return []
    if not isinstance(shares, Mapping):
        raise ValueError(f"prune: shares must be a mapping from class names to numbers of samples, got {shares!r}")
    named = {str(name): count for name, count in shares.items()}
    for name in named:
        if name not in data.classes:
            raise unknown("class", name, data.classes)
    for name, had in zip(data.classes, data.counts, strict=True):
        count = named.get(name, 0)
        if not isinstance(count, Integral) or not 0 <= count <= had:
            raise ValueError(f"prune: shares of class {name!r} must be in 0..{had}, got {count!r}")
    return [int(named.get(name, 0)) for name in data.classes]


def check_classes(
    rule: Rule, data: CondensedSet | Source, total: int, kind: str, given: list[int], floor: float
) -> None:
    """Refuse, before any training, quotas that cannot be met and rules that leave out too many samples.

    Under the quota floor the whole set alone is checked, as it is not yet known which classes must give more than the
    rule would keep by itself.

    Raises:
        ValueError: it cannot be answered.
    """
    if kind not in QUOTAS:
        raise unknown("quota", kind, QUOTAS)
    if kind == "none":
        rule.left(len(data), total)
        return
    available = list(data.counts)
    counts = quotas(kind, available, total, given=given, natural=water(available, total), floor=floor)
    if kind == "floor":
        rule.left(len(data), total)
        return
    for name, had, count in zip(data.classes, available, counts, strict=True):
        try:
            rule.left(had, count)
        except ValueError as error:
            raise ValueError(f"{error} in class {name!r}") from None


def places(data: CondensedSet | Source) -> Tensor:
    """The order in which rules see the samples: long [n]. Among equal ones the first counts as the better.

    A condensed set goes class by class, so that pruning twice equals pruning once. In other data the classes take
    turns, so that no class is favoured where many samples are equally good.
    """
    labels, classes = data.labels.cpu(), len(data.classes)
    turn = 0 if isinstance(data, CondensedSet) else turn_in(labels, torch.bincount(labels, minlength=classes))
    return torch.argsort(turn * classes + labels, stable=True)
