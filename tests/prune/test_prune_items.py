"""What a rule reads of several trainings: the mean of what each of them shows."""

from typing import Any

import torch

from yoco.condensed import CondensedSet
from yoco.prune import find, observe
from yoco.prune.at_hand import Given
from yoco.prune.items import items_for
from yoco.prune.request import Request
from yoco.prune.rules import Items
from yoco.prune.scores import margin, mean_confidence
from yoco.rng import Rng
from yoco.train import Recipe


def test_confidence_and_doubts_are_means_over_trainings(tiny_set: CondensedSet) -> None:
    how: dict[str, Any] = {"epochs": 12, "recipe": Recipe(epochs=12), "network": "mlp:width=4", "snapshot": True}
    both = [observe(tiny_set, rng=Rng(run), **how) for run in range(2)]

    def read(rule: str, given: dict[str, Any], **options: Any) -> Items:
        return items_for(Request(tiny_set, rule, find(rule, **options), Given(evidence=both, **given)))[0]

    def mean(of: Any, *epochs: int) -> torch.Tensor:
        each = [of(evidence.dynamics, *epochs) for evidence in both]
        assert not torch.allclose(*each)
        return (each[0] + each[1]) / 2

    confidence = read("beta", {"options": {"epochs": 11}}).confidence
    torch.testing.assert_close(confidence, mean(mean_confidence, 11))
    torch.testing.assert_close(read("ccs", {}, beta=0.1, drop="margin").doubts, mean(margin))
