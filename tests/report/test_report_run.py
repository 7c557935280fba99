"""Reports of run folders: whole, unfinished, damaged and absent ones; curves and tables."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from yoco.condensed import CondensedSet
from yoco.report import report, table
from yoco.report.plots import curves, duration, series, smooth, spent
from yoco.report.reading import RunFiles
from yoco.report.tables import markdown, spread

ROWS: list[dict[str, Any]] = [{"episode": k, "loss": 50 / k, "seconds": 1.5 * k} for k in range(1, 61)]
MEASURED: list[dict[str, Any]] = [{"episode": 60, "accuracy": 81.2, "seconds": 95.0}]


def result(**changes: Any) -> dict[str, Any]:
    row = {"name": "condensed", "network": "convnet", "images": 4000, "epochs": 250}
    row |= {"last": [81.0, 82.0, 84.0], "best": [82.5, 82.5, 84.5]}
    other = {**row, "name": "random", "last": [70.25], "best": [71.0]}
    return {"set": "a set", "protocol": "idc", "epochs": 250, "results": [row, other], "seconds": 3.0, **changes}


@pytest.fixture
def run(tiny_set: CondensedSet, tmp_path: Path) -> Path:
    """The folder of a whole run."""
    folder = tmp_path / "run"
    folder.mkdir()
    tiny_set.save(folder / "condensed.safetensors")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS + MEASURED))
    (folder / "config.yaml").write_text(yaml.safe_dump({"method": "idc", "ipc": 3}))
    (folder / "evaluation-condensed-idc.json").write_text(json.dumps(result()))
    return folder


def test_a_whole_run_gives_two_pictures_and_a_page(run: Path) -> None:
    written = report(run)
    assert written == [run / "images.png", run / "curves.png", run / "report.md"]
    for picture in written[:2]:
        with Image.open(picture) as image:
            image.load()
            assert image.format == "PNG"
    text = written[2].read_text()
    for words in (
        "# cut on digits, 3 images per class, factor 2",
        "| classes | 3: 0, 1, 2 |",
        "| training images | 36 of 1x4x4, each enlarged to 8x8 (factor 2: 4 cells in the room of one image) |",
        "| order in a class | condensed |",
        "| condensed | convnet | idc | 4,000 | 250 | 82.33 ± 1.53 | 83.17 ± 1.15 |",
        "| random | convnet | idc | 4,000 | 250 | 70.25 | 71.00 |",
        "](images.png)",
        "](curves.png)",
        "60 episodes, 1 min 35 s.",
        "| `ipc` | `3` |",
    ):
        assert words in text, words
    assert "None" not in text


def test_the_report_can_go_elsewhere(run: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert report(str(run), str(tmp_path / "a/b")) == [
        tmp_path / "a/b" / name for name in ("images.png", "curves.png", "report.md")
    ]
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_second_report_is_the_same(run: Path) -> None:
    first = {path: path.read_bytes() for path in report(run)}
    assert {path: path.read_bytes() for path in report(run)} == first


def test_a_run_under_way_shows_what_is_there(run: Path) -> None:
    (run / "condensed.safetensors").unlink()
    assert report(run) == [run / "curves.png", run / "report.md"]
    text = (run / "report.md").read_text()
    assert text.startswith("# run\n\nThere is no condensed set yet.")
    assert "images.png" not in text


def test_a_set_alone_is_enough(run: Path) -> None:
    for name in ("metrics.jsonl", "config.yaml", "evaluation-condensed-idc.json"):
        (run / name).unlink()
    assert report(run) == [run / "images.png", run / "report.md"]
    assert "curves.png" not in (run / "report.md").read_text()


def test_metrics_without_a_number_to_draw_give_no_curves(run: Path) -> None:
    for text in ("", '{"episode": 1, "loss": NaN}\n'):
        (run / "metrics.jsonl").write_text(text)
        (run / "curves.png").unlink(missing_ok=True)
        assert report(run) == [run / "images.png", run / "report.md"]


def test_a_line_cut_short_by_a_kill_is_left_out(run: Path) -> None:
    whole = (run / "metrics.jsonl").read_bytes()
    for rest in (b'{"episode": 61, "lo', b"6", b'{"loss": 1}', b"\xff\xfe"):
        (run / "metrics.jsonl").write_bytes(whole + rest)
        assert RunFiles(run).metrics() == ROWS + MEASURED


@pytest.mark.parametrize(
    "line", ['{"episode": 6', "[]", '{"loss": 1.0}', '{"episode": "six"}', "", '{"episode": true}']
)
def test_a_damaged_line_among_others_is_an_error(run: Path, line: str) -> None:
    (run / "metrics.jsonl").write_text(f'{{"episode": 1}}\n{line}\n{{"episode": 3}}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl line 2 must be a row with an episode, got") as caught:
        report(run)
    assert "\n" not in str(caught.value)
    assert not (run / "report.md").exists()


def spoil(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


RESULT = "evaluation-condensed-idc.json"
BAD = [
    (spoil(RESULT, "{"), "evaluation-condensed-idc.json is damaged"),
    (spoil(RESULT, "[]"), "must be the result of an evaluation"),
    (spoil(RESULT, '{"results": [{"name": "a"}]}'), "must be the result of an evaluation"),
    (spoil(RESULT, json.dumps(result()).replace("[70.25]", "[]")), "must be the result of an evaluation"),
    (spoil("config.yaml", "a: [1"), "config.yaml is damaged"),
    (spoil("config.yaml", "just words"), "config.yaml must be a mapping, got str"),
    (spoil("condensed.safetensors", "nothing"), "condensed.safetensors is damaged or not a safetensors file"),
]


@pytest.mark.parametrize(("damage", "message"), BAD)
def test_damaged_files_are_one_line(run: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(run)
    with pytest.raises(ValueError, match=message) as caught:
        report(run)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_run_is_one_line(tmp_path: Path) -> None:
    rule = "a run has condensed.safetensors or metrics.jsonl, got neither in"
    with pytest.raises(ValueError, match=f"^report: {rule} {tmp_path}$"):
        report(tmp_path)
    with pytest.raises(ValueError, match=f"^report: must be the folder of a run, got {tmp_path / 'none'}$"):
        report(tmp_path / "none")
    assert [*tmp_path.iterdir()] == []


def test_an_evaluation_of_another_set_is_told_apart(run: Path, tiny_set: CondensedSet) -> None:
    place, small = run / "evaluation-condensed-idc.json", tiny_set.subset(ipc=1)
    rows = {}
    for name, checksum in {"own": tiny_set.checksum, "other": small.checksum}.items():
        place.write_text(json.dumps(result(set_checksum=checksum)))
        report(run)
        rows[name] = (run / "report.md").read_text()
    assert "| condensed | convnet |" in rows["own"]
    assert "Of another set" not in rows["own"]
    assert "| condensed-idc | condensed | convnet |" in rows["other"]
    assert "Of another set than the one shown, or of an earlier state of it: condensed-idc." in rows["other"]


def test_what_is_unusual_about_an_evaluation_is_said(run: Path) -> None:
    (run / RESULT).write_text(json.dumps(result(weighted=True, same_data=False)))
    report(run)
    text = (run / "report.md").read_text()
    assert "| condensed-idc | condensed | convnet | idc, weighted | 4,000 |" in text
    assert " On other data than the set was made from: condensed-idc.\n" in text


@pytest.mark.parametrize(("images", "share"), [(9, "100"), (900, "1"), (901, "0.999")])
def test_shares_of_the_room_are_plain_numbers(run: Path, tiny_set: CondensedSet, images: int, share: str) -> None:
    replace(tiny_set, source={"images": images}).save(run / "condensed.safetensors")
    report(run)
    assert f"the room of {share} % of the {images} images" in (run / "report.md").read_text()


def test_a_table_of_several_results_says_which(run: Path, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps(result(protocol="dsa")))
    lines = table(run, tmp_path / "other.json").splitlines()
    assert lines[0] == "| evaluation | trained on | network | protocol | images | epochs | last | best |"
    assert lines[1] == "| --- | --- | --- | --- | ---: | ---: | ---: | ---: |"
    assert lines[2].startswith("| run/condensed-idc | condensed | convnet | idc | 4,000 |")
    assert lines[5].startswith(f"| {tmp_path / 'other.json'} | random | convnet | dsa |")
    assert len(lines) == 6
    assert table(tmp_path / "other.json").startswith("| trained on |")


def test_folders_of_one_name_are_told_apart(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / run.name
    copytree(run, other)
    lines = table(run, other).splitlines()
    assert len(lines) == 2 + 2 * (len(table(run).splitlines()) - 2)
    for place in (run, other):
        assert any(line.startswith(f"| {place.as_posix()}/condensed-idc |") for line in lines)


def test_a_table_knows_the_home_folder(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(run.parent))
    assert table(f"~/{run.name}") == table(run)
    assert table(f"~/{run.name}/{RESULT}") == table(run / RESULT)


def test_a_table_of_nothing_is_one_line(run: Path, tmp_path: Path) -> None:
    (run / RESULT).unlink()
    with pytest.raises(ValueError, match=r"^table: needs the result of an evaluation, got none in"):
        table(run)
    with pytest.raises(FileNotFoundError, match=r"^report: no file at"):
        table(tmp_path / "none.json")


def test_markdown_escapes_what_would_end_a_cell() -> None:
    assert markdown(("a", "b"), [("x|y", "1\n2")], numbers=1) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 2 |\n"


def test_spread_is_that_of_a_sample() -> None:
    values = [80.0, 81.5, 85.25]
    assert spread(values) == f"{sum(values) / 3:.2f} ± {statistics.stdev(values):.2f}"
    assert spread([80.0]) == "80.00"


def test_smooth_is_a_centred_mean_that_invents_nothing() -> None:
    values = np.random.default_rng(0).random(20)
    expected = [np.mean([values[j] for j in range(20) if abs(j - i) <= 2]) for i in range(20)]
    np.testing.assert_allclose(smooth(values, 5), expected)


def test_series_takes_finite_numbers_alone() -> None:
    rows: list[dict[str, Any]] = [
        {"episode": 1, "loss": 2.0},
        {"episode": 2},
        {"episode": 3, "loss": float("nan")},
        {"episode": 4, "loss": 1},
    ]
    episodes, values = series(rows, "loss")
    assert (episodes.tolist(), values.tolist()) == ([1, 4], [2.0, 1.0])


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3.25, "3.2 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599.7, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_durations_are_readable(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_spent_counts_the_last_start_too() -> None:
    assert spent([{"episode": 1}]) == "1 episode"
    assert spent([{"episode": 1200, "seconds": 100}, {"episode": 1100, "seconds": 90}]) == "1,200 episodes, 1 min 40 s"


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], MEASURED, ROWS[:5] + MEASURED, [{"episode": 0, "loss": -1.0}]])
def test_curves_of_few_and_of_many(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    curves(rows, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        panels = any("loss" in row for row in rows) + any("accuracy" in row for row in rows)
        assert image.width == 768 * panels
        assert len(np.unique(np.asarray(image.convert("L")))) > 10


def test_curves_of_nothing_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^curves: a row must have a finite loss or an accuracy, got none$"):
        curves([{"episode": 1, "loss": float("inf")}], tmp_path / "curves.png")
    assert [*tmp_path.iterdir()] == []


def test_drawing_leaves_the_state_of_matplotlib_alone(run: Path) -> None:
    code = f"""
import sys
from yoco.report import report
assert 'matplotlib' not in sys.modules
report({str(run)!r})
assert 'matplotlib.pyplot' not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
