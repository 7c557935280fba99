"""DATM: "Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching", Guo et al., ICLR 2024."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD, Optimizer

from yoco.cells import upsample
from yoco.condense.experts import Experts, unflat
from yoco.condense.method import Task
from yoco.condense.siamese import words_for
from yoco.condense.synthetic import Synthetic, start
from yoco.condense.trajectories import DIGITS, Trajectories
from yoco.data.source import Batch
from yoco.rng import Rng
from yoco.train import AT_ONCE, at_once

STARTS = ("real", "mix", "k-means")
FRUITLESS = 50
Judge = Callable[[Callable[[Tensor], Tensor], Sequence[Tensor]], Tensor]
"""(indices long [n] -> images [n, C, H, W], groups of indices) -> logits of all of them, in the order of indices."""


@dataclass(frozen=True, kw_only=True)
class DATM(Trajectories):
    """MTT on a window of the trajectories, early for few images and late for many, with soft labels that are learned.

    One episode is one iteration, which takes no step if its loss is above `threshold`. The cells are the running mean
    of the pixels that the student sees.
    """

    label_kinds: ClassVar[tuple[str, ...]] = ("learned",)
    episodes: int = 10_000
    """iterations"""
    expert_epochs: int = 100
    """epochs of an expert"""
    grow_from: int = 0
    """segments begin before this epoch at first, later before `max_start`; 0 for `max_start` throughout"""
    grow_over: int = 1000
    """iterations after which the window has grown to its end"""
    lr_labels: float = 2.0
    """step size of the labels' logits"""
    momentum_labels: float = 0.9
    """momentum of the labels' logits"""
    threshold: float = 1.0
    """an iteration whose loss is above this changes nothing"""
    decay: float = 0.9995
    """share of the running mean of pixels that an iteration keeps, 0 to below 1; after k, decay^k of it is the start"""

    def __post_init__(self) -> None:
        super().__post_init__()
        latest = self.grow_from or self.max_start
        if not 0 <= self.min_start < latest <= self.max_start:
            got = f"{self.min_start}, {self.grow_from} and {self.max_start}"
            rule = "0 <= min_start < grow_from <= max_start must hold, ignoring a grow_from of 0"
            raise ValueError(f"datm: {rule}, got {got}")
        if self.grow_over < 1:
            raise ValueError(f"datm: grow_over must be at least 1, got {self.grow_over}")
        if not 0 <= self.decay < 1:
            raise ValueError(f"datm: decay must be at least 0 and below 1, got {self.decay:g}")
        if not self.threshold > 0:
            raise ValueError(f"datm: threshold must be above 0, got {self.threshold:g}")
        if self.start not in STARTS:
            raise ValueError(f"datm: start must be one of {', '.join(STARTS)}, got {self.start!r}")

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """The settings for CIFAR-10, CIFAR-100 and Tiny ImageNet at the nearest of their sizes; other data: CIFAR-10's.

        The authors' are for whitened pixels, all of them: ask for the space zca. Digits and letters are not mirrored,
        and the digits of scikit-learn have settings of our own.
        """
        own = data if data in TABLE else "cifar10"
        near = min(TABLE[own], key=lambda ipc: abs(ipc - per_class))
        chosen = dict(zip(COLUMNS, TABLE[own][near], strict=True))
        ours = {"episodes": 300, "threshold": 2.0, **DIGITS} if own == "digits" else {}
        return cls(augment=words_for(data), **chosen, **ours)

    def synthetic(self, task: Task, rng: Rng) -> "Labelled":
        """Real images, those that an expert gets right first, and the logits that it gives them."""
        logits, real = self.judge(task, rng), task.real
        chosen = None
        if self.start != "k-means":
            told = logits(lambda part: real.batch(part).images, real.by_class)
            chosen = [right(task, told[members], c, rng) for c, members in enumerate(real.by_class)]
        plain = start(self.start, real, task.per_class, self.factor, rng, chosen=chosen)
        cells = plain.cells.detach()
        lr = torch.tensor(self.lr_start, device=cells.device)
        labels = logits(lambda part: upsample(cells[part], plain.size), [torch.arange(len(cells))])
        return Labelled.extended(plain, {"lr": lr, "logits": labels, "pixels": cells})

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        """SGD over pixels, step size and logits, each at a step size of its own."""
        groups = [
            {"params": [synthetic.beside["pixels"]], "lr": self.lr_image},
            {"params": [synthetic.beside["lr"]], "lr": self.lr_lr},
            {"params": [synthetic.beside["logits"]], "lr": self.lr_labels, "momentum": self.momentum_labels},
        ]
        return SGD(groups, lr=self.lr_image, momentum=self.momentum_image)

    def memory(self, task: Task, rng: Rng) -> "Paced":
        """The experts, the same for the start and for the iterations; and how many of these there were."""
        folder = self.place(task)
        key = ("experts", self.matched(task).network_name, self.recipe(), rng.seed)
        known = {} if folder else task.shared.setdefault(key, {})
        return Paced(self.matched(task), self.recipe(), Rng(rng.seed).child("experts"), folder, known)

    def episode(self, task: Task, synthetic: Synthetic, memory: "Paced", rng: Rng) -> Iterator[Tensor]:
        """One iteration."""
        begin = self.min_start + int(rng.child("epoch").choice(self.latest(memory.age) - self.min_start, 1))
        loss = self.segment(task, synthetic, memory, begin, rng)
        memory.age += 1
        if float(loss.detach()) > self.threshold:
            self.complain(memory, float(loss.detach()))
            return
        memory.taken += 1
        yield loss
        self.clamp(synthetic)
        with torch.no_grad():
            synthetic.cells.lerp_(synthetic.beside["pixels"], 1 - self.decay)

    def judge(self, task: Task, rng: Rng) -> Judge:
        """The first expert after its last epoch, in training mode."""
        experts = self.memory(task, rng)
        (expert,) = experts.weights(0, self.expert_epochs)
        network = experts.task.network(rng.child("network")).train()
        weights = unflat(network, expert.to(task.real.device, torch.get_default_dtype()))

        @torch.no_grad()
        def logits(images: Callable[[Tensor], Tensor], groups: Sequence[Tensor]) -> Tensor:
            parts = seen_at_once(network, groups, at_once(task.real.shape))
            found = [functional_call(network, weights, (task.normalise(images(part)),)) for part in parts]
            return torch.cat(found)[torch.cat(parts).argsort()]

        return logits

    def complain(self, memory: "Paced", loss: float) -> None:
        """Stop a run that takes no step.

        Raises:
            ValueError: the first `FRUITLESS` iterations, or all, were left out.
        """
        if memory.taken == 0 and memory.age >= min(FRUITLESS, self.episodes):
            got = f"{self.threshold:g}, last loss {loss:.3g}"
            raise ValueError(f"datm: threshold must not be below all of the first {memory.age} losses, got {got}")

    def latest(self, iteration: int) -> int:
        """The epoch before which segments begin in this iteration."""
        first = self.grow_from or self.max_start
        return first + int((self.max_start - first) * min(1.0, iteration / self.grow_over))

    def phases(self, task: Task) -> tuple[Any, ...]:
        """As of all trajectories, with no iteration left out."""
        return (*super().phases(task)[:-1], replace(self, threshold=inf))


