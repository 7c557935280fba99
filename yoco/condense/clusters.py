"""Representative real images: those nearest to the k-means centres of a network's features (DREAM, ICCV 2023)."""

from typing import Any

import torch
from torch import Tensor

from yoco.condense.learner import Learner
from yoco.condense.method import Task
from yoco.kmeans import k_means
from yoco.networks.base import Network
from yoco.rng import Rng
from yoco.train import Recipe

TIE = 1e-12


class Chooser(Learner):
    """A learner that chooses real images of each class, and remembers them until it chooses again.

    chosen: for each class the indices of its images, long [k]; none before the first choice.
    """

    def __init__(self, task: Task, recipe: Recipe, life: int, rng: Rng) -> None:
        super().__init__(task, recipe, life, rng)
        self.chosen: list[Tensor] = []

    def choose(self, count: int, rng: Rng) -> None:
        """Choose `count` representatives of every class by the network as it is now."""
        classes = self.task.classes
        self.chosen = [representatives(self.task, self.network, c, count, rng.child(c)) for c in classes]

    def state_dict(self) -> dict[str, Any]:
        """That of a learner, and the choice."""
        return {**super().state_dict(), "chosen": self.chosen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        super().load_state_dict(state)
        self.chosen = state["chosen"]


def representatives(task: Task, network: Network, label: int, count: int, rng: Rng) -> Tensor:
    """The image nearest to each of `count` centres of one class: indices long [count]; all of a class that is smaller.

    An image that is nearest to two centres comes twice, as in the paper's code; in a start the second has noise.
    """
    members = task.real.by_class[label]
    if len(members) <= count:
        return members
    rows = penultimate(task, network, members)
    _, centres = k_means(rows, count, rng)
    return members[nearest_rows(rows, centres)]


@torch.no_grad()
def penultimate(task: Task, network: Network, indices: Tensor) -> Tensor:
    """What the head sees of these normalised images, in evaluation mode: float64 [n, D] on the CPU."""
    was = network.training
    network.eval()
    batches = (task.normalise(task.real.batch(part).images) for part in indices.split(500))
    rows = torch.cat([network.seen(images).cpu().double() for images in batches])
    network.train(was)
    return rows


def nearest_rows(rows: Tensor, points: Tensor) -> Tensor:
    """For each of the points [k, D] the nearest of the rows [n, D], the first of equally near ones: long [k].

    Two rows are equally near to the middle of a cluster that they make up, and rounding shall not choose between them:
    squared distances that differ by no more than `TIE` of the longest row's square are equal.
    """
    norms = rows.square().sum(1)
    squared = norms - 2 * points @ rows.T
    return (squared <= squared.amin(1, keepdim=True) + TIE * norms.max()).byte().argmax(1)
