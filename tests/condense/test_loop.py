"""The loop: resuming to the same bits, time budgets, interruption, and what it refuses. Its method is a stand-in."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

import yoco
from yoco.condense import loop
from yoco.condense.loop import Interrupted, Progress, condense
from yoco.condense.method import Task
from yoco.condense.progress import Bar
from yoco.condense.synthetic import Synthetic, start
from yoco.data import Splits
from yoco.rng import Rng
from yoco.run import Run


class Count:
    """Memory that counts."""

    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


@dataclass(frozen=True, kw_only=True)
class Pull:
    """Pull the cells towards random targets, harder the more episodes memory has seen."""

    episodes: int = 6
    factor: int = 2
    scale: float = 1.0

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        return start("mix", task.real, task.per_class, self.factor, rng)

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        return SGD([synthetic.cells], lr=0.01, momentum=0.5)

    def memory(self, task: Task, rng: Rng) -> Count:
        return Count()

    def episode(self, task: Task, synthetic: Synthetic, memory: Count, rng: Rng) -> Iterator[Tensor]:
        memory.count += 1
        for label in task.classes:
            target = torch.rand(1, generator=rng.child(label).generator())
            yield self.scale * memory.count * (synthetic.of(label).images - target).square().sum()


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 1)


def test_stopped_after_each_episode_it_ends_in_the_same_bits(task: Task, tmp_path: Path) -> None:
    whole = condense(task, Pull(), seed=4)
    for stop in range(1, 6):
        folder = tmp_path / str(stop)

        def interrupt(progress: Progress, stop: int = stop) -> None:
            if progress.episode == stop:
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(Interrupted):
            condense(task, Pull(), seed=4, run=Run(folder, {"a": 1}), callbacks=[interrupt])
        resumed = condense(task, Pull(), seed=4, run=Run(folder, {"a": 1}))
        assert torch.equal(resumed.cells, whole.cells)
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == 6


def test_seeds_decide(task: Task) -> None:
    cells = [condense(task, Pull(), seed=seed).cells for seed in (1, 1, 2)]
    assert torch.equal(cells[0], cells[1])
    assert not torch.equal(cells[0], cells[2])


def test_a_checkpoint_every_thirty_seconds_and_metrics_after_it_are_made_again(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    run, saved = Run(tmp_path, {}), []
    save = run.save
    monkeypatch.setattr(run, "save", lambda state: (saved.append(state["episode"]), save(state)))

    def tick(progress: Progress) -> None:
        clock[0] += 12
        if progress.episode == 5:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        condense(task, Pull(), seed=0, run=run, callbacks=[tick])
    assert saved == [3]
    assert len(run.metrics.read_text().splitlines()) == 5
    again = condense(task, Pull(), seed=0, run=Run(tmp_path, {}))
    assert torch.equal(again.cells, condense(task, Pull(), seed=0).cells)
    assert len(run.metrics.read_text().splitlines()) == 6


def test_minutes_end_a_run_and_more_minutes_go_on(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])

    def tick(progress: Progress) -> None:
        clock[0] += 30

    steps = []
    for minutes in (1, 1, 2, 100):
        run = Run(tmp_path, {"minutes": minutes})
        made = condense(task, Pull(episodes=9), seed=0, run=run, minutes=minutes, callbacks=[tick])
        steps.append(made.config["episodes_done"])
    assert steps == [2, 2, 4, 9]


def test_the_start_is_counted_once(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty seconds for the start, which is made again when the run goes on, and ten after each episode."""
    clock, plain = [0.0], Pull.synthetic
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])

    def slow(self: Pull, task: Task, rng: Rng) -> Synthetic:
        clock[0] += 40
        return plain(self, task, rng)

    def tick(progress: Progress) -> None:
        clock[0] += 10

    monkeypatch.setattr(Pull, "synthetic", slow)
    found = []
    for minutes in (0.5, 1, 2):
        made = condense(task, Pull(episodes=9), seed=0, run=Run(tmp_path, {}), minutes=minutes, callbacks=[tick])
        found.append((made.config["episodes_done"], made.config["seconds"]))
    assert found == [(0, 40.0), (2, 60.0), (8, 120.0)]


def test_a_folder_is_locked_ahead_of_the_start(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pull, "synthetic", None)
    with (
        Run(tmp_path, {}).working(),
        pytest.raises(ValueError, match="is being worked on by another process"),
    ):
        condense(task, Pull(), seed=0, run=Run(tmp_path, {}))


def test_no_episodes_give_the_start(task: Task) -> None:
    made = condense(task, Pull(episodes=0), seed=7)
    assert torch.equal(made.cells, start("mix", task.real, 1, 2, Rng(7).child("start")).cells)


def test_a_loss_that_is_not_finite_stops_the_run(task: Task, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="loss must be finite, got nan in episode 0; lower the step sizes"):
        condense(task, Pull(scale=float("nan")), seed=0, run=Run(tmp_path, {}))
    assert not (tmp_path / "checkpoint.pt").exists()


def test_pixels_end_in_range_and_provenance_is_whole(task: Task) -> None:
    made = condense(task, Pull(scale=50.0), seed=0)
    assert made.cells.min() >= 0
    assert made.cells.max() <= 1
    assert made.method == "pull"
    assert made.config["scale"] == 50.0
    assert made.source["checksum"] == task.real.checksum
    assert made.seed == 0


