"""CAFE: its published settings, its two losses, and the two loops that must end."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import yoco
from augment import Policy
from yoco.condense import condense, settings_of
from yoco.condense.method import Task
from yoco.condense.methods.cafe import CAFE, Watched, discrimination, spread
from yoco.condense.siamese import siamese
from yoco.data import Splits
from yoco.data.source import Batch
from yoco.networks import build
from yoco.rng import Rng
from yoco.train import Recipe, predict

NETWORK = "convnet:width=8,depth=2"
SMALL: dict[str, Any] = {"real_batch": 8, "query": 16, "inner": 2}


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, NETWORK)


def turns(method: CAFE, task: Task, count: int, seed: int = 2) -> tuple[Any, list[int]]:
    """The memory after some episodes, and the network's age at the end of each."""
    synthetic, memory, ages = method.synthetic(task, Rng(0)), method.memory(task, Rng(1)), []
    for k in range(count):
        list(method.episode(task, synthetic, memory, Rng(seed).child(k)))
        ages.append(memory.age)
    return memory, ages


@pytest.mark.parametrize("data", ["cifar10", "cifar100", "mnist", "fashion-mnist", "svhn", "my-photos"])
@pytest.mark.parametrize("ipc", [1, 10, 50])
def test_published_settings(data: str, ipc: int) -> None:
    m: Any = settings_of("cafe", data, ipc, (3, 32, 32))
    assert (m.lr_image, m.lr_network, m.real_batch, m.start, m.factor, m.augment) == (0.1, 0.01, 256, "noise", 1, "")
    assert (m.early_weight, m.late_weight, m.centre_weight) == (1.0, 0.1, 0.01)
    assert (m.still, m.moved, m.window) == (0.04, 0.03, 10)
    assert m.episodes == 2000 * m.window
    assert (m.outer, m.inner, m.query, m.network_batch) == (100, 20, 256, 256)


def test_digits_have_settings_of_our_own() -> None:
    m: Any = settings_of("cafe", "digits", 10, (1, 8, 8))
    assert (m.episodes, m.start, m.real_batch, m.lr_network) == (300, "real", 64, 0.1)


def test_alignment_against_numpy() -> None:
    """Squared distances of the mean features of all layers, weighted 1, 1, .1, .1, ..."""
    network = build("convnet:width=4,depth=4", (1, 16, 16), 3, Rng(0)).double()
    generator = torch.Generator().manual_seed(0)
    real, cells = (torch.randn(n, 1, 16, 16, dtype=torch.float64, generator=generator) for n in (5, 3))
    sides = [[layer.detach() for layer in network.features(images)] for images in (real, cells)]
    expected = 0.0
    for weight, left, right in zip((1, 1, 0.1, 0.1), *sides, strict=True):
        difference = left.numpy().mean(0) - right.numpy().mean(0)
        expected += weight * (difference**2).sum()
    assert float(CAFE().alignment(*sides)) == pytest.approx(expected, rel=1e-12)


def test_discrimination_against_numpy() -> None:
    """Logits are the products of a real image's features and each class's synthetic centre."""
    generator = torch.Generator().manual_seed(0)
    features, centres = (torch.randn(n, 6, dtype=torch.float64, generator=generator) for n in (7, 3))
    labels, losses = torch.tensor([0, 1, 2, 0, 1, 2, 2]), []
    for image, label in zip(features.numpy(), labels.tolist(), strict=True):
        logits = [float(sum(image * centre)) for centre in centres.numpy()]
        losses.append(np.log(np.exp(logits).sum()) - logits[label])
    assert float(discrimination(Batch(features, labels), centres)) == pytest.approx(np.mean(losses), rel=1e-12)


def test_the_network_has_no_momentum_and_no_decay(task: Task) -> None:
    found = CAFE(lr_network=0.5, network_batch=7, augment="crop").memory(task, Rng(0)).recipe
    plain: Any = {"epochs": 1, "momentum": 0.0, "weight_decay": 0.0}
    assert found == Recipe(batch=7, lr=0.5, augment=Policy("crop", "dsa"), **plain)


