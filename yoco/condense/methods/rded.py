"""RDED: "On the Diversity and Realism of Distilled Dataset", Sun, Shi, Yu and Lin, CVPR 2024, Algorithm 1."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer

from yoco.cells import cell_size
from yoco.condense.aside import before_the_last
from yoco.condense.coreset import enough
from yoco.condense.crops import random_crops
from yoco.condense.method import Task
from yoco.condense.synthetic import Synthetic, shrunk, start
from yoco.condense.teacher import Teacher, hard_labels, usual
from yoco.rng import Rng


@dataclass(frozen=True, kw_only=True)
class RDED:
    """The crops of real images that a teacher finds easiest, labelled by it. No loss is descended.

    One episode is one epoch of the teacher on the real data; at the end of the last one it chooses. A run that ends
    before holds random images with hard labels.
    """

    label_kinds: ClassVar[tuple[str, ...]] = ("teacher", "hard")
    episodes: int = 100
    """epochs of the teacher"""
    lr_teacher: float = 0.1
    """step size of the teacher: SGD with momentum; a fifth of it after 2/3 and again after 5/6 of the epochs"""
    factor: int = 1
    """factor^2 cells share the room of one image: 1 to 4"""
    pool: int = 300
    """random images of each class from which crops are cut; more where there are more cells"""
    crops: int = 5
    """random crops of each of them, of which one may be chosen"""
    least: float = 0.08
    """smallest share of the image's area in a crop, above 0; the largest is all of it"""
    labels: str = "teacher"
    """teacher (its softmax) or hard"""
    temperature: float = 1.0
    """by which the teacher's logits are divided before the softmax"""

    def __post_init__(self) -> None:
        for name in ("pool", "crops"):
            if getattr(self, name) < 1:
                raise ValueError(f"rded: {name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.least <= 1:
            raise ValueError(f"rded: least must be above 0 and at most 1, got {self.least:g}")
        if self.labels not in self.label_kinds:
            raise ValueError(f"rded: labels must be {' or '.join(self.label_kinds)}, got {self.labels!r}")
        for name in ("temperature", "lr_teacher"):
            if not getattr(self, name) > 0:
                raise ValueError(f"rded: {name} must be above 0, got {getattr(self, name):g}")

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """The settings of the authors' code: four cells an image above 64 pixels, one below.

        The digits of scikit-learn have settings of our own, with larger crops.
        """
        own: dict[str, Any] = {"episodes": 30, "least": 0.5} if data == "digits" else {}
        return cls(factor=2 if shape and min(shape[1:]) > 64 else 1, **own)

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        """Random real images, shrunk, and their labels."""
        plain = start("mix", task.real, task.per_class, self.factor, rng, parted=False)
        return Synthetic.extended(plain, {"labels": hard_labels(plain)} if self.labels == "teacher" else {})

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        """One that never steps."""
        return SGD([synthetic.cells], lr=0.0)

    def memory(self, task: Task, rng: Rng) -> Teacher | None:
        """The teacher."""
        if not self.episodes:
            return None
        return Teacher(task, replace(usual(task, self.episodes), lr=self.lr_teacher), rng, "lr_teacher")

    def episode(self, task: Task, synthetic: Synthetic, memory: Teacher, rng: Rng) -> Iterator[Tensor]:
        """An epoch of the teacher and, after the last, the algorithm."""
        memory.learn()
        if memory.age == self.episodes:
            with torch.no_grad():
                cells = [self.easiest(task, memory, c, rng.child(c)) for c in task.classes]
                synthetic.cells.copy_(torch.cat(cells))
            if self.labels == "teacher":
                memory.label(synthetic, self.temperature)
        yield from ()

    def phases(self, task: Task) -> tuple[Any, ...]:
        """What estimates measure: the epochs but the last, then the last one with the choice after it."""
        return before_the_last(self)

    def easiest(self, task: Task, teacher: Teacher, label: int, rng: Rng) -> Tensor:
        """The cells of one class: the crop of least cross-entropy of each image, and of these the lowest, in order."""
        _, height, width = task.real.shape
        wanted = task.per_class * self.factor**2
        pool = task.draw(label, max(self.pool, wanted), rng.child("pool")).images
        cell = cell_size((height, width), self.factor)
        crops = random_crops(pool, self.crops, cell, self.least, rng.child("crops"))
        logits = teacher.logits_of_cells(crops.flatten(0, 1), (height, width))
        target = torch.full((len(logits),), label, device=logits.device)
        losses, best = cross_entropy(logits, target, reduction="none").view(len(pool), self.crops).min(1)
        order = enough(losses.argsort(stable=True), wanted)
        return shrunk(crops[order, best[order]], task.per_class, self.factor, "area", (height, width))


# Not in the paper:
# - the teacher is trained here, much as IDC's evaluation trains networks; the paper takes a pretrained one;
# - a crop is judged as it will be decoded, but for the grey of tiles that stick out where the factor does not divide
#   the sides, and keeps the sides' ratio of the image;
# - every cell has one soft label, made once from the decoded cell; the authors run the teacher on each augmented
#   image of the student's training, and compare at temperature 20: that is evaluation's protocol `rded`;
# - a class with fewer images than cells repeats its crops.
