"""A sheet of a condensed set: a row for each class, a column for each image of the budget."""

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from yoco.condensed import CondensedSet
from yoco.disk import replace_file

PAPER, INK, PALE = (255, 255, 255), (32, 33, 36), (128, 134, 139)
SIDE, GAP, MARGIN, LETTERS = 72, 6, 16, 15
COLUMNS = 10


def sheet(condensed: CondensedSet, per_class: int = COLUMNS, path: str | Path | None = None) -> Image.Image:
    """The cells of each class, packed factor x factor into the room of one image, first ones first.

    Column k shows what the k-th image of the budget holds, so the first k columns are the set at that size.
    Pixels are enlarged without smoothing. Values outside [0, 1] are cut off; whitened cells are stretched, each from
    its darkest to its brightest value. per_class: columns at most. path: also written there, as PNG.

    Raises:
        ValueError: per_class is below 1.
        OSError: the place cannot be written; what stood there is as it was.
    """
    if per_class < 1:
        raise ValueError(f"sheet: per_class must be at least 1, got {per_class}")
    layout = Layout.of(condensed, per_class)
    picture = Image.new("RGB", layout.extent, PAPER)
    draw = ImageDraw.Draw(picture)
    _label(draw, layout, condensed)
    pixels = to_pixels(condensed)
    for label in range(len(condensed.classes)):
        own = torch.nonzero(condensed.labels == label).flatten()[: layout.columns * layout.factor**2]
        for place, at in enumerate(own.tolist()):
            cell = Image.fromarray(pixels[at]).resize(layout.cell, Image.Resampling.NEAREST)
            picture.paste(cell, layout.corner(label, place))
    if path is not None:
        replace_file(Path(path), lambda temporary: picture.save(temporary, format="PNG"))
    return picture


@dataclass(frozen=True)
class Layout:
    """Where everything stands on a sheet, in pixels.

    cell: (width, height) of a cell once enlarged; line: the thin space between the cells of one image; left, top: the
    room for names and for the head; head: the width of the head.
    """

    factor: int
    rows: int
    columns: int
    cell: tuple[int, int]
    line: int
    left: int
    top: int
    head: int

    @classmethod
    def of(cls, condensed: CondensedSet, per_class: int) -> "Layout":
        """The layout of a set, with as many columns as it has images of budget, and `per_class` at most."""
        height, width = condensed.cells.shape[2:]
        zoom = max(1, ceil(SIDE / (max(height, width) * condensed.factor)))
        columns = min(per_class, max(1, ceil(max(condensed.counts) / condensed.factor**2)))
        font = ImageFont.load_default(LETTERS)
        left = MARGIN + ceil(max(font.getlength(_short(name)) for name in condensed.classes)) + 12
        top = MARGIN + 2 * LETTERS + 20
        line = 1 if condensed.factor > 1 else 0
        cell = (width * zoom, height * zoom)
        head = ceil(font.getlength(headline(condensed)))
        return cls(condensed.factor, len(condensed.classes), columns, cell, line, left, top, head)

    @property
    def image(self) -> tuple[int, int]:
        """Width and height of the room of one image."""
        width, height = (side * self.factor + self.line * (self.factor - 1) for side in self.cell)
        return width, height

    @property
    def extent(self) -> tuple[int, int]:
        """Width and height of the sheet, at least as wide as its head."""
        width = max(self.left + self.columns * (self.image[0] + GAP) - GAP, MARGIN + self.head)
        return width + MARGIN, self.top + self.rows * (self.image[1] + GAP) - GAP + MARGIN

    def corner(self, row: int, place: int) -> tuple[int, int]:
        """The upper left pixel of a cell: of class `row`, the one of this number."""
        column, inside = divmod(place, self.factor**2)
        down, right = divmod(inside, self.factor)
        x = self.left + column * (self.image[0] + GAP) + right * (self.cell[0] + self.line)
        return x, self.top + row * (self.image[1] + GAP) + down * (self.cell[1] + self.line)


def to_pixels(condensed: CondensedSet) -> np.ndarray:  # type: ignore[type-arg]
    """The cells as uint8 [n, h, w, 3]; one, two or more than four channels become grey, a fourth one is left out."""
    cells = _stretched(condensed.pixels) if condensed.space == "zca" else condensed.pixels
    channels = cells.shape[1]
    colour = cells[:, :3] if channels in (3, 4) else cells.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    return np.ascontiguousarray((colour.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


def _stretched(cells: Tensor) -> Tensor:
    low, high = cells.amin((1, 2, 3), keepdim=True), cells.amax((1, 2, 3), keepdim=True)
    return (cells - low) / (high - low).clamp(min=1e-12)


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"


def _label(draw: ImageDraw.ImageDraw, layout: Layout, condensed: CondensedSet) -> None:
    """The head, the names of the classes at the left, the numbers of the columns above."""
    font, small = ImageFont.load_default(LETTERS), ImageFont.load_default(LETTERS - 3)
    draw.text((MARGIN, MARGIN), headline(condensed), fill=INK, font=font)
    width, height = layout.image
    for column in range(layout.columns):
        at = (layout.left + column * (width + GAP) + width // 2, layout.top - 6)
        draw.text(at, str(column + 1), fill=PALE, font=small, anchor="ms")
    for row, name in enumerate(condensed.classes):
        at = (layout.left - 12, layout.top + row * (height + GAP) + height // 2)
        draw.text(at, _short(name), fill=INK, font=font, anchor="rm")


def headline(condensed: CondensedSet) -> str:
    """What a set is, in a line: method, data, images per class and factor."""
    ipc = "/".join(f"{count / condensed.factor**2:g}" for count in sorted({*condensed.counts}))
    factor = f", factor {condensed.factor}" if condensed.factor > 1 else ""
    data = condensed.source.get("name", "unknown data")
    return f"{condensed.method} on {data}, {ipc} {'image' if ipc == '1' else 'images'} per class{factor}"
