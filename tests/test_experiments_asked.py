"""What experiments are asked for: words that they do not know, and folders of other sets, are refused."""

import json
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from yoco.condensed import CondensedSet


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("road", "--tries"),
        ("coreset_fashion", "--rules"),
        ("resize_curve", "--ways"),
        ("resize_sets", "--methods"),
        ("lobs_table", "--networks"),
        ("beat_yoco", "--ways"),
        ("npb_table", "--ways"),
    ],
)
def test_words_that_an_experiment_does_not_know_are_refused(
    experiment: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    flag: str,
) -> None:
    monkeypatch.setattr("sys.argv", [f"{name}.py", flag, "nosuch"])
    with pytest.raises(SystemExit, match="2"):
        experiment(name).main()
    assert f"argument {flag}: invalid choice: 'nosuch'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--fit", "dm:episodes=3"], "--fit: no method of this run: dm"),
        (["--networks", "dm=mlp"], "--networks: no method of this run: dm"),
        (["--networks", "idc"], "--networks: must read method=network, got 'idc'"),
    ],
)
def test_what_no_method_of_a_run_reads_is_refused(
    experiment: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], line: str
) -> None:
    place = ["--out", str(tmp_path), "--results", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["methods_fashion.py", "--methods", "idc", *place, *words])
    with pytest.raises(SystemExit, match=line):
        experiment("methods_fashion").read_options()


def test_a_method_of_ones_own_stands_beside_others(
    experiment: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [place for place in sys.path if place])
    Path("my_own_paper.py").write_text("from yoco.condense.methods.random import Random as Mine\n")
    toy = ["--ipc", "1", "--seeds", "1", "--epochs", "1", "--full-epochs", "1", "--out", "trials", "--results", "."]
    monkeypatch.setattr("sys.argv", ["methods_digits.py", "--methods", "my_own_paper:Mine", "random", *toy])
    experiment("methods_digits").main()
    rows = json.loads(Path("methods_digits.json").read_text())["rows"]
    assert [(row["method"], row["labels"]) for row in rows] == [("my_own_paper:Mine", "hard"), ("random", "hard")]


def test_a_folder_with_another_set_of_idc_is_refused(
    experiment: Callable[[str], Any], tmp_path: Path, tiny_set: CondensedSet
) -> None:
    made, path = replace(tiny_set, config={"ipc": 3, "episodes": 0, "episodes_done": 0}), tmp_path / "at-2.safetensors"
    same = experiment("idc_fashion").check_same
    same(made, path)
    replace(made, config={**made.config, "episodes": 2, "episodes_done": 2, "seconds": 1.5}).save(path)
    same(made, path)
    for other in (replace(made, config={**made.config, "ipc": 2}), replace(made, source={"name": "mnist"})):
        with pytest.raises(SystemExit, match="another set; say another folder by --out"):
            same(other, path)


def test_stops_that_a_run_has_passed_are_told(
    experiment: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_set: CondensedSet
) -> None:
    script = experiment("idc_fashion")
    made = replace(tiny_set, config={"ipc": 3, "episodes": 0, "episodes_done": 0})
    monkeypatch.setattr(script.yoco, "condense", lambda *_, **__: made)
    options = Namespace(data="digits", ipc=3, factor=2, bf16=False, steps=[0, 1, 2], out=tmp_path)
    script.write(made, script.stop(2, options))
    with pytest.raises(SystemExit, match=r"the run has passed \[1\] without a stop; say another folder by --out"):
        script.condense_with_stops(options)
    for steps in (0, 1):
        script.write(made, script.stop(steps, options))
    note = script.stop(0, options).with_suffix(".json")
    note.write_text(json.dumps({"commit": "the first"}))
    script.condense_with_stops(options)
    assert json.loads(note.read_text()) == {"commit": "the first"}


