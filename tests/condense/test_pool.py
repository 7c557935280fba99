"""Pools of networks: who joins and leaves, what they learn, what is saved, and how early ones are perturbed."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from yoco.condense.learner import Learner
from yoco.condense.method import Task
from yoco.condense.pool import EarlyNetworks, Member, Pool, perturb, signed
from yoco.data import Splits
from yoco.networks import build
from yoco.rng import Rng
from yoco.train import Recipe

RECIPE = Recipe(epochs=1, batch=16, cutmix=0.5)


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 1, "convnet:width=4,depth=2,norm=batch")


def through_disk(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


def bits(value: Any) -> Any:
    """A state as plain nested tuples, so that two are equal only if every number is."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: bits(each) for key, each in value.items()}
    return [bits(each) for each in value] if isinstance(value, list | tuple) else value


def test_a_new_network_joins_at_the_end_and_the_oldest_leaves(task: Task) -> None:
    pool = Pool(task, RECIPE, 2, 3, Rng(0))
    first, second = pool.members
    pool.push(Rng(1))
    assert pool.members[:2] == [first, second]
    third = pool.members[2]
    pool.push(Rng(2))
    assert pool.members[:2] == [second, third]
    assert len(pool.members) == 3


def test_all_members_begin_differently(task: Task) -> None:
    pool = Pool(task, RECIPE, 3, 3, Rng(0))
    assert len({member.network.head.weight[0, 0].item() for member in pool.members}) == 3


def test_draws_are_distinct_and_reach_every_member(task: Task) -> None:
    pool = Pool(task, RECIPE, 4, 4, Rng(0))
    pairs = [pool.draw(2, Rng(seed)) for seed in range(60)]
    assert all(len({id(member) for member in pair}) == 2 for pair in pairs)
    assert {id(pair[0]) for pair in pairs} == {id(member) for member in pool.members}
    assert len(pool.draw(9, Rng(0))) == 4


def test_a_member_learns_by_sgd_and_counts_in_percent(task: Task) -> None:
    recipe = Recipe(epochs=1, batch=16, lr=0.05, momentum=0.9, weight_decay=0.01)
    member, network = Member(task, recipe, Rng(0)), task.network(Rng(0))
    assert member.accuracy == 0
    member.learn(3, Rng(7))
    right, velocity = 0, {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    for step in range(3):
        batch = task.real.batch(Rng(7).child("step", step, "batch").choice(len(task.real), 16))
        logits = network(task.normalise(batch.images))
        network.zero_grad()
        cross_entropy(logits, batch.labels).backward()
        right += sum(int(row.argmax()) == int(label) for row, label in zip(logits, batch.labels, strict=True))
        with torch.no_grad():
            for name, p in network.named_parameters():
                assert p.grad is not None
                velocity[name] = 0.9 * velocity[name] + p.grad + 0.01 * p
                p -= 0.05 * velocity[name]
    assert all(weight.grad is None for weight in member.network.parameters())  # nobody reads the last ones
    assert (member.seen, member.right) == (48, right)
    assert member.accuracy == pytest.approx(100 * right / 48)
    for ours, theirs in zip(member.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_a_saved_pool_goes_on_in_the_same_bits(task: Task) -> None:
    pool, other = Pool(task, RECIPE, 2, 3, Rng(0)), Pool(task, RECIPE, 1, 3, Rng(9))
    pool.members[0].learn(2, Rng(1))
    pool.push(Rng(2))
    pool.age = 5
    saved = through_disk(pool.state_dict())
    pool.members[0].learn(2, Rng(3))
    other.load_state_dict(saved)
    other.members[0].learn(2, Rng(3))
    assert bits(other.state_dict()) == bits(pool.state_dict())
    assert other.age == 5
    assert [m.accuracy for m in other.members] == [m.accuracy for m in pool.members]


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


def test_the_order_of_drawing_changes_no_early_network(task: Task) -> None:
    forwards, backwards = (EarlyNetworks(task, RECIPE, 2, 1, 1, Rng(0)) for _ in range(2))
    ahead = [bits(forwards.early(k)) for k in (0, 1)]
    back = [bits(backwards.early(k)) for k in (1, 0)]
    assert ahead == back[::-1]
    assert ahead[0] != ahead[1]


def test_learning_with_the_copy_leaves_the_early_network_alone(task: Task) -> None:
    early = EarlyNetworks(task, RECIPE, 1, 1, 2, Rng(0))
    before = bits(early.early(0))
    early.renew(0.01, 0.09, Rng(1))
    early.learner.learn(3, Rng(2))
    assert bits(early.weights[0]) == before
    assert bits(early.learner.network.state_dict()) != before


def test_a_renewed_copy_is_the_early_network_plus_its_perturbation(task: Task) -> None:
    early = EarlyNetworks(task, RECIPE, 1, 1, 2, Rng(0))
    early.learner.age = 2
    early.renew(0.01, 0.09, Rng(4))
    expected = task.network(Rng(5))
    expected.load_state_dict(early.early(0))
    perturb(expected, signed(2, 0.01, 0.09, Rng(4).child("size")), Rng(4).child("direction"))
    assert bits(early.learner.network.state_dict()) == bits(expected.state_dict())
    assert early.learner.age == 0
    assert not early.learner.optimizer.state_dict()["state"]


def test_saved_early_networks_are_not_trained_again(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
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
