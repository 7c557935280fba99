"""DataDAM: its published settings, its loss, and its one joint update."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import yoco
from augment import Policy
from yoco.condense import condense, settings_of
from yoco.condense.method import Task
from yoco.condense.methods.datadam import DataDAM, attention, attention_distance
from yoco.condense.siamese import siamese
from yoco.data import Splits
from yoco.data.source import Batch
from yoco.networks import build
from yoco.rng import Rng

NETWORK = "convnet:width=8,depth=2"
SMALL: dict[str, Any] = {"episodes": 4, "real_batch": 8}


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, NETWORK)


@pytest.mark.parametrize(
    ("data", "ipc", "shape", "lr", "weight"),
    [
        ("cifar10", 1, (3, 32, 32), 1.0, 0.01),
        ("cifar10", 50, None, 1.0, 0.01),
        ("cifar10", 51, (3, 32, 32), 10.0, 0.01),
        ("cifar100", 10, (3, 32, 32), 1.0, 0.01),
        ("my-photos", 10, (3, 64, 64), 1.0, 0.01),
        ("my-photos", 100, (3, 128, 128), 10.0, 0.02),
    ],
)
def test_published_table(data: str, ipc: int, shape: Any, lr: float, weight: float) -> None:
    settings = DataDAM.published(data, ipc, shape)
    assert (settings.lr_image, settings.feature_weight) == (lr, weight)
    assert (settings.power, settings.episodes, settings.momentum_image) == (4, 8_000, 0.5)
    assert (settings.start, settings.factor, settings.real_batch) == ("real", 1, 256)
    assert "flip" in settings.augment


@pytest.mark.parametrize("data", ["mnist", "svhn", "digits", "kmnist", "emnist"])
def test_digits_and_letters_are_not_flipped(data: str) -> None:
    assert DataDAM.published(data, 10).augment == "color_crop_cutout_scale_rotate"


def test_loss_against_numpy() -> None:
    """Attention of every stage but the last; of the last stage only the mean features, weighted by lambda."""
    network = build("convnet:width=4,depth=3", (1, 16, 16), 3, Rng(0)).double()
    generator = torch.Generator().manual_seed(0)
    real, cells = (torch.randn(n, 1, 16, 16, dtype=torch.float64, generator=generator) for n in (5, 3))
    ours = DataDAM(power=4, feature_weight=0.01).loss(network, Batch(real, torch.ones(5)), Batch(cells, torch.ones(3)))

    sides = [[stage.detach().numpy() for stage in network.features(images)] for images in (real, cells)]
    expected = 0.0
    for left, right in zip(sides[0][:-1], sides[1][:-1], strict=True):
        means = []
        for stage in (left, right):
            rows = []
            for image in stage:
                seen = sum(np.abs(channel) ** 4 for channel in image).ravel()
                rows.append(seen / np.sqrt((seen**2).sum()))
            means.append(np.mean(rows, 0))
        expected += ((means[0] - means[1]) ** 2).sum()
    assert len(sides[0]) == 3
    last = sides[0][-1].mean(0) - sides[1][-1].mean(0)
    assert ours.item() == pytest.approx(expected + 0.01 * (last**2).sum(), rel=1e-10)


def maps(n: int, *shape: int, seed: int = 0) -> Tensor:
    return torch.randn(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def literal(each: Tensor, power: float) -> np.ndarray:
    rows = []
    for image in each.numpy():
        seen = np.zeros(image.shape[1:])
        for channel in image:
            seen += np.abs(channel) ** power
        rows.append(seen.ravel() / np.sqrt((seen.ravel() ** 2).sum()))
    return np.array(rows)


@pytest.mark.parametrize("power", [1.0, 2.0, 4.0])
def test_attention_is_the_normalised_sum_of_powers(power: float) -> None:
    each = maps(3, 5, 4, 2)
    np.testing.assert_allclose(attention(each, power).numpy(), literal(each, power), rtol=1e-12)


@pytest.mark.parametrize("power", [1.0, 4.0])
def test_every_image_is_normalised_before_the_mean(power: float) -> None:
    """A mean of maps, normalised afterwards, would follow the loudest image."""
    real, cells = [maps(6, 5, 4, 4), maps(6, 3, 2, 2, seed=1)], [maps(2, 5, 4, 4, seed=2), maps(2, 3, 2, 2, seed=3)]
    expected = 0.0
    for left, right in zip(real, cells, strict=True):
        expected += ((literal(left, power).mean(0) - literal(right, power).mean(0)) ** 2).sum()
    assert attention_distance(real, cells, power).item() == pytest.approx(expected, rel=1e-12)
    loud = [each * torch.tensor([1.0, 1000.0])[:, None, None, None] for each in cells]
    assert attention_distance(real, loud, power).item() == pytest.approx(expected, rel=1e-9)


def test_dark_maps_look_nowhere_and_have_a_gradient() -> None:
    dark = torch.zeros(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert (attention(dark, 4.0) == 0).all()
    (gradient,) = torch.autograd.grad(attention_distance([maps(2, 3, 4, 4)], [dark], 4.0), dark)
    assert torch.isfinite(gradient).all()


def test_without_layers_the_distance_is_zero() -> None:
    assert attention_distance([], [], 4.0).item() == 0


def test_one_update_is_the_sum_over_classes_with_one_random_network(task: Task) -> None:
    method = DataDAM(real_batch=8, augment="")
    synthetic, rng = method.synthetic(task, Rng(0)), Rng(2)
    (loss,) = list(method.episode(task, synthetic, None, rng))
    network, total = task.network(rng.child("network")), torch.zeros(())
    for label in task.classes:
        real, cells = task.draw(label, 8, rng.child("real", label)), synthetic.of(label)
        total = total + method.loss(network, *(Batch(task.normalise(b.images), b.labels) for b in (real, cells)))
    assert loss.item() == pytest.approx(total.item(), rel=1e-6)
    synthetic.take_gradient(loss)
    (plain,) = torch.autograd.grad(total, synthetic.cells)
    assert synthetic.cells.grad is not None
    torch.testing.assert_close(synthetic.cells.grad, plain * task.real.std[0] ** 2, rtol=1e-4, atol=1e-7)
    assert plain.flatten(1).any(1).all()


def test_real_and_synthetic_images_pass_one_draw(task: Task) -> None:
    method, rng = DataDAM(real_batch=8, augment="color_crop"), Rng(2)
    synthetic, network = method.synthetic(task, Rng(1)), task.network(Rng(3))
    drawn = task.draw(1, 8, rng.child("real", 1))
    pair = siamese(task, Policy("color_crop", "dsa"), drawn, synthetic.of(1), rng.child("augment", 1))
    assert method.distance(task, synthetic, network, 1, rng).item() == method.loss(network, *pair).item()


def test_every_episode_has_another_network_and_augmentation(task: Task) -> None:
    method = DataDAM(**SMALL)
    synthetic = method.synthetic(task, Rng(0))
    losses = [next(method.episode(task, synthetic, None, Rng(2).child(k))).item() for k in range(3)]
    assert len(set(losses)) == 3
    assert method.memory(task, Rng(0)) is None


def test_pixels_are_clamped_when_an_episode_begins(task: Task) -> None:
    method = DataDAM(**SMALL)
    synthetic = method.synthetic(task, Rng(0))
    with torch.no_grad():
        synthetic.cells.add_(2)
    list(method.episode(task, synthetic, None, Rng(2)))
    assert synthetic.cells.max() == 1


def test_optimizer_has_the_paper_step_and_momentum(task: Task) -> None:
    method = DataDAM()
    group = method.optimizer(method.synthetic(task, Rng(0))).param_groups[0]
    assert (group["lr"], group["momentum"]) == (1.0, 0.5)


def test_a_network_without_maps_is_refused(task: Task, tiny: Splits) -> None:
    method, flat = DataDAM(**SMALL), Task(tiny.train, 1, "mlp:width=8")
    with pytest.raises(ValueError, match="datadam: network must have feature maps before its last stage, got mlp"):
        list(method.episode(flat, method.synthetic(flat, Rng(0)), None, Rng(1)))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"power": 0.5}, "datadam: power must be at least 1, got 0.5"),
        ({"real_batch": 0}, "datadam: real_batch must be at least 1, got 0"),
        ({"feature_weight": -0.1}, "datadam: feature_weight must be at least 0, got -0.1"),
        ({"augment": "color_crup"}, "unknown word 'crup'; did you mean 'crop'"),
        ({"start": "reel"}, None),
    ],
)
def test_impossible_settings(task: Task, setting: dict[str, Any], message: str | None) -> None:
    with pytest.raises(ValueError, match=message or "start must be one of noise, real, mix, k-means, got 'reel'"):
        settings_of("datadam", "digits", 1, None, **setting).synthetic(task, Rng(0))


@pytest.mark.slow
@pytest.mark.parametrize("ipc", [1, 10])
def test_it_is_better_than_its_start(ipc: int) -> None:
    def worth(**changes: Any) -> float:
        kept = condense("digits", "datadam", ipc=ipc, progress=False, **changes)
        return yoco.evaluate(kept, epochs=300, seeds=3, progress=False).to_dict()["results"][0]["last_mean"]

    assert worth() > worth(episodes=0) + 1
