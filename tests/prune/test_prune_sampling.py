"""Windows, strata and Beta weights against literal versions."""

from dataclasses import replace
from fractions import Fraction
from math import gamma

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.prune.budget import Budget
from yoco.prune.rules import Items, Rule
from yoco.prune.sampling import BetaSampling, Stratified, Window, strata_of
from yoco.rng import Rng


def items_of(scores: Tensor, confidence: Tensor | None = None) -> Items:
    return Items(scores, torch.zeros(len(scores), dtype=torch.long), 1, confidence=confidence)


def some_scores(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed))


def answer(rule: Rule, scores: Tensor, total: int, seed: int = 0, confidence: Tensor | None = None) -> list[int]:
    found = rule(items_of(scores, confidence), Budget(n=total), Rng(seed))
    assert isinstance(found, Tensor)
    assert found.dtype == torch.long
    return found.tolist()


@pytest.mark.parametrize("centre", [0.0, 0.1, 0.25, 0.29, 1 / 3, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("n", [1, 2, 5, 10, 101])
def test_a_window_takes_the_ranks_nearest_to_the_quantile(centre: float, n: int) -> None:
    scores = some_scores(n).mul(2).round()
    by_score = sorted(range(n), key=lambda i: (float(scores[i]), i))
    exact = Fraction(str(centre)) * (n - 1)
    literal = [by_score[r] for r in sorted(range(n), key=lambda r: (abs(r - exact), r))]
    for total in range(1, n + 1):
        assert answer(Window(centre=centre), scores, total) == literal[:total]


def test_a_window_around_the_median_has_no_tails() -> None:
    kept = answer(Window(), torch.arange(100.0), 20)
    assert sorted(kept) == list(range(40, 60))
    assert answer(Window(centre=0), torch.arange(9.0), 3) == [0, 1, 2]
    assert answer(Window(centre=1), torch.arange(9.0), 3) == [8, 7, 6]


def literal_counts(scores: np.ndarray, total: int, strata: int) -> tuple[list[int], list[int]]:
    """The stratum of each score, and how many each stratum gives, as CCS words it."""
    low, high = Fraction(float(scores.min())), Fraction(float(scores.max()))
    edges = [low + (high - low) * Fraction(j, strata) for j in range(1, strata)]
    stratum = [sum(Fraction(float(s)) >= edge for edge in edges) if high > low else 0 for s in scores]
    sizes = [stratum.count(j) for j in range(strata)]
    gives, left = [0] * strata, total
    visits = sorted(range(strata), key=lambda j: (sizes[j], j))
    for visit, j in enumerate(visits):
        gives[j] = min(sizes[j], left // (strata - visit))
        left -= gives[j]
    assert left == 0
    return stratum, gives


SHAPES = {
    "normal": some_scores(90),
    "negative": -some_scores(90).square() - 0.5,
    "all zero": torch.zeros(90),
    "offset": 1000 + 0.01 * torch.rand(90, generator=torch.Generator().manual_seed(3)),
    "integers": some_scores(90, 5).mul(1.5).round(),
    "grid": torch.arange(90.0) % 11,
    "tail": some_scores(90, 6).exp() ** 3,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("beta", "strata"), [(0.0, 50), (0.3, 50), (0.1, 7), (0.29, 1)])
@pytest.mark.parametrize("fixed", [False, True])
def test_strata_give_what_ccs_says(shape: str, beta: float, strata: int, fixed: bool) -> None:
    scores = SHAPES[shape]
    rule = Stratified(beta=beta, strata=strata, fixed=fixed)
    by_score = sorted(range(90), key=lambda i: (float(scores[i]), i))
    pool = by_score[: 90 - int(Fraction(str(beta)) * 90)]
    for total in (1, 2, 9, 30, 50, len(pool)):
        stratum, gives = literal_counts(scores[pool].double().numpy(), total, strata)
        found = answer(rule, scores, total)
        assert len(set(found)) == len(found) == total
        assert set(found) <= set(pool)
        where = dict(zip(pool, stratum, strict=True))
        assert [sum(where[i] == j for i in found) for j in range(strata)] == gives
        if fixed:
            for j in range(strata):
                hardest = sorted((i for i in pool if where[i] == j), key=lambda i: (-float(scores[i]), i))
                assert [i for i in found if where[i] == j] == hardest[: gives[j]]


def test_negative_zero_and_offset_scores_use_all_strata() -> None:
    offset = 1000 + torch.linspace(0, 0.01, 500)
    kept = offset[answer(Stratified(), offset, 50)]
    assert len(((kept - 1000) / 0.01 * 50).floor().clamp(max=49).unique()) > 40
    low = -torch.linspace(1, 2, 100)
    assert 0 in answer(Stratified(strata=4, fixed=True), low, 4)
    assert len(answer(Stratified(), torch.zeros(1000), 1000)) == 1000


def test_a_stratum_has_its_lower_edge_and_the_last_has_both() -> None:
    scores = torch.tensor([0.0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    assert sorted(answer(Stratified(strata=10, fixed=True), scores, 10)) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]
    tenths = scores / 10
    assert sorted(answer(Stratified(strata=5, fixed=True), tenths, 5)) == [1, 3, 5, 7, 10]


def test_scores_on_an_edge_are_told_apart_exactly() -> None:
    assert strata_of(torch.arange(15.0).double(), 50)[7] == 25
    tenths = (torch.arange(51.0) / 50).float()
    exact = [min(int(Fraction(float(s)) * 50), 49) for s in tenths]
    assert strata_of(tenths.double(), 50).tolist() == exact
    assert exact != [*range(50), 49]
    kept = answer(Stratified(fixed=True), tenths, len(set(exact)))
    assert sorted({exact[i] for i in kept}) == sorted(set(exact))


def test_who_is_dropped_is_counted_exactly_and_is_the_hardest() -> None:
    scores = torch.arange(100.0)
    assert sorted(answer(Stratified(beta=0.29), scores, 71)) == list(range(71))
    assert sorted(answer(Stratified(beta=0.009), scores, 100)) == list(range(100))
    assert 0 in answer(Stratified(beta=0.5), torch.zeros(4), 2)
    assert sorted(answer(Stratified(beta=0.5), torch.zeros(4), 2)) == [0, 1]


@pytest.mark.parametrize("fixed", [False, True])
def test_strata_are_nested_for_one_seed(fixed: bool) -> None:
    for scores in SHAPES.values():
        rule = Stratified(beta=0.2, strata=8, fixed=fixed)
        whole = answer(rule, scores, 72)
        for total in range(1, 73):
            assert answer(rule, scores, total) == whole[:total]


def test_the_draw_inside_a_stratum_is_uniform_and_that_of_the_code_is_the_hardest() -> None:
    scores = torch.arange(20.0)
    counts = torch.zeros(20)
    for seed in range(800):
        counts[answer(Stratified(strata=2), scores, 4, seed)] += 1
    assert counts.min() > 110
    assert counts.max() < 210
    assert sorted(answer(Stratified(strata=2, fixed=True), scores, 4)) == [8, 9, 18, 19]
    assert answer(Stratified(strata=2), scores, 4, 1) == answer(Stratified(strata=2), scores, 4, 1)


@pytest.mark.parametrize("rule", [Window(), Stratified(beta=0.1), Stratified(fixed=True)])
def test_the_order_of_the_samples_does_not_matter(rule: Rule) -> None:
    scores, mixed = some_scores(60), Rng(4).choice(60, 60)
    assert mixed[answer(rule, scores[mixed], 20)].tolist() == answer(rule, scores, 20)


@pytest.mark.parametrize("fixed", [False, True])
def test_another_score_may_say_who_is_dropped(fixed: bool) -> None:
    scores, doubts = some_scores(40), some_scores(40, seed=1)
    given = items_of(scores)._replace(doubts=doubts)
    rule = Stratified(beta=0.25, strata=5, fixed=fixed, drop="margin")
    found = rule(given, Budget(n=30), Rng(0)).tolist()
    assert set(found) == set(np.argsort(doubts.numpy())[:30].tolist())
    few = rule(given, Budget(n=7), Rng(0)).tolist()
    assert few == found[:7]
    assert (rule.dropped_by, replace(rule, drop=None).dropped_by) == ("margin", None)
    with pytest.raises(ValueError, match=r"^stratified: needs doubts, got none$"):
        rule(items_of(scores), Budget(n=7), Rng(0))


def test_a_beta_that_leaves_too_few_is_refused_and_the_largest_one_is_named() -> None:
    scores = torch.arange(1000.0)
    with pytest.raises(ValueError, match=r"^stratified: beta must be at most 0.3 to keep 700 of 1000, got 0.5, which "):
        answer(Stratified(beta=0.5), scores, 700)
    for n, total in ((7, 5), (1000, 999), (333, 100), (30, 30), (100000, 33333)):
        with pytest.raises(ValueError) as caught:
            answer(Stratified(beta=0.99), torch.arange(float(n)), total)
        most = float(str(caught.value).split(" at most ")[1].split(" to keep ")[0])
        assert len(answer(Stratified(beta=most), torch.arange(float(n)), total)) == total


def literal_weights(scores: Tensor, confidence: Tensor, total: int, c_d: float, anchors: int) -> np.ndarray:
    s, p = scores.double().numpy(), confidence.double().numpy()
    anchor = p[np.argsort(-s, kind="stable")[:anchors]].mean()
    b = 15 * (1 - anchor) * (1 - (1 - total / len(s)) ** c_d)
    a = 16 - b
    weights = s * gamma(16) / gamma(a) / gamma(b) * p ** (a - 1) * (1 - p) ** (b - 1)
    return weights / weights.sum()


@pytest.mark.parametrize(("total", "c_d", "anchors"), [(2, 4.0, 2), (4, 5.5, 1), (1, 4.0, 10)])
def test_beta_draws_one_after_another_in_proportion_to_the_weights(total: int, c_d: float, anchors: int) -> None:
    scores = torch.tensor([0.3, 0.2, 0.25, 0.1, 0.05])
    confidence = torch.tensor([0.6, 0.8, 0.7, 0.9, 0.5])
    expected = literal_weights(scores, confidence, total, c_d, anchors)
    rule = BetaSampling(c_d=c_d, anchors=anchors)
    draws = [answer(rule, scores, total, seed, confidence) for seed in range(1500)]
    first = np.bincount([draw[0] for draw in draws], minlength=5) / 1500
    np.testing.assert_allclose(first, expected, atol=0.04)
    if total > 1:
        second = sum(expected * np.where(np.arange(5) == i, 0, 1) * expected[i] / (1 - expected[i]) for i in range(5))
        np.testing.assert_allclose(np.bincount([d[1] for d in draws], minlength=5) / 1500, second, atol=0.04)


def test_the_shape_of_the_density_is_dual_s() -> None:
    scores = torch.tensor([0.1, 0.4, 0.4, 0.2]).double()
    confidence = torch.tensor([0.9, 0.2, 0.6, 0.5]).double()
    a, b = BetaSampling(anchors=2).shape(scores, confidence, 0.9)
    assert b == pytest.approx(15 * (1 - 0.4) * (1 - 0.9**4))
    assert a + b == pytest.approx(16)
    assert BetaSampling(anchors=1).shape(scores, confidence, 0.0)[1] == pytest.approx(15 * 0.8)
    assert BetaSampling().shape(scores, confidence, 0.0)[1] == pytest.approx(15 * (1 - 0.55))


def test_fewer_samples_are_surer_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(2000, generator=generator)
    scores = confidence * (1 - confidence) ** 2
    few, many = (confidence[answer(BetaSampling(), scores, k, 1, confidence)].mean() for k in (60, 1400))
    assert few > many + 0.1


def test_weights_of_zero_still_give_the_exact_total() -> None:
    scores = torch.tensor([0.0, 0.3, 0.0, 0.2, 0.0, 0.0])
    confidence = torch.tensor([0.5, 0.5, 1.0, 0.0, 0.0, 0.9])
    for total in range(1, 7):
        for seed in range(20):
            found = answer(BetaSampling(anchors=1), scores, total, seed, confidence)
            assert len(set(found)) == total
            assert found[0] == 1
    tails = {tuple(answer(BetaSampling(), scores, 6, seed, confidence)[1:]) for seed in range(20)}
    assert len(tails) > 10
    assert len(set(answer(BetaSampling(), torch.zeros(40), 25, 0, torch.ones(40)))) == 25


def test_weights_neither_under_nor_overflow() -> None:
    scores = torch.tensor([1e-30, 1e-35, 1e-38, 1e-30])
    confidence = torch.tensor([1e-30, 1e-38, 1e-10, 2e-30])
    assert {answer(BetaSampling(), scores, 2, seed, confidence)[0] for seed in range(50)} == {2}
    scores, confidence = torch.tensor([1.0, 0.5, 0.5]), torch.tensor([1.0, 1e-30, 1e-29])
    rule = BetaSampling(anchors=1)
    assert {tuple(answer(rule, scores, 2, seed, confidence)) for seed in range(50)} == {(0, 2)}
    ones, unequal = torch.ones(3), torch.tensor([1e-9, 1.0, 0.0])
    assert {tuple(answer(rule, unequal, 3, seed, ones)) for seed in range(50)} == {(1, 0, 2)}
    sure = torch.tensor([1.0, 1.0, 0.999])
    assert {answer(BetaSampling(), torch.ones(3), 1, seed, sure)[0] for seed in range(40)} == {0, 1}


def test_one_seed_one_answer() -> None:
    scores, confidence = some_scores(50).abs(), torch.rand(50, generator=torch.Generator().manual_seed(1))
    same = [answer(BetaSampling(), scores, 20, 3, confidence) for _ in range(2)]
    assert same[0] == same[1] != answer(BetaSampling(), scores, 20, 4, confidence)


def test_what_is_needed_and_missing_is_one_line() -> None:
    bare = items_of(torch.ones(4))
    for rule, items, message in (
        (Window(), bare._replace(scores=None), "window: needs scores, got none"),
        (Stratified(), bare._replace(scores=None), "stratified: needs scores, got none"),
        (BetaSampling(), bare, "beta: needs confidence, got none"),
        (
            BetaSampling(),
            bare._replace(scores=-torch.ones(4), confidence=torch.ones(4)),
            "beta: scores must be at least 0",
        ),
    ):
        with pytest.raises(ValueError, match=rf"^{message}"):
            rule(items, Budget(n=1), Rng(0))
