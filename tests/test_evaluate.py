"""Evaluation: rows, compute, last and best, and what is trained on."""

import sys
from dataclasses import replace
from importlib import import_module
from inspect import signature
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from yoco.condensed import CondensedSet
from yoco.data.source import Splits
from yoco.evaluate import evaluate
from yoco.evaluate.trials import Measured, Plan, measured, random_subset
from yoco.rng import Rng
from yoco.train import Normalise, Recipe

QUICK: dict[str, Any] = {"networks": "mlp:width=8", "progress": False, "device": "cpu"}


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans of all evaluations; nothing is trained, every accuracy is 50."""
    seen: list[Plan] = []

    def run(plan: Plan, jobs: int, progress: bool, found: dict[int, Measured]) -> None:
        seen.append(plan)
        found |= {k: Measured(((trial.recipe.length, 50.0),)) for k, trial in enumerate(plan.trials)}

    monkeypatch.setattr(import_module("yoco.evaluate"), "run", run)
    return seen


def passes(plan: Plan) -> dict[str, tuple[int, int]]:
    return {trial.name: (trial.images, trial.recipe.epochs) for trial in plan.trials}


@pytest.mark.parametrize(("factor", "cells", "epochs"), [(1, 8, 1000), (2, 4, 250), (3, 3, 111), (40, 1, 1)])
def test_same_compute_divides_the_epochs_by_the_square_of_the_factor(
    tiny: Splits, tiny_set: CondensedSet, plans: list[Plan], factor: int, cells: int, epochs: int
) -> None:
    other = replace(tiny_set, factor=factor, cells=torch.rand(36, 1, cells, cells))
    result = evaluate(other, tiny, same_compute=True, **QUICK)
    assert result.epochs == result.results[0].epochs == epochs
    assert plans[0].trials[0].recipe.drop_epochs() == ([2 * epochs // 3, 5 * epochs // 6] if epochs > 1 else [])


@pytest.mark.parametrize(
    ("asked", "own", "random", "full"),
    [
        ({}, (36, 1000), (9, 4000), (120, 300)),
        ({"same_compute": True}, (36, 250), (9, 1000), (120, 75)),
        ({"epochs": 4}, (36, 4), (9, 16), (120, 10)),
        ({"epochs": 4, "full_epochs": 2}, (36, 4), (9, 16), (120, 2)),
    ],
)
def test_baselines_cost_as_many_image_passes(
    tiny: Splits,
    tiny_set: CondensedSet,
    plans: list[Plan],
    asked: dict[str, Any],
    own: tuple[int, int],
    random: tuple[int, int],
    full: tuple[int, int],
) -> None:
    evaluate(tiny_set, tiny, baselines=("random", "full"), **asked, **QUICK)
    assert passes(plans[0]) == {"condensed": own, "random": random, "full": full}


def test_a_part_of_an_image_makes_room_for_a_whole_one(tiny: Splits, tiny_set: CondensedSet, plans: list[Plan]) -> None:
    uneven = tiny_set.take(torch.tensor([0, 12, 13, 14, 15, 16, 24, 25, 26, 27]))
    assert uneven.counts == (1, 5, 4)
    evaluate(uneven, tiny, epochs=10, baselines=("random",), **QUICK)
    assert plans[0].budget == (1, 2, 1)
    assert passes(plans[0]) == {"condensed": (10, 10), "random": (4, 25)}


def test_a_class_with_too_few_real_images_gives_all_it_has(
    tiny: Splits, tiny_set: CondensedSet, plans: list[Plan]
) -> None:
    few = Splits(tiny.train.take(torch.cat([tiny.train.by_class[0][:1], *tiny.train.by_class[1:]])), tiny.test)
    evaluate(tiny_set, few, epochs=7, baselines=("random",), **QUICK)
    random = plans[0].trials[-1]
    assert random.images == len(plans[0].training(random)) == 7
    assert random.recipe.epochs == 36


def test_each_seed_has_its_own_random_subset(tiny: Splits) -> None:
    subsets = [random_subset(tiny.train, (3, 1, 2), Rng(seed)) for seed in (0, 0, 1)]
    assert subsets[0].labels.tolist() == [0, 0, 0, 1, 2, 2]
    assert torch.equal(subsets[0].images, subsets[1].images)
    assert not torch.equal(subsets[0].images, subsets[2].images)


def test_rows_go_by_training_set_then_network(tiny: Splits, tiny_set: CondensedSet, plans: list[Plan]) -> None:
    settings = {**QUICK, "networks": ("mlp", "lenet"), "seeds": (5, 3)}
    result = evaluate(tiny_set, tiny, epochs=1, baselines=("full",), **settings)
    pairs = [("condensed", "mlp"), ("condensed", "lenet"), ("full", "mlp"), ("full", "lenet")]
    assert [(row.name, row.network) for row in result.results] == pairs
    assert all(row.seeds == (5, 3) and row.last == (50.0, 50.0) for row in result.results)
    assert [trial.seed for trial in plans[0].trials] == [5, 3] * 4


@pytest.mark.parametrize(
    ("recipe", "epochs"),
    [
        (Recipe(epochs=1000), {250, 500, 750, 1000}),
        (Recipe(epochs=1000, extra=1), {250, 500, 750, 1001}),
        (Recipe(epochs=250), {62, 125, 187, 250}),
        (Recipe(epochs=7), {1, 3, 5, 7}),
        (Recipe(epochs=2), {1, 2}),
        (Recipe(epochs=1, extra=1), {2}),
    ],
)
def test_measurements_are_four_the_last_at_the_end(recipe: Recipe, epochs: set[int]) -> None:
    assert measured(recipe, 4) == epochs


def test_there_are_as_many_measurements_as_are_asked_for_or_epochs() -> None:
    for epochs, times, extra in product(range(1, 9), range(1, 12), (0, 1)):
        found = measured(Recipe(epochs=epochs, extra=extra), times)
        assert (len(found), max(found)) == (min(epochs, times), epochs + extra)


def test_last_best_and_curves_come_from_the_measurements(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter([10.0, 40.0, 30.0, 20.0, 5.0, 6.0, 7.0, 8.0])
    monkeypatch.setattr(import_module("yoco.evaluate.trials"), "accuracy", lambda *_: next(numbers))
    row = evaluate(tiny_set, tiny, epochs=8, curve=True, **QUICK).results[0]
    assert (row.last, row.best) == ((20.0, 8.0), (40.0, 8.0))
    assert row.curves == (((2, 10.0), (4, 40.0), (6, 30.0), (8, 20.0)), ((2, 5.0), (4, 6.0), (6, 7.0), (8, 8.0)))
    assert row.to_dict()["curves"][1][0] == [2, 5.0]


class Spy:
    """Every set that was trained on, instead of training."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.normalise: list[Normalise] = []
        monkeypatch.setattr(import_module("yoco.evaluate.trials"), "fit", self)

    def __call__(
        self, network: Any, examples: Any, recipe: Recipe, normalise: Normalise, rng: Rng, **hooks: Any
    ) -> None:
        batch = examples.batch(torch.arange(len(examples)))
        self.images.append(batch.images)
        self.labels.append(batch.labels)
        self.normalise.append(normalise)
        hooks["after_epoch"](recipe.length - 1)


