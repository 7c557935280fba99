"""Names to objects: tables hold strings, and `module:Name` reaches custom code."""

import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

if sys.version_info >= (3, 14):
    from annotationlib import Format


def unknown(kind: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for a name that is not in a table; it names the nearest one."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ValueError(f"{kind}: unknown name {name!r}; {hint}known: {', '.join(names)}")


def resolve(kind: str, table: Mapping[str, str], name: str) -> Any:
    """The object behind a name of the table, or behind `module:Name`.

    Raises:
        ValueError: the name is not in the table, or its module or attribute does not exist or cannot be imported.
    """
    if not isinstance(name, str):
        raise ValueError(f"{kind}: must be a name, or module:Name, got {name!r}{_called(name)}")
    target = name if ":" in name else table.get(name)
    if target is None:
        raise unknown(kind, name, table)
    module, _, attribute = target.partition(":")
    if not module or module.startswith(".") or not attribute:
        raise ValueError(f"{kind}: must read module:Name, got {name!r}")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, SyntaxError) as error:
        if target != name:
            raise
        raise ValueError(f"{kind}: {name!r} cannot be imported ({error})") from error


def split_options(kind: str, name: str) -> tuple[str, dict[str, str]]:
    """`a:b:x=1,y=2` -> ("a:b", {"x": "1", "y": "2"}); options begin after the first colon with `=` before the next.

    Raises:
        ValueError: the options do not read key=value,key=value.
    """
    if not isinstance(name, str):
        raise ValueError(f"{kind}: must be a name, or module:Name, got {type(name).__name__}{_called(name)}")
    found = re.search(r"(?<=.):([^:=]*=.*)", name, re.DOTALL)
    if found is None:
        return name, {}
    base, text = name[: found.start()], found[1]
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(key and equals and value for key, equals, value in pairs):
        raise ValueError(f"{kind} {base}: options must read key=value,key=value, got {text!r}")
    return base, {key.strip(): value.strip() for key, _, value in pairs}


_UNREADABLE = (AttributeError, NameError, SyntaxError, TypeError)


def declared(thing: Any) -> dict[str, Any]:
    """The types that a class, a function, or the one behind a partial declares, by name.

    Types that cannot be resolved, such as a name imported for type checkers alone, are left out.
    """
    made = thing.func if isinstance(thing, partial) else thing
    try:
        return get_type_hints(made)
    except _UNREADABLE:
        return dict(_readable(made))


def signature_of(thing: Callable[..., Any]) -> inspect.Signature:
    """The signature of a function or a class, whose annotations may be names that only type checkers import."""
    if sys.version_info >= (3, 14):
        return inspect.signature(thing, annotation_format=Format.FORWARDREF)
    return inspect.signature(thing)


def _annotations_of(owner: Any) -> dict[str, Any]:
    """The own annotations of a class or a function, by name, even if some cannot be resolved."""
    if sys.version_info >= (3, 14):
        return inspect.get_annotations(owner, format=Format.FORWARDREF)
    return inspect.get_annotations(owner)


def _readable(made: Any) -> Iterator[tuple[str, Any]]:
    """The types that can be read, by name, each by itself; those of a class after those that it inherits."""
    for owner in made.__mro__[::-1] if inspect.isclass(made) else (made,):
        with suppress(*_UNREADABLE):
            for name, kind in _annotations_of(owner).items():
                alone = type("Alone", (), {"__annotations__": {name: kind}, "__module__": owner.__module__})
                with suppress(*_UNREADABLE):
                    yield name, get_type_hints(alone)[name]


def typed_options(
    where: str, factory: Callable[..., Any], options: Mapping[str, str], given: int = 0
) -> dict[str, Any]:
    """Options converted to the types that the function or the constructor declares, or else to those of the defaults.

    given: how many parameters, from the first, are not options.

    Raises:
        ValueError: an option is unknown, has no default, its value is of another type, or no string can give its type.
    """
    parameters = list(signature_of(factory).parameters.values())
    known = {p.name: type(p.default) for p in parameters if p.default is not p.empty}
    named = {p.name for p in parameters[given:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    made: Any = factory.func if isinstance(factory, partial) else factory
    hints = declared(made.__init__ if inspect.isclass(made) else made)
    typed: dict[str, Any] = {}
    for key, text in options.items():
        if key in named - {*known}:
            raise ValueError(f"{where}: options must have defaults, got {key} without one")
        if key not in known:
            raise unknown(f"{where} option", key, known)
        typed[key] = _value(f"{where}: {key}", text, hints.get(key, known[key]))
    return typed


def join_options(base: str, options: Mapping[str, Any]) -> str:
    """The name that `split_options` takes apart, and `typed_options` reads: `base:x=1,y=true`."""
    words = {key: str(value).lower() if isinstance(value, bool) else value for key, value in options.items()}
    text = ",".join(f"{key}={word}" for key, word in words.items())
    return f"{base}:{text}" if text else base


def _called(thing: Any) -> str:
    """A hint how to name a class or a function that was given itself, such as one of a notebook."""
    name = getattr(thing, "__qualname__", "")
    return f"; name it '{thing.__module__}:{name}'" if name.isidentifier() else ""


def sayable(hint: Any) -> bool:
    """Whether a string can give a value of this type: a boolean, a number, a string, a path, or one of a Literal."""
    kinds = _alternatives(hint)
    return any(kind in (bool, int, float, str, Any) or get_origin(kind) is Literal or _is_path(kind) for kind in kinds)


def _is_path(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, PurePath)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """The types of a union, or this one alone."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _value(where: str, text: str, hint: Any) -> Any:
    """The value of this type that a string gives; the string itself, if only None is known of the type."""
    if hint is not NoneType and not sayable(hint):
        rule = "must be declared as bool, int, float, str, Path or Literal to be given in a word"
        raise ValueError(f"{where} {rule}, got {inspect.formatannotation(hint)}")
    kinds = _alternatives(hint)
    values = [value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]
    words = {str(value).lower() if isinstance(value, bool) else str(value): value for value in values}
    if text in words:
        return words[text]
    if bool in kinds:
        if text not in ("true", "false"):
            raise ValueError(f"{where} must be true or false, got {text!r}")
        return text == "true"
    for kind, rule in ((int, "a whole number"), (float, "a number")):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError as error:
                raise ValueError(f"{where} must be {rule}, got {text!r}") from error
    if words and str not in kinds:
        raise ValueError(f"{where} must be one of {', '.join(words)}, got {text!r}")
    made = None if str in kinds else next((kind for kind in kinds if _is_path(kind)), None)
    return text if made is None else made(text)
