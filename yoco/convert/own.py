"""Our own files."""

from pathlib import Path

from yoco.condensed import CondensedSet, load
from yoco.convert.origin import Origin


def read(origin: Origin) -> CondensedSet:
    """See `yoco.load`."""
    return load(origin.path)


def write(condensed: CondensedSet, target: Path) -> None:
    """See `CondensedSet.save`."""
    condensed.save(target)
