"""Beta sampling against a loop that draws one sample after another."""

from dataclasses import replace
from math import gamma

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.prune.budget import Budget
from yoco.prune.rules import Items, Rule
from yoco.prune.sampling import CCS_BETA, CCS_PAPER_BETA, BetaSampling, Stratified, Window, yoco_beta
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


def test_published_betas() -> None:
    assert yoco_beta("cifar10", 10, 1) == 0.3
    assert yoco_beta("cifar10", 10, 5) == 0.0
    assert yoco_beta("cifar100", 20, 5) == 0.3
    assert yoco_beta("imagenet-10", 20, 5) == 0.2
    assert yoco_beta("cifar10", 20, 1) is None
    assert len(CCS_BETA) == 7 + 10 + 6
    assert {(c, t): b for (d, c, t), b in CCS_BETA.items() if d == "cifar10" and c == 50} == {
        (50, 1): 0.3,
        (50, 2): 0.3,
        (50, 5): 0.3,
        (50, 10): 0.1,
    }
    assert CCS_PAPER_BETA == {("cifar10", 90): 0.3, ("imagenet", 80): 0.2, ("imagenet", 90): 0.3}


def test_what_the_rules_say_of_themselves() -> None:
    assert (Window.nested, Stratified.nested, BetaSampling.nested) == (True, True, False)
    assert (Stratified().usual, BetaSampling().usual) == ("aum", "dual")
    assert Stratified.needs == Window.needs == ("scores",)
    assert BetaSampling.needs == ("scores", "confidence")


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        (Window, {"centre": 1.5}, "window: centre must be in 0..1, got 1.5"),
        (Window, {"centre": float("nan")}, "window: centre must be in 0..1, got nan"),
        (Stratified, {"beta": 1.0}, "stratified: beta must be in [0, 1), got 1"),
        (Stratified, {"beta": -0.1}, "stratified: beta must be in [0, 1), got -0.1"),
        (Stratified, {"strata": 0}, "stratified: strata must be at least 1, got 0"),
        (BetaSampling, {"c_d": 0.0}, "beta: c_d must be above 0, got 0"),
        (BetaSampling, {"c_d": float("inf")}, "beta: c_d must be above 0, got inf"),
        (BetaSampling, {"anchors": 0}, "beta: anchors must be at least 1, got 0"),
    ],
)
def test_impossible_options_are_one_line(rule: type[Rule], options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        replace(rule(), **options)
    assert str(caught.value) == message


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
