"""Acc-DD: its published settings, its image step, and which networks it matches on."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import yoco
from yoco.condense import condense, settings_of
from yoco.condense.method import Task
from yoco.condense.methods.acc_dd import SETTINGS, AccDD, perturb, signed
from yoco.data import Source, Splits
from yoco.data.source import Batch
from yoco.networks.base import Network
from yoco.rng import Rng

NETWORK = "convnet:width=8,depth=2"
SMALL: dict[str, Any] = {"episodes": 4, "inner": 2, "early": 2, "network_images": 64, "real_batch": 8}


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, NETWORK)


@pytest.fixture
def method() -> AccDD:
    return replace(AccDD.published("digits", 2), **SMALL)


def literal_distance(network: Network, real: Batch, cells: Batch, metric: str) -> float:
    def gradients(batch: Batch) -> list[Tensor]:
        network.zero_grad()
        cross_entropy(network(batch.images), batch.labels).backward()
        return [p.grad.clone() for p in network.parameters() if p.ndim == 4 and p.grad is not None]

    total = 0.0
    for left, right in zip(gradients(real), gradients(cells), strict=True):
        for a, b in zip(left.flatten().tolist(), right.flatten().tolist(), strict=True):
            total += (a - b) ** 2 if metric == "mse" else abs(a - b)
    return total


@pytest.mark.parametrize("data", ["cifar10", "cifar100"])
def test_published_cifar_settings(data: str) -> None:
    settings = AccDD.published(data, 10)
    assert (settings.early, settings.early_epochs, settings.episodes) == (5, 2, 40_000)
    assert (settings.perturb_low, settings.perturb_high) == (0.01, 0.09)
    assert (settings.metric, settings.lr_image, settings.reference_side) == ("mse", 1e-2, 32)
    assert (settings.network_images, settings.network_batch, settings.cutmix) == (2000, 64, 0.5)
    assert (settings.inner, settings.factor, settings.momentum_image) == (100, 2, 0.5)
    assert (settings.real_batch, settings.synthetic_batch) == (64, 128)
    assert (settings.augment, settings.network_augment) == ("color_crop_cutout", "color_crop")


def test_published_imagenet_settings() -> None:
    settings = AccDD.published("imagenet-10", 10)
    assert (settings.early, settings.early_epochs, settings.factor, settings.episodes) == (5, 10, 3, 10_000)
    assert (settings.metric, settings.lr_image, settings.reference_side) == ("l1", 3e-3, 224)


@pytest.mark.parametrize(
    ("data", "metric", "lr", "side", "cutmix"),
    [("svhn", "mse", 5e-3, 32, 0.5), ("mnist", "l1", 1e-4, 28, 0.0), ("fashion-mnist", "l1", 1e-4, 32, 0.5)],
)
def test_other_sets_have_the_settings_of_idc(data: str, metric: str, lr: float, side: int, cutmix: float) -> None:
    settings = AccDD.published(data, 10)
    assert (settings.metric, settings.lr_image, settings.reference_side) == (metric, lr, side)
    assert (settings.network_images, settings.cutmix, settings.early_epochs) == (500, cutmix, 2)
    assert settings.augment == ("color_crop" if data == "mnist" else "color_crop_cutout")


@pytest.mark.parametrize(
    ("shape", "like"),
    [(None, "cifar10"), ((1, 20, 20), "fashion-mnist"), ((3, 64, 64), "cifar10"), ((3, 65, 65), "imagenet-10")],
)
def test_unknown_data_take_the_nearest_settings(shape: Any, like: str) -> None:
    assert AccDD.published("my-photos", 10, shape) == AccDD(**SETTINGS[like])


def test_every_grey_set_steps_less_than_the_default() -> None:
    assert AccDD.published("digits", 1).lr_image < AccDD().lr_image


@pytest.mark.parametrize(("data", "ipc", "side", "expected"), [("cifar10", 1, 32, 1e-3), ("mnist", 50, 28, 5e-4)])
def test_image_step_size_follows_ipc_and_area(data: str, ipc: int, side: int, expected: float) -> None:
    images = torch.zeros(100, 1, side, side, dtype=torch.uint8)
    black = Source("black", images, torch.arange(2).repeat(50), ("a", "b"))
    settings = AccDD.published(data, ipc)
    group = settings.optimizer(settings.synthetic(Task(black, ipc), Rng(0))).param_groups[0]
    assert group["lr"] == pytest.approx(expected, rel=1e-12)
    assert group["momentum"] == 0.5


@pytest.mark.parametrize("metric", ["mse", "l1"])
def test_one_update_is_the_distance_on_a_perturbed_early_network(task: Task, method: AccDD, metric: str) -> None:
    """Perturbed, not merely trained: the network is built here again, step by step."""
    plain = replace(method, augment="", metric=metric)
    synthetic, memory, rng = plain.synthetic(task, Rng(0)), plain.memory(task, Rng(1)), Rng(2)
    loss = next(plain.episode(task, synthetic, memory, rng))
    stream = rng.child("network")
    network = task.network(Rng(9))
    network.load_state_dict(memory.early(int(stream.child("number").choice(2, 1))))
    perturb(network, signed(2, 0.01, 0.09, stream.child("size")), stream.child("direction"))
    real, cells = task.draw(0, 8, rng.child("real", 0)), synthetic.of(0)
    batches = [Batch(task.normalise(b.images.detach()), b.labels) for b in (real, cells)]
    assert loss.item() == pytest.approx(literal_distance(network, *batches, metric), rel=1e-4)


def test_classes_are_updated_one_by_one_and_the_network_is_trained_last(task: Task, method: AccDD) -> None:
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    episode = method.episode(task, synthetic, memory, Rng(2))
    weights: list[Tensor] = []
    for label in task.classes:
        synthetic.take_gradient(next(episode))
        touched = synthetic.cells.grad.flatten(1).any(1)  # type: ignore[union-attr]
        assert torch.equal(touched, synthetic.labels == label)
        weights.append(memory.learner.network.head.weight.clone())
    assert torch.equal(weights[0], weights[2])
    assert list(episode) == []
    assert not torch.equal(weights[0], memory.learner.network.head.weight)


def test_network_is_replaced_and_pixels_clamped_every_inner_steps(task: Task, method: AccDD) -> None:
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    networks, highest = [], []
    for k in range(4):
        with torch.no_grad():
            synthetic.cells[0] = 2.0
        list(method.episode(task, synthetic, memory, Rng(2).child(k)))
        networks.append(memory.learner.network)
        highest.append(synthetic.cells.max().item())
    assert networks[0] is networks[1]
    assert networks[1] is not networks[2]
    assert networks[2] is networks[3]
    assert [value > 1 for value in highest] == [False, True, False, True]


def test_real_and_synthetic_images_are_augmented_alike(task: Task, method: AccDD) -> None:
    """Where both batches hold the same images of a class, one shared draw leaves no distance."""
    everything = replace(method, real_batch=1000)
    synthetic, memory = everything.synthetic(task, Rng(0)), everything.memory(task, Rng(1))
    with torch.no_grad():
        synthetic.cells[:2] = task.draw(0, 2, Rng(3)).images
    twins = task.real.by_class[0][Rng(3).choice(40, 2)]
    same = Task(task.real.take(torch.cat([twins, *task.real.by_class[1:]])), 2, NETWORK)
    loss = next(everything.episode(same, synthetic, memory, Rng(2)))
    assert loss.item() < 1e-3


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"metric": "l2"}, "accdd: metric must be one of mse, l1.*, got 'l2'"),
        ({"inner": 0}, "accdd: inner must be at least 1, got 0"),
        ({"early": 0}, "accdd: early must be at least 1, got 0"),
        ({"early_epochs": -1}, "accdd: early_epochs must be at least 0, got -1"),
        ({"real_batch": 0}, "accdd: real_batch must be at least 1, got 0"),
        ({"synthetic_batch": 0}, "accdd: synthetic_batch must be at least 1, got 0"),
        ({"network_images": 0}, "accdd: network_images must be at least 1, got 0"),
        ({"network_batch": 0}, "accdd: network_batch must be at least 1, got 0"),
        ({"perturb_low": 0.1}, "accdd: perturb_low must be from 0 to perturb_high, got 0.1 and 0.09"),
        ({"perturb_low": -0.1}, "accdd: perturb_low must be from 0 to perturb_high, got -0.1 and 0.09"),
        ({"augment": "color_crup"}, "unknown word 'crup'; did you mean 'crop'"),
        ({"network_augment": "crap"}, "unknown word 'crap'; did you mean 'crop'"),
    ],
)
def test_impossible_settings(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings_of("accdd", "digits", 1, None, **setting)


@pytest.mark.slow
@pytest.mark.parametrize("ipc", [1, 10])
def test_it_is_better_than_its_start(ipc: int) -> None:
    def worth(**changes: Any) -> float:
        kept = condense("digits", "accdd", ipc=ipc, progress=False, **changes)
        return yoco.evaluate(kept, epochs=300, seeds=3, progress=False).to_dict()["results"][0]["last_mean"]

    assert worth() > worth(episodes=0) + 1
