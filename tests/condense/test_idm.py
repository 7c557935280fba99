"""IDM: its published settings, its loss, the order of its updates, and the life of its queue."""

from typing import Any

import numpy as np
import pytest
import torch

import yoco
from augment import Policy
from yoco.condense import condense, settings_of
from yoco.condense.method import Task
from yoco.condense.methods.idm import IDM, Member, Pool
from yoco.condense.siamese import siamese
from yoco.data import Splits
from yoco.data.source import Batch
from yoco.rng import Rng
from yoco.train import Recipe

NETWORK = "convnet:width=8,depth=2"
SMALL: dict[str, Any] = {
    "episodes": 4,
    "real_batch": 8,
    "network_batch": 16,
    "network_steps": 2,
    "interval": 2,
    "pool_start": 2,
    "pool_limit": 3,
}


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, NETWORK)


@pytest.mark.parametrize(
    ("data", "ipc", "weight", "steps", "interval", "batch"),
    [
        ("cifar10", 1, 0.5, 10, 5, 5000),
        ("cifar10", 10, 0.5, 10, 30, 256),
        ("cifar10", 50, 0.1, 10, 30, 256),
        ("cifar100", 1, 0.5, 10, 5, 5000),
        ("cifar100", 10, 0.1, 50, 30, 256),
        ("cifar100", 50, 0.1, 10, 30, 256),
    ],
)
def test_published_table(data: str, ipc: int, weight: float, steps: int, interval: int, batch: int) -> None:
    settings = IDM.published(data, ipc)
    assert (settings.class_weight, settings.network_steps, settings.interval) == (weight, steps, interval)
    assert settings.real_batch == batch
    assert (settings.lr_image, settings.momentum_image, settings.episodes) == (0.2, 0.5, 20_000)
    assert (settings.pool_start, settings.pool_limit, settings.trained, settings.network_batch) == (3, 100, 2, 256)
    assert settings.factor == 2


@pytest.mark.parametrize(("ipc", "like"), [(0, 1), (2, 1), (9, 1), (20, 10), (100, 50)])
def test_other_sizes_take_the_next_smaller_one(ipc: int, like: int) -> None:
    assert IDM.published("cifar100", ipc) == IDM.published("cifar100", like)


@pytest.mark.parametrize("data", ["mnist", "svhn", "digits", "kmnist", "emnist"])
def test_digits_and_letters_are_not_flipped(data: str) -> None:
    assert "flip" not in IDM.published(data, 10).augment
    assert "flip" in IDM.published("fashion-mnist", 10).augment
    if data != "digits":
        assert IDM.published(data, 10).lr_image == IDM.published("cifar10", 10).lr_image


def test_unknown_data_take_the_settings_of_cifar10() -> None:
    assert IDM.published("my-photos", 10, (3, 48, 48)) == IDM.published("cifar10", 10)


def test_at_one_image_per_class_the_batch_is_the_whole_class(task: Task) -> None:
    drawn = task.draw(0, IDM.published("cifar10", 1).real_batch, Rng(0))
    assert len(drawn.labels) == len(task.real.by_class[0])


