"""CutMix against loops over pixels, and the share it reports against counted pixels."""

import math

import pytest
import torch

from augment import CutMix, Mix

SIZE = (7, 10)
X = torch.arange(6.0)[:, None, None, None].expand(6, 3, *SIZE)
"""Image k is k everywhere, so that each pixel tells where it comes from."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mix(seed: int, count: int = 6, size: tuple[int, int] = SIZE, beta: float = 1.0) -> Mix:
    drawn = CutMix(1.0, beta).draw(count, size, generator(seed))
    assert drawn is not None
    return drawn


def test_half_of_the_batches_are_mixed_and_all_shares_are_as_likely() -> None:
    assert CutMix() == CutMix(probability=0.5, beta=1.0)


@pytest.mark.parametrize("seed", range(20))
def test_the_share_is_that_of_the_pixels_kept(seed: int) -> None:
    drawn = mix(seed)
    mixed, partner, share = CutMix(1.0).apply(X, drawn)
    moved = [k for k in range(6) if partner[k] != k]
    assert moved
    for k in moved:
        assert set(mixed[k].unique().tolist()) <= {float(k), float(partner[k])}
        assert share == pytest.approx(float((mixed[k] == k).double().mean()), abs=1e-12)


def test_one_box_serves_the_whole_batch() -> None:
    drawn = mix(3)
    mixed, partner, _ = CutMix(1.0).apply(X, drawn)
    top, bottom, left, right = drawn.box
    for k in range(6):
        for y in range(7):
            for x in range(10):
                inside = top <= y < bottom and left <= x < right
                assert (mixed[k, :, y, x] == (partner[k] if inside else k)).all()


def test_the_box_is_clipped_at_the_border_and_follows_the_share() -> None:
    full = 0
    for seed in range(300):
        top, bottom, left, right = mix(seed, 2, (32, 16)).box
        assert 0 <= top <= bottom <= 32
        assert 0 <= left <= right <= 16
        if top > 0 and bottom < 32 and left > 0 and right < 16:
            assert abs((bottom - top) - 2 * (right - left)) <= 2
            full += 1
    assert 30 < full < 270


def test_the_place_of_a_box_across_does_not_follow_that_down_nor_its_area() -> None:
    stream = generator()
    drawn = torch.tensor([CutMix(1.0).draw(2, (32, 32), stream).box for _ in range(1000)]).double()
    top, bottom, left, right = drawn.unbind(1)
    columns = torch.stack([top + bottom, left + right, (bottom - top) * (right - left)])
    assert (torch.corrcoef(columns) - torch.eye(3)).abs().max() < 0.12


def test_each_side_of_a_whole_box_is_the_root_of_the_share_it_takes() -> None:
    class Quarter(CutMix):
        def _share(self, generator: torch.Generator) -> float:
            return 0.75

    stream, whole = generator(), 0
    for _ in range(60):
        drawn = Quarter(1.0).draw(2, (32, 16), stream)
        assert drawn is not None
        top, bottom, left, right = drawn.box
        assert bottom - top <= 16
        assert right - left <= 8
        whole += (bottom - top, right - left) == (16, 8)
    assert whole > 5


@pytest.mark.parametrize("beta", [0.2, 0.5, 1.0, 3.0])
def test_shares_are_drawn_from_their_beta_distribution(beta: float) -> None:
    stream = generator()
    drawn = torch.tensor([CutMix(1.0, beta)._share(stream) for _ in range(4000)], dtype=torch.float64)
    assert 0 <= drawn.min() <= drawn.max() <= 1
    assert abs(float(drawn.mean()) - 0.5) < 0.02
    assert float(drawn.var()) == pytest.approx(1 / (4 * (2 * beta + 1)), rel=0.07)
    assert float((drawn - 0.5).pow(4).mean()) == pytest.approx(3 / (16 * (2 * beta + 1) * (2 * beta + 3)), rel=0.12)


def test_a_tiny_beta_gives_one_of_both_ends() -> None:
    stream = generator()
    for _ in range(50):
        share = CutMix(1.0, 1e-3)._share(stream)
        assert min(share, 1 - share) < 0.4
        assert math.isfinite(share)


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.5, 440, 560), (1.0, 1000, 1000)])
def test_mixes_come_with_their_probability(probability: float, low: int, high: int) -> None:
    stream = generator()
    times = sum(CutMix(probability).draw(2, SIZE, stream) is not None for _ in range(1000))
    assert low <= times <= high


def test_no_mix_changes_nothing() -> None:
    mixed, partner, share = CutMix(0.0).apply(X, CutMix(0.0).draw(6, SIZE, generator()))
    assert torch.equal(mixed, X)
    assert (partner.tolist(), share) == (list(range(6)), 1.0)


def test_draws_repeat_and_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    assert torch.equal(mix(5).partner, mix(5).partner)
    assert mix(5).box == mix(5).box
    assert len({mix(seed).box for seed in range(10)}) > 5
    assert sorted(mix(5).partner.tolist()) == list(range(6))
    assert torch.equal(before, torch.get_rng_state())


def test_applying_repeats_and_leaves_the_images_as_they_were() -> None:
    x, drawn = X.clone(), mix(3)
    assert torch.equal(CutMix().apply(x, drawn)[0], CutMix().apply(x, drawn)[0])
    assert torch.equal(x, X)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_dtype_and_channels(dtype: torch.dtype, channels: int) -> None:
    mixed, _, _ = CutMix().apply(X[:, :channels].to(dtype), mix(3))
    assert (mixed.dtype, mixed.shape) == (dtype, (6, channels, *SIZE))
    assert torch.equal(mixed.float(), CutMix().apply(X[:, :channels], mix(3))[0])


def test_gradients_of_the_first_and_second_order() -> None:
    x = torch.randn(3, 2, 4, 4, generator=generator(), dtype=torch.float64, requires_grad=True)
    drawn = mix(4, 3, (4, 4))
    assert torch.autograd.gradcheck(lambda t: CutMix().apply(t, drawn)[0], (x,))
    assert torch.autograd.gradgradcheck(lambda t: CutMix().apply(t, drawn)[0].pow(3), (x,))


def test_a_mix_follows_the_images_to_their_device() -> None:
    mixed, partner, _ = CutMix().apply(X.to("meta"), mix(3))
    assert {mixed.device.type, partner.device.type} == {"meta"}


def test_a_mix_of_other_images_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^augment: a mix was drawn for 5 images, got 6$"):
        CutMix().apply(X, mix(0, 5))
    with pytest.raises(ValueError, match=r"^augment: a mix was drawn for images of \(8, 10\), got \(7, 10\)$"):
        CutMix().apply(X, mix(0, 6, (8, 10)))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^augment: cutmix probability must be from 0 to 1, got 1.5$"):
        CutMix(1.5)
    with pytest.raises(ValueError, match=r"^augment: cutmix beta must be above 0 and finite, got 0$"):
        CutMix(0.5, 0)
    with pytest.raises(ValueError, match=r"^augment: count must be at least 1, got 0$"):
        CutMix().draw(0, SIZE, generator())
