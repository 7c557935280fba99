"""Names of classes: told apart, and compared with those of other data, where numbers may stand for names."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any


def repeated(names: Sequence[str]) -> str | None:
    """The first name that stands there more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """The names; each one that several classes share is followed by its label."""
    several = {name for name, count in Counter(names).items() if count > 1}
    return tuple(f"{name} {label}" if name in several else name for label, name in enumerate(names))


def misplaced(classes: Sequence[str], others: Sequence[str]) -> str | None:
    """The first name with another position among the others; numbers that stand for other names have none.

    classes, others: as many names, in the order of the labels.
    """
    found = places(classes, others)
    if found is None and _counted(classes):
        return None
    if found is None:
        known = {name: at for at, name in enumerate(others)}
        found = tuple(known.get(name, at) for at, name in enumerate(classes))
    return next((name for at, name in enumerate(classes) if found[at] != at), None)


def of_others(classes: Sequence[str], others: Sequence[str]) -> bool:
    """Whether all names of both are numbers and none is shared, so that these are other classes.

    If `classes` are the numbers from 0 up, as in a converted set, 01 among the others is 1. The same numbers, written
    in any way, are the same classes.
    """
    if places(classes, others) is not None or not all(name.isdecimal() for name in (*classes, *others)):
        return False
    read: Callable[[str], Any] = int if _counted(classes) else str
    return {*map(read, classes)}.isdisjoint(map(read, others))


def unshared(classes: Sequence[str], others: Sequence[str]) -> bool:
    """Whether no name is shared, unless both are the same numbers, or one is numbers from 0 up in place of names."""
    if places(classes, others) is not None or _counted(classes) or _counted(others):
        return False
    return {*classes}.isdisjoint(others)


def _counted(classes: Sequence[str]) -> bool:
    return tuple(classes) == tuple(map(str, range(len(classes))))


def places(classes: Sequence[str], others: Sequence[str]) -> tuple[int, ...] | None:
    """The position of each class among the others: by name or, if all are numbers, by value, so that 00 is 0.

    None if they do not match one to one; numbers may still stand for names, see `by_place`.
    """
    numbers = all(name.isdecimal() for name in (*classes, *others))
    kinds: tuple[Callable[[str], Any], ...] = (str, int) if numbers else (str,)
    for read in kinds:
        known = {read(name): at for at, name in enumerate(others)}
        if len(known) == len(others) == len(classes) and {*map(read, classes)} == {*known}:
            return tuple(known[read(name)] for name in classes)
    return None


def by_place(classes: Sequence[str], others: Sequence[str]) -> bool:
    """Whether classes are the numbers from 0 up, as in a converted set, which stand for the others' names in order.

    Not if there are numbers among the others: then names decide.
    """
    counted = tuple(classes) == tuple(map(str, range(len(others))))
    return counted and not any(name.isdecimal() for name in others)
