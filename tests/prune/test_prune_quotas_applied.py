"""Quotas around a rule: each class answers for itself, and the whole is what was asked for."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.prune.budget import Budget
from yoco.prune.quotas import NESTED, QUOTAS, apply
from yoco.prune.rules import AtRandom, ByScore, Choice, Items, Rule
from yoco.rng import Rng

LABELS = torch.tensor([2, 0, 1, 1, 0, 2, 0, 0, 2, 0])
SCORES = torch.tensor([5.0, 1.0, 1.0, 0.0, 7.0, 5.0, 1.0, 3.0, 9.0, 1.0])
ITEMS = Items(SCORES, LABELS, 3)


EASY = ByScore(prefer="easy")


def test_equal_quotas_take_the_best_of_every_class_in_turns() -> None:
    assert apply(EASY, ITEMS, 6, "equal", Rng(0)).indices.tolist() == [1, 3, 0, 6, 2, 5]
    assert apply(EASY, ITEMS, 3, "equal", Rng(0)).indices.tolist() == [1, 3, 0]
    assert apply(ByScore(prefer="hard"), ITEMS, 3, "equal", Rng(0)).indices.tolist() == [4, 2, 8]


def test_without_quotas_the_answer_is_the_rule_s_own() -> None:
    for total in range(1, 11):
        assert torch.equal(apply(EASY, ITEMS, total, "none", Rng(0)).indices, EASY(ITEMS, Budget(n=total), Rng(0)))
    whole = AtRandom()(ITEMS, Budget(n=4), Rng(3))
    assert torch.equal(apply(AtRandom(), ITEMS, 4, "none", Rng(3)).indices, whole)


@pytest.mark.parametrize("kind", NESTED)
@pytest.mark.parametrize("rule", [EASY, AtRandom()])
def test_a_nested_rule_stays_nested(kind: str, rule: Rule) -> None:
    whole = apply(rule, ITEMS, 10, kind, Rng(5)).indices
    for total in range(1, 11):
        assert torch.equal(apply(rule, ITEMS, total, kind, Rng(5)).indices, whole[:total])


@pytest.mark.parametrize("kind", QUOTAS)
def test_answers_have_exactly_the_total(kind: str) -> None:
    given_ = [2, 1, 2] if kind == "given" else []
    answer = apply(EASY, ITEMS, 5, kind, Rng(0), given=given_).indices
    assert answer.dtype == torch.long
    assert len(answer.unique()) == len(answer) == 5


def test_the_floor_takes_the_easy_of_the_class_that_the_rule_forgets() -> None:
    items = Items(torch.tensor([0.0, 1, 2, 3, 9, 8]), torch.tensor([0, 0, 0, 0, 1, 1]), 2)
    assert apply(EASY, items, 4, "floor", Rng(0)).indices.tolist() == [0, 1, 5, 2]
    assert apply(EASY, items, 4, "floor", Rng(0), floor=0).indices.tolist() == [0, 1, 2, 3]
    assert sorted(apply(EASY, items, 4, "floor", Rng(0), floor=1).indices.tolist()) == [0, 1, 4, 5]


def test_a_floor_that_holds_already_leaves_the_answer_alone() -> None:
    rule = AtRandom()
    whole = rule(ITEMS, Budget(n=9), Rng(7))
    assert torch.equal(apply(rule, ITEMS, 9, "floor", Rng(7), floor=0.3).indices, whole)


def test_every_class_draws_from_a_stream_of_its_own() -> None:
    items = Items(None, torch.arange(60) % 2, 2)
    answer = apply(AtRandom(), items, 60, "equal", Rng(0)).indices
    first, second = (answer[items.labels[answer] == c] // 2 for c in (0, 1))
    assert first.tolist() == Rng(0).child("class", 0).choice(30, 30).tolist()
    assert second.tolist() == Rng(0).child("class", 1).choice(30, 30).tolist()


def test_an_empty_class_is_no_obstacle() -> None:
    items = Items(torch.arange(4.0), torch.tensor([3, 0, 3, 0]), 5)
    for kind in ("equal", "proportional", "floor"):
        assert sorted(apply(EASY, items, 2, kind, Rng(0)).indices.tolist()) == [0, 1]


@dataclass(frozen=True, kw_only=True)
class Answers(Rule):
    """Whatever it was told."""

    nested: ClassVar[bool] = True
    answer: object = None

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor | Choice:
        if callable(self.answer):
            return self.answer(items, budget.total(len(items.labels), items.classes))
        return self.answer  # type: ignore[return-value]


def test_weights_follow_their_samples() -> None:
    def own(items: Items, total: int) -> Choice:
        scores = items.scores
        assert scores is not None
        return Choice(torch.arange(total), scores[:total])

    for kind in ("none", "equal", "proportional"):
        answer = apply(Answers(answer=own), ITEMS, 7, kind, Rng(0))
        assert answer.weights is not None
        assert answer.weights.dtype == torch.float32
        assert torch.equal(answer.weights, SCORES[answer.indices])
    answer = apply(Answers(answer=own), ITEMS, 4, "floor", Rng(0), floor=1)
    assert torch.bincount(LABELS[answer.indices]).tolist() == [2, 1, 1]
    assert answer.weights is not None
    assert torch.equal(answer.weights, SCORES[answer.indices])


def test_a_class_without_weights_counts_once() -> None:
    def first_only(items: Items, total: int) -> Tensor | Choice:
        found = torch.arange(total)
        return Choice(found, torch.full((total,), 4.0)) if int(items.labels[0]) == 0 else found

    answer = apply(Answers(answer=first_only), ITEMS, 6, "equal", Rng(0))
    assert answer.weights is not None
    assert answer.weights.tolist() == [4, 1, 1, 4, 1, 1]


def test_a_rule_sees_its_class_alone() -> None:
    seen: list[tuple[list[float], list[int], int]] = []

    def look(items: Items, total: int) -> Tensor:
        assert items.scores is not None
        assert items.features is not None
        assert torch.equal(items.features[:, 0], items.scores)
        seen.append((items.scores.tolist(), items.labels.tolist(), items.classes))
        return torch.arange(total)

    apply(Answers(answer=look), ITEMS._replace(features=SCORES[:, None]), 6, "equal", Rng(0))
    assert seen == [([1, 7, 1, 3, 1], [0] * 5, 3), ([1, 0], [1] * 2, 3), ([5, 5, 9], [2] * 3, 3)]


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (torch.tensor([0, 1]), "2 distinct ones in int64 [2]"),
        (torch.tensor([0, 1, 1]), "2 distinct ones in int64 [3]"),
        (torch.tensor([0, 1, 10]), "3 distinct ones in int64 [3]"),
        (torch.tensor([-1, 1, 2]), "3 distinct ones in int64 [3]"),
        (torch.tensor([0.0, 1, 2]), "3 distinct ones in float32 [3]"),
        (torch.tensor([[0], [1], [2]]), "3 distinct ones in int64 [3, 1]"),
    ],
)
def test_a_wrong_answer_is_refused_by_name(answer: Tensor, got: str) -> None:
    with pytest.raises(ValueError) as caught:
        apply(Answers(answer=answer), ITEMS, 3, "none", Rng(0), name="mine")
    assert str(caught.value) == f"rule mine: must return 3 distinct indices in 0..9, got {got}"


@pytest.mark.parametrize("answer", [np.array([4, 2, 0]), [4, 2, 0], torch.tensor([4, 2, 0], dtype=torch.int32)])
def test_an_answer_may_be_whole_numbers_of_any_kind(answer: Any) -> None:
    found = apply(Answers(answer=Choice(answer, [1.0, 2.0, 0.5])), ITEMS, 3, "none", Rng(0))  # type: ignore[arg-type]
    assert (found.indices.dtype, found.indices.tolist()) == (torch.long, [4, 2, 0])
    assert found.weights is not None
    assert found.weights.tolist() == [1.0, 2.0, 0.5]


@pytest.mark.parametrize(("answer", "got"), [(["a", "b", "c"], "<U1"), (np.array([0, 1, None]), "object")])
def test_an_answer_that_is_no_numbers_is_refused_by_name(answer: Any, got: str) -> None:
    with pytest.raises(ValueError, match=rf"^rule mine: indices must be numbers, got {got}$"):
        apply(Answers(answer=answer), ITEMS, 3, "none", Rng(0), name="mine")


@pytest.mark.parametrize(
    "weights",
    [torch.ones(2), torch.tensor([1.0, -1, 1]), torch.tensor([1.0, torch.nan, 1]), torch.tensor([1.0, torch.inf, 1])],
)
def test_wrong_weights_are_refused_by_name(weights: Tensor) -> None:
    choice = Choice(torch.arange(3), weights)
    with pytest.raises(ValueError) as caught:
        apply(Answers(answer=choice), ITEMS, 3, "none", Rng(0), name="mine")
    got = str(weights.tolist())
    assert str(caught.value) == f"rule mine: weights must be 3 finite numbers of at least 0, got {got}"
