"""Trials in processes of their own end with their parent, whatever ends it; those that were done are not lost."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import yoco
from yoco.cli import run
from yoco.condensed import CondensedSet
from yoco.data.source import Splits
from yoco.evaluate import Interrupted, evaluate
from yoco.evaluate.trials import Measured, Plan
from yoco.networks import build
from yoco.report.reading import RunFiles
from yoco.rng import Rng

SEEN = """
import os
from pathlib import Path
from yoco.networks import MLP

class Seen(MLP):
    '''Leaves the number of its process.'''
    def __init__(self, channels, classes, size):
        super().__init__(channels, classes, size, width=4)
        Path("seen", str(os.getpid())).touch()
"""


FEWER = """
import torch
from yoco.data import Splits, load

def fewer():
    '''The digits with the first part of their test half.'''
    train, test = load("digits")
    return Splits(train, test.take(torch.arange(100)))
"""


def until(holds: Callable[[], bool], seconds: float = 300.0) -> bool:
    """Wait for something; whether it came."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@contextmanager
def ctrl_c_heard() -> Iterator[None]:
    """Programs begun in here hear SIGINT, which a shell's job in the background does not, nor what it begins."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def works(process: int) -> bool:
    """Whether a process is there, and more than an entry in a table."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_no_trial_outlives_an_evaluation(tmp_path: Path, sent: int, code: int) -> None:
    (tmp_path / "seen").mkdir()
    (tmp_path / "mine.py").write_text(SEEN)
    yoco.condense("digits", "random", ipc=1, progress=False).save(tmp_path / "set.safetensors")
    words = ["set.safetensors", "--network", "mine:Seen", "--epochs", "1000000", "--seeds", "5", "--jobs", "2"]
    program = [sys.executable, "-m", "yoco", "evaluate", *words]
    with ctrl_c_heard(), subprocess.Popen(program, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as parent:

        def children() -> list[int]:
            return [int(path.name) for path in (tmp_path / "seen").iterdir() if int(path.name) != parent.pid]

        try:
            assert until(lambda: len(children()) == 2 or parent.poll() is not None)
            parent.send_signal(sent)
            said = parent.communicate(timeout=300)[1]
        finally:
            parent.kill()
    assert parent.returncode == code, said
    assert sent != signal.SIGINT or said.splitlines()[-1] == "yoco: interrupted"
    assert len(children()) == 2
    assert until(lambda: not any(map(works, children())), 60)
    assert not (tmp_path / "evaluation-set-idc.json").exists()


@pytest.fixture
def stopped_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let a Ctrl-C come in the trial of this number; nothing is trained, others have 50, 51, ... percent."""

    def stopped_at(number: int) -> None:
        def measure(plan: Plan | None, index: int, tick: object = None) -> Measured:
            if index == number:
                raise KeyboardInterrupt
            return Measured(((1, 50.0 + index),))

        class Submitted:
            def __init__(self, index: int) -> None:
                self.index = index

            def result(self) -> Measured:
                return measure(None, self.index)

            def done(self) -> bool:
                return self.index != number

            def cancelled(self) -> bool:
                return False

            def exception(self) -> None:
                """None."""

        monkeypatch.setattr(Plan, "measure", measure)
        monkeypatch.setattr(ProcessPoolExecutor, "submit", lambda pool, work, index: Submitted(index))

    return stopped_at


@pytest.mark.parametrize("jobs", [1, 2])
def test_trials_that_are_done_outlive_a_stop(
    tiny: Splits, tiny_set: CondensedSet, stopped_at: Callable[[int], None], jobs: int
) -> None:
    how: dict[str, Any] = {"networks": ("mlp:width=8", "mlp:width=4"), "seeds": (5, 7), "epochs": 1, "jobs": jobs}

    def found() -> Any:
        with pytest.raises(Interrupted) as caught:
            evaluate(tiny_set, tiny, progress=False, device="cpu", **how)
        return caught.value.result

    stopped_at(3)
    rows = [(row.network, row.seeds, row.last) for row in found().results]
    assert rows == [("mlp:width=8", (5, 7), (50.0, 51.0)), ("mlp:width=4", (5,), (52.0,))]
    stopped_at(0)
    if jobs == 1:
        assert found() is None
    else:  # others were at work beside it
        rows = [(row.network, row.seeds, row.last) for row in found().results]
        assert rows == [("mlp:width=8", (7,), (51.0,)), ("mlp:width=4", (5, 7), (52.0, 53.0))]
        assert ", 2 seeds: " in repr(found())


def test_the_command_keeps_the_trials_that_are_done(
    tmp_path: Path, stopped_at: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    place, partial = tmp_path / "condensed.safetensors", tmp_path / "partial-evaluation-condensed-idc.json"
    yoco.condense("digits", "random", ipc=1, progress=False).save(place)
    words = ["evaluate", str(place), "--network", "mlp:width=4", "--epochs", "1", "--seeds", "3"]
    stopped_at(2)
    assert run(words) == 130
    said = capsys.readouterr()
    assert said.err == f"yoco: interrupted; finished trials are in {partial}\n"
    assert said.out.startswith("digits, protocol idc, 2 seeds: test accuracy in percent\n")
    assert json.loads(partial.read_text())["results"][0]["last"] == [50.0, 51.0]
    assert RunFiles(tmp_path).evaluations() == {}
    stopped_at(0)
    assert run(words) == 130
    assert capsys.readouterr().err == "yoco: interrupted\n"
    stopped_at(3)
    assert run(words) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [place.name, "evaluation-condensed-idc.json"]


def test_what_was_kept_of_another_evaluation_stays(tmp_path: Path, stopped_at: Callable[[int], None]) -> None:
    place, partial = tmp_path / "condensed.safetensors", tmp_path / "partial-evaluation-condensed-idc.json"
    yoco.condense("digits", "random", ipc=1, progress=False).save(place)
    words = ["evaluate", str(place), "--epochs", "1", "--seeds", "3", "--network"]
    stopped_at(2)
    assert run([*words, "mlp:width=4"]) == 130
    kept = partial.read_text()
    stopped_at(3)
    assert run([*words, "mlp:width=8"]) == 0
    stopped_at(1)
    assert run([*words, "mlp:width=4"]) == 130
    assert partial.read_text() == kept
    second = partial.with_name("partial-2-evaluation-condensed-idc.json")
    assert json.loads(second.read_text())["results"][0]["seeds"] == [0]
    stopped_at(3)
    assert run([*words, "mlp:width=4"]) == 0
    assert not partial.exists()
    assert not second.exists()


def test_what_was_kept_under_another_protocol_stays(tmp_path: Path, stopped_at: Callable[[int], None]) -> None:
    place, partial = tmp_path / "condensed.safetensors", tmp_path / "partial-r.json"
    yoco.condense("digits", "random", ipc=1, progress=False).save(place)
    words = ["evaluate", str(place), "--network", "mlp:width=4", "--epochs", "1", "--seeds", "3"]
    words += ["--out", str(tmp_path / "r.json"), "--protocol"]
    stopped_at(2)
    assert run([*words, "dsa"]) == 130
    kept = partial.read_text()
    stopped_at(9)
    assert run([*words, "idc"]) == 0
    assert partial.read_text() == kept
    partial.write_text('{"results": [{}]}')
    stopped_at(1)
    assert run([*words, "idc"]) == 130
    assert json.loads((tmp_path / "partial-2-r.json").read_text())["protocol"] == "idc"
    assert partial.read_text() == '{"results": [{}]}'


@pytest.mark.parametrize("other", [["--bf16"], ["--measurements", "2"], ["--data", "mine_fewer:fewer"]])
def test_what_was_kept_under_other_conditions_stays(
    tmp_path: Path, stopped_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, other: list[str]
) -> None:
    (tmp_path / "mine_fewer.py").write_text(FEWER)
    monkeypatch.syspath_prepend(str(tmp_path))
    place, partial = tmp_path / "condensed.safetensors", tmp_path / "partial-evaluation-condensed-idc.json"
    yoco.condense("digits", "random", ipc=1, progress=False).save(place)
    words = ["evaluate", str(place), "--network", "mlp:width=4", "--epochs", "1", "--seeds", "3"]
    stopped_at(2)
    assert run(words) == 130
    kept = partial.read_text()
    stopped_at(9)
    assert run([*words, *other]) == 0
    assert partial.read_text() == kept
    later = ("bf16", "measurements", "test_checksum")
    older = {name: value for name, value in json.loads(kept).items() if name not in later}
    partial.write_text(json.dumps(older))
    assert run(words) == 0
    assert json.loads(partial.read_text()) == older
    partial.write_text(kept)
    assert run(words) == 0
    assert not partial.exists()


def test_what_was_kept_under_another_teacher_stays(
    tmp_path: Path, stopped_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yoco.evaluate.teachers.check_knows", lambda *_: None)
    kind, place, partial = "mlp:width=4", tmp_path / "s.safetensors", tmp_path / "partial-evaluation-s-rded.json"
    for seed, name in enumerate("ab"):
        torch.save(build(kind, (1, 8, 8), 10, Rng(seed)).state_dict(), tmp_path / f"{name}.pt")
    yoco.condense("digits", "random", ipc=1, progress=False).save(place)
    words = ["evaluate", str(place), "--protocol", "rded", "--network", kind, "--epochs", "1", "--seeds", "3"]
    words += ["--teacher-network", kind, "--teacher"]
    stopped_at(2)
    assert run([*words, str(tmp_path / "a.pt")]) == 130
    kept = partial.read_text()
    stopped_at(9)
    assert run([*words, str(tmp_path / "b.pt")]) == 0
    assert partial.read_text() == kept
    monkeypatch.chdir(tmp_path)
    assert run([*words, "a.pt"]) == 0
    assert not partial.exists()
