"""Own: checks on the options of custom scores and rules, so that every option reaches the function it is meant for."""

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from inspect import Parameter
from typing import Any

from yoco.prune.rules import Rule, options_of_rule
from yoco.registry import signature_of

TAKEN = frozenset(
    (
        *("data", "set", "size", "grey", "download", "out", "uint8"),
        *("epochs", "runs", "network", "passes", "recipe", "stage", "device", "bf16", "progress", "seed"),
        *("rule", "mode", "ipc", "cells", "keep", "n", "quota", "floor", "shares", "reference"),
        *("score", "scores", "evidence", "features"),
    )
)
"""Reserved names: options of `score`, `select`, `Training` and the commands, which would take them from custom ones."""


def check_score(name: str, options: Iterable[Parameter]) -> None:
    """Check the options of a custom score; of the reserved names it may use `epochs` alone.

    Raises:
        ValueError: one has no default, or a reserved name.
    """
    options = list(options)
    _check_defaults(f"score {name}", options)
    _check_names(f"score {name}", [option.name for option in options if option.name != "epochs"])


def own_rule(name: str, target: Any) -> Any:
    """A custom rule by its name, made with its defaults if it is a class.

    Raises:
        ValueError: an option has no default, or a reserved name, unless the library's rule that it derives from has
            such an option.
    """
    if isinstance(target, type) and issubclass(target, Rule):
        _check_defaults(f"rule {name}", signature_of(target).parameters.values())
    made = target() if isinstance(target, type) else target
    if isinstance(made, Rule):
        library = [base for base in type(made).__mro__ if base.__module__.startswith("yoco.") and is_dataclass(base)]
        theirs = {field.name for base in library for field in fields(base)}
        _check_names(f"rule {name}", [option for option in options_of_rule(made) if option not in theirs])
    return made


def _check_defaults(where: str, options: Iterable[Parameter]) -> None:
    for option in options:
        if option.default is option.empty and option.kind not in (option.VAR_POSITIONAL, option.VAR_KEYWORD):
            raise ValueError(f"{where}: options must have defaults, got {option.name} without one")


def _check_names(where: str, options: Iterable[str]) -> None:
    for option in options:
        if option in TAKEN:
            raise ValueError(f"{where}: options must not have reserved names, got {option}; rename it")
