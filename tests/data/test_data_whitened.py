"""Whitening: the fit against a literal eigendecomposition, and sources that it has passed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from yoco.data import Source, Splits, Whitening, hold_out, load, pair
from yoco.data.whitened import in_space, plain, refit
from yoco.train import Normalise


def colours(count: int, side: int, seed: int = 0) -> Source:
    generator = torch.Generator().manual_seed(seed)
    smooth = torch.rand(count, 3, 1, 1, generator=generator) * 150  # channels and pixels that depend on each other
    noise = torch.rand(count, 3, side, side, generator=generator) * 100
    return Source("random", (smooth + noise).to(torch.uint8), torch.arange(count) % 2, ("a", "b"))


def literal(train: Source, source: Source, eps: float) -> np.ndarray[Any, Any]:
    """(x - mean) V diag(1 / sqrt(l + eps)) V^T, with the covariance over n - 1 of images in [0, 1], not normalised."""
    rows, others = (part.images.numpy().astype(np.float64).reshape(len(part), -1) / 255 for part in (train, source))
    mean = rows.mean(0)
    values, vectors = np.linalg.eigh((rows - mean).T @ (rows - mean) / (len(rows) - 1))
    return ((others - mean) @ (vectors / np.sqrt(values + eps)) @ vectors.T).reshape(source.images.shape)


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("eps", [0.1, 1e-3])
def test_the_fit_is_a_literal_eigendecomposition(tiny: Splits, eps: float) -> None:
    for train, test in (tiny, (colours(300, 5), colours(7, 5, seed=1))):
        fit = Whitening.fit(train, eps)
        for half in (train, test):
            white = fit(half).batch(torch.arange(len(half))).images
            assert white.dtype == torch.float64
            np.testing.assert_allclose(white.numpy(), literal(train, half, eps), atol=1e-9)


def test_float32_is_near_to_it_and_its_default_is_that_of_mtt(tiny: Splits) -> None:
    white = in_space("zca", tiny.train)
    np.testing.assert_allclose(white.batch(torch.arange(120)).images, literal(tiny.train, tiny.train, 0.1), atol=1e-5)


@pytest.mark.slow
def test_images_as_large_as_those_of_cifar() -> None:
    train = colours(600, 32)
    white = Whitening.fit(train)(train).white.double().flatten(1)
    expected = literal(train, train.take(torch.arange(3)), 0.1)
    np.testing.assert_allclose(white[:3], expected.reshape(3, -1), atol=1e-4)


def test_normalised_images_would_be_whitened_otherwise() -> None:
    """The fit is made on images in [0, 1]: eps is on the scale of their variances."""
    train = colours(300, 5)
    values = torch.linalg.eigvalsh(torch.cov(train.images.flatten(1).T.double() / 255))
    white = torch.linalg.eigvalsh(torch.cov(Whitening.fit(train)(train).white.flatten(1).T.double()))
    torch.testing.assert_close(white, values / (values + 0.1), atol=1e-4, rtol=1e-4)


def test_pixels_and_checksum_stay_the_real_ones(tiny: Splits) -> None:
    white = Whitening.fit(tiny.train)(tiny.test)
    assert torch.equal(white.images, tiny.test.images)
    assert white.checksum == tiny.test.checksum
    assert (white.space, tiny.test.space) == ("zca", "unit")
    assert white.whitening == {"eps": 0.1, "checksum": tiny.train.checksum}
    assert repr(white) == repr(tiny.test)
    assert [part.tolist() for part in white.by_class] == [part.tolist() for part in tiny.test.by_class]


def test_normalising_changes_nothing(tiny: Splits) -> None:
    white = in_space("zca", tiny.train)
    images, labels = white.batch(torch.tensor([5, 90]))
    assert torch.equal(Normalise(white.mean, white.std)(images), images)
    assert float(images.min()) < 0
    assert labels.tolist() == [0, 2]


def test_take_and_to_keep_the_white_images_beside_the_pixels(tiny: Splits) -> None:
    white, chosen = in_space("zca", tiny.train), torch.tensor([90, 5, 5])
    part = white.take(chosen, "part").to("cpu")
    assert torch.equal(part.batch(torch.arange(3)).images, white.batch(chosen).images)
    assert torch.equal(part.images, white.images[chosen])
    assert (part.name, part.space, part.labels.tolist()) == ("part", "zca", [2, 0, 0])
    assert part.whitening == white.whitening  # type: ignore[attr-defined]


def test_unit_is_the_source_itself(tiny: Splits) -> None:
    assert in_space("unit", tiny.train) is tiny.train
    assert plain(tiny.train) is tiny.train


def test_a_fit_is_made_again_on_the_same_images_alone(tiny: Splits) -> None:
    first = Whitening.fit(tiny.train)
    again = refit(first.said, tiny.train, "here")
    assert torch.equal(first(tiny.test).white, again(tiny.test).white)
    unsaid = refit({"eps": 0.1}, tiny.train, "here")
    assert torch.equal(first(tiny.test).white, unsaid(tiny.test).white)
    with pytest.raises(
        ValueError, match=r"^here: the set was whitened by a fit on training images with checksum \w{8}, "
    ):
        refit(first.said, tiny.test, "here")
    with pytest.raises(
        ValueError, match=r"^here: a set in ZCA space must record how it was whitened, got one that does not$"
    ):
        refit({}, tiny.train, "here")


def test_what_cannot_be_whitened_or_must_not_be(tiny: Splits) -> None:
    white = Whitening.fit(tiny.train)(tiny.train)
    large = Source("large", torch.zeros(2, 3, 64, 65, dtype=torch.uint8), torch.tensor([0, 1]), ("a", "b"))
    for refused, line in (
        (
            lambda: Whitening.fit(large),
            "data large: images to be whitened have at most 12,288 values, got 12,480; give a",
        ),
        (lambda: Whitening.fit(tiny.train.take(torch.tensor([0]))), "whitening needs at least 2 images, got 1"),
        (lambda: replace(white, mean=(0.5,)), r"whitened images must have mean 0 and std 1, got \(0.5,\) and \(1.0,\)"),
        (lambda: replace(white, mean=()), r"whitened images must have mean 0 and std 1, got \(\)"),
        (lambda: replace(white, white=white.white[:3]), r"as many and as large as the real ones, got \[3, 1, 8, 8\]"),
        (lambda: pair(tiny.train, white), "whitened images must have mean 0 and std 1"),
        (lambda: hold_out(white), "whitened images must have mean 0 and std 1"),
        (
            lambda: load((tiny.train, white)),
            "data digits: images must not be whitened, got whitened ones; give plain ones",
        ),
        (lambda: load(white, size=4), "data digits: images must not be whitened, got whitened ones; give plain ones"),
    ):
        with pytest.raises(ValueError, match=line):
            refused()
