"""Signals that a run answers when it can: Ctrl-C and SIGTERM wait for the end of an episode."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C or SIGTERM wait for the end of an episode, and say so; a second one stops at once."""
    asked = False

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        with suppress(RuntimeError, OSError, ValueError):  # of a stream in the middle of a line, or closed
            print("\nstopping after this episode; interrupt again to stop at once", file=sys.stderr, flush=True)

    with answered(ask, signal.SIGINT, signal.SIGTERM):
        yield lambda: asked


@contextmanager
def answered(by: Callable[[int, Any], object], *numbers: signal.Signals) -> Iterator[None]:
    """Handle these signals by a function, except those ignored or handled in C; off the main thread, none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    known = [number for number in numbers if signal.getsignal(number) not in (None, signal.SIG_IGN)]
    before = {number: signal.signal(number, by) for number in known}  # what was set in C could not be put back
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
