from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset, TensorDataset

from yoco.data import Source, from_arrays, from_dataset, load, pair

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, 6, 6, 3), dtype=np.uint8)


def test_whole_floats_are_integers() -> None:
    images = np.zeros((3, 4, 4), np.uint8)
    assert from_arrays(images, np.array([7.0, 3.0, 7.0])).classes == ("3", "7")
    for strange in ([float("nan"), 1.0, 0.0], [float("inf"), 1.0, 0.0]):
        with pytest.raises(ValueError, match=r"labels must be a list of integers or of strings, got float64 \[3\]$"):
            from_arrays(images, strange)


def test_labels_become_positions_of_their_sorted_values() -> None:
    source = from_arrays(IMAGES[:4], [7, 3, 7, 10])
    assert source.classes == ("3", "7", "10")
    assert source.labels.tolist() == [1, 0, 1, 2]
    words = from_arrays(torch.from_numpy(IMAGES[:4]), np.array(["dog", "ant", "dog", "cat"]))
    assert words.classes == ("ant", "cat", "dog")
    assert words.labels.tolist() == [2, 0, 2, 1]
    assert words.shape == (3, 6, 6)


def test_given_classes_are_pointed_into_or_looked_up() -> None:
    classes = ("dog", "cat", "ant")
    assert from_arrays(IMAGES[:2], torch.tensor([2, 0]), classes=classes).labels.tolist() == [2, 0]
    assert from_arrays(IMAGES[:2], ["ant", "dog"], classes=classes).labels.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0.5, 1.0], None, "labels must be a list of integers or of strings, got float64 [2]"),
        ([[1], [2]], None, "labels must be a list of integers or of strings, got int64 [2, 1]"),
        ([0, 1, 1], None, "labels must be one for each of the 2 images, got 3"),
        ([0, 5], ["a", "b"], "labels must be in 0..1, got 0..5"),
        (["a", "c"], ["a", "b"], "labels must be among the 2 known classes, got 'c'"),
        ([4, 4], None, "needs at least two classes, got 1"),
    ],
)
def test_bad_labels_are_one_line(labels: list[Any], classes: list[str] | None, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        from_arrays(IMAGES[:2], labels, classes=classes, name="mine")
    assert str(caught.value) == f"data mine: {message}"


class Named(list[Any]):
    classes = ("zero", "one")


class Thirty(list[Any]):
    classes = ("a", "b", "c")


class Numbers(list[Any]):
    classes = ("0", "1", "10", "2")


class Feature:
    names = ("zero", "one")


class Table(list[Any]):
    features = {"label": Feature(), "image": None}  # noqa: RUF012


def test_every_kind_of_item_gives_the_same_source() -> None:
    labels = [0, 1, 1, 0]
    expected = from_arrays(IMAGES[:4], labels)
    channel_first = torch.from_numpy(IMAGES[:4]).permute(0, 3, 1, 2)
    rows = zip(IMAGES[:4], labels, strict=True)
    pillow = [(Image.fromarray(image), label) for image, label in rows]
    datasets: list[Any] = [
        pillow,
        [{"image": image, "label": np.int64(label), "other": 1} for image, label in pillow],
        list(zip(IMAGES[:4], labels, strict=True)),
        TensorDataset(channel_first, torch.tensor(labels)),
        TensorDataset(channel_first.float() / 255, torch.tensor(labels)),
    ]
    for dataset in datasets:
        assert from_dataset(dataset).checksum == expected.checksum
        assert from_dataset(dataset).classes == ("0", "1")


def test_grey_pillow_images_stay_grey() -> None:
    grey = Image.fromarray(IMAGES[0]).convert("L")
    source = from_dataset([(grey, "a"), (grey, "b")])
    assert source.shape == (1, 6, 6)
    flat = Image.fromarray(IMAGES[0][:3])
    assert from_dataset([(flat, "a"), (flat, "b")]).shape == (3, 3, 6)
    palette = Image.fromarray(IMAGES[0]).convert("P")
    assert from_dataset([(palette, "a"), (palette, "b")]).shape == (3, 6, 6)


def test_class_names_come_from_the_dataset() -> None:
    items = [(image, label) for image, label in zip(IMAGES[:3], [1, 1, 0], strict=True)]
    dicts = [{"image": image, "label": label} for image, label in items]
    for dataset in (Named(items), Table(dicts), Named([(image, float(label)) for image, label in items])):
        source = from_dataset(dataset)
        assert source.classes == ("zero", "one")
        assert source.labels.tolist() == [1, 1, 0]


def test_a_subset_has_the_classes_of_its_whole_and_integers_are_their_places() -> None:
    pixels = np.zeros((4, 6, 6), np.uint8)
    whole = Named([(pixels[at], at % 2) for at in range(4)])
    part = Subset(Subset(whole, [0, 1, 3]), [1, 0])
    turned = (pixels, np.array([1, 0, 1, 0]))
    for train, test, first in ((whole, part, 0), (part, whole, 1), (whole, turned, 0)):
        found = load((train, test))
        assert found.train.classes == found.test.classes == Named.classes
        assert [half.labels[0] for half in found] == [first, 1 - first]
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.1, got 0\.\.2"):
        load((whole, (pixels, np.array([1, 2, 1, 0]))))


def test_a_subset_of_some_classes_has_these_and_a_wrapper_its_own_labels() -> None:
    whole = Thirty([(np.zeros((6, 6), np.uint8), at % 3) for at in range(30)])
    assert load(Subset(whole, [at for at in range(30) if at % 3])).train.classes == ("b", "c")
    assert load(Subset(whole, list(range(29)))).train.classes == Thirty.classes

    numbers = Numbers([(np.zeros((6, 6), np.uint8), at % 4) for at in range(30)])
    found = load((Subset(numbers, list(range(30))), Subset(numbers, [0, 1, 2])))
    assert found.test.classes == Numbers.classes
    assert found.test.labels.tolist() == [0, 1, 2]
    assert from_dataset(Subset(numbers, [1, 2]), classes=("x", "y", "z")).labels.tolist() == [1, 2]

    class Odd:
        dataset = whole

        def __len__(self) -> int:
            return len(whole)

        def __getitem__(self, at: int) -> tuple[Any, int]:
            return whole[at][0], whole[at][1] % 2

    assert load(Odd()).train.classes == ("0", "1")


def test_images_of_several_sizes_need_a_size() -> None:
    items = [(IMAGES[0], 0), (IMAGES[1][:5, :5], 1)]
    with pytest.raises(ValueError) as caught:
        from_dataset(items, name="mine")
    rule = "images must have one shape, got [3, 6, 6] in item 0 and [3, 5, 5] in item 1; choose a --size"
    assert str(caught.value) == f"data mine: {rule}"
    assert from_dataset(items, size=4).shape == (3, 4, 4)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ([{"img": 0, "label": 0}], "must be (image, label) or have the keys image and label, got the keys ['img', 'la"),
        ([(1, 2, 3)], "must be (image, label) or have the keys image and label, got tuple"),
        ([], "needs at least one image, got none"),
        (
            [(np.zeros((2, 2), np.uint8), np.eye(2)[0]), (np.zeros((2, 2), np.uint8), np.eye(2)[1])],
            "item 0 must have one label, got the shape [2]",
        ),
    ],
)
def test_other_datasets_are_refused(dataset: list[Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        from_dataset(dataset)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_load_takes_everything_python_has() -> None:
    images, labels = IMAGES[:8], np.array([3, 5] * 4)
    tests, test_labels = IMAGES[8:], np.array([5, 3, 3, 5])
    expected = pair(from_arrays(images, labels), from_arrays(tests, ["5", "3", "3", "5"], classes=("3", "5")))
    rows, test_rows = list(zip(images, labels, strict=True)), list(zip(tests, test_labels, strict=True))
    forms: list[Any] = [
        expected,
        (expected.train, expected.test),
        ((images, labels), (tests, test_labels)),
        ((images, labels.astype(float)), (tests, test_labels.astype(float))),
        ((images, labels), [(image, float(label)) for image, label in test_rows]),
        ((images, labels), (tests, [np.float32(label) for label in test_labels])),
        ((images, labels.tolist()), (torch.from_numpy(tests), torch.from_numpy(test_labels))),
        (rows, test_rows),
        {"train": rows, "test": (tests, test_labels)},
    ]
    for form in forms:
        found = load(form)
        assert found.train.checksum == expected.train.checksum
        assert found.test.checksum == expected.test.checksum
        assert (found.test.mean, found.test.std) == (expected.train.mean, expected.train.std)
        assert found.train.classes == found.test.classes == ("3", "5")


def test_load_holds_out_of_one_part() -> None:
    labels = [0, 1] * 6
    whole = from_arrays(IMAGES, labels)
    rows = list(zip(IMAGES, labels, strict=True))
    for form in (whole, (IMAGES, labels), rows):
        found = load(form)
        assert [len(at) for at in found.test.by_class] == [1, 1]
        assert len(found.train) == 10
        assert found.test.checksum == load(whole).test.checksum


def test_load_resizes_each_part_to_the_same_size() -> None:
    found = load(((IMAGES[:4], [0, 1, 0, 1]), (IMAGES[4:6, :5], [0, 1])), size=4, grey=True)
    assert found.train.shape == found.test.shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"train": [], "validation": []},
            "data: a mapping must have the keys train and test, got ['train', 'validation']",
        ),
        (3, "data: must be a name, a folder, Splits, a Source, (images, labels) or a map-style dataset, got int"),
        (
            ((IMAGES[:4], [0, 1, 0, 1]), (IMAGES, [2] * 12)),
            "data test: labels must be among the 2 known classes, got '2'",
        ),
    ],
)
def test_load_refuses_the_rest(data: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        load(data)
    assert str(caught.value) == message


def test_load_refuses_size_zero() -> None:
    with pytest.raises(ValueError, match=r"^data: size must be at least 1, got 0$"):
        load("digits", size=0)


def made() -> tuple[Any, ...]:
    return (IMAGES, [0, 1] * 6)


READY = Source("ready", torch.from_numpy(IMAGES).permute(0, 3, 1, 2).contiguous(), torch.tensor([0, 1] * 6), ("a", "b"))


def test_load_reaches_anybodys_function_or_object() -> None:
    module = __name__
    assert load(f"{module}:made").test.checksum == load(made()).test.checksum
    assert load(f"{module}:READY").train.name == "ready"
    with pytest.raises(ValueError, match=r"^data: 'no_such_module:x' cannot be imported"):
        load("no_such_module:x")


@pytest.mark.parametrize("values", [["b", "a", "b"], [7, -1, 7]])
def test_labels_in_an_array_of_objects_are_what_they_hold(values: list[Any]) -> None:
    plain, held = (from_arrays(IMAGES[:3], np.array(values, dtype=kind)) for kind in (None, object))
    assert held.classes == plain.classes
    assert torch.equal(held.labels, plain.labels)
    for missing in (None, float("nan")):
        with pytest.raises(
            ValueError, match=rf"labels must be strings, all of them or none, got {missing} among them$"
        ):
            from_arrays(IMAGES[:3], np.array([missing, "a", "b"], dtype=object))
    with pytest.raises(ValueError, match=r"labels must be a list of integers or of strings, got object \[3\]$"):
        from_arrays(IMAGES[:3], np.array([None, 1, 2], dtype=object))


@pytest.mark.parametrize("grey", [False, True])
def test_grey_images_among_coloured_ones_are_coloured(grey: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 5, 3), dtype=np.uint8)
    images = [Image.fromarray(each if at % 2 else each[..., 0]) for at, each in enumerate(pixels)]
    found = load([(image, at // 3) for at, image in enumerate(images)] * 4, grey=grey)
    assert found.train.shape == (1 if grey else 3, 5, 5)
    whole = torch.cat([found.train.images, found.test.images]).flatten(1).tolist()
    even = pixels[0, ..., 0]
    assert (even if grey else np.stack([even] * 3)).ravel().tolist() in whole


def test_images_of_other_channels_are_refused_without_a_word_of_size() -> None:
    four, one = np.zeros((4, 5, 5), np.uint8), np.zeros((5, 5), np.uint8)
    with pytest.raises(ValueError, match=r"images must all have the same number of channels, got 1 and 4$"):
        load([(four, 0), (one, 1)] * 4, size=5)
