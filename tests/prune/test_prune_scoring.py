"""Scoring: means over runs, published settings, files that know their set, and mistakes before any training."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from augment import Policy
from yoco.condensed import CondensedSet
from yoco.data import Source, Splits
from yoco.prune import Dynamics, Evidence, Scores, observe, score
from yoco.prune.asked import ask
from yoco.prune.scores import SCORES, lbpe
from yoco.prune.scoring import combined
from yoco.prune.training import Training
from yoco.rng import Rng
from yoco.train import Recipe

RECIPE = Recipe(epochs=9, augment=Policy("color_crop"), cutmix=0.5)
FAST = {"network": "mlp:width=4", "recipe": RECIPE, "epochs": 3, "top": 2, "device": "cpu", "progress": False}


def test_a_score_is_the_mean_over_runs_with_streams_of_their_own(tiny_set: CondensedSet) -> None:
    found = score(tiny_set, runs=2, seed=4, **FAST)
    each = []
    for run in range(2):
        stream = Rng(4).child("score", run)
        dynamics = observe(tiny_set, epochs=3, recipe=RECIPE, rng=stream, network="mlp:width=4").dynamics
        each.append(lbpe(dynamics, epochs=3, top=2).double())
    assert not torch.equal(each[0], each[1])
    torch.testing.assert_close(found.values, ((each[0] + each[1]) / 2).float())
    assert torch.equal(found.values, score(tiny_set, runs=2, seed=4, **FAST).values)
    assert not torch.equal(found.values, score(tiny_set, runs=2, seed=5, **FAST).values)
    assert found.meta["recipe"]["epochs"] == 9
    wanted = {
        "epochs": 3,
        "top": 2,
        "by": "accuracy",
        "runs": 2,
        "network": "mlp:width=4",
        "passes": "clean",
        "seed": 4,
    }
    assert wanted.items() <= found.meta.items()


def test_modes_and_other_scores_and_sources(tiny: Splits, tiny_set: CondensedSet) -> None:
    clean, mixed = (score(tiny_set, passes=passes, **FAST) for passes in ("clean", "train"))
    assert not torch.equal(clean.values, mixed.values)
    assert (clean.meta["passes"], mixed.meta["passes"]) == ("clean", "train")
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

    def spy(data: CondensedSet, *, epochs: int, recipe: Recipe, **rest: object) -> Evidence:
        asked.append((epochs, recipe.epochs))
        how = {"snapshot": True, "network": "mlp:width=4"}
        return observe(data, epochs=min(epochs, 9), recipe=RECIPE, rng=Rng(0), **how)

    monkeypatch.setattr("yoco.prune.asked.observe", spy)
    score(tiny_set, epochs=2, top=1, progress=False)
    score(tiny_set, score="entropy", epochs=5, progress=False)
    score(tiny_set, score="aum", progress=False)
    assert asked == [(2, 1000), (5, 5), (1000, 1000)]


def test_data_that_are_not_condensed_get_ten_plain_epochs(tiny: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Recipe] = []

    def spy(data: Source, *, epochs: int, recipe: Recipe, **rest: object) -> Evidence:
        asked.append(recipe)
        return observe(data, epochs=epochs, recipe=recipe, rng=Rng(0), network="mlp:width=4")

    monkeypatch.setattr("yoco.prune.asked.observe", spy)
    made = score(tiny.train, progress=False).meta
    assert (made["epochs"], made["top"]) == (10, 10)
    assert (asked[0].epochs, asked[0].augment, asked[0].cutmix) == (10, Policy(""), 0.0)
    made = score(tiny.train, score="dual", epochs=3, progress=False).meta
    assert (made["epochs"], made["window"], asked[1].epochs) == (3, 3, 3)


def test_published_settings_follow_method_and_data(tiny_set: CondensedSet) -> None:
    def settings(method: str, data: str, **given: object) -> tuple[object, object]:
        made = replace(tiny_set, method=method, source={"name": data})
        chosen = ask("lbpe", made, Training(), {k: v for k, v in given.items() if v is not None}).options
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


TRAINING = "network, passes, progress, recipe, runs, seed, stage"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"score": "el2n", "top": 3},
            f"option of el2n: unknown name 'top'; known: bf16, device, epochs, how, {TRAINING}",
        ),
        (
            {"score": "entropy", "top": 3},
            f"option of entropy: unknown name 'top'; known: bf16, device, epochs, {TRAINING}",
        ),
        (
            {"epoch": 3},
            "option of lbpe: unknown name 'epoch'; did you mean 'epochs'? known: bf16, by, device, epochs, "
            f"{TRAINING}, top",
        ),
        (
            {"netwrok": "mlp"},
            "option of lbpe: unknown name 'netwrok'; did you mean 'network'? known: bf16, by, device, "
            f"epochs, {TRAINING}, top",
        ),
        ({"top": "3"}, "lbpe: top must be a whole number, got '3'"),
        ({"evidence": 3}, "evidence: must be a list of what yoco.prune.observe returns, got int"),
        ({"epochs": 5}, "lbpe: top must be in 1..epochs = 1..5, got 10"),
        ({"epochs": 0}, "score: epochs must be a whole number of at least 1, got 0"),
        ({"score": "grand", "parameters": "some"}, "grand: parameters must be last or all, got 'some'"),
        ({"runs": 0}, "score: runs must be at least 1, got 0"),
        ({"passes": "dirty"}, "dynamics: passes must be clean or train, got 'dirty'"),
        ({"epochs": 1001}, "dynamics: epochs must be in 1..1000, got 1001"),
    ],
)
def test_mistakes_are_one_line_before_any_training(
    tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], message: str
) -> None:
    def trained(*words: object, **more: object) -> None:
        raise AssertionError("it trained")

    monkeypatch.setattr(sys.modules["yoco.prune.observe"], "fit", trained)
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
    with pytest.raises(ValueError, match="must be of the kind scores, got condensed set"):
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
        line = r"^scores: must be made for this set \([^\n]*\), got those of another \(36 samples, [^\n]*; score it$"
        with pytest.raises(ValueError, match=line):
            scores.check(other)


def test_bad_values_are_one_line(tiny_set: CondensedSet) -> None:
    with pytest.raises(ValueError, match=r"^scores: values must be \[36\], got \[35\]$"):
        Scores.of(tiny_set, torch.zeros(35), "own")
    with pytest.raises(ValueError, match=r"^scores: values must be finite, got nan or infinity$"):
        Scores.of(tiny_set, torch.full((36,), torch.nan), "own")
    with pytest.raises(ValueError, match=r"^scores: values must be float32 \[n\], got int64 \[2\]$"):
        Scores(values=torch.zeros(2).long(), name="own", checksum="")
    assert SCORES["lbpe"] == "yoco.prune.scores:lbpe"


def test_scores_of_ones_own_may_be_a_list_or_an_array(tiny_set: CondensedSet) -> None:
    for values in (list(range(36)), np.arange(36.0), torch.arange(36, dtype=torch.float64)):
        made = Scores.of(tiny_set, values)
        assert (made.name, made.values.dtype, made.values.tolist()) == ("given", torch.float32, list(range(36)))
    with pytest.raises(ValueError, match=r"^scores: values must be numbers, got <U1$"):
        Scores.of(tiny_set, ["a"] * 36)
    with pytest.raises(ValueError, match=r"^scores: values must be numbers in rows of equal length$"):
        Scores.of(tiny_set, [[1], [1, 2]])


def test_unknown_scores_name_the_nearest(tiny_set: CondensedSet) -> None:
    with pytest.raises(ValueError, match=r"^score: unknown name 'lpbe'; did you mean 'lbpe'\? known: aum, "):
        score(tiny_set, score="lpbe")


def test_scores_of_one_network_are_taken_after_its_whole_recipe(tiny_set: CondensedSet) -> None:
    how = {"network": "mlp:width=4", "recipe": RECIPE, "device": "cpu", "progress": False}
    found = score(tiny_set, score="entropy", seed=4, **how)
    stream = Rng(4).child("score", 0)
    seen = observe(tiny_set, epochs=9, recipe=RECIPE, rng=stream, network="mlp:width=4", snapshot=True).snapshot
    p = seen.logits.double().softmax(1)
    torch.testing.assert_close(found.values, (-(p * p.log()).sum(1)).float())
    assert found.meta["epochs"] == 9


def test_evidence_stands_in_for_training(tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    how = {"recipe": RECIPE, "network": "mlp:width=4", "snapshot": True}
    seen = [observe(tiny_set, epochs=9, rng=Rng(0).child("score", run), **how) for run in range(2)]
    expected = score(tiny_set, runs=2, **FAST)
    monkeypatch.setattr("yoco.prune.asked.observe", None)
    found = score(tiny_set, evidence=seen, epochs=3, top=2)
    assert torch.equal(found.values, expected.values)
    assert (found.meta["runs"], found.meta["network"]) == (2, "mlp:width=4")
    assert len(score(tiny_set, score="grand", evidence=seen[:1])) == 36
    with pytest.raises(ValueError, match=r"^evidence: must be observed on this set, checksum \w+, got \w+; "):
        score(tiny_set.subset(cells=2), evidence=seen)
    with pytest.raises(ValueError, match=r"^evidence: needs at least one training, got none$"):
        score(tiny_set, evidence=[])
    rule = r"needs evidence from observe\(\.\.\., snapshot=True\), got some without it"
    with pytest.raises(ValueError, match=rf"^score entropy: {rule}$"):
        score(tiny_set, score="entropy", evidence=[replace(seen[0], snapshot=None)])


def test_scores_of_given_features_never_train(tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yoco.prune.asked.observe", None)
    pixels = score(tiny_set, score="prototype", features="pixels")
    again = score(tiny_set, score="prototype", features=tiny_set.decode().numpy())
    assert torch.equal(pixels.values, again.values)
    assert (pixels.meta["features"], again.meta["features"]) == ("pixels", "given")
    with pytest.raises(ValueError, match=r"^score: must be prototype or ssp when features are given, got lbpe$"):
        score(tiny_set, features="pixels")
    with pytest.raises(ValueError, match=r"^features: must be \[36, ...\], got \[35, 2\]$"):
        score(tiny_set, score="ssp", features=torch.zeros(35, 2))
    with pytest.raises(ValueError, match=r"^features: must be network, pixels or numbers \[36, ...\], got 'pixel'$"):
        score(tiny_set, score="ssp", features="pixel")


def test_runs_are_averaged_and_infinite_ones_by_rank() -> None:
    one, other = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([3.0, 2.0, 2.0])
    assert combined([one, other]).tolist() == [2, 2, 2.5]
    assert combined([one, torch.tensor([2.0, torch.inf, torch.inf])]).tolist() == [0, 1.25, 1.75]
    with pytest.raises(ValueError, match=r"^scores: values must be finite, got nan$"):
        combined([one, one / 0 * 0])


def test_scores_are_exported_with_their_ranks(tiny_set: CondensedSet, tmp_path: Path) -> None:
    found = Scores.of(tiny_set, torch.arange(36.0).flip(0).clamp(min=1), "own")
    assert found.ranks.tolist()[:3] == [35, 34, 33]
    assert found.ranks.tolist()[-2:] == [0, 1]
    found.export(tmp_path / "s.csv", tiny_set.labels, tiny_set.classes)
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines[:2] == ["index,class,score,rank", "0,0,35,35"]
    assert len(lines) == 37
    found.export(tmp_path / "s.npz", tiny_set.labels, tiny_set.classes)
    with np.load(tmp_path / "s.npz", allow_pickle=False) as file:
        assert np.array_equal(file["score"], found.values.numpy())
        assert np.array_equal(file["rank"], found.ranks.numpy())
        assert file["classes"].tolist() == ["0", "1", "2"]
    files = [f"{k}, of its own.png" for k in range(36)]
    found.export(tmp_path / "f.csv", tiny_set.labels, tiny_set.classes, files)
    with (tmp_path / "f.csv").open(newline="") as text:
        assert [row[4] for row in csv.reader(text)] == ["file", *files]
    found.export(tmp_path / "f.npz", tiny_set.labels, tiny_set.classes, files)
    with np.load(tmp_path / "f.npz", allow_pickle=False) as file:
        assert file["files"].tolist() == files
    with pytest.raises(ValueError, match=r"^scores: the file must end in .csv, .npz or .safetensors, got 's.txt'$"):
        found.export(tmp_path / "s.txt", tiny_set.labels, tiny_set.classes)
