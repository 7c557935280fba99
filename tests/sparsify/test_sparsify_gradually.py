"""Pruning in rounds, with something that mends the network between them."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from yoco.data.source import Splits
from yoco.networks import build
from yoco.rng import Rng
from yoco.sparsify.calibration import calibration
from yoco.sparsify.hold import held
from yoco.sparsify.pruned import Pruned
from yoco.sparsify.pruner import Pruner
from yoco.sparsify.retrain import gradually, retrain
from yoco.train import Normalise


@pytest.mark.parametrize(("sparsity", "rounds"), [(0.9, 1), (0.9, 2), (0.875, 3), (0.5, 4)])
def test_what_is_kept_falls_by_the_same_factor(sparsity: float, rounds: int, tiny: Splits) -> None:
    network, asked, log = build("mlp:width=8", (1, 8, 8), 3, Rng(0)), [], []
    drawn = calibration(network, tiny.train, Rng(0))
    answers: list[Pruned] = []

    def prune(given: nn.Module, now: float) -> Pruned:
        assert given is network
        asked.append(now)
        log.append("prune")
        answers.append(Pruner(solver="magnitude", allocation="global")(given, drawn, sparsity=now, rng=Rng(0)))
        return answers[-1]

    def mend(given: nn.Module) -> None:
        assert given is network
        log.append("mend")
        assert held(network) == answers[-1].masks
        retrain(network, tiny.train, Normalise(tiny.train.mean, tiny.train.std), Rng(len(log)), steps=2)

    found = gradually(network, prune, mend, sparsity=sparsity, rounds=rounds)
    assert asked == pytest.approx([1 - (1 - sparsity) ** (k / rounds) for k in range(1, rounds + 1)], rel=1e-12)
    assert asked[-1] == sparsity
    assert log == ["prune", *["mend", "prune"] * (rounds - 1)]
    assert found is answers[-1]
    assert held(network) == found.masks
    assert found.masks.total - found.masks.kept == int(found.masks.total * sparsity)
    for name, weight in found.weights.items():
        assert torch.equal(network.get_parameter(name), weight)
    for less, more in pairwise(answers):
        assert all(not (more.masks[name] & ~mask).any() for name, mask in less.masks.items())


@pytest.mark.parametrize("rounds", [0, -2])
def test_there_is_a_round_at_least(rounds: int) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError

    with pytest.raises(ValueError, match=rf"^sparsify: rounds must be at least 1, got {rounds}$"):
        gradually(nn.Linear(2, 2), never, never, sparsity=0.5, rounds=rounds)
