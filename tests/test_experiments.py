"""Trials that experiments keep are taken again under the same settings alone, and wrong words are refused."""

import json
from argparse import Namespace
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yoco.condensed import CondensedSet
from yoco.data import load
from yoco.registry import resolve
from yoco.sparsify import METHODS

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


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
    assert len(files(replace(tiny_set, cells=1 - tiny_set.cells))) == 3


def test_trials_on_a_pruned_set(experiment: Callable[[str], Any], tmp_path: Path, tiny_set: CondensedSet) -> None:
    def place(made: CondensedSet = tiny_set, **how: Any) -> Path:
        made.save(tmp_path / "set.safetensors")
        how = {"epochs": 1, "score_epochs": 1, "bf16": False, **how}
        found: Path = grid.Grid(set=tmp_path / "set.safetensors", out=tmp_path, **how).file(trial)
        return found

    grid = experiment("grid")
    trial = grid.Trial("random", 0, 1, 0, "convnet:width=8")
    assert place() == place()
    others = [{"epochs": 2}, {"score_epochs": 2}, {"bf16": True}]
    places = {place(), *(place(**how) for how in others), place(replace(tiny_set, cells=1 - tiny_set.cells))}
    assert len(places) == 5
    assert all(path.name.startswith("random-0-1-0-convnet_width8-") for path in places)


def test_views_for_another_rule_have_another_name(
    experiment: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_set: CondensedSet
) -> None:
    tiny_set.save(tmp_path / "set.safetensors")
    grid = experiment("grid")
    shared = grid.Grid(set=tmp_path / "set.safetensors", out=tmp_path, epochs=1, score_epochs=1, bf16=False)
    usual = shared.view(0, 1)
    assert usual.name == f"view-0-1-{grid.key(**shared.shared)}.safetensors"
    monkeypatch.setattr(grid, "find", lambda _: Namespace(settings={"runs": 3, "epochs": 61}))
    longer = shared.view(0, 1)
    monkeypatch.setattr(grid, "REFERENCES", 4001)
    assert len({usual, longer, shared.view(0, 1)}) == 3


def test_a_result_of_nothing_is_not_written(experiment: Callable[[str], Any], tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="road: no trial is there, so that nothing is written"):
        experiment("result").write("road", folder=tmp_path, rows=[])
    assert not list(tmp_path.iterdir())


def test_what_a_result_says_of_the_set(
    experiment: Callable[[str], Any], tmp_path: Path, tiny_set: CondensedSet
) -> None:
    tiny_set.save(tmp_path / "set.safetensors")
    shared = experiment("grid").Grid(set=tmp_path / "set.safetensors", out=tmp_path, epochs=1, score_epochs=1)
    made = {"method": "cut", "steps": None, "autocast": None, "checksum": tiny_set.checksum}
    assert shared.about([{"seed": 0, "seconds": 1.0}])["set"] == made


def test_seeds_of_two_runs_are_never_the_same(experiment: Callable[[str], Any], tmp_path: Path) -> None:
    options = Namespace(set=tmp_path, out=tmp_path, epochs=1, score_epochs=1, seeds=10)
    experiment("grid").Grid.of(options)
    with pytest.raises(SystemExit, match="--seeds must be at most 10, got 11"):
        experiment("grid").Grid.of(Namespace(**{**vars(options), "seeds": 11}))


def test_who_does_all_trials_or_none_gathers_them(
    experiment: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_set: CondensedSet
) -> None:
    tiny_set.save(tmp_path / "set.safetensors")
    grid, asked = experiment("grid"), []
    options = {"set": tmp_path / "set.safetensors", "out": tmp_path, "epochs": 1, "score_epochs": 1}
    assert [grid.Grid.of(Namespace(**options, **how)).bf16 for how in ({}, {"bf16": 0}, {"bf16": 1})] == [0, 0, 1]
    shared, trials = grid.Grid.of(Namespace(**options)), [grid.Trial("random", run, 1, 0) for run in range(3)]
    monkeypatch.setattr(grid.Grid, "judge", lambda self, trial: asked.append(trial.run))
    assert [shared.judged(trials, part) for part in ((0, 2), (1, 2))] == [None, None]
    assert asked == [0, 2, 1]
    shared.file(trials[1]).write_text('{"run": 1}')
    assert shared.judged(trials, (1, 1)) == [{"run": 1}]
    assert asked == [0, 2, 1]
    assert shared.judged(trials, (0, 1)) == [{"run": 1}]
    assert asked == [0, 2, 1, 0, 1, 2]


