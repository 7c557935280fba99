"""The contract that every method must keep, checked with a few episodes."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from yoco.condense.loop import Progress, Stop
from yoco.condensed import CondensedSet
from yoco.data.source import Source


def keep(run: Callable[..., CondensedSet], real: Source, method: str) -> CondensedSet:
    """The set that a method makes, if it keeps the contract.

    run: `condense` on the data of `real`, with all arguments but `out` and `callbacks` bound.

    Raises:
        ValueError: the first rule that it breaks.
    """
    before = real.images.clone()
    whole = run()
    _promise(method, "real images must stay unchanged", torch.equal(real.images, before))
    _promise(method, "the same seed must give the same set", run().checksum == whole.checksum)
    with TemporaryDirectory() as place:
        for stop in range(1, int(whole.config["episodes_done"])):
            again = _gone_on(run, Path(place) / str(stop), stop)
            rule = f"a run stopped after episode {stop} must resume to the same set (keep all state in the memory)"
            _promise(method, rule, again.checksum == whole.checksum)
    return whole


def _gone_on(run: Callable[..., CondensedSet], folder: Path, stop: int) -> CondensedSet:
    def leave(progress: Progress) -> None:
        if progress.episode == stop:
            raise Stop

    run(out=folder, callbacks=(leave,))
    return run(out=folder)


def _promise(method: str, rule: str, kept: bool) -> None:
    if not kept:
        raise ValueError(f"method {method}: {rule}, got a difference")
