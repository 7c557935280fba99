"""Networks in training as memory of a method: `Trained` can be saved and restored, `Learner` is also renewed."""

from typing import Any, ClassVar

from torch.optim import Optimizer

from yoco.condense.method import Task
from yoco.networks.base import Network
from yoco.rng import Rng
from yoco.train import Recipe, take_steps


class Trained:
    """A network and its optimiser, saved together with the numbers that `counts` names, such as its age."""

    counts: ClassVar[tuple[str, ...]] = ("age",)
    network: Network
    optimizer: Optimizer

    def state_dict(self) -> dict[str, Any]:
        """The counts, the weights and the state of the optimiser."""
        counts = {name: getattr(self, name) for name in self.counts}
        return {**counts, "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        for name in self.counts:
            setattr(self, name, state[name])
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])


class Learner(Trained):
    """A network that is trained a little in every episode and replaced by a new one every `life` episodes."""

    def __init__(self, task: Task, recipe: Recipe, life: int, rng: Rng) -> None:
        self.task, self.recipe, self.life = task, recipe, life
        self.renew(rng)

    def renew(self, rng: Rng) -> None:
        """Start again from random weights."""
        self.network = self.task.network(rng)
        self.optimizer = self.recipe.optimizer(self.network)
        self.age = 0

    @property
    def spent(self) -> bool:
        """Whether this network has lived through all its episodes."""
        return self.age >= self.life

    @property
    def due(self) -> bool:
        """Whether an episode begins with a new network: none has been used yet, or this one is spent."""
        return self.age == 0 or self.spent

    def learn(self, steps: int, rng: Rng) -> None:
        """Take some steps on the real data."""
        real, normalise = self.task.real, self.task.normalise
        take_steps(self.network, self.optimizer, real, steps, self.recipe, normalise, rng)
