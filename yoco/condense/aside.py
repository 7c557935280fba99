"""Aside: the training of a network that a method does besides its episodes, as a phase that estimates measure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.optim import SGD, Optimizer

from yoco.condense.method import Stateful, Task
from yoco.condense.synthetic import Synthetic, start
from yoco.rng import Rng


@dataclass(frozen=True)
class Aside:
    """A phase of `episodes` in which a network is trained and the cells do not change.

    make: the network, as memory of a method; learn: what it does in an episode.
    """

    make: Callable[[Task, Rng], Stateful | None]
    learn: Callable[[Any, Rng], object]
    episodes: int
    unit: str = "step"

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        """Noise."""
        return start("noise", task.real, task.per_class, 1, rng)

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        """One that has nothing to do."""
        return SGD(synthetic.parameters())

    def memory(self, task: Task, rng: Rng) -> Stateful | None:
        """The network."""
        return self.make(task, rng)

    def episode(self, task: Task, synthetic: Synthetic, memory: Any, rng: Rng) -> Iterator[Tensor]:
        """It learns."""
        self.learn(memory, rng)
        yield from ()


def before_the_last(method: Any) -> tuple[Any, ...]:
    """The epochs of a method's teacher but the last, if it has two; then the last one with the choice after it."""
    if method.episodes < 2:
        return (method,)
    epochs = Aside(method.memory, lambda teacher, _: teacher.learn(), method.episodes - 1)
    return epochs, replace(method, episodes=1)
