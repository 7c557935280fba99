"""DataDAM: "Efficient Dataset Distillation with Attention Matching", Sajedi et al., ICCV 2023, section 3."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.optim import SGD, Optimizer

from augment import Policy
from yoco.condense.matching import mean_distance
from yoco.condense.method import Task
from yoco.condense.siamese import WORDS, siamese, stepped_normalised, words_for
from yoco.condense.synthetic import Synthetic, start
from yoco.data.source import Batch
from yoco.networks.base import Network
from yoco.rng import Rng


@dataclass(frozen=True, kw_only=True)
class DataDAM:
    """Match, class by class, the attention maps of a random network's layers, and the mean features before its head.

    One episode is one iteration: a new network that is never trained, and one update of all cells.
    """

    episodes: int = 8_000
    """iterations, each with one network and one update"""
    factor: int = 1
    """factor^2 cells share the room of one image: 1 to 4; above 1, start defaults to mix instead of real"""
    start: str = "real"
    """noise, real (whole images, cut into cells), mix (one shrunk image a cell) or k-means (a mix of typical images)"""
    power: float = 4.0
    """p: attention is the sum over channels of |activation|^p"""
    feature_weight: float = 0.01
    """lambda: weight of the mean features of the last layer"""
    lr_image: float = 1.0
    """step size of the pixels, in normalised units"""
    momentum_image: float = 0.5
    """momentum of the pixels"""
    real_batch: int = 256
    """real images of a class in one update, at most"""
    augment: str = WORDS
    """augmentations shared by real and synthetic images, one of them a call"""

    def __post_init__(self) -> None:
        for name in ("power", "real_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"datadam: {name} must be at least 1, got {getattr(self, name)}")
        if self.feature_weight < 0:
            raise ValueError(f"datadam: feature_weight must be at least 0, got {self.feature_weight}")
        Policy(self.augment, "dsa")

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """The settings of the paper: larger steps above 50 images per class, more weight on features above 64 pixels.

        The digits of scikit-learn, 8x8 pixels, have settings of our own, with steps that grow with the images.
        """
        large = {"feature_weight": 0.02} if shape and min(shape[1:]) > 64 else {}
        steps = {"lr_image": float(per_class) if data == "digits" else 10.0 if per_class > 50 else 1.0}
        own = DIGITS if data == "digits" else {}
        return cls(augment=words_for(data), **{**large, **steps, **own})

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        """A random choice of real images, unless `start` says otherwise."""
        return start(self.start, task.real, task.per_class, self.factor, rng)

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        """SGD over all cells."""
        return SGD([synthetic.cells], lr=self.lr_image, momentum=self.momentum_image)

    def memory(self, task: Task, rng: Rng) -> None:
        """Nothing outlives an episode."""

    def episode(self, task: Task, synthetic: Synthetic, memory: None, rng: Rng) -> Iterator[Tensor]:
        """One iteration: one loss, the sum over all classes."""
        synthetic.clamp()
        network = task.network(rng.child("network"))
        yield synthetic.together(self.distance(task, synthetic, network, c, rng) for c in task.classes)

    def distance(self, task: Task, synthetic: Synthetic, network: Network, label: int, rng: Rng) -> Tensor:
        """Between real and synthetic images of one class."""
        real = task.draw(label, self.real_batch, rng.child("real", label))
        cells = stepped_normalised(task, synthetic.of(label))
        pair = siamese(task, Policy(self.augment, "dsa"), real, cells, rng.child("augment", label))
        return self.loss(network, *pair)

    def loss(self, network: Network, real: Batch, cells: Batch) -> Tensor:
        """L_SAM over all stages but the last, and lambda times L_MMD on the last.

        Raises:
            ValueError: the network has a stage without height and width.
        """
        with torch.no_grad():
            *targets, target = network.features(real.images)
        *maps, last = network.features(cells.images)
        if any(each.ndim != 4 for each in maps):
            rule = "network must have feature maps before its last stage"
            raise ValueError(f"datadam: {rule}, got {type(network).__name__.lower()}")
        seen = attention_distance(targets, maps, self.power)
        return seen + self.feature_weight * mean_distance(target, last)


def attention_distance(real: Sequence[Tensor], synthetic: Sequence[Tensor], power: float) -> Tensor:
    """Squared L2 distance of the mean attention of two batches, summed over layers (L_SAM).

    real, synthetic: the maps of the same layers, float [n, C, H, W]; n may differ. Without layers it is 0.
    """
    pairs = zip(real, synthetic, strict=True)
    distances = (mean_distance(attention(left, power), attention(right, power)) for left, right in pairs)
    return sum(distances, torch.zeros(()))


def attention(maps: Tensor, power: float) -> Tensor:
    """Where a layer looks: sum over channels of |map|^power, of length 1.

    maps: float [n, C, H, W]; the result: float [n, H * W], every row of L2 norm 1, or 0 where all maps are 0.
    """
    return normalize(maps.abs().pow(power).sum(1).flatten(1), dim=1)


DIGITS: dict[str, Any] = {"episodes": 200, "real_batch": 64, "feature_weight": 1.0}


# Not in the paper:
# - pixels are learned in [0, 1] with steps that equal those in normalised units, and clamped when an episode begins;
# - a layer is a stage of the network, after its pooling;
# - the authors' code differs from the paper: power 1, both terms 100 times as large (lr_image 100 times as large has
#   the same effect), 20,000 iterations and 64 real images a class;
# - real batches are drawn anew from (seed, episode), so a run can go on anywhere;
# - with batch norm every class is matched by itself, under its own statistics.
