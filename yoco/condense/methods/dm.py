"""DM: "Dataset Condensation with Distribution Matching", Zhao and Bilen, WACV 2023, Algorithm 1."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from augment import Policy
from yoco.condense.matching import mean_distance
from yoco.condense.method import Task
from yoco.condense.siamese import WORDS, siamese, stepped_normalised, words_for
from yoco.condense.synthetic import Synthetic, start
from yoco.networks.base import Network
from yoco.rng import Rng


@dataclass(frozen=True, kw_only=True)
class DM:
    """Match the mean features of real and synthetic images of each class in networks with random weights.

    One episode is one iteration: a new network, which is never trained, and one update of all cells.
    """

    episodes: int = 20_000
    """iterations"""
    factor: int = 1
    """factor^2 cells share the room of one image: 1 to 4; above 1, start defaults to mix instead of real"""
    start: str = "real"
    """noise, real (whole images, cut into cells), mix (one shrunk image a cell) or k-means (a mix of typical images)"""
    lr_image: float = 1.0
    """step size of the pixels, in the units of normalised ones as published"""
    momentum_image: float = 0.5
    """momentum of the pixels"""
    real_batch: int = 256
    """real images of a class in one update"""
    augment: str = WORDS
    """augmentations shared by real and synthetic images"""

    def __post_init__(self) -> None:
        if self.real_batch < 1:
            raise ValueError(f"dm: real_batch must be at least 1, got {self.real_batch}")
        Policy(self.augment)

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """The paper's settings; digits and letters are not mirrored. scikit-learn's digits have settings of our own."""
        own: dict[str, Any] = {"episodes": 300} if data == "digits" else {}
        return cls(lr_image=10.0 if per_class >= 100 else 1.0, augment=words_for(data), **own)

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        """Real images, unless `start` says otherwise."""
        return start(self.start, task.real, task.per_class, self.factor, rng)

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        """SGD over all cells."""
        return SGD([synthetic.cells], lr=self.lr_image, momentum=self.momentum_image)

    def memory(self, task: Task, rng: Rng) -> None:
        """Nothing outlives an episode."""

    def episode(self, task: Task, synthetic: Synthetic, memory: None, rng: Rng) -> Iterator[Tensor]:
        """Lines 3 to 6 of the algorithm."""
        network = task.network(rng.child("network"))
        yield synthetic.together(self.distance(task, synthetic, network, c, rng) for c in task.classes)
        synthetic.clamp()

    def distance(self, task: Task, synthetic: Synthetic, network: Network, label: int, rng: Rng) -> Tensor:
        """Square of the distance between the mean features of one class (equation 5)."""
        real = task.draw(label, self.real_batch, rng.child("real", label))
        cells = stepped_normalised(task, synthetic.of(label))
        pair = siamese(task, Policy(self.augment, "dsa"), real, cells, rng.child("augment", label))
        with torch.no_grad():
            target = network.seen(pair[0].images)
        return mean_distance(target, network.seen(pair[1].images))


# Not in the paper:
# - the step size for 100 images per class and more, which the paper gives for CIFAR-10, is that of all data;
# - pixels are cut to [0, 1] after every update; published step sizes act as on normalised pixels;
# - classes are taken one after the other, which changes nothing but memory; a network with batch norm sees one class
#   at a time, where the paper's code joins all of them.
