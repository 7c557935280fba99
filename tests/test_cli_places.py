"""Places that commands read and write: kept apart, in the home folder, with spaces in their names."""

from collections.abc import Callable
from pathlib import Path

import pytest

from yoco.condensed import CondensedSet


@pytest.fixture
def saved(tiny_set: CondensedSet, tmp_path: Path) -> Path:
    tiny_set.save(tmp_path / "set.safetensors")
    return tmp_path / "set.safetensors"


@pytest.mark.parametrize(
    ("words", "both"),
    [
        (["prune", "set", "--rule", "random", "--ipc", "1", "--out", "set"], "prune: set and out"),
        (["prune", "set", "--ipc", "1", "--scores", "set", "--out", "x.npz"], "prune: set and scores"),
        (["prune", "set", "--ipc", "1", "--scores", "x", "--out", "x"], "prune: scores and out"),
        (["prune", "set", "--rule", "random", "--ipc", "1", "--out", "link"], "prune: set and out"),
        (["score", "set", "--out", "set"], "score: set and out"),
        (["evaluate", "set", "--out", "set"], "evaluate: set and out"),
        (["evaluate", "set", "--teacher", "t.pt", "--out", "t.pt"], "evaluate: teacher and out"),
    ],
)
def test_what_is_read_is_not_written_over(
    words: list[str], both: str, saved: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved.parent)
    Path("link.safetensors").symlink_to(saved)
    before = saved.read_bytes()
    found = fails(*(f"{word}.safetensors" if word in ("set", "x", "link") else word for word in words))
    assert found.startswith(f"yoco: {both} must be different files, got ")
    assert saved.read_bytes() == before
    assert sorted(path.name for path in saved.parent.iterdir()) == ["link.safetensors", "set.safetensors"]
