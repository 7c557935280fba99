"""Checks of the arguments of `condense`, and what a set records of where its data are."""

from pathlib import Path
from typing import Any

from yoco import data as data_sets
from yoco import networks
from yoco.condense.labels import Labels
from yoco.condense.method import Method, Task
from yoco.condense.synthetic import check_factor
from yoco.data.source import Source
from yoco.data.whitened import SPACES
from yoco.protocols import TEACHER_EPOCHS
from yoco.rng import Rng
from yoco.whole import whole_number


def place_of(data: Any, real: Source, size: int | None, grey: bool) -> dict[str, Any]:
    """Name, size and colour of the data, as far as the name of `real` does not tell: `Task.where`."""
    name = str(data) if isinstance(data, str | Path) else real.name
    where = {} if (name, size, grey) == (real.name, None, False) else {"data": name, "size": size, "grey": grey}
    named = isinstance(data, str | Path) or real.name in data_sets.SOURCES
    return where if named else {**where, "python": True}


def table_name(data: str, shape: tuple[int, int, int] | None) -> str:
    """The data name that methods look up; for digits that are not 8x8 and grey, one in no table but not mirrored."""
    return "emnist" if data == "digits" and shape not in (None, (1, 8, 8)) else data


def check_minutes(minutes: float | None) -> None:
    """Check a time budget.

    Raises:
        ValueError: it is not above 0.
    """
    if minutes is not None and not minutes > 0:
        raise ValueError(f"condense: minutes must be above 0, got {minutes:g}")


def numbers_of(seed: Any, size: Any) -> tuple[int, int | None]:
    """A seed, and a size if one is given, as whole numbers of Python.

    Raises:
        ValueError: one is not a whole number.
    """
    return whole_number("condense: seed", seed), None if size is None else whole_number("condense: size", size)


def check_sink(sink: str | None, out: str | Path | None) -> None:
    """Check that a run with a sink has a folder.

    Raises:
        ValueError: it has none.
    """
    if sink and out is None:
        raise ValueError(f"condense: sink can only be used with out, got {sink!r} without it")


def teaching_of(epochs: int | None, asked: Labels) -> int:
    """Epochs of a teacher that labels the finished set.

    Raises:
        ValueError: they are not a whole number of at least 1, or no such teacher is used.
    """
    if epochs is None:
        return TEACHER_EPOCHS
    if (epochs := whole_number("condense: teacher_epochs", epochs)) < 1:
        raise ValueError(f"condense: teacher_epochs must be at least 1, got {epochs}")
    if not asked.afterwards:
        rule = "teacher_epochs can only be used with labels=teacher and a method without a teacher of its own"
        raise ValueError(f"condense: {rule}, got {epochs} with {asked.method}")
    return epochs


def has_teacher(method: Method) -> bool:
    """Whether a setting `teacher` names the method's network."""
    return isinstance(getattr(method, "teacher", None), str)


def check_network(name: str, method: Method, real: Source, asked: Labels) -> None:
    """Check the given network, even if nothing will use it.

    Raises:
        ValueError: the name is unknown, the network does not fit the images, or the method has its own.
    """
    if name == Task.network_name:
        return
    if has_teacher(method) and not asked.afterwards:
        raise ValueError(f"condense: network must be given by the setting teacher of {asked.method}, got {name!r}")
    networks.build(name, real.shape, len(real.classes), Rng(0))


def check_space(space: str, method: Method, real: Source) -> None:
    """Check that pixels can be learned in this space.

    Raises:
        ValueError: the space or the factor is unknown, or the factor does not divide the sides of whitened images.
    """
    if space not in SPACES:
        raise ValueError(f"condense: space must be {' or '.join(SPACES)}, got {space!r}")
    _, height, width = real.shape
    factor = getattr(method, "factor", 1)
    check_factor(factor)
    if space == "zca" and (height % factor or width % factor):
        rule = f"factor must divide the image size, {height}x{width}, with space=zca"
        raise ValueError(f"condense: {rule}, got {factor}")
