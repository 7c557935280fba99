"""What cannot work is said before any training; what is trained is what was asked for."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from yoco import artefact
from yoco.condensed import CondensedSet
from yoco.data import Source, Splits
from yoco.prune import Budget, Evidence, Items, Rule, Selection, find, observe, prune, score, select
from yoco.prune.choosing import scores_for
from yoco.rng import Rng
from yoco.train import Recipe

QUICK: dict[str, Any] = {"network": "mlp:width=8", "progress": False, "recipe": Recipe(epochs=2, batch=16)}


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of one's own."""
    module = ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)
    return module


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ({"rule": "kernel", "score": "el2n"}, "rule kernel: does not use scores, got the score el2n"),
        ({"rule": "random", "score": "el2n"}, "rule random: does not use scores, got the score el2n"),
        ({"rule": "herding", "stage": 7}, "features: stage must be in -2..1, got 7"),
        (
            {"rule": "herding", "passes": "train"},
            "rule herding: passes must be clean, as it reads networks only after training, got train",
        ),
        (
            {"rule": "entropy", "passes": "train"},
            "rule entropy: passes must be clean, as it reads networks only after training, got train",
        ),
        ({"rule": "hard", "score": "grand", "parameters": "all", "chunk": 0}, "grand: chunk must be at least 1, got 0"),
        ({"rule": "beta", "score": "aum"}, "rule beta: needs scores of at least 0, got aum, which can be negative"),
        ({"rule": "beta", "scores": -torch.ones(36)}, "beta: scores must be at least 0, got -1"),
    ],
)
def test_what_cannot_work_is_said_before_any_training(
    tiny_set: CondensedSet, how: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["yoco.prune.observe"], "fit", None)
    with pytest.raises(ValueError) as caught:
        select(tiny_set, ipc=1, **{**QUICK, **how} if how["rule"] != "random" else how)
    assert str(caught.value) == line