def test_a_table_of_the_trials_that_are_there(experiment: Callable[[str], Any], tmp_path: Path) -> None:
    row = {"way": "yoco", "ipc": 1, "run": 0, "seed": 0, "last": 50.0, "commit": "a"}
    shared = Namespace(
        full=3,
        judged=lambda trials, part: [row for trial in trials if trial.way == "yoco"],
        about=lambda rows: {"seeds": [0]},
    )
    options = {"ipc": [1], "ablation": [], "seeds": 1, "runs": 1, "part": (1, 1), "name": "table", "results": tmp_path}
    experiment("table1").run(Namespace(**options), shared)
    content = json.loads((tmp_path / "table.json").read_text())
    assert ([found["last"] for found in content["rows"]], "whole" in content) == ([[50.0]], False)
    assert content["order"] == [{"ipc": 1, "best_first": ["yoco"], "yoco_ccs_random": False}]
    order = experiment("readme").order
    assert order(content)[1:] == ["Best of the rules of the first table in the mean: `yoco` at 1 per class."]
    assert order({**content, "order": [{"ipc": 1, "best_first": [], "yoco_ccs_random": False}]})[1:] == []


def test_a_gain_has_the_error_of_its_rankings(experiment: Callable[[str], Any]) -> None:
    values = np.random.default_rng(0).normal(70, 5, (2, 4, 2, 3))  # way, size, seed, ranking
    pairs = {"run": [0, 1, 2, 0, 1, 2], "seed": [0, 0, 0, 1, 1, 1]}
    rows = [
        {"way": way, "ipc": ipc, **pairs, "last": values[k, size].ravel().tolist()}
        for k, way in enumerate(("yoco", "kernel"))
        for size, ipc in enumerate((1, 2, 3, 5))
    ]
    apart = (values[1] - values[0]).mean((0, 1))
    literal = {"points": apart.mean(), "standard_error": apart.std(ddof=1) / 3**0.5, "rankings": 3}
    gain = experiment("rows").gain
    made = json.loads((EXPERIMENTS / "results" / "beat_yoco.json").read_text())
    assert made["gain"]["kernel"] == gain(made["rows"], "kernel", "yoco")
    assert gain(rows, "kernel", "yoco") == pytest.approx(literal, abs=6e-4)
    rows[-1] = {**rows[-1], "run": [0, 0], "seed": [0, 1], "last": [70.0, 71.0]}
    assert gain(rows, "kernel", "yoco") is None
    assert gain(rows, "ssp", "yoco") is None


def test_what_stands_behind_a_number(experiment: Callable[[str], Any]) -> None:
    def said(*rows: dict[str, Any], **more: Any) -> str:
        content = {"epochs": 9, "computed_in": "float32", **more, "rows": rows}
        return str(experiment("rows").spread_of(content).partition("deviation of ")[2])

    one = {"way": "yoco", "run": [0, 1, 2], "seed": [0, 0, 0], "last": [1, 2, 3]}
    two = {"way": "yoco", "run": [0, 1, 0, 1], "seed": [0, 0, 1, 1], "last": [1, 2, 3, 4]}
    whole = {"way": "whole", "run": [0, 0, 0], "seed": [0, 1, 2], "last": [1, 2, 3]}
    assert said(one) == "3 networks (3 rankings, each judged by 1 seed of networks), 9 epochs, in float32."
    more = "3 networks (3 rankings, each judged by 1 seed of networks; the whole set by 3), 9 epochs, in float32."
    assert said(one, whole) == more
    assert said(two) == "4 networks (2 rankings, each judged by 2 seeds of networks), 9 epochs, in float32."
    alone = said({"method": "idc", "last": [1, 2, 3]})
    assert said({**whole, "way": "random"}) == alone == "3 networks, 9 epochs, in float32."
    assert said(two, dynamics={"epochs": 1000}).endswith(", in float32; dynamics of 1,000 epochs.")


def test_what_results_list_of_trials(experiment: Callable[[str], Any]) -> None:
    rows = [
        {"way": "easy", "ipc": 0.1, "run": 0, "seed": k, "last": float(k), "commit": "c", "seconds": 1.5, **said}
        for k, said in enumerate([{}, {"made_on": "cpu", "checksum": "b"}, {"made_on": "cpu", "checksum": "a"}])
    ]
    summary = experiment("coreset_fashion").summary
    content = summary(rows)
    assert (content["seconds_of_all_trials"], content["rows"][0]["seconds"]) == (4.5, [1.5] * 3)
    assert (content["rows"][0]["made_on"], content["rows"][0]["checksum"]) == (["cpu"], ["a", "b"])
    old = summary([{k: v for k, v in rows[0].items() if k != "seconds"}, rows[1]])
    assert "seconds_of_all_trials" not in old
    assert "seconds" not in old["rows"][0]


