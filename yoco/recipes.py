"""Recipes other than SGD on cross-entropy: regression (FRePo), and distillation from a teacher (SRe2L, RDED)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from math import cos, pi

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, mse_loss, one_hot
from torch.optim import Adam, AdamW, Optimizer

from yoco.rng import Rng
from yoco.train import Recipe


@dataclass(frozen=True, kw_only=True)
class Regression(Recipe):
    """Adam on the squared error to centred targets: 1 - 1 / classes for the class, -1 / classes for the others.

    An epoch is one step on random images, `batch` of them or all there are. Soft labels are centred likewise.
    """

    batch: int = 500
    lr: float = 3e-4
    weight_decay: float = 0.0
    drops: tuple[Fraction, ...] = ()

    def optimizer(self, network: nn.Module, lr: float | None = None) -> Optimizer:
        """Adam over all parameters."""
        return Adam(network.parameters(), lr=self.lr if lr is None else lr, weight_decay=self.weight_decay)

    def batches(self, count: int, rng: Rng) -> Iterator[Tensor]:
        """One batch of distinct images."""
        yield rng.child("order").choice(count, self.seen(count))

    def seen(self, count: int) -> int:
        """How many images a step looks at: a batch, or all there are."""
        return min(count, self.batch)

    def shared(self, cells: int, factor: int) -> int:
        """As in `Recipe`; full batches of cells and of whole images cost the same."""
        return max(1, self.epochs * min(self.batch * factor**2, cells) // (factor**2 * self.seen(cells)))

    def error(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The mean over images and classes."""
        shares = targets if targets.is_floating_point() else one_hot(targets, logits.shape[1])
        return mse_loss(logits, shares.to(logits) - 1 / logits.shape[1])


@dataclass(frozen=True, kw_only=True)
class Distilled(Recipe):
    """AdamW on the KL divergence from a teacher's outputs for the same augmented and mixed images.

    The labels of the set are not used. The step size falls to 0 along half a cosine, from epoch to epoch.
    temperature: divides the logits of both before the softmax.
    teacher: a module in evaluation mode that maps normalised images to logits, classes in the order of the data.
    """

    lr: float = 1e-3
    weight_decay: float = 0.01
    drops: tuple[Fraction, ...] = ()
    cutmix: float = 1.0
    temperature: float = 20.0
    teacher: nn.Module | None = field(default=None, repr=False)

    def optimizer(self, network: nn.Module, lr: float | None = None) -> Optimizer:
        """AdamW over all parameters."""
        return AdamW(network.parameters(), lr=self.lr if lr is None else lr, weight_decay=self.weight_decay)

    def retuned(self, network: nn.Module, optimizer: Optimizer, epoch: int) -> Optimizer:
        """The same one, further down the cosine."""
        for group in optimizer.param_groups:
            group["lr"] = self.lr * (1 + cos(pi * epoch / self.length)) / 2
        return optimizer

    def loss(self, logits: Tensor, images: Tensor, targets: Tensor, partner: Tensor, share: float) -> Tensor:
        """KL(teacher || network), mean over images; a teacher in 16 bits is read in float32.

        Raises:
            ValueError: there is no teacher.
        """
        if self.teacher is None:
            raise ValueError("train: this recipe needs a teacher, got none")
        with torch.no_grad():
            answers = self.teacher(images)
            exact = answers.to(torch.promote_types(answers.dtype, torch.float32))
            said = (exact / self.temperature).softmax(1).to(logits)
        return kl_div((logits / self.temperature).log_softmax(1), said, reduction="batchmean")
