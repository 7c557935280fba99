"""The device that a user's word means."""

import torch


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
