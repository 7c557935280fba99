"""Trials that processes share: one does each, a killed one's is free again, and parts are kept."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
WORKER = """
import sys
from pathlib import Path
from claims import Folder

def work():
    print("working", flush=True)
    sys.stdin.read()  # until it is killed, or its parent ends

Folder(Path(sys.argv[1])).keep("slow", work)
"""


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    import claims

    return claims


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is at work on the trial `slow`."""
    arguments = [sys.executable, "-c", WORKER, str(tmp_path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(arguments, cwd=EXPERIMENTS, text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        yield process
        process.kill()


def test_a_trial_is_done_once_and_says_its_commit(claims: Any, tmp_path: Path) -> None:
    folder, calls = claims.Folder(tmp_path), []
    for _ in range(2):
        found = folder.keep("a/b:c", lambda: calls.append(1) or {"value": 3})
        assert found["value"] == 3
        assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?|unknown", found["commit"])
    assert calls == [1]
    assert json.loads((tmp_path / "a_b_c.json").read_text())["value"] == 3
    assert folder.complete()


def test_the_commit_is_that_of_the_start(claims: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    started = claims.result.COMMIT
    monkeypatch.setattr(subprocess, "check_output", lambda *_, **__: "another")
    assert claims.result.commit() == started != "another+changes"


def test_a_trial_says_where_it_was_done(claims: Any, tmp_path: Path) -> None:
    folder = claims.Folder(tmp_path)
    assert folder.keep("a", dict)["made_on"] == claims.result.made_on()
    assert folder.keep("b", lambda: {"made_on": "elsewhere"})["made_on"] == "elsewhere"


def test_a_trial_under_other_settings_is_not_taken(claims: Any, tmp_path: Path) -> None:
    found = [
        claims.Folder(tmp_path, data=data, epochs=epochs).keep("a", lambda n=n: {"value": n})["value"]
        for n, (data, epochs) in enumerate([("x", 1), ("y", 1), ("x", 2), ("x", 1)])
    ]
    assert found == [0, 1, 2, 0]


def test_a_trial_of_another_process_is_left_to_it_or_waited_for(
    claims: Any, tmp_path: Path, worker: subprocess.Popen[str]
) -> None:
    folder = claims.Folder(tmp_path)
    assert folder.keep("slow", lambda: {"value": 1}) is None
    assert folder.keep("other", lambda: {"value": 2})["value"] == 2
    assert (folder.missing, folder.complete()) == (1, False)
    threading.Timer(0.2, worker.kill).start()
    assert claims.Folder(tmp_path).keep("slow", lambda: {"value": 1}, shared=True)["value"] == 1


def test_a_killed_trial_is_free_again(claims: Any, tmp_path: Path, worker: subprocess.Popen[str]) -> None:
    worker.kill()
    worker.wait()
    assert claims.Folder(tmp_path).keep("slow", lambda: {"value": 1})["value"] == 1


def test_work_that_fails_leaves_a_trial_to_be_done(claims: Any, tmp_path: Path) -> None:
    folder = claims.Folder(tmp_path)
    with pytest.raises(ZeroDivisionError):
        folder.keep("a", lambda: {"value": 1 / 0})
    assert folder.keep("a", lambda: {"value": 1})["value"] == 1


def test_parts_do_every_nth_trial_and_nobody_does_none(claims: Any, tmp_path: Path) -> None:
    folder = claims.Folder(tmp_path, (1, 2))
    found = [folder.keep(str(n), lambda n=n: {"n": n}) for n in range(4)]
    assert [row and row["n"] for row in found] == [None, 1, None, 3]
    assert folder.keep("of all", lambda: {"n": 9}, shared=True)["n"] == 9
    assert not folder.complete()
    nobody = claims.Folder(tmp_path, (1, 1))
    assert [bool(nobody.keep(str(n), lambda: {"n": 0})) for n in range(4)] == [False, True, False, True]
    assert nobody.complete()


def test_who_only_reads_does_no_shared_trial_either(claims: Any, tmp_path: Path) -> None:
    reader = claims.Folder(tmp_path, (1, 1))
    assert reader.keep("whole", lambda: {"value": 1}, shared=True) is None
    assert reader.keep("part", lambda: {"value": 1}) is None
    assert not reader.complete()
    assert not list(tmp_path.glob("*.json"))


def test_a_file_that_all_need_is_made_once_and_whole(claims: Any, tmp_path: Path) -> None:
    made: list[Path] = []

    def make(path: Path) -> None:
        made.append(path)
        path.write_text("whole")

    path = tmp_path / "deep" / "file.txt"
    assert claims.once(path, make).read_text() == "whole"
    assert claims.once(path, make) == path
    assert len(made) == 1
    with pytest.raises(OSError, match="full"):
        claims.once(
            tmp_path / "other.txt", lambda path: (path.write_text("ha"), (_ for _ in ()).throw(OSError("full")))
        )
    assert not (tmp_path / "other.txt").exists()


def test_nothing_is_written_where_no_trial_is_there(claims: Any, tmp_path: Path) -> None:
    folder = claims.Folder(tmp_path, (1, 1))
    assert folder.keep("a", dict) is None
    assert not folder.complete()
    claims.Folder(tmp_path).keep("a", dict)
    folder = claims.Folder(tmp_path, (1, 1))
    assert folder.keep("a", dict) is not None
    assert folder.keep("b", dict) is None
    assert folder.complete()
