import struct
import zlib
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from yoco.convert import convert
from yoco.data import from_arrays, from_dataset, load
from yoco.data.pixels import adapt, as_pixels, deep_mode, luminance, resize
from yoco.data.source import Source


def colour(count: int, height: int, width: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, height, width), generator=generator, dtype=torch.uint8)


def test_the_pixels_are_not_those_of_the_caller() -> None:
    images = colour(2, 5, 6)
    found = as_pixels(images, "x")
    images.zero_()
    assert found.any()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 5, 6), (2, 1, 5, 6)),
        ((2, 1, 5, 6), (2, 1, 5, 6)),
        ((2, 5, 6, 1), (2, 1, 5, 6)),
        ((2, 5, 6, 3), (2, 3, 5, 6)),
        ((2, 5, 6, 4), (2, 4, 5, 6)),
        ((2, 3, 6, 3), (2, 3, 6, 3)),
        ((2, 3, 5, 6), (2, 3, 5, 6)),
    ],
)
def test_the_channel_axis_is_found(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    found = as_pixels(array, "x")
    assert found.shape == expected
    moved = array if shape == expected else array[:, None] if len(shape) == 3 else np.moveaxis(array, 3, 1)
    np.testing.assert_array_equal(found.numpy(), moved)
    assert torch.equal(as_pixels(torch.from_numpy(array), "x"), found)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_rounded_to_bytes(dtype: type) -> None:
    levels = np.arange(256).reshape(1, 16, 16)
    assert torch.equal(as_pixels((levels / 255).astype(dtype), "x")[0, 0], torch.from_numpy(levels[0]).to(torch.uint8))
    assert as_pixels(np.full((1, 2, 2), 127.8 / 255), "x").unique().tolist() == [128]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 9), np.uint8), "images must have 3 or 4 axes, got shape [2, 9]"),
        (np.zeros((2, 3, 3), np.int64), "images must be uint8, or float in [0, 1], got torch.int64"),
        (np.full((2, 3, 3), None), "images must be uint8, or float in [0, 1], got object"),
        (np.full((2, 3, 3), 255.0), "float images must be in [0, 1], got 255..255"),
        (np.full((2, 3, 3), -0.5), "float images must be in [0, 1], got -0.5..-0.5"),
        (np.full((2, 3, 3), np.nan), "images must be finite, got nan"),
    ],
)
def test_bad_images_are_one_line(images: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        as_pixels(images, "x")
    assert str(caught.value) == f"data x: {message}"


def test_a_read_only_array_is_copied() -> None:
    array = np.zeros((1, 5, 5), np.uint8)
    array.setflags(write=False)
    assert as_pixels(array, "x").sum() == 0


def test_luminance_is_that_of_pillow() -> None:
    images = colour(3, 40, 30)
    for image, grey in zip(images, luminance(images), strict=True):
        expected = np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L"))
        np.testing.assert_array_equal(grey[0].numpy(), expected)
    with pytest.raises(ValueError, match=r"^data: grey needs images of 1 or 3 channels, got 4$"):
        luminance(colour(1, 4, 4, 4))


@pytest.mark.parametrize(
    ("height", "width", "size"), [(32, 32, 16), (28, 28, 8), (30, 40, 12), (8, 8, 20), (48, 30, 7)]
)
def test_resize_is_that_of_pillow_within_one_level(height: int, width: int, size: int) -> None:
    images = colour(2, height, width)
    found = resize(images, size)
    assert found.shape == (2, 3, size, size)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    for image, small in zip(images, found, strict=True):
        square = Image.fromarray(image.permute(1, 2, 0).numpy()).crop((left, top, left + side, top + side))
        expected = np.asarray(square.resize((size, size), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        assert np.abs(small.numpy().astype(int) - expected).max() <= 1


def test_resize_rounds() -> None:
    images = colour(20, 32, 32)
    exact = torch.nn.functional.interpolate(images.double(), (16, 16), mode="bilinear", antialias=True)
    assert abs(float((resize(images, 16).double() - exact).mean())) < 0.05


def test_resize_to_the_same_size_only_crops() -> None:
    images = colour(2, 9, 5)
    assert torch.equal(resize(images, 5), images[:, :, 2:7])


def test_resize_goes_in_parts_without_a_seam() -> None:
    images = colour(1003, 6, 6, 1)
    found = resize(images, 3)
    assert torch.equal(found[998:], resize(images[998:], 3))


def test_adapt_leaves_what_fits_alone_and_measures_the_rest_anew() -> None:
    source = Source("toy", colour(4, 6, 6), torch.tensor([0, 1, 0, 1]), ("a", "b"), (0.5,) * 3, (0.25,) * 3)
    assert adapt(source, 6, False) is source
    assert adapt(source, None, False) is source
    grey = adapt(source, 3, True)
    assert grey.shape == (1, 3, 3)
    assert grey.mean == pytest.approx(((grey.images / 255).mean().item(),))
    assert adapt(grey, None, True) is grey


def test_images_of_several_sizes_are_one_line() -> None:
    with pytest.raises(ValueError, match=r"^data x: images must all be of one size$"):
        as_pixels([np.zeros((2, 2)), np.zeros((3, 3))], "x")


def test_channels_that_seem_to_stand_last_are_doubted_once() -> None:
    images = np.zeros((2, 8, 8, 5), np.uint8)
    message = (
        r"^data mine: images are read as \[n, C, H, W\], of 8 channels, got shape \[{}, 8, 8, 5\]; put the channels"
    )
    with pytest.warns(UserWarning, match=message.format(2)) as caught:
        assert from_arrays(images, [0, 1], name="mine").shape == (8, 8, 5)
    assert len(caught) == 1
    for size, count in ((None, 2), (4, 1)):
        with pytest.warns(UserWarning, match=message.format(count)) as caught:
            from_dataset(list(zip(images, [0, 1], strict=True)), size=size, name="mine")
        assert len(caught) == 1
    for shape in ((2, 5, 8, 8), (2, 3, 8, 2), (2, 8, 8, 4), (2, 8, 5)):
        from_arrays(np.zeros(shape, np.uint8), [0, 1])


def png(colour: int, bits: int) -> bytes:
    """A black file of 6x6 pixels; colour: 2 for colours, 4 for grey with transparency, 6 for both."""

    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 6, 6, bits, colour, 0, 0, 0)
    rows = bytes(1 + 6 * {2: 3, 4: 2, 6: 4}[colour] * bits // 8) * 6
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")


@pytest.mark.parametrize(("colour", "mode"), [(2, "RGB;16B"), (4, "LA;16B"), (6, "RGBA;16B")])
def test_colours_of_sixteen_bits_are_refused_until_they_are_read(tmp_path: Path, colour: int, mode: str) -> None:
    folder, said = tmp_path / "images", f"needs? 8 bits a channel, got mode {mode}"
    for bits in (8, 16):
        for name in ("a/0", "a/1", "b/0", "b/1"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.png").write_bytes(png(colour, bits))
        if bits == 8:
            assert load(folder).train.shape == (3, 6, 6)
    with pytest.raises(ValueError, match=rf"a/[01]\.png: cannot be read as an image \({said}\)$"):
        load(folder)
    with pytest.raises(ValueError, match=rf"a/0\.png cannot be read as a PNG \({said}\)$"):
        convert(folder, tmp_path / "set.npz")
    items = [(Image.open(BytesIO(png(colour, 16))), label) for label in (0, 1)]
    with pytest.raises(ValueError, match=rf"^data dataset\[0\]: images {said}$"):
        from_dataset(items)
    for image, _ in items:
        image.load()
    assert from_dataset(items).shape == (3, 6, 6)


@pytest.mark.parametrize(
    ("read_as", "deep"),
    [
        (("RGB;16L", 0, 1), "RGB;16L"),
        (("CMYK;16N", False, 8), "CMYK;16N"),
        ("RGBA;16B", "RGBA;16B"),
        (("BGR;16", 12, -1), None),
        (("BGR;15", 12, -1), None),
        (("RGB", ""), None),
        ("RGBA", None),
    ],
)
def test_sixteen_bits_of_a_pixel_are_no_sixteen_bits_of_a_channel(read_as: Any, deep: str | None) -> None:
    image = SimpleNamespace(mode="RGB", tile=[("raw", (0, 0, 6, 6), 8, read_as)])
    assert deep_mode(image) == deep


def planes(bits: int) -> bytes:
    """A black TIFF of 6x6 coloured pixels, with a plane for each channel."""
    size = 6 * 6 * bits // 8
    tags = [(256, 3, 1, 6), (257, 3, 1, 6), (258, 3, 3, 134), (259, 3, 1, 1), (262, 3, 1, 2)]  # sides, bits, colours
    tags += [(273, 4, 3, 140), (277, 3, 1, 3), (278, 3, 1, 6), (279, 4, 3, 152), (284, 3, 1, 2)]  # where planes are
    parts = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    values = struct.pack("<3H6I", *[bits] * 3, *(164 + size * channel for channel in range(3)), *[size] * 3)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + parts + bytes(4) + values + bytes(3 * size)


def test_colours_of_sixteen_bits_in_planes_are_refused(tmp_path: Path) -> None:
    for bits in (8, 16):
        for name in ("a/0", "a/1", "b/0", "b/1"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / f"{name}.tif").write_bytes(planes(bits))
        if bits == 8:
            assert load(tmp_path).train.shape == (3, 6, 6)
    said = r"a/[01]\.tif: cannot be read as an image \(needs 8 bits a channel, got mode RGB;16\)$"
    with pytest.raises(ValueError, match=said):
        load(tmp_path)
