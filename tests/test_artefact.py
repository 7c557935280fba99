"""Artefacts: tensors and a header in one file, checked when read."""

import json
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


def test_it_is_written_as_all_files_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setattr("yoco.artefact.replace_file", lambda path, write: asked.append(path))
    write(tmp_path / "toy")
    assert (asked, list(tmp_path.iterdir())) == ([tmp_path / "toy"], [])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"load: no file at .*gone"):
        artefact.read(tmp_path / "gone", "toy", 2)


@pytest.mark.parametrize("kept", [0, 4, 40, -1])
def test_a_truncated_file_is_damaged(tmp_path: Path, kept: int) -> None:
    write(tmp_path / "toy")
    (tmp_path / "toy").write_bytes((tmp_path / "toy").read_bytes()[:kept])
    with pytest.raises(ValueError, match="is damaged or not a safetensors file"):
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
    with pytest.raises(ValueError, match=r"is damaged or not a safetensors file .*; yoco convert reads .npz$"):
        artefact.read(tmp_path / "set.npz", "toy", 2)


def test_an_index_file_is_no_set(tmp_path: Path) -> None:
    np.savez(tmp_path / "kept.npz", about=np.array("{}"), indices=np.arange(3))
    rule = r"is an index file written by prune, not a set; let prune write \.safetensors to evaluate it"
    with pytest.raises(ValueError, match=rf"kept\.npz {rule}$"):
        artefact.read(tmp_path / "kept.npz", "toy", 2)
