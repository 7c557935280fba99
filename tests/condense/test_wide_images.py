"""Images that are not square: methods that draw for the synthetic set do so for its images' height and width."""

from typing import Any

import pytest
import torch

from augment import Policy
from augment.policy import Draw
from yoco.condense import settings_of
from yoco.condense.method import Task
from yoco.data import Source
from yoco.rng import Rng

EXPERTS: dict[str, Any] = {"count": 1, "expert_epochs": 2, "max_start": 1, "student_steps": 1}
METHODS: dict[str, dict[str, Any]] = {
    "cafe": {"real_batch": 4, "inner": 1, "query": 4},
    "datm": {**EXPERTS, "threshold": 1e9},
    "frepo": {"pool": 1, "real_batch": 4},
    "mdc": {"real_batch": 4, "network_images": 4, "network_augment": "rotate"},
    "mtt": EXPERTS,
}


@pytest.mark.parametrize("name", METHODS)
def test_augmentations_are_drawn_for_the_height_and_the_width(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pixels = torch.randint(0, 256, (12, 1, 8, 12), dtype=torch.uint8, generator=Rng(0).generator())
    task = Task(Source("wide", pixels, torch.arange(2).repeat(6), ("a", "b")), 1, "convnet:width=4,depth=2")
    sizes: list[tuple[int, int]] = []
    plain = Policy.draw

    def draw(policy: Policy, count: int, size: tuple[int, int], generator: torch.Generator) -> Draw:
        sizes.append(size)
        return plain(policy, count, size, generator)

    method: Any = settings_of(name, "mine", 1, (1, 8, 12), augment="rotate", **METHODS[name])
    synthetic, memory = method.synthetic(task, Rng(1)), method.memory(task, Rng(2))
    monkeypatch.setattr(Policy, "draw", draw)
    assert list(method.episode(task, synthetic, memory, Rng(3)))
    assert {*sizes} == {(8, 12)}
