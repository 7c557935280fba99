"""Any kornia augmentation as an Op: drawn under a seed of ours, replayed safely on any batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from augment.op import Params, check_count

DRAWS_LATE = "draws random numbers while it is applied, so it cannot be replayed"
REFUSED = {
    "RandomPlasma": DRAWS_LATE,
    "RandomDissolving": DRAWS_LATE,
    "RandomChannelDropout": "stores image indices of its own batch, so it cannot be replayed on another",
}
"""Kornia modules, by the beginning of their names, that drawn parameters do not determine; and why."""

BY_CHANNEL = ("RandomChannelShuffle", "RandomGaussianNoise", "RandomSaltAndPepperNoise")
"""Kornia modules whose parameters depend on the number of channels."""


@dataclass(frozen=True)
class KorniaOp:
    """Wrap a kornia 2D augmentation such as `kornia.augmentation.RandomGaussianBlur((3, 3), (0.1, 2.0))`.

    Kornia has no generator argument: parameters are drawn under a fork of torch's global generator that is seeded from
    the given one. One drawn row is expanded to the batch before it is replayed, since kornia itself raises, or silently
    flips every image, when the numbers of rows differ.

    channels: of the images; only the modules of BY_CHANNEL need it.

    Raises:
        ValueError: the module is not a single 2D augmentation (containers and mixes are not), cannot be replayed, or
            needs `channels`.
    """

    module: nn.Module
    channels: int | None = None

    def __post_init__(self) -> None:
        names = [base.__name__ for base in type(self.module).__mro__]
        if "AugmentationBase2D" not in names:
            raise ValueError(f"augment: KorniaOp takes one 2D augmentation of kornia, got {names[0]}")
        for start, why in REFUSED.items():
            if any(name.startswith(start) for name in names):
                raise ValueError(f"augment: {names[0]} {why}")
        if self.channels is None and not set(names).isdisjoint(BY_CHANNEL):
            raise ValueError(f"augment: {names[0]} needs the channels of the images, got None; pass channels=3")

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> Params:
        """Kornia's own parameters: `count` rows of them, or fewer where some of these rows are to change nothing."""
        check_count(count)
        seed = int(torch.randint(2**62, (1,), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            shape = torch.Size((count, self.channels or 1, *size))
            drawn: Mapping[str, Any] = self.module.forward_parameters(shape)  # type: ignore[operator]
        return {name: value for name, value in drawn.items() if isinstance(value, Tensor)}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """Replay the parameters; one row serves the whole batch.

        Raises:
            ValueError: there is neither one row nor one for each image, the images have other channels, or the module
                drew random numbers after all.
        """
        count, n = len(params["batch_prob"]), len(images)
        if count not in (1, n):
            raise ValueError(f"augment: parameters must have 1 or {n} rows, got {count}")
        if self.channels not in (None, images.shape[1]):
            raise ValueError(f"augment: images must have {self.channels} channels, got {images.shape[1]}")
        replay = {name: self._expanded(name, value, count, images) for name, value in params.items()}
        with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
            before = _state(images)
            result: Tensor = self.module(images, params=replay)
            if not torch.equal(before, _state(images)):
                raise ValueError(f"augment: {type(self.module).__name__} {DRAWS_LATE}")
        return result

    def _expanded(self, name: str, value: Tensor, count: int, images: Tensor) -> Tensor:
        if name == "forward_input_shape":
            return torch.tensor(images.shape)
        value = value.to(images.device, images.dtype) if value.is_floating_point() else value.to(images.device)
        if count == 1 and value.ndim and len(value) == 1:
            return value.expand(len(images), *value.shape[1:])
        return value


def _state(images: Tensor) -> Tensor:
    """The states of the global generators that code on the device of the images can draw from: bytes."""
    state = torch.get_rng_state()
    return torch.cat([state, torch.cuda.get_rng_state(images.device)]) if images.is_cuda else state