def test_carried_scores_below_zero_are_no_weights(tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    carried = prune(tiny_set, rule="hard", score="aum", ipc=2, **QUICK)
    carried = replace(carried, scores=carried.scores - 10)
    monkeypatch.setattr(sys.modules["yoco.prune.observe"], "fit", None)
    with pytest.raises(ValueError, match=r"^beta: scores must be at least 0, got -"):
        select(carried, rule="beta", ipc=1, **QUICK)


def test_a_file_of_scores_asks_no_less(tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["yoco.prune.observe"], "fit", None)
    with pytest.raises(ValueError, match=r"^rule yoco: does not use features, got some$"):
        scores_for(tiny_set, rule="yoco", features="pixels")
    with pytest.raises(ValueError, match=r"^rule yoco: does not use reference, got Source"):
        scores_for(tiny_set, rule="yoco", reference=tiny.train)


def test_a_second_score_has_its_whole_training(tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    def watch(*_: Any, epochs: int, recipe: Recipe, **how: Any) -> Evidence:
        seen.append((epochs, recipe.epochs))
        raise KeyboardInterrupt

    monkeypatch.setattr("yoco.prune.asked.observe", watch)
    how: dict[str, Any] = {"rule": "ccs", "mode": "repo", "ipc": 1, "beta": 0.1, "progress": False}
    for more in ({}, {"drop": "el2n"}, {"drop": "margin"}, {"drop": "margin", "epochs": 7}):
        with pytest.raises(KeyboardInterrupt):
            select(tiny_set, **how, **more)
    assert seen == [(10, 1000), (10, 1000), (1000, 1000), (7, 7)]
    with pytest.raises(KeyboardInterrupt):
        select(tiny_set, **how, drop="el2n", scores=torch.arange(36.0))
    assert seen[-1] == (1000, 1000)
    with pytest.raises(KeyboardInterrupt):
        scores_for(tiny_set, rule="ccs", mode="repo", ipc=1, beta=0.1, drop="margin", progress=False)
    assert seen[-1] == (10, 1000)


def test_of_a_recipe_of_ones_own_no_more_epochs_are_trained_than_are_read(
    tiny: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    how: dict[str, Any] = {"rng": Rng(0).child("score", 0), "network": "mlp:width=4"}

    def spy(data: Source, *, epochs: int, recipe: Recipe, **rest: Any) -> Evidence:
        asked.append((epochs, recipe.epochs))
        return observe(data, epochs=epochs, recipe=recipe, **how)

    monkeypatch.setattr("yoco.prune.asked.observe", spy)
    found = score(tiny.train, score="el2n", epochs=3, recipe=Recipe(epochs=9), progress=False)
    assert asked == [(3, 9)]
    long = observe(tiny.train, epochs=9, recipe=Recipe(epochs=9), **how).dynamics
    assert long is not None
    assert torch.equal(found.values, long.error[2].float())
    score(tiny.train, score="aum", recipe=Recipe(epochs=4), progress=False)
    assert asked[1:] == [(4, 4)]


@pytest.mark.parametrize("drop", ["tdds", "mine:moved"])
def test_scores_that_read_shifts_get_them(tiny_set: CondensedSet, mine: ModuleType, drop: str) -> None:
    mine.moved = lambda dynamics, *, epochs=2: dynamics.shift[:epochs].sum(0)  # type: ignore[attr-defined]
    long = {**QUICK, "recipe": replace(QUICK["recipe"], epochs=12)}
    assert len(score(tiny_set, score=drop, **long).values) == 36
    assert len(select(tiny_set, rule="ccs", beta=0.1, drop=drop, ipc=1, **long).indices) == 12


def test_scores_of_ones_own_may_look_at_neighbours_and_answer_arrays(tiny_set: CondensedSet, mine: ModuleType) -> None:
    def lonely(snapshot: Any, *, neighbours: int = 5) -> np.ndarray:
        gaps = torch.cdist(snapshot.features, snapshot.features)
        return gaps.topk(neighbours, largest=False).values.sum(1).numpy()

    mine.lonely = lonely  # type: ignore[attr-defined]
    assert len(score(tiny_set, score="mine:lonely", **QUICK).values) == 36
    for answer, line in (
        (lambda snapshot: snapshot.features, "must return one number per sample, got [64, 8] for 64"),
        (lambda snapshot: None, "must return numbers, got NoneType"),
    ):
        mine.odd = answer  # type: ignore[attr-defined]
        with pytest.raises(ValueError) as caught:
            score(tiny_set, score="mine:odd", **QUICK)
        assert str(caught.value) == f"score mine:odd: {line}"


def test_files_of_ours_with_a_part_missing_are_one_line(tiny_set: CondensedSet, tmp_path: Path) -> None:
    chosen = select(tiny_set, rule="random", ipc=1)
    chosen.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        parts = dict(file)
    about = json.loads(str(parts["about"]))
    parts["about"] = np.array(json.dumps({name: value for name, value in about.items() if name != "entry"}))
    np.savez(tmp_path / "b.npz", **parts)
    with pytest.raises(ValueError, match=r"^load: .*b\.npz is not a selection that this version of yoco can read$"):
        Selection.load(tmp_path / "b.npz")
    path = tmp_path / "evidence.safetensors"
    artefact.write(path, "evidence", 1, {"correct": torch.zeros(2, 3)}, {"checksum": "x", "meta": {}})
    with pytest.raises(ValueError, match=r"^load: .*evidence\.safetensors has missing or unknown parts$"):
        Evidence.load(path)


def test_scores_of_ones_own_may_look_at_images_also_where_they_leave_out(
    tiny_set: CondensedSet, mine: ModuleType
) -> None:
    mine.bright = lambda snapshot: snapshot.images.mean((1, 2, 3))  # type: ignore[attr-defined]
    before = torch.random.get_rng_state()
    bright = score(tiny_set, score="mine:bright", **QUICK)
    torch.testing.assert_close(
        bright.values, (tiny_set.decode().mean((1, 2, 3)) - tiny_set.mean[0]) / tiny_set.std[0], rtol=1e-4, atol=1e-5
    )
    found = select(tiny_set, rule="ccs", beta=0.5, drop="mine:bright", ipc=1, quota="none", **QUICK)
    assert torch.equal(before, torch.random.get_rng_state())
    assert bright.values[found.indices].max() < bright.values.sort().values[20]


def test_a_rule_of_ones_own_may_read_scores_below_zero(tiny_set: CondensedSet, mine: ModuleType) -> None:
    class Mine(Rule):
        nested = True
        needs = ("scores", "confidence")
        usual: str = "aum"

        def __call__(self, items: Any, budget: Any, rng: Any) -> Any:
            return items.scores.argsort()[: budget.total(len(items.labels), items.classes)]

    mine.Mine = dataclass(frozen=True, kw_only=True)(Mine)  # type: ignore[attr-defined]
    assert len(select(tiny_set, rule="mine:Mine", ipc=1, **QUICK).indices) == 12


@pytest.mark.parametrize(("asked", "kept"), [({}, False), ({"parameters": "all"}, True)])
def test_images_are_kept_for_those_who_look_at_them(
    tiny_set: CondensedSet, asked: dict[str, Any], kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    monkeypatch.setattr("yoco.prune.snapshot.Snapshot.__post_init__", lambda self: seen.append(self.images is not None))
    score(tiny_set, score="grand", **asked, **QUICK)
    assert seen[-1] == kept


@pytest.mark.parametrize(
    "own",
    [
        lambda snapshot: snapshot.logits.topk(3).values[:, 2],
        lambda snapshot: snapshot.network.features(snapshot.images)[0].flatten(1).norm(dim=1),
        lambda snapshot: snapshot.features @ snapshot.network.head.weight[0],
        lambda snapshot: snapshot.images[:, 0, 7, 7],
    ],
)
def test_scores_of_ones_own_are_tried_on_what_they_will_see(tiny_set: CondensedSet, mine: ModuleType, own: Any) -> None:
    mine.own = own  # type: ignore[attr-defined]
    assert len(score(tiny_set, score="mine:own", **QUICK).values) == 36


def test_a_network_at_its_end_is_shown_clean_images(tiny_set: CondensedSet) -> None:
    assert score(tiny_set, score="entropy", **QUICK).meta["passes"] == "clean"
    assert score(tiny_set, score="el2n", passes="train", **QUICK).meta["passes"] == "train"
    line = r"^score entropy: passes must be clean, as it reads networks only after training, got train$"
    with pytest.raises(ValueError, match=line):
        score(tiny_set, score="entropy", passes="train", **QUICK)


def test_one_epoch_has_the_whole_step_size(tiny: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    step = torch.optim.SGD.step

    def watched(self: torch.optim.SGD, *given: Any) -> Any:
        seen.append(self.param_groups[0]["lr"])
        return step(self, *given)

    monkeypatch.setattr(torch.optim.SGD, "step", watched)
    score(tiny.train, score="grand", epochs=1, network="mlp:width=8", progress=False)
    assert {*seen} == {0.01}


def test_d2_of_the_released_code_leaves_out_by_the_margin(tiny_set: CondensedSet) -> None:
    assert (find("d2", "repo").dropped_by, find("d2", "repo", beta=0.2).dropped_by) == (None, "margin")
    scores, doubts = torch.arange(10.0), torch.tensor([0.0, 9, 8, 0, 0, 0, 0, 0, 0, 0])
    items = Items(scores, torch.zeros(10, dtype=torch.long), 1, features=torch.eye(10), doubts=doubts)
    kept = find("d2", "repo", beta=0.2)(items, Budget(n=8), Rng(0))
    assert sorted(kept.tolist()) == [0, *range(3, 10)]
    assert len(select(tiny_set, rule="d2", mode="repo", beta=0.2, ipc=1, **QUICK).indices) == 12


def test_labels_are_read_without_making_all_images_at_once(tiny: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    many = tiny.train.take(torch.arange(600) % len(tiny.train))
    sizes, batch = [], type(many).batch
    monkeypatch.setattr(type(many), "batch", lambda self, at: sizes.append(len(at)) or batch(self, at))  # type: ignore[func-returns-value]
    score(many, score="el2n", epochs=1, network="mlp:width=4", progress=False)
    assert 0 < max(sizes) <= 500


def test_a_score_of_the_end_goes_with_dynamics_of_the_training(tiny_set: CondensedSet) -> None:
    for how in (
        {"rule": "beta", "score": "entropy"},
        {"rule": "ccs", "score": "entropy", "drop": "margin", "beta": 0.1},
    ):
        assert len(select(tiny_set, ipc=1, passes="train", **how, **QUICK).indices) == 12


def test_scores_of_ones_own_are_tried_on_soft_labels_where_there_are_some(
    tiny_set: CondensedSet, mine: ModuleType
) -> None:
    mine.loss = lambda snapshot: -(snapshot.targets * snapshot.logits.log_softmax(1)).sum(1)  # type: ignore[attr-defined]
    soft = replace(tiny_set, soft_labels=torch.full((36, 3), 1 / 3))
    assert len(score(soft, score="mine:loss", **QUICK).values) == 36


def test_a_class_that_the_rule_keeps_by_itself_is_not_asked_alone(tiny: Splits) -> None:
    data = tiny.train.take(torch.cat([torch.arange(4), torch.arange(40, 76)]))
    values = torch.cat([torch.arange(4.0), 100 + torch.arange(36.0)])
    found = select(data, rule="stratified", beta=0.3, n=28, quota="floor", scores=values)
    assert found.entry["kept"] == [4, 24, 0]