def test_tiles_stand_row_by_row(tiny: Splits) -> None:
    """Not column by column as in IDM's code: image k of a class, shrunk, fills the visible part of its tile k.

    A canvas of 8x8 has tiles of 3x3, of which the last row and the last column show two pixels.
    """
    task = Task(tiny.train, 1, NETWORK)
    cells = IDM(factor=3).synthetic(task, Rng(0)).cells.detach().numpy()
    for label, members in enumerate(task.real.by_class):
        images = task.real.batch(members[Rng(0).child(label).choice(len(members), 9)]).images.numpy()
        for tile in range(9):
            height, width = (2 if place == 2 else 3 for place in divmod(tile, 3))
            expected = np.full((1, 3, 3), 0.5, dtype=np.float32)
            for y in range(height):
                for x in range(width):
                    expected[0, y, x] = images[tile, 0, y * 8 // height, x * 8 // width]
            np.testing.assert_array_equal(cells[9 * label + tile], expected)


def test_loss_against_numpy(task: Task) -> None:
    """Mean features under the head; cross-entropy weighted by the accuracy in PERCENT: 75, not 0.75."""
    member = Member(task, Recipe(epochs=1), Rng(0))
    member.network.double()
    member.right, member.seen = 30, 40
    generator = torch.Generator().manual_seed(0)
    real, cells = (torch.randn(n, 1, 8, 8, dtype=torch.float64, generator=generator) for n in (5, 3))
    ours = IDM(class_weight=0.5).loss(member, Batch(real, torch.ones(5).long()), Batch(cells, torch.ones(3).long()))

    features = [member.network.features(x)[-1].flatten(1).detach().numpy() for x in (real, cells)]
    distance = sum((features[0][:, j].mean() - features[1][:, j].mean()) ** 2 for j in range(features[0].shape[1]))
    weight, bias = (p.detach().numpy() for p in (member.network.head.weight, member.network.head.bias))
    entropy = 0.0
    for row in features[1]:
        logits = [float(row @ weight[c] + bias[c]) for c in range(3)]
        entropy += (np.log(sum(np.exp(z) for z in logits)) - logits[1]) / 3
    assert ours.item() == pytest.approx(distance + 0.5 * 75 * entropy, rel=1e-10)


def test_an_untrained_network_does_not_classify(task: Task) -> None:
    member, batch = Member(task, Recipe(epochs=1), Rng(0)), task.draw(0, 4, Rng(0))
    assert IDM(class_weight=0.5).loss(member, batch, batch).item() < 1e-10


def test_every_class_is_updated_with_one_network_then_two_are_trained(task: Task) -> None:
    method = IDM(**SMALL)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    memory.push(Rng(5))
    (member,) = memory.draw(1, Rng(2).child("member"))
    seen: list[Member] = []
    losses = method.loss
    object.__setattr__(method, "loss", lambda who, *batches: seen.append(who) or losses(who, *batches))
    before = [each.network.head.weight.clone() for each in memory.members]
    episode = method.episode(task, synthetic, memory, Rng(2))
    for label in task.classes:
        synthetic.take_gradient(next(episode))
        touched = synthetic.cells.grad.flatten(1).any(1)  # type: ignore[union-attr]
        assert torch.equal(touched, synthetic.labels == label)
        assert all(map(torch.equal, before, (each.network.head.weight for each in memory.members)))
    assert list(episode) == []
    assert seen == [member] * 3
    changed = [not torch.equal(old, each.network.head.weight) for old, each in zip(before, memory.members, strict=True)]
    assert sum(changed) == 2
    assert [each.seen for each in memory.members] == [32 * c for c in changed]


@pytest.mark.parametrize("words", ["color", "crop", "color_crop_cutout"])
def test_one_loss_is_that_of_jointly_augmented_batches(task: Task, words: str) -> None:
    method = IDM(**SMALL, augment=words)
    synthetic, memory, rng = method.synthetic(task, Rng(0)), method.memory(task, Rng(1)), Rng(2)
    loss = next(method.episode(task, synthetic, memory, rng))
    real = task.draw(0, 8, rng.child("real", 0))
    pair = siamese(task, Policy(words, "dsa"), real, synthetic.of(0), rng.child("augment", 0))
    (member,) = memory.draw(1, rng.child("member"))
    assert loss.item() == method.loss(member, *pair).item()


def test_steps_are_those_of_normalised_pixels(task: Task) -> None:
    method = IDM(**SMALL, augment="")
    synthetic, memory, rng = method.synthetic(task, Rng(0)), method.memory(task, Rng(1)), Rng(2)
    synthetic.take_gradient(next(method.episode(task, synthetic, memory, rng)))
    assert synthetic.cells.grad is not None
    (member,) = memory.draw(1, rng.child("member"))
    real = task.draw(0, 8, rng.child("real", 0))
    loss = method.loss(member, *(Batch(task.normalise(b.images), b.labels) for b in (real, synthetic.of(0))))
    (gradient,) = torch.autograd.grad(loss, synthetic.cells)
    torch.testing.assert_close(synthetic.cells.grad, gradient * task.real.std[0] ** 2)


def test_a_network_joins_every_interval_and_the_oldest_leaves(task: Task) -> None:
    method = IDM(**SMALL)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    sizes, first = [], memory.members[0]
    for k in range(5):
        list(method.episode(task, synthetic, memory, Rng(2).child(k)))
        sizes.append(len(memory.members))
    assert sizes == [2, 2, 3, 3, 3]
    assert first not in memory.members
    assert memory.age == 5


def test_pixels_are_clamped_when_an_episode_begins(task: Task) -> None:
    method = IDM(**SMALL)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    with torch.no_grad():
        synthetic.cells.add_(2)
    next(method.episode(task, synthetic, memory, Rng(2)))
    assert synthetic.cells.max() == 1


def test_whole_images_start_from_real_ones(task: Task) -> None:
    cells = IDM(factor=1).synthetic(task, Rng(0)).cells
    reals = task.real.batch(task.real.by_class[0]).images
    assert (reals == cells[0]).flatten(1).all(1).any()


def test_the_queue_is_the_memory(task: Task) -> None:
    memory = IDM(**SMALL).memory(task, Rng(1))
    assert isinstance(memory, Pool)
    assert (len(memory.members), memory.limit, memory.recipe.batch, memory.recipe.cutmix) == (2, 3, 16, 0)


@pytest.mark.parametrize("data", ["cifar10", "svhn"])
def test_networks_are_trained_by_the_recipe_of_evaluation(task: Task, data: str) -> None:
    words = "color_crop_cutout_scale_rotate" if data == "svhn" else "color_crop_cutout_flip_scale_rotate"
    expected = Recipe(
        epochs=1, batch=256, lr=0.01, momentum=0.9, weight_decay=5e-4, augment=Policy(words, "dsa"), cutmix=0.0
    )
    assert IDM.published(data, 10).memory(task, Rng(1)).recipe == expected


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"real_batch": 0}, "idm: real_batch must be at least 1, got 0"),
        ({"interval": 0}, "idm: interval must be at least 1, got 0"),
        ({"pool_start": 0}, "idm: pool_start must be at least 1, got 0"),
        ({"network_batch": 0}, "idm: network_batch must be at least 1, got 0"),
        ({"trained": -1}, "idm: trained must be at least 0, got -1"),
        ({"network_steps": -1}, "idm: network_steps must be at least 0, got -1"),
        ({"class_weight": -0.1}, "idm: class_weight must be at least 0, got -0.1"),
        ({"pool_start": 5, "pool_limit": 4}, "idm: pool_limit must be at least pool_start, 5, got 4"),
        ({"augment": "color_crup"}, "unknown word 'crup'; did you mean 'crop'"),
    ],
)
def test_impossible_settings(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings_of("idm", "digits", 1, None, **setting)


@pytest.mark.slow
@pytest.mark.parametrize("ipc", [1, 10])
def test_it_is_better_than_its_start(ipc: int) -> None:
    def worth(**changes: Any) -> float:
        kept = condense("digits", "idm", ipc=ipc, progress=False, **changes)
        return yoco.evaluate(kept, epochs=300, seeds=3, progress=False).to_dict()["results"][0]["last_mean"]

    assert worth() > worth(episodes=0) + 1
