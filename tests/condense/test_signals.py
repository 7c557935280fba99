"""Signals that wait for the end of an episode: the second stops at once, and the caller's handlers come back."""

import os
import signal

import pytest

from yoco.condense import signals


def test_a_second_interrupt_stops_at_once() -> None:
    with signals.interruptible() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert asked()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_signal_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with signals.interruptible() as asked:
        assert signal.getsignal(signal.SIGINT) is not before[0]
        assert signal.getsignal(signal.SIGTERM) is not before[1]
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_handler_that_was_set_in_c_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python does not tell it, and could not put it back."""
    monkeypatch.setattr(signals.signal, "getsignal", lambda number: None)
    monkeypatch.setattr(signals.signal, "signal", lambda *given: pytest.fail("a handler was changed"))
    with signals.interruptible() as asked:
        assert not asked()


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As Ctrl-C is by a shell's job in the background."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals.interruptible() as asked:
            os.kill(os.getpid(), signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            assert not asked()
    finally:
        signal.signal(signal.SIGINT, before)
