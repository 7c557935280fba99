import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from yoco.data import Source, hold_out, pair
from yoco.data.source import channel_statistics


def pixels(count: int = 6, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, 4, 5), generator=generator, dtype=torch.uint8)


def source(labels: list[int], classes: tuple[str, ...] = ("a", "b")) -> Source:
    return Source("toy", pixels(len(labels)), torch.tensor(labels), classes)


def test_statistics_are_those_of_numpy() -> None:
    mean, std = channel_statistics(pixels())
    floats = pixels().numpy() / 255
    np.testing.assert_allclose(mean, floats.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, floats.std((0, 2, 3)), rtol=1e-12)


def test_statistics_of_many_images_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    images, plain, sizes = torch.randint(0, 256, (2500, 2, 4, 4), dtype=torch.uint8), torch.bincount, list[int]()
    whole = (images / 255).double()

    def counted(values: Tensor, **how: int) -> Tensor:
        sizes.append(values.numel())
        return plain(values, **how)

    monkeypatch.setattr(torch, "bincount", counted)
    mean, std = channel_statistics(images)
    assert max(sizes) <= 1000 * 16
    torch.testing.assert_close(torch.tensor(mean).double(), whole.mean((0, 2, 3)), rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.tensor(std).double(), whole.std((0, 2, 3), correction=0), rtol=1e-6, atol=0)


def test_a_constant_channel_has_a_std_that_leaves_its_scale() -> None:
    mean, std = channel_statistics(torch.full((2, 1, 3, 3), 51, dtype=torch.uint8))
    assert mean == pytest.approx((0.2,))
    assert std == (1.0,)


def test_batch_is_in_the_unit_interval() -> None:
    one = source([0, 1, 0, 1])
    images, labels = one.batch(torch.tensor([3, 0]))
    torch.testing.assert_close(images, one.images[[3, 0]].float() / 255, rtol=0, atol=0)
    assert labels.tolist() == [1, 0]


def test_by_class_lists_every_image_once() -> None:
    assert [at.tolist() for at in source([1, 0, 1, 1]).by_class] == [[1], [0, 2, 3]]


def test_take_keeps_statistics_and_classes() -> None:
    whole = source([0, 1, 0, 1])
    part = whole.take(torch.tensor([2, 1]), "part")
    assert (part.name, part.mean, part.std, part.classes) == ("part", whole.mean, whole.std, whole.classes)
    assert torch.equal(part.images, whole.images[[2, 1]])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"classes": ("caf\udce9", "b")}, r"data: names of classes and data, and paths, must be text, got 'caf\udce9'"),
        ({"name": "caf\udce9"}, r"data: names of classes and data, and paths, must be text, got 'caf\udce9'"),
        ({"place": "./caf\udce9"}, r"data: names of classes and data, and paths, must be text, got './caf\udce9'"),
        ({"classes": (0, "b")}, "data: names of classes and data, and paths, must be text, got 0"),
        ({"classes": ("b", "a", "b")}, "data x: classes must have different names, got 'b' twice"),
        ({"mean": (0.1,), "std": (1.0,)}, "mean and std must have 3 channels, got (0.1,) and (1.0,)"),
        ({"mean": (0.1, 0.2, 0.3)}, "mean and std must have 3 channels, got (0.1, 0.2, 0.3) and ()"),
    ],
)
def test_names_and_constants_are_checked(changes: dict[str, Any], line: str) -> None:
    images, labels = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.tensor([0, 1])
    with pytest.raises(ValueError) as caught:
        Source(**{"name": "x", "images": images, "labels": labels, "classes": ("a", "b"), **changes})
    assert str(caught.value).endswith(line)


def test_checksum_is_sha256_of_shape_pixels_and_labels() -> None:
    one = source([0, 1])
    expected = hashlib.sha256(b"(2, 3, 4, 5)" + one.images.numpy().tobytes() + one.labels.numpy().tobytes())
    assert one.checksum == expected.hexdigest()
    assert source([1, 0]).checksum != one.checksum


