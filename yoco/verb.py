"""Modules that can be called: `yoco.condense` is a package and, called, the function of the same name in it."""

import sys
from types import ModuleType
from typing import Any


class Verb(ModuleType):
    """A module that passes a call on to its function of the same name."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **options)


def make_callable(name: str) -> None:
    """Let the module of this name be called."""
    sys.modules[name].__class__ = Verb
