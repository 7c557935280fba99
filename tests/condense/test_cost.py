"""Estimates before a run: arithmetic on a clock that we hold, the memory, and that nothing is left behind."""

import resource
from dataclasses import replace
from inspect import signature
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from yoco.cli import run
from yoco.condense import Estimate, Task, condense, cost, estimate, settings_of
from yoco.condense.experts import Experts
from yoco.data import Splits
from yoco.rng import Rng

TOY: dict[str, Any] = {
    "ipc": 2,
    "network": "convnet:width=4,depth=2",
    "network_images": 64,
    "pretrain": 0,
    "real_batch": 8,
    "device": "cpu",
}
EXPERTS: dict[str, Any] = {"count": 4, "expert_epochs": 3, "expert_batch": 16, "max_start": 2, "student_steps": 2}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three seconds to begin, seven for the first step, two for the second."""
    times = iter([100.0, 103.0, 110.0, 112.0])
    monkeypatch.setattr(cost, "time", SimpleNamespace(monotonic=lambda: next(times)))


@pytest.mark.usefixtures("clock")
def test_the_second_step_is_the_pace_and_the_rest_of_the_first_the_start(tiny: Splits) -> None:
    found = estimate(tiny, episodes=100, **TOY)
    assert found.parts == (cost.Part(episodes=100, start=8.0, pace=2.0),)
    assert found.episodes == 100
    assert found.seconds == 8 + 2 * 100
    assert found.fitting == 100


@pytest.mark.parametrize(("minutes", "fit"), [(0.1, 0), (1.0, 26), (5.0, 100), (None, 100)])
@pytest.mark.usefixtures("clock")
def test_what_fits_into_a_time_budget(tiny: Splits, minutes: float | None, fit: int) -> None:
    assert estimate(tiny, episodes=100, minutes=minutes, **TOY).fitting == fit


@pytest.mark.usefixtures("clock")
def test_the_words(tiny: Splits) -> None:
    found = replace(estimate(tiny, "mdc", episodes=100, minutes=1.0, factor=2, **TOY), memory=700 * 2**20)
    assert str(found).splitlines() == [
        "estimate of mdc by 2 steps; nothing is written",
        "memory   700 MiB at most, of the whole process",
        "time     8 s to start, then 2 s a step: 100 steps in 3.47 min",
        "budget   26 of 100 steps in 1 min",
        "the set  1,728 bytes: pixels 1,536, labels 192, soft labels 0, decoder 0",
    ]
    assert "memory   not known" in str(replace(found, memory=None))
    assert "budget" not in str(replace(found, minutes=None))


def test_episodes_of_two_kinds_are_measured_apart(tiny: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 15.0, 25.0, 100.0, 100.2, 101.0, 101.5])
    monkeypatch.setattr(cost, "time", SimpleNamespace(monotonic=lambda: next(times)))
    teacher = "convnet:width=4,depth=2,norm=batch"
    found = estimate(tiny, "sre2l", ipc=1, episodes=60, squeeze=20, minutes=4.0, teacher=teacher)
    assert [(part.episodes, part.start, part.pace) for part in found.parts] == [(20, 5.0, 10.0), (40, 0.5, 0.5)]
    assert (found.episodes, found.seconds) == (60, 205.0 + 20.5)
    assert str(found).splitlines()[2:5] == [
        "time     5 s to start, then 10 s a step: 20 steps in 3.42 min",
        "then     0.5 s to start, then 0.5 s a step: 40 steps in 20.5 s",
        "budget   60 of 60 steps in 4 min",
    ]
    assert [replace(found, minutes=m).fitting for m in (0.05, 1.0, 205.0 / 60, 3.5)] == [0, 5, 20, 29]


@pytest.mark.parametrize(("squeeze", "parts"), [(0, [60]), (20, [20, 40])])
def test_a_kind_of_episodes_that_is_not_there_is_not_measured(tiny: Splits, squeeze: int, parts: list[int]) -> None:
    method: Any = settings_of("sre2l", "digits", 1, None, episodes=60, squeeze=squeeze)
    assert [phase.episodes for phase in method.phases(Task(tiny.train, 1))] == parts


def test_the_bytes_are_those_of_the_set_that_will_be_made(tiny: Splits) -> None:
    for method, factor, settings in (("idc", 2, TOY), ("frepo", 1, {"ipc": 2, "pool": 1, "network": TOY["network"]})):
        how = {**settings, "factor": factor, "episodes": 1}
        made = condense(tiny, method, progress=False, **how)
        assert estimate(tiny, method, **how).sample.bytes_of == made.bytes_of
    assert made.bytes_of["soft labels"] > 0


@pytest.mark.parametrize(
    ("method", "labels", "soft"),
    [("idc", None, 0), ("idc", "teacher", 72), ("readout", None, 72), ("readout", "hard", 0)],
)
def test_labels_that_are_asked_for_are_counted(tiny: Splits, method: str, labels: str | None, soft: int) -> None:
    how: dict[str, Any] = {"ipc": 2, "network": TOY["network"], "factor": 1, "labels": labels, "device": "cpu"}
    assert estimate(tiny, method, **how).sample.bytes_of["soft labels"] == soft
    with pytest.raises(ValueError, match=r"^condense: labels must be hard or teacher with idc, got 'learned'$"):
        estimate(tiny, "idc", **{**how, "labels": "learned"})


def test_it_takes_the_words_of_condense(tiny: Splits, tmp_path: Path) -> None:
    assert {*signature(estimate).parameters} == {*signature(condense).parameters}
    how: dict[str, Any] = {"progress": False, "sink": "wandb", "callbacks": (pytest.fail,), "out": tmp_path / "run"}
    assert estimate(tiny, **how, **TOY).episodes == settings_of("idc", "digits", 2, None).episodes
    assert list(tmp_path.iterdir()) == []


def test_memory_is_the_peak_of_the_process(tiny: Splits) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = estimate(tiny, **TOY)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if cost.sys.platform == "darwin" else 1024
    assert found.memory is not None
    assert before * unit <= found.memory <= after * unit


def test_a_method_with_experts_writes_none_of_them(tiny: Splits, tmp_path: Path) -> None:
    few = {**EXPERTS, "experts": str(tmp_path / "experts")}
    found = estimate(tiny, "mtt", ipc=1, network=TOY["network"], **few)
    assert isinstance(found, Estimate)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["mtt", "datm", "pdd"])
def test_experts_are_measured_by_two_of_their_steps(tiny: Splits, monkeypatch: Any, method: str) -> None:
    times = iter([0.0, 1.0, 7.0, 9.0, 20.0, 20.2, 21.0, 21.5])
    monkeypatch.setattr(cost, "time", SimpleNamespace(monotonic=lambda: next(times)))
    words = ",".join(f"{name}={value}" for name, value in EXPERTS.items())
    how = {"base": f"mtt:{words}"} if method == "pdd" else EXPERTS
    found = estimate(tiny, method, ipc=1, episodes=1000, network=TOY["network"], **how)
    steps = 4 * 3 * ceil(len(tiny.train) / 16)
    assert [(p.episodes, p.start, p.pace, p.unit) for p in found.parts] == [
        (steps, 5.0, 2.0, "step of an expert"),
        (1000, 0.5, 0.5, "step"),
    ]
    assert f"then 2 s a step of an expert: {steps} steps of an expert in" in str(found)
    assert found.episodes == 1000
    assert [replace(found, minutes=(5 + 2 * steps + more) / 60).fitting for more in (-5, 1.5, 9000)] == [0, 2, 1000]


def test_what_gathers_in_a_run_is_added_to_the_memory(
    tiny: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "_peak", lambda device: (1000, "of a stub"))
    weights = sum(w.numel() for w in Task(tiny.train, 1, TOY["network"]).network(Rng(0)).parameters())
    queue = {"pool_start": 2, "pool_limit": 9, "interval": 10, "network_steps": 1, "network_batch": 8}
    for method, how, more in (
        ("mtt", {**EXPERTS, "episodes": 1000}, 3 * 4 * weights * 4),
        ("datm", {**EXPERTS, "episodes": 1}, 0),
        ("mtt", {**EXPERTS, "episodes": 1000, "count": 40}, 39 * 4 * weights * 4),
        ("mtt", {**EXPERTS, "episodes": 1000, "experts": str(tmp_path)}, 0),
        ("mtt", {**EXPERTS, "episodes": 1000, "count": 40, "out": tmp_path / "run"}, 0),
        ("pdd", {"episodes": 20, "base": "idm:" + ",".join(f"{k}={v}" for k, v in queue.items())}, weights * 8),
        ("accdd", {"episodes": 40, "inner": 10, "early": 3, "early_epochs": 1}, 2 * weights * 4),
        ("accdd", {"episodes": 20, "inner": 10, "early": 3, "early_epochs": 1}, weights * 4),
        ("idm", {**queue, "episodes": 30}, 2 * weights * 8),
        ("idm", {**queue, "episodes": 31}, 3 * weights * 8),
        ("idm", {**queue, "episodes": 3500}, 7 * weights * 8),
        ("dm", {}, 0),
    ):
        found = estimate(tiny, method, ipc=1, network=TOY["network"], device="cpu", **how)
        assert found.memory == 1000 + more


def test_experts_that_are_there_are_not_measured(tiny: Splits, tmp_path: Path) -> None:
    method: Any = settings_of("mtt", "digits", 1, None, **EXPERTS, experts=str(tmp_path))
    task = Task(tiny.train, 1, TOY["network"])
    each = 3 * ceil(len(tiny.train) / 16)
    assert [phase.episodes for phase in method.phases(task)] == [4 * each, method.episodes]
    assert [phase.episodes for phase in replace(method, episodes=1).phases(task)] == [each, 1]
    for number in range(4):
        assert Experts(task, method.recipe(), Rng(0), tmp_path).record(number)
        missing = [(3 - number) * each] if number < 3 else []
        assert [phase.episodes for phase in method.phases(task)] == [*missing, method.episodes]


def test_the_second_step_finds_what_the_first_made(tiny: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[int] = []
    whole = cost.descend

    def counted(task: Any, method: Any, journey: Any, rng: Any) -> float:
        loss = whole(task, method, journey, rng)
        recorded.append(len(journey.memory.weights))
        return loss

    monkeypatch.setattr(cost, "descend", counted)
    estimate(tiny, "accdd", ipc=1, network=TOY["network"], early_epochs=1)
    assert recorded == [1, 1, 1]  # the third begins with a new memory


def test_the_global_generator_is_untouched(tiny: Splits) -> None:
    before = torch.random.get_rng_state()
    estimate(tiny, **TOY)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.25, "0.25 s"), (99.0, "99 s"), (100.0, "1.67 min"), (6000.0, "1.67 h"), (48 * 3600.0, "2.0 days")],
)
def test_durations(seconds: float, said: str) -> None:
    assert cost.duration(seconds) == said


def test_the_command_says_it_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = ["condense", "--data", "digits", "--network", "convnet:width=4,depth=2", "--network-images", "64"]
    argv += ["--inner", "5"]
    assert run([*argv, "--ipc", "1", "--minutes", "2", "--dry-run", "--out", "here"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["estimate", "memory", "time", "budget", "the"]
    assert list(tmp_path.iterdir()) == []
    assert run(["condense", "--dry-run", "--minutes", "0"]) == 2
    assert capsys.readouterr().err == "yoco: condense: minutes must be above 0, got 0\n"


@pytest.mark.parametrize("method", ["random", "herding", "k-means", "best-crops", "rded", "pdd"])
def test_a_run_of_no_steps_is_its_start_alone(tiny: Splits, method: str) -> None:
    found = estimate(tiny, method, episodes=0, ipc=2, network=TOY["network"], device="cpu")
    (part,) = found.parts
    assert (part.episodes, part.pace, found.episodes, found.fitting) == (0, 0.0, 0, 0)
    assert part.start == found.seconds > 0
    assert f"time     {cost.duration(part.start)}, without a step" in str(found)


@pytest.mark.parametrize(
    ("method", "changes", "renewals"),
    [
        ("idc", {}, 5),
        ("idc", {"episodes": 41}, 3),
        ("idc", {"pretrain": 0}, 1),
        ("mdc", {"episodes": 40}, 2),
        ("dream", {"episodes": 160}, 8),
        ("dream", {"episodes": 165, "pretrain": 0}, 17),
        ("dream", {"episodes": 165}, 9),
        ("dream", {"pretrain": 0, "inner": 5, "interval": 2, "episodes": 12}, 7),
        ("dream", {"pretrain": 0, "interval": 50, "episodes": 160}, 8),
        ("accdd", {}, 5),
        ("accdd", {"episodes": 40}, 2),
        ("accdd", {"early_epochs": 0}, 1),
        ("pdd", {"base": "idc:pretrain=1,inner=20", "episodes": 100}, 5),
        ("pdd", {"base": "accdd:inner=20", "episodes": 150}, 10),
        ("pdd", {"base": "accdd:inner=20", "episodes": 1000}, 25),
        ("pdd", {"base": "dc:outer=1", "episodes": 100}, 5),
        ("pdd", {"base": "idc:pretrain=0,inner=20", "episodes": 1000}, 50),
        ("pdd", {"base": "dc:outer=5", "episodes": 100}, 20),
        ("pdd", {"base": "dm", "episodes": 100}, 5),
        ("dc", {"outer": 2, "episodes": 40}, 20),
        ("dc", {"outer": 1, "episodes": 40}, 1),
    ],
)
def test_what_is_done_again_is_counted(method: str, changes: dict[str, Any], renewals: int) -> None:
    assert settings_of(method, "digits", 10, None, **changes).renewals == renewals  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("method", "changes", "period"),
    [
        ("accdd", {"early": 2, "early_epochs": 1}, 0),
        ("idc", {"pretrain": 1}, 2),
        ("pdd", {"base": "accdd:inner=2,early=2,early_epochs=0", "factor": 1}, 0),
    ],
)
def test_the_bar_knows_what_recurs(
    tiny: Splits, method: str, changes: dict[str, Any], period: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []

    def bar(self: Any, minutes: Any, changes: Any, period: int) -> None:
        found.append(period)
        raise KeyboardInterrupt

    monkeypatch.setattr("yoco.condense.progress.Bar.__init__", bar)
    own = {} if method == "pdd" else {"inner": 2}
    with pytest.raises(KeyboardInterrupt):
        condense(tiny, method, ipc=1, episodes=8, **own, **changes)
    assert found == [period]


def test_an_estimate_has_every_new_network(tiny: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    """One second to begin, then steps of ten, one and, with a new network, nine: two of ten were for this process."""
    times = iter([0.0, 1.0, 11.0, 12.0, 20.0, 29.0])
    monkeypatch.setattr(cost, "time", SimpleNamespace(monotonic=lambda: next(times)))
    found = estimate(tiny, "idc", ipc=1, network="convnet:width=4,depth=2", real_batch=8, minutes=1.0)
    assert found.episodes == 100
    assert found.seconds == pytest.approx(1 + 9 + 4 * 8 + 100 * 1)
    assert found.fitting == int((60 - 10) / 1.32)
    assert "by 3 steps" in str(found)
