"""Random streams by name: every draw comes from (seed, names), never from the clock or a global generator."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

_GLOBAL = threading.RLock()


@dataclass(frozen=True)
class Rng:
    """A point in the tree of random streams: a seed and the names that lead here.

    The same seed and names always give the same stream, whatever else was drawn before, on every device.
    """

    seed: int
    path: tuple[str | int, ...] = ()

    def child(self, *names: str | int) -> "Rng":
        """The stream below this one with these names, e.g. `rng.child("real", episode, label)`."""
        return Rng(self.seed, self.path + names)

    def key(self) -> int:
        """The 63-bit seed that stands for (seed, path)."""
        names = tuple(str(name) if isinstance(name, str) else int(name) for name in self.path)
        digest = hashlib.blake2b(repr((int(self.seed), names)).encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> 1

    def generator(self) -> torch.Generator:
        """A fresh CPU generator at the beginning of this stream; of the key torch takes the lower 32 bits."""
        return torch.Generator().manual_seed(self.key())

    def choice(self, n: int, count: int) -> Tensor:
        """`count` distinct numbers out of range(n) in random order: long [min(count, n)]."""
        return torch.randperm(n, generator=self.generator())[:count]

    @contextmanager
    def as_global(self) -> Iterator[None]:
        """Run code that only knows torch's global generators, such as layers, on this stream, then restore them.

        Those of the CPU and, where CUDA is at work, of the current GPU. One thread at a time.
        """
        gpu = torch.cuda.is_initialized()
        with _GLOBAL:
            before, there = torch.random.get_rng_state(), torch.cuda.get_rng_state() if gpu else None
            torch.default_generator.manual_seed(self.key())
            if gpu:
                torch.cuda.manual_seed(self.key())
            try:
                yield
            finally:
                torch.random.set_rng_state(before)
                if there is not None:
                    torch.cuda.set_rng_state(there)
