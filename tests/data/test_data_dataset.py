"""What a map-style data set says of itself."""

from collections import UserList
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Subset

from yoco.data import from_arrays, from_dataset, load

ITEMS = [(np.zeros((6, 6), np.uint8), at % 3) for at in range(12)]
PLACES = ("0", "1", "2")


class Saying(list[Any]):
    """Items, and what is said beside them."""

    def __init__(self, **said: Any) -> None:
        super().__init__(ITEMS)
        vars(self).update(said)


class Named:
    """Names that are no Sequence, but have a length and an index."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, at: int) -> str:
        return self.names[at]


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ({"classes": {"b": 2, "c": 0, "a": 1}}, ("c", "a", "b")),
        ({"classes": np.array(["x", "z", "y"])}, ("x", "z", "y")),
        ({"classes": UserList(["x", "z", "y"])}, ("x", "z", "y")),
        ({"classes": Named("x", "z", "y")}, ("x", "z", "y")),
        ({"classes": 3, "features": {"label": SimpleNamespace(names=["x", "z", "y"])}}, ("x", "z", "y")),
        ({"classes": {"b": 3, "c": 1, "a": 2}}, PLACES),
        ({"classes": {"b": "2", "c": 0, "a": 1}}, PLACES),
        ({"classes": {"x", "y", "z"}}, PLACES),
        ({"classes": "xzy"}, PLACES),
        ({"classes": b"xzy"}, PLACES),
        ({"classes": 3}, PLACES),
        ({"features": {"image": None}}, PLACES),
    ],
)
def test_names_are_taken_where_their_order_is_known(said: dict[str, Any], names: tuple[str, ...]) -> None:
    assert from_dataset(Saying(**said)).classes == names


def test_names_that_several_classes_have_are_told_apart() -> None:
    data = Saying(classes=("crane", "dog", "crane"))
    assert load(data).train.classes == ("crane 0", "dog", "crane 2")
    for left, names in ((1, ("crane 0", "crane 2")), (0, ("crane 2", "dog"))):
        part = Subset(data, [at for at in range(12) if at % 3 != left])  # type: ignore[arg-type]
        assert load(part).train.classes == names
    pixels = np.zeros((2, 6, 6), np.uint8)
    with pytest.raises(ValueError, match=r"^data arrays: classes must have different names, got 'crane' twice$"):
        from_arrays(pixels, ["crane", "dog"], classes=("crane", "dog", "crane"))


def test_images_are_put_together_without_a_second_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 5, 5), dtype=np.uint8)
    items = [(image if at % 2 else image[0], at % 3) for at, image in enumerate(pixels)]
    for where, name in ((torch, "cat"), (torch.Tensor, "clone")):
        monkeypatch.setattr(where, name, lambda *_: pytest.fail("images are copied"))
    splits = load((items, items))
    for found in (from_dataset(items), splits.train, splits.test):
        for at, image in enumerate(found.images.numpy()):
            assert (image == (pixels[at] if at % 2 else pixels[at, :1])).all()
        assert found.labels.tolist() == [0, 1, 2, 0, 1, 2]
