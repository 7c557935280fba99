"""Trials that experiments keep are taken again under the same settings alone, and wrong words are refused."""

import importlib
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from yoco.condensed import CondensedSet

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


@pytest.fixture
def experiment(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A module of the experiments, by its name."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    return importlib.import_module


@pytest.mark.parametrize("change", [{"bf16": 1}, {"dense_epochs": 2}])
def test_networks_that_are_pruned(experiment: Callable[[str], Any], tmp_path: Path, change: dict[str, int]) -> None:
    options = {"data": "digits", "out": tmp_path, "part": (0, 1), "bf16": 0, "dense_epochs": 1}
    trials = experiment("trained").Trials
    first, again = (trials(Namespace(**options), steps=3) for _ in range(2))
    assert first.keep("a", lambda: {"value": 1})["value"] == again.keep("a", lambda: {"value": 2})["value"] == 1
    for other in (trials(Namespace(**options), steps=4), trials(Namespace(**options | change), steps=3)):
        assert other.keep("a", lambda: {"value": 3})["value"] == 3
    longer, changed = (trials(Namespace(**how), steps=4) for how in (options, options | change))
    assert first.dense("mlp", 0) == longer.dense("mlp", 0) != changed.dense("mlp", 0)


def test_what_is_seen_of_a_set(experiment: Callable[[str], Any], tmp_path: Path, tiny_set: CondensedSet) -> None:
    def files(made: CondensedSet = tiny_set, **how: Any) -> set[str]:
        made.save(tmp_path / "set.safetensors")
        how = {"epochs": 1, "score_epochs": 1, "bf16": False, **how}
        grid.Grid(set=tmp_path / "set.safetensors", out=tmp_path, **how).evidence(0)
        return {path.name for path in tmp_path.glob("evidence-*.safetensors")}

    grid = experiment("grid")
    first = files()
    assert len(first) == 1
    assert files(epochs=2) == first
    assert len(files(score_epochs=2)) == 2
    assert len(files(passes="clean")) == 3
    assert len(files(replace(tiny_set, cells=1 - tiny_set.cells))) == 4


def test_trials_on_a_pruned_set(experiment: Callable[[str], Any], tmp_path: Path, tiny_set: CondensedSet) -> None:
    def place(made: CondensedSet = tiny_set, **how: Any) -> Path:
        made.save(tmp_path / "set.safetensors")
        how = {"epochs": 1, "score_epochs": 1, "bf16": False, **how}
        found: Path = grid.Grid(set=tmp_path / "set.safetensors", out=tmp_path, **how).file(trial)
        return found

    grid = experiment("grid")
    trial = grid.Trial("random", 0, 1, 0, "convnet:width=8")
    assert place() == place()
    others = [{"epochs": 2}, {"score_epochs": 2}, {"passes": "clean"}, {"bf16": True}]
    places = {place(), *(place(**how) for how in others), place(replace(tiny_set, cells=1 - tiny_set.cells))}
    assert len(places) == 6
    assert all(path.name.startswith("random-0-1-0-convnet_width8-") for path in places)


def test_tries_of_the_road(experiment: Callable[[str], Any], tmp_path: Path) -> None:
    def place(name: str = "readout", **how: Any) -> Path:
        options = Namespace(
            **{"data": "digits", "out": tmp_path, "ipc": 1, "epochs": 2, "held": 300, "bf16": 0, "threads": 1, **how}
        )
        found: Path = road.file(name, road.halves(options), options)
        return found

    road = experiment("road")
    assert place() == place()
    others = [{"ipc": 2}, {"epochs": 3}, {"held": 400}, {"bf16": 1}, {"threads": 2}, {"name": "regression"}]
    assert len({place(), *(place(**how) for how in others)}) == 7


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
