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
    mean, std = map(np.array, KIP[data])
    np.savez(path, images=(pixels(count) - mean) / std, labels=np.eye(count) - 1 / count)
    return path


def is_plain(made: CondensedSet, data: str, count: int) -> None:
    assert (made.space, made.mean, made.std) == ("unit", *KIP[data])
    np.testing.assert_allclose(made.cells.numpy(), pixels(count).transpose(0, 3, 1, 2), atol=1e-6)
    assert made.soft_labels is not None
    np.testing.assert_allclose(made.soft_labels.numpy(), np.eye(count), atol=1e-6)


@pytest.mark.parametrize(("data", "count"), [("cifar10", 10), ("cifar100", 100)])
def test_kip_normalised_by_all_pixels_of_the_training_half(data: str, count: int, tmp_path: Path) -> None:
    source = normalised(tmp_path / "kip.npz", data, count)
    is_plain(convert(source, tmp_path / "x.npz", space="normalised", data=data), data, count)
