"""Decoding and starts against a literal version of IDC's canvases."""

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.cells import cell_size, cut, upsample
from yoco.condense.coreset import medoids
from yoco.condense.synthetic import Synthetic, shrunk, start
from yoco.data.source import Source
from yoco.rng import Rng

SIZES = [(side, factor) for side in (28, 32) for factor in (1, 2, 3, 4)]


def source_of(side: int, per_class: int, classes: int = 2, channels: int = 1) -> Source:
    generator = torch.Generator().manual_seed(3)
    shape = (per_class * classes, channels, side, side)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    labels = torch.arange(classes).repeat(per_class)
    return Source("random", images, labels, tuple(map(str, range(classes))))


def literal_decode(canvases: np.ndarray, factor: int) -> np.ndarray:
    """Tile by tile over all canvases, each tile enlarged bilinearly with half-pixel centres."""
    n, channels, side, _ = canvases.shape
    cell = -(-side // factor)
    padded = np.full((n, channels, cell * factor, cell * factor), 0.5)
    padded[:, :, :side, :side] = canvases
    decoded = []
    for row in range(factor):
        for column in range(factor):
            for image in padded:
                tile = image[:, row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
                decoded.append(literal_bilinear(tile, side))
    return np.stack(decoded)


def literal_bilinear(tile: np.ndarray, side: int) -> np.ndarray:
    cell = tile.shape[-1]
    out = np.zeros((tile.shape[0], side, side))
    for y in range(side):
        for x in range(side):
            v, u = (max((p + 0.5) * cell / side - 0.5, 0.0) for p in (y, x))
            top, left = int(v), int(u)
            bottom, right = min(top + 1, cell - 1), min(left + 1, cell - 1)
            dv, du = v - top, u - left
            above = (1 - du) * tile[:, top, left] + du * tile[:, top, right]
            below = (1 - du) * tile[:, bottom, left] + du * tile[:, bottom, right]
            out[:, y, x] = (1 - dv) * above + dv * below
    return out


def literal_mix(images: np.ndarray, n: int, factor: int) -> np.ndarray:
    """Image k * n + m shrunk by nearest interpolation into tile k of canvas m; tiles as decoding cuts them."""
    _, channels, side, _ = images.shape
    cell = -(-side // factor)
    canvases = np.full((n, channels, side, side), np.nan)
    for k in range(factor**2):
        top, left = k // factor * cell, k % factor * cell
        height, width = min(cell, side - top), min(cell, side - left)
        for m in range(n):
            for y in range(height):
                for x in range(width):
                    pixel = images[k * n + m, :, y * side // height, x * side // width]
                    canvases[m, :, top + y, left + x] = pixel
    return canvases


@pytest.mark.parametrize(("side", "factor"), SIZES)
def test_decode_is_tile_major(side: int, factor: int) -> None:
    canvases = np.random.default_rng(0).random((2, 1, side, side))
    ours = upsample(cut(torch.tensor(canvases), factor), (side, side))
    np.testing.assert_allclose(ours.numpy(), literal_decode(canvases, factor), atol=1e-12)


@pytest.mark.parametrize(("side", "factor"), SIZES)
def test_mixed_start_fills_the_tiles_that_decoding_cuts(side: int, factor: int) -> None:
    n = 2
    source = source_of(side, per_class=n * factor**2)
    synthetic = start("mix", source, n, factor, Rng(0), first=True)
    for label, members in enumerate(source.by_class):
        canvases = literal_mix(source.batch(members).images.double().numpy(), n, factor)
        assert not np.isnan(canvases).any()
        expected = literal_decode(canvases, factor)
        np.testing.assert_allclose(synthetic.of(label).images.detach().numpy(), expected, atol=1e-6)


def test_a_start_is_a_random_draw_and_first_is_not() -> None:
    source = source_of(8, per_class=30)
    drawn = [start("real", source, 4, 1, Rng(seed)).cells for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    firsts = torch.cat([source.batch(members[:4]).images for members in source.by_class])
    assert torch.equal(start("real", source, 4, 1, Rng(0), first=True).cells, firsts)


def test_a_class_smaller_than_the_start_is_gone_through_again() -> None:
    source = source_of(8, per_class=5)
    cells = start("mix", source, 2, 2, Rng(0)).cells.detach()[:8].flatten(1)
    assert len(torch.unique(cells, dim=0)) == 8
    gaps = torch.cdist(cells, cells[:5]).min(1).values
    assert torch.equal(gaps[:5], torch.zeros(5))
    assert ((gaps[5:] > 0.1) & (gaps[5:] < 0.8)).all()  # 16 pixels, noise of 0.1, cut to [0, 1]
    assert 0 <= cells.min() <= cells.max() <= 1


@pytest.mark.parametrize("factor", [1, 2])
def test_k_means_fills_every_cell_with_a_typical_image(factor: int) -> None:
    source = source_of(8, per_class=30)
    cells = start("k-means", source, 3, factor, Rng(5)).cells.detach()
    for label, members in enumerate(source.by_class):
        images = source.batch(members).images
        chosen = images[medoids(images.flatten(1), 3 * factor**2, Rng(5).child(label))]
        expected = torch.from_numpy(literal_mix(chosen.numpy(), 3, factor))
        n = 3 * factor**2
        torch.testing.assert_close(cells[label * n : (label + 1) * n], cut(expected, factor).float())
    assert not torch.equal(cells, start("k-means", source, 3, factor, Rng(5), shrink="area").cells) or factor == 1


def test_area_is_the_mean_of_each_block() -> None:
    images = torch.rand(16, 1, 8, 8, generator=Rng(0).generator())
    expected = images.unflatten(2, (2, 4)).unflatten(4, (2, 4)).mean((3, 5))
    torch.testing.assert_close(shrunk(images, 1, 4, "area"), expected)


def test_k_means_of_a_class_smaller_than_the_start_takes_all_of_it() -> None:
    source = source_of(8, per_class=5)
    cells = start("k-means", source, 2, 2, Rng(0)).cells.detach()[:8].flatten(1)
    whole = source.batch(source.by_class[0]).images[..., ::2, ::2].flatten(1)  # nearest of two pixels is the first
    assert torch.cdist(cells, whole).min(1).values[:5].max() == 0
    assert sorted(torch.cdist(cells[:5], whole).argmin(1).tolist()) == list(range(5))
    assert len(torch.unique(cells, dim=0)) == 8


def test_noise_is_in_range_and_its_own() -> None:
    source = source_of(8, per_class=5)
    cells = start("noise", source, 2, 2, Rng(0)).cells.detach()
    assert cells.min() >= 0
    assert cells.max() <= 1
    assert len(torch.unique(cells, dim=0)) == len(cells)
    many = start("noise", source, 100, 1, Rng(0)).cells.detach()
    assert float(many.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(many.std()) == pytest.approx(0.2399, abs=0.01)  # of N(0.5, 0.25^2) cut at two sigma
    assert float((many == 0).float().mean()) == pytest.approx(0.0228, abs=0.006)


def test_pixels_outside_the_canvas_stay_at_half() -> None:
    source = source_of(28, per_class=9)
    synthetic = start("mix", source, 1, 3, Rng(0))
    h, w = cell_size((28, 28), 3)
    assert (h, w) == (10, 10)
    synthetic.take_gradient(synthetic.cells.square().sum())
    gradient = synthetic.cells.grad
    assert gradient is not None
    last = 8  # the tile in the lower right corner of class 0
    assert (synthetic.cells[last, :, 8:] == 0.5).all()
    assert (gradient[last, :, 8:] == 0).all()
    assert (gradient[last, :, :, 8:] == 0).all()
    assert (gradient[last, :, :8, :8] == 2 * synthetic.cells[last, :, :8, :8]).all()
    assert int((gradient[:9] != 0).sum()) <= 28 * 28


def test_limit_takes_distinct_cells_of_the_class() -> None:
    cells = torch.arange(12.0).reshape(12, 1, 1, 1).expand(12, 1, 2, 2) / 12
    synthetic = Synthetic(cells, classes=2, factor=1, size=(2, 2))
    batch = synthetic.of(1, limit=4, rng=Rng(5))
    values = batch.images[:, 0, 0, 0]
    assert len(set(values.tolist())) == 4
    assert (values >= 0.5).all()
    assert batch.labels.tolist() == [1] * 4


@pytest.mark.parametrize(
    ("kind", "factor", "message"),
    [
        ("mixed", 2, "start must be one of noise, real, mix, k-means, got 'mixed'"),
        ("mix", 5, "factor must be 1, 2, 3 or 4, got 5"),
    ],
)
def test_bad_starts(kind: str, factor: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        start(kind, source_of(8, 5), 1, factor, Rng(0))


def test_pixels_outside_the_canvas_stay_where_there_are_several_images() -> None:
    synthetic = start("mix", source_of(28, per_class=18), 2, 3, Rng(0))
    synthetic.take_gradient(synthetic.cells.sum())
    assert synthetic.cells.grad is not None
    tiles = synthetic.cells.grad.unflatten(0, (2, 9, 2))
    for tile in range(9):
        height, width = (8 if place == 2 else 10 for place in divmod(tile, 3))
        expected = torch.zeros(10, 10)
        expected[:height, :width] = 1
        assert (tiles[:, tile] == expected).all()


@pytest.mark.parametrize("indices", [None, torch.tensor([5, 0, 11, 3, 3, 7, 1, 2, 8])])
def test_constants_are_decoded_in_parts(indices: Tensor | None, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(cells: Tensor, size: tuple[int, int]) -> Tensor:
        sizes.append(len(cells))
        return upsample(cells, size)

    synthetic = Synthetic(torch.rand(12, 1, 4, 4, generator=Rng(0).generator()), 3, 2, (8, 8))
    expected = synthetic.everything(indices).images
    monkeypatch.setattr("yoco.train.ROOM", 5 * 64)
    monkeypatch.setattr("yoco.condense.synthetic.upsample", counted)
    found = synthetic.decoded(indices)
    assert sizes == ([5, 5, 2] if indices is None else [5, 4])
    assert torch.equal(found, expected.detach())
    assert not found.requires_grad
