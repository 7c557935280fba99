"""How far one module can stretch what differs at its inputs: every factor of the bound against the operator itself."""

from math import prod, sqrt
from typing import Any

import pytest
import torch
from torch import nn

from yoco.rng import Rng
from yoco.sparsify.certificate import lipschitz


def operator(module: nn.Module, shape: tuple[int, int, int]) -> float:
    """The largest singular value of the matrix of a linear module, made column by column."""
    basis = torch.eye(prod(shape), dtype=torch.float64).unflatten(1, shape)
    with torch.no_grad():
        columns = module(basis) - module(torch.zeros(1, *shape, dtype=torch.float64))
    return float(torch.linalg.svdvals(columns.flatten(1))[0])


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular", "replicate"])
@pytest.mark.parametrize(
    "given",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 3, "stride": 3},
        {"kernel_size": 2, "stride": 3, "padding": 2},
        {"kernel_size": 3, "stride": (2, 1), "dilation": 2, "padding": 2},
        {"kernel_size": (5, 2), "padding": (4, 1)},
        {"kernel_size": 3, "padding": "same", "dilation": 2},
        {"kernel_size": 1, "padding": 3},
        {"kernel_size": 1},
        {"kernel_size": 3, "padding": 1, "groups": 2},
        {"kernel_size": 3, "padding": 4, "groups": 4, "dilation": 4},
    ],
    ids=str,
)
def test_no_convolution_stretches_more_than_its_factor(mode: str, given: dict[str, Any]) -> None:
    """Random weights, weights that are all alike, and a single one."""
    with Rng(2).as_global():
        layer = nn.Conv2d(4, 4, **given, padding_mode=mode).double()
    for fill in ("random", "alike", "corner", "middle"):
        with torch.no_grad():
            if fill == "alike":
                layer.weight.fill_(1)
            elif fill != "random":
                layer.weight.fill_(0)
                layer.weight[:, 0, *((0, 0) if fill == "corner" else (s // 2 for s in layer.kernel_size))] = 1
        true = operator(layer, (4, 5, 6))
        spectral, frobenius = (lipschitz(layer, norm) for norm in ("spectral", "frobenius"))
        assert true <= spectral * (1 + 1e-12)
        assert spectral <= frobenius * (1 + 1e-12)


def test_the_factor_is_exact_where_patches_lie_apart() -> None:
    for size, stride in ((1, 1), (2, 2), (2, 3)):
        layer = nn.Conv2d(2, 3, size, stride).double()
        assert lipschitz(layer, "spectral") == pytest.approx(operator(layer, (2, 6, 6)), rel=1e-12)


@pytest.mark.parametrize(
    ("pool", "wanted"),
    [
        (nn.AvgPool2d(2), 0.5),
        (nn.AvgPool2d((2, 1), (3, 1)), 1 / sqrt(2)),
        (nn.AvgPool2d(2, padding=1), 0.5),
        (nn.AvgPool2d(2, ceil_mode=True), 1.0),
        (nn.AvgPool2d(2, padding=1, count_include_pad=False), 1.0),
        (nn.AvgPool2d(2, stride=1), None),
        (nn.AvgPool2d(2, divisor_override=1), None),
        (nn.AdaptiveAvgPool2d(1), 1.0),
        (nn.AdaptiveAvgPool2d((1, 1)), 1.0),
        (nn.AdaptiveAvgPool2d(2), None),
    ],
    ids=str,
)
def test_no_mean_stretches_more_than_its_factor(pool: nn.Module, wanted: float | None) -> None:
    assert lipschitz(pool, "spectral") == wanted
    if wanted is not None:
        assert operator(pool, (2, 5, 5)) <= wanted + 1e-12


@pytest.mark.parametrize(
    ("pool", "wanted"),
    [
        (nn.MaxPool2d(2), 1.0),
        (nn.MaxPool2d(2, 3), 1.0),
        (nn.MaxPool2d(3, 2, padding=1), None),
        (nn.MaxPool2d(2, 2, dilation=2), None),
        (nn.AdaptiveMaxPool2d(1), None),
    ],
    ids=str,
)
def test_maxima_of_windows_that_share_pixels_have_no_factor(pool: nn.Module, wanted: float | None) -> None:
    assert lipschitz(pool, "frobenius") == wanted


def test_batch_norm_stretches_by_its_largest_scale() -> None:
    norm = nn.BatchNorm1d(3, affine=False).double().eval()
    norm.running_var.copy_(torch.tensor([4.0, 0.25, 1.0]))
    assert lipschitz(norm, "spectral") == pytest.approx(2, rel=1e-4)
