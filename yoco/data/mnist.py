"""The MNIST family by name, found wherever its idx files lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yoco.data.idx import TEST, TRAIN, half_of, sets_in
from yoco.data.places import for_downloads, roots
from yoco.data.source import Source, Splits
from yoco.data.splits import pair

DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
HIRAGANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
BALANCED = tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt")
MNIST = ((0.1307,), (0.3081,))
FASHION = ((0.2861,), (0.3530,))
"""Published mean and std."""


@dataclass(frozen=True)
class _Known:
    """One set of the family: its names here and in torchvision, and its published mean and std where there are any."""

    name: str
    torchvision: str
    classes: tuple[str, ...]
    prefix: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


def mnist(download: bool = False) -> Splits:
    """MNIST: 60,000 and 10,000 handwritten digits, uint8 [n, 1, 28, 28].

    Raises:
        ValueError: the files are not found, or not readable.
    """
    return _load(_Known("mnist", "MNIST", DIGITS, "", *MNIST), download)


def fashion_mnist(download: bool = False) -> Splits:
    """Fashion-MNIST: 60,000 and 10,000 pieces of clothing, uint8 [n, 1, 28, 28].

    Raises:
        ValueError: the files are not found, or not readable.
    """
    return _load(_Known("fashion-mnist", "FashionMNIST", CLOTHES, "", *FASHION), download)


def kmnist(download: bool = False) -> Splits:
    """Kuzushiji-MNIST: 60,000 and 10,000 cursive hiragana, uint8 [n, 1, 28, 28].

    Raises:
        ValueError: the files are not found, or not readable.
    """
    return _load(_Known("kmnist", "KMNIST", HIRAGANA), download)


def emnist(download: bool = False) -> Splits:
    """EMNIST, its `balanced` split: 112,800 and 18,800 letters and digits in 47 classes, uint8 [n, 1, 28, 28], upright.

    Raises:
        ValueError: the files are not found, or not readable.
    """
    return _load(_Known("emnist", "EMNIST", BALANCED, prefix="emnist-balanced-"), download)


def _load(known: _Known, download: bool) -> Splits:
    """The set from the first place that has all of it; if there is none, it is downloaded if `download` is true."""
    broken: list[ValueError] = []
    for place in _places(known):
        if (place, known.prefix) in sets_in(place):
            try:
                return _read(known, place)
            except ValueError as error:
                broken.append(error)
    if download:
        return _read(known, _downloaded(known, broken))
    raise broken[0] if broken else ValueError(_not_found(known))


def _read(known: _Known, place: Path) -> Splits:
    halves = (half_of(place, known.prefix, half) for half in (TRAIN, TEST))
    train, test = (Source(known.name, *half, known.classes, known.mean, known.std) for half in halves)
    return pair(train, test)


def _places(known: _Known) -> list[Path]:
    """Folders that may hold this set: only such as are called like it, since the sets share their file names."""
    plain = known.torchvision.lower()
    places = []
    for root in roots():
        named = [root] if root.name.lower().replace("-", "") == plain else []
        for top in (*named, root / known.name, root / known.torchvision, root / known.name / known.torchvision):
            places += [top, top / "raw"]
    return places


def _not_found(known: _Known) -> str:
    at = ", ".join(str(root) for root in roots())
    file = f"{known.prefix}train-images-idx3-ubyte[.gz]"
    layout = f"{known.name}/{file} or {known.torchvision}/raw/{file}"
    package = "apt install dataset-fashion-mnist, " if known.name == "fashion-mnist" else ""
    return f"data {known.name}: no {layout} in {at}; {package}set YOCO_DATA, give --data FOLDER, or add --download"


def _downloaded(known: _Known, broken: Sequence[ValueError]) -> Path:
    """Where the download is; if it fails, such as at a file that was cut off, the first broken file is named, too.

    Raises:
        ValueError: it fails.
    """
    try:
        return _download(known)
    except ValueError as error:
        if not broken:
            raise
        raise ValueError(f"{broken[0]}; {error}") from error


def _download(known: _Known) -> Path:
    from torchvision import datasets

    root = for_downloads(known.name)
    split = {"split": "balanced"} if known.prefix else {}
    try:
        for train in (True, False):  # of EMNIST it only looks whether this half is there
            getattr(datasets, known.torchvision)(str(root), train=train, download=True, **split)
    except (AssertionError, OSError, RuntimeError, ValueError) as error:  # also of files that were cut off
        raise ValueError(f"data {known.name}: the download failed ({error})") from error
    return root / known.torchvision / "raw"
