"""Files on the disk: whole or not at all, in the place that was named."""

import os
from pathlib import Path

import numpy as np
import pytest

from yoco.disk import check_place, naming, replace_file, same_file, write_npz


def write(path: Path) -> None:
    replace_file(path, lambda temporary: temporary.write_text("new"))


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

    monkeypatch.setattr("yoco.disk.os.fsync", flushed)
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
        replace_file(path, half)
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_keeps_the_name_that_it_has_and_gets_none_without_a_number() -> None:
    for error, name in ((OSError(2, "No such file", "b"), "b"), (OSError("no number"), None)):
        with pytest.raises(OSError) as caught, naming(Path("a")):
            raise error
        assert caught.value.filename == name


def test_one_file_may_have_several_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("here")
    (tmp_path / "link").symlink_to("a")
    monkeypatch.chdir(tmp_path)
    for one, other in (("a", tmp_path / "a"), ("link", "a"), ("none", tmp_path / "../none")):
        assert same_file(one, other) is (one != "none")
    assert same_file("none", tmp_path / "none")
    monkeypatch.setattr("yoco.disk.os.path.samefile", lambda one, other: str(one).lower() == str(other).lower())
    assert same_file("a", "A")  # where the file system says so


def test_an_interrupt_leaves_no_temporary_file(tmp_path: Path) -> None:
    def stopped(temporary: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(tmp_path / "toy", stopped)
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
    check_place(link)
    write(link)
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert real.stat().st_mode & 0o777 == 0o600


def test_a_file_that_may_not_be_written_is_replaced_as_its_folder_allows(tmp_path: Path) -> None:
    (tmp_path / "toy").write_text("old")
    (tmp_path / "toy").chmod(0o444)
    modes: list[int] = []
    replace_file(tmp_path / "toy", lambda path: modes.append(path.stat().st_mode & 0o777))
    assert (modes, (tmp_path / "toy").stat().st_mode & 0o777) == ([0o644], 0o444)


def test_permissions_that_are_right_are_not_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    write(tmp_path / "file")
    (tmp_path / "file").chmod(0o600)
    umask = os.umask(0o177)
    try:
        monkeypatch.setattr(Path, "chmod", refused)  # as on a share whose files belong to somebody else
        replace_file(tmp_path / "file", lambda temporary: temporary.write_text("newer"))
    finally:
        os.umask(umask)
    assert (tmp_path / "file").read_text() == "newer"


def test_new_files_have_the_permissions_that_others_have(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "toy")
    finally:
        os.umask(before)
    assert (tmp_path / "toy").stat().st_mode & 0o777 == 0o640


def test_nothing_but_a_file_is_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for refuse in (write, check_place):
        with pytest.raises(OSError, match="Is a device or a pipe, name a file"):
            refuse(tmp_path / "pipe")
        with pytest.raises(IsADirectoryError, match="Is a folder, name a file"):
            refuse(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
    assert (tmp_path / "pipe").is_fifo()


def test_npz_files_hold_what_they_are_given_and_nothing_else(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", numbers=np.arange(3), words=np.array("ä"))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert sorted(file.files) == ["numbers", "words"]
    with pytest.raises(AssertionError, match="objects would be pickled"):
        write_npz(tmp_path / "b.npz", things=np.array([{}], dtype=object))
    assert not (tmp_path / "b.npz").exists()