def seen_at_once(network: nn.Module, groups: Sequence[Tensor], most: int = AT_ONCE) -> list[Tensor]:
    """The images that a network in training is shown together: of each group long [n] in turn, `most` or fewer.

    Where batch norms look at all that is shown, no part is a class by itself: each has its share of every group.
    """
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        return [part for group in groups for part in group.split(most)]
    every = torch.cat([*groups])
    many = ceil(len(every) / most)
    return [every[k::many] for k in range(many)]


def right(task: Task, logits: Tensor, label: int, rng: Rng) -> Tensor:
    """The images of a class, those that are classified right first, all in random order: long [n]."""
    members, hit = task.real.by_class[label], (logits.argmax(1) == label).cpu()
    first, then = members[hit], members[~hit]
    drawn, other = rng.child("right", label), rng.child("wrong", label)
    return torch.cat([first[drawn.choice(len(first), len(first))], then[other.choice(len(then), len(then))]])


class Labelled(Synthetic):
    """Cells that follow the pixels in `beside`, which the student sees and which are stepped, with labels as logits."""

    def everything(self, indices: Tensor | None = None) -> Batch:
        """These pixels, or all, decoded, with their soft labels."""
        chosen = slice(None) if indices is None else indices.to(self.cells.device)
        return Batch(upsample(self.beside["pixels"][chosen], self.size), self.beside["logits"][chosen].softmax(1))

    def soft_labels(self) -> Tensor:
        """The softmax of the logits: float [n, classes]."""
        return self.beside["logits"].softmax(1)

    def take_gradient(self, loss: Tensor) -> None:
        """As every set, where pixels that stick out of the canvas never change."""
        super().take_gradient(loss)
        pixels = self.beside["pixels"]
        if self._learned is not None and pixels.grad is not None:
            pixels.grad = pixels.grad * self._learned

    @torch.no_grad()
    def clamp(self) -> None:
        """Put every pixel into [0, 1]; whitened ones have no bounds."""
        if self.space == "unit":
            self.beside["pixels"].clamp_(0, 1)


