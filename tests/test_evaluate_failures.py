"""Trials that are done outlive one that fails, and the failure is said as ever."""

import json
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import yoco
from yoco.cli import run
from yoco.condensed import CondensedSet
from yoco.data.source import Splits
from yoco.evaluate import Result, evaluate
from yoco.evaluate.trials import Measured, Plan
from yoco.train import Recipe

HOW: dict[str, Any] = {"networks": "mlp:width=4", "epochs": 1, "seeds": 3, "progress": False, "device": "cpu"}


@pytest.fixture
def failing_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let memory be full in the trial of this number; nothing is trained, others have 50, 51, ... percent."""

    def failing_at(number: int) -> None:
        def measure(plan: Plan, index: int, tick: object = None) -> Measured:
            if index == number:
                raise RuntimeError("CUDA out of memory")
            return Measured(((1, 50.0 + index),))

        monkeypatch.setattr(Plan, "measure", measure)

    return failing_at


def test_a_failure_has_what_was_done_before(
    tiny: Splits, tiny_set: CondensedSet, failing_at: Callable[[int], None]
) -> None:
    failing_at(2)
    with pytest.raises(RuntimeError, match=r"^CUDA out of memory$") as caught:
        evaluate(tiny_set, tiny, **HOW)
    kept = vars(caught.value)["partial"]
    assert isinstance(kept, Result)
    assert [(row.seeds, row.last) for row in kept.results] == [((0, 1), (50.0, 51.0))]
    failing_at(0)
    with pytest.raises(RuntimeError, match=r"^CUDA out of memory$") as caught:
        evaluate(tiny_set, tiny, **HOW)
    assert "partial" not in vars(caught.value)


def test_what_was_done_outlives_a_process_that_is_ended(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submit(pool: object, work: object, index: int) -> Future[Measured]:
        future: Future[Measured] = Future()
        if index == 1:
            future.set_exception(BrokenProcessPool("a process was ended"))
        else:
            future.set_result(Measured(((1, 50.0 + index),)))
        return future

    monkeypatch.setattr(ProcessPoolExecutor, "submit", submit)
    with pytest.raises(ValueError, match=r"^evaluate: one of the 2 worker processes died, perhaps for lack") as caught:
        evaluate(tiny_set, tiny, jobs=2, **HOW)
    (row,) = vars(caught.value)["partial"].results
    assert (row.seeds, row.last) == ((0, 2), (50.0, 52.0))


def test_the_command_keeps_what_was_done_before_a_failure(
    tmp_path: Path, failing_at: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    place, partial = tmp_path / "condensed.safetensors", tmp_path / "partial-evaluation-condensed-idc.json"
    yoco.condense("digits", "random", ipc=1, progress=False).save(place)
    words = ["evaluate", str(place), "--network", "mlp:width=4", "--epochs", "1", "--seeds", "2"]
    failing_at(1)
    assert run(words) == 2
    said = capsys.readouterr()
    assert said.err == "yoco: not enough memory: CUDA out of memory\n"
    assert said.out.startswith("digits, protocol idc, 1 seed: test accuracy in percent\n")
    assert said.out.endswith(f"finished trials are in {partial}\n")
    (row,) = json.loads(partial.read_text())["results"]
    assert (row["seeds"], row["last"]) == ([0], [50.0])
    failing_at(9)
    assert run(words) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [place.name, "evaluation-condensed-idc.json"]


def test_a_failure_is_said_where_what_was_done_cannot_be_kept(
    tmp_path: Path,
    failing_at: Callable[[int], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(result: Result, path: Path) -> None:
        raise OSError(28, "No space left on device")

    place = tmp_path / "condensed.safetensors"
    yoco.condense("digits", "random", ipc=1, progress=False).save(place)
    monkeypatch.setattr(Result, "save", full)
    failing_at(1)
    assert run(["evaluate", str(place), "--network", "mlp:width=4", "--epochs", "1", "--seeds", "2"]) == 2
    kept, failure = capsys.readouterr().err.splitlines()
    assert kept.startswith("finished trials cannot be saved: ")
    assert failure == "yoco: not enough memory: CUDA out of memory"


def test_a_training_that_diverges_has_no_accuracy(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("mine_far")
    module.far = lambda data, shape, factor, ipc: Recipe(epochs=3, lr=0.01 if factor > 1 else 1e30)
    monkeypatch.setitem(sys.modules, "mine_far", module)
    how = {**HOW, "epochs": None, "seeds": 1, "protocol": "mine_far:far"}
    with pytest.raises(ValueError) as caught:
        evaluate(tiny_set, tiny, baselines=("random",), **how)
    rule = "weights must be finite, got NaN or infinity in mlp:width=4 on random, seed 0; lower the step size"
    assert str(caught.value) == f"evaluate: training diverged: {rule}"
    assert [row.name for row in vars(caught.value)["partial"].results] == ["condensed"]
