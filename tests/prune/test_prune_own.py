"""Options of scores and rules of one's own: none is named as one of every call, and all have defaults."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from yoco.commands.prune import PruneOptions, ScoreOptions
from yoco.condensed import CondensedSet
from yoco.prune import Budget, Dynamics, Items, Rule, Snapshot, find, score, select
from yoco.prune.d2 import D2
from yoco.prune.own import TAKEN
from yoco.prune.training import Training
from yoco.rng import Rng


def sized(dynamics: Dynamics, *, epochs: int = 2, size: int = 3) -> Tensor:
    return dynamics.error[:epochs].sum(0) * size


def seeded(snapshot: Snapshot, seed: int = 0) -> Tensor:
    return snapshot.logits[:, seed]


def given(snapshot: Snapshot, *, data: int = 0) -> Tensor:
    return snapshot.logits[:, data]


def lacking(snapshot: Snapshot, *, power: float, width: int = 3) -> Tensor:
    return snapshot.logits[:, 0] ** power


def astray(images: Tensor, power: float) -> Tensor:
    return images.mean((1, 2, 3)) ** power


@dataclass(frozen=True, kw_only=True)
class Seeded(Rule):
    """The first ones; from outside of the package."""

    seed: int = 0

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """As they come."""
        return torch.arange(budget.total(len(items.labels), items.classes))


@dataclass(frozen=True, kw_only=True)
class Long(D2):
    """A rule of the library, with an option that every call has."""

    epochs: int = 3


@dataclass(frozen=True, kw_only=True)
class Wide(Rule):
    """The first ones; of a width."""

    width: int

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """As they come."""
        return torch.arange(budget.total(len(items.labels), items.classes))


@dataclass(frozen=True, kw_only=True)
class Nearer(D2):
    """A rule of the library, with an option more."""

    usual: str = "el2n"
    width: int = 2


WIDE = Wide(width=3)


def test_the_names_that_are_taken_are_those_of_the_calls_and_of_the_commands() -> None:
    calls = {*signature(score).parameters, *signature(select).parameters} - {"options"}
    assert calls | {f.name for form in (Training, PruneOptions, ScoreOptions) for f in fields(form)} == TAKEN


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("sized", "options must not have reserved names, got size; rename it"),
        ("seeded", "options must not have reserved names, got seed; rename it"),
        ("given", "options must not have reserved names, got data; rename it"),
        ("lacking", "options must have defaults, got power without one"),
        ("astray", "its first parameter must be dynamics or snapshot, got images"),
    ],
)
def test_scores_that_would_not_be_given_their_options_are_refused(
    name: str,
    rule: str,
    tiny_set: CondensedSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[..., str],
) -> None:
    monkeypatch.setattr("yoco.prune.asked.observe", None)
    own = f"{__name__}:{name}"
    calls: tuple[Any, ...] = (score, lambda data, **how: select(data, rule="hard", ipc=1, **how))
    for call in calls:
        with pytest.raises(ValueError) as caught:
            call(tiny_set, score=own)
        assert str(caught.value) == f"score {own}: {rule}"
    words = ("--data", "digits", "--size", "5", "--seed", "7", "--score", own, "--out", str(tmp_path / "s.csv"))
    assert fails("score", *words) == f"yoco: score {own}: {rule}\n"


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("Seeded", "options must not have reserved names, got seed; rename it"),
        ("Long", "options must not have reserved names, got epochs; rename it"),
        ("Wide", "options must have defaults, got width without one"),
    ],
)
def test_rules_that_would_not_be_given_their_options_are_refused(name: str, rule: str) -> None:
    own = f"{__name__}:{name}"
    with pytest.raises(ValueError) as caught:
        find(own)
    assert str(caught.value) == f"rule {own}: {rule}"


def test_options_that_a_rule_has_from_the_library_may_have_their_names() -> None:
    for name, kind in ((f"{__name__}:Nearer", Nearer), ("yoco.prune.d2:D2", D2)):
        found = find(name)
        assert type(found) is kind
        assert isinstance(found, D2)
        assert found.mode == "paper"


def test_a_rule_that_is_made_already_needs_no_defaults() -> None:
    assert find(f"{__name__}:WIDE") == WIDE
    assert find(f"{__name__}:WIDE", width=4) == Wide(width=4)
