"""CAFE: "Learning to Condense Dataset by Aligning Features", Wang, Zhao et al., CVPR 2022, Algorithm 1."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer

from augment import Policy
from yoco.condense.learner import Learner
from yoco.condense.matching import mean_distance
from yoco.condense.method import Task
from yoco.condense.siamese import one_draw, stepped_normalised
from yoco.condense.synthetic import Synthetic, in_parts, start
from yoco.condensed import Examples
from yoco.data.source import Batch
from yoco.networks.base import Network
from yoco.rng import Rng
from yoco.train import Recipe, accuracy, take_steps


@dataclass(frozen=True, kw_only=True)
class CAFE:
    """Align the mean features of every layer, and classify real images by the synthetic centres of the classes.

    One episode is one step of the image loop: one update of all cells, then as many steps of the network on the
    synthetic set as its accuracy needs to change. The network is replaced once its accuracy no longer changes.
    """

    episodes: int = 20_000
    """updates of the cells: 2,000 networks of ten, the fewest that can show an accuracy at rest"""
    factor: int = 1
    """factor^2 cells share the room of one image: 1 to 4; above 1, start defaults to mix instead of real"""
    start: str = "noise"
    """noise, real (whole images, cut into cells), mix (one shrunk image a cell) or k-means (a mix of typical images)"""
    lr_image: float = 0.1
    """step size of the pixels, in the units of normalised ones as published"""
    momentum_image: float = 0.5
    """momentum of the pixels"""
    real_batch: int = 256
    """real images of a class in one update, at most"""
    early_weight: float = 1.0
    """weight of the first and the second layer"""
    late_weight: float = 0.1
    """weight of all further layers"""
    centre_weight: float = 0.01
    """beta: weight of the discrimination term"""
    window: int = 10
    """number of the latest accuracies that are compared"""
    still: float = 0.04
    """lambda 1: the image loop ends when the accuracies (0 to 1) of a whole window differ by less than this"""
    moved: float = 0.03
    """lambda 2: the network loop ends when the accuracies (0 to 1) in a window differ by more than this"""
    outer: int = 100
    """updates of the cells with one network, at most"""
    inner: int = 20
    """steps of the network after an update of the cells, at most"""
    query: int = 256
    """real images on which accuracies are taken, drawn for each network"""
    lr_network: float = 0.01
    """step size of the network: SGD without momentum and decay"""
    network_batch: int = 256
    """synthetic images in a step of the network"""
    augment: str = ""
    """augmentations shared by real and synthetic images, and of the network's training"""

    def __post_init__(self) -> None:
        for name in ("real_batch", "outer", "inner", "query", "network_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"cafe: {name} must be at least 1, got {getattr(self, name)}")
        if self.window < 2:
            raise ValueError(f"cafe: window must be at least 2, got {self.window}")
        for name in ("early_weight", "late_weight", "centre_weight", "still", "moved"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"cafe: {name} must be at least 0, got {getattr(self, name):g}")
        Policy(self.augment)

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """The settings of the authors' code, the same for all data and sizes; scikit-learn's digits have our own."""
        return cls(**DIGITS) if data == "digits" else cls()

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        """Noise, unless `start` says otherwise."""
        return start(self.start, task.real, task.per_class, self.factor, rng)

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        """SGD over all cells."""
        return SGD([synthetic.cells], lr=self.lr_image, momentum=self.momentum_image)

    def memory(self, task: Task, rng: Rng) -> "Watched":
        """The network, and how well it did on its query images after each update of the cells."""
        plain: Any = {"momentum": 0.0, "weight_decay": 0.0, "augment": Policy(self.augment, "dsa")}
        recipe = Recipe(epochs=1, batch=self.network_batch, lr=self.lr_network, **plain)
        return Watched(task, recipe, self.outer, self.query, rng)

    def episode(self, task: Task, synthetic: Synthetic, memory: "Watched", rng: Rng) -> Iterator[Tensor]:
        """One turn of the image loop, with the network loop in it."""
        at_rest = len(memory.seen) >= self.window and spread(memory.seen[-self.window :]) < self.still
        if memory.due or at_rest:
            memory.renew(rng.child("network"))
        yield self.loss(task, synthetic, memory.network, rng)
        synthetic.clamp()
        memory.seen.append(self.train(synthetic, memory, rng.child("train")))
        memory.age += 1

    def loss(self, task: Task, synthetic: Synthetic, network: Network, rng: Rng) -> Tensor:
        """L_f over all classes and layers, and beta times L_D, with a graph of no more than one class at a time."""
        network.train()
        policy = Policy(self.augment, "dsa")
        sees = [one_draw(task, policy, synthetic.size, rng.child("augment", c)) for c in task.classes]
        means, features, labels = [], [], []
        for c, see in zip(task.classes, sees, strict=True):
            real = see(task.draw(c, self.real_batch, rng.child("real", c)))
            with torch.no_grad():
                layers = network.features(real.images)
            means.append([layer.mean(0, keepdim=True) for layer in layers])
            features.append(layers[-1].flatten(1))
            labels.append(real.labels)
        told = Batch(torch.cat(features), torch.cat(labels))

        def row(c: int) -> Tensor:
            layers = network.features(sees[c](stepped_normalised(task, synthetic.of(c))).images)
            return torch.cat([self.alignment(means[c], layers)[None], layers[-1].flatten(1).mean(0)])

        def joint(rows: list[Tensor]) -> Tensor:
            aligned, centres = torch.stack(rows).tensor_split([1], dim=1)
            return aligned.sum() + self.centre_weight * discrimination(told, centres)

        return synthetic.together(in_parts([partial(row, c) for c in task.classes], joint, ()))

    def alignment(self, real: Sequence[Tensor], synthetic: Sequence[Tensor]) -> Tensor:
        """Weighted squared distance of the mean features of one class, layer by layer: [n, ...], [m, ...] each."""
        weights = [self.early_weight if layer < 2 else self.late_weight for layer in range(len(real))]
        parts = zip(weights, real, synthetic, strict=True)
        return torch.stack([weight * mean_distance(left, right) for weight, left, right in parts]).sum()

    def train(self, synthetic: Synthetic, memory: "Watched", rng: Rng) -> float:
        """Steps of the network on the synthetic set until its accuracy has moved; the last accuracy."""
        examples, seen = Examples(synthetic.decoded(), synthetic.labels), [memory.before()]
        normalise = memory.task.normalise
        for step in range(self.inner):
            stream = rng.child(step)
            take_steps(memory.network, memory.optimizer, examples, 1, memory.recipe, normalise, stream)
            seen.append(memory.accuracy())
            if spread(seen[-self.window :]) > self.moved:
                break
        return seen[-1]


def discrimination(real: Batch, centres: Tensor) -> Tensor:
    """Cross-entropy of real features [n, D] where the logits are their products with the synthetic centres [C, D]."""
    return cross_entropy(real.images @ centres.T, real.labels)


def spread(accuracies: Sequence[float]) -> float:
    """The largest less the smallest."""
    return max(accuracies) - min(accuracies)


class Watched(Learner):
    """A learner with its own real query images; seen: its accuracies on them, as the method noted them."""

    def __init__(self, task: Task, recipe: Recipe, life: int, query: int, rng: Rng) -> None:
        self.query = query
        super().__init__(task, recipe, life, rng)

    def renew(self, rng: Rng) -> None:
        """Start again from random weights, with other images to be asked about."""
        super().renew(rng.child("weights"))
        self.asked = rng.child("query").choice(len(self.task.real), self.query)
        self.seen: list[float] = []

    def accuracy(self) -> float:
        """The share of its query images that it gets right, 0 to 1."""
        return accuracy(self.network, self.task.real.take(self.asked), self.task.normalise) / 100

    def before(self) -> float:
        """The accuracy before an episode's training: the last noted one, if the network has no buffers to change."""
        fixed = next(self.network.buffers(), None) is None
        return self.seen[-1] if self.seen and fixed else self.accuracy()

    def state_dict(self) -> dict[str, Any]:
        """A learner's, the query images and the accuracies."""
        return {**super().state_dict(), "asked": self.asked, "seen": list(self.seen)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        super().load_state_dict(state)
        self.asked, self.seen = state["asked"], list(state["seen"])


DIGITS: dict[str, Any] = {"episodes": 300, "start": "real", "real_batch": 64, "lr_network": 0.1}


# Not in the paper:
# - both loops are bounded: in the authors' code each may never end, the network's once its accuracy stays the same;
# - a network begins with random weights, and its first window is filled before the image loop can end;
# - accuracies are those of as many images as one batch; a step of the network is one batch of the synthetic set;
# - a layer is a stage of the network, and the last is what the head sees: a ConvNet of three blocks has no fourth;
# - the authors' code adds the cross-entropy of real images, which no pixel of the synthetic set can change: left out;
# - pixels are cut to [0, 1] after every update, and noise begins there; step sizes act as on normalised pixels;
# - with batch norm every class is matched by itself, under its own statistics; synthetic images count twice in those
#   that the network keeps, as their features are made twice.
