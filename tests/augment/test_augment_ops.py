"""What every op of the table keeps to, whatever it does."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import augment
from augment import OPS, Op, Params, ResizedCrop

SIZE = (6, 5)
EVERY = pytest.mark.parametrize("word", [*OPS, "resized crop"])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def op_of(word: str) -> Op:
    if word == "resized crop":
        return ResizedCrop(0.3)
    return OPS[word](0.3) if word in ("crop", "translate") else OPS[word](1.5 if word == "scale" else 0.5)


def images(n: int = 4, channels: int = 3, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normalised pixels: far outside [0, 1] on both sides."""
    return (3 * torch.randn(n, channels, *SIZE, generator=generator(7), dtype=torch.float64)).to(dtype)


def equal(a: Params, b: Params) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@EVERY
def test_the_same_seed_draws_the_same_and_another_does_not(word: str) -> None:
    op = op_of(word)
    assert equal(op.draw(20, SIZE, generator()), op.draw(20, SIZE, generator()))
    assert not equal(op.draw(20, SIZE, generator()), op.draw(20, SIZE, generator(1)))


@EVERY
@pytest.mark.parametrize("count", [1, 4])
def test_parameters_have_as_many_rows_as_drawn_and_lie_on_the_cpu(word: str, count: int) -> None:
    for value in op_of(word).draw(count, SIZE, generator()).values():
        assert len(value) == count
        assert value.device.type == "cpu"


@EVERY
def test_rows_of_one_draw_differ(word: str) -> None:
    params = op_of(word).draw(20, SIZE, generator())
    assert any(len(value.unique(dim=0)) > 1 for value in params.values())


@EVERY
def test_each_image_follows_its_own_row(word: str) -> None:
    op, x = op_of(word), images(8)
    params = op.draw(8, SIZE, generator())
    alone = [op.apply(x[i : i + 1], {name: value[i : i + 1] for name, value in params.items()}) for i in range(8)]
    torch.testing.assert_close(op.apply(x, params), torch.cat(alone), rtol=1e-12, atol=1e-12)


@EVERY
def test_one_row_does_the_same_to_two_batches_as_to_both_together(word: str) -> None:
    op, real, cells = op_of(word), images(5), images(3).flip(0) + 1
    for seed in range(4):
        params = op.draw(1, SIZE, generator(seed))
        both = op.apply(torch.cat([real, cells]), params)
        assert torch.equal(both, torch.cat([op.apply(real, params), op.apply(cells, params)]))


@EVERY
def test_one_row_is_that_row_for_every_image(word: str) -> None:
    op, x = op_of(word), images(3)
    params = op.draw(1, SIZE, generator(2))
    repeated = {name: value.expand(3, *value.shape[1:]) for name, value in params.items()}
    torch.testing.assert_close(op.apply(x, params), op.apply(x, repeated), rtol=1e-12, atol=1e-12)


@EVERY
def test_applying_leaves_the_images_and_the_parameters_as_they_were(word: str) -> None:
    op, x = op_of(word), images()
    params = op.draw(4, SIZE, generator())
    kept, before = x.clone(), {name: value.clone() for name, value in params.items()}
    first = op.apply(x, params)
    assert torch.equal(first, op.apply(x, params))
    assert torch.equal(x, kept)
    assert equal(params, before)


@EVERY
@pytest.mark.parametrize("count", [1, 3])
def test_gradients_of_the_first_and_second_order(word: str, count: int) -> None:
    op, x = op_of(word), images(3, 2).requires_grad_()
    params = op.draw(count, SIZE, generator(3))
    assert torch.autograd.gradcheck(lambda t: op.apply(t, params), (x,))
    assert torch.autograd.gradgradcheck(lambda t: op.apply(t, params).pow(3), (x,), fast_mode=True)


@EVERY
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.float64, 1e-12), (torch.bfloat16, 0.15)])
@pytest.mark.parametrize("count", [1, 4])
def test_any_channels_and_dtypes(word: str, channels: int, dtype: torch.dtype, near: float, count: int) -> None:
    op, x = op_of(word), images(4, channels, dtype)
    params = op.draw(count, SIZE, generator())
    result = op.apply(x, params)
    assert (result.dtype, result.shape) == (dtype, x.shape)
    torch.testing.assert_close(result.double(), op.apply(x.double(), params), rtol=0.02, atol=near)


@EVERY
@pytest.mark.parametrize("count", [1, 4])
def test_parameters_follow_the_images_to_their_device(word: str, count: int) -> None:
    op = op_of(word)
    result = op.apply(images().to("meta"), op.draw(count, SIZE, generator()))
    assert (result.device.type, result.shape) == ("meta", (4, 3, *SIZE))


@EVERY
def test_pixels_are_never_cut_to_a_range(word: str) -> None:
    op, x = op_of(word), images(50)
    result = op.apply(x, op.draw(1, SIZE, generator()))
    assert result.min() < -1
    assert result.max() > 2


@EVERY
def test_the_global_generator_is_left_alone(word: str) -> None:
    op, before = op_of(word), torch.get_rng_state()
    op.apply(images(), op.draw(4, SIZE, generator()))
    assert torch.equal(before, torch.get_rng_state())


@EVERY
@pytest.mark.parametrize("count", [2, 5])
def test_other_numbers_of_rows_are_refused(word: str, count: int) -> None:
    op = op_of(word)
    with pytest.raises(ValueError, match=rf"^augment: parameters must have 1 or 4 rows, got {count}$"):
        op.apply(images(), op.draw(count, SIZE, generator()))


@EVERY
def test_no_rows_cannot_be_drawn(word: str) -> None:
    with pytest.raises(ValueError, match=r"^augment: count must be at least 1, got 0$"):
        op_of(word).draw(0, SIZE, generator())


@pytest.mark.parametrize(
    ("word", "magnitude", "rule"),
    [
        ("brightness", -0.1, "at least 0 and finite"),
        ("saturation", float("inf"), "at least 0 and finite"),
        ("contrast", float("nan"), "at least 0 and finite"),
        ("flip", 1.5, "from 0 to 1"),
        ("crop", 2, "from 0 to 1"),
        ("translate", -1, "from 0 to 1"),
        ("cutout", 1.1, "from 0 to 1"),
        ("scale", 0.9, "at least 1 and finite"),
        ("rotate", 181, "from 0 to 180"),
    ],
)
def test_magnitudes_out_of_range_are_refused(word: str, magnitude: float, rule: str) -> None:
    with pytest.raises(ValueError, match=rf"^augment: {word} must be {rule}, got {magnitude}$"):
        OPS[word](magnitude)


def test_only_torch_and_kornia_are_imported() -> None:
    roots = set()
    for file in Path(augment.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                roots |= {name.name.split(".")[0] for name in node.names}
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                roots.add((node.module or "").split(".")[0])
    assert roots - sys.stdlib_module_names <= {"augment", "torch", "kornia"}


def test_importing_draws_nothing_and_loads_no_yoco() -> None:
    code = (
        "import sys, torch; before = torch.get_rng_state(); import augment; "
        "print(torch.equal(before, torch.get_rng_state()), any(m.split('.')[0] == 'yoco' for m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
