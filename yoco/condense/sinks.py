"""Other places for the metrics of a run, beside its metrics.jsonl; each is a callback and wants its own package."""

from collections.abc import Callable
from importlib import import_module
from math import isnan
from pathlib import Path
from typing import Any

from yoco.condense.loop import Callback, Progress
from yoco.registry import resolve

SINKS = {"tensorboard": "yoco.condense.sinks:tensorboard", "wandb": "yoco.condense.sinks:wandb"}
"""name -> function(folder of the run) -> callback."""


def sink(name: str, folder: Path) -> Callback:
    """The callback of this name, or of `module:function`.

    Raises:
        ValueError: there is none, or its package is not installed.
    """
    made: Callable[[Path], Callback] = resolve("sink", SINKS, name)
    return made(folder)


def tensorboard(folder: Path) -> Callback:
    """Scalars `seconds`, `loss` if any, and what callbacks answer, in the run's folder: `tensorboard --logdir runs`."""
    _need("tensorboard")
    kind, writer = _need("tensorboard", "torch.utils.tensorboard").SummaryWriter, None

    def write(progress: Progress) -> None:
        nonlocal writer
        if writer is None:  # what a run that goes on does again is told once
            writer = kind(str(folder / "tensorboard"), purge_step=progress.episode)
        for name, value in numbers(progress).items():
            writer.add_scalar(name, value, progress.episode)
        writer.flush()  # a run that is stopped closes nothing
        if progress.episode >= progress.episodes:
            writer.close()

    return write


def wandb(folder: Path) -> Callback:
    """The same for Weights & Biases, as a run named like the folder."""
    package, run = _need("wandb"), None

    def write(progress: Progress) -> None:
        nonlocal run
        run = run or package.init(project="yoco", name=folder.name, dir=str(folder), reinit=True)
        run.log(numbers(progress), step=progress.episode)
        if progress.episode >= progress.episodes:
            run.finish()

    return write


def numbers(progress: Progress) -> dict[str, float]:
    """What is told of an episode, and what callbacks have answered to it."""
    found = {} if isnan(progress.loss) else {"loss": progress.loss}
    return {**progress.answers, **found, "seconds": progress.seconds}


def _need(package: str, module: str = "") -> Any:
    try:
        return import_module(module or package)
    except ImportError:
        extra = f"pip install 'yoco-condense[{package}]'"
        raise ValueError(f"sink: the package {package} must be installed, got none that works; {extra}") from None
