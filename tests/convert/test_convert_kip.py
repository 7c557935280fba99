"""Files of KIP: which constants normalised them, and whether they were whitened at all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yoco.condensed import CondensedSet
from yoco.convert import convert
from yoco.convert.known import KIP


def pixels(count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Plain images [count, 4, 4, 3]."""
    return np.random.default_rng(0).random((count, 4, 4, 3))


def normalised(path: Path, data: str, count: int) -> Path:
    """A file as KIP writes it, of `pixels` normalised over the training half."""
    mean, std = (np.array(values) for values in KIP[data])
    np.savez(path, images=(pixels(count) - mean) / std, labels=np.eye(count) - 1 / count)
    return path


def is_plain(made: CondensedSet, data: str, count: int) -> None:
    assert (made.space, made.mean, made.std) == ("unit", *KIP[data])
    np.testing.assert_allclose(made.cells.numpy(), pixels(count).transpose(0, 3, 1, 2), atol=1e-6)
    assert made.soft_labels is not None
    np.testing.assert_allclose(made.soft_labels.numpy(), np.eye(count), atol=1e-6)


def test_the_constants_are_those_of_all_pixels() -> None:
    ten = (0.49139968, 0.48215841, 0.44653091), (0.24703223, 0.24348513, 0.26158784)
    hundred = (0.50707516, 0.48654887, 0.44091784), (0.26733429, 0.25643846, 0.27615047)
    assert {"cifar10": ten, "cifar100": hundred} == KIP


@pytest.mark.parametrize(("data", "count"), [("cifar10", 10), ("cifar100", 100)])
def test_kip_normalised_by_all_pixels_of_the_training_half(data: str, count: int, tmp_path: Path) -> None:
    source = normalised(tmp_path / "kip.npz", data, count)
    is_plain(convert(source, tmp_path / "x.npz", space="normalised", data=data), data, count)


@pytest.mark.parametrize("name", ["kip_cifar10_nozca.npz", "KIP_NoZCA_10.npz"])
def test_kip_that_says_nozca_in_its_name_is_not_whitened(name: str, tmp_path: Path) -> None:
    source = normalised(tmp_path / name, "cifar10", 10)
    is_plain(convert(source, tmp_path / "x.npz", data="cifar10"), "cifar10", 10)
    with pytest.raises(ValueError, match="the data set must be named to undo the normalisation"):
        convert(source, tmp_path / "y.npz")
    assert not (tmp_path / "y.npz").exists()
    assert convert(source, tmp_path / "x.npz", space="zca").space == "zca"


def test_pixels_within_the_interval_are_not_taken_as_whitened(tmp_path: Path) -> None:
    source = tmp_path / "theirs.npz"
    np.savez(source, images=pixels(3), labels=np.eye(3))
    with pytest.raises(ValueError) as caught:
        convert(source, tmp_path / "x.npz")
    rule = "pixels of whitened KIP images must go beyond [0, 1]"
    got = "none; add --space for a set of KIP, else give labels as whole numbers"
    assert str(caught.value) == f"convert: {source}: {rule}, got {got}"
    assert convert(source, tmp_path / "x.npz", space="zca").space == "zca"
    np.savez(source, images=pixels(3), labels=np.arange(3))
    assert convert(source, tmp_path / "x.npz").space == "unit"
