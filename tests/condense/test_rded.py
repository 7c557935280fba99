"""RDED and random crops: against literal versions, and the order of classes that a teacher's labels stand in."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

import yoco
from yoco.cells import upsample
from yoco.condense import condense, estimate, settings_of
from yoco.condense.crops import by_products, random_crops
from yoco.condense.method import Task
from yoco.condense.methods.rded import RDED
from yoco.condense.teacher import Teacher
from yoco.data import Splits
from yoco.rng import Rng

NETWORK = "convnet:width=8,depth=2"


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, NETWORK)


def run(tiny: Splits, **changes: Any) -> yoco.CondensedSet:
    options: dict[str, Any] = {"ipc": 2, "network": NETWORK, "progress": False, "episodes": 10, **changes}
    return condense(tiny, "rded", **options)


@pytest.fixture
def teacher(task: Task) -> Teacher:
    learner = RDED(episodes=10).memory(task, Rng(1))
    assert learner is not None
    for _ in range(10):
        learner.learn()
    return learner


def test_crops_are_parts_of_their_image_resized() -> None:
    images = torch.rand(3, 2, 8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, rng = random_crops(images, 2, (4, 3), 0.25, Rng(4)), Rng(4)
    assert found.shape == (3, 2, 2, 4, 3)
    draws = torch.rand(3, 2, 3, generator=rng.generator(), dtype=torch.float64).numpy()
    for i in range(3):
        for j in range(2):
            side = np.sqrt(0.25 + 0.75 * draws[i, j, 0])
            h, w = round(side * 8), round(side * 6)
            top, left = (int(np.floor(u * (room + 1))) for u, room in zip(draws[i, j, 1:], (8 - h, 6 - w), strict=True))
            part = images[i : i + 1, :, top : top + h, left : left + w]
            assert part.shape[-2:] == (h, w)
            expected = interpolate(part, (4, 3), mode="bilinear", antialias=True)[0]
            torch.testing.assert_close(found[i, j], expected)


def test_crops_of_the_whole_area_are_the_images() -> None:
    images = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(random_crops(images, 3, (8, 8), 1.0, Rng(0)), images[:, None].expand(2, 3, 1, 8, 8))


def test_crops_of_a_small_share_stay_on_the_image() -> None:
    images = torch.arange(9.0).reshape(1, 1, 3, 3)
    crops = random_crops(images, 200, (1, 1), 1e-6, Rng(0)).flatten()
    assert set(crops.tolist()) == set(map(float, range(9)))  # all pixels, those at the border, too


@pytest.mark.parametrize("sides", [(8, 6), (5, 9), (1, 11)])
@pytest.mark.parametrize("size", [(4, 3), (6, 13), (20, 7)])
def test_learned_images_are_resized_as_others_with_the_same_gradients(
    sides: tuple[int, int], size: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, *sides, generator=generator).requires_grad_()
    ours, theirs = by_products(images, size), interpolate(images, size, mode="bilinear", antialias=True)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    wanted = torch.rand(ours.shape, generator=generator)
    mine, plain = (torch.autograd.grad((made * wanted).sum(), images)[0] for made in (ours, theirs))
    torch.testing.assert_close(mine, plain, rtol=1e-5, atol=1e-5)


def test_on_cuda_no_gradient_goes_through_torchs_antialiasing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not the same bits again there."""

    def only_constants(images: torch.Tensor, *given: Any, **how: Any) -> torch.Tensor:
        assert not images.requires_grad
        return interpolate(images, *given, **how)

    monkeypatch.setattr("yoco.condense.crops.interpolate", only_constants)
    images = torch.rand(2, 1, 8, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with pytest.raises(AssertionError):
        random_crops(images, 3, (8, 6), 0.25, Rng(0))
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    found = random_crops(images, 3, (8, 6), 0.25, Rng(0))
    assert found.requires_grad
    plain = random_crops(images.detach(), 3, (8, 6), 0.25, Rng(0))
    torch.testing.assert_close(found.detach(), plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize("factor", [1, 2])
def test_the_easiest_crops_are_the_literal_ones(task: Task, teacher: Teacher, factor: int) -> None:
    """For each image its crop of least cross-entropy, of these the lowest, easiest first: no image twice."""
    method, rng = RDED(episodes=10, factor=factor, pool=12, crops=3), Rng(5)
    found = method.easiest(task, teacher, 1, rng)
    pool = task.draw(1, 12, rng.child("pool")).images
    crops = random_crops(pool, 3, (8 // factor, 8 // factor), 0.08, rng.child("crops"))
    best = []
    for image in range(12):
        losses = []
        for crop in range(3):
            row = teacher.logits(upsample(crops[image, crop][None], (8, 8)))[0].double().numpy()
            losses.append(np.log(np.exp(row).sum()) - row[1])
        best.append((min(losses), image, int(np.argmin(losses))))
    chosen = [crops[image, crop] for _, image, crop in sorted(best)[: 2 * factor**2]]
    torch.testing.assert_close(found, torch.stack(chosen))


def test_tiles_that_stick_out_of_the_canvas_are_padded(task: Task, teacher: Teacher) -> None:
    cells = RDED(episodes=10, factor=3).easiest(task, teacher, 0, Rng(0))  # 8 pixels: tiles of 3, 3 and 2
    assert cells.shape == (18, 1, 3, 3)
    assert (cells[-1, :, 2:] == 0.5).all()
    assert (cells[-1, :, :, 2:] == 0.5).all()


def test_a_class_with_fewer_images_than_cells_gives_crops_again(tiny: Splits, teacher: Teacher) -> None:
    few = tiny.train.take(torch.cat([members[:3] for members in tiny.train.by_class]))
    cells = RDED(episodes=10, factor=2).easiest(Task(few, 2, NETWORK), teacher, 0, Rng(0))
    assert torch.equal(cells[:3], cells[3:6])


def test_labels_are_the_softmax_of_the_teacher_on_the_decoded_cells(task: Task) -> None:
    method = RDED(episodes=1, factor=2, pool=8, temperature=2.0)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    assert memory is not None
    assert list(method.episode(task, synthetic, memory, Rng(2))) == []
    logits = memory.logits(upsample(synthetic.cells.detach(), (8, 8))).double().numpy() / 2
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = synthetic.soft_labels()
    assert labels is not None
    np.testing.assert_allclose(labels.detach().numpy(), expected, rtol=1e-5)


def test_classes_stand_in_the_order_of_the_set(tiny: Splits) -> None:
    """The trap of a folder sorted otherwise than the teacher learned: labels, images and soft labels must agree."""
    made = run(tiny)
    assert made.soft_labels is not None
    assert made.classes == tiny.train.classes
    assert torch.equal(made.soft_labels.argmax(1), made.labels)
    means = torch.stack([tiny.train.batch(members).images.mean(0) for members in tiny.train.by_class])
    whole = run(tiny, least=1.0, ipc=5)
    near = (whole.cells[:, None] - means).square().sum((2, 3, 4)).argmin(1)
    assert float((near == whole.labels).float().mean()) > 0.9


def test_hard_labels_leave_no_soft_ones(tiny: Splits) -> None:
    assert run(tiny, labels="hard").soft_labels is None
    assert torch.equal(run(tiny, labels="hard").cells, run(tiny).cells)


def test_a_run_that_ends_early_has_random_images_with_hard_labels(tiny: Splits) -> None:
    made = run(tiny, episodes=0)
    assert made.soft_labels is not None
    assert torch.equal(made.soft_labels, torch.eye(3)[made.labels])


def test_published_settings() -> None:
    cifar, large = RDED.published("cifar10", 10, (3, 32, 32)), RDED.published("imagenet-10", 10, (3, 224, 224))
    assert (cifar.factor, cifar.pool, cifar.crops, cifar.least, cifar.labels) == (1, 300, 5, 0.08, "teacher")
    assert (cifar.episodes, cifar.lr_teacher, cifar.temperature) == (100, 0.1, 1.0)
    assert large.factor == 2
    assert [RDED.published("mine", 10, (3, side, side)).factor for side in (64, 65)] == [1, 2]
    assert RDED.published("digits", 10, (1, 8, 8)).episodes == 30


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"pool": 0}, "rded: pool must be at least 1, got 0"),
        ({"crops": 0}, "rded: crops must be at least 1, got 0"),
        ({"least": 0.0}, "rded: least must be above 0 and at most 1, got 0"),
        ({"labels": "learned"}, "rded: labels must be teacher or hard, got 'learned'"),
        ({"temperature": 0.0}, "rded: temperature must be above 0, got 0"),
        ({"lr_teacher": -1.0}, "rded: lr_teacher must be above 0, got -1"),
    ],
)
def test_impossible_settings(setting: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}$"):
        settings_of("rded", "digits", 1, None, **setting)


