"""Pruning sets: what is kept, that it is really smaller, that twice is once, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import yoco
from yoco.condensed import CondensedSet, load
from yoco.data import Splits
from yoco.prune import (
    RULES,
    Scores,
    Selection,
    find,
    prune,
    rank,
    report,
    select,
)
from yoco.prune.choosing import as_set
from yoco.prune.rules import ByScore
from yoco.rng import Rng


@pytest.fixture
def mixed(tiny_set: CondensedSet) -> CondensedSet:
    """The set with classes of 12, 12 and 5 cells whose labels are in no order."""
    keep = torch.cat([torch.arange(29)])[torch.randperm(29, generator=Rng(0).generator())]
    return replace(tiny_set, cells=tiny_set.cells[keep], labels=tiny_set.labels[keep])


def scored(data: CondensedSet, *, tied: bool = False) -> Scores:
    values = torch.rand(len(data), generator=Rng(7).generator())
    return Scores.of(data, (5 * values).floor() if tied else values, "lbpe", epochs=100, top=10, passes="clean")


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(*words: object, **options: object) -> None:
        raise AssertionError("it trained")

    monkeypatch.setattr("yoco.prune.asked.observe", trained)


QUOTA = {"quota": "equal"}


def rows(data: CondensedSet) -> list[bytes]:
    return [cell.numpy().tobytes() for cell in data.cells]


def test_yoco_keeps_the_lowest_scores_of_each_class(mixed: CondensedSet) -> None:
    scores = scored(mixed)
    small = prune(mixed, cells=3, scores=scores)
    assert small.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    place = {row: i for i, row in enumerate(rows(mixed))}
    assert len(place) == 29
    for c in range(3):
        mine = [i for i in range(29) if mixed.labels[i] == c]
        best = sorted(mine, key=lambda i: float(scores.values[i]))[:3]
        assert [place[row] for row in rows(small)[3 * c : 3 * c + 3]] == best
        assert small.scores is not None
        assert torch.equal(small.scores[3 * c : 3 * c + 3], scores.values[best])


def test_only_the_kept_cells_are_stored(tiny_set: CondensedSet, tmp_path: Path) -> None:
    small = prune(tiny_set, ipc=1, scores=scored(tiny_set))
    assert small.counts == (4, 4, 4)
    assert small.nbytes * 3 == tiny_set.nbytes
    assert small.order == "yoco"
    assert (small.factor, small.size, small.mean, small.method) == (2, (8, 8), tiny_set.mean, "cut")
    small.save(tmp_path / "small.safetensors")
    again = load(tmp_path / "small.safetensors")
    assert again.cells.untyped_storage().nbytes() == small.cells.numel() * 4
    entry = again.history[-1]
    assert (entry["step"], entry["rule"], entry["budget"]) == ("prune", "yoco", {"ipc": 1})
    assert (entry["had"], entry["kept"], entry["bytes"]) == ([12] * 3, [4] * 3, [tiny_set.nbytes, small.nbytes])
    assert entry["scores"] == {"score": "lbpe", "epochs": 100, "top": 10, "passes": "clean"}


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("rule", [name for name in RULES if isinstance(find(name), ByScore)])
def test_pruning_twice_is_pruning_once(mixed: CondensedSet, rule: str, tied: bool, tmp_path: Path) -> None:
    scores = replace(scored(mixed, tied=tied), name=find(rule).score or "lbpe")
    ranked = rank(mixed, rule, scores=scores, **QUOTA)
    assert (len(ranked), ranked.order, ranked.history[-1]["step"]) == (29, rule, "rank")
    ranked.save(tmp_path / "ranked.safetensors")
    ranked, step = load(tmp_path / "ranked.safetensors"), prune(mixed, rule=rule, n=20, scores=scores, **QUOTA)
    for n in (1, 4, 11, 20):
        once = prune(mixed, rule=rule, n=n, scores=scores, **QUOTA)
        for other in (prune(step, rule=rule, n=n, **QUOTA), prune(ranked, rule=rule, n=n, **QUOTA)):
            assert torch.equal(once.cells, other.cells)
            assert torch.equal(once.scores, other.scores)
            assert torch.equal(once.labels, other.labels)


@pytest.mark.usefixtures("untrained")
def test_a_ranked_file_opens_at_any_size(tiny_set: CondensedSet, tmp_path: Path) -> None:
    scores = scored(tiny_set)
    rank(tiny_set, scores=scores).save(tmp_path / "ranked.safetensors")
    for ipc in (1, 2, 3):
        small = yoco.load(tmp_path / "ranked.safetensors", ipc=ipc)
        assert torch.equal(small.cells, prune(tiny_set, ipc=ipc, scores=scores).cells)


@pytest.mark.usefixtures("untrained")
def test_random_rules_never_train(tiny: Splits, mixed: CondensedSet) -> None:
    for quota in ("none", "equal"):
        one, same, other = (prune(mixed, rule="random", quota=quota, n=12, seed=seed) for seed in (1, 1, 2))
        assert torch.equal(one.cells, same.cells)
        assert not torch.equal(one.cells, other.cells)
        assert one.scores is None
        assert len(prune(tiny.train, rule="random", quota=quota, keep=0.29)) == round(0.29 * len(tiny.train))
    assert prune(mixed, rule="random", quota="equal", n=12).counts == (4, 4, 4)


def test_sources_are_pruned_to_sources(tiny: Splits) -> None:
    scores = Scores.of(tiny.train, torch.arange(float(len(tiny.train))), "lbpe")
    small = prune(tiny.train, ipc=2, scores=scores)
    assert small.labels.tolist() == [0, 1, 2, 0, 1, 2]
    firsts = [members[:2] for members in tiny.train.by_class]
    assert torch.equal(small.images, tiny.train.images[torch.stack(firsts, 1).flatten()])
    assert small.mean == tiny.train.mean


def test_soft_labels_and_uint8_cells_go_along(tiny_set: CondensedSet) -> None:
    soft = torch.rand(36, 3, generator=Rng(1).generator())
    whole = replace(tiny_set, soft_labels=soft).quantised()
    scores = scored(whole)
    small = prune(whole, rule="hard", n=1, scores=scores)
    best = int(scores.values.argmax())
    assert torch.equal(small.soft_labels, soft[best : best + 1])
    assert torch.equal(small.cells, whole.cells[best : best + 1])


def test_what_is_given_is_not_changed(mixed: CondensedSet) -> None:
    scores = scored(mixed)
    cells, labels, values = mixed.cells.clone(), mixed.labels.clone(), scores.values.clone()
    first, again = prune(mixed, n=9, scores=scores), prune(mixed, n=9, scores=scores)
    assert torch.equal(first.cells, again.cells)
    assert torch.equal(mixed.cells, cells)
    assert torch.equal(mixed.labels, labels)
    assert torch.equal(scores.values, values)
    assert (mixed.scores, mixed.history) == (None, ())


def test_the_report_says_what_was_kept_and_what_was_short(mixed: CondensedSet) -> None:
    scores = scored(mixed)
    small = prune(mixed, n=24, scores=scores)
    assert small.counts == (10, 9, 5)
    lines = report(small).splitlines()
    kept = small.scores[:10]
    assert lines[2] == f"| 0 | 12 | 10 | {float(kept.min()):.4g} .. {float(kept.max()):.4g} |"
    assert lines[5].startswith("| all | 29 | 24 | ")
    assert lines[7] == "rule yoco, quota equal, n=24; score lbpe (epochs=100, passes=clean, top=10)"
    assert lines[8] == "fewer than an equal share in '2': all of it is kept, and the others fill up"
    assert lines[9] == f"{mixed.nbytes:,} bytes before, {small.nbytes:,} after (82.8 %)"
    assert "fewer" not in report(prune(mixed, cells=5, scores=scores))
    assert "| 0 | 12 | " in report(prune(mixed, rule="random", n=3))
    assert "nothing is kept of '1', '2'" in report(prune(mixed, shares={"0": 3}, n=3, scores=scores))
    assert "nothing is kept" not in report(small)
    with pytest.raises(ValueError, match=r"^report: the set must have been pruned or ranked, got one that was not$"):
        report(mixed)


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ipc": 4}, "budget: must keep at most the 36 there are, got ipc=4 = 48"),
        ({"n": 0}, "budget: n must be a whole number of at least 1, got 0"),
        ({}, "budget: give exactly one of ipc, cells, keep, n, got none"),
        ({"ipc": 1, "rule": "yocco"}, "rule: unknown name 'yocco'; did you mean 'yoco'? known: "),
        ({"ipc": 1, "score": "el2n"}, "rule yoco: ranks by lbpe, got the score el2n"),
        (
            {"ipc": 1, "rule": "random", "epoch": 3},
            "option of rule random: unknown name 'epoch'; did you mean 'epochs'? known",
        ),
    ],
)
def test_mistakes_are_one_line_before_any_training(
    tiny_set: CondensedSet, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        prune(tiny_set, **options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("untrained")
def test_scores_that_are_not_those_asked_for_are_refused(tiny_set: CondensedSet) -> None:
    scores = scored(tiny_set)
    with pytest.raises(ValueError, match=r"^prune: the existing scores have epochs=100, got epochs=10; score again$"):
        prune(tiny_set, ipc=1, scores=scores, epochs=10)
    with pytest.raises(
        ValueError, match=r"^prune: the existing scores have passes=clean, got passes=train; score again$"
    ):
        prune(prune(tiny_set, ipc=2, scores=scores), ipc=1, passes="train")
    with pytest.raises(ValueError, match=r"^option of lbpe: unknown name 'tops'; did you mean 'top'\? known"):
        prune(tiny_set, ipc=1, scores=scores, tops=3)
    with pytest.raises(ValueError, match=r"^rule yoco: ranks by lbpe, got scores of el2n$"):
        prune(tiny_set, ipc=1, scores=Scores.of(tiny_set, torch.zeros(36), "el2n"))
    with pytest.raises(ValueError, match=r"^scores: must be made for this set"):
        prune(tiny_set.subset(ipc=2), ipc=1, scores=scores)


@pytest.mark.usefixtures("untrained")
def test_a_selection_is_a_small_file_without_pickle(mixed: CondensedSet, tmp_path: Path) -> None:
    chosen = select(mixed, n=9, scores=scored(mixed))
    assert repr(chosen) == "Selection(9 of 29 samples, rule yoco)"
    chosen.save(tmp_path / "kept.npz")
    again = Selection.load(tmp_path / "kept.npz")
    assert torch.equal(again.indices, chosen.indices)
    assert torch.equal(again.scores, chosen.scores)
    assert (again.weights, again.checksum, again.classes) == (None, chosen.checksum, mixed.classes)
    assert again.report() == chosen.report() == report(as_set(mixed, chosen))
    assert torch.equal(again.of(mixed).cells, prune(mixed, n=9, scores=scored(mixed)).cells)
    assert (tmp_path / "kept.npz").stat().st_size < 4000
    with pytest.raises(
        ValueError, match=r"^selection: must be used with the set that it was made for, checksum \w+, got \w+$"
    ):
        again.of(mixed.subset(cells=2))
    with pytest.raises(ValueError, match=r"^selection: the file must end in .npz, got 'kept.npy'$"):
        chosen.save(tmp_path / "kept.npy")
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad.npz is not a selection "):
        Selection.load(tmp_path / "bad.npz")
    np.savez(tmp_path / "other.npz", indices=np.arange(3), about=np.array("{}"))
    with pytest.raises(ValueError, match=r"other.npz is not a selection that this version of yoco can read$"):
        Selection.load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError):
        Selection.load(tmp_path / "none.npz")


@pytest.mark.usefixtures("untrained")
def test_the_best_stand_first(mixed: CondensedSet) -> None:
    scores = scored(mixed)
    chosen = select(mixed, rule="easy", n=29, scores=scores)
    assert (scores.values[chosen.indices].diff() >= 0).all()
    assert chosen.indices.tolist() != sorted(chosen.indices.tolist())


@pytest.mark.usefixtures("untrained")
def test_quotas_of_every_kind(mixed: CondensedSet) -> None:
    scores = scored(mixed)

    def counts(**how: Any) -> tuple[int, ...]:
        return prune(mixed, rule="hard", n=12, scores=scores, **how).counts

    had = tuple(int((mixed.labels == c).sum()) for c in range(3))
    assert counts(quota="equal") == (4, 4, 4)
    assert counts(quota="proportional") == tuple(round(12 * n / 29) for n in had)
    assert min(counts(quota="floor", floor=0.75)) >= 3
    assert (
        counts(shares={"0": 1, "1": 9, "2": 2}) == counts(quota="given", shares={"1": 9, "2": 2, "0": 1}) == (1, 9, 2)
    )
    together = "prune: shares and the quota given must be used together"
    for how, message in [
        ({"quota": "given"}, f"{together}, got the quota given without shares"),
        ({"quota": "equal", "shares": {"0": 12}}, f"{together}, got the quota equal with shares"),
        ({"shares": {"9": 12}}, "class: unknown name '9'; known: 0, 1, 2"),
        ({"shares": {"0": 3}}, "quota given: shares must sum to 12, the number of samples to keep, got 3"),
        ({"quota": "even"}, "quota: unknown name 'even'; did you mean 'given'? known: equal, floor, given, none, prop"),
    ]:
        with pytest.raises(ValueError) as caught:
            counts(**how)
        assert str(caught.value).startswith(message)


def test_none_leaves_the_settings_of_a_preset_alone(tiny_set: CondensedSet) -> None:
    how = {"network": "mlp:width=4", "device": "cpu", "progress": False, "n": 6}
    made = select(tiny_set, rule="ccs", mode="repo", how=None, passes=None, epochs=None, **how).entry["scores"]
    assert (made["score"], made["how"], made["epochs"], made["passes"]) == ("el2n", "sum", 10, "train")
    made = select(tiny_set, rule="ccs", mode="repo", how="mean", epochs=3, **how).entry["scores"]
    assert (made["how"], made["epochs"], made["passes"]) == ("mean", 3, "train")


def test_weights_are_kept_and_said(tiny_set: CondensedSet, tmp_path: Path) -> None:
    how = {"network": "mlp:width=4", "epochs": 1, "device": "cpu", "progress": False}
    chosen = select(tiny_set, rule="craig", cells=2, **how)
    assert chosen.weights is not None
    assert chosen.weights.sum() == 36
    assert "the samples have weights, which training must use: they are in the selection" in chosen.report()
    chosen.save(tmp_path / "kept.npz")
    assert torch.equal(Selection.load(tmp_path / "kept.npz").weights, chosen.weights)


def test_a_selection_that_says_nothing_says_its_length() -> None:
    bare = Selection(indices=torch.arange(3), checksum="")
    assert (repr(bare), bare.report()) == ("Selection(3 samples)", "3 samples")
