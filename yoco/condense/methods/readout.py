"""Readout: learn cells by unrolling the training of a network's last layer on them, to classify real images.

    networks: a pool, each trained on the cells by SGD on cross-entropy under the augmentations and the CutMix of
              protocol `idc` (ICML 2022), and replaced when it is as old as `life`; their ages differ

    in each step, with one of them:
        F, G <- features of all cells, and of a batch of real images
        W <- 0, V <- 0;  T times:  V <- 0.9 V + F' (softmax(F W) - Y) / n + decay W,  W <- W - eta V
        loss <- cross-entropy of G W against the labels of the real images
        the cells, and the labels Y where they are learned, take a step of LAMB; the network learns some more

If the set is `nested`, every other network is trained and read out on the first cells of each class alone, one image of
them or more. So every prefix of the set is a set of its size, as in MDC (ICLR 2024).

FRePo (NeurIPS 2022) has ridge regression in place of the T steps, and trains its networks in another way. Variants are
compared in experiments/road.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil, log
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot
from torch.optim import Optimizer

from augment import CutMix, Policy
from yoco.condense.descent import descend
from yoco.condense.lamb import Lamb
from yoco.condense.learner import Learner
from yoco.condense.method import Task
from yoco.condense.synthetic import Synthetic, in_parts, start
from yoco.condensed import Examples
from yoco.networks.base import Network
from yoco.protocols import idc
from yoco.rng import Rng
from yoco.train import Recipe, take_steps

MOMENTUM = 0.9
SIZE = 50.0
"""mean |f|^2 of features f, divided by the classes, that `lr_head` is meant for; the steps would not converge with
eta |f|^2 / classes above 2 (1 + MOMENTUM), and it stays below 2."""


@dataclass(frozen=True, kw_only=True)
class Readout:
    """Cells on whose features a network's last layer can be trained to classify real images.

    One episode is one step: one network of the pool gives the features, then it is trained a little on the cells.
    """

    label_kinds: ClassVar[tuple[str, ...]] = ("learned", "hard")
    deciding: ClassVar[tuple[str, ...]] = ("factor",)
    episodes: int = 2000
    """steps"""
    pool: int = 10
    """networks"""
    life: int = 200
    """uses of a network after which it is replaced; on average each network is used once in `pool` episodes"""
    factor: int = 2
    """factor^2 cells share the room of one image: 1 to 4; above 1, start defaults to mix instead of real"""
    start: str = "mix"
    """noise, real (whole images, cut into cells), mix (one shrunk image a cell) or k-means (a mix of typical images)"""
    labels: str = "learned"
    """learned or hard; hard labels are smoothed for the last layer, too, but saved as they are"""
    smooth: float = 0.1
    """label smoothing: the share of the other classes, at the start if labels are learned, else always"""
    lr: float = 6e-3
    """step size of LAMB for pixels and labels; it falls to a tenth along a cosine"""
    real_batch: int = 768
    """real images in one step"""
    head_steps: int = 200
    """steps of the last layer"""
    lr_head: float = 0.02
    """step size of the last layer for features as large as a convnet's; scaled by a power of 4 for others"""
    lr_network: float = 0.01
    """step size of SGD for the networks"""
    network_batch: int = 64
    """synthetic images in a step of a network, at most"""
    graph_batch: int = 500
    """synthetic images whose features share a graph when pixels are stepped, at most"""
    network_steps: int = 8
    """steps of a network in one episode, at least"""
    network_epochs: float = 1.25
    """epochs on the cells that a network takes in one episode, if they are more steps than network_steps"""
    nested: bool = False
    """every other network uses the first cells of each class alone, so that every prefix of the set is a set"""
    augment: str = "color_crop_flip_scale_rotate"
    """augmentations of the networks' training"""
    cutmix: float = 0.5
    """probability that a batch of the networks' training is mixed"""

    def __post_init__(self) -> None:
        for name in ("pool", "life", "real_batch", "head_steps", "network_batch", "network_steps", "graph_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"readout: {name} must be at least 1, got {getattr(self, name)}")
        if not self.network_epochs >= 0:
            raise ValueError(f"readout: network_epochs must be 0 or more, got {self.network_epochs:g}")
        if self.nested and self.pool < 2:
            raise ValueError(f"readout: nested needs a pool of at least 2, got {self.pool}")
        if self.labels not in self.label_kinds:
            raise ValueError(f"readout: labels must be learned or hard, got {self.labels!r}")
        if not 0 < self.smooth < 0.5:
            raise ValueError(f"readout: smooth must be above 0 and below 0.5, got {self.smooth:g}")
        Policy(self.augment)
        CutMix(self.cutmix)

    @classmethod
    def published(
        cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None, factor: int | None = None
    ) -> Self:
        """Settings of this library; networks are trained as protocol `idc` does for the data.

        Digits have whole images, and few steps of a network on small sets, which it would otherwise memorise.
        """
        own: dict[str, Any] = {}
        if data == "digits":
            own = {"factor": 1, "start": "real", "episodes": 500, "network_steps": 2, "network_epochs": 5.0}
        own |= {} if factor is None else {"factor": factor}
        judged = idc(data, shape or (3, 32, 32), own.get("factor", cls.factor), per_class)
        assert isinstance(judged.augment, Policy)
        return cls(augment=judged.augment.words, cutmix=judged.cutmix, **own)

    def synthetic(self, task: Task, rng: Rng) -> "Labelled":
        """Real images, and logits of their smoothed labels."""
        plain = start(self.start, task.real, task.per_class, self.factor, rng)
        height = log((1 - self.smooth) * (plain.classes - 1) / self.smooth)
        logits = height * one_hot(plain.labels, plain.classes).to(plain.cells)
        beside = {"logits": logits} if self.labels == "learned" else {}
        made = Labelled.extended(plain, beside)
        made.logits = made.beside.get("logits", logits)
        made.order = "readout" if self.nested else made.order
        return made

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        """LAMB over pixels and labels."""
        return Lamb(synthetic.parameters(), self.lr, steps=self.episodes, final=0.1)

    def recipe(self) -> Recipe:
        """How the networks are trained on the cells."""
        words, cutmix = Policy(self.augment), self.cutmix
        return Recipe(epochs=1, batch=self.network_batch, lr=self.lr_network, augment=words, cutmix=cutmix)

    def memory(self, task: Task, rng: Rng) -> "Trainees":
        """The networks, and the step size of their last layers."""
        lr_head = self.step_size(task, rng.child("size"))
        return Trainees(task, self.recipe(), self.pool, self.life, rng, lr_head)

    def step_size(self, task: Task, rng: Rng) -> float:
        """eta: `lr_head` times the power of 4 that brings mean |f|^2 of a new network next to `SIZE` times classes."""
        images = task.real.batch(rng.child("images").choice(len(task.real), 256)).images
        with torch.no_grad():
            size = float(self.features(task, task.network(rng.child("network")), images).square().sum(1).mean())
        return self.lr_head * 4.0 ** round(log(SIZE * len(task.real.classes) / max(size, 1e-9), 4))

    def steps(self, cells: int) -> int:
        """Of a network in one episode."""
        return max(self.network_steps, ceil(self.network_epochs * cells / self.network_batch))

    def episode(self, task: Task, synthetic: "Labelled", memory: "Trainees", rng: Rng) -> Iterator[Tensor]:
        """One step."""
        k = int(rng.child("network").choice(self.pool, 1))
        network = memory.learners[k].network
        real = task.real.batch(rng.child("real").choice(len(task.real), self.real_batch))
        with torch.no_grad():
            seen = self.features(task, network, real.images)
        known = self.known(k, synthetic)
        many = ceil(len(known) / self.graph_batch)
        chosen = [known[part::many] for part in range(many)]

        def features(indices: Tensor) -> Tensor:
            return self.features(task, network, synthetic.everything(indices).images)

        def loss(parts: list[Tensor]) -> Tensor:
            found, shares = torch.cat(parts), synthetic.shares()[torch.cat(chosen)]
            return cross_entropy(seen @ self.last_layer(found, shares, memory.lr_head), real.labels)

        parts = [partial(features, indices) for indices in chosen]
        yield synthetic.together(in_parts(parts, loss, [*synthetic.beside.values()]))
        synthetic.clamp()
        memory.learn(k, synthetic, known, self.steps(len(known)), rng.child("train"))

    def known(self, k: int, synthetic: Synthetic) -> Tensor:
        """The cells that a network of the pool knows: all, or the first ipc^((k - 1) / pool) images of each class."""
        cells = torch.arange(len(synthetic.cells), device=synthetic.cells.device)
        if not self.nested or k % 2 == 0:
            return cells
        images = synthetic.images_per_class ** ((k - 1) / self.pool)
        return cells[cells % synthetic.per_class < ceil(images * synthetic.factor**2)]

    def features(self, task: Task, network: Network, images: Tensor) -> Tensor:
        """What the last layer is given: [n, D]."""
        return network.seen(task.normalise(images)).to(images)

    def last_layer(self, features: Tensor, shares: Tensor, eta: float) -> Tensor:
        """W [D, classes] after gradient descent on the mean cross-entropy of features W [n, classes] against shares.

        W = features' a from W = 0 on, so the steps are taken with a [n, classes].
        """
        decay, steps = self.recipe().weight_decay, self.head_steps
        kernel = features @ features.T
        return features.T @ descend(kernel, shares, steps=steps, eta=eta, momentum=MOMENTUM, decay=decay)


class Labelled(Synthetic):
    """A synthetic set with logits [n, classes] of its labels, which may be learned."""

    logits: Tensor

    def shares(self) -> Tensor:
        """The labels of the last layer: float [n, classes]."""
        return self.logits.softmax(1)

    def soft_labels(self) -> Tensor | None:
        """The same, if they are learned."""
        return self.shares() if "logits" in self.beside else None


class Trainees:
    """Networks that are trained on the synthetic set; their ages are spread from the beginning.

    lr_head: step size of the last layers that are trained on their features.
    """

    def __init__(self, task: Task, recipe: Recipe, count: int, life: int, rng: Rng, lr_head: float) -> None:
        self.task, self.recipe, self.lr_head = task, recipe, lr_head
        self.learners = [Learner(task, recipe, life=life, rng=rng.child(k)) for k in range(count)]
        for k, learner in enumerate(self.learners):
            learner.age = k * life // count

    def learn(self, k: int, synthetic: Synthetic, known: Tensor, steps: int, rng: Rng) -> None:
        """Replace a spent network; then train it for some steps on the known cells, decoded, and their labels."""
        learner, soft = self.learners[k], synthetic.soft_labels()
        if learner.spent:
            learner.renew(rng.child("network"))
        images, labels = synthetic.decoded(known), synthetic.labels[known]
        cells = Examples(images, labels, None if soft is None else soft.detach()[known])
        normalise = self.task.normalise
        take_steps(learner.network, learner.optimizer, cells, steps, self.recipe, normalise, rng)
        learner.age += 1

    def state_dict(self) -> dict[str, Any]:
        """The state of every learner."""
        return {str(k): learner.state_dict() for k, learner in enumerate(self.learners)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        for k, learner in enumerate(self.learners):
            learner.load_state_dict(state[str(k)])
