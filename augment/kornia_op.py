"""Any kornia augmentation as an Op: drawn under a seed of ours, replayed safely on any batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from augment.op import Params

UNREPLAYABLE = ("RandomPlasma", "RandomDissolving")
"""Kornia modules, by the beginning of their names, that draw while they are applied."""


@dataclass(frozen=True)
class KorniaOp:
    """Wrap a kornia 2D augmentation such as `kornia.augmentation.RandomGaussianBlur((3, 3), (0.1, 2.0))`.

    Kornia has no generator argument: parameters are drawn under a fork of torch's global generator that is seeded from
    the given one. One drawn row is expanded to the batch before it is replayed, since kornia itself raises, or silently
    flips every image, when the numbers of rows differ. Parameters that are no tensors belong to all rows.

    Raises:
        ValueError: the module draws while it is applied.
    """

    module: nn.Module

    def __post_init__(self) -> None:
        name = type(self.module).__name__
        if name.startswith(UNREPLAYABLE):
            raise ValueError(f"augment: {name} draws while it is applied and cannot be replayed")

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Params:
        """Kornia's own parameters, `count` rows of them."""
        seed = int(torch.randint(2**62, (1,), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(seed)
            drawn: Mapping[str, Any] = self.module.forward_parameters(torch.Size((count, 1, *size)))  # type: ignore[operator]
        return {name: value for name, value in drawn.items() if isinstance(value, Tensor)}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Replay the parameters; one row serves the whole batch.

        Raises:
            ValueError: there is neither one row nor one for each image.
        """
        count, n = len(params["batch_prob"]), len(images)
        if count not in (1, n):
            raise ValueError(f"augment: parameters must have 1 or {n} rows, got {count}")
        replay = {name: self._expanded(name, value, count, images) for name, value in params.items()}
        result: Tensor = self.module(images, params=replay)
        return result

    def _expanded(self, name: str, value: Tensor, count: int, images: Tensor) -> Tensor:
        if name == "forward_input_shape":
            return torch.tensor(images.shape)
        value = value.to(images.device, images.dtype) if value.is_floating_point() else value.to(images.device)
        if count == 1 and value.ndim and len(value) == 1:
            return value.expand(len(images), *value.shape[1:])
        return value
