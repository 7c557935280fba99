"""FRePo: "Dataset Distillation using Neural Feature Regression", Zhou, Nezhadarya and Ba, NeurIPS 2022, Algorithm 1."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, one_hot
from torch.optim import Adam, Optimizer

from augment import Policy
from yoco.condense.lamb import Lamb
from yoco.condense.method import Task
from yoco.condense.siamese import WORDS, words_for
from yoco.condense.synthetic import Synthetic, in_parts, start
from yoco.networks.base import Network
from yoco.protocols import GLYPHS
from yoco.rng import Rng


@dataclass(frozen=True, kw_only=True)
class FRePo:
    """A set on whose features ridge regression predicts the labels of real images.

    One episode is one step: one network of the pool gives the features, then it takes one step on the synthetic set.
    """

    label_kinds: ClassVar[tuple[str, ...]] = ("learned", "hard")
    episodes: int = 500_000
    """steps"""
    pool: int = 10
    """networks"""
    life: int = 100
    """steps on the synthetic set after which a network is replaced"""
    factor: int = 1
    """factor^2 cells share the room of one image: 1 to 4; above 1, start defaults to mix instead of real"""
    start: str = "real"
    """noise, real (whole images, cut into cells), mix (one shrunk image a cell) or k-means (a mix of typical images)"""
    labels: str = "learned"
    """learned or hard"""
    lr: float = 3e-4
    """step size of LAMB for pixels and labels; it falls to a tenth along a cosine"""
    real_batch: int = 1024
    """real images in one step"""
    ridge: float = 1e-6
    """added to the diagonal of the kernel, in units of its mean"""
    flip: bool = True
    """the synthetic set is doubled by its mirror images"""
    lr_network: float = 3e-4
    """step size of Adam for the networks"""
    network_batch: int = 500
    """most synthetic images in a step of a network, and in one graph when the pixels are updated"""
    augment: str = WORDS
    """augmentations of the networks' training"""

    def __post_init__(self) -> None:
        for name in ("pool", "life", "real_batch", "network_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"frepo: {name} must be at least 1, got {getattr(self, name)}")
        if self.labels not in self.label_kinds:
            raise ValueError(f"frepo: labels must be learned or hard, got {self.labels!r}")
        if not self.ridge > 0:
            raise ValueError(f"frepo: ridge must be above 0, got {self.ridge:g}")
        Policy(self.augment)

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """The paper's settings, which depend on the data only in mirroring.

        The set is not mirrored (`flip`) for the MNIST family, nor from 10 images per class on for CIFAR-100 and Tiny
        ImageNet; here neither for SVHN, as digits and letters are never mirrored. The digits of scikit-learn have
        settings of our own.
        """
        still = data in (*GLYPHS, "fashion-mnist") or (data in ("cifar100", "tiny-imagenet") and per_class >= 10)
        own: dict[str, Any] = {"episodes": 500, "lr": 3e-3, "lr_network": 1e-3} if data == "digits" else {}
        return cls(flip=not still, augment=words_for(data), **own)

    def synthetic(self, task: Task, rng: Rng) -> "Regressed":
        """Real images, and labels as `centred` has them."""
        plain = start(self.start, task.real, task.per_class, self.factor, rng)
        targets = {"targets": centred(plain.labels, plain.classes)} if self.labels == "learned" else {}
        return Regressed.extended(plain, targets)

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        """LAMB over pixels and labels."""
        return Lamb(synthetic.parameters(), self.lr, steps=self.episodes, final=0.1)

    def memory(self, task: Task, rng: Rng) -> "Pool":
        """The networks."""
        return Pool(task, self.pool, self.life, self.lr_network, rng)

    def episode(self, task: Task, synthetic: "Regressed", memory: "Pool", rng: Rng) -> Iterator[Tensor]:
        """Lines 3 to 8 of the algorithm."""
        k = int(rng.child("network").choice(self.pool, 1))
        network = memory.networks[k]
        real = task.real.batch(rng.child("real").choice(len(task.real), self.real_batch))
        with torch.no_grad():
            seen = network.seen(task.normalise(real.images))
        wanted, chosen = centred(real.labels, synthetic.classes), self.batches(len(synthetic.cells))
        mirrored = torch.cat([indices.repeat(1 + self.flip) for indices in chosen])

        def support(indices: Tensor) -> Tensor:
            images = synthetic.everything(indices).images
            return network.seen(task.normalise(torch.cat([images, images.flip(3)]) if self.flip else images))

        def error(parts: list[Tensor]) -> Tensor:
            targets = synthetic.targets()[mirrored]
            found = regression(torch.cat(parts), targets, seen, self.ridge)
            return mse_loss(found, wanted.to(found)).to(targets) + margin(targets)

        parts = [partial(support, indices) for indices in chosen]
        yield synthetic.together(in_parts(parts, error, [*synthetic.beside.values()]))
        synthetic.clamp()
        memory.learn(k, synthetic, Policy(self.augment, "dsa"), self.network_batch, rng.child("train"))

    def batches(self, count: int) -> list[Tensor]:
        """The synthetic images that share a graph: no more than `network_batch`, of all classes."""
        many = ceil(count / self.network_batch)
        return [torch.arange(k, count, many) for k in range(many)]


class Regressed(Synthetic):
    """A synthetic set whose labels are regression targets, `centred` at the start; they may be learned."""

    def targets(self) -> Tensor:
        """float [n, classes]."""
        return self.beside.get("targets", centred(self.labels, self.classes))

    def soft_labels(self) -> Tensor | None:
        """The learned targets as shares: 1 / classes added, cut at 0, divided by their sum."""
        if "targets" not in self.beside:
            return None
        shares = (self.beside["targets"] + 1 / self.classes).clamp(min=0)
        return (shares + 1e-8) / (shares + 1e-8).sum(1, keepdim=True)


class Pool:
    """Networks that are trained on the synthetic set, one step at a time; their ages are spread from the beginning."""

    def __init__(self, task: Task, count: int, life: int, lr: float, rng: Rng) -> None:
        self.task, self.life, self.lr = task, life, lr
        self.networks: list[Network] = [task.network(rng.child(k)) for k in range(count)]
        self.optimizers = [Adam(network.parameters(), lr=lr) for network in self.networks]
        self.ages = [k * life // count for k in range(count)]

    def learn(self, k: int, synthetic: Regressed, policy: Policy, batch: int, rng: Rng) -> None:
        """One step of a network on augmented synthetic images; at the end of its life a new one takes its place."""
        if self.ages[k] >= self.life:
            self.networks[k] = self.task.network(rng.child("network"))
            self.optimizers[k] = Adam(self.networks[k].parameters(), lr=self.lr)
            self.ages[k] = 0
        chosen = rng.child("batch").choice(len(synthetic.cells), batch)
        images = self.task.normalise(synthetic.everything(chosen).images.detach())
        images = policy(images, policy.draw(len(images), synthetic.size, rng.child("augment").generator()))
        loss = mse_loss(self.networks[k].train()(images), synthetic.targets().detach()[chosen])
        self.optimizers[k].zero_grad()
        loss.backward()
        self.optimizers[k].step()
        self.ages[k] += 1

    def state_dict(self) -> dict[str, Any]:
        """Ages, weights and the states of the optimisers."""
        networks = [network.state_dict() for network in self.networks]
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        return {"ages": list(self.ages), "networks": networks, "optimizers": optimizers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.ages = list(state["ages"])
        for network, optimizer, weights, moments in zip(
            self.networks, self.optimizers, state["networks"], state["optimizers"], strict=True
        ):
            network.load_state_dict(weights)
            optimizer.load_state_dict(moments)


def centred(labels: Tensor, classes: int) -> Tensor:
    """1 - 1 / classes for the class, -1 / classes for the others: float [n, classes]."""
    return one_hot(labels, classes).to(torch.get_default_dtype()) - 1 / classes


def regression(support: Tensor, targets: Tensor, query: Tensor, ridge: float) -> Tensor:
    """Kernel ridge regression with the dot product of features, in float64: predictions [q, classes].

    On the CPU where the features are on a device of Apple, which has no float64.
    """
    support, targets, query = ((x.cpu() if x.device.type == "mps" else x).double() for x in (support, targets, query))
    kernel = support @ support.T
    eye = torch.eye(len(kernel), device=kernel.device, dtype=kernel.dtype)
    damped = kernel + ridge * kernel.diagonal().mean() * eye
    return query @ (support.T @ torch.linalg.solve(damped, targets))


def margin(targets: Tensor) -> Tensor:
    """Minus the mean margin of the largest target over the second, each capped at 1 / classes."""
    first, second = targets.topk(2, dim=1).values.unbind(1)
    return -(first - second).clamp(max=1 / targets.shape[1]).mean()


# Not in the paper:
# - networks are those of the task, with instance norm, not the paper's wider ones with batch norm;
# - their ages are spread from the beginning, so that they are not all replaced at once; a network gives features once
#   more at the end of its life, and its successor takes a step before it first does;
# - labels begin as `centred` has them; the authors' code scales them first;
# - the space is the caller's, where the paper whitens colour images (ZCA): LAMB's steps are relative to the length of
#   the pixels, so those of plain ones, in [0, 1], are larger than of normalised or whitened ones;
# - the features of more synthetic images than `network_batch` are made in parts, which changes nothing but memory; with
#   batch norm each part has its own statistics;
# - pixels are cut to [0, 1] after every step; labels are saved as shares, so that cross-entropy can be trained on them.
