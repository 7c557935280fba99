"""What pruning trains for: scores and features, of sets without them, each learned once."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import yoco
from yoco.condensed import CondensedSet
from yoco.data import Splits
from yoco.prune import (
    Scores,
    choosing,
    items,
    observe,
    prune,
    score,
    select,
)
from yoco.rng import Rng
from yoco.train import Recipe

QUICK: dict[str, Any] = {"network": "mlp:width=4", "device": "cpu", "progress": False}


def scored(data: CondensedSet, *, tied: bool = False) -> Scores:
    values = torch.rand(len(data), generator=Rng(7).generator())
    return Scores.of(data, (5 * values).floor() if tied else values, "lbpe", epochs=100, top=10, passes="clean")


def test_a_set_without_scores_is_trained_on_once(tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def spy(data: CondensedSet, **options: Any) -> Scores:
        calls.append(options)
        return replace(scored(data), name=options["score"])

    monkeypatch.setattr(items, "score", spy)
    monkeypatch.setattr("yoco.prune.asked.Asked.gather", lambda *words, **options: [])
    small = prune(tiny_set, ipc=2, seed=3, passes="clean", epochs=None)
    assert calls == [{"seed": 3, "passes": "clean", "score": "lbpe", "evidence": [], "features": None}]
    prune(small, ipc=1, passes="clean", top=10)
    prune(small, rule="hard", cells=2)
    assert len(calls) == 1
    prune(small, rule="hard", cells=2, score="el2n")
    assert [call["score"] for call in calls] == ["lbpe", "el2n"]


def test_a_real_training_from_end_to_end(tiny_set: CondensedSet) -> None:
    training = {"epochs": 2, "top": 1, "network": "mlp:width=4", "device": "cpu", "progress": False}
    small = yoco.prune(tiny_set, ipc=1, **training)
    assert small.counts == (4, 4, 4)
    assert small.history[-1]["scores"]["recipe"]["epochs"] == 1000


def test_features_and_scores_are_learned_by_one_training(
    tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[dict[str, Any]] = []

    def spy(data: CondensedSet, **how: Any) -> Any:
        runs.append(how)
        return observe(data, **how)

    monkeypatch.setattr("yoco.prune.asked.observe", spy)
    how = {"network": "mlp:width=4", "epochs": 12, "device": "cpu", "progress": False, "ipc": 1}
    for rule in ("d2", "herding", "craig", "beta", "entropy"):
        assert len(select(tiny_set, rule=rule, **how).indices) == 12
    assert [(run["dynamics"], run["snapshot"]) for run in runs] == [
        (True, True),
        (False, True),
        (False, True),
        (True, False),
        (False, True),
    ]
    assert {(run["epochs"], run["recipe"].epochs) for run in runs} == {(12, 12), (12, 1000)}
    runs.clear()
    for rule in ("herding", "k-center", "medoids", "moderate", "ssp"):
        assert len(prune(tiny_set, rule=rule, features="pixels", ipc=1, device="cpu", progress=False)) == 12
    assert runs == []


def test_the_kernel_rule_looks_at_real_images_through_several_networks(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    real = items.pooled

    def spy(views: Any) -> Any:
        seen.append((views, real(views)))
        return seen[-1][1]

    monkeypatch.setattr(items, "pooled", spy)
    how = {"network": "mlp:width=4", "epochs": 2, "runs": 2, "device": "cpu", "progress": False, "ipc": 2}
    with_real = select(tiny_set, rule="kernel", reference=tiny.train, **how)
    alone = select(tiny_set, rule="kernel", **how)
    assert with_real.entry["kept"] == alone.entry["kept"] == [8, 8, 8]
    assert with_real.indices.tolist() != alone.indices.tolist()
    views, (features, reference) = seen[0]
    assert features.shape == (36, 8)
    assert features.norm(dim=1).tolist() == pytest.approx([2**0.5] * 36, rel=1e-5)
    assert torch.equal(reference[1], tiny.train.labels)
    for view, part in zip(views, features.split(4, 1), strict=True):
        moved = view.features.double() - view.features.double().mean(0)
        assert torch.allclose(part, (moved / moved.norm(dim=1, keepdim=True)).float())
    shift = views[1].features.double().mean(0)
    expected = torch.nn.functional.normalize(views[1].reference[0].double() - shift)
    assert torch.allclose(reference[0][:, 4:], expected.float())
    assert seen[1][1][1] is None


def test_references_are_drawn_evenly_and_refused_where_nobody_reads_them(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "REFERENCES", 10)
    drawn = choosing.draw_references(tiny_set, tiny.train, Rng(0))
    assert torch.bincount(drawn.labels).tolist() == [4, 4, 4]
    named = choosing.draw_references(tiny_set, replace(tiny.train, classes=("b", "c", "a")), Rng(0))
    assert torch.equal(named.images, drawn.images)
    assert not torch.equal(drawn.images, choosing.draw_references(tiny_set, tiny.train, Rng(1)).images)
    with pytest.raises(ValueError, match=r"^rule yoco: does not use reference, got Source\('digits', "):
        select(tiny_set, ipc=1, reference=tiny.train)
    with pytest.raises(ValueError, match=r"^reference: must have the classes 0, 1, 2, got 0, 1$"):
        select(
            tiny_set,
            ipc=1,
            rule="kernel",
            reference=replace(tiny.train, classes=("0", "1"), labels=tiny.train.labels % 2),
        )


def test_anybodys_scores_go_with_features_that_are_learned(tiny_set: CondensedSet) -> None:
    kept = select(tiny_set, ipc=1, rule="d2", scores=np.arange(36.0), recipe=Recipe(epochs=4), **QUICK)
    assert kept.scores is not None
    assert torch.equal(kept.scores, kept.indices.float())
    with pytest.raises(ValueError, match=r"^option of given: unknown name 'network'"):
        select(tiny_set, ipc=1, rule="easy", scores=np.arange(36.0), **QUICK)


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("drop", ["margin", "el2n", "entropy"])
def test_one_training_gives_the_score_that_ranks_and_the_one_that_drops(
    given: bool, drop: str, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings: list[int] = []

    def counting(*words: Any, **options: Any) -> Any:
        trainings.append(options["epochs"])
        return observe(*words, **options)

    monkeypatch.setattr("yoco.prune.asked.observe", counting)
    how: dict[str, Any] = {**QUICK, "recipe": Recipe(epochs=12), "score": "aum"}
    if given:
        how |= {"scores": Scores.of(tiny_set, torch.arange(36.0), "aum")}
    kept = select(tiny_set, n=18, rule="ccs", beta=0.5, drop=drop, **how)
    assert trainings == [12]
    doubts = score(tiny_set, score=drop, recipe=Recipe(epochs=12), **QUICK).values
    assert set(kept.indices.tolist()) == set(torch.argsort(doubts, stable=True)[:18].tolist())
    assert kept.entry["options"] == {"beta": 0.5, "drop": drop}
    assert "(beta=0.5, drop=" in kept.report()


def test_a_score_that_drops_and_ranks_is_made_once(tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yoco.prune.asked.observe", None)
    scores = Scores.of(tiny_set, torch.arange(36.0), "margin")
    kept = select(tiny_set, n=18, rule="ccs", beta=0.5, drop="margin", scores=scores)
    assert sorted(kept.indices.tolist()) == list(range(18))
