"""Three classes of 8x8 digits, a small condensed set of them, a command that must fail, and the experiments."""

import importlib
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

# Tests, and the processes that they start, do not hear what a machine tells libraries:
os.environ["MATPLOTLIBRC"] = os.devnull  # how figures look
os.environ.pop("COLUMNS", None)  # how wide help and messages are
os.environ.pop("FORCE_COLOR", None)
os.environ.pop("DNNL_DEFAULT_FPMATH_MODE", None)  # that float32 may be less
os.environ.pop("ONEDNN_DEFAULT_FPMATH_MODE", None)

import pytest
import torch
from hypothesis import settings

from yoco.cells import cut
from yoco.cli import run
from yoco.condensed import CondensedSet
from yoco.data import load
from yoco.data.source import Source, Splits

torch.set_num_threads(1)  # tests run side by side, and their networks are too small to share
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background does not hear
settings.register_profile("steady", deadline=None, derandomize=True)  # a busy machine is no mistake
settings.load_profile("steady")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test draws from the global generator is the same whichever ran before it."""
    torch.manual_seed(0)


def _three(half: Source) -> Source:
    kept = half.take(torch.cat([members[:40] for members in half.by_class[:3]]))
    return replace(kept, classes=half.classes[:3])


@pytest.fixture(scope="session")
def tiny() -> Splits:
    """The digits 0, 1 and 2: up to 40 training and 40 test images of each, class by class."""
    whole = load("digits")
    return Splits(_three(whole.train), _three(whole.test))


@pytest.fixture(scope="session")
def tiny_set(tiny: Splits) -> CondensedSet:
    """Twelve 4x4 cells of each class, cut out of three training images: factor 2, 3 images per class."""
    canvases = [tiny.train.batch(members[:3]).images for members in tiny.train.by_class]
    return CondensedSet(
        cells=torch.cat([cut(canvas, 2) for canvas in canvases]),
        labels=torch.arange(3).repeat_interleave(12),
        factor=2,
        size=(8, 8),
        classes=tiny.train.classes,
        mean=tiny.train.mean,
        std=tiny.train.std,
        method="cut",
        seed=0,
        source={"name": "digits", "checksum": tiny.train.checksum},
    )


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line of a command that must exit with 2."""

    def said(*argv: str) -> str:
        assert run(list(argv)) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert line.startswith("yoco: ")
        return line

    return said


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A module of the experiments, by its name."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "experiments"))
    return importlib.import_module
