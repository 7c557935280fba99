"""Allocation against brute force over all choices."""

from collections.abc import Callable, Mapping
from itertools import pairwise, product

import numpy as np
import pytest

from yoco.rng import Rng
from yoco.sparsify.allocate import ALLOCATIONS, BUCKETS, Curve, hull, programme, tolerance

Curves = dict[str, Curve]


def chance(seed: int) -> np.random.Generator:
    return np.random.default_rng(Rng(seed).key())


def convex(seed: int, sizes: tuple[int, ...] = (4, 6, 5), prices: tuple[float, ...] = (1, 1, 1)) -> Curves:
    """Every count is shown, and the next zero always costs more."""
    made = {}
    for at, (size, price) in enumerate(zip(sizes, prices, strict=True)):
        steps = np.sort(chance(seed + 100 * at).exponential(size=size))
        made[f"{at}"] = Curve(tuple(range(size + 1)), (0.0, *np.cumsum(steps)), price)
    return made


def rising(seed: int, sizes: tuple[int, ...] = (4, 6, 5), prices: tuple[float, ...] = (1, 1, 1)) -> Curves:
    """The same in any order: not convex."""
    made = {}
    for at, (size, price) in enumerate(zip(sizes, prices, strict=True)):
        steps = chance(seed + 100 * at).exponential(size=size)
        made[f"{at}"] = Curve(tuple(range(size + 1)), (0.0, *np.cumsum(steps)), price)
    return made


def gaps(seed: int, prices: tuple[float, ...] = (1, 1, 1)) -> Curves:
    """Only some counts are shown, and errors may fall."""
    random, made = chance(seed), {}
    for at, price in enumerate(prices):
        counts = (0, *np.sort(random.choice(np.arange(1, 30), 5, replace=False)).tolist())
        made[f"{at}"] = Curve(counts, (0.0, *random.exponential(size=5)), price)
    return made


def worth(curves: Mapping[str, Curve], counts: Mapping[str, int]) -> float:
    return sum(curves[key].price * count for key, count in counts.items())


def error(curves: Mapping[str, Curve], counts: Mapping[str, int]) -> float:
    """Of counts that are shown."""
    return sum(curve.errors[curve.counts.index(counts[key])] for key, curve in curves.items())


def best(curves: Mapping[str, Curve], saved: float) -> float:
    """The least sum of errors of all choices of counts that are shown."""
    choices = product(*(zip(curve.counts, curve.errors, strict=True) for curve in curves.values()))
    prices = [curve.price for curve in curves.values()]
    return min(
        sum(e for _, e in choice)
        for choice in choices
        if sum(price * count for price, (count, _) in zip(prices, choice, strict=True)) >= saved - 1e-9
    )


def envelope(curve: Curve, count: int) -> float:
    """The lowest chord over a count: the convex hull from below, by its definition."""
    points = list(zip(curve.counts, curve.errors, strict=True))
    chords = [
        a[1] + (b[1] - a[1]) * (count - a[0]) / (b[0] - a[0]) if a[0] < b[0] else a[1]
        for a in points
        for b in points
        if a[0] <= count <= b[0]
    ]
    return min(chords)


@pytest.mark.parametrize("seed", range(5))
def test_hull_is_the_optimum_of_convex_curves(seed: int) -> None:
    curves = convex(seed)
    for saved in range(16):
        counts = hull(curves, saved)
        assert sum(counts.values()) == saved
        assert error(curves, counts) == pytest.approx(best(curves, saved), rel=1e-12)


@pytest.mark.parametrize("make", [rising, gaps])
@pytest.mark.parametrize("seed", range(5))
def test_hull_is_a_lower_bound_that_is_met_at_corners(make: Callable[..., Curves], seed: int) -> None:
    curves, met = make(seed), 0
    for saved in range(sum(curve.counts[-1] for curve in curves.values()) + 1):
        counts = hull(curves, saved)
        assert sum(counts.values()) == saved
        bound, optimum = sum(envelope(curves[key], count) for key, count in counts.items()), best(curves, saved)
        assert bound <= optimum + 1e-12
        if all(counts[key] in curve.counts for key, curve in curves.items()):
            met += bound == pytest.approx(error(curves, counts), abs=1e-12)
            assert bound < error(curves, counts) - 1e-12 or error(curves, counts) == pytest.approx(optimum, abs=1e-12)
    assert met >= 3


