"""Where data sets are looked for, and where downloads go."""

import os
from pathlib import Path

from yoco.disk import at_home

DEBIAN = Path("/usr/share/datasets")
"""The folder of Debian's data set packages."""


def roots() -> list[Path]:
    """The folders to search, in order: $YOCO_DATA if set, ~/.cache/yoco, Debian's; downloads go to the first."""
    own = os.environ.get("YOCO_DATA")
    places = [*([own] if own else []), "~/.cache/yoco"]
    return [*map(at_home, places), DEBIAN]


def for_downloads(name: str) -> Path:
    """The first of the folders, for the data set of this name.

    Raises:
        ValueError: it is in a home folder that nobody has.
    """
    root = roots()[0]
    if str(root).startswith("~"):
        raise ValueError(f"data {name}: downloads need an existing home folder, got {root}; set YOCO_DATA")
    return root
