"""Scoring: means over runs, published settings, files that know their set, and mistakes before any training."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from augment import Policy
from yoco.condensed import CondensedSet
from yoco.data import Splits
from yoco.prune import Dynamics, Scores, score, scoring
from yoco.prune.record import record
from yoco.prune.scores import SCORES, lbpe
from yoco.prune.scoring import options_of
from yoco.rng import Rng
from yoco.train import Recipe

RECIPE = Recipe(epochs=9, augment=Policy("color_crop"), cutmix=0.5)
FAST = {"network": "mlp:width=4", "recipe": RECIPE, "epochs": 3, "top": 2, "device": "cpu", "progress": False}


def test_a_score_is_the_mean_over_runs_with_streams_of_their_own(tiny_set: CondensedSet) -> None:
    found = score(tiny_set, runs=2, seed=4, **FAST)
    each = []
    for run in range(2):
        stream = Rng(4).child("score", run)
        dynamics = record(tiny_set, epochs=3, recipe=RECIPE, rng=stream, network="mlp:width=4")
        each.append(lbpe(dynamics, epochs=3, top=2).double())
    assert not torch.equal(each[0], each[1])
    torch.testing.assert_close(found.values, ((each[0] + each[1]) / 2).float())
    assert torch.equal(found.values, score(tiny_set, runs=2, seed=4, **FAST).values)
    assert not torch.equal(found.values, score(tiny_set, runs=2, seed=5, **FAST).values)
    assert found.meta["recipe"]["epochs"] == 9
    wanted = {"epochs": 3, "top": 2, "by": "accuracy", "runs": 2, "network": "mlp:width=4", "mode": "clean", "seed": 4}
    assert wanted.items() <= found.meta.items()


def test_modes_and_other_scores_and_sources(tiny: Splits, tiny_set: CondensedSet) -> None:
    clean, mixed = (score(tiny_set, mode=mode, **FAST) for mode in ("clean", "train"))
    assert not torch.equal(clean.values, mixed.values)
    assert (clean.meta["mode"], mixed.meta["mode"]) == ("clean", "train")
    early = score(tiny_set, score="el2n", **{**FAST, "top": None})
    assert early.name == "el2n"
    assert "top" not in early.meta
    other = score(tiny_set, by="loss", **FAST)
    assert other.meta["by"] == "loss"
    assert len(score(tiny.train, **FAST)) == len(tiny.train)


def test_only_as_many_epochs_are_trained_as_the_score_reads(
    tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def spy(data: CondensedSet, *, epochs: int, recipe: Recipe, **rest: object) -> Dynamics:
        asked.append((epochs, recipe.epochs))
        return record(data, epochs=epochs, recipe=RECIPE, rng=Rng(0), network="mlp:width=4")

    monkeypatch.setattr(scoring, "record", spy)
    score(tiny_set, epochs=2, top=1, progress=False)
    assert asked == [(2, 1000)]


def test_published_settings_follow_method_and_data(tiny_set: CondensedSet) -> None:
    def settings(method: str, data: str, **given: object) -> tuple[object, object]:
        made = replace(tiny_set, method=method, source={"name": data})
        chosen = options_of("lbpe", lbpe, made, given)
        return chosen["epochs"], chosen["top"]

    assert settings("idc", "cifar10") == settings("idc", "fashion-mnist") == (100, 10)
    assert settings("idc", "cifar100") == settings("dream", "cifar10") == (200, 10)
    assert settings("kip", "cifar10") == (50, 3)
    assert settings("kip", "cifar10", epochs=20, top=None) == (20, 3)


def own(dynamics: Dynamics, *, epochs: int = 2) -> torch.Tensor:
    return dynamics.entropy[:epochs].sum(0)


def without_epochs(dynamics: Dynamics, *, power: float = 2.0) -> torch.Tensor:
    return dynamics.entropy.sum(0)


def test_anybodys_score_can_be_named(tiny_set: CondensedSet) -> None:
    found = score(tiny_set, score=f"{__name__}:own", **{**FAST, "top": None})
    assert found.name == f"{__name__}:own"
    with pytest.raises(ValueError, match=r"must have an option epochs with a default, got power$"):
        score(tiny_set, score=f"{__name__}:without_epochs")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "lpbe"}, "score: unknown name 'lpbe'; did you mean 'lbpe'? known: el2n, lbpe"),
        ({"score": "el2n", "top": 3}, "option of el2n: unknown name 'top'; known: epochs"),
        ({"epoch": 3}, "option of lbpe: unknown name 'epoch'; did you mean 'epochs'? known: by, epochs, top"),
        ({"epochs": 5}, "lbpe: top must be in 1..epochs = 1..5, got 10"),
        ({"epochs": 0}, "score: epochs must be a whole number of at least 1, got 0"),
        ({"runs": 0}, "score: runs must be at least 1, got 0"),
        ({"mode": "dirty"}, "dynamics: mode must be clean or train, got 'dirty'"),
        ({"epochs": 1001}, "dynamics: epochs must be in 1..1000, got 1001"),
    ],
)
def test_mistakes_are_one_line_before_any_training(
    tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], message: str
) -> None:
    def trained(*words: object, **more: object) -> None:
        raise AssertionError("it trained")

    monkeypatch.setattr("yoco.prune.record.fit", trained)
    with pytest.raises(ValueError) as caught:
        score(tiny_set, device="cpu", progress=False, **options)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_save_and_load(tiny_set: CondensedSet, tmp_path: Path) -> None:
    found = Scores.of(tiny_set, torch.arange(36.0), "own", epochs=3)
    found.save(tmp_path / "s.safetensors")
    again = Scores.load(tmp_path / "s.safetensors")
    assert (again.name, again.checksum, again.meta) == ("own", found.checksum, {"epochs": 3})
    assert torch.equal(again.values, found.values)
    tiny_set.save(tmp_path / "set.safetensors")
    with pytest.raises(ValueError, match="must hold a scores, got a condensed set"):
        Scores.load(tmp_path / "set.safetensors")


def test_scores_of_another_set_are_refused(tiny: Splits, tiny_set: CondensedSet) -> None:
    scores = Scores.of(tiny_set, torch.zeros(36), "own")
    scores.check(tiny_set)
    scores.check(replace(tiny_set, method="other", order="own"))
    order = torch.arange(36).roll(1)
    others = [
        tiny_set.subset(cells=2),
        replace(tiny_set, cells=tiny_set.cells[order]),
        replace(tiny_set, labels=tiny_set.labels[order]),
        replace(tiny_set, soft_labels=torch.eye(3)[tiny_set.labels]),
        tiny_set.quantised(),
    ]
    for other in [*others, tiny.train]:
        with pytest.raises(
            ValueError, match=r"^scores: must be made for this very set \(36 samples, [^\n]*; score it$"
        ):
            scores.check(other)


def test_bad_values_are_one_line(tiny_set: CondensedSet) -> None:
    with pytest.raises(ValueError, match=r"^scores: values must be \[36\], got \[35\]$"):
        Scores.of(tiny_set, torch.zeros(35), "own")
    with pytest.raises(ValueError, match=r"^scores: values must be finite, got nan or infinity$"):
        Scores.of(tiny_set, torch.full((36,), torch.nan), "own")
    with pytest.raises(ValueError, match=r"^scores: values must be float32 \[n\], got int64 \[2\]$"):
        Scores(values=torch.zeros(2).long(), name="own", checksum="")
    assert SCORES["lbpe"] == "yoco.prune.scores:lbpe"