def test_smaller_sets_are_those_of_the_larger_one(
    experiment: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def name(larger: dict[str, str] | None, way: str = "yoco", judges: int = 1) -> str:
        bench = SimpleNamespace(
            kept=lambda *_, **__: larger, name=lambda *_: "idc-10-0", judges=lambda _: range(judges)
        )
        options, folder = Namespace(full=10, epochs=1, score_epochs=1), SimpleNamespace(keep=lambda name, _: name)
        return str(sizes.Resizer(folder, bench, options).kept("idc", way, 1, 0))

    sizes, made = experiment("resize_sets"), {"checksum": "a"}
    assert name(made) == name({"checksum": "a"}) != name({"checksum": "b"})
    assert name({}) == name(None)
    assert name(made, judges=2) != name(made)
    before = [name(made, way) for way in ("yoco", sizes.INSIDE, "kernel")]
    monkeypatch.setitem(experiment("grid").WAYS, "yoco", {"rule": "yoco"})
    after = [name(made, way) for way in ("yoco", sizes.INSIDE, "kernel")]
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, False, True]


def test_names_of_trials_change_with_the_options_of_their_ways(
    experiment: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def keep(name: str, _: Callable[[], Any], shared: bool = False) -> dict[str, Any] | None:
        names.append(name)
        return {"zeros": {}} if shared else None

    def asked() -> list[str]:
        names.clear()
        lobs.judged(trials, "lenet-5", 0, 0.07, None)
        condensed.judged(trials, "lenet-5", "full data", 0.5, 0, None)
        npb.main()
        return list(names)

    names: list[str] = []
    lobs, npb, condensed = map(experiment, ("lobs_table", "npb_table", "condensed_calibration"))
    trials = SimpleNamespace(keep=keep, complete=lambda: False)
    monkeypatch.setattr(npb.trained, "Trials", lambda *_, **__: trials)
    place = ["--out", str(tmp_path), "--results", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["npb_table.py", *place, "--networks", "lenet-5", "--sparsities", "0.5"])
    before = asked()
    assert lobs.WAYS["exact"] == condensed.PRUNER == {"solver": "exact", "second": False}
    monkeypatch.setitem(lobs.WAYS, "exact", {"solver": "exact"})
    monkeypatch.setitem(condensed.PRUNER, "second", True)
    monkeypatch.setitem(npb.WAYS, "npb", {"at_init": "npb", "options": {"layout": "erk"}})
    changed = [old.rpartition("-")[0] for old, new in zip(before, asked(), strict=True) if old != new]
    assert changed == ["lenet-5-0.07-0-exact", "lenet-5-full data-0.5-0", "lenet-5-0.5-npb-0"]


def test_trials_on_sets_that_pruning_no_longer_makes_are_not_gathered(
    experiment: Callable[[str], Any], tmp_path: Path, tiny_set: CondensedSet
) -> None:
    def keep(trial: Any, **said: str) -> None:
        shared.file(trial).write_text(json.dumps({"way": trial.way, **said}))

    tiny_set.save(tmp_path / "set.safetensors")
    grid = experiment("grid")
    shared = grid.Grid(set=tmp_path / "set.safetensors", out=tmp_path, epochs=1, score_epochs=1, bf16=False)
    random, first, whole = trials = [
        grid.Trial(way, 0, ipc, 0) for way, ipc in (("random", 1), ("first", 2), ("whole", 3))
    ]
    for trial in trials:
        keep(trial, checksum=shared.pruned(trial).checksum)
    yoco, kernel = grid.Trial("yoco", 0, 1, 0), grid.Trial("kernel-alone", 0, 1, 0)
    keep(yoco, checksum="of networks that are gone")
    assert [row["way"] for row in shared.judged([*trials, yoco], (1, 1))] == ["random", "first", "whole", "yoco"]
    for trial in (random, whole):
        keep(trial, checksum="another")
    got = "got 2 on others, such as random-0-1-0-convnet; without --part they are judged anew"
    with pytest.raises(SystemExit, match=f"^--part 1 1: trials must be on the sets that pruning makes today, {got}$"):
        shared.judged(trials, (1, 1))
    keep(random)
    assert shared.judged([random, first], (1, 1))[0] == {"way": "random"}
    assert [shared.at_hand(trial) for trial in (yoco, kernel)] == [False, False]
    shared.record(0).touch()
    for number in range(grid.find("kernel").settings["runs"]):
        shared.view(0, number).touch()
    assert [shared.at_hand(trial) for trial in (yoco, kernel)] == [True, True]
