"""IDM's queue of networks: who joins and leaves, what they learn, and what is saved."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from yoco.condense.method import Task
from yoco.condense.methods.idm import Member, Pool
from yoco.data import Splits
from yoco.rng import Rng
from yoco.train import Recipe

Same = Callable[[Any], Any]
RECIPE = Recipe(epochs=1, batch=16, cutmix=0.5)


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 1, "convnet:width=4,depth=2,norm=batch")


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


def test_a_saved_pool_goes_on_in_the_same_bits(task: Task, through_disk: Same, bits: Same) -> None:
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
