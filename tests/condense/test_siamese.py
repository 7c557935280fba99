"""Siamese pairs: one draw for both, and steps on [0, 1] pixels that are the steps on normalised ones."""

from dataclasses import replace

import pytest
import torch

from augment import Policy
from yoco.condense.method import Task
from yoco.condense.siamese import one_draw, siamese, stepped_normalised
from yoco.data import Source, Splits
from yoco.data.source import Batch
from yoco.rng import Rng


@pytest.fixture
def colourful() -> Task:
    images = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    source = Source("colourful", images, torch.arange(2).repeat(3), ("a", "b"))
    return Task(replace(source, mean=(0.5, 0.4, 0.3), std=(0.2, 0.1, 0.4)), 1, "convnet:width=4,depth=2")


@pytest.mark.parametrize("flavour", ["dsa", "idc"])
def test_both_batches_see_one_draw(tiny: Splits, flavour: str) -> None:
    task = Task(tiny.train, 1)
    batch, policy = task.draw(0, 4, Rng(0)), Policy("color_crop_cutout", flavour)
    left, right = siamese(task, policy, batch, batch, Rng(3))
    assert torch.equal(left.images, right.images)
    assert not torch.equal(left.images, task.normalise(batch.images))
    assert torch.equal(right.labels, batch.labels)


def test_images_that_are_not_square_are_turned_rigidly() -> None:
    pixels = torch.randint(0, 256, (6, 1, 8, 12), dtype=torch.uint8, generator=Rng(0).generator())
    task = Task(Source("wide", pixels, torch.arange(2).repeat(3), ("a", "b")), 1)
    batch, policy = task.draw(0, 2, Rng(0)), Policy("rotate", "dsa")
    left, _ = siamese(task, policy, batch, batch, Rng(3))
    both = task.normalise(torch.cat([batch.images] * 2))
    assert torch.equal(left.images, policy(both, policy.draw(1, (8, 12), Rng(3).generator()))[:2])


def test_one_draw_is_for_any_number_of_batches(tiny: Splits) -> None:
    task = Task(tiny.train, 1)
    first, second, policy = task.draw(0, 4, Rng(0)), task.draw(1, 3, Rng(1)), Policy("color_crop_cutout", "idc")
    see = one_draw(task, policy, (8, 8), Rng(3))
    for mine, theirs in zip((see(first), see(second)), siamese(task, policy, first, second, Rng(3)), strict=True):
        torch.testing.assert_close(mine.images, theirs.images)
        assert torch.equal(mine.labels, theirs.labels)
    assert not torch.allclose(see(first).images, one_draw(task, policy, (8, 8), Rng(4))(first).images)


def test_without_augmentation_images_are_only_normalised(tiny: Splits) -> None:
    task = Task(tiny.train, 1)
    real, other = task.draw(0, 4, Rng(0)), task.draw(1, 2, Rng(1))
    left, right = siamese(task, Policy(""), real, other, Rng(3))
    assert torch.equal(left.images, task.normalise(real.images))
    assert torch.equal(right.images, task.normalise(other.images))


def test_steps_equal_those_of_normalised_pixels(colourful: Task) -> None:
    """Three steps of SGD with momentum, on pixels in [0, 1] here and on normalised ones there, end at one place."""
    normalise = colourful.normalise
    pixels = colourful.draw(0, 2, Rng(0)).images.double().requires_grad_()
    target = torch.rand(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    learned = normalise(pixels.detach()).requires_grad_()
    ours = torch.optim.SGD([pixels], lr=0.2, momentum=0.5)
    theirs = torch.optim.SGD([learned], lr=0.2, momentum=0.5)
    for _ in range(3):
        batch = stepped_normalised(colourful, Batch(pixels, torch.zeros(2)))
        (pixels.grad,) = torch.autograd.grad((normalise(batch.images) - target).pow(4).sum(), pixels)
        (learned.grad,) = torch.autograd.grad((learned - target).pow(4).sum(), learned)
        ours.step()
        theirs.step()
    torch.testing.assert_close(normalise(pixels.detach()), learned.detach(), rtol=1e-12, atol=1e-12)


def test_the_pixels_handed_in_keep_their_own_gradient(colourful: Task) -> None:
    pixels = torch.ones(1, 3, 2, 2, requires_grad=True)
    batch = stepped_normalised(colourful, Batch(pixels, torch.zeros(1)))
    assert torch.equal(batch.images, pixels)
    (gradient,) = torch.autograd.grad(batch.images.sum() + pixels.sum(), pixels)
    expected = (1 + torch.tensor([0.2, 0.1, 0.4]).square())[:, None, None].expand(3, 2, 2)
    torch.testing.assert_close(gradient[0], expected)


def test_images_that_learn_nothing_pass(colourful: Task) -> None:
    batch = colourful.draw(0, 2, Rng(0))
    assert torch.equal(stepped_normalised(colourful, batch).images, batch.images)
