"""What a source says of itself follows its pixels and labels where they are changed in place."""

import pickle
from collections.abc import Callable
from copy import deepcopy

import torch

from yoco.data import Source


def source() -> Source:
    pixels = torch.randint(0, 256, (6, 1, 4, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return Source("toy", pixels, torch.tensor([0, 1, 2, 0, 1, 2]), ("a", "b", "c"))


def members(one: Source) -> list[list[int]]:
    return [at.tolist() for at in one.by_class]


def test_noise_among_the_labels_is_seen() -> None:
    one = source()
    before = one.checksum
    assert (members(one), one.counts) == ([[0, 3], [1, 4], [2, 5]], (2, 2, 2))
    one.labels[0] = 2
    assert (members(one), one.counts) == ([[3], [1, 4], [0, 2, 5]], (1, 2, 3))
    assert one.checksum not in (before, source().checksum)
    one.labels.copy_(source().labels)
    assert (one.checksum, one.counts) == (before, (2, 2, 2))


def test_pixels_that_change_are_seen() -> None:
    one, first = source(), source().checksum
    assert one.checksum == first
    one.images[0] ^= 1
    assert one.checksum != first


def test_what_is_worked_out_is_kept_until_then() -> None:
    one = source()
    assert one.by_class is one.by_class
    assert one.checksum is one.checksum


def test_what_is_old_does_not_go_along() -> None:
    copies: tuple[Callable[[Source], Source], ...] = (
        lambda one: one.to("cpu"),
        deepcopy,
        lambda one: pickle.loads(pickle.dumps(one)),
    )
    for copied in copies:
        one = source()
        before = (one.checksum, members(one))
        one.labels.copy_(one.labels.flip(0))
        again = copied(one)
        assert (again.checksum, members(again)) == (one.checksum, members(one)) != before


def test_tensors_of_the_inference_mode_are_read_as_others() -> None:
    with torch.inference_mode():
        one = source()
        assert one.labels.is_inference()
        assert (one.checksum, members(one)) == (source().checksum, [[0, 3], [1, 4], [2, 5]])
    assert one.to("cpu").checksum == one.checksum
