"""DM: the distance of mean features in a network with random weights, and its settings."""

from typing import Any

import numpy as np
import pytest
import torch

import yoco
from augment import Policy
from yoco.condense import condense, settings_of
from yoco.condense.matching import mean_distance
from yoco.condense.method import Task
from yoco.condense.methods.dm import DM
from yoco.condense.siamese import siamese
from yoco.data import Splits
from yoco.rng import Rng


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, "convnet:width=4,depth=2")


def test_the_loss_is_the_sum_over_classes_of_squared_distances_of_means(task: Task) -> None:
    method, rng = DM(augment="", real_batch=500), Rng(0)
    synthetic = method.synthetic(task, Rng(1))
    loss = next(method.episode(task, synthetic, None, rng))
    network, expected = task.network(rng.child("network")), 0.0
    for c in task.classes:
        means = []
        for images in (task.real.batch(task.real.by_class[c]).images, synthetic.of(c).images.detach()):
            maps = network.features(task.normalise(images))[-1].detach().double().numpy()
            means.append(maps.reshape(len(maps), -1).mean(0))
        expected += float(np.square(means[0] - means[1]).sum())
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("words", ["color", "crop", "color_crop_cutout"])
def test_real_and_synthetic_images_pass_one_draw(task: Task, words: str) -> None:
    method, rng = DM(augment=words, real_batch=8), Rng(2)
    synthetic, network = method.synthetic(task, Rng(1)), task.network(Rng(3))
    real = task.draw(1, 8, rng.child("real", 1))
    pair = siamese(task, Policy(words, "dsa"), real, synthetic.of(1), rng.child("augment", 1))
    with torch.no_grad():
        target = network.features(pair[0].images)[-1]
    expected = mean_distance(target, network.features(pair[1].images)[-1])
    assert method.distance(task, synthetic, network, 1, rng).item() == expected.item()


def test_every_episode_has_a_new_network_that_is_not_trained(task: Task) -> None:
    method = DM(augment="", real_batch=500)
    synthetic = method.synthetic(task, Rng(1))
    losses = [float(next(method.episode(task, synthetic, None, Rng(seed))).detach()) for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert method.memory(task, Rng(0)) is None


def test_the_step_is_that_of_normalised_pixels(task: Task) -> None:
    method = DM(augment="", real_batch=500)
    synthetic = method.synthetic(task, Rng(1))
    synthetic.take_gradient(next(method.episode(task, synthetic, None, Rng(0))))
    own = synthetic.cells.detach().clone().requires_grad_()
    network = task.network(Rng(0).child("network"))
    total = torch.zeros(())
    for c in task.classes:
        real = network.features(task.normalise(task.real.batch(task.real.by_class[c]).images))[-1].flatten(1).mean(0)
        fake = network.features(task.normalise(own[2 * c : 2 * c + 2]))[-1].flatten(1).mean(0)
        total = total + (real.detach() - fake).square().sum()
    (plain,) = torch.autograd.grad(total, own)
    assert synthetic.cells.grad is not None
    torch.testing.assert_close(synthetic.cells.grad, plain * task.real.std[0] ** 2, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(("ipc", "lr"), [(1, 1.0), (50, 1.0), (99, 1.0), (100, 10.0)])
def test_published_settings(ipc: int, lr: float) -> None:
    found: Any = settings_of("dm", "cifar10", ipc, None)
    assert (found.lr_image, found.momentum_image, found.real_batch, found.episodes) == (lr, 0.5, 256, 20_000)
    assert (found.start, found.augment) == ("real", "color_crop_cutout_flip_scale_rotate")
    assert "flip" not in settings_of("dm", "svhn", ipc, None).augment  # type: ignore[attr-defined]


def test_impossible_settings() -> None:
    with pytest.raises(ValueError, match=r"^dm: real_batch must be at least 1, got 0$"):
        DM(real_batch=0)


@pytest.mark.slow
@pytest.mark.parametrize("ipc", [1, 10])
def test_it_is_better_than_its_start(ipc: int) -> None:
    def worth(**changes: Any) -> float:
        kept = condense("digits", "dm", ipc=ipc, progress=False, **changes)
        return sum(yoco.evaluate(kept, epochs=200, seeds=3, progress=False).results[0].last)

    assert worth() > worth(episodes=0)
