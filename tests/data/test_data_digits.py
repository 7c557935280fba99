import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from yoco.data import load


def test_pixels_are_the_sixteen_levels_scaled() -> None:
    train, test = load("digits")
    assert (len(train), len(test)) == (1347, 450)
    assert train.shape == (1, 8, 8)
    found = torch.cat([train.images, test.images])
    assert sorted(found.unique().tolist()) == [int(np.round(level / 16 * 255)) for level in range(17)]
    key = [image.numpy().tobytes() for image in found]
    expected = [np.round(image / 16 * 255).astype(np.uint8).tobytes() for image in load_digits().images]
    assert sorted(key) == sorted(expected)


def test_labels_stay_with_their_images() -> None:
    bunch = load_digits()
    label_of = {
        np.round(i / 16 * 255).astype(np.uint8).tobytes(): t for i, t in zip(bunch.images, bunch.target, strict=True)
    }
    for half in load("digits"):
        assert [label_of[image.numpy().tobytes()] for image in half.images] == half.labels.tolist()


def test_the_split_is_stratified_and_fixed() -> None:
    train, test = load("digits")
    for whole, held in zip(train.by_class, test.by_class, strict=True):
        assert len(held) / (len(whole) + len(held)) == pytest.approx(0.25, abs=0.005)
    assert load("digits").test.checksum == test.checksum
    assert train.checksum.startswith("f42ce2c7ba6207b8")  # as the kept results say
    assert train.mean == pytest.approx((0.3053,), abs=1e-4)
    assert train.std == pytest.approx((0.3758,), abs=1e-4)
