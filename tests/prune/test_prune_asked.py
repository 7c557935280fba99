"""What is asked of a score: its own options whatever they are called, by its own name, and no longer training."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from yoco.condensed import CondensedSet, load
from yoco.data import Splits
from yoco.prune import Evidence, Scores, observe, prune, score, select
from yoco.prune.choosing import scores_for
from yoco.rng import Rng
from yoco.train import Recipe

QUICK: dict[str, Any] = {"network": "mlp:width=4", "progress": False, "recipe": Recipe(epochs=2, batch=16)}


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of one's own."""
    module = ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)
    return module


def test_an_option_of_ones_own_may_be_named_as_a_part_of_the_scores(tiny_set: CondensedSet, mine: ModuleType) -> None:
    mine.own = lambda dynamics, *, epochs=2, name="a", values=1, checksum=0: dynamics.error[:epochs].sum(0)  # type: ignore[attr-defined]
    found = score(tiny_set, score="mine:own", name="b", **QUICK)
    assert found.name == "mine:own"
    assert (found.meta["name"], found.meta["values"], found.meta["checksum"]) == ("b", 1, 0)
    chosen = select(tiny_set, rule="hard", score="mine:own", name="b", ipc=1, **QUICK)
    assert (chosen.entry["scores"]["score"], chosen.entry["scores"]["name"]) == ("mine:own", "b")


def test_only_the_epochs_of_anybodys_score_are_cut_to_those_of_the_recipe(tiny: Splits, mine: ModuleType) -> None:
    mine.own = lambda dynamics, *, epochs=20, top=20, window="hann": dynamics.error[:epochs].sum(0)  # type: ignore[attr-defined]
    made = score(tiny.train, score="mine:own", network="mlp:width=4", progress=False).meta
    assert (made["epochs"], made["top"], made["window"]) == (10, 20, "hann")


def test_options_beside_given_scores_are_theirs(tiny_set: CondensedSet) -> None:
    given = Scores.of(tiny_set, torch.arange(36.0), "el2n", epochs=5, how="mean")
    assert len(select(tiny_set, rule="hard", ipc=1, scores=given, epochs=5, how="mean")) == 12
    with pytest.raises(ValueError, match=r"^prune: the existing scores have how=mean, got how=sum; score again$"):
        select(tiny_set, rule="hard", ipc=1, scores=given, how="sum")
    with pytest.raises(ValueError, match=r"^option of el2n: unknown name 'tops'; "):
        select(tiny_set, rule="hard", ipc=1, scores=given, tops=3)


