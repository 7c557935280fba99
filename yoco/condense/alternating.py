"""Alternate: match gradients on a network, train it on the synthetic set, match again (DC, ICLR 2021, Algorithm 1)."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any, ClassVar

from torch import Tensor
from torch.optim import SGD, Optimizer

from augment import Policy
from yoco.condense.learner import Learner
from yoco.condense.matching import row_distance
from yoco.condense.method import Task
from yoco.condense.siamese import siamese, stepped_normalised
from yoco.condense.synthetic import Synthetic, start
from yoco.condensed import Examples
from yoco.rng import Rng
from yoco.train import Recipe, take_steps

LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""images per class -> (outer, inner), as published; other sizes take the nearest."""

DIGITS: dict[str, Any] = {
    "episodes": 100,
    "start": "real",
    "outer": 20,
    "inner": 20,
    "lr_network": 0.1,
    "real_batch": 64,
}
"""Settings for scikit-learn's digits, not from the paper: on untrained networks, pixels of 8x8 images diverge."""


@dataclass(frozen=True, kw_only=True)
class Alternating:
    """What DC and DSA have in common: all of it but the augmentation.

    One episode is one outer step: one update of all cells, then `inner` epochs of the network on the synthetic set. The
    network is replaced every `outer` episodes, and is not trained after its last.
    """

    deciding: ClassVar[tuple[str, ...]] = ("outer",)
    episodes: int = 10_000
    """outer steps: 1,000 networks of `outer` steps"""
    outer: int = 10
    """outer steps with one network"""
    inner: int = 50
    """epochs of the network on the synthetic set after an outer step"""
    factor: int = 1
    """factor^2 cells share the room of one image: 1 to 4; above 1, start defaults to mix instead of real"""
    start: str = "noise"
    """noise, real (whole images, cut into cells), mix (one shrunk image a cell) or k-means (a mix of typical images)"""
    lr_image: float = 0.1
    """step size of the pixels, in the units of normalised ones as published"""
    momentum_image: float = 0.5
    """momentum of the pixels"""
    real_batch: int = 256
    """real images of a class in one update"""
    lr_network: float = 0.01
    """step size of the network: SGD without momentum and decay"""
    network_batch: int = 256
    """synthetic images in a batch of the network's training"""
    augment: str = ""
    """augmentations shared by real and synthetic images, and of the network's training"""

    def __post_init__(self) -> None:
        for name in ("outer", "inner", "real_batch", "network_batch"):
            if getattr(self, name) < 1:
                where = type(self).__name__.lower()
                raise ValueError(f"{where}: {name} must be at least 1, got {getattr(self, name)}")
        Policy(self.augment)

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        """Noise or real images."""
        return start(self.start, task.real, task.per_class, self.factor, rng)

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        """SGD over all cells."""
        return SGD([synthetic.cells], lr=self.lr_image, momentum=self.momentum_image)

    def memory(self, task: Task, rng: Rng) -> Learner:
        """The network that is matched on."""
        recipe = Recipe(
            epochs=1,
            batch=self.network_batch,
            lr=self.lr_network,
            momentum=0.0,
            weight_decay=0.0,
            augment=Policy(self.augment, "dsa"),
        )
        return Learner(task, recipe, life=self.outer, rng=rng)

    def episode(self, task: Task, synthetic: Synthetic, memory: Learner, rng: Rng) -> Iterator[Tensor]:
        """Lines 4 to 11 of the algorithm, with one outer step."""
        if memory.due:
            memory.renew(rng.child("network"))
        yield synthetic.together(self.distance(task, synthetic, memory, c, rng) for c in task.classes)
        synthetic.clamp()
        memory.age += 1
        if not memory.spent:
            self.train(task, synthetic, memory, rng.child("train"))

    def distance(self, task: Task, synthetic: Synthetic, memory: Learner, label: int, rng: Rng) -> Tensor:
        """Distance of the gradients of one class."""
        real = task.draw(label, self.real_batch, rng.child("real", label))
        cells = stepped_normalised(task, synthetic.of(label))
        pair = siamese(task, Policy(self.augment, "dsa"), real, cells, rng.child("augment", label))
        return row_distance(memory.network, *pair)

    def train(self, task: Task, synthetic: Synthetic, memory: Learner, rng: Rng) -> None:
        """The network's epochs on the synthetic set."""
        examples = Examples(synthetic.decoded(), synthetic.labels)
        steps = self.inner * ceil(len(examples) / self.network_batch)
        take_steps(memory.network, memory.optimizer, examples, steps, memory.recipe, task.normalise, rng)

    @property
    def renewals(self) -> int:
        """How often training recurs, for estimates: with `outer` 2 it follows only the first of two updates.

        With more, both measured updates include it, so that estimates count `outer` trainings instead of `outer` - 1.
        """
        return ceil(self.episodes / 2) if self.outer == 2 else 1


def digits(outer: int | None) -> dict[str, Any]:
    """`DIGITS`, with this `outer` if one is given."""
    return {**DIGITS, **({} if outer is None else {"outer": outer})}


def loops(per_class: int, outer: int | None) -> tuple[int, int]:
    """(outer, inner) of the nearest published size, with this `outer` if one is given."""
    nearest, inner = LOOPS[min(LOOPS, key=lambda ipc: abs(ipc - per_class))]
    return nearest if outer is None else outer, inner
