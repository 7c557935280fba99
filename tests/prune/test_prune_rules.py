"""What the plain rules keep, where labels are neither sorted nor equally many; and how options reach a rule."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from yoco.condensed import CondensedSet
from yoco.prune import Budget, Items, Rule, find, prune
from yoco.prune.presets import REPO, RULES
from yoco.prune.quotas import apply
from yoco.prune.rules import AtRandom, ByScore, need, options_of_rule
from yoco.prune.sampling import Stratified
from yoco.registry import resolve
from yoco.rng import Rng

LABELS = torch.tensor([2, 0, 1, 1, 0, 2, 0, 0, 2, 0])
SCORES = torch.tensor([5.0, 1.0, 1.0, 0.0, 7.0, 5.0, 1.0, 3.0, 9.0, 1.0])
ITEMS = Items(SCORES, LABELS, 3)
EASY, HARD, RANDOM = ByScore(), ByScore(prefer="hard"), AtRandom()


def balanced(rule: Rule, n: int, items: Items = ITEMS) -> list[int]:
    answer: list[int] = apply(rule, items, n, "equal", Rng(0)).indices.tolist()
    return answer


def test_easiest_and_hardest_sort_by_score_then_place() -> None:
    places = range(len(SCORES))
    easy = sorted(places, key=lambda i: (float(SCORES[i]), i))
    hard = sorted(places, key=lambda i: (-float(SCORES[i]), i))
    for k in range(1, 11):
        assert EASY(ITEMS, Budget(n=k), Rng(0)).tolist() == easy[:k]
        assert HARD(ITEMS, Budget(n=k), Rng(0)).tolist() == hard[:k]


def test_many_equal_scores_keep_their_places() -> None:
    items = Items(torch.zeros(5000), torch.arange(5000) % 7, 7)
    for rule in (EASY, HARD):
        assert rule(items, Budget(n=50), Rng(0)).tolist() == list(range(50))


def test_equal_quotas_take_the_easiest_of_every_class_in_turns() -> None:
    assert balanced(EASY, 6) == [1, 3, 0, 6, 2, 5]
    assert balanced(EASY, 3) == [1, 3, 0]
    assert balanced(HARD, 3) == [4, 2, 8]


def test_a_small_class_gives_all_and_the_others_fill_up() -> None:
    answer = balanced(EASY, 9)
    assert torch.bincount(LABELS[answer]).tolist() == [4, 2, 3]
    assert len(set(answer)) == 9


def test_an_empty_class_is_no_obstacle() -> None:
    assert balanced(EASY, 2, Items(torch.arange(4.0), torch.tensor([3, 0, 3, 0]), 5)) == [1, 0]


def test_all_and_none() -> None:
    for rule in (EASY, HARD, RANDOM):
        assert sorted(rule(ITEMS, Budget(n=10), Rng(0)).tolist()) == list(range(10))
        with pytest.raises(ValueError, match=r"^budget: must keep at least 1 of 10, got keep=0.04$"):
            rule(ITEMS, Budget(keep=0.04), Rng(0))


def test_random_is_uniform_over_seeds_and_blind_to_scores() -> None:
    picks = torch.cat([RANDOM(ITEMS, Budget(n=3), Rng(seed)) for seed in range(600)])
    counts = torch.bincount(picks, minlength=10)
    assert counts.min() > 120
    assert counts.max() < 240
    blind = RANDOM(ITEMS._replace(scores=None), Budget(n=3), Rng(1))
    assert torch.equal(blind, RANDOM(ITEMS, Budget(n=3), Rng(1)))


def test_an_ordered_set_is_kept_from_its_beginning(tiny_set: CondensedSet) -> None:
    ordered = tiny_set.take(torch.arange(len(tiny_set)).flip(0), order="mdc")
    for cells in (1, 2):
        kept, wanted = prune(ordered, rule="first", cells=cells), ordered.subset(cells=cells)
        assert torch.equal(kept.cells, wanted.cells)
        assert torch.equal(kept.labels, wanted.labels)
    assert balanced(find("first"), 5) == [1, 2, 0, 4, 3]


def test_a_random_choice_is_drawn_anew_in_every_class() -> None:
    items = Items(None, torch.arange(60) % 2, 2)
    answer = torch.tensor(balanced(RANDOM, 60, items))
    first, second = answer[items.labels[answer] == 0] // 2, answer[items.labels[answer] == 1] // 2
    assert first.tolist() != second.tolist()


def test_what_is_needed_and_missing_is_one_line() -> None:
    for rule, name in ((EASY, "easy"), (HARD, "hard")):
        with pytest.raises(ValueError, match=rf"^{name}: needs scores, got none$"):
            rule(ITEMS._replace(scores=None), Budget(n=1), Rng(0))
    with pytest.raises(ValueError, match=r"^herding: needs features, got none$"):
        need(ITEMS, "features", "herding")


def test_items_of_some_samples_keep_their_rows_together() -> None:
    rows = torch.arange(10.0)
    given = Items(rows, LABELS, 3, rows[:, None], rows[:, None] + 1, rows / 10, doubts=-rows)
    part = given.of(torch.tensor([7, 2]))
    assert part.scores.tolist() == [7, 2]
    assert part.labels.tolist() == [0, 1]
    assert part.features.tolist() == [[7], [2]]
    assert part.errors.tolist() == [[8], [3]]
    assert part.confidence.tolist() == pytest.approx([0.7, 0.2])
    assert part.doubts.tolist() == [-7, -2]
    assert ITEMS.of(torch.tensor([1])).features is None


def test_yoco_is_low_lbpe_and_balance_and_the_hard_rules_are_not_balanced() -> None:
    rule = find("yoco")
    assert (rule.score, rule.quota, options_of_rule(rule)) == ("lbpe", "equal", {"prefer": "easy"})
    for name in ("el2n", "forgetting", "aum", "entropy"):
        rule = find(name)
        assert (rule.score, rule.quota, options_of_rule(rule)) == (name, "none", {"prefer": "hard"})


def test_the_released_codes_of_yoco_are_a_mode() -> None:
    assert find("aum", "repo").score == "margin"
    assert find("forgetting", "repo").settings == {"never_learned": "zero", "passes": "train"}
    assert find("el2n", "repo").settings == {"how": "sum", "epochs": 10, "passes": "train"}
    assert type(find("ssp", "repo")) is type(find("medoids"))
    assert find("ccs", "repo").usual == "el2n"
    assert set(REPO) <= set(RULES)
    with pytest.raises(
        ValueError, match=r"^rule herding: mode must be paper, as this rule has no mode repo, got 'repo'$"
    ):
        find("herding", "repo")
    with pytest.raises(ValueError, match=r"^rule yoco: mode must be paper or repo, got 'code'$"):
        find("yoco", "code")  # type: ignore[arg-type]


def test_options_reach_the_rule_and_a_typo_names_the_nearest() -> None:
    assert find("el2n", prefer="easy") == ByScore(score="el2n")
    with pytest.raises(ValueError, match=r"^option of rule easy: unknown name 'prefers'; did you mean 'prefer'\?"):
        find("easy", prefers="hard")
    with pytest.raises(ValueError, match=r"^rule: prefer must be easy or hard, got 'soft'$"):
        find("easy", prefer="soft")
    with pytest.raises(ValueError, match=r"^rule: unknown name 'hrad'; did you mean 'hard'\? known: aum, "):
        find("hrad")


@dataclass(frozen=True, kw_only=True)
class Own(Rule):
    """The first ones; from outside of the package."""

    skip: int = 0

    def __call__(self, items: Items, budget: Budget, rng: Rng) -> Tensor:
        """As they come."""
        return torch.arange(self.skip, self.skip + budget.total(len(items.labels), items.classes))


def test_anybodys_rule_can_be_named_with_its_options() -> None:
    assert find(f"{__name__}:Own", skip=2) == Own(skip=2)
    with pytest.raises(ValueError, match=r"must be a yoco.prune.Rule, got Tensor$"):
        find(f"{__name__}:LABELS")


def test_every_row_says_what_it_is_in_one_line() -> None:
    assert all(10 < len(row.what) < 90 and "\n" not in row.what for row in [*RULES.values(), *REPO.values()])
    assert all(issubclass(resolve("rule", {}, row.target), Rule) for row in [*RULES.values(), *REPO.values()])


HARDEST = ("el2n", "forgetting", "aum", "margin", "variability", "dyn-unc", "tdds", "entropy", "grand", "ssp")
EQUAL = {"yoco", "first", "herding", "d2", "log-det", "facility-location", "graph-cut", "craig", "gradmatch"}


def test_every_rule_by_score_keeps_the_end_of_its_paper() -> None:
    found = {name: (rule.score, rule.prefer) for name in RULES if isinstance(rule := find(name), ByScore)}
    any_score = {"easy": (None, "easy"), "hard": (None, "hard")}
    assert found == {"yoco": ("lbpe", "easy"), **any_score, **{name: (name, "hard") for name in HARDEST}}


def test_quotas_that_rules_have_by_default() -> None:
    quotas = {name: find(name).quota for name in RULES}
    assert {name for name, quota in quotas.items() if quota == "equal"} == EQUAL
    assert {name: quota for name, quota in quotas.items() if quota not in ("equal", "none")} == {"ssp": "floor"}
    assert find("kernel").settings == {"runs": 3, "epochs": 60}


def test_options_are_those_of_the_papers() -> None:
    assert options_of_rule(find("moderate")) == {"centre": "mean"}
    assert options_of_rule(find("gradmatch")) == {"lam": 1.0}
    assert options_of_rule(find("kernel")) == options_of_rule(find("log-det")) == {"ridge": 0.1}
    assert options_of_rule(find("graph-cut")) == {"neighbours": 64, "lam": 2.0}
    assert options_of_rule(find("facility-location")) == options_of_rule(find("craig")) == {"neighbours": 64}
    assert find("ssp", "repo") == find("medoids")


_TRAIN = {"passes": "train"}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("yoco", {"settings": _TRAIN}),
        ("el2n", {"settings": {"how": "sum", "epochs": 10, **_TRAIN}}),
        ("forgetting", {"settings": {"never_learned": "zero", **_TRAIN}}),
        ("aum", {"score": "margin", "settings": _TRAIN}),
        ("ccs", {"usual": "el2n", "fixed": True, "settings": {"how": "sum", "epochs": 10, **_TRAIN}}),
        ("d2", {"mode": "repo", "drop": "margin", "settings": {"never_learned": "zero", **_TRAIN}}),
    ],
)
def test_the_released_codes_differ_in_this_and_in_nothing_else(name: str, change: dict[str, Any]) -> None:
    assert find(name, "repo") == replace(find(name), **change)


def test_only_classes_that_the_floor_raises_are_asked_again() -> None:
    scores = torch.cat([torch.arange(10.0), 100 + torch.arange(10.0)])
    items = Items(scores, torch.arange(20) // 10, 2)
    found = apply(Stratified(beta=0.5), items, 10, "floor", Rng(0)).indices
    assert torch.bincount(found // 10).tolist() == [7, 3]
    whole = Stratified(beta=0.5)(items, Budget(n=10), Rng(0))
    assert [i for i in found.tolist() if i < 10] == whole.tolist()[:7]
    small = Items(torch.cat([torch.arange(16.0), 100 + torch.arange(4.0)]), torch.arange(20) // 16, 2)
    with pytest.raises(ValueError, match=r"^stratified: beta must be at most 0\.25 to keep 3 of 4, .* in class 1$"):
        apply(Stratified(beta=0.5), small, 10, "floor", Rng(0))
