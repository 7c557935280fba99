"""Counts of paths in very deep networks: they do not overflow, and a single path is not lost."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yoco.rng import Rng
from yoco.sparsify.masks import Masks, weights
from yoco.sparsify.paths import effective


def sequence(*parts: Any) -> nn.Sequential:
    return nn.Sequential(*parts)


def sparse(network: nn.Module, seed: int, share: float) -> Masks:
    generator = Rng(seed).generator()
    return Masks({n: torch.rand(w.shape, generator=generator) < share for n, w in weights(network).items()})


@pytest.mark.parametrize("depth", [3, 400])
def test_very_deep_networks_do_not_overflow(depth: int) -> None:
    layers = [nn.Linear(30, 30, bias=False) for _ in range(depth)]
    network = sequence(nn.Flatten(), *layers)
    found = effective(network, (30, 1, 1), sparse(network, 0, 1.0))
    assert found.log_paths == pytest.approx((depth + 1) * math.log(30), rel=1e-13)
    assert found.weights == depth * 900


class Forked(nn.Module):
    """A deep branch and a short one, side by side, into one layer."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.deep = sequence(*(nn.Linear(20, 20) for _ in range(depth)))
        self.head = nn.Linear(40, 2)

    def forward(self, images: Tensor) -> Tensor:
        features = images.flatten(1)
        return self.head(torch.cat([features, self.deep(features)], 1))


def test_a_single_path_beside_countless_dead_ends_is_found() -> None:
    network = Forked(300)
    head = torch.zeros(2, 40).bool()
    head[0, 3] = True
    found = effective(network, (20, 1, 1), Masks({**sparse(network, 0, 1.0), "head.weight": head}))
    assert found.log_paths == 0
    assert (found.weights, found.nodes) == (1, 2)


def test_a_single_path_beside_countless_others_is_effective() -> None:
    network = Forked(300)
    head = torch.ones(2, 40).bool()
    head[:, 3] = False
    head[0, 3] = True
    found = effective(network, (20, 1, 1), Masks({**sparse(network, 0, 1.0), "head.weight": head}))
    assert found.log_paths == pytest.approx(301 * math.log(20) + math.log(2), rel=1e-13)
    assert found.masks["head.weight"].equal(head)
    assert found.weights == found.kept
