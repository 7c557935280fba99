"""MDC: how the smaller size is chosen and remembered, and the settings."""

from dataclasses import asdict
from typing import Any

import pytest
import torch

from yoco.condense import settings_of
from yoco.condense.inner_steps import SETTINGS
from yoco.condense.method import Task
from yoco.condense.methods.idc import IDC
from yoco.condense.methods.mdc import MDC, Sizes
from yoco.data import Splits
from yoco.rng import Rng

NETWORK = "convnet:width=4,depth=2"
TOY: dict[str, Any] = {"inner": 2, "interval": 1, "factor": 2, "network_images": 64, "real_batch": 8}


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 3, NETWORK)


def chosen(*measured: list[float]) -> tuple[list[int], list[int], int]:
    """Size after each measurement, and in the end those that are done and the frozen one."""
    sizes = Sizes(None, len(measured[0]))  # type: ignore[arg-type]
    after = []
    for distances in measured:
        sizes.note(distances)
        sizes.begin_network()
        after.append(sizes.size)
    return after, sizes.done, sizes.frozen


@pytest.mark.parametrize(
    ("measured", "after", "done", "frozen"),
    [
        ([[9.0, 1.0, 1.0]], [1], [], 0),
        ([[9.0, 1.0, 1.0], [9.0, 2.0, 1.0]], [1, 2], [1], 1),
        ([[9.0, 5.0, 1.0], [9.5, 2.0, 2.0]], [1, 2], [1], 1),
        ([[1.0, 1.0, 1.0], [1.0, 1.0, 2.0], [1.0, 2.0, 2.0]], [1, 3, 2], [1, 3], 1),
        ([[1.0, 1.0, 1.0], [1.0, 2.0, 1.0], [2.0, 2.0, 1.0], [2.0, 2.0, 2.0]], [1, 2, 1, 3], [1, 2], 2),
        ([[1.0, 1.0, 1.0], [1.0, 2.0, 1.0], [1.0, 3.0, 1.0]], [1, 2, 2], [1, 2], 1),
        ([[1.0, 1.0, 1.0], [1.0, 1.3, 1.3]], [1, 2], [1], 1),
        ([[0.0, 0.5, 0.0], [0.3, 0.8, 0.0]], [1, 1], [1], 0),
        ([[1.000, 1.000], [1.004, 0.996]], [1, 1], [1], 0),
        ([[1.004, 1.000], [0.996, 1.006]], [1, 2], [1], 1),
    ],
    ids=[
        "the first time it is 1",
        "largest change, and the one before is frozen",
        "a fall is a change",
        "only smaller ones are frozen",
        "the largest of the smaller ones",
        "again the same: it is trained, not frozen",
        "of equals the smallest",
        "0.8 - 0.5 is 0.3",
        "below two decimals nothing changes",
        "rounded before, not after",
    ],
)
def test_the_size_whose_distance_changed_most_is_next(
    measured: list[list[float]], after: list[int], done: list[int], frozen: int
) -> None:
    assert chosen(*measured) == (after, done, frozen)


def test_distances_are_averaged_over_steps_and_classes() -> None:
    sizes = Sizes(None, 2)  # type: ignore[arg-type]
    for distances in ([1.0, 4.0], [2.0, 5.0], [6.0, 0.01]):
        sizes.note(distances)
    sizes.begin_network()
    assert sizes.before == [3.0, 3.0]
    assert (sizes.noted, sizes.totals) == (0, [0.0, 0.0])


def test_the_memory_gives_back_all_of_itself(task: Task) -> None:
    method = MDC(**TOY)
    memory = method.memory(task, Rng(1))
    memory.networks, memory.size, memory.done, memory.noted = 7, 2, [1, 2], 5
    memory.totals, memory.before = [0.1, 0.2], [0.3, 0.4]
    other = method.memory(task, Rng(5))
    other.load_state_dict(memory.state_dict())
    assert {**vars(other), "learner": None} == {**vars(memory), "learner": None}
    for mine, theirs in zip(other.learner.network.parameters(), memory.learner.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    other.done.append(3)
    assert memory.done == [1, 2]


@pytest.mark.parametrize("data", sorted({*SETTINGS} - {"digits"}))
def test_settings_are_those_of_idc(data: str) -> None:
    settings = asdict(MDC.published(data, 10))
    assert settings.pop("interval") == 100
    assert settings == asdict(IDC.published(data, 10))


def test_digits_see_several_choices_of_a_size_in_a_short_run() -> None:
    settings = MDC.published("digits", 10)
    assert settings.episodes // settings.inner // settings.interval >= 5


def test_impossible_settings() -> None:
    with pytest.raises(ValueError, match="mdc: interval must be at least 1, got 0"):
        settings_of("mdc", "digits", 1, None, interval=0)
    with pytest.raises(ValueError, match="mdc: inner must be at least 1, got 0"):
        settings_of("mdc", "digits", 1, None, inner=0)
