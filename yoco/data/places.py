"""Where data sets are looked for."""

import os
from pathlib import Path

DEBIAN = Path("/usr/share/datasets")
"""The folder of Debian's data set packages."""


def roots() -> list[Path]:
    """The folders to search, in order: $YOCO_DATA if set, ~/.cache/yoco, Debian's; downloads go to the first."""
    own = os.environ.get("YOCO_DATA")
    places = [*([own] if own else []), "~/.cache/yoco"]
    return [*(Path(os.path.expanduser(place)) for place in places), DEBIAN]