def test_the_teacher_learns_at_its_own_step_size(task: Task) -> None:
    teacher = RDED(episodes=2, lr_teacher=0.5).memory(task, Rng(0))
    assert teacher is not None
    assert (teacher.recipe.lr, teacher.recipe.epochs) == (0.5, 2)


def test_the_pool_grows_with_the_cells(task: Task, teacher: Teacher) -> None:
    cells = RDED(episodes=10, factor=2, pool=3, crops=2, least=0.5).easiest(task, teacher, 1, Rng(5))
    assert len(torch.unique(cells, dim=0)) == 8


@pytest.mark.parametrize(("episodes", "parts"), [(0, [0]), (1, [1]), (2, [1, 1]), (10, [9, 1])])
def test_estimates_measure_the_choice(task: Task, episodes: int, parts: list[int]) -> None:
    assert [phase.episodes for phase in RDED(episodes=episodes).phases(task)] == parts


@pytest.mark.parametrize("episodes", [1, 2, 3, 10])
def test_an_estimate_chooses_once(tiny: Splits, episodes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    plain = RDED.easiest

    def easiest(self: RDED, task: Task, teacher: Teacher, label: int, rng: Rng) -> torch.Tensor:
        asked.append(label)
        return plain(self, task, teacher, label, rng)

    monkeypatch.setattr(RDED, "easiest", easiest)
    found = estimate(tiny, "rded", ipc=2, network=NETWORK, episodes=episodes, device="cpu")
    assert asked == [0, 1, 2]
    assert found.episodes == episodes
