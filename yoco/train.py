"""The one supervised loop: train a network on images under a recipe, and measure its accuracy."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import prod
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer

from augment import CutMix, Policy
from yoco.data.source import Batch
from yoco.device import at_work
from yoco.rng import Rng

Observer = Callable[[int, Tensor, Tensor], None]
"""Called with (epoch, indices [n], logits [n, classes]) of every training batch."""

AT_ONCE = 500
ROOM = AT_ONCE * 3 * 64 * 64
"""Most numbers in a batch of images where no network is trained, unless a single image has more."""


class Examples(Protocol):
    """What can be trained on: a number of images, drawn by index. Targets are labels or soft labels."""

    def __len__(self) -> int:
        """Number of images."""

    def batch(self, indices: Tensor) -> Batch:
        """These images in [0, 1], with their targets."""


class Augmentation(Protocol):
    """Random changes of normalised images, such as a Policy: drawn first, then applied."""

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Any:
        """What happens to `count` images of this (height, width)."""

    def __call__(self, images: Tensor, draw: Any) -> Tensor:
        """The changed images."""


@dataclass(frozen=True)
class Normalise:
    """(images - mean) / std per channel; images float [n, C, H, W] in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        mean, std = (_planes(tuple(each), images.dtype, images.device) for each in (self.mean, self.std))
        return (images - mean) / std


