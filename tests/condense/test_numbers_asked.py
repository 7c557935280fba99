"""Numbers that a caller of `condense` gives: whole ones of any kind, or one line."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from yoco.condense import condense, estimate, relabel
from yoco.condense.asked import numbers_of
from yoco.condense.experts import record
from yoco.condense.method import Task
from yoco.condensed import CondensedSet
from yoco.data import Splits, load
from yoco.train import Recipe


def test_whole_numbers_become_those_of_python() -> None:
    for seed, size in ((7, 8), (np.int64(7), np.int32(8)), (torch.tensor(7), torch.tensor(8, dtype=torch.uint8))):
        found = numbers_of(seed, size)
        assert found == (7, 8)
        assert [type(each) for each in found] == [int, int]
    assert numbers_of(0, None) == (0, None)


def test_a_seed_of_torch_is_a_seed(tiny: Splits) -> None:
    asked: dict[str, Any] = {"ipc": 1, "device": "cpu", "progress": False}
    seed: Any = torch.tensor(3)
    made = condense(tiny, "random", seed=seed, **asked)
    assert type(made.seed) is int
    assert made.checksum == condense(tiny, "random", seed=3, **asked).checksum


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"seed": torch.tensor(1.5)}, "seed must be a whole number, got tensor(1.5000)"),
        ({"seed": "1"}, "seed must be a whole number, got '1'"),
        ({"size": 8.5}, "size must be a whole number, got 8.5"),
        ({"labels": "teacher", "teacher_epochs": 2.0}, "teacher_epochs must be a whole number, got 2.0"),
    ],
)
def test_other_numbers_are_one_line(tiny: Splits, asked: dict[str, Any], line: str) -> None:
    verbs: tuple[Callable[..., object], ...] = (condense, estimate)
    for verb in verbs:
        with pytest.raises(ValueError) as caught:
            verb(tiny, "random", ipc=1, **asked)
        assert str(caught.value) == f"condense: {line}"


def test_so_are_they_elsewhere(tiny: Splits, tiny_set: CondensedSet, tmp_path: Any) -> None:
    half: Any = 1.5
    with pytest.raises(ValueError, match=r"^data: size must be a whole number, got 1\.5$"):
        load(tiny, size=half)
    with pytest.raises(ValueError, match=r"^relabel: seed must be a whole number, got 1\.5$"):
        relabel(tiny_set, tiny, seed=half)
    with pytest.raises(ValueError, match=r"^relabel: epochs must be a whole number, got 1\.5$"):
        relabel(tiny_set, tiny, epochs=half)
    with pytest.raises(ValueError, match=r"^experts: seed must be a whole number, got 1\.5$"):
        record(Task(tiny.train, 1), Recipe(epochs=1), tmp_path, 1, seed=half)
