"""CondensedSet: geometry of cells, order, sizes, the file and what it refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from yoco import artefact
from yoco.cells import cell_size, cut, upsample, visible
from yoco.condensed import CondensedSet, load


def bilinear(cell: np.ndarray, height: int, width: int) -> np.ndarray:
    """One channel, pixel centres at (i + 0.5) * old / new - 0.5, edges repeated."""
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            v = max((y + 0.5) * cell.shape[0] / height - 0.5, 0)
            u = max((x + 0.5) * cell.shape[1] / width - 0.5, 0)
            i, j = int(v), int(u)
            down, right = min(i + 1, cell.shape[0] - 1), min(j + 1, cell.shape[1] - 1)
            top = cell[i, j] * (1 - (u - j)) + cell[i, right] * (u - j)
            bottom = cell[down, j] * (1 - (u - j)) + cell[down, right] * (u - j)
            out[y, x] = top * (1 - (v - i)) + bottom * (v - i)
    return out


@pytest.mark.parametrize(
    ("size", "factor", "cell"), [((32, 32), 2, (16, 16)), ((28, 28), 3, (10, 10)), ((5, 8), 2, (3, 4))]
)
def test_a_cell_is_a_rounded_up_share_of_a_side(size: tuple[int, int], factor: int, cell: tuple[int, int]) -> None:
    assert cell_size(size, factor) == cell


def test_visible_is_what_lies_on_the_canvas() -> None:
    assert visible((28, 28), 2) == [(14, 14)] * 4
    assert visible((5, 8), 3) == [(2, 3), (2, 3), (2, 2), (2, 3), (2, 3), (2, 2), (1, 3), (1, 3), (1, 2)]


def test_cut_is_tile_major_and_pads_with_grey() -> None:
    canvases = torch.rand(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    cells = cut(canvases, 2)
    assert cells.shape == (12, 2, 3, 2)
    for tile, (row, column) in enumerate([(0, 0), (0, 2), (3, 0), (3, 2)]):
        for i in range(3):
            expected = np.full((2, 3, 2), 0.5, dtype=np.float32)
            piece = canvases[i].numpy()[:, row : row + 3, column : column + 2]
            expected[:, : piece.shape[1], : piece.shape[2]] = piece
            np.testing.assert_array_equal(cells[tile * 3 + i].numpy(), expected)


@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
def test_upsample_is_bilinear_between_pixel_centres(size: tuple[int, int]) -> None:
    cells = torch.rand(2, 1, 4, 3, generator=torch.Generator().manual_seed(0))
    expected = np.stack([bilinear(cell[0], *size)[None] for cell in cells.numpy()])
    np.testing.assert_allclose(upsample(cells, size).numpy(), expected, atol=1e-6)


def test_factor_one_decodes_to_the_cells_themselves(tiny_set: CondensedSet) -> None:
    plain = replace(tiny_set, factor=1, size=(4, 4))
    assert torch.equal(plain.decode(), plain.cells)


def test_what_is_decoded_may_be_changed_and_the_set_stays(tiny_set: CondensedSet) -> None:
    plain = replace(tiny_set, factor=1, size=(4, 4))
    for one in (plain, plain.quantised(), tiny_set):
        before = one.checksum
        one.decode().zero_()
        one.as_dataset().images.fill_(2.0)
        assert one.checksum == before


def test_a_factor_of_numpy_is_a_whole_number(tiny_set: CondensedSet, tmp_path: Path) -> None:
    made = replace(tiny_set, factor=np.int64(2))  # type: ignore[arg-type]
    assert type(made.factor) is int
    assert made.checksum == tiny_set.checksum
    made.save(tmp_path / "set.safetensors")
    assert load(tmp_path / "set.safetensors").checksum == tiny_set.checksum


def test_decode_is_the_same_at_every_call_and_of_training_size(tiny_set: CondensedSet) -> None:
    assert tiny_set.decode().shape == (36, 1, 8, 8)
    assert torch.equal(tiny_set.decode(), tiny_set.decode())


def test_subset_keeps_the_first_cells_of_each_class(tiny_set: CondensedSet) -> None:
    small = tiny_set.subset(cells=5)
    assert small.counts == (5, 5, 5)
    for label in range(3):
        own, whole = (s.cells[s.labels == label] for s in (small, tiny_set))
        assert torch.equal(own, whole[:5])


def test_subsets_are_nested_and_ipc_counts_whole_images(tiny_set: CondensedSet) -> None:
    assert tiny_set.subset(ipc=2).counts == (8, 8, 8)
    assert torch.equal(tiny_set.subset(ipc=2).subset(ipc=1).cells, tiny_set.subset(ipc=1).cells)
    assert torch.equal(tiny_set.subset(ipc=3).cells, tiny_set.cells)


def test_subset_of_mixed_labels_goes_class_by_class(tiny_set: CondensedSet) -> None:
    order = torch.randperm(36, generator=torch.Generator().manual_seed(0))
    mixed = replace(
        tiny_set,
        cells=tiny_set.cells[order],
        labels=tiny_set.labels[order],
        scores=torch.arange(36.0),
        soft_labels=torch.eye(3)[tiny_set.labels[order]],
    )
    small = mixed.subset(cells=2)
    assert small.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert small.scores is not None
    assert small.soft_labels is not None
    for row, score in enumerate(small.scores.long().tolist()):
        assert torch.equal(small.cells[row], mixed.cells[score])
        assert small.soft_labels[row].argmax() == small.labels[row]


def test_take_owns_its_memory_and_notes_changes(tiny_set: CondensedSet) -> None:
    before = tiny_set.cells.clone()
    small = tiny_set.take(torch.tensor([20, 3, 1]), order="mine")
    assert (small.order, small.labels.tolist()) == ("mine", [0, 0, 1])
    assert torch.equal(small.cells, tiny_set.cells[[3, 1, 20]])
    small.cells.zero_()
    assert torch.equal(tiny_set.cells, before)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"cells": 13}, "subset: needs 13 cells of each class, got 12 of class '0'"),
        ({"ipc": 4}, "subset: needs 16 cells of each class, got 12 of class '0'"),
        ({"ipc": 0}, "size: ipc must be at least 1, got 0"),
        ({"cells": -1}, "size: cells must be at least 1, got -1"),
        ({}, "size: give exactly one of ipc and cells"),
        ({"ipc": 1, "cells": 4}, "size: give exactly one of ipc and cells"),
    ],
)
def test_impossible_sizes_are_one_line(tiny_set: CondensedSet, asked: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        tiny_set.subset(**asked)
    assert str(caught.value) == message


def test_bytes_count_cells_labels_and_soft_labels(tiny_set: CondensedSet) -> None:
    assert tiny_set.nbytes == 36 * (16 * 4 + 8)
    soft = replace(tiny_set, soft_labels=torch.eye(3)[tiny_set.labels])
    assert soft.nbytes == tiny_set.nbytes + 36 * 3 * 4
    assert tiny_set.quantised().nbytes == 36 * (16 + 8)
    assert soft.bytes_of == {"pixels": 36 * 16 * 4, "labels": 36 * 8, "soft labels": 36 * 3 * 4, "decoder": 0}
    assert soft.storage == "3,024 bytes: pixels 2,304, labels 288, soft labels 432, decoder 0"


def test_bytes_are_known_after_loading_and_follow_the_size(tiny_set: CondensedSet, tmp_path: Path) -> None:
    soft = replace(tiny_set, soft_labels=torch.eye(3)[tiny_set.labels])
    soft.save(tmp_path / "set.safetensors")
    assert load(tmp_path / "set.safetensors").bytes_of == soft.bytes_of
    third = load(tmp_path / "set.safetensors", ipc=1)
    assert {name: 3 * size for name, size in third.bytes_of.items()} == soft.bytes_of


def test_quantised_is_within_half_a_level_and_final(tiny_set: CondensedSet) -> None:
    small = tiny_set.quantised()
    assert small.cells.dtype == torch.uint8
    assert float((small.decode() - tiny_set.decode()).abs().max()) <= 1 / 510 + 1e-6
    assert small.quantised() is small


def test_quantised_refuses_pixels_beyond_the_unit_interval(tiny_set: CondensedSet) -> None:
    with pytest.raises(ValueError, match=r"quantised: pixels must be in \[0, 1\], got the pixel space 'unbounded'"):
        replace(tiny_set, space="unbounded").quantised()


def test_words_tell_what_it_is(tiny_set: CondensedSet) -> None:
    assert repr(tiny_set) == (
        "CondensedSet(cut on digits: 3 classes, 3 images per class = 36 cells 1x4x4, factor 2 -> 8x8,"
        " order condensed, 2,592 bytes: pixels 2,304, labels 288, soft labels 0, decoder 0)"
    )


def test_the_file_gives_everything_back(tiny_set: CondensedSet, tmp_path: Path) -> None:
    rich = replace(
        tiny_set,
        soft_labels=torch.eye(3)[tiny_set.labels],
        scores=torch.arange(36.0),
        config={"ipc": 3, "episodes": 5},
        history=({"did": "prune"},),
        versions={"yoco": "0"},
    )
    rich.save(tmp_path / "set.safetensors")
    back = load(tmp_path / "set.safetensors")
    for name in ("cells", "labels", "soft_labels", "scores"):
        assert torch.equal(getattr(back, name), getattr(rich, name))
    for name in ("factor", "size", "classes", "mean", "std", "method", "order", "space", "seed", "source", "config"):
        assert getattr(back, name) == getattr(rich, name), name
    assert (back.history, back.versions) == (rich.history, rich.versions)
    assert torch.equal(load(tmp_path / "set.safetensors", ipc=1).cells, rich.subset(ipc=1).cells)
    back.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "set.safetensors").read_bytes()


def test_as_dataset_serves_a_torch_loader(tiny_set: CondensedSet) -> None:
    examples = tiny_set.as_dataset()
    loader = torch.utils.data.DataLoader(examples, batch_size=36)
    assert len(examples) == 36
    images, labels = next(iter(loader))
    assert torch.equal(images, tiny_set.decode())
    assert torch.equal(labels, tiny_set.labels)
    assert torch.equal(examples.batch(torch.tensor([35])).labels, torch.tensor([2]))


def test_soft_labels_are_the_targets(tiny_set: CondensedSet) -> None:
    soft = replace(tiny_set, soft_labels=torch.full((36, 3), 1 / 3))
    assert soft.as_dataset()[4][1].tolist() == pytest.approx([1 / 3] * 3)


BAD = [
    ({"cells": torch.zeros(36, 1, 4)}, "cells must be [n, C, h, w] with n > 0, got [36, 1, 4]"),
    ({"cells": torch.zeros(0, 1, 4, 4)}, "cells must be [n, C, h, w] with n > 0, got [0, 1, 4, 4]"),
    ({"cells": torch.zeros(36, 1, 4, 4).double()}, "cells must be float32 or uint8, got torch.float64"),
    ({"cells": torch.zeros(36, 1, 8, 8)}, "cells must be (4, 4), got (8, 8)"),
    ({"factor": 0}, "factor must be a whole number of at least 1, got 0"),
    ({"factor": 2.0}, "factor must be a whole number of at least 1, got 2.0"),
    ({"size": (8,)}, "size must be (H, W), got (8,)"),
    ({"size": (0, 8)}, "size must be (H, W), got (0, 8)"),
    ({"labels": torch.zeros(35, dtype=torch.long)}, "labels must be int64 [36], got [35]"),
    ({"labels": torch.zeros(36)}, "labels must be int64 [36], got [36]"),
    ({"labels": torch.full((36,), 3)}, "labels must be in 0..2, got 3..3"),
    ({"classes": ("a",)}, "classes must be at least two, got 1"),
    ({"classes": ("a", "b", "a")}, "classes must have different names, got 'a' twice"),
    ({"mean": (0.1, 0.2)}, "mean and std must have 1 values, std above 0, got ((0.1, 0.2), (0.5,))"),
    ({"std": (0.0,)}, "mean and std must have 1 values, std above 0, got ((0.5,), (0.0,))"),
    ({"std": (float("nan"),)}, "mean and std must have 1 values, std above 0, got ((0.5,), (nan,))"),
    ({"mean": (float("inf"),)}, "mean and std must have 1 values, std above 0, got ((inf,), (0.5,))"),
    ({"space": "rgb"}, "space must be one of unit, unbounded, zca, got rgb"),
    ({"cells": torch.full((36, 1, 4, 4), float("nan"))}, "cells must be finite, got nan or infinity"),
    ({"cells": torch.full((36, 1, 4, 4), 1.5)}, "cells must be in [0, 1], got [1.5, 1.5]"),
    ({"soft_labels": torch.zeros(36, 3, dtype=torch.long)}, "soft_labels must be float, got torch.int64"),
    ({"soft_labels": torch.zeros(36, 2)}, "soft_labels must be [36, 3], got [36, 2]"),
    ({"scores": torch.zeros(3)}, "scores must be [36], got [3]"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[message[:24] for _, message in BAD])
def test_broken_rules_are_one_line(tiny_set: CondensedSet, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        replace(tiny_set, **{"mean": (0.5,), "std": (0.5,), **changes})  # type: ignore[arg-type]
    assert str(caught.value) == f"condensed set: {message}"


def test_unbounded_pixels_may_leave_the_unit_interval(tiny_set: CondensedSet) -> None:
    assert float(replace(tiny_set, cells=tiny_set.cells + 3, space="unbounded").decode().min()) >= 3


def test_class_names_of_a_file_that_repeat_are_told_apart(tiny_set: CondensedSet, tmp_path: Path) -> None:
    tiny_set.save(tmp_path / "set")
    tensors, header = artefact.read(tmp_path / "set", "condensed set", 1)
    artefact.write(tmp_path / "set", "condensed set", 1, tensors, {**header, "classes": ["crane", "dog", "crane"]})
    assert load(tmp_path / "set").classes == ("crane 0", "dog", "crane 2")
    assert load(tmp_path / "set", cells=5).classes == ("crane 0", "dog", "crane 2")


def test_a_file_that_breaks_a_rule_is_named(tiny_set: CondensedSet, tmp_path: Path) -> None:
    tiny_set.save(tmp_path / "good")
    tensors, header = artefact.read(tmp_path / "good", "condensed set", 1)
    for changes, message in [({"factor": 3}, "cells must be"), ({"factor": "2"}, "factor must be a whole number")]:
        artefact.write(tmp_path / "bad", "condensed set", 1, tensors, {**header, **changes})
        with pytest.raises(ValueError, match=message) as caught:
            load(tmp_path / "bad")
        assert str(caught.value).startswith(f"load: {tmp_path / 'bad'}: condensed set: ")
    artefact.write(tmp_path / "bad", "condensed set", 1, tensors, {"factor": 2})
    with pytest.raises(ValueError, match="has a missing or invalid part"):
        load(tmp_path / "bad")
    artefact.write(tmp_path / "new", "condensed set", 2, tensors, header)
    with pytest.raises(ValueError, match="format version 2, this yoco reads up to 1; upgrade yoco"):
        load(tmp_path / "new")


def test_a_checksum_knows_how_cells_are_decoded(tiny_set: CondensedSet) -> None:
    changes: tuple[dict[str, Any], ...] = ({"space": "unbounded"}, {"factor": 1, "size": (4, 4)}, {"size": (7, 7)})
    assert len({tiny_set.checksum, *(replace(tiny_set, **change).checksum for change in changes)}) == 4
