"""What is asked of classes is checked before anything is trained."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from yoco.classes import only
from yoco.condensed import CondensedSet
from yoco.data import Source, Splits, from_arrays
from yoco.prune import prune, rank, report, select
from yoco.prune.presets import find
from yoco.prune.shares import check_classes, counts_of
from yoco.rng import Rng


@pytest.fixture
def data() -> Source:
    """Thirty, nine and one sample."""
    labels = [7] * 30 + [3] * 9 + [11]
    return from_arrays(np.zeros((40, 4, 4), np.uint8), labels)


def test_narrow_numbers_of_numpy_are_summed_whole() -> None:
    many = from_arrays(np.zeros((400, 2, 2), np.uint8), [0, 1] * 200)
    shares = {"0": np.uint8(200), "1": np.uint8(100)}
    assert select(many, rule="random", n=300, shares=shares).entry["kept"] == [200, 100]
    line = r"^quota given: shares must sum to 44, the number of samples to keep, got 300$"
    with pytest.raises(ValueError, match=line):
        select(many, rule="random", n=44, shares=shares)


def test_shares_go_by_the_name_of_a_class_or_by_its_label(data: Source) -> None:
    assert counts_of(data, "equal", None) == []
    assert counts_of(data, "given", {"7": 2, "11": 1}) == [0, 2, 1]
    assert counts_of(data, "given", {7: 2, 11: 1}) == [0, 2, 1]
    assert counts_of(data, "given", {7: np.uint8(2)}) == [0, 2, 0]
    kept = select(data, rule="random", n=3, shares={7: 2, 11: 1})
    assert kept.entry["kept"] == [0, 2, 1]
    assert torch.bincount(data.labels[kept.indices]).tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"n": 3, "quota": "equall"},
            "quota: unknown name 'equall'; did you mean 'equal'? known: equal, ",
        ),
        ({"n": 3, "quota": "floor", "floor": 2}, "quota floor: floor must be in 0..1, got 2"),
        ({"n": 3, "quota": "floor", "floor": "a"}, "quota floor: floor must be in 0..1, got 'a'"),
        ({"n": 3, "shares": {"7": 1}}, "quota given: shares must sum to 3, the number of samples to keep, got 1"),
        ({"n": 3, "shares": {"11": 3}}, "prune: shares of class '11' must be in 0..1, got 3"),
        ({"n": 3, "shares": {"7": 2.5, "3": 0.5}}, "prune: shares of class '3' must be in 0..9, got 0.5"),
        ({"n": 3, "shares": {4: 3}}, "class: unknown name '4'; known: 11, 3, 7"),
        (
            {"n": 3, "shares": [1, 1, 1]},
            "prune: shares must be a mapping from class names to numbers of samples, got [1, 1, 1]",
        ),
        (
            {"n": 3, "quota": "given"},
            "prune: shares and the quota given must be used together, got the quota given without shares",
        ),
        ({"n": 30, "rule": "ccs", "beta": 0.5}, "stratified: beta must be at most 0.25 to keep 30 of 40, got 0.5, "),
        ({"n": 30, "rule": "d2", "quota": "floor", "beta": 0.5}, "d2: beta must leave at least 30 of 40, got 0.5, "),
        ({"n": 39, "rule": "d2", "beta": 0.2}, "d2: beta must leave at least 9 of 9, got 0.2, leaving 8 in class '3'"),
        ({"n": 3, "seed": None}, "prune: seed must be a whole number, got None"),
        ({"keep": "0.1"}, "budget: keep must be a share, such as 0.1, got '0.1'"),
        ({"n": 3, "evidence": 3}, "evidence: must be a list of what yoco.prune.observe returns, got int"),
        ({"n": 3, "rule": "kernel", "reference": 3}, "reference: must be a Source, see yoco.data.from_arrays, got int"),
        ({"n": 3, "rule": "k-center", "features": [["a"]] * 40}, "features: must be numbers, got <U1"),
        (
            {"n": 3, "rule": "random", "netwrok": "mlp"},
            "option of rule random: unknown name 'netwrok'; did you mean 'network",
        ),
        ({"n": 3, "rule": "ccs", "bet": 0.1}, "option of aum: unknown name 'bet'; did you mean 'beta'?"),
    ],
)
def test_mistakes_are_one_line_before_any_training(
    data: Source, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*words: object, **options: object) -> None:
        raise AssertionError("it trained")

    monkeypatch.setattr("yoco.prune.asked.observe", trained)
    with pytest.raises(ValueError) as caught:
        select(data, **options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["none", "equal", "proportional", "floor"])
def test_what_can_be_answered_passes(data: Source, kind: str) -> None:
    for total in (1, 12, 40):
        check_classes(find("random"), data, total, kind, [], 0.5)


@pytest.mark.parametrize("rule", ["easy", "hard", "window", "first"])
def test_ties_of_a_data_set_favour_no_class(tiny: Splits, rule: str) -> None:
    for data in (tiny.train, tiny.train.take(Rng(0).choice(120, 120))):
        scores: dict[str, Any] = {} if rule == "first" else {"scores": torch.zeros(120)}
        chosen = select(data, rule=rule, n=50, quota="none", **scores)
        kept = torch.bincount(data.labels[chosen.indices], minlength=3)
        assert int(kept.max() - kept.min()) <= 1
        for label in range(3):
            own = chosen.indices[data.labels[chosen.indices] == label]
            assert rule == "window" or torch.equal(own, data.by_class[label][: len(own)])


def test_ties_of_a_condensed_set_go_class_by_class(tiny_set: CondensedSet) -> None:
    chosen = select(tiny_set, rule="easy", n=20, quota="none", scores=torch.zeros(36))
    assert chosen.indices.tolist() == list(range(20))


def test_the_report_of_a_set_that_was_cut_since_is_refused(tiny_set: CondensedSet) -> None:
    small = prune(tiny_set, rule="random", ipc=1)
    old = {name: value for name, value in small.history[-1].items() if name != "classes"}
    before = replace(small, history=(old,))
    assert report(only(small, ["2", "1", "0"])) == report(before) == report(small)
    cuts = [only(small, ["2", "0"]), only(before, ["2", "0"]), small.subset(cells=2)]
    cuts += [small.take(torch.arange(11)), rank(tiny_set, "hard", scores=torch.arange(36.0)).subset(ipc=1)]
    for cut in cuts:
        with pytest.raises(ValueError, match=r"^report: the set must have been .*, got one that was cut after that$"):
            report(cut)
    assert report(prune(small.subset(cells=2), rule="random", cells=1))
