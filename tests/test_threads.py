"""Threads that train at the same time: what each sets for the whole process, it sets when it is its turn."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from yoco.condense import condense
from yoco.data.source import Splits
from yoco.networks import build
from yoco.rng import Rng
from yoco.train import Normalise, Recipe, train_step


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What torch's global generator is seeded with when the device is set to work, and when it is put back."""
    seen: list[int] = []

    @contextmanager
    def at_work(device: torch.device) -> Iterator[None]:
        seen.append(torch.initial_seed())
        yield
        seen.append(torch.initial_seed())

    monkeypatch.setattr("yoco.train.at_work", at_work)
    monkeypatch.setattr("yoco.condense.loop.at_work", at_work)
    return seen


def test_a_step_sets_the_device_to_work_within_its_turn(tiny: Splits, seeds: list[int]) -> None:
    network, rng, recipe = build("mlp:width=4", (1, 8, 8), 3, Rng(0)), Rng(1), Recipe(epochs=1)
    batch = tiny.train.batch(torch.arange(8))
    train_step(network, recipe.optimizer(network), batch, recipe, Normalise(tiny.train.mean, tiny.train.std), rng)
    assert seeds == [rng.child("forward").generator().initial_seed()] * 2


def test_an_episode_sets_the_device_to_work_within_its_turn(tiny: Splits, seeds: list[int]) -> None:
    condense(tiny, "dm", ipc=1, episodes=1, network="convnet:width=4,depth=1", device="cpu", progress=False)
    assert seeds[:1] == seeds[-1:] == [Rng(0).child("episode", 0, "forward").generator().initial_seed()]
