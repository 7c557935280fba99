"""The device that a user's word means, what it computes in, and how: fast, and the same bits every time."""

import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
import torch.utils.deterministic

from yoco.allocator import keep_freed_memory

P = ParamSpec("P")
R = TypeVar("R")

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


def compute_type(bf16: bool, device: torch.device) -> torch.dtype | None:
    """The dtype that networks compute in, in place of float32: bfloat16 with `bf16`, else None.

    Warns if the device has no instructions for it: an x86 processor without AVX512_BF16 and AMX is slower in it than in
    float32, one without AVX-512 many times slower.
    """
    if bf16 and not _knows_bf16(device):
        said = "bf16: this {} has no instructions for bfloat16, so bf16 is slower than float32 here, perhaps many times"
        warnings.warn(said.format("processor" if device.type == "cpu" else "GPU"), stacklevel=3)
    return torch.bfloat16 if bf16 else None


def _knows_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return True
    asks = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    if torch.backends.cpu.get_cpu_capability() == "AVX512" and None not in asks:
        return any(ask() for ask in asks if ask)
    known = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return known is None or bool(known())


def cpu_by_default(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that tensors it makes without naming a device lie on the CPU, as random streams do.

    So `torch.set_default_device` of the caller has no effect within.
    """

    @wraps(function)
    def inner(*args: P.args, **options: P.kwargs) -> R:
        with torch.device("cpu") if torch.get_default_device().type != "cpu" else nullcontext():
            return function(*args, **options)

    return inner


@contextmanager
def at_work(device: torch.device) -> Iterator[None]:
    """Compute on a device within: on CUDA with deterministic algorithms; the CPU is deterministic anyway.

    Where torch has no deterministic algorithm it warns and goes on, or raises if the caller has set that. The caller's
    setting is restored when no thread is at work any more. On the CPU, the memory of large tensors that are freed is
    kept for the next ones from then on.
    """
    if device.type != "cuda":
        if device.type == "cpu":
            keep_freed_memory()
        yield
        return
    filling: Any = torch.utils.deterministic
    with _CHANGING:
        now = (torch.get_deterministic_debug_mode(), filling.fill_uninitialized_memory)
        _BEFORE.append(_BEFORE[0] if _BEFORE else now)
        torch.set_deterministic_debug_mode(max(1, now[0]))  # 1: warn
        filling.fill_uninitialized_memory = False  # nothing here reads what was not written
    try:
        yield
    finally:
        with _CHANGING:
            mode, filled = _BEFORE.pop()
            if not _BEFORE:
                torch.set_deterministic_debug_mode(mode)
                filling.fill_uninitialized_memory = filled


_CHANGING = threading.Lock()
_BEFORE: list[tuple[int, bool]] = []
"""For each that is at work on CUDA: what the caller had chosen ahead of the first, as both hold for the process."""


@contextmanager
def two_threads() -> Iterator[None]:
    """Limit scikit-learn, once it is imported, to two threads within, so that k-means is reproducible.

    k-means adds up the sums of threads as they end. The total of two is the same in either order, that of three is not.
    """
    from threadpoolctl import ThreadpoolController

    pools = ThreadpoolController().select(user_api="openmp")
    more = [pool.filepath for pool in pools.lib_controllers if pool.num_threads > 2]
    with pools.select(filepath=more).limit(limits=2):
        yield
