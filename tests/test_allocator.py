"""Keeping freed memory changes no result, and is left alone where there is no glibc; where large tensors lie."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from yoco.allocator import keep_freed_memory
from yoco.networks import build
from yoco.rng import Rng


def plain() -> dict[str, str]:
    """The environment without another allocator, or what somebody tells that of glibc."""
    told = ("LD_PRELOAD", "GLIBC_TUNABLES", "MALLOC_")
    return {name: value for name, value in os.environ.items() if not name.startswith(told)}


def test_it_is_set_on_linux_and_results_stay_the_same_to_the_bit() -> None:
    network = build("convnet:width=16", (1, 16, 16), 3, Rng(0))
    images = torch.rand(64, 1, 16, 16, generator=Rng(1).generator())
    before = network(images)
    assert keep_freed_memory.__wrapped__() == sys.platform.startswith("linux")
    assert torch.equal(before, network(images))


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yoco.allocator.sys.platform", "darwin")
    assert not keep_freed_memory.__wrapped__()


@pytest.mark.parametrize("most", [1 << 40, 1 << 25, 0])
def test_what_an_old_library_takes_is_asked_for_and_nothing_after_a_refusal(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def mallopt(name: int, value: int) -> int:
        asked.append((name, value))
        return int(name != -3 or value <= most)

    monkeypatch.setattr("yoco.allocator.ctypes.CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    assert keep_freed_memory.__wrapped__() == (most > 0)
    sizes = [value for name, value in asked if name == -3]
    assert sizes == [1 << 30, 1 << 25][: 1 if most > 1 << 30 else 2]
    assert len(asked) == len(sizes) + (2 if most else 0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_at_work_on_a_cpu_large_tensors_have_pages_of_those_before() -> None:
    program = """
import ctypes, resource, torch
from yoco.device import at_work
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages are small, whatever the machine prefers
for device in ("meta", "cpu"):
    with at_work(torch.device(device)):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for turn in range(64):  # small pieces of memory settle in the holes of the first ones, which do not fit again
            torch.ones(10 << 20)  # 40 MiB: more than glibc keeps by itself
        new = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    print(new * resource.getpagesize() / (40 << 20))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=plain())
    elsewhere, at_work = map(float, done.stdout.split())
    assert at_work <= 32
    assert 64 <= elsewhere <= 66


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="needs huge pages")
@pytest.mark.parametrize("chosen", ["0", None])
def test_huge_pages_are_asked_for_unless_somebody_says_no(chosen: str | None) -> None:
    program = """
import yoco, torch
kept = torch.ones(1 << 24)
print(any("hg" in line.split() for line in open("/proc/self/smaps") if line.startswith("VmFlags")))
"""
    environment = {name: value for name, value in plain().items() if name != "THP_MEM_ALLOC_ENABLE"}
    environment |= {} if chosen is None else {"THP_MEM_ALLOC_ENABLE": chosen}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == str(chosen is None)
