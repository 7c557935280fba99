"""A condensed set with everything in it, and its file."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from yoco.condensed import CondensedSet


@pytest.fixture
def rich(tiny_set: CondensedSet) -> CondensedSet:
    """A set with every part there can be."""
    return replace(
        tiny_set,
        soft_labels=torch.eye(3)[tiny_set.labels],
        scores=torch.arange(36.0),
        config={"ipc": 3, "lr": 5e-3},
        history=({"step": "prune", "scores": {"epochs": 5}},),
        versions={"yoco": "0"},
        classes=("zero", "eins", "δύο"),
    )


@pytest.fixture
def saved(rich: CondensedSet, tmp_path: Path) -> Path:
    """That set as a file."""
    rich.save(tmp_path / "set.safetensors")
    return tmp_path / "set.safetensors"
