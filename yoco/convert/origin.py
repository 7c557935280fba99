"""Origin: which file a set is read from and what was said about it; and the condensed set made of both."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from yoco.condensed import CondensedSet
from yoco.convert.known import Known, known

Constants = tuple[tuple[float, ...], tuple[float, ...]]
MOST = 100_000
"""Classes; larger labels are no numbers of classes but names of them."""


@dataclass(frozen=True)
class Origin:
    """A file to convert. `data`, `factor`, `space` and `experiment` are what it does not say itself, see `convert`.

    space_said: False where `space` is only the default.
    """

    path: Path
    form: str
    data: str | None = None
    factor: int = 2
    space: str = "zca"
    experiment: int = 0
    space_said: bool = True

    @property
    def known(self) -> Known | None:
        """What is published about the data set, or None where it is not said or not known."""
        return known(self.data) if self.data else None

    def refuse(self, rule: str, got: object) -> NoReturn:
        """Raise the one line that says what is wrong with the file."""
        raise ValueError(f"convert: {self.path}: {rule}, got {got}")

    def check_pair(self, images: Any, labels: Any) -> tuple[Tensor, Tensor]:
        """Images as float32 and labels as int64, both on their own.

        Raises:
            ValueError: images are not finite floats [n, C, H, W] with n > 0, or labels not whole numbers [n] from 0.
        """
        if not isinstance(images, Tensor) or images.ndim != 4 or not images.is_floating_point() or not len(images):
            self.refuse("images must be float [n, C, H, W] with n > 0", _form(images))
        if not isinstance(labels, Tensor) or labels.shape != images.shape[:1] or labels.dtype not in _WHOLE:
            self.refuse(f"labels must be whole numbers [{len(images)}]", _form(labels))
        if not bool(torch.isfinite(images).all()):
            self.refuse("pixels must be finite", "nan or infinity")
        self.check_labels(int(labels.min()), int(labels.max()))
        return images.detach().float().contiguous(), labels.detach().long()

    def check_labels(self, low: int, high: int) -> None:
        """Check that labels can be numbers of classes.

        Raises:
            ValueError: they are negative, or far too large.
        """
        if low < 0 or high >= MOST:
            self.refuse(f"labels must be at least 0 and below {MOST}", low if low < 0 else high)

    def check_channels(self, cells: Tensor) -> None:
        """Check that cells [n, C, h, w] have as many channels as the data set.

        Raises:
            ValueError: they have not.
        """
        if self.known and len(self.known.mean) != cells.shape[1]:
            self.refuse(f"images of {self.known.name} must have {len(self.known.mean)} channels", cells.shape[1])

    def condensed(
        self, cells: Tensor, labels: Tensor, *, constants: Constants | None = None, **parts: Any
    ) -> CondensedSet:
        """A condensed set of these cells; where nothing else is said, one of factor 1.

        constants: mean and std that networks are to be fed with; by default the published ones of the data set, else
        those of the cells themselves, and 0 and 1 for whitened pixels.

        Raises:
            ValueError: the parts break a rule of condensed sets.
        """
        about = self.known
        self.check_channels(cells)
        if parts.get("space") == "zca":
            constants = ((0.0,) * cells.shape[1], (1.0,) * cells.shape[1])
        mean, std = constants or (about and (about.mean, about.std)) or statistics(cells)
        names = about.classes if about else tuple(map(str, range(max(2, int(labels.max()) + 1))))
        rest: dict[str, Any] = {"factor": 1, "size": tuple(cells.shape[2:]), "classes": names, "method": self.form}
        rest |= {"source": {"name": about.name if about else self.data}} if self.data else {}
        history = ({"step": "convert", "form": self.form, "file": self.path.name},)
        try:
            return CondensedSet(cells=cells, labels=labels, mean=mean, std=std, history=history, **{**rest, **parts})
        except ValueError as error:
            raise ValueError(f"convert: {self.path}: {error}") from error


_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def statistics(cells: Tensor) -> Constants:
    """Mean and std of each channel of cells [n, C, h, w], in units of [0, 1]; a constant one has std 1."""
    pixels = (cells.double() / 255 if cells.dtype == torch.uint8 else cells.double()).transpose(0, 1).flatten(1)
    std = pixels.std(1, correction=0)
    return tuple(pixels.mean(1).tolist()), tuple(std.where(std > 1e-6, 1.0).tolist())


def _form(value: Any) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
