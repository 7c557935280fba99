"""What each rule keeps, where labels are neither sorted nor equally many."""

import pytest
import torch

from yoco.prune import Budget, Items, balanced
from yoco.prune.rules import easiest, hardest, random_order, yoco
from yoco.rng import Rng

LABELS = torch.tensor([2, 0, 1, 1, 0, 2, 0, 0, 2, 0])
SCORES = torch.tensor([5.0, 1.0, 1.0, 0.0, 7.0, 5.0, 1.0, 3.0, 9.0, 1.0])
ITEMS = Items(SCORES, LABELS, 3)


def test_easiest_and_hardest_sort_by_score_then_place() -> None:
    places = range(len(SCORES))
    easy = sorted(places, key=lambda i: (float(SCORES[i]), i))
    hard = sorted(places, key=lambda i: (-float(SCORES[i]), i))
    for k in range(1, 11):
        assert easiest(ITEMS, Budget(n=k), Rng(0)).tolist() == easy[:k]
        assert hardest(ITEMS, Budget(n=k), Rng(0)).tolist() == hard[:k]


def test_many_equal_scores_keep_their_places() -> None:
    items = Items(torch.zeros(5000), torch.arange(5000) % 7, 7)
    for rule in (easiest, hardest):
        assert rule(items, Budget(n=50), Rng(0)).tolist() == list(range(50))


def test_balanced_takes_the_easiest_of_every_class_in_turns() -> None:
    assert yoco(ITEMS, Budget(cells=2), Rng(0)).tolist() == [1, 3, 0, 6, 2, 5]
    assert yoco(ITEMS, Budget(cells=1), Rng(0)).tolist() == [1, 3, 0]
    assert balanced(hardest)(ITEMS, Budget(cells=1), Rng(0)).tolist() == [4, 2, 8]


def test_a_small_class_gives_all_and_the_others_fill_up() -> None:
    answer = yoco(ITEMS, Budget(n=9), Rng(0))
    assert torch.bincount(LABELS[answer]).tolist() == [4, 2, 3]
    assert len(answer.unique()) == 9


def test_an_empty_class_is_no_obstacle() -> None:
    items = Items(torch.arange(4.0), torch.tensor([3, 0, 3, 0]), 5)
    assert yoco(items, Budget(n=2), Rng(0)).tolist() == [1, 0]


def test_all_and_none() -> None:
    for rule in (easiest, hardest, random_order, yoco):
        assert sorted(rule(ITEMS, Budget(n=10), Rng(0)).tolist()) == list(range(10))
        with pytest.raises(ValueError, match=r"^budget: must keep at least 1 of 10, got keep=0.04$"):
            rule(ITEMS, Budget(keep=0.04), Rng(0))


def test_random_is_uniform_over_seeds_and_blind_to_scores() -> None:
    picks = torch.cat([random_order(ITEMS, Budget(n=3), Rng(seed)) for seed in range(600)])
    counts = torch.bincount(picks, minlength=10)
    assert counts.min() > 120
    assert counts.max() < 240
    blind = random_order(ITEMS._replace(scores=None), Budget(n=3), Rng(1))
    assert torch.equal(blind, random_order(ITEMS, Budget(n=3), Rng(1)))


def test_random_balanced_draws_anew_in_every_class() -> None:
    items = Items(None, torch.arange(60) % 2, 2)
    answer = balanced(random_order)(items, Budget(n=60), Rng(0))
    first, second = answer[items.labels[answer] == 0] // 2, answer[items.labels[answer] == 1] // 2
    assert first.tolist() != second.tolist()


def test_scores_that_are_needed_and_missing_are_one_line() -> None:
    for rule, name in ((easiest, "easy"), (hardest, "hard"), (yoco, "easy")):
        with pytest.raises(ValueError, match=rf"^{name}: needs scores, got none$"):
            rule(ITEMS._replace(scores=None), Budget(n=1), Rng(0))
