"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

Device = Literal["auto", "cpu", "cuda", "mps"]
Space = Literal["unit", "zca"]
Place = Annotated[Path, tyro.conf.Positional]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which data, and in which form."""

    data: str = "digits"
    """a name (digits, mnist, fashion-mnist, kmnist, emnist, cifar10, cifar100, svhn), a folder, or module:function"""
    size: int | None = None
    """pixels: resize and centre-crop the images to this side"""
    grey: bool = False
    """turn colour images into one channel"""
    download: bool = False
    """let torchvision fetch the MNIST family, CIFAR or SVHN when they are not there"""


def load_like(form: Mapping[str, Any], name: str, options: Any) -> Any:
    """Load the data of this name, in the size and colours of a set (its `form`) unless the options give others."""
    from yoco.data import load

    size = form.get("size") if options.size is None else options.size
    return load(name, size=size, grey=options.grey or form.get("grey", False), download=options.download)


def load_for(command: str, condensed: Any, options: Any) -> Any:
    """Load the data that the options name, or that a set was made from, in the form of the options or of the set.

    Raises:
        ValueError: the options give another size than the set, or name no data and the set does not either.
    """
    from yoco.evaluate import made_from

    asked, own = options.size, condensed.form["size"]
    if None not in (asked, own) and asked != own:
        raise ValueError(f"{command}: size must be that of the set, {own}, got {asked}")
    return load_like(condensed.form, options.data or made_from(condensed, command), options)


def peek(argv: Sequence[str], form: Any) -> dict[str, Any]:
    """The options that decide which others there are, before they are parsed."""
    found = {f.name: f.default for f in fields(form)}
    for place, word in enumerate(argv):
        name, equals, value = word.partition("=")
        if name.startswith("--") and name[2:] in found:
            found[name[2:]] = value if equals else next(iter(argv[place + 1 :]), None)
    return found


def named(argv: Sequence[str], form: Any) -> list[str]:
    """The fields of a form whose flags stand on the command line; of a mapping, tyro has a flag for each key."""
    flags = [word[2:].partition("=")[0].partition(".")[0] for word in argv if word.startswith("--")]
    words = {flag.replace("-", "_") for flag in flags}
    return [f.name for f in fields(form) if f.name in words or f"no_{f.name}" in words]


def apart(command: str, **places: Path | None) -> None:
    """Let no two options name one file: what is written would take the place of what is read.

    Raises:
        ValueError: two of them do.
    """
    from yoco.disk import same_file

    for (first, one), (name, place) in combinations(places.items(), 2):
        if one is not None and place is not None and same_file(one, place):
            raise ValueError(f"{command}: {first} and {name} must be different files, got {place} for both")