def progress_at(episode: int, seconds: float) -> Progress:
    cells = torch.zeros(2, 1, 2, 2)
    return Progress(episode, 100, 1.0, seconds, Synthetic(cells, 2, 1, (2, 2)))


def test_estimate_is_pace_times_rest() -> None:
    bar = Bar()
    bar(progress_at(10, 20.0))
    assert bar.left(progress_at(10, 20.0)) == (pytest.approx(2.0 * 90), True)
    assert bar.left(progress_at(20, 50.0)) == (pytest.approx(3.0 * 80), True)


def test_estimate_never_exceeds_the_budget() -> None:
    bar = Bar(minutes=2)
    bar(progress_at(10, 20.0))
    assert bar.left(progress_at(20, 50.0)) == (70, True)
    assert bar.left(progress_at(99, 89.5)) == (pytest.approx(0.5), True)


def test_the_pace_is_that_of_the_last_episodes() -> None:
    bar = Bar()
    paces = [bar.left(progress_at(k, 60.0 * min(k, 5) + max(0, k - 5)))[0] / (100 - k) for k in range(1, 21)]
    assert paces[:5] == pytest.approx([60.0] * 5)
    assert paces[9] == pytest.approx((305 - 60) / 9)
    assert paces[14:] == pytest.approx([1.0] * 6)


def test_what_is_done_now_and_then_is_in_the_pace() -> None:
    bar = Bar(period=20)
    seconds = [k + 30.0 * (1 + (k - 1) // 20) for k in range(1, 401)]  # a new network every 20 episodes
    points = [replace(progress_at(k, spent), episodes=1000) for k, spent in enumerate(seconds, 1)]
    found = [bar.left(point)[0] / (1000 - point.episode) for point in points]
    assert found[40:200] == pytest.approx([1 + 30 / 20] * 160)
    assert found[240:] == pytest.approx([1 + 30 / 20] * 160)  # in between, the window grows to two periods


def test_a_clock_that_stands_still_closes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    monkeypatch.setattr(Bar, "close", lambda _: closed.append(1))
    for bar, end in ((Bar(), 100), (Bar(minutes=1), 9)):
        for episode in (1, 2, 3):
            bar(progress_at(episode, 5.0))
        assert not closed
        bar(progress_at(end, 5.0 if end == 100 else 60.0))
        assert closed.pop()


def test_what_comes_after_a_change_is_not_foretold() -> None:
    bar = Bar(changes=(3,))
    for episode, seconds, said in (
        (1, 60.0, "step 1, loss 1, 01:00 spent, more than 02:00 left"),
        (2, 120.0, "step 2, loss 1, 02:00 spent, more than 01:00 left"),
        (3, 180.0, "step 3, loss 1, 03:00 spent, more than 00:00 left"),
        (4, 181.0, "step 4, loss 1, 03:01 spent, 01:36 left"),
    ):
        bar(progress_at(episode, seconds))
        assert bar._bar is not None
        assert bar._bar.desc == said
        assert bar._bar.n == pytest.approx(episode / 100 if episode < 4 else 181 / 277)
    assert Bar(changes=(3,)).left(progress_at(50, 200.0)) == (0.0, False)
    assert Bar(minutes=2, changes=(3,)).left(progress_at(1, 60.0)) == (60.0, True)


@pytest.mark.parametrize("episodes", [0, 3])
def test_a_stop_that_is_asked_for_in_the_start_is_not_forgotten(task: Task, tmp_path: Path, episodes: int) -> None:
    class Slow(Pull):
        def synthetic(self, task: Task, rng: Rng) -> Synthetic:
            signal.raise_signal(signal.SIGINT)
            return super().synthetic(task, rng)

    seen: list[Progress] = []
    with pytest.raises(Interrupted):
        condense(task, Slow(episodes=episodes), seed=0, run=Run(tmp_path, {}), callbacks=[seen.append])
    assert not seen
    made = condense(task, Pull(episodes=episodes), seed=0, run=Run(tmp_path, {}))
    assert torch.equal(made.cells, condense(task, Pull(episodes=episodes), seed=0).cells)


def test_every_episode_has_a_stream_of_its_own(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, keys = loop.descend, []
    monkeypatch.setattr(loop, "descend", lambda *given: keys.append(given[3].key()) or plain(*given))  # type: ignore[func-returns-value]
    condense(task, Pull(episodes=3), seed=4)
    assert keys == [Rng(4).child("episode", k).key() for k in range(3)]


def test_an_episode_that_descends_nothing_has_no_loss(tiny: Splits, tmp_path: Path) -> None:
    how: dict[str, Any] = {"episodes": 2, "network": "mlp:width=4", "progress": False, "out": tmp_path}
    yoco.condense(tiny, "herding", ipc=1, **how)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["episode"], "loss" in row) for row in rows] == [(1, False), (2, False)]
    shown = Bar()
    shown(replace(progress_at(1, 2.0), loss=nan))
    assert shown._bar is not None
    assert shown._bar.desc == "step 1, 00:02 spent, 03:18 left"
    shown(progress_at(1, 2.0))
    assert shown._bar.desc == "step 1, loss 1, 00:02 spent, 03:18 left"
