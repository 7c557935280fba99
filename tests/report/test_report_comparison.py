"""Several runs beside each other."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
import yaml
from PIL import Image

from yoco.cli import run as command
from yoco.condensed import CondensedSet
from yoco.report import compare
from yoco.report.comparison import ways_of

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
    assert lines[2] == "| method | trained on | network | protocol | epochs | sets | last | best |"
    dm = f"{fmean(means):.2f} ± {stdev(means):.2f}"
    assert lines[4] == f"| dm | condensed | convnet | idc | 250 | 3 | {dm} | {dm} |"
    assert lines[5] == "| idc | condensed | convnet | idc | 250 | 2 | 81.00 ± 1.41 | 81.00 ± 1.41 |"
    assert lines[6] == ""
    with Image.open(written[1]) as picture:
        assert picture.size[0] > picture.size[1] > 400


def test_runs_differ_in_what_is_asked_of_them() -> None:
    configs = [{"lr": 1.0, "seed": 1, "minutes": 3}, {"lr": 2.0, "seed": 2, "more": True}, {"lr": 2.0, "more": True}]
    assert ways_of(configs) == (("lr", "more"), [("1.0", ""), ("2.0", "True"), ("2.0", "True")])


def test_runs_without_an_evaluation_have_losses_and_the_other_way_round(runs: list[Path], tmp_path: Path) -> None:
    for folder in runs:
        (folder / "evaluation-condensed-idc.json").unlink()
    assert "| idc |" not in compare(*runs[:4], out=tmp_path)[0].read_text()
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
