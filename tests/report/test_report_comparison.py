"""Several runs beside each other."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
import yaml
from matplotlib.figure import Figure
from PIL import Image

from yoco.cli import run as command
from yoco.condense import condense
from yoco.condensed import CondensedSet, load
from yoco.report import compare
from yoco.report.comparison import _accuracies, ways_of
from yoco.report.reading import RunFiles

LAST = {("dm", 0): [70.0, 72.0], ("dm", 1): [74.0], ("dm", 2): [71.0], ("idc", 0): [80.0], ("idc", 1): [82.0]}


@pytest.fixture
def runs(tiny_set: CondensedSet, tmp_path: Path) -> list[Path]:
    """Five runs: three seeds of one method, two of another, whose first has an evaluation of an earlier state, too."""
    folders = []
    for (method, seed), last in LAST.items():
        folder = tmp_path / f"{method}-{seed}"
        folder.mkdir()
        made = replace(tiny_set, cells=tiny_set.cells * (0.9 - 0.1 * seed), seed=seed)
        made.save(folder / "condensed.safetensors")
        (folder / "config.yaml").write_text(yaml.safe_dump({"data": "digits", "method": method, "seed": seed}))
        rows = [{"episode": k, "loss": 50 / k + seed, "seconds": 1.5 * k} for k in range(1, 61)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        row = {"name": "condensed", "network": "convnet", "images": 36, "epochs": 250, "last": last, "best": last}
        found: dict[str, Any] = {"protocol": "idc", "results": [row], "set_checksum": made.checksum}
        (folder / "evaluation-condensed-idc.json").write_text(json.dumps(found))
        if (method, seed) == ("idc", 0):
            found = {**found, "set_checksum": "x", "results": [{**row, "last": [1.0], "best": [1.0]}]}
            (folder / "evaluation-before-idc.json").write_text(json.dumps(found))
        folders.append(folder)
    return folders


def test_sets_of_several_seeds_are_repetitions(runs: list[Path], tmp_path: Path) -> None:
    written = compare(*runs, out=tmp_path / "out")
    assert [path.name for path in written] == ["comparison.md", "comparison.png"]
    lines = written[0].read_text().splitlines()
    means = [71.0, 74.0, 71.0]
    assert lines[0] == "# 5 runs"
    assert lines[2] == "| method | trained on | network | protocol | images | epochs | sets | last | best |"
    dm = f"{fmean(means):.2f} ± {stdev(means):.2f}"
    assert lines[4] == f"| dm | condensed | convnet | idc | 36 | 250 | 3 | {dm} | {dm} |"
    assert lines[5] == "| idc | condensed | convnet | idc | 36 | 250 | 2 | 81.00 ± 1.41 | 81.00 ± 1.41 |"
    assert lines[6] == ""
    with Image.open(written[1]) as picture:
        assert picture.size[0] > picture.size[1] > 400


def test_a_seed_of_two_files_counts_once(runs: list[Path], tmp_path: Path) -> None:
    path = runs[0] / "evaluation-condensed-idc.json"
    found = json.loads(path.read_text())
    for name, seeds, last in ((path.name, [0, 1], [70.0, 72.0]), ("evaluation-more.json", [1, 2], [72.0, 80.0])):
        row = {**found["results"][0], "seeds": seeds, "last": last, "best": last}
        (runs[0] / name).write_text(json.dumps({**found, "results": [row]}))
    line = compare(runs[0], runs[3], out=tmp_path)[0].read_text().splitlines()[4]
    assert line.endswith("| 1 | 74.00 | 74.00 |")


def test_a_set_that_is_judged_twice_is_one_set(runs: list[Path], tmp_path: Path) -> None:
    whole = (runs[0] / "evaluation-condensed-idc.json").read_text()
    (runs[0] / "evaluation-again-idc.json").write_text(whole)
    small = json.loads(whole)
    small["results"][0]["images"] = 9
    (runs[0] / "evaluation-small-idc.json").write_text(json.dumps(small))
    (runs[0] / "evaluation-weighted-idc.json").write_text(json.dumps({**json.loads(whole), "weighted": True}))
    lines = compare(*runs, out=tmp_path)[0].read_text().splitlines()
    starts = ("36 | 250 | 3", "36 | 250 | 2", "9 | 250 | 1")
    assert [line.split("idc | ")[-1][: len(start)] for line, start in zip(lines[4:7], starts, strict=True)] == [*starts]
    assert "| idc, weighted | 36 | 250 | 1 |" in lines[7]
    axes, small = Figure().add_subplot(), ("condensed", "convnet", "idc", "9", "250")
    worth = {(("dm",), *small): [(70.0, 71.0)], (("dm",), *small[:3], "36", "250"): [(72.0, 73.0)]}
    _accuracies(axes, {("dm",): "C0"}, worth)
    assert len({label.get_text() for label in axes.get_xticklabels()}) == 2
    with pytest.raises(ValueError, match=r"^compare: folders must be different, got "):
        compare(runs[0], runs[1], runs[0])


TAUGHT = {"network": "convnet", "epochs": 20, "accuracy": 90.0}
USUAL: dict[str, Any] = {"data": "digits", "checksum": "a" * 64, "test_checksum": "b" * 64, "measurements": 4}
USUAL |= {"bf16": False, "teachers": [{**TAUGHT, "network": "mlp"}, TAUGHT]}


def judge(folder: Path, **how: Any) -> None:
    """Let the evaluation of a run say this, too."""
    place = folder / "evaluation-condensed-idc.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), **how}))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"data": "noisy", "checksum": "f" * 64, "test_checksum": "f" * 64}, "idc, on noisy"),
        ({"checksum": "f" * 64, "test_checksum": "f" * 64}, "idc, test half ffffffff"),
        ({"checksum": "f" * 64}, "idc, training half ffffffff"),
        ({"bf16": True}, "idc, bfloat16"),
        ({"measurements": 100}, "idc, best of 100"),
        ({"teachers": [{**TAUGHT, "epochs": 1}]}, "idc, teacher of 1 epoch"),
        ({"teachers": [{"network": "MLP", "accuracy": 80, "file": "t.pt"}]}, "idc, teacher MLP of t.pt at 80.00 %"),
    ],
)
def test_accuracies_under_other_conditions_are_not_averaged(
    runs: list[Path], tmp_path: Path, other: dict[str, Any], words: str
) -> None:
    for folder in runs[:3]:
        judge(folder, **{**USUAL, **(other if folder == runs[0] else {})})
    lines = compare(*runs[:3], out=tmp_path)[0].read_text().splitlines()
    (first, second), after = (line.split(" | ") for line in lines[4:6]), lines[6]
    assert (first[2], first[5], second[5], after) == (words, "1", "2", "")
    assert second[2] != words


def test_what_an_evaluation_does_not_say_tells_nothing_apart(runs: list[Path], tmp_path: Path) -> None:
    judge(runs[0], **USUAL)
    assert "| condensed | convnet | idc | 36 | 250 | 3 |" in compare(*runs[:3], out=tmp_path)[0].read_text()


def test_folders_without_settings_go_by_their_sets_or_by_their_places(runs: list[Path], tmp_path: Path) -> None:
    for seed, folder in enumerate(runs):
        (folder / "config.yaml").unlink()
        made = load(folder / "condensed.safetensors")
        said = {"ipc": 3, "seconds": 1.5 * seed, "episodes_done": seed, "learned": {"lr": 0.1 * seed}}
        replace(made, method=folder.name.split("-")[0], config=said).save(folder / "condensed.safetensors")
    lines = compare(*runs, out=tmp_path)[0].read_text().splitlines()
    assert lines[2].startswith("| method | trained on |")
    assert lines[4].startswith("| dm | condensed | convnet | idc | 36 | 250 | 3 |")
    assert lines[5].startswith("| idc | condensed | convnet | idc | 36 | 250 | 2 |")
    replace(load(runs[0] / "condensed.safetensors"), order="yoco").save(runs[0] / "condensed.safetensors")
    lines = compare(*runs[:2], out=tmp_path)[0].read_text().splitlines()
    assert lines[2].startswith("| order | trained on |")
    assert [line.split(" | ")[0] for line in lines[4:6]] == ["| yoco", "| "]
    for folder in runs[:2]:
        (folder / "condensed.safetensors").unlink()
    lines = compare(*runs[:2], out=tmp_path)[0].read_text().splitlines()
    assert lines[2].startswith("| folder | trained on |")
    assert [line.split(" | ")[0] for line in lines[4:6]] == [f"| {folder.as_posix()}" for folder in runs[:2]]


@pytest.mark.parametrize("space", ["unit", "zca"])
def test_a_run_without_its_settings_is_a_repetition_of_its_like(tmp_path: Path, space: str) -> None:
    condense("digits", "random", ipc=1, space=space, out=tmp_path / "run", device="cpu", progress=False)
    said, place = RunFiles(tmp_path / "run").settings(), tmp_path / "run/condensed.safetensors"
    (tmp_path / "run/config.yaml").unlink()
    assert ways_of([said, RunFiles(tmp_path / "run").settings()]) == ((), [(), ()])
    made = load(place)
    for name, changes in (("labels", {"soft_labels": torch.eye(10)[made.labels]}), ("order", {"order": "yoco"})):
        replace(made, **changes).save(place)
        (found,), ways = ways_of([said, RunFiles(tmp_path / "run").settings()])
        assert (found, ways) == (name, [("",), ("soft" if name == "labels" else "yoco",)])


SCORES = {"score": "aum", "network": "convnet", "seed": 0}
PRUNED: dict[str, Any] = {"step": "prune", "rule": "stratified", "mode": "paper", "options": {"beta": 0.1}, "seed": 0}
PRUNED |= {"quota": "equal", "budget": {"ipc": 1}, "scores": SCORES, "kept": [4, 4, 4]}
LABELLED: dict[str, Any] = {"step": "relabel", "teacher": "convnet", "epochs": 20, "seed": 0, "temperature": 1.0}
BETA = {**PRUNED, "options": {"beta": 0.3}}


@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        ([PRUNED], [BETA], ("prune options beta",)),
        ([PRUNED], [{**PRUNED, "options": {}}], ("prune options beta",)),
        ([PRUNED], [{**PRUNED, "rule": "random"}], ("prune rule",)),
        ([PRUNED], [{**PRUNED, "mode": "repo"}], ("prune mode",)),
        ([PRUNED], [{**PRUNED, "quota": "none"}], ("prune quota",)),
        ([PRUNED], [{**PRUNED, "budget": {"ipc": 2}}], ("prune budget ipc",)),
        ([PRUNED], [{**PRUNED, "scores": {**SCORES, "features": "pixels"}}], ("prune scores features",)),
        ([PRUNED], [{**PRUNED, "seed": 1, "scores": {**SCORES, "seed": 1}, "kept": [4, 4, 3]}], ()),
        ([LABELLED], [{**LABELLED, "temperature": 4.0}], ("relabel temperature",)),
        ([LABELLED], [{**LABELLED, "epochs": 5, "seed": 1}], ("relabel epochs",)),
        ([], [PRUNED], ("steps",)),
        ([LABELLED, PRUNED], [PRUNED, LABELLED], ("steps",)),
        ([PRUNED, PRUNED], [PRUNED, BETA], ("prune 2 options beta",)),
    ],
)
def test_sets_without_settings_are_told_apart_by_what_was_done_with_them(
    tiny_set: CondensedSet, tmp_path: Path, one: list[Any], other: list[Any], names: tuple[str, ...]
) -> None:
    said = []
    for history in (one, other):
        replace(tiny_set, history=tuple(history)).save(tmp_path / "condensed.safetensors")
        said.append(RunFiles(tmp_path).settings())
    assert ways_of(said)[0] == names


@pytest.mark.parametrize(
    ("asked", "done", "seconds", "minutes", "alone"),
    [
        (4.0, 30, 240.5, "4", "4"),
        (4.0, 33, 245.0, "4", "4"),
        (40.0, 90, 2403.0, "40", "40"),
        (0.01, 60, 1400.0, "23", "23"),  # written as it stood
        (4.0, 100, 240.5, None, None),
        (None, 30, 240.5, None, "4"),
    ],
)
def test_a_time_budget_tells_runs_apart_that_it_has_ended(
    tiny_set: CondensedSet,
    tmp_path: Path,
    asked: float | None,
    done: int,
    seconds: float,
    minutes: str | None,
    alone: str | None,
) -> None:
    how = {"episodes": 100, "episodes_done": done, "seconds": seconds}
    replace(tiny_set, config=how).save(tmp_path / "condensed.safetensors")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"method": "dm", "minutes": asked}))
    assert RunFiles(tmp_path).settings().get("minutes") == minutes
    (tmp_path / "config.yaml").unlink()
    assert RunFiles(tmp_path).settings().get("minutes") == alone


@pytest.mark.parametrize(
    ("configs", "names", "ways"),
    [
        ([{"lr": 1, "seed": 1}, {"lr": 2, "more": True}, {"lr": 2, "more": True}], ("lr",), [("1",), ("2",), ("2",)]),
        (
            [{"method": "idc", "factor": 2, "inner": 100}, {"method": "dm", "factor": 1}],
            ("method",),
            [("idc",), ("dm",)],
        ),
        ([{"data": "train", "checksum": "a"}, {"data": "train", "checksum": "b"}], ("checksum",), [("a",), ("b",)]),
        ([{"data": "imgs/", "checksum": "a"}, {"data": "imgs", "checksum": "a"}], (), [(), ()]),
        ([{"data": "a", "checksum": None}, {"data": "b", "checksum": None}], ("data",), [("a",), ("b",)]),
        ([{"lr": 1, "method": "a"}, {"lr": 2, "method": "b"}], ("method",), [("a",), ("b",)]),
        ([{"ipc": 1, "size": None}, {"ipc": 1}], (), [(), ()]),
        ([{"m": "a", "lr": 1}, {"m": "a", "lr": 2}, {"m": "b"}], ("m", "lr"), [("a", "1"), ("a", "2"), ("b", "")]),
    ],
)
def test_runs_are_told_apart_by_as_few_settings_as_do(
    configs: list[dict[str, Any]], names: tuple[str, ...], ways: list[tuple[str, ...]]
) -> None:
    assert ways_of(configs) == (names, ways)


def test_runs_without_an_evaluation_have_losses_and_the_other_way_round(runs: list[Path], tmp_path: Path) -> None:
    losses = [(folder / "metrics.jsonl").read_text() for folder in runs]
    for folder in runs:
        (folder / "metrics.jsonl").unlink()
    with Image.open(compare(*runs, out=tmp_path)[1]) as picture:
        assert picture.size[0] < 1000  # one panel
    for folder, text in zip(runs, losses, strict=True):
        (folder / "metrics.jsonl").write_text(text)
        (folder / "evaluation-condensed-idc.json").unlink()
    page, drawn = compare(*runs[:4], out=tmp_path)
    assert "| idc |" not in page.read_text()
    with Image.open(drawn) as picture:
        assert picture.size[0] < 1000
    for folder in runs:
        (folder / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match=r"^compare: needs an evaluation or a loss, got none in any run$"):
        compare(*runs, out=tmp_path)
    with pytest.raises(ValueError, match=r"^compare: needs the folders of at least two runs, got 1$"):
        compare(runs[0])


def test_the_command_takes_several_folders(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], fails: Callable[..., str]
) -> None:
    assert command(["report", *map(str, runs), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / f"out/comparison.{end}") for end in ("md", "png")]
    assert command(["report", str(runs[0])]) == 0
    assert fails("report", str(runs[0]), str(tmp_path / "nothing")) == (
        f"yoco: report: must be the folder of a run, got {tmp_path / 'nothing'}\n"
    )
    assert "folder of a run" in fails("report")
