"""Pruning what anybody has: arrays, labels, scores and rules of one's own."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import yoco
from yoco.condensed import CondensedSet, load
from yoco.data import Splits
from yoco.prune import (
    RULES,
    Budget,
    Items,
    Rule,
    Scores,
    observe,
    prune,
    rank,
    score,
    select,
)
from yoco.prune.choosing import as_set, scores_for
from yoco.rng import Rng
from yoco.train import Recipe

QUOTA = {"quota": "equal"}


class Greedy(Rule):
    """Not nested; from outside of the package."""

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        return torch.arange(budget.total(len(items.labels), items.classes)).flip(0)


class Doubles(Greedy):
    """Breaks the promise to choose distinct samples."""

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        return torch.zeros(budget.total(len(items.labels), items.classes), dtype=torch.long)


def test_anybodys_rule_can_be_named_and_is_checked(tiny_set: CondensedSet) -> None:
    assert prune(tiny_set, rule=f"{__name__}:Greedy", n=3).counts == (3, 0, 0)
    with pytest.raises(
        ValueError, match=r"must return 3 distinct indices in 0..35, got 1 distinct ones in int64 \[3\]$"
    ):
        prune(tiny_set, rule=f"{__name__}:Doubles", n=3)
    line = r"^rank: rule and quota must make smaller sets prefixes of larger ones, got the {}; use prune$"
    with pytest.raises(ValueError, match=line.format(r"rule '\w+:Greedy'")):
        rank(tiny_set, f"{__name__}:Greedy")
    with pytest.raises(ValueError, match=line.format("quota 'floor'")):
        rank(tiny_set, quota="floor")


def test_the_floor_is_half_of_an_equal_share_unless_another_is_named(tiny_set: CondensedSet) -> None:
    how: dict[str, Any] = {"rule": "easy", "n": 12, "quota": "floor", "scores": torch.arange(36.0)}
    assert select(tiny_set, **how).entry["kept"] == [8, 2, 2]
    assert select(tiny_set, **how, floor=1.0).entry["kept"] == [4, 4, 4]


def test_a_data_set_becomes_a_set_of_whole_images(tiny: Splits, tmp_path: Path) -> None:
    chosen = select(tiny.train, rule="random", ipc=2, quota="equal")
    small = as_set(tiny.train, chosen)
    assert small.source == {"name": "digits", "checksum": tiny.train.checksum, "images": len(tiny.train)}
    there = as_set(replace(tiny.train, name="mine", place="/x/mine"), chosen).source
    assert (there["data"], "python" in there) == ("/x/mine", False)
    assert as_set(replace(tiny.train, name="arrays", place=""), chosen).source["python"] is True
    small.save(tmp_path / "s.safetensors")
    again = load(tmp_path / "s.safetensors")
    assert (again.factor, again.counts, again.method, again.order) == (1, (2, 2, 2), "real", "random")
    assert again.source == {"name": "digits", "checksum": tiny.train.checksum, "images": 120}
    order = chosen.indices[torch.argsort(tiny.train.labels[chosen.indices], stable=True)]
    assert torch.equal(again.decode(), tiny.train.batch(order).images)


def test_a_selection_is_taken_of_its_own_data_alone(tiny: Splits, tiny_set: CondensedSet) -> None:
    line = r"^selection: must be used with the set that it was made for, checksum \w+, got \w+$"
    for data, other in ((tiny.train, tiny.test), (tiny_set, tiny_set.subset(cells=2))):
        chosen = select(data, rule="random", ipc=1)
        weighted = replace(chosen, weights=torch.ones(len(chosen)))
        assert len(as_set(data, weighted)) == len(weighted.weights_of(data)) == len(chosen)
        for take in (weighted.of, weighted.weights_of, partial(as_set, chosen=weighted)):
            for wrong in (other, weighted.of(data)):
                with pytest.raises(ValueError, match=line):
                    take(wrong)


@pytest.mark.parametrize(("kind", "rule"), [("float", "d2"), ("uint8", "d2"), *(("numpy", rule) for rule in RULES)])
def test_anybodys_arrays_in_one_call(kind: str, rule: str) -> None:
    """Classes of 30, 9 and 1 samples, whose labels do not start at 0."""
    labels = torch.tensor([7] * 30 + [3] * 9 + [11])
    images = torch.rand(40, 8, 8, generator=Rng(0).generator())
    given: Any = {"float": images, "uint8": (255 * images).byte(), "numpy": images.numpy()}[kind]
    wanted: Any = labels.numpy() if kind == "numpy" else labels
    how = {"network": "mlp:width=4", "epochs": 12, "device": "cpu", "progress": False}
    kept = yoco.prune(given, wanted, n=9, rule=rule, quota="equal", **how)
    assert kept.entry["had"] == [9, 30, 1]
    assert kept.entry["kept"] == [4, 4, 1]
    assert kept.entry["short"] == ["11"]
    assert given[kept.indices].shape == (9, 8, 8)
    assert sorted(wanted[kept.indices].tolist()).count(3) == 4


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["b", "a", "c"], ("a", "b", "c")),
        ([-5, 9, -1], ("-5", "-1", "9")),
        (np.array([200, 3, 100], np.uint8), ("3", "100", "200")),
        (np.array(["x", "y", "z"], dtype=object), ("x", "y", "z")),
    ],
)
@pytest.mark.parametrize("shape", [(24, 5, 7), (24, 5, 7, 3), (24, 3, 5, 7), (24, 5, 7, 1)])
def test_labels_and_images_of_any_kind(labels: Any, classes: tuple[str, ...], shape: tuple[int, ...]) -> None:
    images, wanted = np.random.default_rng(0).random(shape), np.repeat(np.asarray(labels), (16, 7, 1))
    kept = yoco.prune(images, wanted, ipc=2, rule="k-center", features="pixels", quota="equal")
    assert kept.classes == classes
    assert sorted(kept.entry["kept"]) == [1, 2, 3]
    assert {str(label) for label in wanted[kept.indices]} == set(classes)
    again = yoco.prune(torch.tensor(images).float(), list(wanted), ipc=2, rule="k-center", features="pixels", **QUOTA)
    assert torch.equal(kept.indices, again.indices)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_anybodys_scores_are_ranked_by(kind: Any) -> None:
    images, labels = np.zeros((6, 4, 4), np.uint8), [5, 5, 5, 8, 8, 8]
    scores = kind([0.3, 0.1, 0.2, 9.0, 7.0, 8.0])
    easy, hard = (yoco.prune(images, labels, n=4, rule=rule, scores=scores) for rule in ("easy", "hard"))
    assert (easy.indices.tolist(), hard.indices.tolist()) == ([1, 2, 0, 4], [3, 5, 4, 0])
    equal = yoco.prune(images, labels, ipc=1, rule="hard", scores=scores, quota="equal")
    assert equal.indices.tolist() == [0, 3]
    assert equal.entry["scores"] == {"score": "given"}
    with pytest.raises(ValueError, match=r"^rule yoco: ranks by lbpe, got scores of given$"):
        yoco.prune(images, labels, ipc=1, scores=scores)
    with pytest.raises(ValueError, match=r"^scores: values must be \[6\], got \[5\]$"):
        yoco.prune(images, labels, ipc=1, rule="easy", scores=scores[:5])


def test_scores_at_hand_must_be_those_that_are_named(tiny_set: CondensedSet) -> None:
    scores = Scores.of(tiny_set, torch.arange(36.0), "aum")
    with pytest.raises(ValueError, match=r"^rule easy: asked for the score el2n, got scores of aum$"):
        prune(tiny_set, ipc=1, rule="easy", score="el2n", scores=scores)


def test_arrays_and_sets_are_told_apart(tiny: Splits, tiny_set: CondensedSet) -> None:
    with pytest.raises(
        ValueError, match=r"^prune: labels are for arrays of images, got a CondensedSet that has its own$"
    ):
        prune(tiny_set, tiny_set.labels, ipc=1)
    with pytest.raises(ValueError, match=r"^prune: needs a condensed set or .*, or images and labels, got Tensor$"):
        prune(tiny_set.cells, ipc=1)


@dataclass(frozen=True, kw_only=True)
class Named(Greedy):
    """With an option that is called as a parameter of what finds it."""

    name: str = "a"


def test_an_option_of_a_rule_may_have_any_name(tiny_set: CondensedSet) -> None:
    assert select(tiny_set, rule=f"{__name__}:Named", name="b", n=3).entry["options"] == {"name": "b"}
    ranked = rank(tiny_set, "d2", mode="repo", features="pixels", scores=torch.arange(36.0))
    assert (ranked.history[-1]["mode"], ranked.order) == ("repo", "d2")


@pytest.mark.parametrize(
    ("option", "value"),
    [("epochs", 3), ("runs", 5), ("network", "nosuch"), ("stage", 0), ("recipe", Recipe(epochs=1)), ("bf16", True)],
)
def test_beside_given_features_nothing_is_said_of_a_training(tiny_set: CondensedSet, option: str, value: Any) -> None:
    for call, where in (
        (partial(score, score="ssp"), "score ssp"),
        (partial(scores_for, rule="ssp"), "rule ssp"),
        (partial(select, rule="ssp", ipc=1), "rule ssp"),
        (partial(select, rule="herding", ipc=1), "rule herding"),
    ):
        with pytest.raises(ValueError) as caught:
            call(tiny_set, features="pixels", **{option: value})
        assert str(caught.value) == f"{where}: trains no network when features are given, got {option}={value!r}"


def test_beside_given_features_a_training_is_for_what_else_is_read(tiny_set: CondensedSet) -> None:
    how: dict[str, Any] = {"network": "mlp:width=4", "recipe": Recipe(epochs=2)}
    seen = observe(tiny_set, epochs=2, rng=Rng(0), snapshot=True, **how)
    for call, where in (
        (partial(score, score="ssp"), "score ssp"),
        (partial(select, rule="herding", ipc=1), "rule herding"),
    ):
        with pytest.raises(ValueError, match=rf"^{where}: evidence cannot be used when features are given, got both$"):
            call(tiny_set, features="pixels", evidence=[seen])
    assert len(select(tiny_set, rule="d2", ipc=1, features="pixels", evidence=[seen], epochs=2)) == 12
    both: dict[str, Any] = {"rule": "beta", "score": "prototype", "features": "pixels", "ipc": 1, "progress": False}
    assert select(tiny_set, **both, **how).entry["scores"]["features"] == "pixels"
