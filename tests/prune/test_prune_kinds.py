"""Options of the wrong kind are one line, not a failure somewhere inside."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.prune import Budget, Items, Rule, find
from yoco.prune.kinds import same_kind
from yoco.prune.training import Training
from yoco.rng import Rng


@pytest.mark.parametrize(
    ("value", "default"),
    [(True, False), (3, 1), (np.int64(3), 1), (3, 0.5), (np.float32(3), 0.5), ("a", "b"), ("a", None), (3, None)],
)
def test_values_of_the_kind_of_the_default_are_taken(value: Any, default: Any) -> None:
    same_kind("x", "y", value, default)


@pytest.mark.parametrize(
    ("value", "default", "message"),
    [
        ("a", 1, "x: y must be a whole number, got 'a'"),
        (1.5, 1, "x: y must be a whole number, got 1.5"),
        (True, 1, "x: y must be a whole number, got True"),
        ("a", 0.5, "x: y must be a number, got 'a'"),
        (None, 0.5, "x: y must be a number, got None"),
        (True, 0.5, "x: y must be a number, got True"),
        (1, "a", "x: y must be a word, got 1"),
        (1, False, "x: y must be True or False, got 1"),
    ],
)
def test_values_of_another_kind_are_one_line(value: Any, default: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        same_kind("x", "y", value, default)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: find("ccs", beta="0.1"), "stratified: beta must be a number, got '0.1'"),
        (lambda: find("ccs", strata=2.5), "rule ccs: strata must be a whole number, got 2.5"),
        (lambda: find(["ccs"]), "rule: must be a name, or module:Class, got ['ccs']"),  # type: ignore[arg-type]
        (lambda: Training(runs="2"), "score: runs must be a whole number, got '2'"),  # type: ignore[arg-type]
        (lambda: Training(recipe="yoco"), "score: recipe must be a yoco.train.Recipe, got 'yoco'"),  # type: ignore[arg-type]
    ],
)
def test_rules_and_trainings_check_their_options(call: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        call()
    assert str(caught.value) == message


@dataclass(frozen=True, kw_only=True)
class Weighed(Rule):
    """The first ones; from outside of the package."""

    weights: Any = None

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """As they come."""
        return torch.arange(budget.total(len(items.labels), items.classes))


def test_options_of_a_rule_are_what_a_file_can_hold() -> None:
    name = f"{__name__}:Weighed"
    assert find(name, weights=Path("w.pt")) == Weighed(weights="w.pt")
    assert find(name, weights={"a": [np.float32(0.5), None]}).weights == {"a": [0.5, None]}
    for weights, kind in ((torch.zeros(2), "Tensor"), ([Path("w.pt")], type(Path()).__name__)):
        with pytest.raises(ValueError) as caught:
            find(name, weights=weights)
        rule = f"must be a number, a string, or a list or mapping of these, got {kind}"
        assert str(caught.value) == f"rule: option weights of {name}: {rule}"
