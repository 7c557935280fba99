"""Pruning sets: what is kept, that it is really smaller, that twice is once, and what is refused."""

from dataclasses import replace
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
    Selection,
    choosing,
    find,
    items,
    prune,
    rank,
    report,
    score,
    select,
    training,
)
from yoco.prune.choosing import as_set
from yoco.prune.rules import ByScore
from yoco.rng import Rng
from yoco.train import Recipe

QUICK: dict[str, Any] = {"network": "mlp:width=4", "device": "cpu", "progress": False}


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

    monkeypatch.setattr("yoco.prune.training.observe", trained)


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


def test_a_set_without_scores_is_trained_on_once(tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def spy(data: CondensedSet, **options: Any) -> Scores:
        calls.append(options)
        return replace(scored(data), name=options["score"])

    monkeypatch.setattr(items, "score", spy)
    monkeypatch.setattr("yoco.prune.asked.gather", lambda *words, **options: [])
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
        ValueError, match=r"must answer 3 distinct indices in 0..35, got 1 distinct ones in int64 \[3\]$"
    ):
        prune(tiny_set, rule=f"{__name__}:Doubles", n=3)
    with pytest.raises(ValueError, match=r"^rank: rule must be nested, got '\w+:Greedy'; prune to one size with it$"):
        rank(tiny_set, f"{__name__}:Greedy")
    with pytest.raises(
        ValueError, match=r"^rank: rule must be nested, got the quota 'floor'; prune to one size with it$"
    ):
        rank(tiny_set, quota="floor")


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
            "option of lbpe: unknown name 'epoch'; did you mean 'epochs'? known",
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
    with pytest.raises(ValueError, match=r"^prune: the scores at hand have epochs=100, got epochs=10; score anew$"):
        prune(tiny_set, ipc=1, scores=scores, epochs=10)
    with pytest.raises(
        ValueError, match=r"^prune: the scores at hand have passes=clean, got passes=train; score anew$"
    ):
        prune(prune(tiny_set, ipc=2, scores=scores), ipc=1, passes="train")
    with pytest.raises(ValueError, match=r"^option of lbpe: unknown name 'tops'; did you mean 'top'\? known"):
        prune(tiny_set, ipc=1, scores=scores, tops=3)
    with pytest.raises(ValueError, match=r"^rule yoco: ranks by lbpe, got scores of el2n$"):
        prune(tiny_set, ipc=1, scores=Scores.of(tiny_set, torch.zeros(36), "el2n"))
    with pytest.raises(ValueError, match=r"^scores: must be made for this very set"):
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
        ValueError, match=r"^selection: must be taken of the set that it was made for, got checksum \w+ for \w+$"
    ):
        again.of(mixed.subset(cells=2))
    with pytest.raises(ValueError, match=r"^selection: the file must end in .npz, got 'kept.npy'$"):
        chosen.save(tmp_path / "kept.npy")
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"bad.npz is not a selection "):
        Selection.load(tmp_path / "bad.npz")
    np.savez(tmp_path / "other.npz", indices=np.arange(3), about=np.array("{}"))
    with pytest.raises(ValueError, match=r"other.npz is not a selection of this version$"):
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
    for how, message in [
        ({"quota": "given"}, "prune: shares go with the quota given, got given without shares"),
        ({"quota": "equal", "shares": {"0": 12}}, "prune: shares go with the quota given, got equal with shares"),
        ({"shares": {"9": 12}}, "class: unknown name '9'; known: 0, 1, 2"),
        ({"shares": {"0": 3}}, "quota given: must sum to the 12 that are kept, got 3"),
        ({"quota": "even"}, "quota: unknown name 'even'; did you mean 'given'? known: equal, floor, given, none, prop"),
    ]:
        with pytest.raises(ValueError) as caught:
            counts(**how)
        assert str(caught.value).startswith(message)


def test_features_and_scores_are_learned_by_one_training(
    tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[dict[str, Any]] = []
    real = training.observe

    def spy(data: CondensedSet, **how: Any) -> Any:
        runs.append(how)
        return real(data, **how)

    monkeypatch.setattr(training, "observe", spy)
    how = {"network": "mlp:width=4", "epochs": 12, "device": "cpu", "progress": False, "ipc": 1}
    for rule in ("d2", "herding", "craig", "beta", "entropy"):
        assert len(prune(tiny_set, rule=rule, **how)) == 12
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
        assert len(prune(tiny_set, rule=rule, features="pixels", **how)) == 12
    assert runs == []


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
    assert not torch.equal(drawn.images, choosing.draw_references(tiny_set, tiny.train, Rng(1)).images)
    with pytest.raises(ValueError, match=r"^rule yoco: reads no references, got Source\('digits', "):
        select(tiny_set, ipc=1, reference=tiny.train)
    with pytest.raises(ValueError, match=r"^reference: must have the classes 0, 1, 2, got 0, 1$"):
        select(
            tiny_set,
            ipc=1,
            rule="kernel",
            reference=replace(tiny.train, classes=("0", "1"), labels=tiny.train.labels % 2),
        )


def test_a_data_set_becomes_a_set_of_whole_images(tiny: Splits, tmp_path: Path) -> None:
    chosen = select(tiny.train, rule="random", ipc=2, quota="equal")
    small = as_set(tiny.train, chosen)
    small.save(tmp_path / "s.safetensors")
    again = load(tmp_path / "s.safetensors")
    assert (again.factor, again.counts, again.method, again.order) == (1, (2, 2, 2), "real", "random")
    order = chosen.indices[torch.argsort(tiny.train.labels[chosen.indices], stable=True)]
    assert torch.equal(again.decode(), tiny.train.batch(order).images)


@pytest.mark.parametrize("kind", ["float", "uint8", "numpy"])
def test_anybodys_arrays_in_one_call(kind: str) -> None:
    """Classes of 30, 9 and 1 samples, whose labels do not start at 0."""
    labels = torch.tensor([7] * 30 + [3] * 9 + [11])
    images = torch.rand(40, 8, 8, generator=Rng(0).generator())
    given: Any = {"float": images, "uint8": (255 * images).byte(), "numpy": images.numpy()}[kind]
    wanted: Any = labels.numpy() if kind == "numpy" else labels
    how = {"network": "mlp:width=4", "epochs": 12, "device": "cpu", "progress": False}
    for rule in RULES:
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


def test_anybodys_scores_go_with_features_that_are_learned(tiny_set: CondensedSet) -> None:
    kept = select(tiny_set, ipc=1, rule="d2", scores=np.arange(36.0), **QUICK)
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
    real = training.observe

    def counting(*words: Any, **options: Any) -> Any:
        trainings.append(options["epochs"])
        return real(*words, **options)

    monkeypatch.setattr("yoco.prune.training.observe", counting)
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
    monkeypatch.setattr("yoco.prune.training.observe", None)
    scores = Scores.of(tiny_set, torch.arange(36.0), "margin")
    kept = select(tiny_set, n=18, rule="ccs", beta=0.5, drop="margin", scores=scores)
    assert sorted(kept.indices.tolist()) == list(range(18))


def test_arrays_and_sets_are_told_apart(tiny: Splits, tiny_set: CondensedSet) -> None:
    with pytest.raises(
        ValueError, match=r"^prune: labels go with arrays of images, got a CondensedSet that has its own$"
    ):
        prune(tiny_set, tiny_set.labels, ipc=1)
    with pytest.raises(ValueError, match=r"^prune: needs a condensed set, a Source, or images and labels, got Tensor$"):
        prune(tiny_set.cells, ipc=1)