def test_a_rule_that_reads_nothing_asks_for_no_score(tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yoco.prune.request.ask", None)
    alone, shared = (select(tiny_set, rule="random", ipc=1, **how) for how in ({}, {"epochs": 5, "runs": 2}))
    assert torch.equal(alone.indices, shared.indices)


def test_scores_beside_features_take_no_longer_than_they_read(
    tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    how: dict[str, Any] = {**QUICK, "rule": "d2", "score": "el2n", "ipc": 1, "recipe": Recipe(epochs=22, batch=36)}
    ahead, made = scores_for(tiny_set, **how), select(tiny_set, **how)
    assert {"score": ahead.name, **ahead.meta} == made.entry["scores"]
    assert torch.equal(ahead.values[made.indices], made.scores)
    seen: list[tuple[int, int]] = []

    def watch(*_: Any, epochs: int, recipe: Recipe, **how: Any) -> Evidence:
        seen.append((epochs, recipe.epochs))
        raise KeyboardInterrupt

    monkeypatch.setattr("yoco.prune.asked.observe", watch)
    for name in ("el2n", "lbpe", "forgetting"):
        with pytest.raises(KeyboardInterrupt):
            scores_for(tiny_set, rule="d2", score=name, ipc=1, progress=False)
    assert seen == [(20, 1000), (100, 1000), (1000, 1000)]


def test_no_look_is_taken_in_epochs_that_nothing_reads(tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch) -> None:
    how: dict[str, Any] = {"network": "mlp:width=4", "recipe": Recipe(epochs=6, batch=16)}
    whole = observe(tiny_set, epochs=6, rng=Rng(0).child("score", 0), snapshot=True, **how)
    module, looks = sys.modules["yoco.prune.observe"], []
    predict = module.predict
    monkeypatch.setattr(module, "predict", lambda *given, **how: (looks.append(1), predict(*given, **how))[1])
    rules: list[tuple[dict[str, Any], int]] = [
        ({"rule": "d2", "score": "el2n", "epochs": 2}, 1),
        ({"rule": "d2", "score": "el2n", "epochs": 2, "how": "sum"}, 2),
        ({"rule": "d2", "score": "lbpe", "epochs": 3, "top": 2}, 3),
        ({"rule": "d2", "score": "forgetting"}, 6),
        ({"rule": "d2", "score": "entropy"}, 0),
        ({"rule": "beta", "score": "el2n", "epochs": 2}, 2),  # its confidence is of all
    ]
    for rule, count in rules:
        looks.clear()
        made = select(tiny_set, ipc=1, device="cpu", progress=False, **how, **rule)
        assert len(looks) == count, rule
        same = select(tiny_set, ipc=1, evidence=[whole], **rule)
        assert torch.equal(made.indices, same.indices)
        assert torch.equal(made.scores, same.scores)


def test_dynamics_of_the_first_epochs_say_how_many_they_are(tiny_set: CondensedSet) -> None:
    how: dict[str, Any] = {"network": "mlp:width=4", "recipe": Recipe(epochs=4, batch=16), "snapshot": True}
    whole, first = (observe(tiny_set, epochs=4, rng=Rng(0), until=until, **how) for until in (None, 2))
    assert (whole.dynamics.epochs, first.dynamics.epochs) == (4, 2)
    assert (first.dynamics.meta["epochs"], first.meta["epochs"]) == (2, 4)
    assert all(torch.equal(part, whole.dynamics.parts[name][:2]) for name, part in first.dynamics.parts.items())
    assert torch.equal(first.snapshot.logits, whole.snapshot.logits)


def test_el2n_looks_at_its_last_epoch_alone(
    tiny: Splits, tiny_set: CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    how: dict[str, Any] = {"network": "mlp:width=4", "recipe": Recipe(epochs=6, batch=16)}
    module, looks = sys.modules["yoco.prune.observe"], []
    predict = module.predict
    monkeypatch.setattr(module, "predict", lambda *given, **how: (looks.append(1), predict(*given, **how))[1])
    for data in (tiny_set, tiny.train):
        for passes, count in (("clean", 1), ("train", 0)):
            whole = observe(data, epochs=6, rng=Rng(0).child("score", 0), passes=passes, **how).dynamics
            looks.clear()
            found = score(data, score="el2n", epochs=4, passes=passes, device="cpu", progress=False, **how)
            assert len(looks) == count
            assert torch.equal(found.values, whole.error[3])
            assert "unrecorded" not in found.meta


def test_dynamics_of_later_epochs_say_which_they_are(tiny_set: CondensedSet, tmp_path: Path) -> None:
    how: dict[str, Any] = {"network": "mlp:width=4", "recipe": Recipe(epochs=4, batch=16)}
    whole, late = (observe(tiny_set, epochs=4, rng=Rng(0), since=since, **how) for since in (0, 2))
    late.save(tmp_path / "late.safetensors")
    for each in (late, Evidence.load(tmp_path / "late.safetensors")):
        assert (each.dynamics.since, each.dynamics.epochs, whole.dynamics.since) == (2, 2, 0)
        assert all(torch.equal(part, whole.dynamics.parts[name][2:]) for name, part in each.dynamics.parts.items())
        for epochs in (3, 4):
            read = [score(tiny_set, score="el2n", evidence=[seen], epochs=epochs) for seen in (whole, each)]
            assert torch.equal(read[0].values, read[1].values)
            assert read[0].meta == read[1].meta
        for name, epochs, first in (("el2n", 2, 1), ("aum", None, 0), ("confidence", 3, 0)):
            line = rf"^{name}: needs the dynamics of epoch {first}, counted from 0, got those from 2 on$"
            with pytest.raises(ValueError, match=line):
                score(tiny_set, score=name, evidence=[each], epochs=epochs)
    for wrong, last in (({"since": 4}, 3), ({"since": 2, "until": 2}, 1), ({"since": 1, "passes": "train"}, 0)):
        with pytest.raises(ValueError, match=rf"^dynamics: since must be in 0..{last}, got {wrong['since']}$"):
            observe(tiny_set, epochs=4, rng=Rng(0), **wrong, **how)


def test_paths_among_options_are_words(tiny_set: CondensedSet, mine: ModuleType, tmp_path: Path) -> None:
    mine.own = lambda dynamics, *, epochs=2, weights=None, like="a": dynamics.error[:epochs].sum(0)  # type: ignore[attr-defined]
    path = tmp_path / "w.pt"
    own: dict[str, Any] = {"score": "mine:own"}
    made = prune(tiny_set, rule="hard", weights=path, like=path, ipc=1, **own, **QUICK)
    made.save(tmp_path / "small.safetensors")
    again = load(tmp_path / "small.safetensors").history[-1]["scores"]
    assert (again["weights"], again["like"]) == (str(path), str(path))
    found = score(tiny_set, weights=path, **own, **QUICK)
    assert found.meta["weights"] == str(path)
    assert len(select(tiny_set, rule="hard", scores=found, weights=path, ipc=1, **own)) == 12


@pytest.mark.parametrize(
    ("weights", "kind"), [(torch.zeros(2), "Tensor"), (len, "builtin_function_or_method"), ({"a": {1}}, "set")]
)
def test_options_that_no_file_can_hold_are_one_line_before_any_training(
    tiny_set: CondensedSet, mine: ModuleType, weights: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine.own = lambda dynamics, *, epochs=2, weights=None: dynamics.error[:epochs].sum(0)  # type: ignore[attr-defined]
    mine.usual = lambda dynamics, *, epochs=2, weights=weights: dynamics.error[:epochs].sum(0)  # type: ignore[attr-defined]
    monkeypatch.setattr(sys.modules["yoco.prune.observe"], "fit", None)
    rule = f"must be a number, a string, or a list or mapping of these, got {kind}"
    for name, given in (("mine:own", {"weights": weights}), ("mine:usual", {})):
        how: dict[str, Any] = {"score": name, **given, **QUICK}
        calls: tuple[Any, ...] = (score, lambda data, **how: select(data, rule="hard", ipc=1, **how))
        for call in calls:
            with pytest.raises(ValueError) as caught:
                call(tiny_set, **how)
            assert str(caught.value) == f"score: option weights of {name}: {rule}"
