"""Readout: the unrolled training of the last layer of networks that are trained on the cells as the judges are."""

from dataclasses import replace
from math import log2
from typing import Any

import pytest
import torch
from torch import Tensor

import yoco
from augment import Policy
from yoco.condense import settings_of
from yoco.condense.method import Task
from yoco.condense.methods.readout import Readout
from yoco.condensed import Examples
from yoco.data import Splits
from yoco.protocols import idc
from yoco.rng import Rng
from yoco.train import Recipe, train_step

TOY = Readout(pool=3, life=6, factor=1, start="real", real_batch=20, network_batch=4, network_steps=2)


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, "convnet:width=4,depth=1")


def literal(f: Tensor, g: Tensor, y: Tensor, labels: Tensor, method: Readout, eta: float) -> Tensor:
    """The loss by the weights W themselves, as gradient descent moves them."""
    w = torch.zeros(f.shape[1], y.shape[1], dtype=f.dtype)
    v = torch.zeros_like(w)
    for _ in range(method.head_steps):
        v = 0.9 * v + f.T @ ((f @ w).softmax(1) - y) / len(f) + 5e-4 * w
        w = w - eta * v
    return -(g @ w).log_softmax(1)[torch.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("labels", ["hard", "learned"])
@pytest.mark.parametrize("batch", [500, 4])
def test_a_step_is_the_algorithm(task: Task, labels: str, batch: int) -> None:
    method, rng = replace(TOY, labels=labels, graph_batch=batch, real_batch=500, head_steps=7), Rng(0)
    torch.set_default_dtype(torch.float64)
    try:
        synthetic, memory = method.synthetic(task, rng), method.memory(task, rng)
        network = memory.learners[int(rng.child("network").choice(3, 1))].network
        synthetic.take_gradient(loss := next(method.episode(task, synthetic, memory, rng)))
        real = task.real.batch(torch.arange(len(task.real)))
        cells = synthetic.cells.detach().clone().requires_grad_()
        f, g = (network.features(task.normalise(images))[-1].flatten(1) for images in (cells, real.images))
        y = (1 - 0.1 - 0.1 / 2) * torch.eye(3)[synthetic.labels] + 0.1 / 2
        expected = literal(f, g, y, real.labels, method, memory.lr_head)
        torch.testing.assert_close(loss.detach(), expected.detach(), rtol=1e-9, atol=0)
        torch.testing.assert_close(synthetic.cells.grad, *torch.autograd.grad(expected, cells), rtol=1e-6, atol=1e-12)
    finally:
        torch.set_default_dtype(torch.float32)
    assert float(synthetic.cells.grad.abs().sum()) > 0
    assert all(bool(leaf.grad.abs().sum() > 0) for leaf in synthetic.beside.values())
    assert len(synthetic.beside) == (labels == "learned")


@pytest.mark.parametrize("labels", ["hard", "learned"])
def test_labels_that_are_learned_are_saved(tiny: Splits, labels: str) -> None:
    quick = {"episodes": 2, "pool": 1, "real_batch": 20, "lr": 0.1, "network": "convnet:width=4,depth=1"}
    made = yoco.condense(tiny, "readout", ipc=2, labels=labels, progress=False, **quick)
    if labels == "hard":
        assert made.soft_labels is None
        return
    torch.testing.assert_close(made.soft_labels.sum(1), torch.ones(len(made)))
    assert bool((made.soft_labels.argmax(1) == made.labels).all())
    assert float((made.soft_labels.max(1).values - 0.9).abs().max()) > 1e-3


@pytest.mark.parametrize("labels", ["hard", "learned"])
def test_networks_are_trained_on_the_cells_as_the_judges_are(task: Task, labels: str) -> None:
    method = replace(TOY, labels=labels)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(0))
    learner = memory.learners[1]
    network = task.network(Rng(9))
    network.load_state_dict(learner.network.state_dict())
    memory.learn(1, synthetic, torch.arange(6), 2, Rng(3))
    recipe = Recipe(epochs=1, batch=4, augment=Policy("color_crop_flip_scale_rotate"), cutmix=0.5)
    optimizer = recipe.optimizer(network)
    soft = synthetic.soft_labels()
    assert (soft is None) == (labels == "hard")
    cells = Examples(synthetic.cells.detach(), synthetic.labels, None if soft is None else soft.detach())
    some = Rng(3).child("pass", 0).child("order").choice(6, 6)[:4]
    rest = Rng(3).child("pass", 0).child("order").choice(6, 6)[4:]
    for step, chosen in enumerate((some, rest)):
        train_step(network, optimizer, cells.batch(chosen), recipe, task.normalise, Rng(3).child("step", step))
    for mine, theirs in zip(network.parameters(), learner.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_training_is_that_of_the_protocol() -> None:
    for data, shape in (("fashion-mnist", (1, 28, 28)), ("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32))):
        method = Readout.published(data, 10, shape)
        judged, mine = idc(data, shape, 2, 10), Readout.published(data, 10, shape).recipe()
        assert replace(mine, epochs=judged.epochs) == judged
        assert (method.factor, method.labels) == (2, "learned")
    for data, ipc, factor in (("mnist", 10, 1), ("svhn", 1, 1), ("svhn", 1, 2)):
        mine = settings_of("readout", data, ipc, (3, 32, 32), factor=factor)
        judged = idc(data, (3, 32, 32), factor, ipc)
        assert (mine.factor, mine.cutmix, Policy(mine.augment)) == (factor, judged.cutmix, judged.augment)
    digits = Readout.published("digits", 1)
    assert (digits.factor, digits.start, digits.episodes) == (1, "real", 500)


@pytest.mark.parametrize("network", ["convnet", "convnet:width=4,depth=1", "mlp", "lenet", "resnet10"])
def test_the_last_layer_takes_steps_as_the_features_ask_for(tiny: Splits, network: str) -> None:
    task = Task(tiny.train, 2, network)
    eta = TOY.step_size(task, Rng(3))
    images = task.real.batch(Rng(3).child("images").choice(len(task.real), 256)).images
    f = task.network(Rng(3).child("network")).features(task.normalise(images))[-1].flatten(1)
    size = float(f.detach().square().sum(1).mean())
    assert 0.5 <= eta * size / 3 <= 2.0
    assert log2(eta / TOY.lr_head) in range(-40, 41, 2)
    assert TOY.memory(task, Rng(5)).lr_head == TOY.step_size(task, Rng(5).child("size"))


def test_ages_are_spread_and_the_old_are_replaced(task: Task) -> None:
    synthetic, memory = TOY.synthetic(task, Rng(0)), TOY.memory(task, Rng(0))
    assert [learner.age for learner in memory.learners] == [0, 2, 4]
    old = memory.learners[2].network
    for step in range(2):
        memory.learn(2, synthetic, torch.arange(6), 2, Rng(step))
    assert memory.learners[2].network is old
    memory.learn(2, synthetic, torch.arange(6), 2, Rng(2))
    assert memory.learners[2].network is not old
    assert [learner.age for learner in memory.learners] == [0, 2, 1]


def test_a_turn_is_some_steps_or_some_epochs_whichever_are_more(task: Task) -> None:
    assert [TOY.steps(cells) for cells in (3, 6, 7, 400)] == [2, 2, 3, 125]
    assert [Readout().steps(cells) for cells in (40, 400, 2000)] == [8, 8, 40]
    assert [Readout.published("digits", ipc).steps(10 * ipc) for ipc in (1, 5, 10)] == [2, 4, 8]
    method, rng = replace(TOY, network_epochs=5.0), Rng(0)
    synthetic, mine, other = method.synthetic(task, rng), method.memory(task, rng), method.memory(task, rng)
    k = int(rng.child("network").choice(3, 1))
    list(method.episode(task, synthetic, mine, rng))
    other.learn(k, synthetic, torch.arange(6), 8, rng.child("train"))
    for one, another in zip(*(memory.learners[k].network.parameters() for memory in (mine, other)), strict=True):
        assert torch.equal(one, another)


def test_nested_networks_know_the_beginning_alone(tiny: Splits) -> None:
    task = Task(tiny.train, 4, "convnet:width=4,depth=1")
    method = replace(TOY, pool=4, nested=True, factor=2, start="mix", graph_batch=7)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(0))
    place = torch.arange(48) % 16
    firsts = [place < 16, place < 4, place < 16, place < 8]  # 4^(0/4) and 4^(2/4) images
    assert [method.known(k, synthetic).tolist() for k in range(4)] == [torch.arange(48)[f].tolist() for f in firsts]
    assert all(len(TOY.known(k, synthetic)) == 48 for k in range(3))
    assert (synthetic.order, TOY.synthetic(task, Rng(0)).order) == ("readout", "condensed")
    seen: set[int] = set()
    for seed in range(12):
        rng = Rng(seed)
        k = int(rng.child("network").choice(4, 1))
        old = [p.clone() for p in memory.learners[k].network.parameters()]
        episode = method.episode(task, synthetic, memory, rng)
        synthetic.take_gradient(next(episode))
        for leaf in synthetic.parameters():
            touched = leaf.grad.flatten(1).abs().sum(1) > 0
            assert torch.equal(touched, firsts[k])
        list(episode)
        assert any(not torch.equal(a, b) for a, b in zip(old, memory.learners[k].network.parameters(), strict=True))
        seen.add(k)
    assert seen == {0, 1, 2, 3}


def test_a_nested_network_learns_the_beginning_with_its_labels(tiny: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("yoco.condense.methods.readout.take_steps", lambda *given: seen.append(given[2]))
    task, method = Task(tiny.train, 4, "convnet:width=4,depth=1"), replace(TOY, pool=2, nested=True)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(0))
    rng = next(r for r in map(Rng, range(50)) if int(r.child("network").choice(2, 1)) == 1)
    list(method.episode(task, synthetic, memory, rng))
    firsts = torch.tensor([0, 4, 8])
    assert torch.equal(seen[0].images, synthetic.cells.detach()[firsts])
    assert torch.equal(seen[0].labels, synthetic.labels[firsts])
    assert torch.equal(seen[0].targets, synthetic.soft_labels().detach()[firsts])


def test_a_nested_set_is_told_by_its_order_and_its_beginning_taken(tiny: Splits) -> None:
    quick = {"episodes": 3, "pool": 2, "real_batch": 20, "network": "convnet:width=4,depth=1", "factor": 2}
    made = yoco.condense(tiny, "readout", ipc=3, nested=True, progress=False, **quick)
    assert made.order == "readout"
    small = yoco.prune(made, ipc=1, rule="first")
    first = torch.arange(36) % 12 < 4
    assert torch.equal(small.cells, made.cells[first])
    assert torch.equal(small.soft_labels, made.soft_labels[first])


def test_settings_of_data_without_own_ones() -> None:
    found = Readout.published("cifar10", 10, (3, 32, 32))
    assert (found.episodes, found.pool, found.life, found.lr, found.real_batch) == (2000, 10, 200, 6e-3, 768)
    assert (found.head_steps, found.lr_head, found.graph_batch) == (200, 0.02, 500)


def test_bad_settings_are_one_line() -> None:
    for change, line in (
        ({"network_steps": 0}, "readout: network_steps must be at least 1, got 0"),
        ({"pool": 0}, "readout: pool must be at least 1, got 0"),
        ({"labels": "soft"}, "readout: labels must be learned or hard, got 'soft'"),
        ({"head_steps": 0}, "readout: head_steps must be at least 1, got 0"),
        ({"network_epochs": -1.0}, "readout: network_epochs must be 0 or more, got -1"),
        ({"network_epochs": float("nan")}, "readout: network_epochs must be 0 or more, got nan"),
        ({"pool": 1, "nested": True}, "readout: nested needs a pool of at least 2, got 1"),
        ({"smooth": 0.0}, "readout: smooth must be above 0 and below 0.5, got 0"),
        ({"cutmix": 1.5}, "cutmix probability"),
    ):
        with pytest.raises(ValueError, match=line):
            Readout(**change)
