"""Every row of SOURCES through one list, over small files of the true formats."""

import gzip
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch

from yoco.data import SOURCES, Splits, load

SIZES = {"digits": (1, 8, 8), "cifar10": (3, 32, 32), "cifar100": (3, 32, 32), "svhn": (3, 32, 32)}
CLASSES = {"emnist": 47, "cifar100": 100}
PUBLISHED = {
    "mnist": ((0.1307,), (0.3081,)),
    "fashion-mnist": ((0.2861,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
}
RANDOM = np.random.default_rng(0)


def labels_for(classes: int, count: int) -> np.ndarray:
    return np.arange(count, dtype=np.uint8) % classes


def idx_files(folder: Path, prefix: str, halves: tuple[str, str], classes: int) -> None:
    folder.mkdir(parents=True)
    for half, count in zip(halves, (2 * classes, classes), strict=True):
        images = RANDOM.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels_for(classes, count))):
            raw = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
            (folder / f"{prefix}{half}-{kind}-ubyte.gz").write_bytes(gzip.compress(raw, 1))


def cifar_files(folder: Path, names: dict[str, int], key: str, meta: tuple[str, str], classes: int) -> None:
    folder.mkdir()
    for name, count in names.items():
        images = RANDOM.integers(0, 256, (count, 3072), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": images, key: labels_for(classes, count).tolist()}))
    (folder / meta[0]).write_bytes(pickle.dumps({meta[1]: [f"class {at}" for at in range(classes)]}))


def svhn_files(folder: Path) -> None:
    """SVHN keeps images as [H, W, C, n], labels as [n, 1], and writes the digit 0 as 10."""
    for half, count in (("train", 20), ("test", 10)):
        labels = labels_for(10, count)[:, None].copy()
        labels[labels == 0] = 10
        images = RANDOM.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        scipy.io.savemat(folder / f"{half}_32x32.mat", {"X": images, "y": labels})


@pytest.fixture(scope="module", autouse=True)
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with all sets, whose files have other checksums than torchvision expects."""
    root = tmp_path_factory.mktemp("sets")
    idx_files(root / "MNIST/raw", "", ("train", "t10k"), 10)
    idx_files(root / "fashion-mnist", "", ("train", "t10k"), 10)
    idx_files(root / "kmnist", "", ("train", "t10k"), 10)
    idx_files(root / "EMNIST/raw", "emnist-balanced-", ("train", "test"), 47)
    batches = {f"data_batch_{number}": 10 for number in range(1, 6)} | {"test_batch": 10}
    cifar_files(root / "cifar-10-batches-py", batches, "labels", ("batches.meta", "label_names"), 10)
    hundred = {"train": 200, "test": 100}
    cifar_files(root / "cifar-100-python", hundred, "fine_labels", ("meta", "fine_label_names"), 100)
    svhn_files(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOCO_DATA", str(root))
        for module in ("cifar", "svhn"):
            patch.setattr(f"torchvision.datasets.{module}.check_integrity", lambda path, *_: Path(path).is_file())
        yield root


@pytest.fixture(params=SOURCES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def splits(name: str) -> Splits:
    return load(name)


def test_halves_have_the_shape_and_the_classes_of_the_set(name: str, splits: Splits) -> None:
    for half in splits:
        assert half.name == name
        assert half.shape == SIZES.get(name, (1, 28, 28))
        assert half.images.dtype == torch.uint8
        assert half.labels.dtype == torch.long
        assert len(set(half.classes)) == CLASSES.get(name, 10)
        assert all(len(at) for at in half.by_class)
    assert splits.train.classes == splits.test.classes
    assert len(splits.train) > len(splits.test)


def test_constants_are_the_published_ones_or_those_of_the_training_images(name: str, splits: Splits) -> None:
    train, test = splits
    assert (test.mean, test.std) == (train.mean, train.std)
    pixels = train.images.double() / 255
    measured = (pixels.mean((0, 2, 3)).tolist(), pixels.std((0, 2, 3), correction=0).tolist())
    mean, std = PUBLISHED.get(name, measured)
    assert train.mean == pytest.approx(mean, abs=1e-9)
    assert train.std == pytest.approx(std, abs=1e-9)


def test_halves_are_the_same_every_time(name: str, splits: Splits) -> None:
    before = torch.random.get_rng_state()
    again = load(name)
    assert [half.checksum for half in again] == [half.checksum for half in splits]
    assert torch.equal(before, torch.random.get_rng_state())


def test_no_image_is_in_both_halves(splits: Splits) -> None:
    train, test = ({image.numpy().tobytes() for image in half.images} for half in splits)
    assert not train & test


def test_a_batch_is_float_in_the_unit_interval(splits: Splits) -> None:
    images, labels = splits.test.batch(torch.tensor([1, 0]))
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    assert labels.tolist() == splits.test.labels[[1, 0]].tolist()


def test_size_and_grey_work(name: str) -> None:
    train, test = load(name, size=16, grey=True)
    assert train.shape == test.shape == (1, 16, 16)
    assert train.mean == test.mean == pytest.approx(((train.images.double() / 255).mean().item(),))


def test_missing_files_are_one_line_that_says_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "digits":
        monkeypatch.setenv("YOCO_DATA", str(tmp_path))
        assert len(load(name).test) == 450
        return
    monkeypatch.setenv("YOCO_DATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("yoco.data.places.DEBIAN", tmp_path)
    with pytest.raises(ValueError) as caught:
        load(name)
    message = str(caught.value)
    assert message.startswith(f"data {name}: ")
    assert "--download" in message
    assert str(tmp_path) in message
    assert "\n" not in message


def test_photographs_are_looked_for_in_every_folder(
    everything: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/yoco").symlink_to(everything)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("YOCO_DATA", str(tmp_path / "nothing"))
    assert load("cifar10").train.name == "cifar10"


def test_cifar_pixels_stand_where_the_file_has_them(everything: Path) -> None:
    rows = pickle.loads((everything / "cifar-10-batches-py/test_batch").read_bytes())
    test = load("cifar10").test
    np.testing.assert_array_equal(test.images.numpy(), rows["data"].reshape(-1, 3, 32, 32))
    assert test.labels.tolist() == rows["labels"]


def test_svhn_pixels_and_labels_are_those_of_the_file(everything: Path) -> None:
    stored = scipy.io.loadmat(everything / "test_32x32.mat")
    test = load("svhn").test
    np.testing.assert_array_equal(test.images.numpy(), stored["X"].transpose(3, 2, 0, 1))
    assert test.labels.tolist() == (stored["y"].flatten() % 10).tolist()


@pytest.mark.parametrize("kind", ["CIFAR10", "SVHN"])
def test_a_failed_download_is_one_line(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(root: str, *, download: bool, **half: object) -> None:
        raise OSError("no route to host" if download else "not there")

    monkeypatch.setattr(f"torchvision.datasets.{kind}", fails)
    with pytest.raises(ValueError) as caught:
        load(kind.lower(), download=True)
    assert str(caught.value) == f"data {kind.lower()}: the download failed (no route to host)"
