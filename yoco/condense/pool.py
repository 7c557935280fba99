"""Networks in memory beside the synthetic set: a queue of half-trained ones, some that learn the set itself, and early
ones that are trained once.
"""

from collections.abc import Iterable
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn

from yoco.condense.learner import Learner
from yoco.condense.method import Task
from yoco.condense.synthetic import Synthetic
from yoco.condensed import Examples
from yoco.rng import Rng
from yoco.train import Recipe, take_steps, train_step


class Member:
    """A half-trained network with its optimiser, and how often it was right on what it was trained on."""

    def __init__(self, task: Task, recipe: Recipe, rng: Rng) -> None:
        self.task, self.recipe = task, recipe
        self.network = task.network(rng)
        self.optimizer = recipe.optimizer(self.network)
        self.right = self.seen = 0

    @property
    def accuracy(self) -> float:
        """Percent, 0 to 100, of its training images, as it was shown them, that it got right; 0 before any training."""
        return 100 * self.right / self.seen if self.seen else 0.0

    def learn(self, steps: int, rng: Rng) -> None:
        """Take some steps on the real data, each on a random batch of distinct images."""
        right = torch.zeros((), dtype=torch.long, device=self.task.real.device)
        for step in range(steps):
            stream = rng.child("step", step)
            batch = self.task.real.batch(stream.child("batch").choice(len(self.task.real), self.recipe.batch))
            logits = train_step(self.network, self.optimizer, batch, self.recipe, self.task.normalise, stream)
            right += (logits.argmax(1) == batch.labels).sum()
            self.seen += len(batch.labels)
        self.right += int(right)
        self.optimizer.zero_grad()  # nobody reads the last gradients, and many networks would hold them

    def state_dict(self) -> dict[str, Any]:
        """Weights, the state of the optimiser, and the two counts."""
        parts = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {"right": self.right, "seen": self.seen, **parts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.right, self.seen = state["right"], state["seen"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])


