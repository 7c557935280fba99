"""Metrics in other places, with stand-ins for the packages that keep them."""

import sys
from math import nan
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from yoco.condense import condense
from yoco.condense.loop import Progress, Stop
from yoco.condense.sinks import SINKS, closing, sink
from yoco.condense.synthetic import Synthetic
from yoco.data.source import Splits
from yoco.run import alone


def progress(episode: int, loss: float | None = None, **answers: float) -> Progress:
    loss = 0.5 * episode if loss is None else loss
    return Progress(episode, 2, loss, 3.0, Synthetic(torch.zeros(2, 1, 2, 2), 2, 1, (2, 2)), answers=answers)


class Writer:
    """What a SummaryWriter is asked to do."""

    def __init__(self, folder: str, purge_step: int) -> None:
        self.folder, self.first, self.rows, self.closed = folder, purge_step, [], False  # type: ignore[var-annotated]

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.rows.append((name, value, step))

    def flush(self) -> None:
        """Nothing is kept back."""
        self.flushed = len(self.rows)

    def close(self) -> None:
        self.closed = True


def test_tensorboard_gets_every_episode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Writer] = []
    summary = SimpleNamespace(SummaryWriter=lambda *words, **how: made.append(Writer(*words, **how)) or made[-1])
    monkeypatch.setitem(sys.modules, "tensorboard", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", summary)
    write = sink("tensorboard", tmp_path)
    assert not made
    write(progress(0, nan))
    write(progress(1))
    write(progress(2, accuracy=70.0))
    assert made[0].folder == str(tmp_path / "tensorboard")
    told = [("loss", 0.5, 1), ("seconds", 3.0, 1), ("accuracy", 70.0, 2), ("loss", 1.0, 2), ("seconds", 3.0, 2)]
    assert made[0].rows == [("seconds", 3.0, 0), *told]
    assert (made[0].flushed, made[0].closed) == (6, True)
    sink("tensorboard", tmp_path)(progress(2))
    assert [each.first for each in made] == [0, 2]


def test_wandb_gets_every_episode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Any] = []
    tell: Any = {"log": lambda row, step: rows.append((step, row)), "finish": lambda exit_code: rows.append(exit_code)}
    run = SimpleNamespace(**tell)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **options: rows.append(options) or run))
    write = sink("wandb", tmp_path / "mine")
    assert not rows
    write(progress(1, nan))
    write(progress(2))
    assert rows[0]["name"] == "mine"
    assert rows[0]["reinit"] is True
    assert rows[1:] == [(1, {"seconds": 3.0}), (2, {"loss": 1.0, "seconds": 3.0}), 0]


def test_wandb_is_told_whether_a_run_came_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    run = SimpleNamespace(log=lambda row, step: None, finish=lambda exit_code: codes.append(exit_code))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **options: run))

    def work(fails: bool) -> None:
        write = sink("wandb", tmp_path)
        with closing([write]):
            write(progress(1))
            if fails:
                raise KeyError

    try:
        work(True)
    except KeyError:
        work(False)  # an earlier failure is none of this run
    assert codes == [1, 0]


@pytest.mark.parametrize("name", sorted(SINKS))
def test_a_missing_package_is_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=rf"{name} must be installed.*pip install 'yoco-condense\[{name}\]'"):
        sink(name, tmp_path)


def test_a_package_that_is_there_and_does_not_work_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="tensorboard must be installed"):
        sink("tensorboard", tmp_path)


def test_unknown_sink(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sink: unknown name 'wand'; did you mean 'wandb'"):
        sink("wand", tmp_path)


def test_a_sink_is_closed_however_a_run_ends(tiny: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    class Own:
        def __init__(self, folder: Path) -> None:
            self.name = folder.name

        def __call__(self, progress: Progress) -> None:
            said.append(f"{self.name} {progress.episode}")

        def close(self) -> None:
            said.append(f"{self.name} closed")

    def stop(progress: Progress) -> None:
        raise Stop

    def fail(progress: Progress) -> None:
        raise RuntimeError("the power is gone")

    module = ModuleType("mine_sinks")
    module.own, module.plain = Own, lambda folder: lambda progress: said.append(folder.name)
    monkeypatch.setitem(sys.modules, "mine_sinks", module)
    how: dict[str, Any] = {"ipc": 1, "episodes": 2, "network": "convnet:width=4,depth=1", "progress": False}
    condense(tiny, "dm", out=tmp_path / "a", sink="mine_sinks:own", callbacks=(stop,), **how)
    with pytest.raises(RuntimeError, match="power"):
        condense(tiny, "dm", out=tmp_path / "b", sink="mine_sinks:own", callbacks=(fail,), **how)
    condense(tiny, "dm", out=tmp_path / "c", sink="mine_sinks:plain", **how)
    assert said == ["a 1", "a closed", "b closed", "c", "c"]


@pytest.mark.parametrize("name", sorted(SINKS))
def test_what_was_opened_is_closed_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[str] = []
    writer = SimpleNamespace(
        add_scalar=lambda *words: None,
        flush=lambda: None,
        close=lambda: ends.append("closed"),
        log=lambda row, step: None,
        finish=lambda exit_code: ends.append("closed"),
    )
    made = SimpleNamespace(SummaryWriter=lambda *words, **how: writer, init=lambda **how: writer)
    for module in ("tensorboard", "torch.utils.tensorboard", "wandb"):
        monkeypatch.setitem(sys.modules, module, made)
    told: Any = sink(name, tmp_path)
    told.close()
    assert not ends
    told(progress(1))
    told.close()
    told.close()
    assert ends == ["closed"]


def test_a_sink_is_made_within_the_folder_of_its_run(
    tiny: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def own(folder: Path) -> Any:
        with pytest.raises(ValueError, match="is being worked on by another process"), alone(folder):
            pass
        (folder / "mine.txt").write_text("begun")
        return lambda progress: None

    module: Any = ModuleType("mine_sinks")
    module.own, module.number, module.silent = own, 3, lambda folder: None
    monkeypatch.setitem(sys.modules, "mine_sinks", module)
    monkeypatch.setitem(sys.modules, "wandb", None)
    how: dict[str, Any] = {"ipc": 1, "episodes": 1, "network": "convnet:width=4,depth=1", "progress": False}
    for name, line in (
        ("wand", "sink: unknown name 'wand'"),
        ("wandb", "sink: the package wandb must be installed"),
        ("mine_sinks:number", "sink: mine_sinks:number must be a function of a folder that returns a callback, "),
        ("mine_sinks:silent", "sink: mine_sinks:silent must be a function of a folder that returns a callback, "),
    ):
        with pytest.raises(ValueError, match=f"^{line}"):
            condense(tiny, "dm", out=tmp_path / "a" / "run", sink=name, **how)
        assert list(tmp_path.iterdir()) == []
    condense(tiny, "dm", out=tmp_path / "a" / "run", sink="mine_sinks:own", **how)
    assert (tmp_path / "a/run/mine.txt").read_text() == "begun"
