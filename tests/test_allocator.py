"""Keeping freed memory changes no result, and is left alone where there is no glibc."""

import sys

import pytest
import torch

from yoco.allocator import keep_freed_memory
from yoco.networks import build
from yoco.rng import Rng


def test_it_is_set_on_linux_and_results_stay_the_same_to_the_bit() -> None:
    network = build("convnet:width=16", (1, 16, 16), 3, Rng(0))
    images = torch.rand(64, 1, 16, 16, generator=Rng(1).generator())
    before = network(images)
    assert keep_freed_memory() == sys.platform.startswith("linux")
    assert torch.equal(before, network(images))


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yoco.allocator.sys.platform", "darwin")
    assert not keep_freed_memory()