class Pool:
    """A queue of half-trained networks: a new one joins at its end, and beyond `limit` the oldest leaves (IDM).

    age: how many episodes it has served; the method counts them.
    """

    def __init__(self, task: Task, recipe: Recipe, start: int, limit: int, rng: Rng) -> None:
        self.task, self.recipe, self.limit, self.age = task, recipe, limit, 0
        self.members = [Member(task, recipe, rng.child("member", k)) for k in range(start)]

    def push(self, rng: Rng) -> None:
        """Let a network with random weights join."""
        self.members = [*self.members, Member(self.task, self.recipe, rng)][-self.limit :]

    def draw(self, count: int, rng: Rng) -> list[Member]:
        """Up to `count` distinct members, each as likely as any other."""
        return [self.members[k] for k in rng.choice(len(self.members), count).tolist()]

    def state_dict(self) -> dict[str, Any]:
        """Age and all members, oldest first."""
        return {"age": self.age, "members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`, with as many members as it has."""
        self.age = state["age"]
        self.members = [Member(self.task, self.recipe, Rng(0)) for _ in state["members"]]
        for member, its in zip(self.members, state["members"], strict=True):
            member.load_state_dict(its)


class Trainees:
    """Networks that are trained on the synthetic set; their ages are spread from the beginning (Readout).

    lr_head: step size of the last layers that are trained on their features.
    """

    def __init__(self, task: Task, recipe: Recipe, count: int, life: int, rng: Rng, lr_head: float) -> None:
        self.task, self.recipe, self.lr_head = task, recipe, lr_head
        self.learners = [Learner(task, recipe, life=life, rng=rng.child(k)) for k in range(count)]
        for k, learner in enumerate(self.learners):
            learner.age = k * life // count

    def learn(self, k: int, synthetic: Synthetic, known: Tensor, steps: int, rng: Rng) -> None:
        """So many steps on the known cells, decoded, and their labels; at the end of its life a new network comes."""
        learner, soft = self.learners[k], synthetic.soft_labels()
        if learner.spent:
            learner.renew(rng.child("network"))
        images, labels = synthetic.everything(known).images.detach(), synthetic.labels[known]
        cells = Examples(images, labels, None if soft is None else soft.detach()[known])
        normalise = self.task.normalise
        take_steps(learner.network, learner.optimizer, cells, steps, self.recipe, normalise, rng)
        learner.age += 1

    def state_dict(self) -> dict[str, Any]:
        """The state of every learner."""
        return {str(k): learner.state_dict() for k, learner in enumerate(self.learners)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        for k, learner in enumerate(self.learners):
            learner.load_state_dict(state[str(k)])


class EarlyNetworks:
    """A few networks trained for some epochs, once, and the perturbed copy of one that is learned with (Acc-DD).

    weights: of each early network by its number; it is trained when it is first drawn, from its own random stream, so
    the order in which they are drawn changes nothing. learner: the copy; it is trained further, the early ones are not.
    """

    def __init__(self, task: Task, recipe: Recipe, count: int, epochs: int, life: int, rng: Rng) -> None:
        self.task, self.recipe, self.count, self.epochs, self.rng = task, recipe, count, epochs, rng
        self.weights: dict[int, dict[str, Tensor]] = {}
        self.learner = Learner(task, recipe, life=life, rng=rng.child("learner"))

    def early(self, number: int) -> dict[str, Tensor]:
        """The weights of one early network."""
        if number not in self.weights:
            stream = self.rng.child("early", number)
            trained = Learner(self.task, self.recipe, life=1, rng=stream.child("network"))
            trained.learn(ceil(self.epochs * len(self.task.real) / self.recipe.batch), stream.child("train"))
            self.weights[number] = trained.network.state_dict()
        return self.weights[number]

    def renew(self, low: float, high: float, rng: Rng) -> None:
        """Copy an early network, each as likely as any other, perturb the copy, and give it a new optimiser."""
        number = int(rng.child("number").choice(self.count, 1))
        weights = self.early(number)
        self.learner.renew(rng.child("learner"))
        self.learner.network.load_state_dict(weights)
        perturb(self.learner.network, signed(2, low, high, rng.child("size")), rng.child("direction"))

    def state_dict(self) -> dict[str, Any]:
        """The early networks trained so far, and the copy."""
        return {"weights": dict(self.weights), "learner": self.learner.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.weights = dict(state["weights"])
        self.learner.load_state_dict(state["learner"])


def signed(count: int, low: float, high: float, rng: Rng) -> list[float]:
    """Numbers whose size is uniform in [low, high) and whose sign is random."""
    size, sign = torch.rand(2, count, generator=rng.generator(), dtype=torch.float64)
    return [float(value) for value in (low + (high - low) * size) * torch.where(sign < 0.5, -1.0, 1.0)]


@torch.no_grad()
def perturb(network: nn.Module, sizes: Iterable[float], rng: Rng) -> None:
    """Add to the weights one filter-normalised Gaussian direction for each of these sizes (Acc-DD, CVPR 2023).

    A direction is scaled, filter by filter, to the norm of the filter it is added to as the network stands before
    (Li et al., NeurIPS 2018); filters are the rows of weights with two dimensions or more. Biases, norm layers and
    weights that do not learn stay.
    """
    weights = dict(network.named_parameters())
    before = {name: weight.clone() for name, weight in weights.items() if weight.ndim > 1 and weight.requires_grad}
    for k, size in enumerate(sizes):
        for name, weight in before.items():
            generator = rng.child(k, name).generator()
            direction = torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight)
            weights[name].add_(_filter_norms(weight) / (_filter_norms(direction) + 1e-10) * direction, alpha=size)


def _filter_norms(weight: Tensor) -> Tensor:
    """The L2 norm of every row, shaped to multiply the weight: [rows, 1, ...]."""
    return weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.ndim - 1))
