"""Kinds: check before any work that an option is of the kind of its default, and that a file can hold it."""

import json
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any

from yoco.artefact import python_number

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


def worded(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with paths as strings, which is how a file holds them."""
    return {option: str(value) if isinstance(value, PurePath) else value for option, value in options.items()}


def check_kept(where: str, name: str, options: Mapping[str, Any]) -> None:
    """Check that the file of the result can hold the options, which would else fail only after the whole training.

    where: rule or score; name: whose options they are.

    Raises:
        ValueError: one is no number, no word, and no list or mapping of them.
    """
    for option, value in options.items():
        try:
            json.dumps(value, default=python_number)
        except TypeError as error:
            raise ValueError(f"{where}: option {option} of {name}: {error}") from None
