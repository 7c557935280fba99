"""Given: images that stand in place of the data of a study must be of their kind and their classes."""

from yoco.condensed import CondensedSet
from yoco.data.names import misplaced, of_others, unshared
from yoco.data.source import Source


def check_set(name: str, given: CondensedSet | Source, data: Source, labels: bool) -> None:
    """Refuse images of another space or size, of other classes, or of classes that the data have at other places.

    name: of the option that they are given by. labels: whether they are read; if not, some of the classes will do.

    Raises:
        ValueError: they are.
    """
    if given.space == "zca":
        raise ValueError(f"sparsify: {name} must have images that are not whitened, got whitened ones (ZCA)")
    some = not labels and len(given.classes) < len(data.classes)
    wanted, got = (f"{list(each.shape)} and {len(each.classes)} classes" for each in (data, given))
    if got != wanted and not (some and given.shape == data.shape):
        raise ValueError(f"sparsify: {name} must have images {wanted} as the data, got {got}")
    if of_others(given.classes, data.classes) or unshared(given.classes, data.classes):
        theirs, ours = (f"{part[0]} to {part[-1]}" for part in (data.classes, given.classes))
        raise ValueError(f"sparsify: classes must be those of {data.name}, {theirs}, got {ours}")
    if not some and (moved := misplaced(given.classes, data.classes)) is not None:
        raise ValueError(f"sparsify: classes must be in the order of {data.name}, got {moved!r} at another place")
