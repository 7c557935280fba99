"""Devices by their words, what they compute in, and the same bits on a GPU."""

import os
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_info, threadpool_limits
from torch import Tensor

from yoco import device
from yoco.condense.coreset import medoids
from yoco.condensed import CondensedSet
from yoco.data import Splits
from yoco.device import at_work, compute_type, pick, two_threads
from yoco.evaluate import evaluate
from yoco.kmeans import k_means
from yoco.networks import Network
from yoco.prune import distances, observe
from yoco.rng import Rng
from yoco.train import Normalise, Recipe

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def state() -> tuple[int, bool]:
    return torch.get_deterministic_debug_mode(), torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]


def test_the_words() -> None:
    assert pick("cpu") == torch.device("cpu")
    assert pick("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match=r"device: must be auto or one of .*cpu.* on this computer, got 'gpu'"):
        pick("gpu")


def test_cuda_is_asked_for_the_same_bits_and_nothing_stays_changed() -> None:
    before = state()
    with at_work(CUDA):
        assert state() == (1, False)
        with at_work(CUDA):
            assert state() == (1, False)
        assert state() == (1, False)
    assert state() == before
    with pytest.raises(KeyError), at_work(CUDA):
        raise KeyError
    assert state() == before


def test_who_is_still_at_work_keeps_the_same_bits() -> None:
    before, first, second = state(), at_work(CUDA), at_work(CUDA)
    for each in (first, second):
        each.__enter__()
    first.__exit__(None, None, None)
    assert state() == (1, False)
    second.__exit__(None, None, None)
    assert state() == before


def test_a_caller_who_wants_errors_has_them_within_too() -> None:
    torch.set_deterministic_debug_mode("error")
    try:
        with at_work(CUDA):
            assert state() == (2, False)
        assert state()[0] == 2
    finally:
        torch.set_deterministic_debug_mode("default")


def test_elsewhere_nothing_is_asked() -> None:
    before = state()
    with at_work(torch.device("cpu")):
        assert state() == before


def test_matrix_products_on_a_gpu_are_told_before_the_first_one() -> None:
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]


@pytest.mark.parametrize(
    ("capable", "said"), [(False, ["bf16: this processor has no instructions for bfloat16"]), (True, [])]
)
def test_bfloat16_without_instructions_for_it_is_spoken_of(
    capable: bool, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_knows_bf16", lambda place: capable)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert compute_type(True, CPU) == torch.bfloat16
        assert compute_type(False, CPU) is None
    assert [str(each.message).partition(",")[0] for each in heard] == said


def test_pytorch_says_whether_the_processor_knows_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False, raising=False)
    assert not device._knows_bf16(CPU)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    assert device._knows_bf16(CPU)
    assert device._knows_bf16(torch.device("mps"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    assert not device._knows_bf16(CUDA)


@pytest.mark.parametrize(("bf16", "amx"), [(False, False), (True, False), (False, True)])
def test_avx512_alone_is_no_instruction_for_bfloat16(bf16: bool, amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bf16, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert device._knows_bf16(CPU) == (bf16 or amx)


def test_bfloat16_is_what_networks_compute_in(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick: dict[str, Any] = {"networks": "mlp:width=8", "progress": False}
    seen, plain = set(), Network._precision
    monkeypatch.setattr(Network, "_precision", lambda self, x: (seen.add(self.autocast), plain(self, x))[1])
    evaluate(tiny_set, tiny, epochs=1, seeds=1, bf16=True, **quick)
    assert seen == {torch.bfloat16}
    seen.clear()
    observe(tiny_set, epochs=1, recipe=Recipe(epochs=1), rng=Rng(0), network="mlp:width=4", bf16=True)
    assert seen == {torch.bfloat16}


def threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"]


@pytest.mark.parametrize(("before", "within"), [(4, 2), (2, 2), (1, 1)])
def test_more_than_two_threads_are_two_within(before: int, within: int) -> None:
    with threadpool_limits(before, "openmp"):
        with two_threads():
            assert {*threads()} == {within}
        assert {*threads()} == {before}


@pytest.mark.parametrize("cluster", [k_means, distances.k_means, medoids])
def test_k_means_has_no_more_sums_than_two(cluster: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    fit = KMeans.fit

    def spy(self: KMeans, rows: Any) -> KMeans:
        seen.extend(threads())
        return fit(self, rows)

    monkeypatch.setattr(KMeans, "fit", spy)
    with threadpool_limits(4, "openmp"):
        cluster(torch.rand(8, 2, generator=Rng(0).generator()).double(), 2, Rng(0))
    assert {*seen} == {2}


def test_constants_of_channels_are_made_once_for_each_type(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.dtype] = []
    tensor, normalise = torch.tensor, Normalise((0.11, 0.21, 0.31), (1.1, 2.1, 4.1))

    def counted(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        made.append(dtype)
        return tensor(values, dtype=dtype, device=device)

    monkeypatch.setattr(torch, "tensor", counted)
    for kind in (torch.float32, torch.float64, torch.float32, torch.float64):
        images = torch.rand(2, 3, 4, 4, dtype=kind)
        mean, std = (images.new_tensor(each)[:, None, None] for each in (normalise.mean, normalise.std))
        assert torch.equal(normalise(images), (images - mean) / std)
    assert made == [torch.float32] * 2 + [torch.float64] * 2


def test_constants_of_channels_that_were_made_without_gradients_serve_learning() -> None:
    normalise, images = Normalise((0.12,), (0.52,)), torch.rand(2, 1, 4, 4)
    with torch.inference_mode():
        seen = normalise(images)
    learned = normalise(images.requires_grad_())
    learned.sum().backward()
    assert images.grad is not None
    assert torch.equal(learned, seen)
