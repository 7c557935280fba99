"""Kinds: an option must be of the kind of its default, which is said before anything is compared with it."""

from numbers import Integral, Real
from typing import Any

KINDS: tuple[tuple[type, str], ...] = (
    (bool, "True or False"),
    (Integral, "a whole number"),
    (Real, "a number"),
    (str, "a word"),
)


def same_kind(where: str, option: str, value: Any, default: Any) -> None:
    """Check one option; a default of None, or of another kind than these, allows anything.

    Raises:
        ValueError: the default is a truth value, a whole number, a number or a word, and the value is not.
    """
    kind, said = next(((kind, said) for kind, said in KINDS if isinstance(default, kind)), (object, ""))
    if not isinstance(value, kind) or (isinstance(value, bool) and kind in (Integral, Real)):
        raise ValueError(f"{where}: {option} must be {said}, got {value!r}")
