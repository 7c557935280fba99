"""Cutout against loops over pixels."""

import numpy as np
import pytest
import torch

from augment import Cutout

SIZE = (6, 9)
X = torch.randn(12, 2, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("share", [0.0, 0.34, 0.5, 1.0])
@pytest.mark.parametrize("count", [1, 12])
def test_a_rectangle_about_the_centre_is_zero(share: float, count: int) -> None:
    op = Cutout(share)
    tall, wide = (int(side * share + 0.5) for side in SIZE)
    params = op.draw(count, SIZE, torch.Generator().manual_seed(0))
    expected = X.numpy().copy()
    for n in range(12):
        top, left = int(params["y"][n % count]) - tall // 2, int(params["x"][n % count]) - wide // 2
        for y in range(max(top, 0), min(top + tall, 6)):
            for x in range(max(left, 0), min(left + wide, 9)):
                expected[n, :, y, x] = 0
    np.testing.assert_array_equal(op.apply(X, params).numpy(), expected)


def test_at_a_corner_a_quarter_is_left_of_the_square() -> None:
    corner = torch.tensor([0])
    result = Cutout().apply(torch.ones(1, 1, 8, 8), {"y": corner, "x": corner})
    assert int((result == 0).sum()) == 4
    assert not result[0, 0, :2, :2].any()


@pytest.mark.parametrize(("side", "last"), [(32, 32), (28, 28), (6, 5), (8, 8)])
def test_centres_are_uniform(side: int, last: int) -> None:
    """A side of an even length may also stand with its centre at the far border; of an odd length, on each pixel."""
    drawn = Cutout().draw(8000, (side, side), torch.Generator().manual_seed(0))
    for centre in drawn.values():
        assert centre.unique().tolist() == list(range(last + 1))
        times = torch.bincount(centre).double() * (last + 1) / 8000
        assert 0.7 < times.min() <= times.max() < 1.3


def test_what_is_cut_out_gets_no_gradient() -> None:
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    result = Cutout().apply(x, {"y": torch.tensor([2]), "x": torch.tensor([2])})
    result.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, (result != 0).float())
