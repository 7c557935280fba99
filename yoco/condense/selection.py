"""Choose real images by pixels or features: the common part of the methods that learn no pixels."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from yoco.condense.aside import before_the_last
from yoco.condense.coreset import enough
from yoco.condense.method import Task
from yoco.condense.synthetic import Synthetic, check_factor, check_tiles, shrunk
from yoco.condense.teacher import Teacher, usual
from yoco.rng import Rng

See = Callable[[Tensor], Tensor]
"""Images float [n, C, H, W] in [0, 1] -> features [n, D]."""


@dataclass(frozen=True, kw_only=True)
class Selection(ABC):
    """Every cell holds a real image of its class, the best first; no loss is descended.

    Images are compared by their pixels or, at the end of the last episode, by the features of a network. One episode is
    one epoch of that network on the real data.
    """

    episodes: int = 0
    """epochs of the network whose features are compared; 0 compares pixels"""
    factor: int = 1
    """factor^2 cells share the room of one image: 1 to 4"""
    shrink: str = "nearest"
    """how images are shrunk into cells: nearest or area"""

    def __post_init__(self) -> None:
        check_factor(self.factor)

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """The same for all data."""
        return cls()

    @abstractmethod
    def choose(self, images: Tensor, see: See, count: int, rng: Rng) -> Tensor:
        """The images for up to `count` cells of a class, best first: float [n, C, h, w]; images: all of the class."""

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        """The choice by pixels."""
        cells = self.cells(task, lambda images: images.flatten(1), rng)
        return Synthetic(cells, len(task.classes), self.factor, (task.real.shape[1], task.real.shape[2]))

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        """One that never steps."""
        return SGD([synthetic.cells], lr=0.0)

    def memory(self, task: Task, rng: Rng) -> Teacher | None:
        """The network whose features are compared."""
        return Teacher(task, usual(task, self.episodes), rng) if self.episodes else None

    def episode(self, task: Task, synthetic: Synthetic, memory: Teacher, rng: Rng) -> Iterator[Tensor]:
        """An epoch of the network and, after the last, the choice by its features."""
        memory.learn()
        if memory.age == self.episodes:
            with torch.no_grad():
                synthetic.cells.copy_(self.cells(task, memory.features, rng))
        yield from ()

    def phases(self, task: Task) -> tuple[Any, ...]:
        """What estimates measure: the epochs but the last, then the last one with the choice after it."""
        return before_the_last(self)

    def cells(self, task: Task, see: See, rng: Rng) -> Tensor:
        """The cells of all classes; a choice too short for its cells is repeated."""
        _, height, width = task.real.shape
        check_tiles((height, width), self.factor)
        parts, wanted = [], task.per_class * self.factor**2
        for label, members in enumerate(task.real.by_class):
            chosen = self.choose(task.real.batch(members).images, see, wanted, rng.child(label))
            chosen = chosen[enough(torch.arange(len(chosen)), wanted)]
            parts.append(shrunk(chosen, task.per_class, self.factor, self.shrink, (height, width)))
        return torch.cat(parts)
