"""Acc-DD's early networks: when they are trained, how they are perturbed, and what is saved."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from yoco.condense.learner import Learner
from yoco.condense.method import Task
from yoco.condense.methods.acc_dd import EarlyNetworks, perturb, signed
from yoco.data import Splits
from yoco.networks import build
from yoco.rng import Rng
from yoco.train import Recipe

Same = Callable[[Any], Any]
RECIPE = Recipe(epochs=1, batch=16, cutmix=0.5)


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 1, "convnet:width=4,depth=2,norm=batch")


def test_early_networks_are_trained_once_and_for_their_epochs(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    learn = Learner.learn
    monkeypatch.setattr(Learner, "learn", lambda self, count, rng: steps.append(count) or learn(self, count, rng))
    early = EarlyNetworks(task, RECIPE, 2, 3, 1, Rng(0))
    assert steps == []
    for k in range(8):
        early.renew(0.01, 0.09, Rng(k))
    assert steps == [-(-3 * len(task.real) // 16)] * 2


def test_numbers_are_uniform_and_stay_below_the_count(task: Task) -> None:
    early = EarlyNetworks(task, RECIPE, 3, 0, 1, Rng(0))
    for k in range(40):
        early.renew(0.01, 0.09, Rng(k))
    assert set(early.weights) == {0, 1, 2}


def test_the_order_of_drawing_changes_no_early_network(task: Task, bits: Same) -> None:
    forwards, backwards = (EarlyNetworks(task, RECIPE, 2, 1, 1, Rng(0)) for _ in range(2))
    ahead = [bits(forwards.early(k)) for k in (0, 1)]
    back = [bits(backwards.early(k)) for k in (1, 0)]
    assert ahead == back[::-1]
    assert ahead[0] != ahead[1]


def test_learning_with_the_copy_leaves_the_early_network_alone(task: Task, bits: Same) -> None:
    early = EarlyNetworks(task, RECIPE, 1, 1, 2, Rng(0))
    before = bits(early.early(0))
    early.renew(0.01, 0.09, Rng(1))
    early.learner.learn(3, Rng(2))
    assert bits(early.weights[0]) == before
    assert bits(early.learner.network.state_dict()) != before


def test_a_renewed_copy_is_the_early_network_plus_its_perturbation(task: Task, bits: Same) -> None:
    early = EarlyNetworks(task, RECIPE, 1, 1, 2, Rng(0))
    early.learner.age = 2
    early.renew(0.01, 0.09, Rng(4))
    expected = task.network(Rng(5))
    expected.load_state_dict(early.early(0))
    perturb(expected, signed(2, 0.01, 0.09, Rng(4).child("size")), Rng(4).child("direction"))
    assert bits(early.learner.network.state_dict()) == bits(expected.state_dict())
    assert early.learner.age == 0
    assert not early.learner.optimizer.state_dict()["state"]


def test_saved_early_networks_are_not_trained_again(
    task: Task,
    monkeypatch: pytest.MonkeyPatch,
    through_disk: Same,
    bits: Same,
) -> None:
    early, other = EarlyNetworks(task, RECIPE, 1, 1, 2, Rng(0)), EarlyNetworks(task, RECIPE, 1, 1, 2, Rng(0))
    early.renew(0.01, 0.09, Rng(1))
    early.learner.learn(1, Rng(2))
    early.learner.age = 1
    other.load_state_dict(through_disk(early.state_dict()))
    assert bits(other.state_dict()) == bits(early.state_dict())
    monkeypatch.setattr(Learner, "learn", lambda *_: pytest.fail("trained again"))
    other.renew(0.01, 0.09, Rng(3))
    assert other.learner.age == 0


def test_directions_are_normalised_filter_by_filter() -> None:
    """Each direction has the norm of its filter; both start from the unperturbed weights; 1-D parameters stay."""
    network = build("convnet:width=4,depth=2", (1, 8, 8), 3, Rng(0)).double()
    before = {name: p.detach().clone().numpy() for name, p in network.named_parameters()}
    perturb(network, (0.05, -0.02), Rng(1))
    for name, p in network.named_parameters():
        expected = before[name].copy()
        for k, size in enumerate((0.05, -0.02)):
            if expected.ndim == 1:
                continue
            shape, generator = before[name].shape, Rng(1).child(k, name).generator()
            direction = torch.randn(shape, generator=generator, dtype=torch.float64).numpy()
            for row in range(len(direction)):
                ratio = np.sqrt((before[name][row] ** 2).sum()) / np.sqrt((direction[row] ** 2).sum())
                expected[row] += size * ratio * direction[row]
        np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-9)
        assert (p.ndim == 1) == np.array_equal(p.detach().numpy(), before[name])


def test_sizes_have_both_signs_and_stay_in_their_range() -> None:
    sizes = signed(400, 0.01, 0.09, Rng(0))
    assert all(0.01 <= abs(size) < 0.09 for size in sizes)
    assert 150 < sum(size > 0 for size in sizes) < 250
    assert max(map(abs, sizes)) > 0.085
    assert min(map(abs, sizes)) < 0.015
    assert signed(2, 0.0, 0.0, Rng(0)) == [0.0, 0.0]
