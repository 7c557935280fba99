"""Quotas are whole numbers that add up, and answers under them are what the rule chose in each class."""

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yoco.prune.quotas import NESTED, awards, lost, quotas, shortage, turns

SIZES = st.lists(st.integers(0, 12), min_size=1, max_size=6)


def one_at_a_time(available: list[int], total: int) -> list[int]:
    """Always to the class that has least, the first of those."""
    counts = [0] * len(available)
    for _ in range(total):
        open_ = [c for c in range(len(available)) if counts[c] < available[c]]
        counts[min(open_, key=lambda c: (counts[c], c))] += 1
    return counts


@given(SIZES, st.integers(0, 72))
def test_equal_quotas_are_water(available: list[int], total: int) -> None:
    total = min(total, sum(available))
    assert quotas("equal", available, total) == one_at_a_time(available, total)


def test_equal_quotas_of_small_classes() -> None:
    assert quotas("equal", [2, 40, 40], 12) == [2, 5, 5]
    assert quotas("equal", [2, 40, 40], 13) == [2, 6, 5]
    assert quotas("equal", [10, 10, 10], 7) == [3, 2, 2]
    assert quotas("equal", [0, 3], 3) == [0, 3]
    assert quotas("equal", [10**6, 10**6, 10**6], 2 * 10**6) == [666667, 666667, 666666]


@given(SIZES)
def test_every_beginning_of_the_awards_is_proportional_within_one(available: list[int]) -> None:
    order, whole = awards(available), sum(available)
    counts = [0] * len(available)
    most = 1 - Fraction(1, max(2 * sum(n > 0 for n in available) - 2, 1))
    for k, c in enumerate(order, 1):
        counts[c] += 1
        assert max(abs(n - Fraction(k * m, whole)) for n, m in zip(counts, available, strict=True)) <= most
        assert quotas("proportional", available, k) == counts
        assert turns("proportional", available, counts) == order[:k]
    assert counts == available


def test_proportional_is_within_one_where_webster_is_not() -> None:
    available = [940, *[6] * 10]
    assert quotas("proportional", available, 100)[0] in (93, 94, 95)
    assert sum(quotas("proportional", available, 100)) == 100
    assert awards([3, 3, 3]) == [0, 1, 2] * 3
    assert awards([0, 2, 0]) == [1, 1]
    assert awards([5, 2, 1], 4) == awards([5, 2, 1])[:4]


def test_classes_that_proportion_leaves_without_a_sample_are_named() -> None:
    available = [500, 1, 0, 500, 1]
    counts = quotas("proportional", available, 100)
    assert counts == [50, 0, 0, 50, 0]
    assert lost(available, counts) == [1, 4]
    assert lost(available, available) == []


@given(SIZES, st.integers(0, 72), st.sampled_from([0.0, 0.1, 0.29, 0.5, 0.75, 1.0]), st.randoms(use_true_random=False))
def test_a_floor_raises_the_short_and_takes_from_the_largest(
    available: list[int], total: int, floor: float, random: object
) -> None:
    total = min(total, sum(available))
    pool = [c for c, n in enumerate(available) for _ in range(n)]
    random.shuffle(pool)  # type: ignore[attr-defined]
    natural = [pool[:total].count(c) for c in range(len(available))]
    counts = quotas("floor", available, total, natural=natural, floor=floor)
    equal = one_at_a_time(available, total)
    least = [min(e, ceil(Fraction(str(floor)) * max(equal))) for e in equal]
    literal = [max(low, n) for low, n in zip(least, natural, strict=True)]
    while sum(literal) > total:
        spare = [c for c in range(len(available)) if literal[c] > least[c]]
        literal[max(spare, key=lambda c: (literal[c], c))] -= 1
    assert counts == literal
    assert sum(counts) == total
    assert all(n >= Fraction(str(floor)) * e for n, e in zip(counts, equal, strict=True))
    assert all(n <= m for n, m in zip(counts, available, strict=True))


def test_a_floor_of_none_changes_nothing_and_one_of_all_is_equal() -> None:
    available, natural = [9, 9, 2, 9], [9, 3, 0, 0]
    assert quotas("floor", available, 12, natural=natural, floor=0) == natural
    assert quotas("floor", available, 12, natural=natural, floor=1) == quotas("equal", available, 12) == [4, 3, 2, 3]
    assert quotas("floor", available, 12, natural=natural) == [5, 3, 2, 2]
    assert quotas("floor", [100, 100], 100, natural=[100, 0], floor=0.58) == [71, 29]
    assert quotas("floor", [200, 200], 200, natural=[200, 0], floor=0.07) == [193, 7]


def test_given_counts_are_taken_by_class() -> None:
    assert quotas("given", [3, 4, 5], 6, given=[1, 0, 5]) == [1, 0, 5]


@pytest.mark.parametrize("kind", ["equal", "proportional"])
@given(SIZES)
def test_a_larger_total_only_goes_on(kind: str, available: list[int]) -> None:
    assert kind in NESTED
    whole = turns(kind, available, available)
    for total in range(sum(available) + 1):
        counts = quotas(kind, available, total)
        assert sum(counts) == total
        assert turns(kind, available, counts) == whole[:total]


def test_turns_mix_the_classes() -> None:
    assert turns("equal", [9, 9, 9], [3, 1, 2]) == [0, 1, 2, 0, 2, 0]
    assert turns("given", [9, 9], [4, 2]) == awards([4, 2]) == [0, 1, 0, 0, 1, 0]
    assert turns("floor", [9, 9], [2, 2]) == [0, 1, 0, 1]


def test_short_classes_gave_all_and_less_than_their_share() -> None:
    available = [2, 40, 0, 40]
    counts = quotas("equal", available, 20)
    assert counts == [2, 9, 0, 9]
    assert shortage("equal", available, counts, 20) == [0, 2]
    assert shortage("equal", [5, 40, 40], [5, 5, 5], 15) == []
    assert shortage("equal", [3, 40, 40], [3, 4, 3], 10) == []
    assert shortage("proportional", available, counts, 20) == shortage("none", available, counts, 20) == []
    assert shortage("floor", available, [2, 18, 0, 0], 20) == [0, 2]
    assert shortage("floor", available, [2, 18, 0, 0], 20, floor=0.2) == [2]


@pytest.mark.parametrize(
    ("kind", "total", "options", "message"),
    [
        ("floor", 6, {"natural": [3, 2, 1], "floor": 1.5}, "quota floor: floor must be in 0..1, got 1.5"),
        ("floor", 6, {"natural": [3, 2, 1], "floor": float("nan")}, "quota floor: floor must be in 0..1, got nan"),
        ("given", 6, {"given": [1, 2, 2]}, "quota given: shares must sum to 6, the number of samples to keep, got 5"),
    ],
)
def test_impossible_quotas_are_one_line(kind: str, total: int, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        quotas(kind, [3, 4, 5], total, **options)  # type: ignore[arg-type]
    assert str(caught.value) == message
