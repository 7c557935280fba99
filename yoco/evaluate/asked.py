"""Checks of the arguments of `evaluate`, ahead of all work."""

import pickle
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from io import BytesIO
from numbers import Integral
from types import FunctionType
from typing import Any

from torch import Tensor, nn

from yoco.condensed import CondensedSet
from yoco.data.source import Source
from yoco.registry import unknown
from yoco.train import Recipe
from yoco.whole import whole_number

BASELINES = ("random", "full")


def check_kind(examples: Any) -> None:
    """Check that examples are something that networks can learn.

    Raises:
        ValueError: they are neither a condensed set nor a source.
    """
    if not isinstance(examples, CondensedSet | Source):
        rule = "needs a condensed set, which yoco.load opens, or a Source (yoco.data.load(...).train, from_arrays)"
        raise ValueError(f"evaluate: {rule}, got {type(examples).__name__}")


def seeds_of(seeds: Any) -> tuple[int, ...]:
    """The given seeds, or that many from 0 up.

    Raises:
        ValueError: there are none, two are equal, or one is not a whole number.
    """
    many = isinstance(seeds, Iterable) and not (isinstance(seeds, Tensor) and seeds.ndim == 0)
    given: Iterable[Any] = seeds if many else range(whole_number("evaluate: seeds", seeds))
    numbers = tuple(whole_number("evaluate: seeds", each) for each in given)
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError(f"evaluate: seeds must be a count of at least 1, or different numbers, got {seeds}")
    return numbers


def check_numbers(
    counts: Mapping[str, int | None], same_compute: bool, networks: tuple[str, ...], baselines: Sequence[str]
) -> None:
    """Check counts, by name, and what goes with them.

    Raises:
        ValueError: a count is not a whole number of at least 1, a baseline is unknown, two options exclude each other,
            or other processes cannot import a network.
    """
    epochs, full_epochs = counts["epochs"], counts["full_epochs"]
    if epochs is not None and same_compute:
        raise ValueError(f"evaluate: give only one of epochs and same_compute, got epochs={epochs} and same_compute")
    for name, value in counts.items():
        if value is not None and not isinstance(value, Integral):
            raise ValueError(f"evaluate: {name} must be a whole number, got {value!r}")
        if value is not None and value < 1:
            raise ValueError(f"evaluate: {name} must be at least 1, got {value}")
    if not networks:
        raise ValueError("evaluate: networks must name at least one, got none")
    if isinstance(baselines, str):
        raise ValueError(f"evaluate: baselines must be a list of names, got {baselines!r}")
    if full_epochs is not None and "full" not in baselines:
        raise ValueError(f"evaluate: full_epochs can only be used with the baseline full, got {full_epochs} without it")
    for name in baselines:
        if name not in BASELINES:
            raise unknown("baseline", name, BASELINES)
    check_reachable(networks, counts["jobs"] or 1)


def check_reachable(networks: tuple[str, ...], jobs: int) -> None:
    """Check that other processes can import the networks, which they cannot if a notebook defines them.

    Raises:
        ValueError: they cannot.
    """
    if jobs < 2 or hasattr(sys.modules["__main__"], "__file__"):
        return
    for name in networks:
        if isinstance(name, str) and name.startswith("__main__:"):
            rule = "networks must be in a module that other processes can import if jobs is above 1"
            raise ValueError(f"evaluate: {rule}, got {name!r}, which is in no file")


def check_sent(recipes: Sequence[Recipe], teacher: nn.Module | None, jobs: int) -> None:
    """Check that other processes can import all parts of the recipes and of the teacher, such as augmentations.

    Raises:
        ValueError: a notebook defines one of them, so that it is in no file.
    """
    if jobs < 2 or hasattr(sys.modules["__main__"], "__file__"):
        return
    parts = _Parts(BytesIO())
    with suppress(Exception):  # what is found by then counts; what cannot be sent is said where it is sent
        parts.dump((recipes, teacher))
    if parts.own:
        rule = "recipes, augmentations and teachers must be in a module that other processes can import"
        got = f"'__main__:{parts.own[0]}', which is in no file"
        raise ValueError(f"evaluate: {rule} if jobs is above 1, got {got}")


class _Parts(pickle.Pickler):
    """Pickles all that would be sent, except tensors, and notes the classes and functions of the main module."""

    def __init__(self, file: BytesIO) -> None:
        super().__init__(file)
        self.own: list[str] = []

    def reducer_override(self, obj: Any) -> Any:
        """Called for every part; tensors are left out."""
        kind = obj if isinstance(obj, type | FunctionType) else type(obj)
        if kind.__module__ == "__main__":
            self.own.append(kind.__qualname__)
        return (int, ()) if isinstance(obj, Tensor) else NotImplemented
