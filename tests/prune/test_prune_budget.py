"""Budgets are exact, and equal quotas are water."""

from fractions import Fraction

import numpy as np
import pytest

from yoco.prune.budget import Budget


@pytest.mark.parametrize(
    ("keep", "count", "expected"),
    [
        (0.29, 100, 29),
        (0.57, 100, 57),
        (0.145, 100, 15),
        (0.025, 100, 3),
        (0.004, 100, None),
        (0.005, 100, 1),
        (1.0, 7, 7),
        (Fraction(1, 3), 10, 3),
        (Fraction(1, 2), 5, 3),
        (np.float64(0.1), 30, 3),
    ],
)
def test_a_share_is_rounded_exactly_halves_up(keep: float, count: int, expected: int | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match=rf"^budget: must keep at least 1 of {count}, got keep={keep}$"):
            Budget(keep=keep).total(count, 2)
    else:
        assert Budget(keep=keep).total(count, 2) == expected


def test_every_share_of_a_hundred_in_percent_is_that_many() -> None:
    assert [Budget(keep=percent / 100).total(100, 10) for percent in range(1, 101)] == list(range(1, 101))


def test_images_per_class_are_factor_squared_cells() -> None:
    assert Budget(ipc=2, factor=3).per_class == 18
    assert Budget(ipc=2, factor=3).total(1000, 10) == 180
    assert Budget(cells=5, factor=3).total(1000, 10) == 50
    assert Budget(n=np.int64(7), factor=3).total(1000, 10) == 7
    assert Budget(keep=0.5, factor=3).per_class is None


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({}, "give exactly one of ipc, cells, keep, n, got none"),
        ({"ipc": 1, "n": 2}, "give exactly one of ipc, cells, keep, n, got ipc and n"),
        ({"ipc": 0}, "ipc must be a whole number of at least 1, got 0"),
        ({"n": -3}, "n must be a whole number of at least 1, got -3"),
        ({"cells": 1.5}, "cells must be a whole number of at least 1, got 1.5"),
        ({"n": True}, "n must be a whole number of at least 1, got True"),
        ({"keep": 0}, "keep must be above 0 and at most 1, got 0"),
        ({"keep": 1.01}, "keep must be above 0 and at most 1, got 1.01"),
        ({"keep": float("nan")}, "keep must be above 0 and at most 1, got nan"),
    ],
)
def test_bad_budgets_are_one_line(given_: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Budget(**given_)  # type: ignore[arg-type]
    assert str(caught.value) == f"budget: {message}"


def test_more_than_there_is_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^budget: must keep at most the 30 there are, got ipc=3 = 36$"):
        Budget(ipc=3, factor=2).total(30, 3)
