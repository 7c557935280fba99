"""What a method of one's own remembers, and how it starts, kept or refused; what callbacks and a stop say."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

import yoco
from yoco.condense import loop
from yoco.condense.loop import Interrupted, Progress, Stop, condense
from yoco.condense.method import Task
from yoco.condense.synthetic import Synthetic, start
from yoco.data import Splits
from yoco.report.plots import drawable
from yoco.rng import Rng
from yoco.run import Run

IDM: dict[str, Any] = {"real_batch": 8, "network_batch": 16, "interval": 2, "pool_start": 2, "pool_limit": 3}


class Queue:
    """Has a length, and is empty when it is made."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def __len__(self) -> int:
        return len(self.seen)

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]


@dataclass(frozen=True, kw_only=True)
class Own:
    """Pull the cells towards what has been drawn so far."""

    kind: Any = Queue
    episodes: int = 4
    factor: int = 1

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        return start("noise", task.real, task.per_class, 1, rng)

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        return SGD([synthetic.cells], lr=0.1)

    def memory(self, task: Task, rng: Rng) -> Any:
        return self.kind()

    def episode(self, task: Task, synthetic: Synthetic, memory: Any, rng: Rng) -> Iterator[Tensor]:
        if isinstance(memory, Queue):
            memory.seen.append(float(torch.rand(1, generator=rng.generator())))
        yield (synthetic.cells - sum(getattr(memory, "seen", [0.0]))).square().mean()


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 1)


@pytest.mark.parametrize("stop", [1, 3])
def test_a_memory_with_a_length_goes_on_to_the_same_bits(task: Task, tmp_path: Path, stop: int) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.episode == stop:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        condense(task, Own(), seed=1, run=Run(tmp_path, {}), callbacks=[interrupt])
    again = condense(task, Own(), seed=1, run=Run(tmp_path, {}))
    assert torch.equal(again.cells, condense(task, Own(), seed=1).cells)


def test_a_memory_that_is_still_empty_is_given_back(task: Task, tmp_path: Path) -> None:
    class Strict(Queue):
        def load_state_dict(self, state: dict[str, Any]) -> None:
            assert state == {"seen": []}

    def at_once(self: Own, task: Task, rng: Rng) -> Synthetic:
        signal.raise_signal(signal.SIGINT)
        return start("noise", task.real, task.per_class, 1, rng)

    stopped = type("Stopped", (Own,), {"synthetic": at_once})
    with pytest.raises(Interrupted):
        condense(task, stopped(kind=Strict), seed=1, run=Run(tmp_path, {}))
    assert condense(task, Own(kind=Strict), seed=1, run=Run(tmp_path, {})).config["episodes_done"] == 4


def test_a_memory_that_cannot_be_saved_is_refused_at_once(task: Task) -> None:
    rule = r"^condense: memory must be None, or have state_dict and load_state_dict, got dict$"
    with pytest.raises(ValueError, match=rule):
        condense(task, Own(kind=dict), seed=0, callbacks=[lambda _: pytest.fail("an episode was done")])


def test_a_memory_that_no_checkpoint_could_hold_is_refused_ahead_of_the_first_episode(
    task: Task, tmp_path: Path
) -> None:
    class Numbers(Queue):
        def state_dict(self) -> dict[str, Any]:
            return {"seen": np.zeros(2)}

    rule = r"^run: a checkpoint must hold only tensors, .*, got numpy\S*_reconstruct$"
    run = Run(tmp_path / "run", {})
    with pytest.raises(ValueError, match=rule):
        condense(task, Own(kind=Numbers), seed=0, run=run, callbacks=[lambda _: pytest.fail("an episode was done")])
    assert list(tmp_path.iterdir()) == []
    assert condense(task, Own(kind=Numbers), seed=0).config["episodes_done"] == 4


def test_a_callback_ends_a_run_as_its_time_budget_would(tiny: Splits, tmp_path: Path) -> None:
    heard: list[int] = []

    def enough(progress: Progress) -> None:
        if progress.episode == 2:
            raise Stop

    how: dict[str, Any] = {"ipc": 1, "network": "convnet:width=4,depth=2", "episodes": 5, "real_batch": 8}
    how |= {"progress": False, "out": tmp_path / "stopped"}
    made = yoco.condense(tiny, "dm", callbacks=(enough, lambda progress: heard.append(progress.episode)), **how)
    assert heard == [1, 2]
    assert made.config["episodes_done"] == 2
    assert yoco.load(tmp_path / "stopped/condensed.safetensors").checksum == made.checksum
    whole = yoco.condense(tiny, "dm", **how)
    assert whole.config["episodes_done"] == 5
    assert whole.checksum == yoco.condense(tiny, "dm", **{**how, "out": None}).checksum


@pytest.mark.parametrize(
    ("method", "how"), [("dm", {"space": "zca", "real_batch": 8}), ("rded", {"pool": 8, "crops": 2}), ("idm", IDM)]
)
def test_a_set_that_a_callback_keeps_stays_as_it_is(tiny: Splits, method: str, how: dict[str, Any]) -> None:
    kept: list[tuple[yoco.CondensedSet, str]] = []

    def keep(progress: Progress) -> None:
        made = progress.condensed()
        kept.append((made, made.checksum))

    network = "convnet:width=4,depth=2"
    last = yoco.condense(
        tiny, method, ipc=1, network=network, episodes=3, device="cpu", progress=False, callbacks=(keep,), **how
    )
    assert [made.checksum for made, _ in kept] == [was for _, was in kept]
    assert kept[-1][1] == last.checksum


