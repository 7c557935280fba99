"""Flip, crop, translate, scale and rotate against loops over pixels."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from augment import Crop, Flip, ResizedCrop, Rotate, Scale, Translate
from augment.geometry import bilinear

SIZE = (5, 7)
X = torch.randn(6, 2, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 1


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sample(image: NDArray[np.float64], y: float, x: float) -> NDArray[np.float64]:
    """The pixel at (y, x), in pixels from the centre of the first one; bilinear, zero outside: [C]."""
    value = np.zeros(image.shape[0])
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
                value += (1 - abs(y - row)) * (1 - abs(x - column)) * image[:, row, column]
    return value


def test_flip_mirrors_left_and_right_where_drawn() -> None:
    params = Flip().draw(6, SIZE, generator())
    assert 0 < int(params["flip"].sum()) < 6
    result = Flip().apply(X, params).numpy()
    for n, image in enumerate(X.numpy()):
        for x in range(7):
            source = 6 - x if params["flip"][n] else x
            np.testing.assert_array_equal(result[n, :, :, x], image[:, :, source])


@pytest.mark.parametrize(
    ("probability", "low", "high"), [(0.0, 0, 0), (0.5, 450, 550), (0.9, 870, 930), (1.0, 1000, 1000)]
)
def test_flip_is_drawn_with_its_probability(probability: float, low: int, high: int) -> None:
    assert low <= int(Flip(probability).draw(1000, SIZE, generator())["flip"].sum()) <= high


@pytest.mark.parametrize("op", [Crop(0.4), Translate(0.4)])
@pytest.mark.parametrize("count", [1, 6])
def test_crop_moves_whole_pixels_and_fills_with_zeros(op: Crop, count: int) -> None:
    for seed in range(5):
        params = op.draw(count, SIZE, generator(seed))
        expected = np.zeros(X.shape)
        for n, image in enumerate(X.numpy()):
            down, right = (int(params[name][n % count]) for name in ("down", "right"))
            for y in range(5):
                for x in range(7):
                    if 0 <= y - down < 5 and 0 <= x - right < 7:
                        expected[n, :, y, x] = image[:, y - down, x - right]
        np.testing.assert_array_equal(op.apply(X, params).numpy(), expected)


@pytest.mark.parametrize("op", [Crop(), Translate()])
@pytest.mark.parametrize(("side", "reach"), [(32, 4), (28, 4), (8, 1), (64, 8), (3, 0)])
def test_crop_reaches_an_eighth_of_each_side_both_ways(op: Crop, side: int, reach: int) -> None:
    params = op.draw(2000, (side, 32), generator())
    assert sorted(params["down"].unique().tolist()) == list(range(-reach, reach + 1))
    assert sorted(params["right"].unique().tolist()) == list(range(-4, 5))
    assert params["right"].double().mean().abs() < 0.25


def test_crop_as_far_as_the_image_leaves_nothing() -> None:
    one, none = torch.tensor([5]), torch.tensor([0])
    assert not Crop(1.0).apply(X, {"down": one, "right": none}).any()
    assert not Crop(1.0).apply(X, {"down": one.expand(6), "right": none.expand(6)}).any()


def test_cropped_pixels_do_not_spread_what_is_no_number() -> None:
    x = torch.ones(2, 1, 4, 4)
    x[0, 0, 0, 0] = float("nan")
    result = Crop().apply(x, {"down": torch.tensor([-1, 1]), "right": torch.tensor([0, 0])})
    assert not result.isnan().any()


@pytest.mark.parametrize("count", [1, 6])
def test_scale_samples_bilinearly_about_the_centre(count: int) -> None:
    params = Scale(1.5).draw(count, SIZE, generator(1))
    result = Scale(1.5).apply(X, params).numpy()
    for n, image in enumerate(X.numpy()):
        across, along = (float(params["map"][n % count, axis, axis]) for axis in (0, 1))
        for y in range(5):
            for x in range(7):
                expected = sample(image, 2 + along * (y - 2), 3 + across * (x - 3))
                np.testing.assert_allclose(result[n, :, y, x], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("count", [1, 6])
def test_rotate_turns_rigidly_about_the_centre(count: int) -> None:
    params = Rotate(60).draw(count, SIZE, generator(1))
    result = Rotate(60).apply(X, params).numpy()
    for n, image in enumerate(X.numpy()):
        turn = math.acos(float(params["map"][n % count, 0, 0])) * math.copysign(
            1, float(params["map"][n % count, 1, 0])
        )
        for y in range(5):
            for x in range(7):
                right, down = x - 3, y - 2
                source_x = 3 + math.cos(turn) * right - math.sin(turn) * down
                source_y = 2 + math.sin(turn) * right + math.cos(turn) * down
                np.testing.assert_allclose(result[n, :, y, x], sample(image, source_y, source_x), atol=1e-10)


def test_a_quarter_turn_of_a_square_is_exact() -> None:
    square = X[..., :5]
    zero = torch.zeros(1, dtype=torch.float64)
    quarter = torch.stack([torch.stack([zero, zero - 1, zero], 1), torch.stack([zero + 1, zero, zero], 1)], 1)
    turned = Rotate().apply(square, {"map": quarter})
    torch.testing.assert_close(turned, square.rot90(1, (2, 3)))


def test_no_magnitude_is_the_identity() -> None:
    for op in (Scale(1.0), Rotate(0.0)):
        torch.testing.assert_close(op.apply(X, op.draw(6, SIZE, generator())), X)


def test_scales_are_drawn_for_each_axis_by_itself() -> None:
    maps = Scale().draw(4000, (32, 32), generator())["map"]
    for factor in (maps[:, 0, 0], maps[:, 1, 1]):
        assert 1 / 1.2 <= factor.min() < 0.84
        assert 1.19 < factor.max() <= 1.2
        assert abs(float(factor.mean()) - (1.2 + 1 / 1.2) / 2) < 0.01
    assert torch.corrcoef(torch.stack([maps[:, 0, 0], maps[:, 1, 1]]))[0, 1].abs() < 0.06
    assert not maps[:, [0, 0, 1, 1], [1, 2, 0, 2]].any()


def test_angles_are_drawn_evenly_on_both_sides() -> None:
    maps = Rotate().draw(4000, (32, 32), generator())["map"]
    degrees = torch.atan2(maps[:, 1, 0], maps[:, 0, 0]) * 180 / math.pi
    assert -15 <= degrees.min() < -14.8
    assert 14.8 < degrees.max() <= 15
    assert degrees.mean().abs() < 0.5
    assert abs(float(degrees.std()) - 30 / math.sqrt(12)) < 0.2


@pytest.mark.parametrize("count", [1, 6])
def test_a_resized_crop_is_a_part_enlarged_bilinearly(count: int) -> None:
    params = ResizedCrop(0.2).draw(count, SIZE, generator(1))
    result = ResizedCrop(0.2).apply(X, params).numpy()
    for n, image in enumerate(X.numpy()):
        (wide, _, right), (_, high, down) = params["map"][n % count].tolist()
        for y in range(5):
            for x in range(7):
                row = 2 + high * (y - 2) + down * 5 / 2
                column = 3 + wide * (x - 3) + right * 7 / 2
                expected = sample(image, min(max(row, 0), 4), min(max(column, 0), 6))
                np.testing.assert_allclose(result[n, :, y, x], expected, rtol=1e-10, atol=1e-12)


def test_resized_crops_lie_on_the_image_and_have_any_area_and_ratio() -> None:
    maps = ResizedCrop(0.08).draw(4000, (32, 64), generator())["map"]
    wide, high, right, down = maps[:, 0, 0], maps[:, 1, 1], maps[:, 0, 2], maps[:, 1, 2]
    assert ((right.abs() <= 1 - wide + 1e-12) & (down.abs() <= 1 - high + 1e-12)).all()
    area, ratio = wide * high, 2 * wide / high
    assert 0.08 <= area.min() < 0.082
    assert 0.75 - 1e-9 <= ratio.min() < 0.76
    assert 1.32 < ratio.max() <= 4 / 3 + 1e-9
    for side, place in ((wide, right), (high, down)):
        share = (place / (1 - side))[side < 1]
        assert abs(float(share.mean())) < 0.04
        assert abs(float(share.std()) - 2 / math.sqrt(12)) < 0.02
    assert not maps[:, [0, 1], [1, 0]].any()
    square = ResizedCrop(0.0).draw(4000, (32, 32), generator())["map"]
    small = square[square[:, 0, 0] * square[:, 1, 1] < 0.5]  # where every ratio lies on the image
    shares = small[:, 0, 0] * small[:, 1, 1]
    assert abs(float(shares.mean()) - 0.25) < 0.01
    assert abs(float((small[:, 0, 0] / small[:, 1, 1]).log().mean())) < 0.01


def test_a_resized_crop_of_everything_is_the_image() -> None:
    whole = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]], dtype=torch.float64)
    torch.testing.assert_close(ResizedCrop().apply(X, {"map": whole}), X)
    params = ResizedCrop(1.0).draw(50, (32, 32), generator())
    sides = params["map"][:, [0, 1], [0, 1]]
    assert torch.equal(sides.amax(1), torch.ones(50, dtype=torch.float64))  # none fits but the image: the largest
    assert 0.75 - 1e-9 <= sides.min() < 0.8
    with pytest.raises(ValueError, match=r"augment: resized crop must be from 0 to 1, got 1\.2"):
        ResizedCrop(1.2)


@pytest.mark.parametrize("op", [Scale(), Rotate(), ResizedCrop()])
def test_half_precision_is_sampled_on_a_fine_grid(op: Scale | Rotate | ResizedCrop) -> None:
    x = torch.randn(4, 3, 32, 32, generator=generator()).bfloat16()
    params = op.draw(4, (32, 32), generator())
    result = op.apply(x, params)
    assert result.dtype == torch.bfloat16
    assert torch.equal(result, op.apply(x.float(), params).bfloat16())


def test_sampling_for_the_same_bits_on_cuda_is_torchs_own() -> None:
    """Values and gradients; far outside, on the edge and between pixels; gradients of the second order, too."""
    x = X.clone().requires_grad_()
    grid = 3 * torch.rand(6, 4, 3, 2, generator=generator(3), dtype=torch.float64) - 1.5
    grid[0, 0, 0], grid[0, 0, 1], grid[0, 0, 2] = torch.tensor([-1.0, 1.0]), torch.tensor([-9.0, 9.0]), 0
    pairs = []
    for sample in (bilinear, partial(torch.nn.functional.grid_sample, align_corners=False)):
        found = sample(x, grid)
        pairs.append((found, torch.autograd.grad(found.pow(3).sum(), x)[0]))
    torch.testing.assert_close(pairs[0], pairs[1], rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradgradcheck(lambda t: bilinear(t, grid).pow(3), (x,))
