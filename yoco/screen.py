"""Progress bars: where they are drawn."""

import sys


def hidden(progress: bool = True) -> bool | None:
    """The `disable` of tqdm: bars are for notebooks, and for terminals, which tqdm finds out by itself.

    Where stderr is closed there is nothing to draw on.
    """
    return True if not progress or sys.stderr is None else False if "ipykernel" in sys.modules else None
