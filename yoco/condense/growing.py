"""A synthetic set learned in stages: a method sees only its first cells, and networks trained on earlier ones."""

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor
from torch.optim import Optimizer

from yoco.condense.method import Task
from yoco.condense.synthetic import Synthetic
from yoco.condensed import Examples
from yoco.data.source import Batch
from yoco.networks.base import Network
from yoco.rng import Rng
from yoco.train import Recipe, take_steps


class Growing(Synthetic):
    """A set that a method learns in stages, with its optimiser, which may be reset.

    optimizer: set by whoever makes it.
    """

    optimizer: Optimizer

    @classmethod
    def like(cls, plain: Synthetic, where: str) -> Self:
        """The same cells, and the numbers beside them.

        Raises:
            ValueError: the set is of a subclass, or more than single numbers is learned beside its cells.
        """
        if type(plain) is not Synthetic or any(value.numel() > 1 for value in plain.beside.values()):
            got = ", ".join([type(plain).__name__.lower(), *plain.beside])
            raise ValueError(f"{where} must learn only cells and single numbers, got {got}")
        return cls.extended(plain, values(plain))

    def copy(self, count: int) -> Synthetic:
        """A separate set of the first cells of each class, to be read, and what is beside them."""
        return Synthetic(self.firsts(count).flatten(0, 1), self.classes, self.factor, self.size, values(self))


def values(synthetic: Synthetic) -> dict[str, Tensor]:
    """The values of what is learned beside the cells."""
    return {name: value.detach() for name, value in synthetic.beside.items()}


class Shown(Synthetic):
    """The first `count` cells of each class of another set, as if they were all; they are learned in that set."""

    def __init__(self, whole: Synthetic, count: int) -> None:
        self.whole, self.count = whole, count
        self.beside, self.factor, self.size, self.classes = whole.beside, whole.factor, whole.size, whole.classes
        self.labels = torch.arange(self.classes, device=whole.cells.device).repeat_interleave(count)

    @property
    def cells(self) -> Tensor:  # type: ignore[override]
        """As they stand now: float [classes * count, C, h, w], differentiable in those of the whole set."""
        return self.whole.cells.unflatten(0, (self.classes, -1))[:, : self.count].flatten(0, 1)

    @property
    def per_class(self) -> int:
        """Cells of each class that are shown."""
        return self.count

    def of(self, label: int, limit: int | None = None, rng: Rng | None = None, *, first: int | None = None) -> Batch:
        """As every set."""
        return self.whole.of(label, limit, rng, first=self.count if first is None else min(first, self.count))

    def firsts(self, count: int) -> Tensor:
        """As every set."""
        return self.whole.firsts(min(count, self.count))

    def parameters(self) -> list[Tensor]:
        """The leaves of the whole set."""
        return self.whole.parameters()

    def take_gradient(self, loss: Tensor) -> None:
        """In the whole set."""
        self.whole.take_gradient(loss)

    def clamp(self) -> None:
        """In the whole set."""
        self.whole.clamp()


@dataclass(frozen=True)
class Taught(Task):
    """A task whose new networks are first trained on some images.

    taught: these images, float [n, C, H, W] in [0, 1], class by class, as many of each; None for no images. steps:
    training steps on them.
    """

    taught: Tensor | None = None
    steps: int = 0

    @classmethod
    def by(cls, task: Task, taught: Tensor | None, steps: int) -> Self:
        """The same task otherwise."""
        return cls(**{f.name: getattr(task, f.name) for f in fields(Task)}, taught=taught, steps=steps)

    def network(self, rng: Rng) -> Network:
        """A new network with random weights, trained on the images if there are any."""
        network = super().network(rng)
        if self.taught is not None and self.steps:
            labels = torch.arange(len(self.classes), device=self.taught.device)
            examples = Examples(self.taught, labels.repeat_interleave(len(self.taught) // len(labels)))
            recipe = Recipe(epochs=1)
            optimizer, stream = recipe.optimizer(network), rng.child("taught")
            take_steps(network, optimizer, examples, self.steps, recipe, self.normalise, stream)
        return network
