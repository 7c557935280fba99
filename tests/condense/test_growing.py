"""A growing set: what is shown of it is a set of its own, learned in place; and networks that some images taught."""

from typing import Any

import pytest
import torch

from yoco.condense.growing import Growing, Shown, Taught
from yoco.condense.method import Task
from yoco.condense.synthetic import Synthetic
from yoco.data import Splits
from yoco.rng import Rng


@pytest.fixture(params=[(8, 2), (7, 2), (8, 1)], ids=str)
def whole(request: pytest.FixtureRequest) -> Growing:
    """Eight cells of each of three classes, with a number beside them."""
    side, factor = request.param
    cell = -(-side // factor)
    cells = torch.rand(24, 1, cell, cell, generator=Rng(0).generator())
    return Growing(cells, 3, factor, (side, side), {"lr": torch.tensor(0.1)})


def test_what_is_shown_is_the_set_of_the_first_cells(whole: Growing) -> None:
    shown, own = Shown(whole, 3), whole.copy(3)
    assert type(own) is Synthetic
    assert torch.equal(shown.cells, own.cells)
    assert torch.equal(shown.labels, own.labels)
    assert (shown.per_class, shown.images_per_class) == (own.per_class, own.images_per_class) == (3, 3 / own.factor**2)
    for c in range(3):
        ways: tuple[dict[str, Any], ...] = ({}, {"first": 2}, {"first": 7}, {"limit": 2, "rng": Rng(5)}, {"limit": 9})
        for how in ways:
            assert all(map(torch.equal, shown.of(c, **how), own.of(c, **how)))
    for indices in (None, torch.tensor([8, 0, 4])):
        assert all(map(torch.equal, shown.everything(indices), own.everything(indices)))
    assert torch.equal(shown.firsts(5), own.firsts(3))


def test_what_is_shown_is_learned_in_place(whole: Growing) -> None:
    shown, own = Shown(whole, 3), whole.copy(3)
    weights = torch.arange(9.0).view(9, 1, 1, 1)
    losses = [(each.everything().images.square() * weights).sum() * each.beside["lr"] for each in (shown, own)]
    shown.take_gradient(losses[0])
    plain, rate = torch.autograd.grad(losses[1], own.parameters())
    assert whole.cells.grad is not None
    places = whole.cells.grad.unflatten(0, (3, 8))
    learned = torch.ones(24, 1, 1, 1) if whole._learned is None else whole._learned
    torch.testing.assert_close(places[:, :3], plain.unflatten(0, (3, 3)) * learned.unflatten(0, (3, 8))[:, :3])
    torch.testing.assert_close(whole.beside["lr"].grad, rate)
    assert not places[:, 3:].any()
    with torch.no_grad():
        whole.cells.add_(2)
    assert float(shown.cells.detach().min()) >= 2
    shown.clamp()
    assert float(whole.cells.detach().max()) == 1


def test_together_works_on_what_is_shown(whole: Growing) -> None:
    shown = Shown(whole, 2)
    whole.take_gradient(shown.together(shown.of(c).images.square().sum() for c in range(3)))
    assert whole.cells.grad is not None
    found = whole.cells.grad.clone()
    whole.take_gradient(shown.everything().images.square().sum())
    torch.testing.assert_close(found, whole.cells.grad)


def test_networks_are_taught_in_place_of_random_ones(tiny: Splits) -> None:
    task = Task(tiny.train, 2, "convnet:width=4,depth=2")
    images = torch.cat([tiny.train.batch(members[:2]).images for members in tiny.train.by_class])
    for taught, same in ((Taught.by(task, images, 0), True), (Taught.by(task, None, 9), True)):
        assert equal(taught.network(Rng(3)), task.network(Rng(3))) == same
    taught = Taught.by(task, images, 20)
    assert equal(taught.network(Rng(3)), taught.network(Rng(3)))
    right = taught.network(Rng(3))(task.normalise(images)).argmax(1) == torch.arange(3).repeat_interleave(2)
    assert right.float().mean() > 0.8
    assert (taught.per_class, taught.network_name, taught.real) == (2, task.network_name, task.real)


def equal(one: Any, other: Any) -> bool:
    """Whether two networks have the same weights."""
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
