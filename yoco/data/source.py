"""Source: labelled images in memory, the one form in which all data enters the library."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

import torch
from torch import Tensor

from yoco.artefact import is_text
from yoco.data.names import repeated

T = TypeVar("T")


class Batch(NamedTuple):
    """images: float [n, C, H, W] in [0, 1], or whitened; labels: long [n]."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class Source:
    """Labelled images of one size.

    images: uint8 [n, C, H, W]; labels: long [n] in range(len(classes)); classes: their names, all different.
    mean, std: per channel, of images in [0, 1]; networks are fed (image - mean) / std.
    place: the name or path by which `yoco.data.load` found it, else empty. files: the path of each image within that
    folder, if it is a folder of images, else empty.
    space: of the images in a batch: "unit", or "zca" (see `yoco.data.whitened`). factor: 1, as in a condensed set whose
    cells are whole images.
    """

    space: ClassVar[str] = "unit"
    factor: ClassVar[int] = 1
    name: str
    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...] = field(default=())
    std: tuple[float, ...] = field(default=())
    place: str = ""
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._validate()
        if not self.mean:
            mean, std = channel_statistics(self.images)
            object.__setattr__(self, "mean", mean)
            object.__setattr__(self, "std", std)

    def _validate(self) -> None:
        where = f"data {self.name}"
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            got = f"{self.images.dtype} {list(self.images.shape)}"
            raise ValueError(f"{where}: images must be uint8 [n, C, H, W], got {got}")
        if self.labels.dtype != torch.long or self.labels.shape != self.images.shape[:1]:
            got = f"{self.labels.dtype} {list(self.labels.shape)}"
            raise ValueError(f"{where}: labels must be int64 [{len(self.images)}], got {got}")
        if not len(self.images):
            raise ValueError(f"{where}: needs at least one image, got none")
        if len(self.classes) < 2:
            raise ValueError(f"{where}: needs at least two classes, got {len(self.classes)}")
        for word in (self.name, self.place, *self.classes):
            if not is_text(word):
                raise ValueError(f"data: names of classes and data, and paths, must be text, got {word!r}")
        if (twice := repeated(self.classes)) is not None:
            raise ValueError(f"{where}: classes must have different names, got {twice!r} twice")
        channels = self.images.shape[1]
        if any(len(part) not in (0, channels) for part in (self.mean, self.std)) or (self.mean and not self.std):
            raise ValueError(f"{where}: mean and std must have {channels} channels, got {self.mean} and {self.std}")
        if len(self.files) not in (0, len(self.images)):
            raise ValueError(f"{where}: files must be none, or one for each image, got {len(self.files)}")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= len(self.classes):
            raise ValueError(f"{where}: labels must be in 0..{len(self.classes) - 1}, got {low}..{high}")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.shape))
        return f"Source({self.name!r}, {len(self)} images {shape}, {len(self.classes)} classes)"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        c, h, w = self.images.shape[1:]
        return c, h, w

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.images.device

    @property
    def by_class(self) -> tuple[Tensor, ...]:
        """For each class the indices of its images, in data order: long [n_c] on the CPU."""
        return self._known(members_of)

    @property
    def counts(self) -> tuple[int, ...]:
        """Images of each class."""
        return tuple(map(len, self.by_class))

    @property
    def nbytes(self) -> int:
        """Bytes of pixels and labels, as they are stored."""
        return self.images.nbytes + self.labels.nbytes

    def as_dataset(self) -> Self:
        """The source itself, which networks are trained on as on the decoded cells of a condensed set."""
        return self

    @property
    def checksum(self) -> str:
        """sha256 over shape, pixels and labels, as hexadecimal digits."""
        return self._known(digest_of)

    def _known(self, make: Callable[["Source"], T]) -> T:
        """A value computed from pixels and labels, cached until torch changes them in place."""
        kept, now = vars(self).setdefault("_kept", {}), self._versions()
        if make not in kept or kept[make][0] != now:
            kept[make] = now, make(self)
        found: T = kept[make][1]
        return found

    def _versions(self) -> tuple[int, ...]:
        """How often torch has changed pixels and labels in place, which tensors of its inference mode do not count."""
        return tuple(0 if part.is_inference() else part._version for part in (self.images, self.labels))

    def __getstate__(self) -> dict[str, Any]:
        """All but the cached values, as copies of tensors count their changes anew."""
        return {name: value for name, value in vars(self).items() if name != "_kept"}

    def batch(self, indices: Tensor) -> Batch:
        """These images in [0, 1], in torch's default dtype, with their labels, on the device of the source."""
        indices = indices.to(self.device)
        images = self.images[indices].to(torch.get_default_dtype())
        return Batch(images.div_(images.new_full((), 255)), self.labels[indices])  # by a number, CUDA rounds otherwise

    def to(self, device: torch.device | str) -> Self:
        """The same source on another device."""
        moved = replace(self, **self._parts(lambda part: part.to(device)))
        kept, now = vars(self).get("_kept", {}), self._versions()
        there = moved._versions()
        vars(moved)["_kept"] = {make: (there, value) for make, (at, value) in kept.items() if at == now}
        return moved

    def take(self, indices: Tensor, name: str | None = None) -> Self:
        """These images as a new source; mean and std stay those of the whole."""
        at = indices.to(self.device)
        return replace(self, name=name or self.name, files=self.files_of(indices), **self._parts(lambda part: part[at]))

    def files_of(self, indices: Tensor) -> tuple[str, ...]:
        """The files of these images, if they are files."""
        if not self.files:
            return ()
        at = torch.nonzero(indices).flatten() if indices.dtype == torch.bool else indices
        return tuple(self.files[index] for index in at.tolist())

    def _parts(self, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """Everything that there is for each image, changed in the same way."""
        return {"images": change(self.images), "labels": change(self.labels)}


class Splits(NamedTuple):
    """The two halves of a data set; the test half carries the mean and std of the training half."""

    train: Source
    test: Source


def members_of(source: Source) -> tuple[Tensor, ...]:
    """For each class the indices of its images: `Source.by_class`."""
    labels = source.labels.cpu()
    return tuple(torch.nonzero(labels == c).flatten() for c in range(len(source.classes)))


def digest_of(source: Source) -> str:
    """`Source.checksum`."""
    digest = hashlib.sha256(repr(tuple(source.images.shape)).encode())
    digest.update(source.images.cpu().contiguous().numpy().data)
    digest.update(source.labels.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of each channel of uint8 images [n, C, H, W], in units of [0, 1]; a constant one has std 1."""
    counts = torch.zeros(images.shape[1], 256, dtype=torch.double, device=images.device)
    for part in images.split(1000):
        counts += torch.stack([torch.bincount(channel.flatten().long(), minlength=256) for channel in part.unbind(1)])
    share, level = counts / counts.sum(1, keepdim=True), torch.arange(256, device=images.device).double() / 255
    mean = (share * level).sum(1)
    std = (share * (level - mean[:, None]) ** 2).sum(1).sqrt()
    return tuple(mean.tolist()), tuple(std.where(std > 1e-6, 1.0).tolist())