def test_losses_are_taken_in_training_mode(task: Task) -> None:
    method, modes = CAFE(**SMALL), []
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    list(method.episode(task, synthetic, memory, Rng(2)))  # its end asks the network, in evaluation mode
    memory.network.stages[0].register_forward_pre_hook(lambda stage, _: modes.append(stage.training))
    method.loss(task, synthetic, memory.network, Rng(3))
    assert modes
    assert all(modes)


def test_a_saved_network_is_asked_about_the_same_images(
    task: Task, through_disk: Callable[[Any], Any], bits: Callable[[Any], Any]
) -> None:
    method = CAFE(**SMALL)
    memory, _ = turns(method, task, 2)
    other = method.memory(task, Rng(9))
    assert not torch.equal(other.asked, memory.asked)
    other.load_state_dict(through_disk(memory.state_dict()))
    assert bits(other.state_dict()) == bits(memory.state_dict())
    assert other.accuracy() == memory.accuracy()


@pytest.mark.parametrize("augment", ["", "color_crop"])
def test_one_update_is_the_sum_over_classes_and_the_weighted_discrimination(task: Task, augment: str) -> None:
    method = CAFE(**SMALL, augment=augment)
    synthetic, memory, rng = method.synthetic(task, Rng(0)), method.memory(task, Rng(1)), Rng(2)
    loss = next(method.episode(task, synthetic, memory, rng))
    network, total, features, labels, centres = memory.network, 0.0, [], [], []
    for c in task.classes:
        drawn = task.draw(c, 8, rng.child("real", c))
        pair = siamese(task, Policy(augment, "dsa"), drawn, synthetic.of(c), rng.child("augment", c))
        real, layers = pair[0], network.features(pair[1].images)
        targets = [layer.detach() for layer in network.features(real.images)]
        total = total + method.alignment(targets, layers)
        features, labels = [*features, targets[-1].flatten(1)], [*labels, real.labels]
        centres.append(layers[-1].flatten(1).mean(0))
    told = discrimination(Batch(torch.cat(features), torch.cat(labels)), torch.stack(centres))
    whole = total + 0.01 * told
    assert float(loss.detach()) == pytest.approx(float(whole.detach()), rel=1e-5)
    synthetic.take_gradient(loss)
    (plain,) = torch.autograd.grad(whole, synthetic.cells)
    assert synthetic.cells.grad is not None
    torch.testing.assert_close(synthetic.cells.grad, plain * task.real.std[0] ** 2, rtol=1e-4, atol=1e-7)
    assert plain.flatten(1).any(1).all()


def test_loops_that_would_spin_end(task: Task) -> None:
    """No accuracy moves by more than 1, and no spread is below 0: in the authors' code neither loop would end."""
    steps: list[int] = []
    method = CAFE(**{**SMALL, "moved": 1.0, "still": 0.0, "outer": 3, "window": 2, "inner": 4})
    memory, ages = turns(method, task, 7)
    assert ages == [1, 2, 3, 1, 2, 3, 1]
    memory.renew(Rng(3))
    memory.accuracy = lambda: steps.append(0) or 0.5
    method.train(method.synthetic(task, Rng(0)), memory, Rng(0))
    assert len(steps) == 1 + 4


@pytest.mark.parametrize(
    ("network", "counts"), [(NETWORK, [3, 2, 2, 3]), ("convnet:norm=batch,width=8,depth=2", [3, 3, 3, 3])]
)
def test_an_accuracy_is_measured_again_only_where_it_may_have_changed(
    tiny: Splits, monkeypatch: pytest.MonkeyPatch, network: str, counts: list[int]
) -> None:
    """A loss moves the statistics of batch norms, and nothing else of a network."""
    task, method, found = Task(tiny.train, 2, network), CAFE(**SMALL, moved=1.0, outer=3), []
    synthetic, memory, measure = method.synthetic(task, Rng(0)), method.memory(task, Rng(1)), Watched.accuracy
    asked: list[int] = []
    monkeypatch.setattr(Watched, "accuracy", lambda self: (asked.append(1), measure(self))[1])
    for k in range(4):
        asked.clear()
        list(method.episode(task, synthetic, memory, Rng(2).child(k)))
        found.append(len(asked))
        method.loss(task, synthetic, memory.network, Rng(3))
        assert network != NETWORK or memory.seen[-1] == measure(memory)
    assert found == counts


