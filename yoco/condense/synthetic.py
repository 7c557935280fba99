"""The synthetic set while it is learned: cells and other learned tensors, and how the cells start."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from yoco.cells import cell_size, cut, upsample, visible
from yoco.condense.coreset import enough, medoids
from yoco.data.source import Batch, Source
from yoco.rng import Rng
from yoco.train import at_once

STARTS = ("noise", "real", "mix", "k-means")
SHRINKS = ("nearest", "area")


class Synthetic:
    """Learnable cells, class by class and tile-major within a class (IDC, ICML 2022).

    cells: float [classes * per_class * factor^2, C, h, w], a leaf that requires gradients.
    beside: other leaves that a method learns, by name. `labels` are soft labels float [n, classes], which are saved
    with the set; a single number, such as a step size, is recorded in its `config`.
    held: how many cells of each class, from the first, take no gradients. order: as in the saved set. space: of the
    pixels, "unit" or "zca"; the loop sets it. Pixels that stick out of the canvas (`visible`) never change.
    """

    held: int = 0
    order: str = "condensed"
    space: str = "unit"

    def __init__(
        self,
        cells: Tensor,
        classes: int,
        factor: int,
        size: tuple[int, int],
        beside: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.cells = cells.clone().requires_grad_()
        self.beside = {name: value.clone().requires_grad_() for name, value in (beside or {}).items()}
        self.factor, self.size, self.classes = factor, size, classes
        self.labels = torch.arange(classes, device=cells.device).repeat_interleave(len(cells) // classes)
        self._learned = _learned_pixels(cells, classes, factor, size)

    @classmethod
    def extended(cls, plain: "Synthetic", beside: Mapping[str, Tensor]) -> Self:
        """The cells of another set, with these leaves beside them."""
        return cls(plain.cells.detach(), plain.classes, plain.factor, plain.size, beside)

    @property
    def per_class(self) -> int:
        """Cells of each class."""
        return len(self.cells) // self.classes

    @property
    def images_per_class(self) -> float:
        """Images of each class whose room the cells fill (IPC)."""
        return self.per_class / self.factor**2

    def of(self, label: int, limit: int | None = None, rng: Rng | None = None, *, first: int | None = None) -> Batch:
        """The decoded images of one class, or of its first cells; of more than `limit` a random choice, by `rng`."""
        cells = self.cells[label * self.per_class : (label + 1) * self.per_class][:first]
        if limit is not None and limit < len(cells):
            assert rng is not None
            cells = cells[rng.choice(len(cells), limit).to(cells.device)]
        labels = torch.full((len(cells),), label, device=cells.device)
        return Batch(upsample(cells, self.size), labels)

    def firsts(self, count: int) -> Tensor:
        """A view of the first cells of each class, without a graph, to read or overwrite: [classes, count, C, h, w]."""
        return self.cells.detach().unflatten(0, (self.classes, -1))[:, :count]

    def everything(self, indices: Tensor | None = None) -> Batch:
        """These cells, by default all, decoded, with their soft labels if there are any, else their labels."""
        chosen = slice(None) if indices is None else indices.to(self.cells.device)
        targets = self.beside.get("labels", self.labels)
        return Batch(upsample(self.cells[chosen], self.size), targets[chosen])

    @torch.no_grad()
    def decoded(self, indices: Tensor | None = None) -> Tensor:
        """The images of `everything` without a graph, in parts: on a GPU decoding takes several times their memory."""
        chosen = torch.arange(len(self.cells)) if indices is None else indices
        images = self.cells.new_empty(len(chosen), self.cells.shape[1], *self.size)
        most = at_once(images.shape[1:])
        for part, place in zip(chosen.split(most), images.split(most), strict=True):
            place.copy_(self.everything(part).images)
        return images

    def soft_labels(self) -> Tensor | None:
        """Soft labels as they are saved with the set, float [n, classes], if they are learned."""
        return self.beside.get("labels")

    def parameters(self) -> list[Tensor]:
        """The cells, and what is learned beside them."""
        return [self.cells, *self.beside.values()]

    def take_gradient(self, loss: Tensor) -> None:
        """Set the gradients of `loss` in all leaves: zeros where it does not touch them, so momentum moves them on."""
        leaves = self.parameters()
        pixels, *others = torch.autograd.grad(loss, leaves, materialize_grads=True)
        if self._learned is not None:
            pixels = pixels * self._learned
        if self.held:
            place = torch.arange(len(pixels), device=pixels.device) % self.per_class
            pixels = pixels * (place >= self.held).view(-1, 1, 1, 1)
        for leaf, gradient in zip(leaves, (pixels, *others), strict=True):
            leaf.grad = gradient

    def together(self, losses: Iterable[Tensor]) -> Tensor:
        """The sum of losses, for one step, by gradient accumulation: only one loss has a graph at a time.

        Its value and its gradients in all leaves are those of the sum, but memory does not grow with their number.
        """
        leaves, values = self.parameters(), []
        gradients = [torch.zeros_like(leaf) for leaf in leaves]
        for loss in losses:
            values.append(loss.detach())
            for total, part in zip(gradients, torch.autograd.grad(loss, leaves, materialize_grads=True), strict=True):
                total += part
        return carrying(leaves, gradients, sum(torch.stack(values).tolist()) if values else 0.0)

    @torch.no_grad()
    def clamp(self) -> None:
        """Put every pixel into [0, 1]; whitened ones have no bounds."""
        if self.space == "unit":
            self.cells.clamp_(0, 1)


def carrying(tensors: Sequence[Tensor], gradients: Sequence[Tensor], value: Tensor | float = 0.0) -> Tensor:
    """A surrogate loss: a scalar of this value that has these gradients in the tensors."""
    carried = torch.stack([(tensor * g).sum() for tensor, g in zip(tensors, gradients, strict=True)]).sum()
    return carried - carried.detach() + value


def in_parts(
    parts: Sequence[Callable[[], Tensor]], joint: Callable[[list[Tensor]], Tensor], beside: Sequence[Tensor]
) -> Iterator[Tensor]:
    """Gradient caching: losses, for `together`, whose sum is `joint` of all parts, with one part's graph at a time.

    It takes two passes: the first computes each part without a graph, which gives the gradients of `joint` in all of
    them; the second computes each part with a graph, through which its gradient is sent back. A single part is computed
    once. What layers draw in a part, such as dropout, is the same in both passes.
    beside: the leaves that `joint` depends on directly.
    """
    if len(parts) == 1:
        yield joint([parts[0]()])
        return
    streams = [Rng(torch.initial_seed()).child("part", k) for k in range(len(parts))]
    with torch.no_grad():
        values = [_made(part, stream) for part, stream in zip(parts, streams, strict=True)]
    loss = joint([value.requires_grad_() for value in values])
    gradients = torch.autograd.grad(loss, [*values, *beside], materialize_grads=True)
    value = loss.detach()
    for part, stream, gradient in zip(parts, streams, gradients[: len(parts)], strict=True):
        yield carrying([_made(part, stream)], [gradient], value)
        value = torch.zeros_like(value)
    if beside:
        yield carrying(beside, gradients[len(parts) :])


def _made(part: Callable[[], Tensor], rng: Rng) -> Tensor:
    with rng.as_global():
        return part()


def start(
    kind: str,
    source: Source,
    per_class: int,
    factor: int,
    rng: Rng,
    *,
    first: bool = False,
    shrink: str = "nearest",
    chosen: Sequence[Tensor] | None = None,
    parted: bool = True,
) -> Synthetic:
    """A synthetic set of `per_class` images per class: noise, real images, or a mix of shrunk real images.

    kind: "noise" draws pixels from N(0.5, 0.25^2), cut to [0, 1], or, where images are whitened, from N(0, 1);
    "real" fills each canvas with one real image;
    "mix" fills each cell with one real image, shrunk (IDC); "k-means" does the same with the images whose pixels are
    nearest to the centres of as many clusters of the class, large clusters first. first: take the first images of a
    class, as the papers' code does, instead of a random choice. chosen: for each class the indices of its images, in
    order, instead of both. A class or choice that is too small is repeated. parted: where cells are single images,
    repeated ones are given noise from N(0, 0.1^2), as equal cells would take equal steps for ever.

    Raises:
        ValueError: the kind or the factor is unknown, or a tile lies off the canvas.
    """
    if kind not in STARTS:
        raise ValueError(f"condense: start must be one of {', '.join(STARTS)}, got {kind!r}")
    check_factor(factor)
    height, width = source.shape[1:]
    check_tiles((height, width), factor)
    wanted = per_class if kind in ("noise", "real") else per_class * factor**2
    parts = []
    for label, members in enumerate(source.by_class):
        order = torch.arange(len(members)) if first else rng.child(label).choice(len(members), len(members))
        if kind == "k-means":
            order = medoids(source.batch(members).images.flatten(1), wanted, rng.child(label))
        taken = enough(members[order] if chosen is None else chosen[label], wanted)
        images = source.batch(taken).images
        if kind == "noise":
            images = _noise(images, source.space, rng.child("noise", label))
        if kind in ("noise", "real"):
            parts.append(cut(images, factor))
            continue
        images = _parted(images, taken, source.space, rng.child("again", label)) if parted else images
        parts.append(shrunk(images, per_class, factor, shrink))
    return Synthetic(torch.cat(parts), len(source.classes), factor, (height, width))


def check_factor(factor: int) -> None:
    """Check that a factor is one that papers use.

    Raises:
        ValueError: it is not 1, 2, 3 or 4.
    """
    if factor not in (1, 2, 3, 4):
        raise ValueError(f"condense: factor must be 1, 2, 3 or 4, got {factor}")


def check_tiles(size: tuple[int, int], factor: int) -> None:
    """Check that no tile lies off the canvas, where it would have nothing to learn.

    Raises:
        ValueError: there is one.
    """
    if 0 in (side for tile in visible(size, factor) for side in tile):
        height, width = size
        raise ValueError(f"condense: factor must leave a pixel for each cell of {height}x{width} images, got {factor}")


def _noise(like: Tensor, space: str, rng: Rng) -> Tensor:
    normal = torch.randn(like.shape, generator=rng.generator()).to(like.device)
    return normal if space == "zca" else (0.5 + 0.25 * normal).clamp(0, 1)


def _parted(images: Tensor, taken: Tensor, space: str, rng: Rng) -> Tensor:
    """Images, whose numbers are `taken`, with noise on those that have been there before."""
    first: dict[int, int] = {}
    again = torch.tensor([first.setdefault(number, place) < place for place, number in enumerate(taken.tolist())])
    if not again.any():
        return images
    noise = 0.1 * torch.randn(images.shape, generator=rng.generator()).to(images)
    moved = images + noise * again.to(images).view(-1, 1, 1, 1)
    return moved if space == "zca" else moved.clamp(0, 1)


def shrunk(images: Tensor, per_class: int, factor: int, mode: str, size: tuple[int, int] | None = None) -> Tensor:
    """Images [per_class * factor^2, C, H, W] as cells [same, C, h, w]; image e fills the visible part of its tile.

    mode: "nearest" (IDC) or "area". size: of the canvas, by default that of the images.

    Raises:
        ValueError: the mode is unknown.
    """
    if mode not in SHRINKS:
        raise ValueError(f"condense: shrink must be one of {', '.join(SHRINKS)}, got {mode!r}")
    size = (images.shape[-2], images.shape[-1]) if size is None else size
    h, w = cell_size(size, factor)
    cells = []
    for tile, (height, width) in enumerate(visible(size, factor)):
        small = interpolate(images[tile * per_class : (tile + 1) * per_class], (height, width), mode=mode)
        cells.append(pad(small, (0, w - width, 0, h - height), value=0.5))
    return torch.cat(cells)


def _learned_pixels(cells: Tensor, classes: int, factor: int, size: tuple[int, int]) -> Tensor | None:
    """1 for pixels on the canvas, 0 for those outside: [n, 1, h, w]; None when all are on it."""
    if size[0] % factor == 0 and size[1] % factor == 0:
        return None
    learned = cells.new_zeros(classes, factor**2, len(cells) // classes // factor**2, 1, *cells.shape[2:])
    for tile, (height, width) in enumerate(visible(size, factor)):
        learned[:, tile, ..., :height, :width] = 1
    return learned.flatten(0, 2)
