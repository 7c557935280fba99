import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from yoco.data import folder, load

RANDOM = np.random.default_rng(0)


def write(path: Path, height: int = 6, width: int = 6, channels: int = 3, seed: int = 0) -> Path:
    """A random image; lossless formats only where pixels are compared."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width, 3) if channels == 3 else (height, width)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


def fill(folder: Path, counts: dict[str, int]) -> Path:
    for at, (name, count) in enumerate(counts.items()):
        for number in range(count):
            write(folder / name / f"{number:03}.png", seed=100 * at + number)
    return folder


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)


def test_images_behind_links_belong_to_a_class_and_no_link_goes_round(tmp_path: Path) -> None:
    fill(tmp_path / "set", {"cat": 2, "dog": 5})
    fill(tmp_path, {"more": 3})
    (tmp_path / "set/cat/more").symlink_to(tmp_path / "more")
    (tmp_path / "set/cat/again").symlink_to(tmp_path / "set/cat")
    (tmp_path / "set/cat/beside").symlink_to(tmp_path / "more")
    (tmp_path / "set/dog/folder.png").mkdir()
    train, test = load(tmp_path / "set")
    assert [int((torch.cat([train.labels, test.labels]) == c).sum()) for c in (0, 1)] == [5, 5]


def test_a_home_that_nobody_has_is_one_line(
    tmp_path: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = fails("condense", "--data", "~nobody-has-this/images", "--out", "x", "--dry-run")
    assert said == "yoco: data: there is no folder ~nobody-has-this/images\n"
    monkeypatch.setenv("HOME", str(tmp_path))  # where no mnist is
    monkeypatch.setattr("yoco.data.places.DEBIAN", tmp_path)
    monkeypatch.setenv("YOCO_DATA", "~nobody-has-this")
    assert "~nobody-has-this" in fails("condense", "--data", "mnist", "--dry-run")


@pytest.mark.parametrize(
    ("train_name", "test"),
    [
        ("train", "test"),
        ("train", "val"),
        ("Training", "Testing"),
        ("TRAIN", "valid"),
        ("train", "Validation"),
        ("Train_Set", "test_set"),
    ],
)
def test_given_halves_are_read_in_sorted_order(tmp_path: Path, train_name: str, test: str) -> None:
    fill(tmp_path / train_name, {"dog": 3, "cat": 2})
    fill(tmp_path / test, {"cat": 1, "dog": 1})
    fill(tmp_path / "validation" if test == "test" else tmp_path / ".val", {"cat": 2, "dog": 2})  # comes after test
    train, held = load(tmp_path)
    assert train.classes == ("cat", "dog")
    assert train.labels.tolist() == [0, 0, 1, 1, 1]
    assert held.labels.tolist() == [0, 1]
    for at, name in enumerate(("cat/000", "cat/001", "dog/000", "dog/001", "dog/002")):
        np.testing.assert_array_equal(train.images[at].numpy(), pixels(tmp_path / train_name / f"{name}.png"))
    np.testing.assert_array_equal(held.images[1].numpy(), pixels(tmp_path / test / "dog/000.png"))
    assert train.mean == held.mean == pytest.approx(tuple((train.images / 255).mean((0, 2, 3)).tolist()), abs=1e-6)


def test_folders_beside_the_halves_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for half in ("train", "test", "lost+found"):
        fill(tmp_path / half, {"a": 2, "b": 2})
    plain, seen = folder._class_folders, list[str]()

    def watched(place: Path) -> list[Path]:
        seen.append(place.name)
        return plain(place)

    monkeypatch.setattr(folder, "_class_folders", watched)
    load(tmp_path)
    assert {*seen} == {tmp_path.name, "train", "test"}


@pytest.mark.parametrize("below", ["", "train"])
def test_a_fifth_of_each_class_is_held_out_where_there_is_no_test_half(tmp_path: Path, below: str) -> None:
    fill(tmp_path / below, {"a": 10, "b": 3, "c": 2})
    train, test = load(tmp_path)
    assert [len(at) for at in test.by_class] == [2, 1, 1]
    assert [len(at) for at in train.by_class] == [8, 2, 1]
    files = [path for name in "abc" for path in sorted((tmp_path / below / name).iterdir())]
    found = {image.numpy().tobytes() for half in (train, test) for image in half.images}
    assert found == {pixels(file).tobytes() for file in files}
    assert load(tmp_path).test.checksum == test.checksum


def test_every_format_counts_and_nothing_else(tmp_path: Path) -> None:
    for end in ("png", "jpg", "jpeg", "bmp", "webp", "tif", "tiff", "PNG"):
        write(tmp_path / "train/a" / f"one_{end}.{end}")
    write(tmp_path / "train/b/deep/er/x.png")
    write(tmp_path / "train/b/.hidden.png")
    write(tmp_path / "train/b/.ipynb_checkpoints/x-checkpoint.png")
    write(tmp_path / "train/b/deep/.thumbs/x.png")
    (tmp_path / "train/b/notes.txt").write_text("no image")
    (tmp_path / "train/.git").mkdir()
    fill(tmp_path / "test", {"a": 1, "b": 1})
    assert [len(at) for at in load(tmp_path).train.by_class] == [8, 1]


def test_size_makes_squares_out_of_any_images(tmp_path: Path) -> None:
    write(tmp_path / "a/0.png", 20, 40)
    write(tmp_path / "a/1.png", 9, 8, seed=1)
    write(tmp_path / "b/0.png", 12, 12, channels=1)
    write(tmp_path / "b/1.png", 5, 30, channels=1, seed=1)
    train, test = load(tmp_path, size=10)
    assert train.shape == test.shape == (3, 10, 10)
    image = Image.open(tmp_path / "a/0.png").resize((10, 10), Image.Resampling.BILINEAR, box=(10, 0, 30, 20))
    expected = np.asarray(image).transpose(2, 0, 1)
    assert any(np.array_equal(expected, found.numpy()) for half in (train, test) for found in half.images)


def test_images_of_several_sizes_without_size_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "train/a/0.png", 6, 7)
    other = write(tmp_path / "train/b/0.png", 8, 9)
    fill(tmp_path / "test", {"a": 1, "b": 1})
    with pytest.raises(ValueError) as caught:
        load(tmp_path)
    rule = f"images must be of one size, got 7x6 ({first}) and 9x8 ({other}); choose a --size"
    assert str(caught.value) == f"data {tmp_path.name}: {rule}"


def test_one_size_is_kept_even_if_not_square(tmp_path: Path) -> None:
    for name in ("a/0", "a/1", "b/0", "b/1"):
        write(tmp_path / f"{name}.png", 6, 9)
    assert load(tmp_path).train.shape == (3, 6, 9)


def test_grey_on_request_only(tmp_path: Path) -> None:
    for name in ("a/0", "a/1", "b/0", "b/1"):
        write(tmp_path / f"{name}.png", channels=1)
    colour, grey = load(tmp_path), load(tmp_path, grey=True)
    assert colour.train.shape == (3, 6, 6)
    assert grey.train.shape == (1, 6, 6)
    np.testing.assert_array_equal(colour.train.images[:, 1:2].numpy(), grey.train.images.numpy())


def test_palettes_and_transparency_become_rgb(tmp_path: Path) -> None:
    image = Image.fromarray(RANDOM.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    write(tmp_path / "a/0.png")
    write(tmp_path / "b/0.png")
    image.quantize(8).save(tmp_path / "a/1.png", transparency=bytes([0, 255, 128]))
    image.convert("RGBA").save(tmp_path / "b/1.png")
    assert load(tmp_path).train.shape == (3, 6, 6)


def test_images_stand_as_the_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    array = RANDOM.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    for name in ("a/0", "a/1", "b/0", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(array).save(tmp_path / f"{name}.png", exif=exif)
    train = load(tmp_path).train
    assert train.shape == (3, 9, 6)
    np.testing.assert_array_equal(train.images[0].numpy(), np.rot90(array, -1).transpose(2, 0, 1))


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    fill(tmp_path, {"plane": 2, "train": 2})
    assert load(tmp_path).train.classes == ("plane", "train")


@pytest.mark.parametrize(
    ("counts", "got"),
    [
        ({"train": 2, "test": 2}, "train must hold a folder for each class, got images"),
        ({"train": 2, "test/a": 2, "test/b": 2}, "train must hold a folder for each class, got images"),
        ({"Training_set": 2, "test_set": 2}, "Training_set must hold a folder for each class, got images"),
        ({"test/a": 2, "test/b": 2}, "train must hold a folder for each class, got none"),
    ],
)
def test_halves_are_no_classes(tmp_path: Path, counts: dict[str, int], got: str) -> None:
    with pytest.raises(ValueError) as caught:
        load(fill(tmp_path, counts))
    assert str(caught.value) == f"data {tmp_path}: {got}"


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "needs at least 2 class folders, got 0"),
        ({"a": 3}, "needs at least 2 class folders, got 1"),
        ({"a": 3, "b": 1}, "class 'b' needs at least 2 images to hold one out for testing, got 1"),
    ],
)
def test_too_few_are_refused(tmp_path: Path, counts: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        load(fill(tmp_path, counts))
    assert str(caught.value) == f"data {tmp_path}: {message}"


def test_an_empty_class_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 2})
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError) as caught:
        load(tmp_path)
    formats = "png, jpg, jpeg, bmp, webp, tif, tiff"
    assert str(caught.value) == f"data {tmp_path / 'b'}: a class needs images ({formats}), got none"


def test_test_classes_must_be_those_of_train(tmp_path: Path) -> None:
    fill(tmp_path / "train", {"a": 1, "b": 1})
    fill(tmp_path / "test", {"a": 1, "c": 1})
    with pytest.raises(ValueError, match=r"test must have the classes of train, got a difference in \['b', 'c'\]$"):
        load(tmp_path)


@pytest.mark.parametrize("raw", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_a_broken_image_is_named(tmp_path: Path, raw: bytes) -> None:
    fill(tmp_path, {"a": 3, "b": 3})
    broken = tmp_path / "b/broken.png"
    broken.write_bytes(raw)
    with pytest.raises(ValueError) as caught:
        load(tmp_path)
    assert str(caught.value).startswith(f"data {broken}: cannot be read as an image (")
    assert "\n" not in str(caught.value)


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 3, "b": 3})
    cut = write(tmp_path / "a/cut.png", 60, 60)
    os.truncate(cut, 2000)
    with pytest.raises(ValueError, match=r"a/cut\.png: cannot be read as an image \("):
        load(tmp_path)


def test_sixteen_bits_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, {"a": 3, "b": 3})
    deep = tmp_path / "a/deep.png"
    Image.fromarray(np.zeros((6, 6), np.uint16)).save(deep)
    with pytest.raises(ValueError) as caught:
        load(tmp_path)
    said = str(caught.value).replace("mode I;16)", "mode I)")  # as an older Pillow has it
    assert said == f"data {deep}: cannot be read as an image (needs 8 bits a channel, got mode I)"


def test_what_is_no_folder_is_one_line(tmp_path: Path) -> None:
    file = write(tmp_path / "one.png")
    messages = {
        str(file): f"data: a path must be a folder, got the file {file}",
        str(tmp_path / "none"): f"data: there is no folder {tmp_path / 'none'}",
        "here:/none": "data: there is no folder here:/none",
        "fashion-mnst": "data: unknown name 'fashion-mnst'; did you mean 'fashion-mnist'? known: cifar10, cifar100, "
        "digits, emnist, fashion-mnist, kmnist, mnist, svhn; nor is there a folder 'fashion-mnst'",
    }
    for name, message in messages.items():
        with pytest.raises(ValueError) as caught:
            load(name)
        assert str(caught.value) == message


@pytest.mark.parametrize("grey", [False, True])
def test_images_are_read_into_the_array_that_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grey: bool) -> None:
    fill(tmp_path / "train", {"a": 2, "b": 2})
    fill(tmp_path / "test", {"a": 1, "b": 1})
    made: list[np.ndarray] = []
    empty = np.empty

    def kept(*given: Any, **how: Any) -> np.ndarray:
        made.append(empty(*given, **how))
        return made[-1]

    monkeypatch.setattr(np, "empty", kept)
    train = load(tmp_path, grey=grey).train
    (array,) = (each for each in made if each.shape == (6, 1 if grey else 3, 6, 6))
    assert train.images.data_ptr() == array.ctypes.data
    if not grey:
        assert np.array_equal(train.images[0].numpy(), pixels(tmp_path / "train/a/000.png"))