class Paced(Experts):
    """Experts, and how many iterations were made with them: `age`, and of these `taken`, the others being left out."""

    age: int = 0
    taken: int = 0

    def state_dict(self) -> dict[str, Any]:
        """The two counts alone: an expert that is not there is recorded again, to the same bits."""
        return {"age": self.age, "taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.age, self.taken = state["age"], state["taken"]


COLUMNS = (
    *("student_steps", "expert_steps", "min_start", "grow_from", "max_start"),
    *("lr_image", "lr_labels", "lr_lr", "lr_start", "student_batch", "decay"),
)
TABLE: dict[str, dict[int, tuple[Any, ...]]] = {
    "cifar10": {
        1: (80, 2, 0, 0, 4, 100.0, 5.0, 1e-7, 1e-2, 10, 0.9995),
        10: (80, 2, 0, 10, 20, 100.0, 2.0, 1e-5, 1e-3, 100, 0.9995),
        50: (80, 2, 0, 20, 40, 1000.0, 2.0, 1e-5, 1e-3, 500, 0.995),
        500: (80, 2, 40, 0, 60, 50.0, 10.0, 1e-5, 1e-3, 1000, 0.995),
        1000: (80, 2, 40, 0, 60, 50.0, 10.0, 1e-5, 1e-3, 1000, 0.995),
    },
    "cifar100": {
        1: (40, 3, 0, 0, 20, 1000.0, 10.0, 1e-5, 1e-2, 0, 0.9995),
        10: (20, 2, 0, 0, 50, 1000.0, 10.0, 1e-5, 1e-2, 0, 0.9995),
        50: (80, 2, 20, 0, 70, 1000.0, 10.0, 1e-5, 1e-2, 1000, 0.995),
        100: (80, 2, 30, 0, 70, 1000.0, 10.0, 1e-5, 1e-2, 1000, 0.995),
    },
    "tiny-imagenet": {
        1: (10, 2, 0, 0, 20, 1000.0, 10.0, 1e-4, 1e-2, 0, 0.9995),
        10: (20, 2, 10, 0, 50, 1000.0, 10.0, 1e-4, 1e-2, 200, 0.9995),
        50: (20, 2, 40, 0, 70, 1000.0, 10.0, 1e-4, 1e-2, 300, 0.995),
    },
    "digits": {1: (10, 2, 0, 0, 13, 10.0, 20.0, 1e-7, 5e-2, 0, 0.9)},
}


# Experts and student are those of `yoco.condense.trajectories`; not in the paper:
# - experts are MTT's, trained for longer: they are not made flat (FTD);
# - of the authors' settings the windows, the iterations, the steps and batches for CIFAR-10 up to 50 and the ranges of
#   threshold, decay and step sizes are theirs; what lies in a range is chosen here, and the rest is MTT's and FTD's;
# - the start and the labels are those of the last epoch of the first expert; labels are learned as logits; where it
#   gets too few images of a class right, others follow them;
# - where batch norms look at all images that are shown together, the expert judges images of all classes together;
# - the running mean is that of the pixels, not of the labels; it begins at the start, and skipped iterations leave it;
# - so, if a run is stopped after k iterations that were not skipped, a share decay^k of its cells is still the start,
#   while its labels were learned with the pixels that the student saw;
# - a window grows in equal steps, epoch by epoch;
# - the space is the caller's: the authors' settings whiten the pixels of all three data sets (ZCA), at all sizes;
# - whitened pixels are not cut; others are, to [0, 1] after every iteration, and are stepped as if normalised;
# - the learned step size never falls below a thousandth of where it began.
