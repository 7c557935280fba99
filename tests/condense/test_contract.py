"""A method of one's own, tried: what it must keep is kept, or said."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Self

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from yoco.condense import METHODS, check
from yoco.condense.method import Task
from yoco.condense.synthetic import Synthetic, start
from yoco.data import Splits
from yoco.rng import Rng

ONCE = count()


class Counter:
    """Counts, and says so or not."""

    def __init__(self, says: bool) -> None:
        self.says, self.count = says, 0

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count} if self.says else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state.get("count", 0)


@dataclass(frozen=True, kw_only=True)
class Own:
    """Pull the cells towards a number."""

    episodes: int = 9
    factor: int = 1
    fault: str = ""

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        return cls()

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        return start("noise", task.real, task.per_class, 1, rng)

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        return SGD([synthetic.cells], lr=0.1)

    def memory(self, task: Task, rng: Rng) -> Counter:
        return Counter(says=self.fault != "forgets")

    def episode(self, task: Task, synthetic: Synthetic, memory: Counter, rng: Rng) -> Iterator[Tensor]:
        memory.count += 1
        if self.fault == "spoils":
            task.real.images[0] = 0
        aim = next(ONCE) if self.fault == "wanders" else 0.1 * memory.count
        yield (synthetic.cells - aim).square().sum()


@dataclass(frozen=True, kw_only=True)
class Few(Own):
    """Has no settings for most data."""

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        if data != "digits":
            raise ValueError(f"few: no settings for {data}")
        return cls()


def test_a_good_method_is_let_through(tiny: Splits) -> None:
    made = check(f"{__name__}:Own", tiny, ipc=2)
    assert made.config["episodes_done"] == 3
    assert made.counts == (2, 2, 2)
    assert check(f"{__name__}:Own", tiny, episodes=0).config["episodes_done"] == 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("forgets", r"a run stopped after episode 1 must resume to the same set \(keep all state in the memory\)"),
        ("wanders", "the same seed must give the same set"),
        ("spoils", "real images must stay unchanged"),
    ],
)
def test_what_is_broken_is_said(tiny: Splits, fault: str, said: str) -> None:
    data = Splits(tiny.train.take(torch.arange(120)), tiny.test)
    data.train.images[0] = 7
    with pytest.raises(ValueError, match=rf"^method {__name__}:Own: {said}, got a difference$"):
        check(f"{__name__}:Own", data, fault=fault)


def test_a_method_has_settings_for_all_data(tiny: Splits) -> None:
    with pytest.raises(ValueError, match=r"^few: no settings for \w+$"):
        check(f"{__name__}:Few", tiny)


def test_a_method_of_a_paper_keeps_it_all(tiny: Splits) -> None:
    assert "dm" in METHODS
    assert len(check("dm", tiny, real_batch=8)) == 3


def test_a_method_with_a_teacher_is_tried_with_that_alone(tiny: Splits) -> None:
    small: dict[str, Any] = {"squeeze": 1, "teacher": "convnet:width=4,depth=1,norm=batch"}
    assert check("sre2l", tiny, **small).config["network"] == small["teacher"]
