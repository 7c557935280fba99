"""The set of a run at its end: whole, or said not to be; labelled by a teacher: what is kept before, what is said of a
stop, and whose folder it is.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import yoco
from yoco.cli import run
from yoco.condense import Interrupted, condense
from yoco.condense.ending import finished
from yoco.condense.teacher import Teacher
from yoco.data import Splits
from yoco.run import Run

HOW: dict[str, Any] = {"ipc": 1, "network": "mlp:width=4", "labels": "teacher", "teacher_epochs": 3, "progress": False}
DM: dict[str, Any] = {**HOW, "episodes": 2, "real_batch": 8}


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Within, a Ctrl-C comes in the second epoch of a teacher."""
    learn = Teacher.learn

    def until(self: Teacher) -> None:
        if self.age == 1:
            raise KeyboardInterrupt
        learn(self)

    with monkeypatch.context() as patch:
        patch.setattr(Teacher, "learn", until)
        yield patch


def test_a_teacher_that_diverges_leaves_the_set_and_is_all_that_is_done_again(
    tiny: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(self: Teacher) -> None:
        raise ValueError("weights")

    whole, file = condense(tiny, "dm", **DM), tmp_path / "condensed.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(Teacher, "learn", diverges)
        with pytest.raises(ValueError, match=r"^weights$"):
            condense(tiny, "dm", out=tmp_path, **DM)
    kept = yoco.load(file)
    assert kept.soft_labels is None
    assert torch.equal(kept.cells, whole.cells)
    monkeypatch.setattr("yoco.condense.loop.descend", None)
    again = condense(tiny, "dm", out=tmp_path, **DM)
    assert again.checksum == yoco.load(file).checksum == whole.checksum
    assert not (tmp_path / "checkpoint.pt").exists()
    assert condense(tiny, "dm", out=tmp_path, **DM).checksum == whole.checksum


def test_a_stop_gives_the_set_and_says_where_it_goes_on(tmp_path: Path, stopped: pytest.MonkeyPatch) -> None:
    for out, more in ((None, ""), (tmp_path, f"; the same call goes on from {tmp_path}")):
        with pytest.raises(Interrupted) as caught:
            condense("digits", "random", size=6, out=out, **HOW)
        assert str(caught.value) == f"stopped while the teacher was being trained{more}"
        assert caught.value.condensed.soft_labels is None
        assert caught.value.condensed.form == {"size": 6, "grey": False}
    assert yoco.load(tmp_path / "condensed.safetensors").checksum == caught.value.condensed.checksum
    stopped.undo()
    again = condense("digits", "random", size=6, out=tmp_path, **HOW)
    assert again.checksum == condense("digits", "random", size=6, **HOW).checksum
    assert again.soft_labels is not None


def test_the_command_says_where_it_goes_on(
    tmp_path: Path, stopped: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["condense", "--method", "random", "--ipc", "1", "--network", "mlp:width=4", "--labels", "teacher"]
    words += ["--teacher-epochs", "2"]
    assert run([*words, "--out", str(tmp_path / "run")]) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    kept = "where condensed.safetensors is the set without the labels of the teacher"
    assert said == f"yoco: stopped and saved; the same command goes on from {tmp_path / 'run'}, {kept}"
    assert yoco.load(tmp_path / "run/condensed.safetensors").soft_labels is None
    stopped.undo()
    assert run([*words, "--out", str(tmp_path / "run")]) == 0
    assert yoco.load(tmp_path / "run/condensed.safetensors").soft_labels is not None


def test_the_command_offers_no_set_as_it_stands_that_is_there_already(
    tmp_path: Path, stopped: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["condense", "--method", "dm", "--ipc", "1", "--network", "mlp:width=4", "--real-batch", "8"]
    words += ["--episodes", "5", "--minutes", "1e-9", "--labels", "teacher", "--teacher-epochs", "2"]
    assert run([*words, "--out", str(tmp_path)]) == 130
    assert yoco.load(tmp_path / "condensed.safetensors").config["episodes_done"] == 0
    assert "--minutes" not in capsys.readouterr().err.splitlines()[-1]


def test_sigterm_stops_a_teacher_as_ctrl_c_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Teacher, "learn", lambda self: os.kill(os.getpid(), signal.SIGTERM))
    mine: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: mine.append(number))
    try:
        with pytest.raises(
            Interrupted, match=r"^stopped while the teacher was being trained; the same call goes on from "
        ):
            condense("digits", "random", out=tmp_path, **HOW)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert mine == [signal.SIGTERM]
    assert yoco.load(tmp_path / "condensed.safetensors").soft_labels is None


def test_the_folder_of_another_teacher_is_refused_ahead_of_the_episodes(
    tiny: Splits, tmp_path: Path, stopped: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted):
        condense(tiny, "random", out=tmp_path, **HOW)
    stopped.undo()
    stopped.setattr("yoco.condense.run_episodes", None)
    with pytest.raises(ValueError, match=rf"^run: {tmp_path} holds a run with seed=0, got 1; choose another folder$"):
        condense(tiny, "random", out=tmp_path, seed=1, **HOW)
    (tmp_path / "checkpoint.pt").unlink()
    with pytest.raises(ValueError, match=r"condensed\.safetensors must have the labels of a teacher, as there is no "):
        condense(tiny, "random", out=tmp_path, **HOW)
    (tmp_path / "condensed.safetensors").unlink()
    with pytest.raises(ValueError, match=r"^run: .*teacher holds a run with seed=0, got 1; choose another folder$"):
        condense(tiny, "random", out=tmp_path, seed=1, **HOW)
    assert "seed: 0\n" in (tmp_path / "config.yaml").read_text()


def test_labels_of_the_method_are_not_those_of_a_teacher(tiny_set: yoco.CondensedSet, tmp_path: Path) -> None:
    soft, folder = torch.zeros(len(tiny_set), len(tiny_set.classes)), Run(tmp_path, {})
    replace(tiny_set, soft_labels=soft).save(folder.result)
    with pytest.raises(ValueError, match=r"must have the labels of a teacher, as there is no "):
        finished(folder, 0, labelled=True)
    replace(tiny_set, soft_labels=soft, history=({"step": "relabel"},)).save(folder.result)
    assert finished(folder, 0, labelled=True).soft_labels is not None


@pytest.fixture
def how(tmp_path: Path) -> dict[str, Any]:
    return {"ipc": 1, "episodes": 3, "network": "mlp:width=4", "progress": False, "out": tmp_path}


def test_a_part_whose_checkpoint_is_lost_is_not_the_whole(tiny: Splits, tmp_path: Path, how: dict[str, Any]) -> None:
    assert yoco.condense(tiny, "herding", minutes=1e-9, **how).config["episodes_done"] == 0
    (tmp_path / "checkpoint.pt").unlink()
    wanted = (
        r"condensed\.safetensors must have all 3 episodes, as there is no checkpoint to resume from, got 0; use it as"
    )
    for minutes in (None, 1e-9):
        with pytest.raises(ValueError, match=wanted):
            yoco.condense(tiny, "herding", minutes=minutes, **how)
    (tmp_path / "condensed.safetensors").unlink()
    whole = yoco.condense(tiny, "herding", **how)
    assert whole.config["episodes_done"] == 3
    assert yoco.condense(tiny, "herding", **how).checksum == whole.checksum


def test_a_set_that_does_not_say_how_many_episodes_it_had_is_taken(
    tiny: Splits, tmp_path: Path, how: dict[str, Any]
) -> None:
    whole = yoco.condense(tiny, "herding", **how)
    older = {name: value for name, value in whole.config.items() if name != "episodes_done"}
    replace(whole, config=older).save(tmp_path / "condensed.safetensors")
    assert yoco.condense(tiny, "herding", **how).checksum == whole.checksum
