"""Options of windows, strata and Beta weights: published ones, what rules say of them, and those that cannot be."""

from dataclasses import replace

import pytest

from yoco.prune.rules import Rule
from yoco.prune.sampling import CCS_BETA, CCS_PAPER_BETA, BetaSampling, Stratified, Window, yoco_beta


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