def test_hull_goes_past_a_bump() -> None:
    """What is dear at first and then free leaves as a whole."""
    curves = {"a": Curve((0, 1, 4), (0.0, 4.0, 4.0)), "b": Curve((0, 1, 2, 3, 4), (0.0, 0.5, 1.0, 3.0, 5.0))}
    assert hull(curves, 2) == {"a": 0, "b": 2}
    assert hull(curves, 6) == {"a": 4, "b": 2}
    assert hull(curves, 7) == {"a": 4, "b": 3}
    assert hull(curves, 4) == {"a": 2, "b": 2}


@pytest.mark.parametrize("prices", [(1, 1, 1), (3, 1, 2), (7, 5, 2)])
@pytest.mark.parametrize("make", [convex, rising, gaps])
def test_programme_is_the_best_of_all_choices(make: Callable[..., Curves], prices: tuple[int, ...]) -> None:
    for seed in range(3):
        curves = make(seed, prices=prices)
        whole = int(sum(curve.worth for curve in curves.values()))
        for saved in range(0, whole + 1, 1 if make is not gaps else 7):
            counts = programme(curves, saved)
            assert list(counts) == list(curves)
            assert all(count in curves[key].counts for key, count in counts.items())
            assert worth(curves, counts) >= saved
            assert error(curves, counts) == pytest.approx(best(curves, saved), rel=1e-12)


def test_programme_with_few_buckets_saves_enough_all_the_same() -> None:
    assert BUCKETS == 10_000
    for seed in range(5):
        curves = rising(seed, sizes=(20, 30, 25), prices=(1.5, 2.25, 7.75))
        whole = sum(curve.worth for curve in curves.values())
        for share in np.linspace(0, 1, 23):
            counts = programme(curves, share * whole, buckets=17)
            assert worth(curves, counts) >= share * whole - 1e-9
        optimum = error(curves, programme(curves, whole / 2, buckets=100_000))
        assert optimum <= error(curves, programme(curves, whole / 2, buckets=17))


def test_programme_takes_no_more_than_hull_where_rounding_hides_the_rest() -> None:
    curves = {key: Curve((0, 3), (0.0, 1.0)) for key in "abcde"}
    assert programme(curves, 11.5, buckets=6) == hull(curves, 11.5)
    assert sum(programme(curves, 11.5, buckets=6).values()) == sum(programme(curves, 11.5).values()) == 12


@pytest.mark.parametrize("seed", range(5))
def test_tolerance_is_the_least_that_suffices(seed: int) -> None:
    curves = rising(seed)
    every = sorted(e for curve in curves.values() for e in curve.errors)
    for saved in range(16):
        for most in every:
            within = {
                key: max(c for c, e in zip(v.counts, v.errors, strict=True) if e <= most) for key, v in curves.items()
            }
            if sum(within.values()) >= saved:
                break
        surplus = sum(within.values()) - saved
        dearest = max(curves, key=lambda key: curves[key].errors[within[key]])
        within[dearest] -= surplus
        counts = tolerance(curves, saved)
        assert sum(counts.values()) == saved
        assert counts == within


def test_tolerance_reads_errors_between_counts_on_straight_lines() -> None:
    curves = {"a": Curve((0, 10), (0.0, 10.0)), "b": Curve((0, 10), (0.0, 20.0))}
    assert tolerance(curves, 9) == {"a": 6, "b": 3}
    assert tolerance(curves, 12) == {"a": 8, "b": 4}
    assert tolerance(curves, 17) == {"a": 10, "b": 7}


def test_tolerance_takes_no_more_than_it_needs_of_what_is_free() -> None:
    curves = {"a": Curve((0, 5, 6), (0.0, 0.0, 1.0)), "b": Curve((0, 5), (0.0, 0.0))}
    for saved in range(12):
        counts = tolerance(curves, saved)
        assert sum(counts.values()) == saved
    assert tolerance(curves, 10) == {"a": 5, "b": 5}


