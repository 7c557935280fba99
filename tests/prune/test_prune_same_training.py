"""How scores and evidence at hand were made: what is said of it, asked of it, and taken from it."""

from typing import Any

import pytest
import torch

from augment import Policy
from yoco.condensed import CondensedSet
from yoco.data import Source, Splits
from yoco.prune import Evidence, observe, prune, score, select
from yoco.prune.choosing import scores_for
from yoco.rng import Rng
from yoco.train import Recipe

RECIPE = Recipe(epochs=12, augment=Policy("color_crop"))
FAST: dict[str, Any] = {"network": "mlp:width=4", "recipe": RECIPE, "device": "cpu", "progress": False}


def seen(data: CondensedSet, **how: Any) -> Evidence:
    stream = Rng(0).child("score", 0)
    return observe(data, epochs=12, recipe=RECIPE, rng=stream, network="mlp:width=4", snapshot=True, **how)


def test_confidence_beside_given_scores_is_of_their_training(tiny: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    given = score(tiny.train, score="dual", epochs=14, network="mlp:width=4", progress=False)
    asked: list[tuple[int, str]] = []

    def spy(data: Source, *, epochs: int, network: str, **how: Any) -> Evidence:
        asked.append((epochs, network))
        return observe(data, epochs=epochs, network=network, **how)

    monkeypatch.setattr("yoco.prune.asked.observe", spy)
    assert len(select(tiny.train, rule="dual", n=9, scores=given, progress=False)) == 9
    assert asked == [(14, "mlp:width=4")]
    with pytest.raises(ValueError, match=r"^prune: the existing scores have epochs=14, got epochs=12; score again$"):
        select(tiny.train, rule="dual", n=9, scores=given, epochs=12, progress=False)
    assert len(asked) == 1
    other = score(tiny.train, score="el2n", epochs=3, network="mlp:width=4", progress=False)
    select(tiny.train, rule="beta", n=9, scores=other, progress=False)
    assert asked[-1] == (10, "mlp:width=4")


def test_a_network_at_its_end_was_shown_clean_images_whatever_its_dynamics_saw(tiny_set: CondensedSet) -> None:
    trained = seen(tiny_set, passes="train")
    assert score(tiny_set, score="entropy", evidence=[trained]).meta["passes"] == "clean"
    assert score(tiny_set, score="entropy", evidence=[trained], passes="clean").meta["passes"] == "clean"
    assert score(tiny_set, score="el2n", evidence=[trained], epochs=12).meta["passes"] == "train"
    how: dict[str, Any] = {"rule": "beta", "score": "entropy", "passes": "train", **FAST}
    chosen = select(tiny_set, ipc=1, **how)
    assert chosen.entry["scores"]["passes"] == "clean"
    assert "passes=clean" in chosen.report()
    assert len(select(tiny_set, ipc=1, scores=scores_for(tiny_set, **how), **how)) == 12
    small = prune(tiny_set, ipc=2, **how)
    for rule in ("hard", "herding"):
        options = {"score": "entropy"} if rule == "hard" else {}
        assert len(select(tiny_set, rule=rule, ipc=1, evidence=[trained], passes="clean", **options)) == 12
    again = prune(small, ipc=1, **how)
    assert set(again.scores.tolist()) <= set(small.scores.tolist())


def test_the_codes_passes_are_asked_of_evidence_for_the_codes_score_alone(tiny_set: CondensedSet) -> None:
    clean = seen(tiny_set)
    how: dict[str, Any] = {"rule": "ccs", "mode": "repo", "ipc": 1}
    new, same = select(tiny_set, score="aum", **how, **FAST), select(tiny_set, score="aum", evidence=[clean], **how)
    assert torch.equal(new.indices, same.indices)
    with pytest.raises(ValueError, match=r"^evidence: must have passes=train, got clean; run observe again$"):
        select(tiny_set, evidence=[clean], **how)


@pytest.mark.parametrize("name", ["aum", "el2n", "entropy"])
def test_a_score_of_a_whole_recipe_reads_its_extra_epochs_too(name: str, tiny_set: CondensedSet) -> None:
    recipe = Recipe(epochs=2, extra=1, drops=(), batch=16)
    how: dict[str, Any] = {"network": "mlp:width=4", "recipe": recipe}
    whole = observe(tiny_set, epochs=3, rng=Rng(0).child("score", 0), snapshot=True, **how)
    found = score(tiny_set, score=name, device="cpu", progress=False, **how)
    assert torch.equal(found.values, score(tiny_set, score=name, evidence=[whole], epochs=3).values)
