"""How networks were judged, in words."""

from typing import Any

import pytest

from yoco.report.conditions import protocols


@pytest.mark.parametrize(
    ("asked", "epochs", "words"),
    [
        ((4, 2), (2, 2), ["idc", "idc"]),
        ((4, 1), (1, 1), ["idc", "idc"]),
        ((4, 1), (2, 2), ["idc, best of 2", "idc, best of 1"]),
        ((4, 4), (2, 10), ["idc", "idc"]),
        ((4, 2), (2, 10), ["idc", "idc"]),
        ((4, 3), (2, 10), ["idc, best of 2", "idc, best of 3"]),
        ((4, None, 2), (2, 2, 2), ["idc", "idc", "idc"]),
        ((4, None, 1), (2, 2, 2), ["idc, best of 2", "idc", "idc, best of 1"]),
    ],
)
def test_best_is_of_no_more_accuracies_than_there_are_epochs(
    asked: tuple[int | None, ...], epochs: tuple[int, ...], words: list[str]
) -> None:
    found: list[dict[str, Any]] = [{"protocol": "idc", **({"measurements": n} if n else {})} for n in asked]
    rows = [{"name": "condensed", "network": "mlp", "epochs": each} for each in epochs]
    assert protocols(list(zip(found, rows, strict=True))) == words
