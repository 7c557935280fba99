"""Modules that can be called: `yoco.condense` is a package and, called, the function of the same name in it."""

import sys
from importlib import import_module
from inspect import Signature, signature
from types import ModuleType
from typing import Any


class Verb(ModuleType):
    """A module that passes a call on to its function of the same name."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._function(*args, **options)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        """By its name, as functions are pickled."""
        return import_module, (self.__name__,)

    @property
    def __signature__(self) -> Signature:
        """Of the function, for whoever asks what the call takes: `inspect.signature`, notebooks, editors."""
        return signature(self._function)

    @property
    def _function(self) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])


def make_callable(name: str) -> None:
    """Let the module of this name be called."""
    sys.modules[name].__class__ = Verb