def test_tolerance_goes_by_the_worst_error_so_far() -> None:
    curves = {"a": Curve((0, 1, 2), (0.0, 5.0, 1.0)), "b": Curve((0, 1, 2), (0.0, 2.0, 3.0))}
    assert tolerance(curves, 2) == {"a": 0, "b": 2}
    assert tolerance(curves, 4) == {"a": 2, "b": 2}


@pytest.mark.parametrize("name", ALLOCATIONS)
@pytest.mark.parametrize("make", [convex, rising, gaps])
def test_prices_save_what_is_asked_and_hardly_more(name: str, make: Callable[..., Curves]) -> None:
    prices = (2.5, 1.0, 16.0)
    for seed in range(3):
        curves = make(seed, prices=prices)
        whole = sum(curve.worth for curve in curves.values())
        for share in np.linspace(0, 1, 13):
            counts = ALLOCATIONS[name](curves, share * whole)
            assert worth(curves, counts) >= share * whole - 1e-6
            assert all(0 <= count <= curves[key].counts[-1] for key, count in counts.items())
            if name == "hull":
                assert worth(curves, counts) - share * whole < max(prices)


def test_a_dearer_zero_counts_for_more() -> None:
    line = tuple(float(e) for e in range(11))
    curves = {"a": Curve(tuple(range(11)), line), "b": Curve(tuple(range(11)), line, price=3.0)}
    assert hull(curves, 15) == {"a": 0, "b": 5}
    assert worth(curves, programme(curves, 15)) >= 15
    assert error(curves, programme(curves, 15)) == 5


@pytest.mark.parametrize("name", ALLOCATIONS)
def test_steps_are_kept(name: str) -> None:
    curves = {
        "a": Curve((0, 12, 24, 48), (0.0, 1.0, 3.0, 9.0), step=12),
        "b": Curve((0, 5, 15, 30), (0.0, 2.0, 3.0, 20.0), step=5),
        "c": Curve((0, 1, 2, 10), (0.0, 0.1, 0.3, 6.0)),
    }
    for saved in range(89):
        counts = ALLOCATIONS[name](curves, saved)
        assert counts["a"] % 12 == 0
        assert counts["b"] % 5 == 0
        assert sum(counts.values()) >= saved
        assert name == "programme" or sum(counts.values()) < saved + 12


@pytest.mark.parametrize("name", ALLOCATIONS)
@pytest.mark.parametrize("make", [convex, rising])
def test_the_ends_of_the_scale(name: str, make: Callable[..., Curves]) -> None:
    curves = make(0)
    assert set(ALLOCATIONS[name](curves, 0).values()) == {0}
    for much in (15, 16, 1e9):
        assert ALLOCATIONS[name](curves, much) == {"0": 4, "1": 6, "2": 5}


@pytest.mark.parametrize("name", ALLOCATIONS)
def test_to_save_more_costs_more(name: str) -> None:
    for seed in range(3):
        curves = convex(seed, sizes=(9, 12, 7), prices=(1, 1, 1))
        found = [ALLOCATIONS[name](curves, saved) for saved in range(29)]
        for less, more in pairwise(found):
            assert sum(less.values()) <= sum(more.values())
            assert error(curves, less) <= error(curves, more) + 1e-12
            assert all(less[key] <= more[key] for key in curves)


@pytest.mark.parametrize("name", ALLOCATIONS)
def test_the_unit_of_errors_changes_nothing(name: str) -> None:
    for seed in range(3):
        curves = gaps(seed)
        scaled = {key: Curve(c.counts, tuple(2.0**-40 * e for e in c.errors)) for key, c in curves.items()}
        assert all(ALLOCATIONS[name](curves, saved) == ALLOCATIONS[name](scaled, saved) for saved in range(0, 60, 7))


@pytest.mark.parametrize(
    ("counts", "errors"), [((), ()), ((1, 2), (0.0, 1.0)), ((0, 2, 2), (0.0, 1.0, 2.0)), ((0, 2), (0.0,))]
)
def test_counts_of_a_curve_rise(counts: tuple[int, ...], errors: tuple[float, ...]) -> None:
    line = r"^curve: counts must increase from 0, with one error for each, got other values$"
    with pytest.raises(ValueError, match=line):
        Curve(counts, errors)
