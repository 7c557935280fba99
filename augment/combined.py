"""Combinations of ops besides the words of a Policy: one op for each image, or all in turn."""

from dataclasses import dataclass

import torch
from torch import Tensor

from augment.op import Op, Params


@dataclass(frozen=True)
class OnePerImage:
    """An augmentation that applies one of several ops to each image, chosen independently."""

    ops: tuple[Op, ...]

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> tuple[Tensor, tuple[Params, ...]]:
        """The op of each image, long [count], and for every op `count` rows of parameters."""
        choice = torch.randint(len(self.ops), (count,), generator=generator)
        return choice, tuple(op.draw(count, size, generator) for op in self.ops)

    def __call__(self, images: Tensor, draw: tuple[Tensor, tuple[Params, ...]]) -> Tensor:
        """Images float [n, C, H, W], each after its own op."""
        choice, changed = draw[0].to(images.device).view(-1, 1, 1, 1), images
        for at, (op, params) in enumerate(zip(self.ops, draw[1], strict=True)):
            changed = torch.where(choice == at, op.apply(images, params), changed)
        return changed


@dataclass(frozen=True)
class InTurn:
    """An augmentation that applies all of several ops to each image, one after another."""

    ops: tuple[Op, ...]

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> tuple[Params, ...]:
        """For every op `count` rows of parameters."""
        return tuple(op.draw(count, size, generator) for op in self.ops)

    def __call__(self, images: Tensor, draw: tuple[Params, ...]) -> Tensor:
        """Images float [n, C, H, W] after all ops."""
        for op, params in zip(self.ops, draw, strict=True):
            images = op.apply(images, params)
        return images
