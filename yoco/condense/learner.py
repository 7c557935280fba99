"""Learner: the network that is trained beside the synthetic set, and its optimiser, as memory of a method."""

from typing import Any

from yoco.condense.method import Task
from yoco.networks.base import Network
from yoco.rng import Rng
from yoco.train import Recipe, take_steps


class Learner:
    """A network that is trained a little in every episode and replaced by a new one every `life` episodes."""

    def __init__(self, task: Task, recipe: Recipe, life: int, rng: Rng) -> None:
        self.task, self.recipe, self.life = task, recipe, life
        self.renew(rng)

    def renew(self, rng: Rng) -> None:
        """Start again from random weights."""
        self.network: Network = self.task.network(rng)
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

    def state_dict(self) -> dict[str, Any]:
        """Age, weights and the state of the optimiser."""
        parts = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {"age": self.age, **parts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.age = state["age"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
