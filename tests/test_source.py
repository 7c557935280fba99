"""Source: what every user of images relies on, beyond the checks of its content."""

from dataclasses import FrozenInstanceError

import pytest
import torch

from yoco.data.source import Source, Splits


def source(**changes: object) -> Source:
    pixels = torch.randint(0, 256, (6, 3, 4, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    parts = {"name": "toy", "images": pixels, "labels": torch.tensor([2, 0, 2, 0, 2, 0]), "classes": ("a", "b", "c")}
    return Source(**{**parts, **changes})  # type: ignore[arg-type]


def test_shape_length_device_and_words() -> None:
    one = source()
    assert (one.shape, len(one), one.device) == ((3, 4, 5), 6, torch.device("cpu"))
    assert repr(one) == "Source('toy', 6 images 3x4x5, 3 classes)"


def test_it_is_read_as_a_condensed_set_is() -> None:
    one = source()
    assert one.as_dataset() is one
    assert one.nbytes == 6 * (3 * 4 * 5 + 8)


def test_given_statistics_are_kept() -> None:
    one = source(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0))
    assert (one.mean, one.std) == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))


def test_a_class_without_images_has_an_empty_place() -> None:
    assert [at.tolist() for at in source().by_class] == [[1, 3, 5], [], [0, 2, 4]]


def test_a_batch_holds_255ths_and_may_repeat_images() -> None:
    one = source()
    images, labels = one.batch(torch.tensor([4, 4]))
    assert images.dtype == torch.float32
    assert torch.equal((images * 255).round().to(torch.uint8), one.images[[4, 4]])
    assert labels.tolist() == [2, 2]


def test_checksum_sees_pixels_labels_and_shape_but_not_strides() -> None:
    one = source()
    turned = source(images=one.images.contiguous(memory_format=torch.channels_last))
    assert turned.checksum == one.checksum
    darker = one.images.clone()
    darker[0, 0, 0, 0] ^= 1
    wide = one.images.reshape(6, 3, 5, 4)
    others = [source(images=darker), source(images=wide), source(labels=torch.tensor([2, 0, 2, 0, 2, 1]))]
    assert len({one.checksum, *(other.checksum for other in others)}) == 4


def test_take_copies_and_changes_nothing_of_the_whole() -> None:
    one = source()
    part = one.take(torch.tensor([5, 1]), "part")
    part.images.zero_()
    assert torch.equal(one.images, source().images)
    assert [at.tolist() for at in part.by_class] == [[0, 1], [], []]


def test_to_keeps_content_and_statistics() -> None:
    moved = source(mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0)).to("cpu")
    assert moved.checksum == source().checksum
    assert (moved.mean, moved.std) == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))


def test_a_source_cannot_be_changed_in_place() -> None:
    with pytest.raises(FrozenInstanceError):
        source().name = "other"  # type: ignore[misc]


def test_splits_unpack_as_train_and_test() -> None:
    train, test = Splits(source(), source(name="t"))
    assert (train.name, test.name) == ("toy", "t")