@lru_cache(maxsize=64)
def _planes(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """One number per channel, [C, 1, 1]; made once, as a copy to a GPU waits for all of its pending work."""
    with torch.inference_mode(False):  # which those who come later may not be in
        return torch.tensor(values, dtype=dtype, device=device)[:, None, None]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained: here by SGD on cross-entropy; `yoco.recipes` has others.

    drops: shares of the epochs after which the step size is multiplied by gamma.
    extra: 1 for the schedule of DC, DSA and DM, which numbers its epochs 0..E and drops after the one numbered
    share * E + 1; so it runs one epoch more than `epochs`, and drops two later.
    fresh: build a new optimiser at a drop, so that its momentum is lost (DC, DSA, DM).
    cutmix: probability that a batch is mixed.
    """

    epochs: int
    batch: int = 64
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    drops: tuple[Fraction, ...] = (Fraction(2, 3), Fraction(5, 6))
    gamma: float = 0.2
    extra: int = 0
    fresh: bool = False
    augment: Augmentation = Policy("")
    cutmix: float = 0.0

    @property
    def length(self) -> int:
        """Epochs that are run, `extra` included."""
        return self.epochs + self.extra

    def drop_epochs(self) -> list[int]:
        """The epochs, counted from 0, at whose start the step size falls."""
        return [int(self.epochs * share) + 2 * self.extra for share in self.drops]

    def brief(self) -> Self:
        """The same recipe for few epochs: without the drops that would come before the first epoch."""
        return replace(self, drops=tuple(share for share in self.drops if int(self.epochs * share)))

    def optimizer(self, network: nn.Module, lr: float | None = None) -> Optimizer:
        """SGD over all parameters of the network."""
        lr = self.lr if lr is None else lr
        return SGD(network.parameters(), lr=lr, momentum=self.momentum, weight_decay=self.weight_decay)

    def retuned(self, network: nn.Module, optimizer: Optimizer, epoch: int) -> Optimizer:
        """The optimiser for an epoch, counted from 0: this one at its step size, or a new one."""
        for _ in range(self.drop_epochs().count(epoch)):
            lr = optimizer.param_groups[0]["lr"] * self.gamma
            optimizer = self.optimizer(network, lr) if self.fresh else optimizer
            optimizer.param_groups[0]["lr"] = lr
        return optimizer

    def batches(self, count: int, rng: Rng) -> Iterator[Tensor]:
        """The indices of an epoch: all of `count` images in random order, the last batch perhaps smaller."""
        return shuffled(count, self.batch, rng)

    def seen(self, count: int) -> int:
        """How many images an epoch looks at where there are `count`."""
        return count

    def shared(self, cells: int, factor: int) -> int:
        """Epochs on decoded cells that cost as many image passes as all epochs on whole images in their room.

        cells: how many; factor^2 of them share the room of one image. At least 1.
        """
        return max(1, self.epochs // factor**2)

    def loss(self, logits: Tensor, images: Tensor, targets: Tensor, partner: Tensor, share: float) -> Tensor:
        """The loss of a batch as the network saw it: mixed, `share` of each image its own, the rest of its partner.

        logits [n, classes]; images float [n, C, H, W]; targets long [n] or soft [n, classes]; partner long [n].
        """
        loss = self.error(logits, targets)
        return loss if share == 1 else share * loss + (1 - share) * self.error(logits, targets[partner])

    def error(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy, mean over images."""
        return cross_entropy(logits, targets)


def fit(
    network: nn.Module,
    examples: Examples,
    recipe: Recipe,
    normalise: Normalise,
    rng: Rng,
    *,
    after_epoch: Callable[[int], object] | None = None,
    observe: Observer | None = None,
    stop: int | None = None,
) -> None:
    """Train `network` in place on shuffled batches for `recipe.length` epochs, or only the first `stop` of them.

    In several threads of one process, steps wait for each other, as layers draw from torch's only global generator.
    """
    optimizer = recipe.optimizer(network)
    for epoch in range(recipe.length if stop is None else min(stop, recipe.length)):
        optimizer, stream = recipe.retuned(network, optimizer, epoch), rng.child("epoch", epoch)
        for step, indices in enumerate(recipe.batches(len(examples), stream)):
            logits = train_step(network, optimizer, examples.batch(indices), recipe, normalise, stream.child(step))
            if observe:
                observe(epoch, indices, logits)
        if after_epoch:
            after_epoch(epoch)


def take_steps(
    network: nn.Module,
    optimizer: Optimizer,
    examples: Examples,
    steps: int,
    recipe: Recipe,
    normalise: Normalise,
    rng: Rng,
) -> None:
    """Train `network` on `steps` batches of distinct images, in as many passes over the examples as they take."""
    done = 0
    while done < steps:
        for indices in shuffled(len(examples), recipe.batch, rng.child("pass", done)):
            train_step(network, optimizer, examples.batch(indices), recipe, normalise, rng.child("step", done))
            done += 1
            if done == steps:
                return


def train_step(
    network: nn.Module,
    optimizer: Optimizer,
    batch: Batch,
    recipe: Recipe,
    normalise: Normalise,
    rng: Rng,
) -> Tensor:
    """Take an optimiser step on the loss of an augmented, perhaps mixed, batch; return the detached logits."""
    network.train()
    generator, mixing = rng.generator(), CutMix(recipe.cutmix)
    images, targets = normalise(batch.images), batch.labels
    n, size = len(images), (images.shape[-2], images.shape[-1])
    with rng.child("forward").as_global(), at_work(images.device):  # of layers that draw, such as dropout
        images = recipe.augment(images, recipe.augment.draw(n, size, generator))
        images, partner, share = mixing.apply(images, mixing.draw(n, size, generator))
        logits = network(images)
        loss = recipe.loss(logits, images, targets, partner, share)
        optimizer.zero_grad()
        loss.backward()
    optimizer.step()
    return logits.detach()


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put the network in evaluation mode for the block; afterwards every module is in its former mode."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def at_once(shape: Sequence[int]) -> int:
    """The batch size for images of this (C, H, W) where no network is trained: 500, or less for large images."""
    return max(1, min(AT_ONCE, ROOM // prod(shape)))


def in_turn(examples: Examples, batch: int | None = None, among: Tensor | None = None) -> Iterator[Batch]:
    """All examples, or those `among` these indices, in order and in batches, by default of `at_once` images."""
    batch = at_once(examples.batch(torch.arange(1)).images.shape[1:]) if batch is None else batch
    indices = torch.arange(len(examples)) if among is None else among
    return (examples.batch(part) for part in indices.split(batch))


@torch.no_grad()
def predict(
    network: nn.Module,
    examples: Examples,
    normalise: Normalise,
    batch: int | None = None,
    *,
    among: Tensor | None = None,
) -> Tensor:
    """Logits of all images, or of those `among` these indices, in evaluation mode: float [n, classes]."""
    network.eval()
    return torch.cat([network(normalise(images)) for images, _ in in_turn(examples, batch, among)])


@torch.no_grad()
def accuracy(network: nn.Module, examples: Examples, normalise: Normalise, batch: int | None = None) -> float:
    """Share of correct predictions, in percent."""
    network.eval()
    right = [(network(normalise(images)).argmax(1) == labels).sum() for images, labels in in_turn(examples, batch)]
    return 100 * int(torch.stack(right).sum()) / len(examples)


def shuffled(n: int, batch: int, rng: Rng) -> Iterator[Tensor]:
    """All of range(n) in random order, in batches; the last may be smaller."""
    return iter(rng.child("order").choice(n, n).split(int(batch)))
