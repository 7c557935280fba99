"""DC and DSA: the distance of gradient rows, the order of updates, and their settings."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.optim import SGD

import yoco
from augment import Policy
from yoco.condense import condense, settings_of
from yoco.condense.matching import row_distance
from yoco.condense.method import Task
from yoco.condense.methods.dc import DC
from yoco.condense.methods.dsa import DSA
from yoco.condense.siamese import siamese
from yoco.condensed import Examples
from yoco.data import Splits
from yoco.data.source import Batch
from yoco.rng import Rng
from yoco.train import Recipe, take_steps

NETWORK = "convnet:width=4,depth=2"
TOY: dict[str, Any] = {"outer": 2, "inner": 3, "real_batch": 500, "network_batch": 4}


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, NETWORK)


def literal_distance(network: Any, real: Batch, synthetic: Batch) -> float:
    total = 0.0
    grads = []
    for batch in (real, synthetic):
        network.zero_grad()
        cross_entropy(network(batch.images), batch.labels).backward()
        grads.append([weight.grad.clone().double().numpy() for weight in network.parameters() if weight.ndim > 1])
    for a, b in zip(*grads, strict=True):
        for row, other in zip(a.reshape(len(a), -1), b.reshape(len(b), -1), strict=True):
            total += 1 - row @ other / (np.linalg.norm(row) * np.linalg.norm(other) + 1e-6)
    return total


def test_the_distance_is_one_minus_the_cosine_of_every_row(task: Task) -> None:
    network = task.network(Rng(0))
    real, synthetic = (task.draw(0, count, Rng(seed)) for seed, count in ((1, 9), (2, 4)))
    found = row_distance(network, real, synthetic)
    assert float(found.detach()) == pytest.approx(literal_distance(network, real, synthetic), rel=1e-4)
    assert float(row_distance(network, real, real).detach()) < 0.1


def test_the_head_counts_and_biases_do_not(task: Task) -> None:
    network = task.network(Rng(0))
    rows = sum(len(weight) for weight in network.parameters() if weight.ndim > 1)
    assert rows == 4 + 4 + 3
    real = task.draw(0, 9, Rng(1))
    away = Batch(real.images, real.labels + 1)
    assert 0 < float(row_distance(network, real, away).detach()) <= 2 * rows


def test_one_update_is_of_all_classes_and_then_the_network_learns_the_synthetic_set(task: Task) -> None:
    method, rng = DC(**TOY), Rng(0)
    synthetic, memory = method.synthetic(task, Rng(1)), method.memory(task, Rng(2))
    episode = method.episode(task, synthetic, memory, rng)
    loss = next(episode)
    before = [weight.clone() for weight in memory.network.parameters()]
    expected = 0.0
    for c in task.classes:
        real = task.real.batch(task.real.by_class[c])
        own = synthetic.of(c)
        pair = [Batch(task.normalise(part.images.detach()), part.labels) for part in (real, own)]
        expected += literal_distance(memory.network, *pair)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-3)
    synthetic.take_gradient(loss)
    assert synthetic.cells.grad is not None
    assert bool((synthetic.cells.grad.flatten(1).abs().sum(1) > 0).all())
    assert next(episode, None) is None
    assert not all(torch.equal(a, b) for a, b in zip(before, memory.network.parameters(), strict=True))


def test_the_step_is_that_of_normalised_pixels(task: Task) -> None:
    method, rng = DC(**TOY), Rng(0)
    synthetic, memory = method.synthetic(task, Rng(1)), method.memory(task, Rng(2))
    synthetic.take_gradient(next(method.episode(task, synthetic, memory, rng)))
    own = synthetic.cells.detach().clone().requires_grad_()
    network, total = task.network(rng.child("network")), torch.zeros(())
    for c in task.classes:
        real = task.draw(c, 500, rng.child("real", c))
        pair = (real, Batch(own[2 * c : 2 * c + 2], torch.full((2,), c)))
        total = total + row_distance(network, *(Batch(task.normalise(part.images), part.labels) for part in pair))
    (plain,) = torch.autograd.grad(total, own)
    assert synthetic.cells.grad is not None
    torch.testing.assert_close(synthetic.cells.grad, plain * task.real.std[0] ** 2, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(("cls", "words"), [(DC, ""), (DSA, "color_crop_cutout_flip_scale_rotate")])
def test_networks_have_no_momentum_and_no_decay(task: Task, cls: Any, words: str) -> None:
    recipe = cls.published("cifar10", 10).memory(task, Rng(0)).recipe
    plain: Any = {"epochs": 1, "batch": 256, "lr": 0.01, "momentum": 0.0, "weight_decay": 0.0, "cutmix": 0.0}
    assert recipe == Recipe(augment=Policy(words, "dsa"), **plain)


def test_the_network_learns_augmented_synthetic_images_by_plain_sgd(task: Task) -> None:
    method, rng = DSA(**TOY, augment="color_crop"), Rng(0)
    synthetic, memory = method.synthetic(task, Rng(1)), method.memory(task, Rng(2))
    list(method.episode(task, synthetic, memory, rng))
    network = task.network(rng.child("network"))
    cells = Examples(synthetic.everything().images.detach(), synthetic.labels)
    recipe = Recipe(epochs=1, batch=4, augment=Policy("color_crop", "dsa"))
    sgd = SGD(network.parameters(), lr=0.01)
    take_steps(network, sgd, cells, 3 * 2, recipe, task.normalise, rng.child("train"))
    assert all(map(torch.equal, memory.network.parameters(), network.parameters()))


def test_the_network_is_replaced_after_its_outer_steps_and_not_trained_after_the_last(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = DC(**{**TOY, "outer": 2})
    synthetic, memory = method.synthetic(task, Rng(1)), method.memory(task, Rng(2))
    steps: list[int] = []
    monkeypatch.setattr("yoco.condense.alternating.take_steps", lambda *given: steps.append(given[3]))
    networks = []
    for k in range(4):
        for loss in method.episode(task, synthetic, memory, Rng(0).child(k)):
            synthetic.take_gradient(loss)
        networks.append(memory.network)
    assert steps == [3 * 2, 3 * 2]
    assert networks[0] is networks[1]
    assert networks[1] is not networks[2]
    assert networks[2] is networks[3]


def test_the_sum_of_losses_is_descended_with_one_graph_at_a_time(task: Task) -> None:
    synthetic = DC(**TOY).synthetic(task, Rng(1))
    losses = [lambda c=c: (synthetic.of(c).images.square() * (c + 1)).sum() for c in task.classes]
    synthetic.take_gradient(torch.stack([loss() for loss in losses]).sum())
    assert synthetic.cells.grad is not None
    expected = synthetic.cells.grad.clone()
    alive = [0]

    def one_by_one() -> Any:
        for loss in losses:
            alive[0] += 1
            yield loss()

    together = synthetic.together(one_by_one())
    assert alive == [3]
    assert float(together.detach()) == pytest.approx(float(sum(loss().detach() for loss in losses)), rel=1e-6)
    synthetic.take_gradient(together)
    torch.testing.assert_close(synthetic.cells.grad, expected)


@pytest.mark.parametrize("name", ["dc", "dsa"])
@pytest.mark.parametrize(
    ("ipc", "loops"),
    [(1, (1, 1)), (10, (10, 50)), (20, (20, 25)), (30, (30, 20)), (40, (40, 15)), (50, (50, 10)), (3, (1, 1))],
)
def test_published_loops(name: str, ipc: int, loops: tuple[int, int]) -> None:
    found: Any = settings_of(name, "cifar10", ipc, None)
    assert (found.outer, found.inner) == loops
    assert found.episodes == 1000 * found.outer
    assert (found.lr_image, found.momentum_image, found.real_batch) == (0.1, 0.5, 256)
    assert (found.lr_network, found.network_batch) == (0.01, 256)


def test_dsa_is_dc_from_real_images_with_augmentation() -> None:
    dc: Any = settings_of("dc", "cifar10", 10, None)
    dsa: Any = settings_of("dsa", "cifar10", 10, None)
    assert (dc.start, dc.augment) == ("noise", "")
    assert (dsa.start, dsa.augment) == ("real", "color_crop_cutout_flip_scale_rotate")
    assert "flip" not in settings_of("dsa", "mnist", 10, None).augment  # type: ignore[attr-defined]


@pytest.mark.parametrize("words", ["color", "crop", "color_crop_cutout"])
def test_the_pair_is_augmented_with_one_draw(task: Task, words: str) -> None:
    method, rng = DSA(**{**TOY, "real_batch": 8, "augment": words}), Rng(2)
    synthetic, memory = method.synthetic(task, Rng(1)), method.memory(task, Rng(2))
    real = task.draw(1, 8, rng.child("real", 1))
    pair = siamese(task, Policy(words, "dsa"), real, synthetic.of(1), rng.child("augment", 1))
    found = method.distance(task, synthetic, memory, 1, rng)
    assert found.item() == row_distance(memory.network, *pair).item()


@pytest.mark.parametrize("cls", [DC, DSA])
def test_impossible_settings(cls: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{cls.__name__.lower()}: outer must be at least 1, got 0$"):
        cls(outer=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dc", "dsa"])
@pytest.mark.parametrize("ipc", [1, 10])
def test_it_is_better_than_its_start(name: str, ipc: int) -> None:
    def worth(**changes: Any) -> float:
        kept = condense("digits", name, ipc=ipc, progress=False, **changes)
        return sum(yoco.evaluate(kept, epochs=200, seeds=3, progress=False).results[0].last)

    assert worth() > worth(episodes=0)
