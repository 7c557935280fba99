"""Patterns: counts of zeros by exact rounding, masks that follow them, and one line for what does not fit."""

import re
from fractions import Fraction

import numpy as np
import pytest
import torch

from yoco.rng import Rng
from yoco.sparsify.patterns import Pattern, lowest, parse


def scores(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, columns, generator=Rng(seed).generator(), dtype=torch.float64)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        (None, Pattern()),
        ("unstructured", Pattern()),
        ("row", Pattern("row", by_row=True)),
        ("2:4", Pattern("2:4", group=4, limit=2)),
        ("1:8", Pattern("1:8", group=8, limit=7)),
        ("0:2", Pattern("0:2", group=2, limit=2)),
        ("block:16", Pattern("block:16", block=16)),
    ],
)
def test_names_are_read(text: str | None, pattern: Pattern) -> None:
    assert parse(text) == pattern


@pytest.mark.parametrize("text", ["", "rows", "5:4", "0:0", "2:4:8", "block:0", "block:", "block", "-1:4", "2 : 4"])
def test_other_names_are_one_line(text: str) -> None:
    line = f"pattern: must be unstructured, row, N:M (N kept of M) or block:C, got {text!r}"
    with pytest.raises(ValueError, match=rf"^{re.escape(line)}$"):
        parse(text)


def test_shares_are_rounded_as_written_and_halves_go_up() -> None:
    for share in (0.0, 0.07, 0.1, 0.29, 0.5, 0.57, 0.58, 0.93, 0.995, 1.0):
        for rows, columns in ((1, 1), (3, 7), (10, 100), (300, 784)):
            exact = int(Fraction(str(share)) * rows * columns + Fraction(1, 2))
            assert Pattern().count(share, rows, columns) == exact
    assert [Pattern().count(0.5, 1, n) for n in (1, 3, 5)] == [1, 2, 3]
    assert Pattern().count(0.29, 10, 10) == 29
    assert parse("row").count(0.29, 7, 10) == 21
    assert parse("row").count(0.25, 3, 10) == 9
    assert parse("block:4").count(0.3, 3, 8) == 8
    assert parse("block:4").count(0.25, 2, 4) == 4


def test_counts_stay_and_one_is_not_all() -> None:
    assert Pattern().count(1, 3, 4) == 1
    assert Pattern().count(1.0, 3, 4) == 12
    assert Pattern().count(np.int64(5), 3, 4) == 5
    assert Pattern().count(np.float32(0.5), 3, 4) == 6


def test_n_of_m_says_the_count_itself() -> None:
    pattern = parse("3:4")
    assert [pattern.count(zeros, 2, 8) for zeros in (None, 4, 0.25)] == [4, 4, 4]


@pytest.mark.parametrize(
    ("text", "zeros", "line"),
    [
        (None, None, "zeros: must be a count, or a share as a float, got None"),
        (None, 25, "zeros: a count must be in 0..24, got 25"),
        (None, -1, "zeros: a count must be in 0..24, got -1"),
        (None, 1.01, "zeros: must be a count, or a share as a float in 0..1, got 1.01"),
        (None, -0.1, "zeros: must be a count, or a share as a float in 0..1, got -0.1"),
        (None, float("nan"), "zeros: must be a count, or a share as a float in 0..1, got nan"),
        (None, True, "zeros: must be a count, or a share as a float in 0..1, got True"),
        (None, "half", "zeros: must be a count, or a share as a float in 0..1, got half"),
        ("row", 7, "pattern row: zeros must be a multiple of 3, got 7"),
        ("block:4", 6, "pattern block:4: zeros must be a multiple of 4, got 6"),
        ("block:3", 6, "pattern block:3: inputs must be a multiple of 3, got 8"),
        ("2:5", None, "pattern 2:5: inputs must be a multiple of 5, got 8"),
        ("2:4", 6, "pattern 2:4: zeros must be 12 as the pattern says, got 6"),
        ("2:4", 0.6, "pattern 2:4: zeros must be 12 as the pattern says, got 0.6"),
    ],
)
def test_counts_that_do_not_fit_are_one_line(text: str | None, zeros: object, line: str) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(line)}$"):
        parse(text).count(zeros, 3, 8)  # type: ignore[arg-type]


def test_lowest_leave_over_the_whole_layer() -> None:
    values = scores(5, 8)
    mask = Pattern().keep(values, 13)
    assert (~mask).sum() == 13
    assert values[~mask].max() < values[mask].min()


def test_of_equal_scores_the_earlier_leave() -> None:
    assert lowest(torch.tensor([2.0, 1.0, 2.0, 1.0, 2.0]), 3).tolist() == [True, True, False, True, False]
    flat = torch.zeros(2, 4)
    assert Pattern().keep(flat, 3).tolist() == [[False, False, False, True], [True] * 4]
    assert parse("row").keep(flat, 4).tolist() == [[False, False, True, True]] * 2
    assert parse("1:2").keep(flat, 4).tolist() == [[False, True, False, True]] * 2


def test_rows_have_equal_counts_or_the_first_one_more() -> None:
    values = scores(4, 6)
    for zeros, counts in ((8, [2, 2, 2, 2]), (10, [3, 3, 2, 2])):
        mask = parse("row").keep(values, zeros)
        assert (~mask).sum(1).tolist() == counts
        for row, keep in zip(values, mask, strict=True):
            assert row[~keep].max() < row[keep].min()


def test_groups_lose_their_lowest() -> None:
    values = scores(3, 12)
    mask = parse("1:4").keep(values, 27)
    for group, keep in zip(values.view(-1, 4), mask.view(-1, 4), strict=True):
        assert keep.sum() == 1
        assert group[keep] == group.max()


def test_on_the_way_to_n_of_m_no_group_loses_too_many() -> None:
    values = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]])
    mask = parse("2:4").keep(values, 3)
    assert mask.tolist() == [[False, False, True, True, False, True, True, True]]


def test_blocks_leave_together() -> None:
    pattern, values = parse("block:3"), scores(4, 9)
    mask = pattern.keep(pattern.pool(values), 15)
    sums = values.view(4, 3, 3).sum(2)
    blocks = mask.view(4, 3, 3)
    assert (~mask).sum() == 15
    assert (blocks.all(2) | ~blocks.any(2)).all()
    assert sums[~blocks[:, :, 0]].max() < sums[blocks[:, :, 0]].min()


@pytest.mark.parametrize(("text", "zeros"), [(None, 5), ("row", 8), ("1:4", 24), ("block:2", 10)])
def test_a_pattern_allows_its_own_masks_and_no_others(text: str | None, zeros: int) -> None:
    pattern, values = parse(text), scores(4, 8)
    mask = pattern.keep(pattern.pool(values), zeros)
    assert pattern.allows(mask)
    moved = mask.clone()
    kept, gone = torch.nonzero(mask[1])[0, 0], torch.nonzero(~mask[0])[0, 0]
    moved[1, kept], moved[0, gone] = False, True
    assert pattern.allows(moved) == (text is None)
