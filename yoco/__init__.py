"""Condense an image data set once, get any smaller size of it, and prune the networks trained on it."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# torch reads this at its first tensor: on Linux CPUs it puts large tensors into huge pages, unless this is 0.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

_PUBLIC = {
    "CondensedSet": "yoco.condensed",
    "load": "yoco.condensed",
    "condense": "yoco.condense",
    "prune": "yoco.prune",
    "evaluate": "yoco.evaluate",
    "convert": "yoco.convert",
    "report": "yoco.report",
    "sparsify": "yoco.sparsify",
    "data": "yoco.data",
    "networks": "yoco.networks",
}

__all__ = [
    *("CondensedSet", "__version__", "condense", "convert", "data", "evaluate", "load", "networks", "prune", "report"),
    "sparsify",
]

if TYPE_CHECKING:
    from yoco import data as data
    from yoco import networks as networks
    from yoco.condense import condense as condense
    from yoco.condensed import CondensedSet as CondensedSet
    from yoco.condensed import load as load
    from yoco.convert import convert as convert
    from yoco.evaluate import evaluate as evaluate
    from yoco.prune import prune as prune
    from yoco.report import report as report
    from yoco.sparsify import sparsify as sparsify


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'yoco' has no attribute {name!r}")
    module = import_module(_PUBLIC[name])
    value = module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)  # packages can be called
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
