"""The sheet: which pixel of which cell stands where, in which colour; and the curves of layers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from yoco.condensed import CondensedSet
from yoco.report.images import GAP, Layout, headline, sheet
from yoco.report.plots import layer_curves
from yoco.sparsify.allocate import Curve


def coloured(cells: torch.Tensor, space: str = "unit", factor: int = 1) -> CondensedSet:
    """Two classes that share these cells half and half."""
    labels = torch.arange(2).repeat_interleave(len(cells) // 2)
    size = (cells.shape[2] * factor, cells.shape[3] * factor)
    made = {"classes": ("a", "b"), "mean": (0.5,) * cells.shape[1], "std": (0.2,) * cells.shape[1], "method": "made"}
    return CondensedSet(cells=cells, labels=labels, factor=factor, size=size, space=space, **made)  # type: ignore[arg-type]


def piece(picture: Image.Image, layout: Layout, row: int, place: int) -> np.ndarray:
    """The pixels of one enlarged cell."""
    x, y = layout.corner(row, place)
    return np.asarray(picture)[y : y + layout.cell[1], x : x + layout.cell[0]]


def shown(cells: torch.Tensor, at: int, zoom: int) -> np.ndarray:
    """A cell as it must stand on the sheet: each pixel a square of one colour."""
    levels = (cells[at].clamp(0, 1) * 255).round().numpy().astype(np.uint8).transpose(1, 2, 0)
    levels = np.repeat(levels, 3, axis=2) if levels.shape[2] == 1 else levels
    return np.kron(levels, np.ones((zoom, zoom, 1), np.uint8))


def test_a_column_is_one_image_of_the_budget(tiny_set: CondensedSet) -> None:
    picture, layout = sheet(tiny_set), Layout.of(tiny_set, 10)
    assert layout.columns == 3
    assert layout.cell == (36, 36)
    for row in range(3):
        for place in range(12):
            expected = shown(tiny_set.cells, row * 12 + place, 9)
            np.testing.assert_array_equal(piece(picture, layout, row, place), expected)
    second, first, below = layout.corner(0, 4), layout.corner(0, 0), layout.corner(0, 2)
    assert second == (first[0] + layout.image[0] + GAP, first[1])
    assert below == (first[0], first[1] + layout.cell[1] + 1)


def test_colours_stay_and_uint8_looks_the_same() -> None:
    cells = torch.rand(4, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    picture, layout = sheet(coloured(cells)), Layout.of(coloured(cells), 10)
    assert layout.cell == (77, 55)
    np.testing.assert_array_equal(piece(picture, layout, 1, 0), shown(cells, 2, 11))
    np.testing.assert_array_equal(np.asarray(sheet(coloured(cells).quantised())), np.asarray(picture))


def test_unbounded_is_cut_off_and_white_is_stretched() -> None:
    cells = torch.tensor([-1.0, 0.5, 2.0, 1.0]).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    for space, expected in (("unbounded", [0, 128, 255, 255]), ("zca", [0, 128, 255, 170])):
        made = coloured(cells, space)
        corner = piece(sheet(made), Layout.of(made, 10), 0, 0)[::36, ::36, 0]
        assert corner.ravel().tolist() == expected


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_other_numbers_of_channels_are_shown_somehow(channels: int) -> None:
    assert sheet(coloured(torch.rand(2, channels, 4, 4))).mode == "RGB"


def test_a_class_without_cells_and_a_last_image_half_full(tiny_set: CondensedSet) -> None:
    few = tiny_set.take(torch.tensor([0, 1, 2, 3, 4, 12]))
    picture, layout = sheet(few), Layout.of(few, 10)
    assert layout.columns == 2
    assert bool((piece(picture, layout, 0, 5) == 255).all())
    assert bool((piece(picture, layout, 2, 0) == 255).all())
    np.testing.assert_array_equal(piece(picture, layout, 1, 0), shown(tiny_set.cells, 12, 9))


def test_per_class_limits_the_columns(tiny_set: CondensedSet) -> None:
    assert Layout.of(tiny_set, 2).columns == 2
    assert sheet(tiny_set, per_class=1).width <= sheet(tiny_set).width
    with pytest.raises(ValueError, match=r"^sheet: per_class must be at least 1, got 0$"):
        sheet(tiny_set, per_class=0)


def test_long_names_and_any_script_fit(tiny_set: CondensedSet) -> None:
    named = replace(tiny_set, classes=("x" * 200, "ひらがな", ""), source={"name": "y" * 100})
    picture, layout = sheet(named), Layout.of(named, 10)
    assert layout.left < 250
    assert picture.width >= layout.head


def test_the_file_is_whole_or_not_there(
    tiny_set: CondensedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = sheet(tiny_set, path=tmp_path / "deep/images.png")
    with Image.open(tmp_path / "deep/images.png") as written:
        assert written.format == "PNG"
        np.testing.assert_array_equal(np.asarray(written), np.asarray(picture))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    before = (tmp_path / "deep/images.png").read_bytes()
    with pytest.raises(OSError, match="No space"):
        sheet(tiny_set, per_class=1, path=tmp_path / "deep/images.png")
    assert (tmp_path / "deep/images.png").read_bytes() == before
    assert len([*(tmp_path / "deep").iterdir()]) == 1


def test_the_head_says_what_it_is(tiny_set: CondensedSet) -> None:
    assert headline(tiny_set) == "cut on digits, 3 images per class, factor 2"
    plain = coloured(torch.rand(2, 1, 4, 4))
    assert headline(plain) == "made on unknown data, 1 image per class"
    assert headline(tiny_set.take(torch.tensor([0, 12, 13, 24]))).startswith("cut on digits, 0.25/0.5 images per class")


def test_curves_of_layers_show_what_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawn: list[Figure] = []

    def savefig(figure: Figure, path: Path, **how: Any) -> None:
        drawn.append(figure)
        path.write_bytes(b"drawn")

    monkeypatch.setattr(Figure, "savefig", savefig)
    layer_curves({"a": Curve((0, 50, 90, 100), (0.0, 1.0, 2.0, 3.0))}, {"a": 0.7}, tmp_path / "c.png")
    line, dot = drawn[0].axes[0].lines
    assert list(line.get_xdata()) == pytest.approx([50, 10])
    assert [*dot.get_xdata(), *dot.get_ydata()] == pytest.approx([30, 1.5])
