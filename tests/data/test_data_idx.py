import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from yoco.data import load
from yoco.data.idx import read_idx
from yoco.protocols import recipe

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)
LABELS = np.tile(np.arange(10, dtype=np.uint8), 3)


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def write_set(folder: Path, prefix: str = "", end: str = "", test: str = "t10k", labels: np.ndarray = LABELS) -> Path:
    write_idx(folder / f"{prefix}train-images-idx3-ubyte{end}", IMAGES[:20])
    write_idx(folder / f"{prefix}train-labels-idx1-ubyte{end}", labels[:20])
    write_idx(folder / f"{prefix}{test}-images-idx3-ubyte{end}", IMAGES[20:])
    write_idx(folder / f"{prefix}{test}-labels-idx1-ubyte{end}", labels[20:])
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No data set anywhere but below tmp_path."""
    monkeypatch.delenv("YOCO_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("yoco.data.places.DEBIAN", tmp_path / "debian")
    return tmp_path


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4)])
def test_reads_what_was_written(tmp_path: Path, end: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    write_idx(tmp_path / f"x{end}", array)
    np.testing.assert_array_equal(read_idx(tmp_path / f"x{end}"), array)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\x89PNG....", "an idx file of bytes must begin with 0 0 8, got [137, 80, 78]"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01....", "an idx file of bytes must begin with 0 0 8, got [0, 0, 13]"),
        (b"", "an idx file of bytes must begin with 0 0 8, got []"),
        (b"\x00\x00\x08\x03\x00\x00\x00\x01", "an idx file of bytes must begin with 0 0 8, got [0, 0, 8]"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x05abcd", "shape [5] needs 5 bytes, got 4"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x03abcd", "shape [3] needs 3 bytes, got 4"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "x").write_bytes(raw)
    with pytest.raises(ValueError) as caught:
        read_idx(tmp_path / "x")
    assert str(caught.value) == f"data {tmp_path / 'x'}: {message}"


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"no gzip", lambda raw: raw[:12] + b"xx" * 9]
)
def test_damaged_gzip_files_are_refused(tmp_path: Path, damage) -> None:
    path = tmp_path / "x.gz"
    write_idx(path, IMAGES)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError) as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"data {path}: cannot be read (")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("below", ["", "raw", "FashionMNIST/raw", "anything/raw"])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_a_folder_of_idx_files(tmp_path: Path, below: str, end: str) -> None:
    write_set(tmp_path / "mine" / below, end=end)
    train, test = load(tmp_path / "mine")
    np.testing.assert_array_equal(train.images[:, 0].numpy(), IMAGES[:20])
    np.testing.assert_array_equal(test.images[:, 0].numpy(), IMAGES[20:])
    assert train.labels.tolist() == LABELS[:20].tolist()
    assert train.name == ("fashion-mnist" if below.startswith("Fashion") else "mine")
    assert train.mean == pytest.approx((IMAGES[:20].mean() / 255,))
    assert test.mean == train.mean
    assert load(str(tmp_path / "mine")).train.checksum == train.checksum


@pytest.mark.parametrize(
    ("folder", "prefix", "name"),
    [
        ("MNIST", "", "mnist"),
        ("MNIST/raw", "", "mnist"),
        ("data/KMNIST/raw", "", "kmnist"),
        ("fashion_mnist", "", "fashion-mnist"),
        ("letters", "emnist-letters-", "emnist"),
        ("mnist-c", "", "mnist-c"),
    ],
)
def test_a_member_of_the_family_is_known_by_its_folder(tmp_path: Path, folder: str, prefix: str, name: str) -> None:
    test = "test" if prefix else "t10k"
    write_set(tmp_path / folder, prefix=prefix, test=test)
    train, _ = load(tmp_path / folder)
    assert train.name == name
    mirrored = "flip" in recipe("idc", train.name, train.shape, 1, 10).augment.words.split("_")  # type: ignore[attr-defined]
    assert mirrored == (name in ("fashion-mnist", "mnist-c"))


def test_labels_of_a_folder_need_not_begin_at_zero(tmp_path: Path) -> None:
    train, test = load(write_set(tmp_path / "letters", prefix="emnist-letters-", test="test", labels=LABELS + 1))
    assert train.classes == tuple(sorted(map(str, range(1, 11)), key=int))
    assert test.labels.tolist() == LABELS[20:].tolist()
    np.testing.assert_array_equal(train.images[:, 0].numpy(), IMAGES[:20].transpose(0, 2, 1))


def test_a_folder_with_two_sets_is_refused(tmp_path: Path) -> None:
    write_set(tmp_path / "MNIST/raw")
    write_set(tmp_path / "KMNIST/raw")
    with pytest.raises(
        ValueError, match=r"must hold one set of idx files, got 2: .*KMNIST/raw/train-images, .*MNIST/raw"
    ):
        load(tmp_path)


def test_hidden_files_are_no_set(tmp_path: Path) -> None:
    write_set(tmp_path / "mine")
    (tmp_path / "mine/._train-images-idx3-ubyte").write_bytes(b"of another system")
    assert len(load(tmp_path / "mine").train) == 20


def test_missing_files_and_labels_are_one_line(tmp_path: Path) -> None:
    write_set(tmp_path)
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS[:7])
    with pytest.raises(
        ValueError, match=r"needs one label for each image, got images \[20, 28, 28\] and labels \[7\]$"
    ):
        load(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    write_idx(tmp_path / "train-labels-idx1-ubyte", LABELS[:20])
    with pytest.raises(ValueError, match=r"needs the file t10k-images-idx3-ubyte\[.gz\], got none$"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("below", "variable"),
    [
        ("own/fashion-mnist", "own"),
        ("own/FashionMNIST/raw", "own"),
        ("own/fashion-mnist/FashionMNIST/raw", "own"),
        ("own/fashion-mnist", "own/fashion-mnist"),
        ("own/FashionMNIST/raw", "own/FashionMNIST"),
        ("home/.cache/yoco/fashion-mnist", None),
        ("home/.cache/yoco/FashionMNIST/raw", None),
        ("debian/fashion-mnist", None),
    ],
)
def test_fashion_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str, variable: str | None) -> None:
    write_set(tmp_path / below, end=".gz")
    if variable:
        monkeypatch.setenv("YOCO_DATA", str(tmp_path / variable))
    train, test = load("fashion-mnist")
    np.testing.assert_array_equal(test.images[:, 0].numpy(), IMAGES[20:])
    assert (train.mean, train.std) == (test.mean, test.std) == ((0.2861,), (0.3530,))
    assert train.classes[9] == "ankle boot"


def test_a_set_of_another_name_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOCO_DATA", str(write_set(tmp_path / "own")))
    write_set(tmp_path / "own/FashionMNIST/raw")
    with pytest.raises(ValueError) as caught:
        load("mnist")
    places = f"{tmp_path / 'own'}, {tmp_path / 'home/.cache/yoco'}, {tmp_path / 'debian'}"
    rule = f"no mnist/train-images-idx3-ubyte[.gz] or MNIST/raw/train-images-idx3-ubyte[.gz] in {places}"
    assert str(caught.value) == f"data mnist: {rule}; set YOCO_DATA, give --data FOLDER, or add --download"


def test_the_message_for_fashion_names_the_package() -> None:
    with pytest.raises(ValueError, match="apt install dataset-fashion-mnist") as caught:
        load("fashion-mnist")
    assert "\n" not in str(caught.value)


def test_emnist_is_set_upright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOCO_DATA", str(tmp_path))
    write_set(tmp_path / "emnist", prefix="emnist-balanced-", end=".gz", test="test", labels=LABELS + 37)
    train, _ = load("emnist")
    np.testing.assert_array_equal(train.images[:, 0].numpy(), IMAGES[:20].transpose(0, 2, 1))
    assert len(train.classes) == 47
    assert [train.classes[at] for at in (9, 10, 35, 36, 38, 46)] == ["9", "A", "Z", "a", "d", "t"]


def test_size_gives_statistics_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOCO_DATA", str(tmp_path))
    write_set(tmp_path / "mnist")
    train, test = load("mnist", size=32)
    assert train.shape == test.shape == (1, 32, 32)
    assert train.mean == test.mean == pytest.approx(((train.images / 255).mean().item(),), abs=1e-6)
    assert load("mnist", size=28).train.mean == (0.1307,)


def test_download_leaves_the_work_to_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(root: str, *, train: bool, download: bool, split: str) -> None:
        assert (root, download, split) == (str(tmp_path / "own"), True, "balanced")
        write_set(Path(root) / "EMNIST/raw", prefix="emnist-balanced-", test="test")

    monkeypatch.setenv("YOCO_DATA", str(tmp_path / "own"))
    monkeypatch.setattr("torchvision.datasets.EMNIST", fetch)
    assert torch.equal(load("emnist", download=True).test.labels, torch.from_numpy(LABELS[20:]).long())


def test_a_folder_that_is_not_whole_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOCO_DATA", str(tmp_path / "own"))
    missing = write_set(tmp_path / "own/MNIST/raw") / "t10k-labels-idx1-ubyte"
    missing.unlink()
    with pytest.raises(ValueError, match=r"^data .*/own/MNIST/raw: needs the file t10k-labels-idx1-ubyte\[.gz\], got"):
        load("mnist")
    write_set(tmp_path / "home/.cache/yoco/mnist", end=".gz")
    assert load("mnist", download=True).test.labels.tolist() == LABELS[20:].tolist()
    missing.write_bytes(b"cut off")
    assert load("mnist").test.labels.tolist() == LABELS[20:].tolist()


@pytest.mark.parametrize(("folder", "prefix"), [("MNIST", ""), ("EMNIST", "emnist-balanced-")])
def test_a_download_that_was_interrupted_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, prefix: str
) -> None:
    test = "test" if prefix else "t10k"
    halves, place = list[bool](), tmp_path / folder / "raw"
    write_set(place, prefix, test=test)
    for kind in ("images-idx3", "labels-idx1"):
        (place / f"{prefix}{test}-{kind}-ubyte").unlink()

    def fetch(root: str, *, train: bool, download: bool, **split: str) -> None:
        halves.append(train)
        if not train:
            write_set(Path(root) / folder / "raw", prefix, test=test)

    monkeypatch.setenv("YOCO_DATA", str(tmp_path))
    monkeypatch.setattr(f"torchvision.datasets.{folder}", fetch)
    assert load(folder.lower(), download=True).test.labels.tolist() == LABELS[20:].tolist()
    assert load(folder.lower(), download=True).train.labels.tolist() == LABELS[:20].tolist()
    assert halves == [True, False]


def test_a_failed_download_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(root: str, *, train: bool, download: bool) -> None:
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr("torchvision.datasets.KMNIST", fetch)
    with pytest.raises(ValueError, match=r"^data kmnist: the download failed \(Error downloading .*\)$"):
        load("kmnist", download=True)


def test_a_failed_download_names_the_file_that_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(root: str, *, train: bool, download: bool) -> None:
        raise RuntimeError("shape '[20, 28, 28]' is invalid for input of size 15580")

    monkeypatch.setenv("YOCO_DATA", str(tmp_path))
    monkeypatch.setattr("torchvision.datasets.KMNIST", fetch)
    file = write_set(tmp_path / "KMNIST/raw") / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError) as caught:
        load("kmnist", download=True)
    assert str(caught.value) == (
        f"data {file}: shape [20, 28, 28] needs 15680 bytes, got 15580;"
        " data kmnist: the download failed (shape '[20, 28, 28]' is invalid for input of size 15580)"
    )
