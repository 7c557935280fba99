"""Attention and mean features against literal NumPy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.condense.attention import attention, attention_distance
from yoco.condense.matching import mean_distance


def maps(n: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def literal(each: Tensor, power: float) -> np.ndarray:
    rows = []
    for image in each.numpy():
        seen = np.zeros(image.shape[1:])
        for channel in image:
            seen += np.abs(channel) ** power
        rows.append(seen.ravel() / np.sqrt((seen.ravel() ** 2).sum()))
    return np.array(rows)


@pytest.mark.parametrize("power", [1.0, 2.0, 4.0])
def test_attention_is_the_normalised_sum_of_powers(power: float) -> None:
    each = maps(3, 5, 4, 2)
    np.testing.assert_allclose(attention(each, power).numpy(), literal(each, power), rtol=1e-12)


@pytest.mark.parametrize("power", [1.0, 4.0])
def test_every_image_is_normalised_before_the_mean(power: float) -> None:
    """A mean of maps, normalised afterwards, would follow the loudest image."""
    real, cells = [maps(6, 5, 4, 4), maps(6, 3, 2, 2, seed=1)], [maps(2, 5, 4, 4, seed=2), maps(2, 3, 2, 2, seed=3)]
    expected = 0.0
    for left, right in zip(real, cells, strict=True):
        expected += ((literal(left, power).mean(0) - literal(right, power).mean(0)) ** 2).sum()
    assert attention_distance(real, cells, power).item() == pytest.approx(expected, rel=1e-12)
    loud = [each * torch.tensor([1.0, 1000.0])[:, None, None, None] for each in cells]
    assert attention_distance(real, loud, power).item() == pytest.approx(expected, rel=1e-9)


def test_dark_maps_look_nowhere_and_have_a_gradient() -> None:
    dark = torch.zeros(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert (attention(dark, 4.0) == 0).all()
    (gradient,) = torch.autograd.grad(attention_distance([maps(2, 3, 4, 4)], [dark], 4.0), dark)
    assert torch.isfinite(gradient).all()


def test_without_layers_the_distance_is_zero() -> None:
    assert attention_distance([], [], 4.0).item() == 0


def test_mean_distance_sums_over_features() -> None:
    real, cells = maps(7, 3, 2), maps(2, 3, 2, seed=1)
    total = 0.0
    for i in range(3):
        for j in range(2):
            total += (real[:, i, j].numpy().mean() - cells[:, i, j].numpy().mean()) ** 2
    assert mean_distance(real, cells).item() == pytest.approx(total, rel=1e-12)
    assert mean_distance(real, real.repeat(2, 1, 1)).item() < 1e-25