def test_coresets_say_the_options_of_their_rules(experiment: Callable[[str], Any]) -> None:
    coresets = experiment("readme").coreset_fashion
    content = json.loads((EXPERIMENTS / "results" / "coreset_fashion.json").read_text())
    assert all(
        f"`{rule}` {next(iter(made))} " in coresets(content)[-1] for rule, made in content["rules"].items() if made
    )
    content["rules"] = {"random": {}, "easy": {"score": "el2n", "quota": "equal"}, "d2": {"beta": 0.4}}
    said = "Options beside `--rule`: `easy` score el2n, quota equal; `d2` beta 0.4."
    assert coresets(content)[-1] == said
    content["rules"] = {"random": {}}
    assert not any("--rule" in line for line in coresets(content))


def test_masks_have_the_name_of_the_method_that_makes_the_same(experiment: Callable[[str], Any]) -> None:
    content = json.loads((EXPERIMENTS / "results" / "npb_table.json").read_text())
    lines = experiment("readme_sparse").npb_table(content)[2:]
    for line, row in zip(lines, content["rows"], strict=False):
        how = content["ways"][row["way"]]
        named, made = (resolve("method", METHODS, name) for name in (line.split(" | ")[2], how["at_init"]))
        assert named is made if "options" not in how else (named.func, named.keywords) == (made, how["options"])
    method_of = experiment("readme_sparse").method_of
    assert method_of({"at_init": "random"}) == "random"
    assert method_of({"at_init": "npb", "options": {"layout": "uniform"}}) == "npb"


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


def test_a_try_that_was_made_with_other_settings_is_refused(
    experiment: Callable[[str], Any], tmp_path: Path, tiny_set: CondensedSet
) -> None:
    road, path, options = experiment("road"), tmp_path / "try.json", Namespace(data="digits", ipc=1)

    def check(**config: Any) -> None:
        replace(tiny_set, config=config).save(path.with_suffix(".safetensors"))
        road.check_same(path, "readout", load("digits"), options)

    settings = asdict(road.method_of("readout", load("digits"), options)[1])
    check(life=1)
    path.write_text("{}")
    check(**settings, episodes_done=3)
    check(**{name: value for name, value in settings.items() if name != "life"})
    with pytest.raises(SystemExit, match="made with other settings; say another --out"):
        check(**{**settings, "life": settings["life"] + 1})


def in_the_same_minutes(experiment: Callable[[str], Any], folder: Any = None, **options: Any) -> Any:
    """What runs methods for some minutes, on digits."""
    how = {"ipc": 1, "bf16": 0, "threads": 2, "stops": [5.0], "fit": [], "networks": [], "episodes": 0, "judge": 1}
    how |= {"networks_per_set": 1, "epochs": 0, **options}
    return experiment("methods_fashion").Bench(folder, load("digits"), Namespace(**how))


def test_names_of_runs_in_the_same_minutes(experiment: Callable[[str], Any]) -> None:
    names: list[str] = []
    folder = Namespace(keep=lambda name, work: names.append(name))
    for episodes in (0, 900):
        assert list(in_the_same_minutes(experiment, folder, episodes=episodes).rows("readout", 0)) == []
    settings = experiment("sets").settings("readout", load("digits"), 1, episodes=850)
    made = {"stops": [5.0], "threads": 2, "bf16": 0, "network": "convnet:width=32"}
    assert names == [f"readout-1-0-{experiment('claims').key(settings=settings, **made)}"] * 2


def test_a_method_in_the_same_minutes_may_have_options_of_its_own(
    experiment: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    def condense(data: Any, method: str, **how: Any) -> Namespace:
        calls.append((method, how))
        return Namespace(config={"seconds": 1.0, "episodes_done": 1, "episodes": 1})

    fashion, method = experiment("methods_fashion"), "readout:nested=true"
    bench = in_the_same_minutes(experiment, fit=["readout:lr=0.01"], episodes=100)
    assert bench.changes(method) == {"episodes": 100, "lr": 0.01, "nested": True}
    monkeypatch.setattr(fashion.yoco, "condense", condense)
    assert [stop for stop, _, _ in bench.sets_of(method, 3, tmp_path)] == [5.0]
    ((name, how),) = calls
    found = (name, how["seed"], how["nested"], how["episodes"], how["network"], how["device"])
    assert found == ("readout", 3, True, 100, "convnet:width=32", "cpu")
    place = ["--out", str(tmp_path), "--results", str(tmp_path)]
    words = ["--methods", method, "--fit", "readout:lr=0.01", "--networks", "readout=mlp"]
    monkeypatch.setattr("sys.argv", ["methods_fashion.py", *place, *words])
    assert fashion.read_options().methods == [method]
