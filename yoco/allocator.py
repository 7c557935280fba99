"""The C allocator: keep freed memory instead of giving it back, which large tensors ask for again at once."""

import ctypes
import sys
from functools import cache

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_KEPT = {_TRIM_THRESHOLD: (1 << 31) - 1, _TOP_PAD: 1 << 26}


@cache
def keep_freed_memory() -> bool:
    """Let glibc hold up to 2 GiB of freed memory, for as long as this process lives; whether that could be set.

    By default each tensor of more than 32 MiB is mapped when it is made and unmapped when it is freed, and the kernel
    clears its pages every time, which may take a good part of the time of a step. Results stay the same to the bit.
    Other systems are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # Old versions take no more than 32 MiB; after a refusal the others alone would hold the threshold where it is.
    if mallopt is None or not any(mallopt(_MMAP_THRESHOLD, size) == 1 for size in (1 << 30, 1 << 25)):
        return False
    return [mallopt(*pair) for pair in _KEPT.items()] == [1] * len(_KEPT)
