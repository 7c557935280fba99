"""The device that a user's word means, and the same bits on it every time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.deterministic

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read once, at the first matrix product on a GPU


def pick(word: str) -> torch.device:
    """auto (CUDA, else Apple's MPS, else the CPU), cpu, cuda or mps.

    Raises:
        ValueError: the word is unknown, or this computer has no such device.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if word == "auto":
        word = next(name for name, present in there.items() if present)
    if not there.get(word, False):
        have = ", ".join(name for name, present in there.items() if present)
        raise ValueError(f"device: must be auto or one of {have} on this computer, got {word!r}")
    return torch.device(word)


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On CUDA, have torch compute in ways that give the same bits again, within; the CPU does so anyway.

    Where torch has no such way it warns and goes on, or raises if the caller has asked it to. The caller's own choice
    holds again afterwards.
    """
    if device.type != "cuda":
        yield
        return
    filling: Any = torch.utils.deterministic
    before, filled = torch.get_deterministic_debug_mode(), filling.fill_uninitialized_memory
    torch.set_deterministic_debug_mode(max(1, before))  # 1: warn
    filling.fill_uninitialized_memory = False  # nothing here reads what was not written
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
        filling.fill_uninitialized_memory = filled