def test_a_later_checkpoint_that_could_not_be_read_does_not_take_the_place_of_one_that_can(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Numbers(Queue):
        def state_dict(self) -> dict[str, Any]:
            return {"seen": self.seen, "best": None if len(self) < 3 else np.zeros(2)}

    monkeypatch.setattr("yoco.condense.loop.CHECKPOINT_SECONDS", 0.0)
    run = Run(tmp_path, {})
    with pytest.raises(ValueError, match=r"^run: a checkpoint must hold only tensors, "):
        condense(task, Own(kind=Numbers), seed=0, run=run)
    assert (run.restore() or {})["episode"] == 2


def test_a_start_that_is_no_set_is_refused_before_the_first_episode(task: Task) -> None:
    class Wrong(Own):
        def synthetic(self, task: Task, rng: Rng) -> Synthetic:
            return Synthetic(torch.rand(3, 1, 5, 5), 3, 1, (8, 8))

    with pytest.raises(ValueError, match=r"cells"):
        condense(task, Wrong(), seed=0, callbacks=[lambda _: pytest.fail("an episode was done")])


def test_a_stop_says_so_at_once_and_gives_the_set_so_far(
    task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Tensor] = []

    def interrupt(progress: Progress) -> None:
        seen.append(progress.condensed().cells)
        if progress.episode == 2:
            os.kill(os.getpid(), signal.SIGINT)

    for run, more in ((None, ""), (Run(tmp_path, {}), f"; the same call goes on from {tmp_path}")):
        with pytest.raises(Interrupted) as stopped:
            condense(task, Own(), seed=1, run=run, callbacks=[interrupt])
        assert str(stopped.value) == f"stopped after 2 of 4 episodes{more}"
        assert torch.equal(stopped.value.condensed.cells, seen[-1])
        assert stopped.value.condensed.config["episodes_done"] == 2
        assert capsys.readouterr().err == "\nstopping after this episode; interrupt again to stop at once\n"
    assert not torch.equal(seen[0], seen[1])


def test_what_callbacks_answer_is_measured_once(task: Task, tmp_path: Path) -> None:
    stop = 2

    def accuracy(progress: Progress) -> dict[str, float] | None:
        if progress.episode == stop:
            os.kill(os.getpid(), signal.SIGINT)
        return {"accuracy": np.float32(progress.episode)} if progress.episode % 2 == 0 else None

    with pytest.raises(Interrupted):
        condense(task, Own(), seed=1, run=Run(tmp_path, {}), callbacks=[accuracy])
    stop = 0
    made = condense(task, Own(), seed=1, run=Run(tmp_path, {}), callbacks=[accuracy, lambda _: None])
    assert torch.equal(made.cells, condense(task, Own(), seed=1).cells)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["episode"], row.get("accuracy")) for row in rows] == [
        *((1, None), (2, None), (2, 2.0)),
        *((3, None), (4, None), (4, 4.0)),
    ]
    assert drawable(rows) == ("loss", "accuracy")


def test_a_set_so_far_says_where_its_data_are(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    how: dict[str, Any] = {"ipc": 1, "network": "mlp:width=4", "real_batch": 8, "progress": False, "size": 6}
    with pytest.raises(Interrupted) as stopped:
        yoco.condense("digits", "dm", callbacks=(interrupt,), **how)
    assert stopped.value.condensed.form == {"size": 6, "grey": False}


def test_a_run_within_a_callback_that_is_stopped_stops_the_run_around_it(task: Task, tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def within(progress: Progress) -> None:
        if progress.episode == 2:
            condense(task, Own(), seed=5, callbacks=[interrupt])

    seen: list[int] = []

    def beside(progress: Progress) -> None:
        seen.append(progress.episode)

    with pytest.raises(Interrupted) as stopped:
        condense(task, Own(), seed=1, run=Run(tmp_path, {}), callbacks=[within, beside])
    assert str(stopped.value) == f"stopped after 2 of 4 episodes; the same call goes on from {tmp_path}"
    assert (stopped.value.condensed.seed, stopped.value.condensed.config["episodes_done"]) == (1, 2)
    assert isinstance(stopped.value.__cause__, Interrupted)
    assert stopped.value.__cause__.condensed.seed == 5
    again = condense(task, Own(), seed=1, run=Run(tmp_path, {}), callbacks=[beside])
    assert seen == [1, 2, 3, 4]
    assert torch.equal(again.cells, condense(task, Own(), seed=1).cells)


def test_an_episode_without_any_yield_is_welcome(task: Task) -> None:
    class Filling(Own):
        def episode(self, task: Task, synthetic: Synthetic, memory: Any, rng: Rng) -> Any:
            memory.seen.append(0.25)
            synthetic.cells.detach().fill_(sum(memory.seen))

    losses: list[float] = []
    made = condense(task, Filling(episodes=2), seed=0, callbacks=[lambda progress: losses.append(progress.loss)])
    assert [isnan(loss) for loss in losses] == [True, True]
    assert bool((made.cells == 0.5).all())


@pytest.mark.parametrize(("seconds", "written"), [(0.0, [3, 6, 9]), (2.0, [3, 7])])
def test_a_memory_that_takes_long_to_save_is_saved_less_often(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, written: list[int]
) -> None:
    clock, saved = [0.0], []

    class Slow(Queue):
        def state_dict(self) -> dict[str, Any]:
            clock[0] += seconds
            saved.append(len(self))
            return super().state_dict()

    def tick(progress: Progress) -> None:
        clock[0] += 12

    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    condense(task, Own(kind=Slow, episodes=9), seed=0, run=Run(tmp_path, {}), callbacks=[tick])
    assert saved == [0, *written]  # once ahead, to see whether it can be saved at all
