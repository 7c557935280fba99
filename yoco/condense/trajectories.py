"""Match trajectories: a student trained on the set should end where an expert on real data did (MTT, CVPR 2022)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer

from augment import Policy
from yoco.condense.aside import Aside
from yoco.condense.experts import Experts, unflat
from yoco.condense.learner import Learner
from yoco.condense.method import Task
from yoco.condense.siamese import WORDS, stepped_normalised
from yoco.condense.synthetic import Synthetic
from yoco.data.source import Batch
from yoco.disk import at_home
from yoco.networks.base import Network
from yoco.registry import join_options, split_options
from yoco.rng import Rng
from yoco.train import Recipe


@dataclass(frozen=True, kw_only=True)
class Trajectories:
    """What MTT and DATM share: experts, a student with a learned step size, and its remaining distance to them."""

    episodes: int = 5000
    """iterations"""
    experts: str = ""
    """folder of experts (see `yoco experts`), filled as they are needed; by default `experts` in the run's folder"""
    count: int = 100
    """number of experts"""
    expert_epochs: int = 50
    """epochs of an expert"""
    expert_batch: int = 256
    """real images in a step of an expert"""
    lr_expert: float = 0.01
    """step size of the experts: SGD without momentum and decay"""
    min_start: int = 0
    """segments begin after this many epochs or later"""
    max_start: int = 20
    """segments begin after an epoch below this one"""
    expert_steps: int = 2
    """epochs of the expert in a segment"""
    student_steps: int = 30
    """steps of the student in a segment"""
    student_batch: int = 0
    """synthetic images in a step of the student; 0 for all"""
    lr_image: float = 100.0
    """step size of the pixels, in the units of normalised ones, or of whitened ones, as published"""
    momentum_image: float = 0.5
    """momentum of pixels and step size"""
    lr_lr: float = 1e-5
    """step size of the student's step size"""
    lr_start: float = 1e-3
    """the student's step size at the beginning; it is learned"""
    constant_memory: bool = False
    """gradients of one student step at a time (TESLA, Cui et al., ICML 2023), not through all of them at once"""
    factor: int = 1
    """factor^2 cells share the room of one image: 1 to 4; above 1, start defaults to mix instead of real"""
    start: str = "real"
    """noise, real (whole images, cut into cells), mix (one shrunk image a cell) or k-means (a mix of typical images)"""
    augment: str = WORDS
    """augmentations of student and experts"""
    depth: int = 0
    """blocks of the experts' and the student's network, if it is a convnet of no given depth; 0 for the usual"""

    def __post_init__(self) -> None:
        where = type(self).__name__.lower()
        for name in ("count", "expert_epochs", "expert_batch", "max_start", "expert_steps", "student_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{where}: {name} must be at least 1, got {getattr(self, name)}")
        if self.max_start - 1 + self.expert_steps > self.expert_epochs:
            needed = self.max_start - 1 + self.expert_steps
            raise ValueError(
                f"{where}: expert_epochs must be at least {needed} for these segments, got {self.expert_epochs}"
            )
        if self.student_batch < 0 or not self.lr_start > 0:
            got = f"{self.student_batch} and {self.lr_start:g}"
            raise ValueError(f"{where}: student_batch must be at least 0 and lr_start above 0, got {got}")
        if self.depth < 0:
            raise ValueError(f"{where}: depth must be at least 0, got {self.depth}")
        Policy(self.augment)

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        """SGD over the pixels and, at `lr_lr`, over the student's step size."""
        groups = [
            {"params": [synthetic.cells], "lr": self.lr_image},
            {"params": [synthetic.beside["lr"]], "lr": self.lr_lr},
        ]
        return SGD(groups, lr=self.lr_image, momentum=self.momentum_image)

    def memory(self, task: Task, rng: Rng) -> Experts:
        """The experts, the same as the command `experts` records with this seed."""
        return Experts(self.matched(task), self.recipe(), Rng(rng.seed).child("experts"), self.place(task))

    def place(self, task: Task) -> Path | None:
        """The folder of the experts: the given one, or `experts` in that of the run, if it has one."""
        return at_home(self.experts) if self.experts else task.folder and task.folder / "experts"

    def matched(self, task: Task) -> Task:
        """The task with the network of experts and student."""
        base, asked = split_options("network", task.network_name)
        if not self.depth or base != "convnet" or "depth" in asked:
            return task
        return replace(task, network_name=join_options(base, {**asked, "depth": self.depth}))

    def recipe(self) -> Recipe:
        """How experts are trained."""
        plain: Any = {"momentum": 0.0, "weight_decay": 0.0, "drops": ()}
        policy = Policy(self.augment, "dsa")
        return Recipe(epochs=self.expert_epochs, batch=self.expert_batch, lr=self.lr_expert, augment=policy, **plain)

    def segment(self, task: Task, synthetic: Synthetic, memory: Experts, begin: int, rng: Rng) -> Tensor:
        """The loss on a random expert's segment from epoch `begin` on: lines 4 to 12 of MTT's algorithm."""
        number = int(rng.child("expert").choice(self.count, 1))
        network = memory.task.network(rng.child("network")).train()
        ends = memory.weights(number, begin, begin + self.expert_steps)
        first, goal = (weights.to(synthetic.cells) for weights in ends)
        travel = self.constant if self.constant_memory else self.unrolled
        return travel(task, synthetic, network, first, goal, rng.child("student"))

    @torch.no_grad()
    def clamp(self, synthetic: Synthetic) -> None:
        """Put pixels into [0, 1] unless they are whitened, and keep the step size above 0."""
        synthetic.clamp()
        synthetic.beside["lr"].clamp_(min=self.lr_start * 1e-3)

    def unrolled(
        self, task: Task, synthetic: Synthetic, network: Network, first: Tensor, goal: Tensor, rng: Rng
    ) -> Tensor:
        """Squared distance to the goal after all steps, relative to that before, through the graph of all steps."""
        student = first.clone().requires_grad_()
        for step, batch in enumerate(self.batches(task, synthetic, rng)):
            loss = student_loss(network, student, batch, rng.child("forward", step))
            (gradient,) = torch.autograd.grad(loss, student, create_graph=True)
            student = student - synthetic.beside["lr"] * gradient
        return (student - goal).square().sum() / (first - goal).square().sum()

    def constant(
        self, task: Task, synthetic: Synthetic, network: Network, first: Tensor, goal: Tensor, rng: Rng
    ) -> Tensor:
        """The same value; its gradient in pixels and labels holds each step's weights constant, one graph at a time.

        With G the sum of the steps' gradients g_i, the distance is |first - lr G - goal|^2, so that g_i enters with
        2 lr^2 G - 2 lr (first - goal).
        """
        lr = synthetic.beside["lr"].detach()
        students, total = [first.clone()], torch.zeros_like(first)
        for step, batch in enumerate(self.batches(task, synthetic, rng)):
            student = students[-1].requires_grad_()
            loss = student_loss(network, student, batch, rng.child("forward", step))
            (gradient,) = torch.autograd.grad(loss, student)
            total += gradient
            students.append((student - lr * gradient).detach())
        pull, leaves = 2 * lr**2 * total - 2 * lr * (first - goal), synthetic.parameters()
        pulled = [torch.zeros_like(leaf) for leaf in leaves]
        for step, batch in enumerate(self.batches(task, synthetic, rng)):
            weights = students[step].detach().requires_grad_()
            loss = student_loss(network, weights, batch, rng.child("forward", step))
            (gradient,) = torch.autograd.grad(loss, weights, create_graph=True)
            parts = torch.autograd.grad(gradient @ pull, leaves, materialize_grads=True)
            pulled = [sum_so_far + part for sum_so_far, part in zip(pulled, parts, strict=True)]
        scale = (first - goal).square().sum()
        value = (first - synthetic.beside["lr"] * total - goal).square().sum() / scale
        carried = torch.stack([(leaf * part).sum() for leaf, part in zip(leaves, pulled, strict=True)]).sum() / scale
        return value + carried - carried.detach()

    def batches(self, task: Task, synthetic: Synthetic, rng: Rng) -> Iterator[Batch]:
        """The student's batch in each step, normalised and augmented; all images come once before one comes again."""
        n, policy = len(synthetic.cells), Policy(self.augment, "dsa")
        batch, waiting = self.student_batch or n, torch.empty(0, dtype=torch.long)
        for step in range(self.student_steps):
            if len(waiting) < min(batch, n):
                waiting = torch.cat([waiting, rng.child("order", step).choice(n, n)])
            chosen, waiting = waiting[:batch], waiting[batch:]
            seen = stepped_normalised(task, synthetic.everything(chosen))
            images = task.normalise(seen.images)
            draw = policy.draw(len(images), synthetic.size, rng.child("augment", step).generator())
            yield Batch(policy(images, draw), seen.labels)

    def phases(self, task: Task) -> tuple[Any, ...]:
        """What estimates measure: training the expected number of missing experts, then the iterations."""
        steps = self.missing(task) * self.expert_epochs * ceil(len(task.real) / self.expert_batch)

        def expert(_: Task, rng: Rng) -> Learner:
            return Learner(self.matched(task), self.recipe(), life=1, rng=rng)

        recording = Aside(expert, lambda learner, rng: learner.learn(1, rng), steps, "step of an expert")
        return (recording, self) if steps else (self,)

    def missing(self, task: Task) -> int:
        """Expected number of experts that the iterations need and that are not there yet."""
        place = self.place(task)
        there = len(list(place.glob("expert-*.safetensors"))) if place else 0
        return self.met(max(0, self.count - there))

    def met(self, experts: int) -> int:
        """Expected number of these experts that the iterations draw."""
        return round(experts * (1 - (1 - 1 / self.count) ** self.episodes))

    def gathers(self, task: Task) -> int:
        """Bytes of the experts in memory after the first, if the run is on the CPU, as they are; 0 with a folder."""
        weights = sum(weight.numel() for weight in self.matched(task).network(Rng(0)).parameters())
        held = 0 if self.place(task) else self.missing(task)
        return max(0, held - 1) * (self.expert_epochs + 1) * weights * 4 if task.real.device.type == "cpu" else 0


def student_loss(network: Network, weights: Tensor, batch: Batch, rng: Rng) -> Tensor:
    """Cross-entropy of a network with these weights, one row [weights]; rng: of layers that draw, such as dropout."""
    with rng.as_global():
        logits = functional_call(network, unflat(network, weights), (batch.images,))
    return cross_entropy(logits, batch.labels)


DIGITS: dict[str, Any] = {"depth": 2, "count": 5, "expert_epochs": 15, "expert_batch": 64, "lr_expert": 0.1}
"""For 8x8 images, not from the paper. A third block would normalise maps of 2x2; there the student's path jumps
wherever a ReLU switches, so that its gradient does not show where the loss falls. Sets of two blocks serve three."""
