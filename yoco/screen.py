"""Progress bars: where they are drawn."""

import sys


def hidden(progress: bool = True) -> bool | None:
    """The `disable` of tqdm: show bars in notebooks, and in terminals, which tqdm (None) detects by itself.

    Without `progress`, or where stderr is closed, there are none.
    """
    return True if not progress or sys.stderr is None else False if "ipykernel" in sys.modules else None
