"""Patterns in a whole network: rows, blocks and N:M, whose neighbours in a convolution are input channels."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yoco.rng import Rng
from yoco.sparsify.calibration import Calibration
from yoco.sparsify.curves import loss
from yoco.sparsify.masks import Masks
from yoco.sparsify.pruner import Pruner
from yoco.sparsify.solvers import SOLVERS

FIRST, SECOND, LAST = "0.weight", "2.weight", "5.weight"


@pytest.mark.parametrize("allocation", ["hull", "tolerance", "programme", "uniform"])
@pytest.mark.parametrize(("pattern", "step"), [("row", 4), ("block:3", 3)])
def test_patterns_are_kept(allocation: str, pattern: str, step: int, network: nn.Module, data: Calibration) -> None:
    chosen = [FIRST, LAST] if pattern == "block:3" else None
    given: Any = {FIRST: 18, LAST: 34} if chosen and allocation == "uniform" else allocation
    sparsity = 0.5 if isinstance(given, str) else None
    found = Pruner(pattern=pattern, allocation=given, layers=chosen)(network, data, sparsity=sparsity, rng=Rng(0))
    gap = found.masks.total - found.masks.kept - int(found.masks.total * 0.5)
    assert gap <= 0 if allocation == "uniform" else gap >= 0
    assert abs(gap) < 3 * step if allocation != "programme" else gap < 20
    for mask in found.masks.values():
        rows = (~mask).flatten(1)
        if pattern == "row":
            for group in rows.split(3) if len(rows) == 6 else [rows]:
                assert len(set(group.sum(1).tolist())) == 1
        else:
            assert set(rows.unflatten(1, (-1, 3)).sum(2).flatten().tolist()) <= {0, 3}


def gone_of(mask: Tensor, size: int) -> set[int]:
    """How many of a group of neighbours are gone: channels at one position of the kernel, then the next position."""
    ordered = (~mask).permute(0, 2, 3, 1) if mask.dim() == 4 else ~mask
    return set(ordered.flatten(1).unflatten(1, (-1, size)).sum(2).flatten().tolist())


@pytest.mark.parametrize("solver", ["exact", "column", "wanda", "admm"])
@pytest.mark.parametrize("sequential", [False, True])
def test_two_of_four(solver: str, sequential: bool, network: nn.Module, data: Calibration) -> None:
    pruner = Pruner(pattern="2:4", layers=[SECOND, LAST], solver=solver, sequential=sequential)
    found = pruner(network, data, sparsity=None, rng=Rng(0))
    assert all(gone_of(mask, 4) == {2} for mask in found.masks.values())
    assert found.curves == {}
    assert found.masks.sparsity == 0.5


@pytest.fixture(scope="module")
def channels() -> nn.Module:
    """A convolution of 4 channels in each of 2 groups, with a kernel of 3 x 2."""
    with Rng(0).as_global():
        first, second = nn.Conv2d(1, 8, 3, stride=2), nn.Conv2d(8, 6, (3, 2), groups=2)
        made = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(12, 4))
    return made.double()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("pattern", "size", "gone"), [("2:4", 4, {2}), ("1:4", 4, {3}), ("block:2", 2, {0, 2})])
def test_neighbours_in_a_convolution_are_input_channels(
    solver: str, pattern: str, size: int, gone: set[int], channels: nn.Module, data: Calibration
) -> None:
    if (solver, pattern) == ("lobs", "block:2"):
        return
    for sequential in (False, True):
        pruner = Pruner(pattern=pattern, solver=solver, sequential=sequential, layers=[SECOND, LAST])
        found = pruner(channels, data, sparsity=0.5 if "block" in pattern else None, rng=Rng(0))
        mask = found.masks[SECOND]
        assert gone_of(mask, size) == gone
        assert set((~mask).unflatten(1, (-1, size)).sum(2).flatten().tolist()) == gone
        assert not set((~mask).flatten(1).unflatten(1, (-1, size)).sum(2).flatten().tolist()) <= gone
        assert Masks.of(found.applied(channels))[SECOND].equal(mask)
        certificate = found.certify(channels, data)
        for layer, report in found.layers.items():
            assert report.predicted == pytest.approx(certificate.layers[layer].measured, rel=1e-10)


def test_the_best_of_each_group_of_channels_stays(channels: nn.Module, data: Calibration) -> None:
    pruner = Pruner(pattern="2:4", layers=[SECOND], solver="magnitude", refit=False)
    found = pruner(channels, data, sparsity=None, rng=Rng(0))
    order = channels[2].weight.detach().abs().argsort(1)
    wanted = torch.zeros_like(found.masks[SECOND]).scatter(1, order[:, 2:], True)
    assert torch.equal(found.masks[SECOND], wanted)
    assert torch.equal(found.weights[SECOND], channels[2].weight * wanted)


def test_losses_are_those_of_blocks_of_channels(channels: nn.Module, data: Calibration) -> None:
    pruner = Pruner(pattern="block:2", layers=[SECOND], weigh="loss", solver="magnitude", refit=False)
    curve = pruner.curves(channels, data, Rng(0))[SECOND]
    before = loss(channels, data)
    for count, error in zip(curve.counts, curve.errors, strict=True):
        trial = deepcopy(channels)
        pairs = trial[2].weight.data[:3].permute(0, 2, 3, 1).unflatten(3, (-1, 2))
        kept = pairs.flatten(0, 3).clone()
        kept[pairs.square().sum(4).flatten().argsort()[: count // 2]] = 0
        trial[2].weight.data[:3] = kept.view(pairs.shape).flatten(3).permute(0, 3, 1, 2)
        assert error == pytest.approx(max(loss(trial, data) - before, 0), abs=1e-12)
