"""The file that --config names: options as words, and settings of a method that no word says, such as mappings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml

from yoco.registry import declared

WORDLESS: dict[type, tuple[Any, ...]] = {
    type(None): (type(None),),
    bool: (bool,),
    list: (list, tuple, Sequence),
    dict: (dict, Mapping),
}
"""kind of a value in a file -> what an annotation says of a setting that may have it, though no word or flag does."""


def content_of(path: str | Path) -> dict[str, Any]:
    """The options of a file, by their names in Python.

    Raises:
        ValueError: it is no mapping in YAML.
        OSError: it cannot be read.
    """
    from yoco.disk import at_home

    try:
        content = yaml.safe_load(at_home(path).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"condense: {path} is not valid YAML ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"condense: {path} must be a mapping of options, got {type(content).__name__}")
    return {str(name).replace("-", "_"): value for name, value in content.items() if name != "checksum"}


def words_of(content: Mapping[str, Any]) -> list[str]:
    """Options as words, but for those that are None."""
    words = []
    for name, value in content.items():
        flag = name.replace("_", "-")
        if value is not None:
            words.append(f"--{'' if value else 'no-'}{flag}" if isinstance(value, bool) else f"--{flag}={value}")
    return words


def parted(content: Mapping[str, Any], method: type) -> tuple[list[str], dict[str, Any]]:
    """The options as words, and beside them the settings of the method that words do not say.

    A typo stays a word, which is named as any other. Fields that others decide are left out.
    """
    kinds, settings = declared(method), {f.name: f.init for f in fields(method)}
    beside = {
        name: _as_declared(value, kinds[name])
        for name, value in content.items()
        if settings.get(name) and name in kinds and _is_wordless(value, kinds[name])
    }
    worded = {name: content[name] for name in content if name not in beside and settings.get(name, True)}
    return words_of(worded), beside


def _is_wordless(value: Any, kind: Any) -> bool:
    """Whether a setting of this annotation may have a value that no word says; plain truth values have flags."""
    wanted = WORDLESS.get(type(value), ())
    return kind is not bool and any((get_origin(part) or part) in wanted for part in _parts(kind))


def _parts(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _as_declared(value: Any, kind: Any) -> Any:
    """A value of a file, whose lists are tuples where the annotation says so."""
    for part in _parts(kind):
        origin = get_origin(part) or part
        inner = [each for each in get_args(part) if each is not ...] or [Any]
        if isinstance(value, dict) and origin in WORDLESS[dict]:
            return {name: _as_declared(each, inner[-1]) for name, each in value.items()}
        if isinstance(value, list) and origin in WORDLESS[list]:
            made = [_as_declared(each, inner[min(place, len(inner) - 1)]) for place, each in enumerate(value)]
            return tuple(made) if origin is tuple else made
    return value