def rows_of(images: Tensor) -> set[bytes]:
    return {row.numpy().tobytes() for row in images.contiguous()}


def test_no_test_image_is_trained_on(tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy(monkeypatch)
    evaluate(tiny_set, tiny, epochs=1, baselines=("random", "full"), seeds=1, **QUICK)
    condensed, random, full = spy.images
    assert torch.equal(condensed, tiny_set.decode())
    train = rows_of(tiny.train.batch(torch.arange(len(tiny.train))).images)
    test = rows_of(tiny.test.batch(torch.arange(len(tiny.test))).images)
    assert not train & test
    assert rows_of(random) < train == rows_of(full)
    assert [len(labels) for labels in spy.labels] == [36, 9, 120]


def test_all_rows_are_normalised_as_the_set_is(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    evaluate(replace(tiny_set, mean=(0.1,), std=(0.7,)), tiny, epochs=1, baselines=("full",), seeds=1, **QUICK)
    assert spy.normalise == [Normalise((0.1,), (0.7,))] * 2


def test_soft_labels_bytes_and_unbounded_pixels_are_trained_as_they_are(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)
    soft = torch.rand(36, 3, generator=torch.Generator().manual_seed(0)).softmax(1)
    wide = replace(tiny_set, cells=tiny_set.cells * 3 - 1, space="unbounded")
    for one in (replace(tiny_set, soft_labels=soft), tiny_set.quantised(), wide):
        evaluate(one, tiny, epochs=1, seeds=1, **QUICK)
        assert torch.equal(spy.images[-1], one.decode())
    assert torch.equal(spy.labels[0], soft)
    assert float(spy.images[2].min()) < -0.5


def test_same_seed_same_numbers_other_seed_others(tiny: Splits) -> None:
    before = torch.random.get_rng_state()
    how: dict[str, Any] = {**QUICK, "epochs": 12, "measurements": 12, "curve": True}
    curves = [evaluate(tiny.train, tiny, seeds=seeds, **how).results[0].curves for seeds in ((0, 1), (1, 0))]
    assert curves[0] == curves[1][::-1]
    assert curves[0][0] != curves[0][1]
    assert torch.equal(torch.random.get_rng_state(), before)


def test_more_epochs_on_real_images_are_worth_more(tiny: Splits) -> None:
    few = evaluate(tiny.train, tiny, epochs=2, seeds=1, **{**QUICK, "networks": "mlp"}).results[0]
    many = evaluate(tiny.train, tiny, epochs=60, seeds=1, **{**QUICK, "networks": "mlp"}).results[0]
    assert (few.name, few.images) == ("coreset", 120)
    assert many.last[0] > max(80, few.last[0])


def test_the_data_are_found_by_the_name_that_the_set_says(tiny_set: CondensedSet, plans: list[Plan]) -> None:
    ten = replace(tiny_set, classes=tuple("0123456789"))
    result = evaluate(ten, epochs=1, **QUICK)
    assert (result.data, len(plans[0].splits.test), result.same_data) == ("digits", 450, False)


def test_the_result_tells_whether_the_data_are_the_same(
    tiny: Splits, tiny_set: CondensedSet, plans: list[Plan]
) -> None:
    assert evaluate(tiny_set, tiny, epochs=1, **QUICK).same_data is True
    assert evaluate(replace(tiny_set, source={}), tiny, epochs=1, **QUICK).same_data is None
    assert evaluate(tiny.train, tiny, epochs=1, **QUICK).same_data is None


def test_no_bar_without_a_terminal(tiny: Splits, tiny_set: CondensedSet, capfd: pytest.CaptureFixture[str]) -> None:
    evaluate(tiny_set, tiny, epochs=1, seeds=1, **{**QUICK, "progress": True})
    assert capfd.readouterr() == ("", "")


def test_the_module_is_its_verb(tiny: Splits, tiny_set: CondensedSet, plans: list[Plan]) -> None:
    verb: Any = sys.modules["yoco.evaluate"]
    assert verb(tiny_set, tiny, epochs=1, **QUICK).epochs == 1
    assert signature(verb) == signature(evaluate)
    assert "protocol" in signature(verb).parameters


def test_networks_take_the_step_size_that_was_learned(tiny: Splits, tiny_set: CondensedSet) -> None:
    how: dict[str, Any] = {"networks": "mlp:width=8", "progress": False, "device": "cpu", "epochs": 8, "seeds": 1}
    known = replace(tiny_set, config={**tiny_set.config, "learned": {"lr": 0.01}})
    other = replace(tiny_set, config={**tiny_set.config, "learned": {"lr": 0.5}})
    usual = evaluate(tiny_set, tiny, protocol="dsa", baselines=("random",), curve=True, **how)
    same, faster = (evaluate(s, tiny, protocol="mtt", baselines=("random",), curve=True, **how) for s in (known, other))
    assert same.results == usual.results
    assert faster.results[0] != usual.results[0]
    assert faster.results[1] == usual.results[1]
    for examples in (tiny_set, tiny.train):
        message = r"^evaluate: protocol mtt needs a set with a learned step size, got none; use dsa$"
        with pytest.raises(ValueError, match=message):
            evaluate(examples, tiny, protocol="mtt", **how)


def test_a_protocol_is_the_same_by_its_path(tiny: Splits, tiny_set: CondensedSet) -> None:
    how: dict[str, Any] = {**QUICK, "epochs": 2, "seeds": 1}
    learned = replace(tiny_set, config={**tiny_set.config, "learned": {"lr": 0.5}})
    names = ("mtt", "yoco.protocols:mtt")
    named, reached = (evaluate(learned, tiny, protocol=name, curve=True, **how).results for name in names)
    assert named == reached


def test_accuracy_is_that_on_the_test_half(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def accuracy(network: Any, examples: Any, normalise: Any) -> float:
        seen.append(examples.checksum)
        return 50.0

    monkeypatch.setattr("yoco.evaluate.trials.accuracy", accuracy)
    evaluate(tiny_set, tiny, epochs=2, seeds=1, baselines=("random", "full"), full_epochs=1, measurements=1, **QUICK)
    assert seen == [tiny.test.checksum] * 3
    assert tiny.test.checksum != tiny.train.checksum


def test_a_class_without_cells_has_no_images_in_the_random_baseline(
    tiny: Splits, tiny_set: CondensedSet, plans: list[Plan]
) -> None:
    two = tiny_set.take(torch.arange(24))
    assert two.counts == (12, 12, 0)
    evaluate(two, tiny, epochs=10, baselines=("random",), **QUICK)
    assert plans[0].budget == (3, 3, 0)
    assert len(random_subset(tiny.train, plans[0].budget, Rng(0))) == 6


def test_other_images_than_the_sets_are_said(tiny: Splits, tiny_set: CondensedSet, plans: list[Plan]) -> None:
    line = "the set was made from other images than these"
    other = replace(tiny_set, source={"name": "digits", "checksum": "0"})
    assert line in repr(evaluate(other, tiny, epochs=1, **QUICK)).splitlines()
    assert line not in repr(evaluate(tiny_set, tiny, epochs=1, **QUICK))
