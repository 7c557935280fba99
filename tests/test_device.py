"""Devices by their words, and the same bits on a GPU."""

import os

import pytest
import torch

from yoco.device import pick, repeatable

CUDA = torch.device("cuda")


def state() -> tuple[int, bool]:
    return torch.get_deterministic_debug_mode(), torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]


def test_the_words() -> None:
    assert pick("cpu") == torch.device("cpu")
    assert pick("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match=r"device: must be auto or one of .*cpu.* on this computer, got 'gpu'"):
        pick("gpu")


def test_cuda_is_asked_for_the_same_bits_and_nothing_stays_changed() -> None:
    before = state()
    with repeatable(CUDA):
        assert state() == (1, False)
        with repeatable(CUDA):
            assert state() == (1, False)
        assert state() == (1, False)
    assert state() == before
    with pytest.raises(KeyError), repeatable(CUDA):
        raise KeyError
    assert state() == before


def test_a_caller_who_wants_errors_has_them_within_too() -> None:
    torch.set_deterministic_debug_mode("error")
    try:
        with repeatable(CUDA):
            assert state() == (2, False)
        assert state()[0] == 2
    finally:
        torch.set_deterministic_debug_mode("default")


def test_elsewhere_nothing_is_asked() -> None:
    before = state()
    with repeatable(torch.device("cpu")):
        assert state() == before


def test_matrix_products_on_a_gpu_are_told_before_the_first_one() -> None:
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
