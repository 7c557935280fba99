"""Names of classes beside those of other data."""

import pytest

from yoco.data.names import misplaced, of_others, places, unshared


@pytest.mark.parametrize(
    ("classes", "others", "found"),
    [
        (("a", "b"), ("b", "a"), (1, 0)),
        (("0", "1"), ("00", "01"), (0, 1)),
        (("07", "3"), ("3", "7"), (1, 0)),
        (("0", "00"), ("00", "0"), (1, 0)),
        (("0", "00"), ("000", "0000"), None),
        (("0", "1"), ("a", "b"), None),
        (("0", "1"), ("0", "1", "2"), None),
        (("0", "a"), ("00", "a"), None),
    ],
)
def test_classes_stand_where_their_names_or_their_numbers_do(
    classes: tuple[str, ...], others: tuple[str, ...], found: tuple[int, ...] | None
) -> None:
    assert places(classes, others) == found


@pytest.mark.parametrize(
    ("classes", "others"), [(("0", "1"), ("00", "01")), (("00", "01"), ("0", "1")), (("03", "7"), ("3", "07"))]
)
def test_the_same_numbers_are_the_same_classes(classes: tuple[str, ...], others: tuple[str, ...]) -> None:
    assert not of_others(classes, others)
    assert not unshared(classes, others)
    assert misplaced(classes, others) is None
    assert misplaced(classes, others[::-1]) == classes[0]
