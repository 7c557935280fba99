"""Our own forms, safetensors and npz: from one to the other and back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from yoco.condensed import CondensedSet, load
from yoco.convert import FORMATS, TARGETS, convert
from yoco.convert.origin import statistics
from yoco.registry import resolve


@pytest.mark.parametrize("name", [*FORMATS.values(), *TARGETS.values()])
def test_every_row_of_the_tables_is_there(name: str) -> None:
    assert callable(resolve("form", {"it": name}, "it"))


def test_through_npz_and_back_every_byte_is_the_same(saved: Path, rich: CondensedSet, tmp_path: Path) -> None:
    made = convert(saved, tmp_path / "set.npz")
    assert torch.equal(made.cells, rich.cells)
    convert(tmp_path / "set.npz", tmp_path / "back.safetensors")
    assert (tmp_path / "back.safetensors").read_bytes() == saved.read_bytes()


def test_numbers_of_numpy_in_a_record_are_written(tiny_set: CondensedSet, tmp_path: Path) -> None:
    odd = replace(tiny_set, config={"lr": np.float32(0.5), "ipc": np.int64(3)}, versions={"yoco": "0"})
    resolve("form", TARGETS, "npz")(odd, tmp_path / "set.npz")
    assert convert(tmp_path / "set.npz", tmp_path / "back.safetensors").config == {"lr": 0.5, "ipc": 3}


def test_names_of_classes_may_be_bytes_and_labels_no_names(tmp_path: Path) -> None:
    pixels = np.zeros((2, 1, 4, 4), np.float32)
    np.savez(tmp_path / "a.npz", images=pixels, labels=np.array([0, 1]), classes=np.array(["café".encode(), b"dog"]))
    assert convert(tmp_path / "a.npz", tmp_path / "b.npz").classes == ("café", "dog")
    np.savez(tmp_path / "a.npz", images=pixels, labels=np.array([0, 10**10]))
    with pytest.raises(ValueError, match=r"labels must be at least 0 and below 100000, got 10000000000$"):
        convert(tmp_path / "a.npz", tmp_path / "c.npz")


def test_npz_keeps_whatever_a_set_may_lack_or_be(tiny_set: CondensedSet, tmp_path: Path) -> None:
    kinds = {
        "uint8": replace(tiny_set.quantised(), versions={"yoco": "0"}),
        "plain": replace(tiny_set, seed=None, versions={"yoco": "0"}),
        "unbounded": replace(tiny_set, cells=tiny_set.cells * 3 - 1, space="unbounded", versions={"yoco": "0"}),
    }
    for name, kind in kinds.items():
        kind.save(tmp_path / f"{name}.safetensors")
        convert(tmp_path / f"{name}.safetensors", tmp_path / f"{name}.npz")
        convert(tmp_path / f"{name}.npz", tmp_path / "back.safetensors")
        assert (tmp_path / "back.safetensors").read_bytes() == (tmp_path / f"{name}.safetensors").read_bytes(), name


def test_npz_is_plain_arrays_for_anybody(saved: Path, rich: CondensedSet, tmp_path: Path) -> None:
    convert(saved, tmp_path / "set.npz")
    with np.load(tmp_path / "set.npz", allow_pickle=False) as file:
        assert file["images"].dtype == np.float32
        np.testing.assert_array_equal(file["images"], rich.decode().numpy())
        assert file["labels"].dtype == np.int64
        np.testing.assert_array_equal(file["labels"], rich.labels.numpy())
        assert file["classes"].tolist() == list(rich.classes)
        assert (int(file["factor"]), file["size"].tolist()) == (2, [8, 8])
        assert {"soft_labels", "scores", "cells", "header"} <= {*file.files}


@pytest.mark.parametrize("layout", ["channels first", "channels last", "grey", "uint8"])
def test_an_npz_of_somebody_else_is_a_set_of_factor_one(layout: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((6, 3, 8, 7)).astype(np.float64)
    labels = np.array([2, 0, 1, 1, 0, 2], dtype=np.int32)
    layouts: dict[str, np.ndarray] = {
        "channels first": images,
        "channels last": images.transpose(0, 2, 3, 1),
        "grey": images[:, 0],
        "uint8": (images * 255).astype(np.uint8),
    }
    np.savez(tmp_path / "theirs.npz", images=layouts[layout], labels=labels, scores=np.arange(6))
    made = convert(tmp_path / "theirs.npz", tmp_path / "set.safetensors")
    expected = {"grey": images[:, :1], "uint8": (images * 255).astype(np.uint8) / 255}.get(layout, images)
    np.testing.assert_allclose(made.decode().numpy(), expected, atol=1e-6)
    assert (made.factor, made.size, made.space, made.classes) == (1, (8, 7), "unit", ("0", "1", "2"))
    np.testing.assert_allclose(made.mean, expected.mean(axis=(0, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(made.std, expected.std(axis=(0, 2, 3)), atol=1e-6)
    back = load(tmp_path / "set.safetensors")
    assert back.labels.tolist() == labels.tolist()
    assert back.scores is not None
    assert back.scores.tolist() == list(range(6))
    assert back.history[0]["file"] == "theirs.npz"
    assert "torch" in back.versions


def test_classes_and_soft_labels_of_somebody_else_are_kept(tmp_path: Path) -> None:
    labels, images = np.array([1, 0, 1]), np.zeros((3, 4, 4), np.uint8)
    soft = (0.7 * np.eye(2)[labels] + 0.15).astype(np.float32)
    theirs = {"images": images, "labels": labels, "classes": np.array(["cat", "dog"]), "soft_labels": soft}
    np.savez(tmp_path / "theirs.npz", **theirs)
    made = convert(tmp_path / "theirs.npz", tmp_path / "set.safetensors")
    assert made.classes == ("cat", "dog")
    assert made.soft_labels is not None
    np.testing.assert_array_equal(made.soft_labels.numpy(), soft)


def test_a_named_data_set_gives_its_constants_and_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "theirs.npz", images=np.zeros((10, 28, 28), np.uint8), labels=np.arange(10))
    made = convert(tmp_path / "theirs.npz", tmp_path / "set.safetensors", data="FashionMNIST")
    assert (made.mean, made.std) == ((0.2861,), (0.3530,))
    assert made.classes[9] == "ankle boot"
    assert made.source["name"] == "fashion-mnist"


def test_a_constant_channel_keeps_its_scale() -> None:
    for cells in (torch.full((2, 1, 4, 4), 51, dtype=torch.uint8), torch.full((2, 1, 4, 4), 0.2)):
        mean, std = statistics(cells)
        assert mean == pytest.approx((0.2,))
        assert std == (1.0,)


def test_a_failing_write_leaves_nothing(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", full)
        with pytest.raises(OSError, match="No space"):
            convert(saved, tmp_path / "pngs")
    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        convert(saved, tmp_path / "set.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["set.safetensors"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((2, 4, 4))}, "must hold images and labels, got ['images'] without labels"),
        ({"images": np.zeros((2, 4)), "labels": np.arange(2)}, "images must be uint8 or float, [n, C, H, W]"),
        ({"images": np.zeros((0, 4, 4)), "labels": np.arange(0)}, "with n > 0, got float64 [0, 4, 4]"),
        ({"images": np.zeros((2, 4, 4)), "labels": np.arange(3)}, "labels must be whole numbers [2], got int64 [3]"),
        ({"images": np.zeros((2, 4, 4)), "labels": np.array([0.5, 1])}, "labels must be whole numbers [2]"),
        (
            {"images": np.zeros((2, 4, 4)), "labels": np.array([-1, 1])},
            "labels must be at least 0 and below 100000, got -1",
        ),
        (
            {"images": np.zeros((2, 4, 4)), "labels": np.zeros((2, 1), int)},
            "labels must be whole numbers [2], got int64",
        ),
        ({"images": np.full((2, 4, 4), np.nan), "labels": np.arange(2)}, "cells must be finite"),
        ({"header": np.array("{}"), "labels": np.arange(2)}, "has a header that was not written by yoco"),
        ({"header": np.array("[]"), "labels": np.arange(2)}, "has a header that was not written by yoco"),
    ],
)
def test_an_npz_that_breaks_a_rule_is_one_line(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError) as caught:
        convert(tmp_path / "bad.npz", tmp_path / "set.safetensors")
    assert message in str(caught.value)
    assert str(tmp_path / "bad.npz") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "set.safetensors").exists()


def test_python_objects_and_damage_are_refused(saved: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.npz"
    np.savez(bad, images=np.array([{"a": 1}], dtype=object), labels=np.arange(1))
    with pytest.raises(ValueError, match=r"not an .npz file of plain arrays \(Object arrays cannot be loaded"):
        convert(bad, tmp_path / "x.safetensors")
    convert(saved, bad)
    raw = bad.read_bytes()
    for length in (0, 40, len(raw) // 2, len(raw) - 5):
        bad.write_bytes(raw[:length])
        with pytest.raises(ValueError, match=r"bad.npz is damaged or not an .npz file") as caught:
            convert(bad, tmp_path / "x.safetensors")
        assert "\n" not in str(caught.value)
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "one.npy").replace(bad)
    with pytest.raises(ValueError, match=r"not an \.npz file of plain arrays \(a single array\)$"):
        convert(bad, tmp_path / "x.safetensors")


def test_an_archive_that_may_not_be_read_is_not_called_damaged(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: Path, *_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    convert(saved, tmp_path / "set.npz")
    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(PermissionError, match="Permission denied"):
        convert(tmp_path / "set.npz", tmp_path / "x.safetensors")


def test_our_npz_of_a_later_version_or_with_a_broken_part(saved: Path, tmp_path: Path) -> None:
    convert(saved, tmp_path / "set.npz")
    with np.load(tmp_path / "set.npz") as file:
        parts = dict(file)
    header = str(parts["header"])
    for changes, message in [
        ({"header": np.array(header.replace('"version": 1', '"version": 2'))}, "got a condensed set of version 2"),
        ({"header": np.array(header.replace('"factor": 2', '"factor": 3'))}, "cells must be"),
        ({"cells": parts["cells"][:5]}, "labels must be int64"),
        ({"labels": np.array(["a"] * len(parts["labels"]))}, r"^convert: .*bad\.npz: can't convert np\.ndarray"),
    ]:
        np.savez(tmp_path / "bad.npz", **{**parts, **changes})
        with pytest.raises(ValueError, match=message):
            convert(tmp_path / "bad.npz", tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="data must be left out, as the file records its own, got cifar10"):
        convert(tmp_path / "set.npz", tmp_path / "x.safetensors", data="cifar10")


def test_names_that_say_nothing_are_one_line(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="convert: no file or folder at"):
        convert(tmp_path / "none.npz", tmp_path / "x.npz")
    with pytest.raises(ValueError, match=r"the target must end in .safetensors or .npz, or be a folder"):
        convert(saved, tmp_path / "x.zip")
    with pytest.raises(ValueError, match="form: unknown name 'idcc'; did you mean 'idc'"):
        convert(saved, tmp_path / "x.npz", form="idcc")
    with pytest.raises(
        ValueError, match="factor can only be used with idc, dream files, got 3 for a file of form safetensors"
    ):
        convert(saved, tmp_path / "x.npz", factor=3)
    (tmp_path / "set.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"the form is not clear from the file name.*; add --form idc"):
        convert(tmp_path / "set.pt", tmp_path / "x.npz")


def test_a_form_of_ones_own(saved: Path, tmp_path: Path) -> None:
    made = convert(saved, tmp_path / "x.npz", form="yoco.convert.own:read")
    assert len(made) == 36


def test_what_is_read_is_not_written_over(saved: Path, tmp_path: Path) -> None:
    before, link = saved.read_bytes(), tmp_path / "link.safetensors"
    link.symlink_to(saved)
    for source, target in ((saved, saved), (saved, link), (link, saved), (saved, tmp_path / "." / saved.name)):
        with pytest.raises(ValueError) as caught:
            convert(source, target)
        assert str(caught.value) == f"convert: source and target must be different files, got {source} for both"
    assert link.is_symlink()
    assert saved.read_bytes() == before
