"""Trials: what a seed decides on."""

from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from yoco.condensed import CondensedSet
from yoco.data.source import Splits
from yoco.evaluate import evaluate
from yoco.rng import Rng
from yoco.train import Normalise, Recipe


def test_every_seed_has_weights_an_order_and_a_subset_of_its_own(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Tensor] = []
    images: list[Tensor] = []
    orders: list[int] = []

    def fit(network: Any, examples: Any, recipe: Recipe, normalise: Normalise, rng: Rng, **hooks: Any) -> None:
        begun.append(network.head.weight.detach().clone())
        images.append(examples.batch(torch.arange(len(examples))).images)
        orders.append(rng.key())
        hooks["after_epoch"](recipe.length - 1)

    monkeypatch.setattr("yoco.evaluate.trials.fit", fit)
    quick: dict[str, Any] = {"networks": "mlp:width=8", "progress": False, "device": "cpu"}
    evaluate(tiny_set, tiny, epochs=1, seeds=3, baselines=("random",), **quick)
    assert len(set(orders)) == len(orders) == 6  # three seeds of the set, then three of the baseline
    for i, j in combinations(range(3), 2):
        assert not torch.equal(begun[i], begun[j])
        assert not torch.equal(images[3 + i], images[3 + j])
    assert all(torch.equal(begun[k], begun[k + 3]) for k in range(3))  # rows are compared on the same networks
