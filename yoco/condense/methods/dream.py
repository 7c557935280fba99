"""DREAM: "Efficient Dataset Distillation by Representative Matching", Liu et al., ICCV 2023, Algorithm 1."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any, Self

from torch import Tensor

from yoco.condense.clusters import Chooser, representatives
from yoco.condense.inner_steps import SETTINGS as IDC
from yoco.condense.inner_steps import InnerSteps, nearest
from yoco.condense.method import Task
from yoco.condense.synthetic import STARTS, Synthetic, start
from yoco.rng import Rng

K_MEANS = "k-means"


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
        """One image for each cell, each from another cluster of its class, unless another start is asked for."""
        if self.start != K_MEANS:
            return super().synthetic(task, rng)
        network, cells = task.network(rng.child("network")), task.per_class * self.factor**2
        chosen = [representatives(task, network, c, cells, rng.child("clusters", c)) for c in task.classes]
        return start("mix", task.real, task.per_class, self.factor, rng, shrink=self.shrink, chosen=chosen)

    def memory(self, task: Task, rng: Rng) -> Chooser:
        """The network that is matched on, and the real images that it chose."""
        return Chooser(task, self.recipe(), life=self.inner, rng=rng)

    def episode(self, task: Task, synthetic: Synthetic, memory: Chooser, rng: Rng) -> Iterator[Tensor]:
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
# - the last set is kept; the authors look at test images every 40 networks and keep the best;
# - what DREAM+ adds, a distance of mean features and an epoch for the network of the start, is left out.