@pytest.mark.parametrize(
    ("images", "labels", "classes", "message"),
    [
        (pixels(2).float(), [0, 1], "ab", "images must be uint8 [n, C, H, W], got torch.float32 [2, 3, 4, 5]"),
        (pixels(2)[0], [0, 1], "ab", "images must be uint8 [n, C, H, W], got torch.uint8 [3, 4, 5]"),
        (pixels(2), [0], "ab", "labels must be int64 [2], got torch.int64 [1]"),
        (pixels(2)[:0], [], "ab", "needs at least one image, got none"),
        (pixels(2), [0, 0], "a", "needs at least two classes, got 1"),
        (pixels(2), [0, 2], "ab", "labels must be in 0..1, got 0..2"),
        (pixels(2), [-1, 0], "ab", "labels must be in 0..1, got -1..0"),
    ],
)
def test_bad_input_is_one_line(images: Tensor, labels: list[int], classes: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        Source("toy", images, torch.tensor(labels, dtype=torch.long), tuple(classes))
    assert str(caught.value) == f"data toy: {message}"


def test_pair_gives_the_test_half_the_statistics_of_the_training_half() -> None:
    train, test = pair(source([0, 1, 1]), source([0, 1]))
    assert (test.mean, test.std) == (train.mean, train.std)
    assert source([0, 1]).mean != train.mean


def test_pair_refuses_halves_that_differ() -> None:
    other = Source("toy", pixels(2, channels=1), torch.tensor([0, 1]), ("a", "b"))
    with pytest.raises(ValueError, match=r"must have one shape, got \[3, 4, 5\] and \[1, 4, 5\]"):
        pair(source([0, 1]), other)
    with pytest.raises(ValueError, match=r"classes must be the same, got a difference in \['b', 'c'\]"):
        pair(source([0, 1]), source([0, 1], ("a", "c")))
    with pytest.raises(ValueError, match="another order"):
        pair(source([0, 1]), source([0, 1], ("b", "a")))


def test_hold_out_takes_a_fifth_of_each_class() -> None:
    whole = source([0] * 10 + [1] * 3 + [0] * 10)
    train, test = hold_out(whole)
    assert [len(at) for at in test.by_class] == [4, 1]
    assert [len(at) for at in train.by_class] == [16, 2]
    rows = {row.numpy().tobytes() for row in whole.images}
    held, kept = ({row.numpy().tobytes() for row in half.images} for half in (test, train))
    assert held | kept == rows
    assert not held & kept
    assert train.mean == channel_statistics(train.images)[0] == test.mean


def test_hold_out_is_the_same_every_time_and_for_each_class_by_itself() -> None:
    first = hold_out(source([0] * 10 + [1] * 10)).test.checksum
    torch.rand(3)
    assert hold_out(source([0] * 10 + [1] * 10)).test.checksum == first
    alone = hold_out(source([0] * 10 + [1] * 5)).test
    both = hold_out(source([0] * 10 + [1] * 10)).test
    assert torch.equal(alone.images[alone.labels == 0], both.images[both.labels == 0])


def test_hold_out_needs_two_images_of_a_class() -> None:
    with pytest.raises(ValueError) as caught:
        hold_out(source([0, 0, 1]))
    assert str(caught.value) == "data toy: class 'b' needs at least 2 images to hold one out for testing, got 1"


def test_a_source_on_a_device_knows_what_it_knew(monkeypatch: pytest.MonkeyPatch) -> None:
    here = source([0, 1, 0])
    checksum, members = here.checksum, here.by_class
    monkeypatch.setattr(hashlib, "sha256", None)
    moved = here.to("cpu")
    assert (moved.checksum, moved.by_class, moved.counts) == (checksum, members, (2, 1))
    part = here.take(torch.tensor([1]))
    assert part.counts == (0, 1)
