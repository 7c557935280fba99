"""What tests of memories share: a state as a file gives it back, and as numbers that can be compared."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch


@pytest.fixture
def through_disk() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A state, written and read again."""

    def read(state: dict[str, Any]) -> dict[str, Any]:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        buffer.seek(0)
        loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
        return loaded

    return read


@pytest.fixture
def bits() -> Callable[[Any], Any]:
    """A state as plain nested lists, so that two are equal only if every number is."""

    def plain(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.tolist()
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items()}
        return [plain(each) for each in value] if isinstance(value, list | tuple) else value

    return plain