def test_the_network_loop_ends_when_the_accuracy_has_moved(task: Task) -> None:
    method = CAFE(**{**SMALL, "moved": 0.03, "inner": 20, "window": 3})
    memory = method.memory(task, Rng(1))
    told = iter([0.5, 0.51, 0.52, 0.53, 0.54, 0.55, 0.60, 0.9])
    memory.accuracy = lambda: next(told)  # type: ignore[method-assign]
    assert method.train(method.synthetic(task, Rng(0)), memory, Rng(0)) == 0.60  # 0.50 has left the window by 0.53


def test_the_image_loop_ends_when_the_accuracies_stand_still(task: Task) -> None:
    method = CAFE(**{**SMALL, "window": 3, "still": 0.04})
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    first = memory.network
    for seen, renewed in (([0.1, 0.5, 0.5], False), ([0.1, 0.5, 0.52, 0.53], True), ([0.5, 0.5], False)):
        memory.network, memory.age, memory.seen = first, 5, list(seen)
        list(method.episode(task, synthetic, memory, Rng(2)))
        assert (memory.network is not first) == renewed
        assert (memory.age, len(memory.seen)) == ((1, 1) if renewed else (6, len(seen) + 1))


def test_accuracy_is_that_of_the_query_images(task: Task) -> None:
    memory, _ = turns(CAFE(**SMALL), task, 1)
    images = task.real.take(memory.asked)
    right = predict(memory.network, images, task.normalise).argmax(1) == images.labels
    assert memory.accuracy() == pytest.approx(float(right.double().mean()))
    assert len(memory.asked) == 16
    before = memory.asked
    memory.renew(Rng(9))
    assert not torch.equal(memory.asked, before)
    assert spread([0.25, 0.75, 0.5]) == 0.5


def test_the_network_learns_the_synthetic_set_and_no_real_image(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("yoco.condense.methods.cafe.take_steps", lambda *given: seen.append(given[2]))
    method = CAFE(**SMALL)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    list(method.episode(task, synthetic, memory, Rng(2)))
    assert len(seen) == 2
    assert all(torch.equal(part.batch(torch.arange(6)).images, synthetic.cells.detach()) for part in seen)


def test_any_number_of_classes_and_shape() -> None:
    """Ten classes and 3x32x32 are written into the authors' code."""
    images = torch.randint(256, (40, 2, 9, 13), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = (images, torch.arange(40) % 4)
    made = condense(data, "cafe", ipc=1, network=NETWORK, episodes=2, progress=False, **SMALL)
    assert made.cells.shape == (4, 2, 9, 13)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"real_batch": 0}, "cafe: real_batch must be at least 1, got 0"),
        ({"outer": 0}, "cafe: outer must be at least 1, got 0"),
        ({"inner": 0}, "cafe: inner must be at least 1, got 0"),
        ({"query": 0}, "cafe: query must be at least 1, got 0"),
        ({"window": 1}, "cafe: window must be at least 2, got 1"),
        ({"still": -0.1}, "cafe: still must be at least 0, got -0.1"),
        ({"augment": "color_crup"}, "unknown word 'crup'; did you mean 'crop'"),
        ({"start": "reel"}, "start must be one of noise, real, mix, k-means, got 'reel'"),
    ],
)
def test_impossible_settings(task: Task, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings_of("cafe", "digits", 1, None, **setting).synthetic(task, Rng(0))


@pytest.mark.slow
@pytest.mark.parametrize("ipc", [1, 10])
def test_it_is_better_than_its_start(ipc: int) -> None:
    def worth(**changes: Any) -> float:
        kept = condense("digits", "cafe", ipc=ipc, progress=False, **changes)
        return yoco.evaluate(kept, epochs=300, seeds=3, progress=False).to_dict()["results"][0]["last_mean"]

    assert worth(episodes=60) > worth(episodes=0) + 1


def test_every_step_of_the_network_loop_has_its_own_stream(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[int] = []
    monkeypatch.setattr("yoco.condense.methods.cafe.take_steps", lambda *given: keys.append(given[6].key()))
    method = CAFE(**{**SMALL, "inner": 3, "moved": 1.0})
    list(method.episode(task, method.synthetic(task, Rng(0)), method.memory(task, Rng(1)), Rng(2)))
    assert len(keys) == len(set(keys)) == 3
