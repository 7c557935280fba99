"""Which paths NPB hands to the problems of its layers: their number into each input, over all of its positions."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yoco.rng import Rng
from yoco.sparsify.methods.npb import Problem, npb


def test_layers_are_solved_with_the_sums_of_paths_over_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    """All weights are kept, so that counts are convolutions of ones; a pool passes on all of its window."""
    first, second = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 4, 2)
    network = nn.Sequential(first, nn.MaxPool2d(2), second, nn.Flatten(), nn.Linear(36, 5))
    seen, plain = list[Tensor](), Problem.of

    def noted(log: Tensor, *given: Any) -> Problem:
        seen.append(log.exp())
        return plain(log, *given)

    monkeypatch.setattr(Problem, "of", noted)
    masks = npb(network, sparsity=0.0, rng=Rng(0), shape=(1, 8, 8))
    assert masks.kept == masks.total
    image, one = torch.ones(1, 1, 8, 8, dtype=torch.float64), torch.ones((), dtype=torch.float64)
    pooled = F.avg_pool2d(F.conv2d(image, one.expand(3, 1, 3, 3), padding=1), 2, divisor_override=1)
    features = F.conv2d(pooled, one.expand(4, 3, 2, 2))
    wanted = [image.sum((0, 2, 3)), pooled.sum((0, 2, 3)), features.flatten()]
    assert wanted[0].tolist() == [64]
    assert wanted[1].tolist() == [484] * 3
    assert len(seen) == len(wanted)
    for found, right in zip(seen, wanted, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-10, atol=0)
