"""Acc-DD: "Accelerating Dataset Distillation via Model Augmentation", Zhang et al., CVPR 2023, Algorithm 1."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any, Self

from torch import Tensor
from torch.optim import SGD, Optimizer

from augment import Policy
from yoco.condense.matching import METRICS, gradient_distance
from yoco.condense.method import Task
from yoco.condense.pool import EarlyNetworks
from yoco.condense.siamese import siamese
from yoco.condense.synthetic import Synthetic, start
from yoco.rng import Rng
from yoco.train import Recipe


@dataclass(frozen=True, kw_only=True)
class AccDD:
    """IDC on a few networks in place of thousands: early ones, trained briefly once, and perturbed at every use.

    One episode is one inner step: an update of the cells for every class, then some training of the network on real
    data. Every `inner` episodes it is replaced by another perturbed copy of an early network.
    """

    episodes: int = 40_000
    """inner steps; 400 networks of 100 steps, a fifth of IDC's"""
    inner: int = 100
    """inner steps with one perturbed network"""
    early: int = 5
    """early networks"""
    early_epochs: int = 2
    """epochs on the real data for which each of them is trained, once"""
    perturb_low: float = 0.01
    """least size of a perturbation, as a share of each filter's norm"""
    perturb_high: float = 0.09
    """largest size of a perturbation"""
    factor: int = 2
    """factor^2 cells share the room of one image: 1 to 4"""
    start: str = "mix"
    """noise, real (whole images), mix (one shrunk image a cell) or k-means (a mix of typical images)"""
    metric: str = "mse"
    """distance of gradients: mse (sum of squares) or l1 (sum of absolute values)"""
    lr_image: float = 1e-2
    """step size of the pixels for 10 images per class of side `reference_side`; scaled to other sizes"""
    reference_side: int = 32
    """pixels: the height for which lr_image is meant"""
    momentum_image: float = 0.5
    """momentum of the pixels"""
    real_batch: int = 64
    """real images of a class in one update"""
    synthetic_batch: int = 128
    """decoded images of a class in one update, at most"""
    augment: str = "color_crop_cutout"
    """augmentations shared by real and synthetic images while matching"""
    network_images: int = 2000
    """real images on which the network is trained in one inner step"""
    network_batch: int = 64
    """images in a batch of the network's training"""
    network_augment: str = "color_crop"
    """augmentations of the networks' training"""
    cutmix: float = 0.5
    """probability that a batch of the networks' training is mixed"""
    lr_network: float = 0.01
    """step size of the networks"""
    weight_decay: float = 5e-4
    """weight decay of the networks"""

    def __post_init__(self) -> None:
        for name in ("inner", "early", "real_batch", "synthetic_batch", "network_images", "network_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"accdd: {name} must be at least 1, got {getattr(self, name)}")
        if self.early_epochs < 0:
            raise ValueError(f"accdd: early_epochs must be at least 0, got {self.early_epochs}")
        if not 0 <= self.perturb_low <= self.perturb_high:
            sizes = f"{self.perturb_low} and {self.perturb_high}"
            raise ValueError(f"accdd: perturb_low must be from 0 to perturb_high, got {sizes}")
        if self.metric not in METRICS:
            raise ValueError(f"accdd: metric must be one of {', '.join(METRICS)}, got {self.metric!r}")
        Policy(self.augment)
        Policy(self.network_augment)

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """The settings of the paper for CIFAR-10, CIFAR-100 and ImageNet-10; for other data those of IDC's table.

        Data in neither take those of the nearest set in channels and size. The digits of scikit-learn, 8x8 pixels,
        have settings of our own.
        """
        return cls(**SETTINGS.get(data, SETTINGS[nearest(shape)]))

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        """Shrunk real images in every cell, unless another start is asked for."""
        kind = "real" if self.start == "mix" and self.factor == 1 else self.start
        return start(kind, task.real, task.per_class, self.factor, rng)

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        """SGD over all cells at once: a class's momentum moves its pixels while other classes are updated."""
        scale = synthetic.images_per_class / 10 * (synthetic.size[0] / self.reference_side) ** 2
        return SGD([synthetic.cells], lr=self.lr_image * scale, momentum=self.momentum_image)

    def memory(self, task: Task, rng: Rng) -> EarlyNetworks:
        """The early networks, and the perturbed copy that is matched on."""
        recipe = Recipe(
            epochs=1,
            batch=self.network_batch,
            lr=self.lr_network,
            weight_decay=self.weight_decay,
            augment=Policy(self.network_augment, "idc"),
            cutmix=self.cutmix,
        )
        return EarlyNetworks(task, recipe, self.early, self.early_epochs, life=self.inner, rng=rng)

    def episode(self, task: Task, synthetic: Synthetic, memory: EarlyNetworks, rng: Rng) -> Iterator[Tensor]:
        """One inner step, with another perturbed early network where one begins."""
        learner = memory.learner
        if learner.age == 0 or learner.spent:
            synthetic.clamp()
            memory.renew(self.perturb_low, self.perturb_high, rng.child("network"))
        for c in task.classes:
            real = task.draw(c, self.real_batch, rng.child("real", c))
            cells = synthetic.of(c, self.synthetic_batch, rng.child("cells", c))
            real, cells = siamese(task, Policy(self.augment, "idc"), real, cells, rng.child("augment", c))
            yield gradient_distance(learner.network, real, cells, self.metric)
        learner.learn(ceil(self.network_images / self.network_batch), rng.child("train"))
        learner.age += 1


_GREY: dict[str, Any] = {"metric": "l1", "lr_image": 1e-4, "network_images": 500}
_DIGITS: dict[str, Any] = {
    **_GREY,
    "factor": 1,
    "lr_image": 5e-4,
    "reference_side": 8,
    "network_images": 64,
    "episodes": 150,
    "inner": 20,
    "early_epochs": 30,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "cifar10": {},
    "cifar100": {},
    "svhn": {"lr_image": 5e-3, "network_images": 500},
    "mnist": {**_GREY, "reference_side": 28, "augment": "color_crop", "cutmix": 0.0},
    "fashion-mnist": _GREY,
    "digits": _DIGITS,
    "imagenet-10": {
        **_GREY,
        "lr_image": 3e-3,
        "reference_side": 224,
        "factor": 3,
        "episodes": 10_000,
        "early_epochs": 10,
    },
}


def nearest(shape: tuple[int, int, int] | None) -> str:
    """The data set of the table that is most like images of this shape (C, H, W)."""
    if shape is None:
        return "cifar10"
    channels, height, _ = shape
    if height > 64:
        return "imagenet-10"
    return "fashion-mnist" if channels == 1 else "cifar10"


# Not in the paper:
# - SVHN, MNIST and Fashion-MNIST have IDC's settings, and so have ImageNet-10's step size, metric and factor;
# - early networks differ in weights, order of images and augmentation, not in step size or kind of augmentation;
# - an early network is trained when it is first drawn, under the recipe of the inner steps;
# - both directions and their sizes, with random signs, are drawn anew at each use; the head is perturbed, row by row;
# - real batches are drawn anew from (seed, episode), not from a shuffled pass, so a run can go on anywhere;
# - the images of a start are a random choice.
