"""Readout: FRePo's objective, asked of networks that are trained on the cells as protocol `idc` trains."""

from dataclasses import replace

import pytest
import torch

from augment import Policy
from yoco.condense.method import Task
from yoco.condense.methods.frepo import FRePo
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


def test_a_step_is_that_of_frepo_on_the_same_network(task: Task) -> None:
    rng = Rng(0)
    synthetic, memory = TOY.synthetic(task, rng), TOY.memory(task, rng)
    plain = FRePo(pool=3, life=6, start="real", real_batch=20, flip=False, labels="hard")
    theirs, pool = plain.synthetic(task, rng), plain.memory(task, rng)
    for network, same in zip(memory.networks, pool.networks, strict=True):
        same.load_state_dict(network.state_dict())
    losses = [
        next(method.episode(task, cells, networks, Rng(5)))
        for method, cells, networks in ((TOY, synthetic, memory), (plain, theirs, pool))
    ]
    assert torch.equal(losses[0], losses[1])
    for cells, loss in zip((synthetic, theirs), losses, strict=True):
        cells.take_gradient(loss)
    assert torch.equal(synthetic.cells.grad, theirs.cells.grad)
    assert float(synthetic.cells.grad.abs().sum()) > 0


@pytest.mark.parametrize("labels", ["hard", "learned"])
def test_networks_are_trained_on_the_cells_as_the_judges_are(task: Task, labels: str) -> None:
    method = replace(TOY, labels=labels)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(0))
    learner = memory.learners[1]
    network = task.network(Rng(9))
    network.load_state_dict(learner.network.state_dict())
    memory.learn(1, synthetic, Rng(3))
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
        assert (method.factor, method.labels) == (2, "hard")
    assert Readout.published("digits", 1).factor == 1


def test_ages_are_spread_and_the_old_are_replaced(task: Task) -> None:
    synthetic, memory = TOY.synthetic(task, Rng(0)), TOY.memory(task, Rng(0))
    assert [learner.age for learner in memory.learners] == [0, 2, 4]
    old = memory.networks[2]
    for step in range(2):
        memory.learn(2, synthetic, Rng(step))
    assert memory.networks[2] is old
    memory.learn(2, synthetic, Rng(2))
    assert memory.networks[2] is not old
    assert [learner.age for learner in memory.learners] == [0, 2, 1]


def test_bad_settings_are_one_line() -> None:
    for change, line in (
        ({"network_steps": 0}, "readout: network_steps must be at least 1, got 0"),
        ({"pool": 0}, "readout: pool must be at least 1, got 0"),
        ({"labels": "soft"}, "readout: labels must be learned or hard, got 'soft'"),
        ({"cutmix": 1.5}, "cutmix probability"),
    ):
        with pytest.raises(ValueError, match=line):
            Readout(**change)
