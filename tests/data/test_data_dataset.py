"""What a map-style data set says of itself."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch.utils.data import Subset

from yoco.data import from_arrays, from_dataset, load

ITEMS = [(np.zeros((6, 6), np.uint8), at % 3) for at in range(12)]
PLACES = ("0", "1", "2")


class Saying(list[Any]):
    """Items, and what is said beside them."""

    def __init__(self, **said: Any) -> None:
        super().__init__(ITEMS)
        vars(self).update(said)


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ({"classes": {"b": 2, "c": 0, "a": 1}}, ("c", "a", "b")),
        ({"classes": np.array(["x", "z", "y"])}, ("x", "z", "y")),
        ({"classes": 3, "features": {"label": SimpleNamespace(names=["x", "z", "y"])}}, ("x", "z", "y")),
        ({"classes": {"b": 3, "c": 1, "a": 2}}, PLACES),
        ({"classes": {"b": "2", "c": 0, "a": 1}}, PLACES),
        ({"classes": {"x", "y", "z"}}, PLACES),
        ({"classes": 3}, PLACES),
        ({"features": {"image": None}}, PLACES),
    ],
)
def test_names_are_taken_where_their_order_is_known(said: dict[str, Any], names: tuple[str, ...]) -> None:
    assert from_dataset(Saying(**said)).classes == names


def test_two_classes_of_one_name_are_refused() -> None:
    data, rule = Saying(classes=("crane", "dog", "crane")), r"classes must have different names, got 'crane' twice$"
    for given in (data, Subset(data, [0, 2])):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=rf"^data arrays: {rule}"):
            load(given)
    pixels = np.zeros((2, 6, 6), np.uint8)
    with pytest.raises(ValueError, match=rf"^data arrays: {rule}"):
        from_arrays(pixels, ["crane", "dog"], classes=data.classes)  # type: ignore[attr-defined]
    assert from_dataset(data, classes=("crane", "dog", "machine")).labels.tolist() == [0, 1, 2] * 4
    without = Subset(data, [at for at in range(12) if at % 3])  # type: ignore[arg-type]
    assert load(without).train.classes == ("crane", "dog")
