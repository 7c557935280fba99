"""IDC: its published settings, its image step, and what it draws."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from augment import Policy
from yoco.condense import settings_of
from yoco.condense.inner_steps import SETTINGS
from yoco.condense.matching import gradient_distance
from yoco.condense.method import Task
from yoco.condense.methods.idc import IDC
from yoco.condense.siamese import siamese
from yoco.data import Source, Splits
from yoco.rng import Rng
from yoco.train import Recipe


def black(side: int, per_class: int) -> Source:
    images = torch.zeros(2 * per_class, 1, side, side, dtype=torch.uint8)
    return Source("black", images, torch.arange(2).repeat(per_class), ("a", "b"))


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, "convnet:width=8,depth=2")


@pytest.fixture
def method() -> IDC:
    return IDC(episodes=3, inner=2, network_images=64, real_batch=8, metric="l1", lr_image=1e-2, reference_side=8)


@pytest.mark.parametrize(
    ("data", "metric", "lr", "images", "side", "factor"),
    [
        ("cifar10", "mse", 5e-3, 2000, 32, 2),
        ("cifar100", "mse", 5e-3, 2000, 32, 2),
        ("svhn", "mse", 5e-3, 500, 32, 2),
        ("mnist", "l1", 1e-4, 500, 28, 2),
        ("fashion-mnist", "l1", 1e-4, 500, 32, 2),
        ("imagenet-10", "l1", 3e-3, 500, 224, 3),
        ("imagenet-100", "l1", 1e-3, 500, 224, 3),
    ],
)
def test_published_table(data: str, metric: str, lr: float, images: int, side: int, factor: int) -> None:
    settings = IDC.published(data, 10)
    assert (settings.metric, settings.lr_image, settings.network_images) == (metric, lr, images)
    assert (settings.reference_side, settings.factor, settings.inner) == (side, factor, 100)
    assert (settings.real_batch, settings.synthetic_batch) == (128 if data == "imagenet-100" else 64, 128)
    assert settings.momentum_image == 0.5
    assert settings.episodes == (50_000 if "imagenet" in data else 200_000)


@pytest.mark.parametrize(
    ("data", "cutmix", "lr", "decay"),
    [
        ("cifar10", 0.5, 0.01, 5e-4),
        ("mnist", 0.0, 0.01, 5e-4),
        ("fashion-mnist", 0.5, 0.01, 5e-4),
        ("imagenet-10", 0.5, 0.01, 5e-4),
        ("imagenet-100", 0.5, 0.1, 1e-4),
    ],
)
def test_published_training_of_networks(task: Task, data: str, cutmix: float, lr: float, decay: float) -> None:
    settings, policy = IDC.published(data, 10), Policy("color_crop", "idc")
    expected = Recipe(epochs=1, batch=64, lr=lr, momentum=0.9, weight_decay=decay, augment=policy, cutmix=cutmix)
    assert settings.recipe() == settings.memory(task, Rng(0)).recipe == expected


def test_networks_are_trained_first_for_imagenet_alone() -> None:
    names = ("cifar10", "cifar100", "svhn", "mnist", "fashion-mnist", "imagenet-10", "imagenet-100")
    assert [IDC.published(data, 10).pretrain for data in names] == [0, 0, 0, 0, 0, 10, 5]


def test_mnist_mixes_nothing_and_fashion_does() -> None:
    assert (IDC.published("mnist", 10).cutmix, IDC.published("mnist", 10).augment) == (0.0, "color_crop")
    assert (IDC.published("fashion-mnist", 1).cutmix, IDC.published("fashion-mnist", 1).augment) == (
        0.5,
        "color_crop_cutout",
    )


@pytest.mark.parametrize(
    ("shape", "like"), [((1, 20, 20), "fashion-mnist"), ((3, 48, 48), "cifar10"), ((3, 224, 224), "imagenet-10")]
)
def test_unknown_data_take_the_nearest_settings(shape: tuple[int, int, int], like: str) -> None:
    assert IDC.published("my-photos", 10, shape) == IDC(**SETTINGS[like])


@pytest.mark.parametrize(
    ("data", "ipc", "side", "expected"),
    [
        ("cifar10", 10, 32, 5e-3),
        ("cifar10", 1, 32, 5e-4),
        ("mnist", 10, 28, 1e-4),
        ("fashion-mnist", 10, 28, 1e-4 * (28 / 32) ** 2),
        ("fashion-mnist", 50, 28, 5e-4 * (28 / 32) ** 2),
    ],
)
def test_image_step_size_follows_ipc_and_area(data: str, ipc: int, side: int, expected: float) -> None:
    settings = IDC.published(data, ipc)
    optimizer = settings.optimizer(settings.synthetic(Task(black(side, 50), ipc), Rng(0)))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-12)
    assert optimizer.param_groups[0]["momentum"] == 0.5


def test_momentum_is_shared_and_goes_on_for_other_classes(task: Task, method: IDC) -> None:
    """While class 1 is updated, class 0 moves on by its decaying momentum; class 2 has none yet."""
    synthetic = method.synthetic(task, Rng(0))
    optimizer = method.optimizer(synthetic)
    memory = method.memory(task, Rng(1))
    episode = method.episode(task, synthetic, memory, Rng(2))
    k, lr = synthetic.per_class, optimizer.param_groups[0]["lr"]

    before = synthetic.cells.detach().clone()
    synthetic.take_gradient(next(episode))
    first = synthetic.cells.grad[:k].clone()  # type: ignore[index]
    optimizer.step()
    after = synthetic.cells.detach().clone()
    torch.testing.assert_close(after[:k], before[:k] - lr * first)
    assert torch.equal(after[k:], before[k:])

    synthetic.take_gradient(next(episode))
    second = synthetic.cells.grad.clone()  # type: ignore[union-attr]
    assert (second[:k] == 0).all()
    optimizer.step()
    torch.testing.assert_close(synthetic.cells.detach()[:k], after[:k] - lr * 0.5 * first)
    torch.testing.assert_close(synthetic.cells.detach()[k : 2 * k], after[k : 2 * k] - lr * second[k : 2 * k])
    assert torch.equal(synthetic.cells.detach()[2 * k :], after[2 * k :])


def test_one_update_is_the_distance_of_jointly_augmented_batches(task: Task, method: IDC) -> None:
    synthetic, memory, rng = method.synthetic(task, Rng(0)), method.memory(task, Rng(1)), Rng(2)
    loss = next(method.episode(task, synthetic, memory, rng))
    real = task.draw(0, 8, rng.child("real", 0))
    assert set(real.labels.tolist()) == {0}
    fresh = task.network(rng.child("network"))
    policy = Policy(method.augment, "idc")
    real, cells = siamese(task, policy, real, synthetic.of(0), rng.child("augment", 0))
    assert loss.item() == gradient_distance(fresh, real, cells, "l1").item()


def test_more_cells_than_the_limit_are_a_random_choice(task: Task, method: IDC) -> None:
    """Eight cells of a class, of which three are decoded, matched and moved."""
    few, rng = replace(method, synthetic_batch=3), Rng(2)
    synthetic, network, real = few.synthetic(task, Rng(0)), task.network(Rng(1)), task.draw(1, 8, Rng(3))
    loss = few.distance(task, network, real, synthetic, 1, rng)
    cells = synthetic.of(1, 3, rng.child("cells", 1))
    pair = siamese(task, Policy(few.augment, "idc"), real, cells, rng.child("augment", 1))
    assert loss.item() == gradient_distance(network, *pair, "l1").item()
    synthetic.take_gradient(loss)
    assert synthetic.cells.grad is not None
    assert synthetic.cells.grad.flatten(1).any(1).view(3, 8).sum(1).tolist() == [0, 3, 0]


def test_siamese_augmentation_is_one_draw_for_both(task: Task, method: IDC) -> None:
    batch = task.draw(0, 4, Rng(0))
    left, right = siamese(task, Policy(method.augment, "idc"), batch, batch, Rng(3))
    assert torch.equal(left.images, right.images)
    assert not torch.equal(left.images, task.normalise(batch.images))


def test_network_is_replaced_and_pixels_clamped_every_inner_steps(task: Task, method: IDC) -> None:
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    networks, highest = [], []
    for k in range(4):
        with torch.no_grad():
            synthetic.cells[0] = 2.0
        list(method.episode(task, synthetic, memory, Rng(2).child(k)))
        networks.append(memory.network)
        highest.append(synthetic.cells.max().item())
    assert networks[0] is networks[1]
    assert networks[1] is not networks[2]
    assert networks[2] is networks[3]
    assert [value > 1 for value in highest] == [False, True, False, True]


def test_pretraining_counts_epochs(task: Task, method: IDC) -> None:
    steps: list[int] = []
    memory = method.memory(task, Rng(1))
    memory.learn = lambda count, rng: steps.append(count)  # type: ignore[method-assign]
    pretrained = replace(method, pretrain=2)
    list(pretrained.episode(task, method.synthetic(task, Rng(0)), memory, Rng(2)))
    assert steps == [-(-2 * len(task.real) // 64), 1]


def test_five_hundred_images_are_eight_batches(task: Task) -> None:
    steps: list[int] = []
    settings = IDC.published("fashion-mnist", 2)
    memory = settings.memory(task, Rng(1))
    memory.learn = lambda count, rng: steps.append(count)  # type: ignore[method-assign]
    list(settings.episode(task, settings.synthetic(task, Rng(0)), memory, Rng(2)))
    assert steps == [0, 8]


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="setting of idc: unknown name 'factr'; did you mean 'factor'"):
        settings_of("idc", "digits", 1, None, factr=3)
    with pytest.raises(ValueError, match="method: unknown name 'idcc'; did you mean 'idc'"):
        settings_of("idcc", "digits", 1, None)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"metric": "l2"}, "metric must be one of mse, l1, got 'l2'"),
        ({"inner": 0}, "inner must be at least 1, got 0"),
        ({"augment": "color_crup"}, "unknown word 'crup'; did you mean 'crop'"),
        ({"episodes": -1}, "episodes must be at least 0, got -1"),
    ],
)
def test_impossible_settings(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings_of("idc", "digits", 1, None, **setting)


@pytest.mark.parametrize(("ipc", "message"), [(0, "ipc must be at least 1, got 0"), (10_000, "smallest class")])
def test_impossible_sizes(tiny: Splits, ipc: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Task(tiny.train, ipc)
