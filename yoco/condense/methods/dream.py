"""DREAM: "Efficient Dataset Distillation by Representative Matching", Liu et al., ICCV 2023, Algorithm 1."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any, Self

import torch
from torch import Tensor

from yoco.condense.inner_steps import SETTINGS as IDC
from yoco.condense.inner_steps import InnerSteps, nearest
from yoco.condense.learner import Learner
from yoco.condense.method import Task
from yoco.condense.synthetic import STARTS, Synthetic, start
from yoco.kmeans import k_means
from yoco.networks.base import Network
from yoco.rng import Rng
from yoco.train import Recipe, at_once

K_MEANS = "k-means"
TIE = 1e-12


@dataclass(frozen=True, kw_only=True)
class DREAM(InnerSteps):
    """IDC on real images that represent their class: those nearest to k-means centres of the network's features.

    One episode is one inner step: an update of the cells for every class, then some training of the network on real
    data. The network is replaced every `inner` episodes, the representatives are chosen again every `interval`.
    """

    start: str = K_MEANS
    """k-means (one shrunk image a cell, by features of a random network), noise, real (whole images, cut up) or mix"""
    real_batch: int = 128
    """real images of a class in one update, which is the number of its clusters"""
    interval: int = 10
    """inner steps that are made with the same real images"""
    pretrain: int = 0
    """epochs on the real data that a new network gets first"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.interval < 1:
            raise ValueError(f"dream: interval must be at least 1, got {self.interval}")
        if self.start not in STARTS:
            raise ValueError(f"dream: start must be one of {', '.join(STARTS)}, got {self.start!r}")

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """IDC's settings, and the paper's own for Tiny ImageNet; for other data those of the nearest set.

        The digits of scikit-learn, 8x8 pixels, have settings of our own.
        """
        small = {"lr_image": 1e-6} if data == "tiny-imagenet" and per_class >= 50 else {}
        return cls(**{**SETTINGS.get(data, SETTINGS[nearest(shape)]), **small})

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        """One image for each cell, each from another cluster of its class, unless `start` says otherwise."""
        if self.start != K_MEANS:
            return super().synthetic(task, rng)
        network, cells = task.network(rng.child("network")), task.per_class * self.factor**2
        chosen = [representatives(task, network, c, cells, rng.child("clusters", c)) for c in task.classes]
        return start("mix", task.real, task.per_class, self.factor, rng, shrink=self.shrink, chosen=chosen)

    def memory(self, task: Task, rng: Rng) -> "Chooser":
        """The network that is matched on, and the real images that it chose."""
        return Chooser(task, self.recipe(), life=self.inner, rng=rng)

    def episode(self, task: Task, synthetic: Synthetic, memory: "Chooser", rng: Rng) -> Iterator[Tensor]:
        """One inner step, with other representatives where an interval begins."""
        if memory.due:
            synthetic.clamp()
            memory.renew(rng.child("network"))
            memory.learn(ceil(self.pretrain * len(task.real) / self.network_batch), rng.child("pretrain"))
        if memory.age % self.interval == 0:
            memory.choose(self.real_batch, rng.child("clusters"))
        for c in task.classes:
            real = task.real.batch(memory.chosen[c])
            yield self.distance(task, memory.network, real, synthetic, c, rng)
        memory.learn(self.steps, rng.child("train"))
        memory.age += 1

    @property
    def renewals(self) -> int:
        """A new network is trained first, which is most of what is done again; or else images are chosen."""
        networks, rest = divmod(self.episodes, self.inner)
        if self.pretrain:
            return networks + bool(rest)
        return networks * ceil(self.inner / self.interval) + ceil(rest / self.interval)


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
    batches = (task.normalise(task.real.batch(part).images) for part in indices.split(at_once(task.real.shape)))
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


SETTINGS: dict[str, dict[str, Any]] = {
    **IDC,
    "tiny-imagenet": {"network_images": 1000},
    "digits": {**IDC["digits"], "real_batch": 32, "episodes": 160},
}


# The settings, the start and the distance are those of `yoco.condense.inner_steps`; not in the paper:
# - images are normalised before they are clustered, as the network is trained on them; the authors' code does not;
# - the network of the start is not matched on; in the authors' code it is the first that is;
# - k-means runs once for a choice, from a k-means++ start; an image that stands for two centres of the start gets noise
#   the second time;
# - saved pixels are cut to [0, 1], unless they are whitened; those of the authors' code may lie outside;
# - the last set is kept; the authors look at test images every 40 networks and keep the best;
# - what DREAM+ adds, a distance of mean features and an epoch for the network of the start, is left out.
