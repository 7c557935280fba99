"""Folders of images, one folder for each class."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yoco.data.pixels import deep_mode
from yoco.data.source import Source, Splits
from yoco.data.splits import held_out, pair

EXTENSIONS = ("png", "jpg", "jpeg", "bmp", "webp", "tif", "tiff")

TRAINING = ("train", "training")
TEST = ("test", "testing", "val", "valid", "validation")


def from_folder(folder: Path, *, size: int | None = None, grey: bool = False) -> Splits:
    """FOLDER/train/CLASS/* with FOLDER/test/CLASS/* or FOLDER/val/CLASS/*; or FOLDER/CLASS/*, a fifth of it held out.

    The halves may also be called training, testing, valid and validation, in letters of any case, and end in _set.
    size: the square in the centre of each image is resized to size x size; without it, all must be of one size.
    grey: one channel; otherwise every image becomes RGB. Transparency is left out.
    Classes are in sorted order. Files anywhere below a class folder belong to it, also behind links; hidden ones, those
    in hidden folders and other formats do not. The sources say which file each image is, see `Source.files`.

    Raises:
        ValueError: fewer than two classes, an empty class, halves with different classes or without any, images of
            several sizes without `size`, or an image that cannot be read.
        OSError: a folder cannot be read.
    """
    train, test = _half(folder, TRAINING), _half(folder, TEST)
    if train is None:
        _check_layout(folder)
    name = folder.resolve().name
    classes, files, labels = _listing(train or folder)
    if train is None or test is None:
        kept, out = held_out(labels, classes, str(folder))
        halves = [([files[at] for at in half.tolist()], labels[half]) for half in (kept, out)]
    else:
        test_classes, test_files, test_labels = _listing(test)
        if test_classes != classes:
            got = sorted(set(test_classes) ^ set(classes))[:3]
            raise ValueError(f"data {folder}: {test.name} must have the classes of train, got a difference in {got}")
        halves = [(files, labels), (test_files, test_labels)]
    pixels = _read_all([file for half, _ in halves for file in half], name, size, grey)
    parts = torch.split(pixels, [len(half) for half, _ in halves])
    sources = []
    for part, (paths, at) in zip(parts, halves, strict=True):
        within = tuple(_said(path.relative_to(folder)) for path in paths)
        sources.append(Source(name, part, at, classes, files=within))
    return pair(*sources)


def _said(path: Path) -> str:
    """A path as text, with slashes; bytes that are no text are escaped."""
    return path.as_posix().encode(errors="backslashreplace").decode()


def _half(folder: Path, names: Sequence[str]) -> Path | None:
    """The folder of this half: of those with class folders in them, the one whose name comes first in `names`."""
    there = [path for path in _class_folders(folder) if _word(path) in names]
    halves = [path for path in there if _class_folders(path)]
    return next((path for name in names for path in halves if _word(path) == name), None)


def _word(path: Path) -> str:
    """The name of a folder as that of a half."""
    return path.name.casefold().removesuffix("_set")


def _check_layout(folder: Path) -> None:
    """Refuse a folder that holds halves alone, of which no training half has class folders."""
    there = _class_folders(folder)
    if there and all(_word(path) in (*TRAINING, *TEST) for path in there):
        train = next((path for path in there if _word(path) in TRAINING), folder / "train")
        got = "images" if train.is_dir() and any(_images(train)) else "none"
        raise ValueError(f"data {folder}: {train.name} must hold a folder for each class, got {got}")


def _class_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    there = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(there, key=lambda path: path.name)


def _listing(folder: Path) -> tuple[tuple[str, ...], list[Path], Tensor]:
    """Names of the classes, and every image file with its label."""
    folders = _class_folders(folder)
    if len(folders) < 2:
        raise ValueError(f"data {folder}: needs at least 2 class folders, got {len(folders)}")
    files: list[Path] = []
    labels: list[int] = []
    for label, path in enumerate(folders):
        found = sorted(_images(path))
        if not found:
            raise ValueError(f"data {path}: a class needs images ({', '.join(EXTENSIONS)}), got none")
        files += found
        labels += [label] * len(found)
    return tuple(path.name for path in folders), files, torch.tensor(labels)


def _images(folder: Path) -> Iterator[Path]:
    def stop(error: OSError) -> None:
        raise error

    seen = {folder.resolve()}
    for place, folders, files in os.walk(folder, followlinks=True, onerror=stop):
        kept = []
        for name in sorted(folders):
            real = (Path(place) / name).resolve()
            if not name.startswith(".") and real not in seen:
                seen.add(real)
                kept.append(name)
        folders[:] = kept
        yield from (Path(place) / name for name in files if _is_image(name))


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower().lstrip(".") in EXTENSIONS


def _read_all(files: list[Path], name: str, size: int | None, grey: bool) -> Tensor:
    """uint8 [n, C, H, W], read by a few threads into one array."""
    first = _read(files[0], size, grey)
    height, width, channels = first.shape
    pixels = np.empty((len(files), channels, height, width), np.uint8)
    with ThreadPoolExecutor() as threads:
        for at, image in enumerate(threads.map(lambda file: _read(file, size, grey), files)):
            if image.shape != first.shape:
                examples = ((first, files[0]), (image, files[at]))
                got = " and ".join(f"{one.shape[1]}x{one.shape[0]} ({file})" for one, file in examples)
                raise ValueError(f"data {name}: images must be of one size, got {got}; choose a --size")
            pixels[at] = image.transpose(2, 0, 1)
    return torch.from_numpy(pixels)


def _read(file: Path, size: int | None, grey: bool) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """uint8 [H, W, C] of one file, turned upright as its camera says."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as opened:
            if (deep := deep_mode(opened)) is not None:
                raise ValueError(f"needs 8 bits a channel, got mode {deep}")
            image = ImageOps.exif_transpose(opened)
            image = image.convert("RGBA") if image.mode in ("P", "PA") else image
            image = image.convert("L" if grey else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"data {file}: cannot be read as an image ({error})") from error
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[..., None] if grey else pixels
