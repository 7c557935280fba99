"""Acc-DD: "Accelerating Dataset Distillation via Model Augmentation", Zhang et al., CVPR 2023, Algorithm 1."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from yoco.condense.inner_steps import SETTINGS as IDC
from yoco.condense.inner_steps import InnerSteps, nearest
from yoco.condense.learner import Learner
from yoco.condense.method import Task
from yoco.condense.synthetic import Synthetic
from yoco.rng import Rng
from yoco.train import Recipe


@dataclass(frozen=True, kw_only=True)
class AccDD(InnerSteps):
    """IDC with a few early networks in place of thousands; they are trained briefly once, and perturbed at every use.

    One episode is one inner step: an update of the cells for every class, then some training of the network on real
    data. Every `inner` episodes the network is replaced by another perturbed copy of an early one.
    """

    recurs: ClassVar[bool] = False
    episodes: int = 40_000
    """inner steps; 400 networks of 100 steps, a fifth of IDC's"""
    early: int = 5
    """early networks"""
    early_epochs: int = 2
    """epochs on the real data for which each of them is trained, once"""
    perturb_low: float = 0.01
    """least size of a perturbation, as a share of each filter's norm"""
    perturb_high: float = 0.09
    """largest size of a perturbation"""
    lr_image: float = 1e-2
    """step size of the pixels for 10 images per class of side `reference_side`; scaled to other sizes"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.early < 1:
            raise ValueError(f"accdd: early must be at least 1, got {self.early}")
        if self.early_epochs < 0:
            raise ValueError(f"accdd: early_epochs must be at least 0, got {self.early_epochs}")
        if not 0 <= self.perturb_low <= self.perturb_high:
            sizes = f"{self.perturb_low} and {self.perturb_high}"
            raise ValueError(f"accdd: perturb_low must be from 0 to perturb_high, got {sizes}")

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """The settings of the paper for CIFAR-10, CIFAR-100 and ImageNet-10; for other data those of IDC's table.

        Data in neither take those of the nearest set in channels and size. The digits of scikit-learn, 8x8 pixels,
        have settings of our own.
        """
        return cls(**SETTINGS.get(data, SETTINGS[nearest(shape)]))

    def memory(self, task: Task, rng: Rng) -> "EarlyNetworks":
        """The early networks, and the perturbed copy that is matched on."""
        return EarlyNetworks(task, self.recipe(), self.early, self.early_epochs, life=self.inner, rng=rng)

    def episode(self, task: Task, synthetic: Synthetic, memory: "EarlyNetworks", rng: Rng) -> Iterator[Tensor]:
        """One inner step, with another perturbed early network where one begins."""
        learner = memory.learner
        if learner.due:
            synthetic.clamp()
            memory.renew(self.perturb_low, self.perturb_high, rng.child("network"))
        for c in task.classes:
            real = task.draw(c, self.real_batch, rng.child("real", c))
            yield self.distance(task, learner.network, real, synthetic, c, rng)
        learner.learn(self.steps, rng.child("train"))
        learner.age += 1

    @property
    def renewals(self) -> int:
        """Each early network is trained once."""
        return min(self.early, ceil(self.episodes / self.inner)) if self.early_epochs else 1

    def gathers(self, task: Task) -> int:
        """Bytes of the early networks after the first."""
        weights = sum(weight.numel() for weight in task.network(Rng(0)).parameters())
        return max(0, min(self.early, ceil(self.episodes / self.inner)) - 1) * weights * 4


class EarlyNetworks:
    """A few networks trained for some epochs, once, and the perturbed copy of one that is learned with.

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
    """Add to the weights one filter-normalised Gaussian direction for each of these sizes.

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


_GREY = IDC["fashion-mnist"]
_IMAGENET: dict[str, Any] = {
    **_GREY,
    "lr_image": 3e-3,
    "reference_side": 224,
    "factor": 3,
    "episodes": 10_000,
    "early_epochs": 10,
}
SETTINGS: dict[str, dict[str, Any]] = {
    **IDC,
    "svhn": {**IDC["svhn"], "lr_image": 5e-3},
    "digits": {
        **_GREY,
        "factor": 1,
        "lr_image": 5e-4,
        "reference_side": 8,
        "network_images": 64,
        "episodes": 150,
        "inner": 20,
        "early_epochs": 30,
    },
    "imagenet-10": _IMAGENET,
    "imagenet-100": {**_IMAGENET, "lr_image": 1e-3, "lr_network": 0.1, "weight_decay": 1e-4, "real_batch": 128},
}


# The settings, the start and the distance are those of `yoco.condense.inner_steps`; not in the paper:
# - SVHN, MNIST and Fashion-MNIST have IDC's settings, and so have ImageNet's step sizes, metric and factor;
# - early networks differ in weights, order of images and augmentation, not in step size or kind of augmentation;
# - an early network is trained when it is first drawn, under the recipe of the inner steps;
# - both directions and their sizes, with random signs, are drawn anew at each use; the head is perturbed, row by row;
# - real batches are drawn anew from (seed, episode), not from a shuffled pass, so a run can go on anywhere;
# - the images of a start are a random choice;
# - saved pixels are cut to [0, 1], unless they are whitened; those of the authors' code may lie outside.
