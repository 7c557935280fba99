"""Other places for the metrics of a run, besides its metrics.jsonl; each is a callback and needs its own package."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from math import isnan
from pathlib import Path
from typing import Any

from yoco.condense.loop import Callback, Progress
from yoco.registry import resolve

SINKS = {"tensorboard": "yoco.condense.sinks:TensorBoard", "wandb": "yoco.condense.sinks:WandB"}
"""name -> function(folder of the run) -> callback; its `close`, if it has that, is called when the run ends.

If it also has `fail`, that is called instead when the run was stopped or failed.
"""


def sink(name: str, folder: Path) -> Callback:
    """The callback of this name, or of `module:function`.

    Raises:
        ValueError: there is none, its package is not installed, or it gives no callback.
    """
    made: Any = resolve("sink", SINKS, name)
    told: Callback = made(folder) if callable(made) else made
    if not callable(told):
        raise ValueError(f"sink: {name} must be a function of a folder that returns a callback, got {told!r}")
    return told


class TensorBoard:
    """Scalars `seconds`, `loss` if any, and what callbacks answer, in the run's folder: `tensorboard --logdir runs`."""

    def __init__(self, folder: Path) -> None:
        _need("tensorboard")
        self.kind, self.folder = _need("tensorboard", "torch.utils.tensorboard").SummaryWriter, folder
        self.writer: Any = None

    def __call__(self, progress: Progress) -> None:
        """Tell an episode."""
        if self.writer is None:  # what a run that goes on does again is told once
            self.writer = self.kind(str(self.folder / "tensorboard"), purge_step=progress.episode)
        for name, value in numbers(progress).items():
            self.writer.add_scalar(name, value, progress.episode)
        self.writer.flush()  # a run that is killed closes nothing
        if progress.episode >= progress.episodes:
            self.close()

    def close(self) -> None:
        """Close the file, if there is one."""
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.close()


class WandB:
    """The same for Weights & Biases, as a run named like the folder."""

    def __init__(self, folder: Path) -> None:
        self.package, self.folder = _need("wandb"), folder
        self.run: Any = None

    def __call__(self, progress: Progress) -> None:
        """Tell an episode."""
        if self.run is None:
            how = {"project": "yoco", "name": self.folder.name, "dir": str(self.folder), "reinit": True}
            self.run = self.package.init(**how)
        self.run.log(numbers(progress), step=progress.episode)
        if progress.episode >= progress.episodes:
            self.close()

    def close(self) -> None:
        """End the run there, if there is one."""
        self._finish(0)

    def fail(self) -> None:
        """The same for a run that was stopped or failed, which is not to be shown as one that came to its end."""
        self._finish(1)

    def _finish(self, code: int) -> None:
        run, self.run = self.run, None
        if run is not None:
            run.finish(exit_code=code)


@contextmanager
def closing(sinks: Sequence[Callback]) -> Iterator[None]:
    """Close the sinks that can be closed when the block ends; if it fails, by their `fail` if they have it."""
    failed = True
    try:
        yield
        failed = False
    finally:
        for each in sinks:
            close = getattr(each, "close", lambda: None)
            (getattr(each, "fail", close) if failed else close)()


def numbers(progress: Progress) -> dict[str, float]:
    """The loss and the seconds of an episode, and the numbers that callbacks returned."""
    found = {} if isnan(progress.loss) else {"loss": progress.loss}
    return {**progress.answers, **found, "seconds": progress.seconds}


def _need(package: str, module: str = "") -> Any:
    try:
        return import_module(module or package)
    except ImportError:
        extra = f"pip install 'yoco-condense[{package}]'"
        raise ValueError(f"sink: the package {package} must be installed, got none that works; {extra}") from None
