"""Artefacts on disk: whole or not at all, checked when read."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from yoco import artefact

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2], dtype=torch.uint8)}
HEADER = {"name": "größe", "list": [1, 2], "none": None}


def write(path: Path, **changes: object) -> None:
    artefact.write(path, "toy", 2, TENSORS, {**HEADER, **changes})


def test_tensors_and_header_come_back(tmp_path: Path) -> None:
    write(tmp_path / "folder" / "toy.safetensors")
    tensors, header = artefact.read(tmp_path / "folder" / "toy.safetensors", "toy", 2)
    assert header == {**HEADER, "kind": "toy", "version": 2}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert all(tensors[name].dtype == TENSORS[name].dtype for name in TENSORS)


def test_views_are_written_as_what_they_show(tmp_path: Path) -> None:
    square = torch.arange(9.0).reshape(3, 3).requires_grad_()
    artefact.write(tmp_path / "t", "toy", 1, {"turned": square.t(), "row": square[1]}, {})
    tensors, _ = artefact.read(tmp_path / "t", "toy", 1)
    assert tensors["turned"].tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert tensors["row"].tolist() == [3, 4, 5]


def test_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "one")
    artefact.write(tmp_path / "two", "toy", 2, dict(reversed(TENSORS.items())), dict(reversed(HEADER.items())))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    write(tmp_path / "three", name="other")
    assert (tmp_path / "one").read_bytes() != (tmp_path / "three").read_bytes()


def test_all_bytes_are_on_the_disk_before_the_file_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    fsync, replace = os.fsync, Path.replace

    def flushed(number: int) -> None:
        fsync(number)
        done.append(os.fstat(number).st_size)

    def named(self: Path, target: Path) -> Path:
        done.append(target.name)
        return replace(self, target)

    monkeypatch.setattr("yoco.artefact.os.fsync", flushed)
    monkeypatch.setattr(Path, "replace", named)
    write(tmp_path / "toy")
    assert done == [(tmp_path / "toy").stat().st_size, "toy"]


def test_a_failing_write_leaves_what_stood_there(tmp_path: Path) -> None:
    path = tmp_path / "toy"
    path.write_text("old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        artefact.replace_file(path, half)
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_keeps_the_name_that_it_has_and_gets_none_without_a_number() -> None:
    for error, name in ((OSError(2, "No such file", "b"), "b"), (OSError("no number"), None)):
        with pytest.raises(OSError) as caught, artefact.naming(Path("a")):
            raise error
        assert caught.value.filename == name


def test_an_interrupt_leaves_no_temporary_file(tmp_path: Path) -> None:
    def stopped(temporary: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        artefact.replace_file(tmp_path / "toy", stopped)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    with pytest.raises(OSError, match="toy"):
        write(tmp_path / "toy")
    assert list(tmp_path.iterdir()) == [tmp_path / "toy"]


def test_a_link_stays_a_link_and_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    real, link = tmp_path / "deep" / "real", tmp_path / "link"
    real.parent.mkdir()
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    artefact.check_place(link)
    write(link)
    assert link.is_symlink()
    assert artefact.read(real, "toy", 2)[1]["name"] == "größe"
    assert real.stat().st_mode & 0o777 == 0o600


def test_a_file_that_may_not_be_written_is_replaced_as_its_folder_allows(tmp_path: Path) -> None:
    (tmp_path / "toy").write_text("old")
    (tmp_path / "toy").chmod(0o444)
    modes: list[int] = []
    artefact.replace_file(tmp_path / "toy", lambda path: modes.append(path.stat().st_mode & 0o777))
    assert (modes, (tmp_path / "toy").stat().st_mode & 0o777) == ([0o644], 0o444)


def test_new_files_have_the_permissions_that_others_have(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "toy")
    finally:
        os.umask(before)
    assert (tmp_path / "toy").stat().st_mode & 0o777 == 0o640


def test_nothing_but_a_file_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for refuse in (write, artefact.check_place):
        with pytest.raises(OSError, match="Is a device or a pipe, name a file"):
            refuse(tmp_path / "pipe")
        with pytest.raises(IsADirectoryError, match="Is a folder, name a file"):
            refuse(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"load: no file at .*gone"):
        artefact.read(tmp_path / "gone", "toy", 2)


@pytest.mark.parametrize("kept", [0, 4, 40, -1])
def test_a_truncated_file_is_damaged(tmp_path: Path, kept: int) -> None:
    write(tmp_path / "toy")
    (tmp_path / "toy").write_bytes((tmp_path / "toy").read_bytes()[:kept])
    with pytest.raises(ValueError, match="is damaged or no safetensors file"):
        artefact.read(tmp_path / "toy", "toy", 2)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (None, "was not written by yoco"),
        ({"other": "x"}, "was not written by yoco"),
        ({"yoco": "{"}, "was not written by yoco"),
        ({"yoco": "[1]"}, "must be of the kind toy, got [1]"),
        ({"yoco": json.dumps({"kind": "scores", "version": 1})}, "must be of the kind toy, got scores"),
        ({"yoco": json.dumps({"kind": "toy"})}, "has format version None, this yoco reads up to 2; upgrade yoco"),
        ({"yoco": json.dumps({"kind": "toy", "version": 3})}, "has format version 3, this yoco reads up to 2;"),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, metadata: dict[str, str] | None, message: str) -> None:
    path = tmp_path / "toy"
    save_file(TENSORS, path, metadata=metadata)
    with pytest.raises(ValueError) as caught:
        artefact.read(path, "toy", 2)
    assert str(caught.value).startswith(f"load: {path} {message}")
    assert "\n" not in str(caught.value)


def test_the_header_alone_and_folders_and_other_files(tmp_path: Path) -> None:
    write(tmp_path / "toy")
    assert artefact.read_header(tmp_path / "toy", "toy", 2) == artefact.read(tmp_path / "toy", "toy", 2)[1]
    with pytest.raises(FileNotFoundError, match=r"^load: .* is a folder, name a file$"):
        artefact.read(tmp_path, "toy", 2)
    write(tmp_path / "condensed.safetensors")
    with pytest.raises(FileNotFoundError, match=r"is a folder, name a file in it, such as condensed.safetensors$"):
        artefact.read_header(tmp_path, "toy", 2)
    (tmp_path / "set.npz").write_bytes(b"PK" + bytes(100))
    with pytest.raises(ValueError, match=r"is damaged or no safetensors file .*; yoco convert reads .npz$"):
        artefact.read(tmp_path / "set.npz", "toy", 2)


def test_npz_files_hold_what_they_are_given_and_nothing_else(tmp_path: Path) -> None:
    artefact.write_npz(tmp_path / "a.npz", numbers=np.arange(3), words=np.array("ä"))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert sorted(file.files) == ["numbers", "words"]
    with pytest.raises(AssertionError, match="objects would be pickled"):
        artefact.write_npz(tmp_path / "b.npz", things=np.array([{}], dtype=object))
    assert not (tmp_path / "b.npz").exists()
