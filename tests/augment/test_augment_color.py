"""Brightness, saturation and contrast against their formulas."""

import numpy as np
import pytest
import torch

from augment import Brightness, Contrast, Saturation

X = torch.randn(5, 3, 4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2
G = torch.Generator


def test_brightness_adds_its_number() -> None:
    params = Brightness().draw(5, (4, 6), G().manual_seed(0))
    expected = np.stack([image + float(b) for image, b in zip(X.numpy(), params["shift"], strict=True)])
    np.testing.assert_allclose(Brightness().apply(X, params).numpy(), expected, rtol=1e-13)


def test_saturation_stretches_about_the_mean_of_the_channels() -> None:
    params = Saturation().draw(5, (4, 6), G().manual_seed(0))
    expected = np.empty(X.shape)
    for n, image in enumerate(X.numpy()):
        for y in range(4):
            for x in range(6):
                grey = image[:, y, x].sum() / 3
                expected[n, :, y, x] = grey + (image[:, y, x] - grey) * float(params["factor"][n])
    np.testing.assert_allclose(Saturation().apply(X, params).numpy(), expected, rtol=1e-12)


def test_saturation_leaves_one_channel_as_it_is() -> None:
    grey = X[:, :1]
    assert torch.equal(Saturation().apply(grey, Saturation().draw(5, (4, 6), G().manual_seed(0))), grey)


def test_contrast_stretches_about_the_mean_of_the_image() -> None:
    params = Contrast().draw(5, (4, 6), G().manual_seed(0))
    expected = np.empty(X.shape)
    for n, image in enumerate(X.numpy()):
        mean = image.sum() / image.size
        expected[n] = mean + (image - mean) * float(params["factor"][n])
    np.testing.assert_allclose(Contrast().apply(X, params).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("op", "name", "low", "high"),
    [
        (Brightness(), "shift", -0.5, 0.5),
        (Brightness(0.1), "shift", -0.1, 0.1),
        (Saturation(), "factor", 0.0, 2.0),
        (Contrast(), "factor", 0.5, 1.5),
        (Contrast(0.2), "factor", 0.8, 1.2),
    ],
)
def test_draws_are_uniform_over_the_published_range(
    op: Brightness | Saturation | Contrast, name: str, low: float, high: float
) -> None:
    drawn = op.draw(4000, (4, 6), G().manual_seed(0))[name]
    assert drawn.min() >= low
    assert drawn.max() <= high
    quarters = torch.histc((drawn - low) / (high - low), 4, 0, 1)
    assert (quarters - 1000).abs().max() < 130
