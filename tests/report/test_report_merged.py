"""Merged sets beside each other: repetitions where each of their parts was made alike."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from yoco.classes import merge
from yoco.condensed import CondensedSet
from yoco.report.comparison import ways_of
from yoco.report.reading import RunFiles


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"seed": 4, "config": {"lr": 1, "seconds": 3.0}}, ()),
        ({"config": {"lr": 2}}, ("part 2 lr",)),
        ({"history": ({"step": "prune", "rule": "random"},)}, ("part 2 steps",)),
        ({"order": "yoco"}, ("part 2 order",)),
    ],
)
def test_merged_sets_are_told_apart_by_how_their_parts_were_made(
    tiny_set: CondensedSet, tmp_path: Path, changes: dict[str, Any], names: tuple[str, ...]
) -> None:
    part = replace(tiny_set, config={"lr": 1, "seconds": 2.0})
    said = []
    for other in (part, replace(part, **changes)):
        merge(part, other).save(tmp_path / "condensed.safetensors")
        said.append(RunFiles(tmp_path).settings())
    assert ways_of(said)[0] == names


def test_data_of_a_part_go_by_their_checksum_however_they_are_spelt(tiny_set: CondensedSet, tmp_path: Path) -> None:
    parts = [replace(tiny_set, source={"data": name, "checksum": name[0]}) for name in ("a", "b", "b/")]
    said = []
    for other in parts[1:]:
        merge(parts[0], other).save(tmp_path / "condensed.safetensors")
        said.append(RunFiles(tmp_path).settings())
    assert ways_of(said)[0] == ()


def test_a_setting_of_a_method_may_be_called_parts(tiny_set: CondensedSet, tmp_path: Path) -> None:
    replace(tiny_set, config={"parts": 3}).save(tmp_path / "condensed.safetensors")
    assert RunFiles(tmp_path).settings()["parts"] == 3


def test_a_merged_set_goes_by_its_folder_where_a_part_says_nothing(tiny_set: CondensedSet, tmp_path: Path) -> None:
    merge(tiny_set, replace(tiny_set, source={})).save(tmp_path / "condensed.safetensors")
    assert RunFiles(tmp_path).settings() == {"method": "cut", "folder": tmp_path.as_posix()}
