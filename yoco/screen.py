"""Progress bars: where they are drawn."""

import sys


def hidden(progress: bool = True) -> bool | None:
    """The `disable` of tqdm: bars are for notebooks, and for terminals, which tqdm finds out by itself."""
    return True if not progress else False if "ipykernel" in sys.modules else None
