"""Folders of PNGs, one for each class: what any other program can read."""

import re
import secrets
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from yoco.condensed import CondensedSet
from yoco.convert.origin import Origin
from yoco.data.pixels import deep_mode

ORDER = "classes.txt"
"""The folders of the classes in the order of the labels, one a line; written, and read where it is there."""


def write(condensed: CondensedSet, target: Path) -> None:
    """Write the decoded images, 8 bits a channel, as CLASS/0000.png and on, in their order.

    Pixels outside [0, 1] are cut off there, with a warning, and soft labels left out. Characters that file systems
    refuse become _.

    Raises:
        ValueError: the folder is not empty; or the set is whitened, or has neither 1 nor 3 channels, or has two classes
            whose folders would be one.
        OSError: the place cannot be written; nothing is left there.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"convert: the target must be an empty or a new folder, got {target}")
    if condensed.space == "zca":
        raise ValueError("convert: PNGs hold pixels in [0, 1], got a set in ZCA space; write .npz")
    if condensed.cells.shape[1] not in (1, 3):
        raise ValueError(f"convert: PNGs hold 1 or 3 channels, got {condensed.cells.shape[1]}; write .npz")
    names = [_folder_name(name) for name in condensed.classes]
    if len({name.lower() for name in names}) < len(names):
        raise ValueError(f"convert: class folder names must differ in more than case, got {names}; write .npz")
    _warn_of_cuts(condensed, target)
    place = target.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = (place if place.exists() else place.parent) / f".{place.name}.{secrets.token_hex(6)}"
    temporary.mkdir()
    moved: list[Path] = []
    try:
        _write_all(condensed, temporary, names)
        if place.exists():
            for name in [*names, ORDER]:
                (temporary / name).rename(place / name)
                moved.append(place / name)
            temporary.rmdir()
        else:
            temporary.rename(place)
    except BaseException:
        for part in (temporary, *moved):
            shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)
        raise


def _warn_of_cuts(condensed: CondensedSet, target: Path) -> None:
    """Say how many pixels PNGs cannot hold; those of a set in [0, 1] leave it by rounding at most."""
    images = condensed.decode()
    lost = int(((images < 0) | (images > 1)).sum())
    if condensed.space == "unbounded" and lost:
        said = f"{100 * lost / images.numel():.3g} % of the pixels are outside [0, 1] and are clipped; .npz keeps them"
        warnings.warn(f"convert: {target}: {said}", stacklevel=4)


def _write_all(condensed: CondensedSet, folder: Path, names: list[str]) -> None:
    pixels = (condensed.decode().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    for label, name in enumerate(names):
        (folder / name).mkdir()
        own = torch.nonzero(condensed.labels == label).flatten().tolist()
        width = max(4, len(str(len(own) - 1)))
        for number, at in enumerate(own):
            image = pixels[at][..., 0] if pixels.shape[3] == 1 else pixels[at]
            Image.fromarray(np.ascontiguousarray(image)).save(folder / name / f"{number:0{width}d}.png")
    (folder / ORDER).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def _folder_name(name: str) -> str:
    plain = re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name).strip() or "_"
    return re.sub(r"^\.|\.$", "_", plain)


def read(origin: Origin) -> CondensedSet:
    """All PNGs of the folders of a folder, as a set of factor 1 with one uint8 cell for each.

    The classes stand in the order of classes.txt; without it in that of the named data set, if it has these classes;
    else by number, if they are all numbers; else by name. Images within a class go by the name of their file. A class
    without images is one only where classes.txt names it.

    Raises:
        ValueError: fewer than two classes, an empty class, images of several sizes, or one that cannot be read.
    """
    names = _classes(origin)
    files = [sorted(filter(_is_png, (origin.path / name).iterdir())) for name in names]
    empty = [name for name, own in zip(names, files, strict=True) if not own]
    if empty and (len(empty) == len(names) or not (origin.path / ORDER).is_file()):
        origin.refuse("a class needs PNGs", f"none in {empty[0]}")
    images = [_pixels(file) for own in files for file in own]
    if grey := all(image.ndim == 2 for image in images):
        images = [image[..., None] for image in images]
    sizes = sorted({image.shape[:2] for image in images})
    if len(sizes) > 1:
        origin.refuse("images must be of one size", " and ".join(f"{w}x{h}" for h, w in sizes[:2]))
    cells = np.stack(images if grey else [_coloured(image) for image in images])
    labels = torch.arange(len(names)).repeat_interleave(torch.tensor([len(own) for own in files]))
    return origin.condensed(_channels_first(cells), labels, classes=tuple(names), method="unknown")


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png" and not path.name.startswith(".") and path.is_file()


def _classes(origin: Origin) -> list[str]:
    found = sorted(path.name for path in origin.path.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(found) < 2:
        origin.refuse("needs a folder for each of at least two classes", len(found))
    if (origin.path / ORDER).is_file():
        names = _listed(origin)
        if sorted(names) != found:
            origin.refuse(f"{ORDER} must match the folders", f"a difference in {sorted({*names} ^ {*found})[:3]}")
        return names
    known = [_folder_name(name) for name in origin.known.classes] if origin.known else []
    if sorted(known) == found:
        return known
    return sorted(found, key=int) if all(name.isdecimal() for name in found) else found


def _listed(origin: Origin) -> list[str]:
    """The names in classes.txt, whatever editor wrote it."""
    try:
        text = (origin.path / ORDER).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        origin.refuse(f"{ORDER} must be in UTF-8", f"the byte {error.object[error.start]:#04x}")
    return [line for line in text.splitlines() if line.strip()]


def _pixels(file: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """uint8 [H, W], or [H, W, 3] of an image with colours."""
    try:
        with Image.open(file) as image:
            if (deep := deep_mode(image)) is not None:
                raise ValueError(f"needs 8 bits a channel, got mode {deep}")
            upright = ImageOps.exif_transpose(image)
            return np.asarray(upright.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"convert: {file} cannot be read as a PNG ({error})") from error


def _coloured(image: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def _channels_first(images: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
