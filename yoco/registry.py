"""Names to objects: tables hold strings, and `module:Name` reaches anybody's own code."""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any


def unknown(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for a name that is not in a table; it names the nearest one."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ValueError(f"{kind}: unknown name {name!r}; {hint}known: {', '.join(names)}")


def resolve(kind: str, table: Mapping[str, str], name: str) -> Any:
    """The object behind a nickname of the table, or behind `module:Name`.

    Raises:
        ValueError: the name is in no table, or its module or attribute does not exist, or cannot be imported.
    """
    if not isinstance(name, str):
        raise ValueError(f"{kind}: must be a name, or module:Name, got {name!r}")
    target = name if ":" in name else table.get(name)
    if target is None:
        raise unknown(kind, name, table)
    module, _, attribute = target.partition(":")
    if not module or module.startswith(".") or not attribute:
        raise ValueError(f"{kind}: must read module:Name, got {name!r}")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if target != name:
            raise
        raise ValueError(f"{kind}: {name!r} cannot be imported ({error})") from error
