"""References: other images that represent the data behind a set, in the pixel space in which networks see the set."""

from collections.abc import Mapping
from typing import Any

from yoco.condensed import CondensedSet
from yoco.data.names import by_place, places
from yoco.data.source import Source
from yoco.data.whitened import Whitened, plain, refit
from yoco.prune.material import data_name


def alike(data: CondensedSet | Source, reference: Any) -> Source:
    """The references in the space of the set: whitened as it was, unless they are so already, or plain.

    Raises:
        ValueError: they are no Source, their classes or images are not those of the set, or the set was whitened by
            other images.
    """
    if not isinstance(reference, Source):
        raise ValueError(f"reference: must be a Source, see yoco.data.from_arrays, got {type(reference).__name__}")
    numbered = data_name(data) in ("", reference.name) and by_place(data.classes, reference.classes)
    same = places(data.classes, reference.classes) == tuple(range(len(data.classes)))
    if not same and not numbered:
        raise ValueError(
            f"reference: must have the classes {', '.join(data.classes)}, got {', '.join(reference.classes)}"
        )
    if reference.shape != data.shape:
        raise ValueError(f"reference: must have images {list(data.shape)} as the set, got {list(reference.shape)}")
    return _in_space(data, reference)


def _in_space(data: CondensedSet | Source, reference: Source) -> Source:
    said: Mapping[str, Any] = getattr(data, "whitening", {})
    if data.space == "zca" and isinstance(reference, Whitened) and said and said.items() <= reference.whitening.items():
        return reference
    if isinstance(data, Source):
        plain(data)
    elif data.space == "zca":
        return refit(said, plain(reference), "reference")(reference)
    return plain(reference)


def told(reference: Source) -> dict[str, str]:
    """Which images these are, in JSON values."""
    return {"name": reference.name, "checksum": reference.checksum}
