"""Kornia's modules as ops: fixed draws, safe replays, refusals."""

from collections.abc import Callable

import kornia.augmentation as kornia
import pytest
import torch
from torch import Tensor, nn

from augment import Brightness, Flip, KorniaOp, Rotate

SIZE = (12, 10)
MODULES: dict[str, Callable[[float], nn.Module]] = {
    "flip": lambda p: kornia.RandomHorizontalFlip(p=p),
    "upside down": lambda p: kornia.RandomVerticalFlip(p=p),
    "affine": lambda p: kornia.RandomAffine(20.0, (0.1, 0.1), (0.8, 1.2), p=p),
    "erasing": lambda p: kornia.RandomErasing(p=p),
    "blur": lambda p: kornia.RandomGaussianBlur((3, 3), (0.1, 2.0), p=p),
    "jitter": lambda p: kornia.ColorJiggle(0.2, 0.2, 0.2, 0.2, p=p),
    "part": lambda p: kornia.RandomResizedCrop(SIZE, p=p),
}
EVERY = pytest.mark.parametrize("name", MODULES)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 4, channels: int = 3) -> Tensor:
    return torch.rand(n, channels, *SIZE, generator=generator(5))


@EVERY
@pytest.mark.parametrize("count", [1, 4])
def test_draws_and_replays_repeat_and_leave_the_global_generator_alone(name: str, count: int) -> None:
    op, x, before = KorniaOp(MODULES[name](0.5)), images(), torch.get_rng_state()
    first, second = (op.draw(count, SIZE, generator(3)) for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
    result = op.apply(x, first)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(1)
    assert torch.equal(result, op.apply(x, second))
    assert any(not torch.equal(result, op.apply(x, op.draw(count, SIZE, generator(seed)))) for seed in range(12))


@EVERY
@pytest.mark.parametrize("p", [0.5, 1.0])
def test_rows_for_each_image_are_what_kornia_itself_does_under_that_seed(name: str, p: float) -> None:
    module, x = MODULES[name](p), images()
    seed = int(torch.randint(2**62, (1,), generator=generator(2)))
    result = KorniaOp(module).apply(x, KorniaOp(module).draw(4, SIZE, generator(2)))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        torch.testing.assert_close(result, module(x))


@EVERY
@pytest.mark.parametrize("p", [0.5, 1.0])
def test_one_row_does_the_same_to_two_batches_as_to_both_together(name: str, p: float) -> None:
    op, real, synthetic = KorniaOp(MODULES[name](p)), images(3), images(5)
    for seed in range(4):
        params = op.draw(1, SIZE, generator(seed))
        both = op.apply(torch.cat([real, synthetic]), params)
        torch.testing.assert_close(both, torch.cat([op.apply(real, params), op.apply(synthetic, params)]))
        same = op.apply(images(1).expand(6, -1, -1, -1), params)
        torch.testing.assert_close(same, same[:1].expand_as(same))


def test_a_flip_drawn_for_one_row_is_not_forced_on_other_batch_sizes() -> None:
    op, x, seen = KorniaOp(kornia.RandomHorizontalFlip(p=0.5)), images(5), set()
    for seed in range(12):
        params = op.draw(1, SIZE, generator(seed))
        flipped = bool(params["batch_prob"][0] > 0.5)
        assert torch.equal(op.apply(x, params), x.flip(3) if flipped else x)
        seen.add(flipped)
    assert seen == {False, True}


@EVERY
@pytest.mark.parametrize("count", [2, 3, 5])
def test_other_numbers_of_rows_are_refused(name: str, count: int) -> None:
    op = KorniaOp(MODULES[name](1.0))
    with pytest.raises(ValueError, match=rf"^augment: parameters must have 1 or 4 rows, got {count}$"):
        op.apply(images(), op.draw(count, SIZE, generator()))


@pytest.mark.parametrize("name", ["flip", "affine", "blur"])
@pytest.mark.parametrize("count", [1, 3])
def test_gradients_of_the_second_order(name: str, count: int) -> None:
    op = KorniaOp(MODULES[name](1.0))
    x = images(3, 1)[..., :6, :5].double().requires_grad_()
    params = op.draw(count, (6, 5), generator())
    assert torch.autograd.gradgradcheck(lambda t: op.apply(t, params).pow(3), (x,), fast_mode=True)


@pytest.mark.parametrize("name", ["flip", "affine", "erasing", "blur"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_dtype_and_channels(name: str, channels: int, dtype: torch.dtype) -> None:
    op, x = KorniaOp(MODULES[name](1.0)), images(4, channels).to(dtype)
    for count in (1, 4):
        result = op.apply(x, op.draw(count, SIZE, generator()))
        assert (result.dtype, result.shape) == (dtype, x.shape)


def test_kornia_agrees_with_our_flip_brightness_and_rotation() -> None:
    x = images()
    flip = KorniaOp(kornia.RandomHorizontalFlip(p=0.5))
    drawn = flip.draw(4, SIZE, generator())
    assert torch.equal(flip.apply(x, drawn), Flip().apply(x, {"flip": drawn["batch_prob"] > 0.5}))
    bright = KorniaOp(kornia.RandomBrightness((0.5, 1.5), clip_output=False, p=1.0))
    drawn = bright.draw(4, SIZE, generator())
    shift = drawn["brightness_factor"] - 1
    torch.testing.assert_close(bright.apply(x, drawn), Brightness().apply(x, {"shift": shift}))
    turn = KorniaOp(kornia.RandomRotation(15.0, align_corners=False, p=1.0))
    square = x[..., :10, :]
    drawn = turn.draw(4, (10, 10), generator())
    angle, zero = torch.deg2rad(drawn["degrees"]), torch.zeros(4)
    maps = torch.stack([angle.cos(), -angle.sin(), zero, angle.sin(), angle.cos(), zero], 1).view(4, 2, 3)
    torch.testing.assert_close(turn.apply(square, drawn), Rotate().apply(square, {"map": maps}), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "module", [kornia.RandomPlasmaBrightness, kornia.RandomPlasmaContrast, kornia.RandomPlasmaShadow]
)
def test_modules_that_draw_while_applied_are_refused(module: type[nn.Module]) -> None:
    rule = f"^augment: {module.__name__} draws random numbers while it is applied, so it cannot be replayed$"
    with pytest.raises(ValueError, match=rule):
        KorniaOp(module())


def test_subclasses_of_refused_modules_are_refused_by_their_own_name() -> None:
    class Shade(kornia.RandomPlasmaShadow):
        pass

    class RandomDissolving(kornia.RandomHorizontalFlip):
        pass

    for module in (Shade(), RandomDissolving()):
        with pytest.raises(
            ValueError, match=rf"^augment: {type(module).__name__} draws random numbers while it is applied"
        ):
            KorniaOp(module)


def test_a_module_that_draws_unexpectedly_is_refused_when_it_does() -> None:
    class Late(kornia.RandomHorizontalFlip):
        def apply_transform(self, x: Tensor, *rest: object, **more: object) -> Tensor:
            return x + torch.rand(1)

    op, before = KorniaOp(Late(p=1.0)), torch.get_rng_state()
    with pytest.raises(
        ValueError, match=r"^augment: Late draws random numbers while it is applied, so it cannot be replayed$"
    ):
        op.apply(images(), op.draw(1, SIZE, generator()))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "module",
    [
        nn.Identity(),
        kornia.AugmentationSequential(kornia.RandomHorizontalFlip(), data_keys=["input"]),
        kornia.RandomMixUpV2(),
    ],
)
def test_what_is_not_one_2d_augmentation_is_refused(module: nn.Module) -> None:
    rule = f"^augment: KorniaOp takes one 2D augmentation of kornia, got {type(module).__name__}$"
    with pytest.raises(ValueError, match=rule):
        KorniaOp(module)


def test_a_module_that_numbers_the_images_of_its_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^augment: RandomChannelDropout stores image indices of its own batch"):
        KorniaOp(kornia.RandomChannelDropout())


@pytest.mark.parametrize("name", ["RandomChannelShuffle", "RandomGaussianNoise", "RandomSaltAndPepperNoise"])
def test_modules_that_draw_by_channel_must_know_the_channels(name: str) -> None:
    module = getattr(kornia, name)(p=1.0)
    with pytest.raises(
        ValueError, match=rf"^augment: {name} needs the channels of the images, got None; pass channels=3$"
    ):
        KorniaOp(module)
    op, x = KorniaOp(module, 3), images()
    for count in (1, 4):
        assert op.apply(x, op.draw(count, SIZE, generator())).shape == x.shape
    with pytest.raises(ValueError, match=r"^augment: images must have 3 channels, got 1$"):
        op.apply(x[:, :1], op.draw(1, SIZE, generator()))


def test_no_rows_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match=r"^augment: count must be at least 1, got 0$"):
        KorniaOp(kornia.RandomHorizontalFlip()).draw(0, SIZE, generator())
