"""IDM: "Improved Distribution Matching for Dataset Condensation", Zhao et al., CVPR 2023, sections 4.1 to 4.3."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer

from augment import Policy
from yoco.condense.learner import Trained
from yoco.condense.matching import mean_distance
from yoco.condense.method import Task
from yoco.condense.siamese import WORDS, siamese, stepped_normalised, words_for
from yoco.condense.synthetic import Synthetic, start
from yoco.data.source import Batch
from yoco.rng import Rng
from yoco.train import Recipe, train_step


@dataclass(frozen=True, kw_only=True)
class IDM:
    """Match, class by class, the mean features of real and decoded synthetic images in a half-trained network.

    The network is drawn from a growing queue whose members are trained on real data. The higher its training accuracy,
    the larger the weight of its cross-entropy on the synthetic images. One episode is one iteration with one network.
    """

    episodes: int = 20_000
    """iterations, each with one network and one update for every class"""
    factor: int = 2
    """factor^2 cells share the room of one image: 1 to 4"""
    start: str = "mix"
    """noise, real (whole images, cut into cells), mix (one shrunk image a cell) or k-means (a mix of typical images)"""
    lr_image: float = 0.2
    """step size of the pixels, in normalised units"""
    momentum_image: float = 0.5
    """momentum of the pixels"""
    real_batch: int = 256
    """real images of a class in one update, at most"""
    class_weight: float = 0.5
    """weight of the synthetic images' cross-entropy for each percent of the network's training accuracy"""
    augment: str = WORDS
    """augmentations, one of them per call: shared while matching, drawn for each image while training networks"""
    pool_start: int = 3
    """networks in the queue at first"""
    pool_limit: int = 100
    """networks in the queue at most; the oldest leaves"""
    interval: int = 30
    """iterations after which a new network joins the queue"""
    trained: int = 2
    """networks of the queue that are trained in one iteration"""
    network_steps: int = 10
    """batches of real images that each of them gets"""
    network_batch: int = 256
    """real images in such a batch"""
    lr_network: float = 0.01
    """step size of the networks"""
    momentum_network: float = 0.9
    """momentum of the networks"""
    weight_decay: float = 5e-4
    """weight decay of the networks"""

    def __post_init__(self) -> None:
        for name in ("real_batch", "pool_start", "interval", "network_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"idm: {name} must be at least 1, got {getattr(self, name)}")
        for name in ("class_weight", "trained", "network_steps"):
            if getattr(self, name) < 0:
                raise ValueError(f"idm: {name} must be at least 0, got {getattr(self, name)}")
        if self.pool_limit < self.pool_start:
            raise ValueError(f"idm: pool_limit must be at least pool_start, {self.pool_start}, got {self.pool_limit}")
        Policy(self.augment, "dsa")

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """The settings of the authors' commands for CIFAR-10 and CIFAR-100 at 1, 10 and 50 images per class.

        Other sizes take those of the next smaller one, other data those of CIFAR-10. The digits of scikit-learn, 8x8
        pixels, have settings of our own.
        """
        sizes = SETTINGS.get(data, SETTINGS["cifar10"])
        return cls(augment=words_for(data), **sizes[max(size for size in sizes if size <= max(per_class, 1))])

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        """Shrunk real images in every cell, unless `start` says otherwise."""
        kind = "real" if self.start == "mix" and self.factor == 1 else self.start
        return start(kind, task.real, task.per_class, self.factor, rng)

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        """SGD over all cells at once: a class's momentum moves its pixels while other classes are updated."""
        return SGD([synthetic.cells], lr=self.lr_image, momentum=self.momentum_image)

    def memory(self, task: Task, rng: Rng) -> "Pool":
        """The queue of networks."""
        recipe = Recipe(
            epochs=1,
            batch=self.network_batch,
            lr=self.lr_network,
            momentum=self.momentum_network,
            weight_decay=self.weight_decay,
            augment=Policy(self.augment, "dsa"),
        )
        return Pool(task, recipe, self.pool_start, self.pool_limit, rng)

    def episode(self, task: Task, synthetic: Synthetic, memory: "Pool", rng: Rng) -> Iterator[Tensor]:
        """One iteration: perhaps a new network, an update of the cells for every class, some training of the queue."""
        synthetic.clamp()
        if memory.age and memory.age % self.interval == 0:
            memory.push(rng.child("network"))
        (member,) = memory.draw(1, rng.child("member"))
        for c in task.classes:
            real = task.draw(c, self.real_batch, rng.child("real", c))
            cells = stepped_normalised(task, synthetic.of(c))
            yield self.loss(member, *siamese(task, Policy(self.augment, "dsa"), real, cells, rng.child("augment", c)))
        for k, pupil in enumerate(memory.draw(self.trained, rng.child("trained"))):
            pupil.learn(self.network_steps, rng.child("train", k))
        memory.age += 1

    def loss(self, member: "Member", real: Batch, cells: Batch) -> Tensor:
        """Distance of the mean features under the head, and cross-entropy weighted by the network's accuracy."""
        with torch.no_grad():
            target = member.network.seen(real.images)
        embedded = member.network.seen(cells.images)
        classified = cross_entropy(member.network.head(embedded), cells.labels)
        return mean_distance(target, embedded) + self.class_weight * member.accuracy * classified

    def gathers(self, task: Task) -> int:
        """Bytes of the networks that join the queue, each with its momentum."""
        weights = sum(weight.numel() for weight in task.network(Rng(0)).parameters())
        joined = max(0, self.episodes - 1) // self.interval
        return min(self.pool_limit - self.pool_start, joined) * weights * 8


class Member(Trained):
    """A half-trained network with its optimiser, and how often it was right on what it was trained on."""

    counts = ("right", "seen")

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


class Pool:
    """A queue of half-trained networks: a new one joins at its end, and beyond `limit` the oldest leaves.

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


_ONE: dict[str, Any] = {"interval": 5, "real_batch": 5000}
_DIGITS: dict[str, Any] = {
    "episodes": 150,
    "factor": 1,
    "real_batch": 64,
    "network_batch": 64,
    "network_steps": 4,
    "pool_limit": 10,
}
SETTINGS: dict[str, dict[int, dict[str, Any]]] = {
    "cifar10": {1: _ONE, 10: {}, 50: {"class_weight": 0.1}},
    "cifar100": {1: _ONE, 10: {"class_weight": 0.1, "network_steps": 50}, 50: {"class_weight": 0.1}},
    "digits": {1: _DIGITS},
}


# Not in the paper:
# - pixels are learned in [0, 1] with steps that equal those in normalised units, and clamped when an episode begins;
# - cells stand tile-major, row by row of tiles; the authors' code counts its four tiles column by column;
# - the last set is kept; the authors keep the one that did best on test images;
# - accuracy is that over all training of a network so far; its momentum and weight decay are those of evaluation;
# - a start shrinks its images by nearest interpolation, as IDC does;
# - real batches are drawn anew from (seed, episode), so a run can go on anywhere;
# - with batch norm every class is matched by itself, under its own statistics.
