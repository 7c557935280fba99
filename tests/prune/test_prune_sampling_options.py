"""Options of windows, strata and Beta weights: published ones, what rules say of them, and those that cannot be."""

from dataclasses import replace

import pytest

from yoco.prune.d2 import D2
from yoco.prune.rules import Rule
from yoco.prune.sampling import CCS_BETA, CCS_PAPER_BETA, BetaSampling, Stratified, Window


def test_all_published_betas() -> None:
    table = {
        ("cifar10", 10): {1: 0.3, 2: 0.1, 5: 0.0},
        ("cifar10", 50): {1: 0.3, 2: 0.3, 5: 0.3, 10: 0.1},
        ("cifar100", 10): {1: 0.5, 2: 0.4, 5: 0.2},
        ("cifar100", 20): {1: 0.5, 2: 0.5, 5: 0.3},
        ("cifar100", 50): {1: 0.5, 2: 0.5, 5: 0.5, 10: 0.3},
        ("imagenet-10", 10): {1: 0.3, 2: 0.2, 5: 0.1},
        ("imagenet-10", 20): {1: 0.3, 2: 0.3, 5: 0.2},
    }
    assert {(*row, kept): beta for row, betas in table.items() for kept, beta in betas.items()} == CCS_BETA
    assert CCS_PAPER_BETA == {("cifar10", 90): 0.3, ("imagenet", 80): 0.2, ("imagenet", 90): 0.3}


def test_what_the_rules_say_of_themselves() -> None:
    assert (Window.nested, Stratified.nested, BetaSampling.nested) == (True, True, False)
    assert (Stratified().usual, BetaSampling().usual) == ("aum", "dual")
    assert Stratified.needs == Window.needs == ("scores",)
    assert BetaSampling.needs == ("scores", "confidence")
    assert (Stratified().strata, BetaSampling().c_d, BetaSampling().anchors) == (50, 4.0, 10)
    assert (D2().usual, D2().neighbours, D2().gamma) == ("forgetting", 5, 0.1)


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
