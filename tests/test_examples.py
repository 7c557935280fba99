"""The README's Python runs as it stands, its tables are those of the result files, and experiments run at toy size."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from runpy import run_path
from typing import Any

import pytest
import torch

import yoco
from yoco import sparsify
from yoco.cli import run
from yoco.condense import METHODS
from yoco.prune import ALL_SCORES, RULES, Selection
from yoco.sparsify import SOLVERS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def python(*argv: str, cwd: Path) -> str:
    strict = ["-W", "error", "-W", "ignore:bf16:UserWarning"]  # the latter of processors that are slow in it
    how: dict[str, Any] = {"cwd": cwd, "env": {**os.environ, "OMP_NUM_THREADS": "1"}, "stderr": subprocess.STDOUT}
    return subprocess.check_output([sys.executable, *strict, *argv], text=True, **how)


def example(name: str, longest: int) -> str:
    """The Python below a mark of the README, of at most so many lines."""
    (code,) = re.findall(rf"<!-- {name} -->\n```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= longest
    return str(code)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where one works: its modules can be imported, as they can by `python -m yoco`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    code = example("example", 10)
    for long, short in (
        ("minutes=1", "episodes=2, pretrain=1, network='convnet:width=16'"),
        ("epochs=100", "epochs=4"),
        ("ipc=2)", "ipc=2, epochs=3, top=1)"),
    ):
        code = code.replace(long, short)
    (tmp_path / "example.py").write_text(code)
    said = python("example.py", cwd=tmp_path)
    assert "torch.Size([16, 1, 8, 8])" in said
    assert (tmp_path / "runs/readme/condensed.safetensors").is_file()


@pytest.mark.parametrize(
    ("name", "longest", "said"),
    [
        ("arrays", 5, "(100, 8, 8)"),
        ("recorder", 20, "lbpe"),
        ("watch", 10, "curves.png"),
        ("rule", 20, "Selection(10 of 50 "),
        ("weights", 10, "its images had weights"),
        ("tasks", 10, "digits, protocol idc, 1 seed"),
        ("sparsify", 10, "| total |"),
    ],
)
def test_the_short_examples_of_the_readme_run(
    name: str, longest: int, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = example(f"example:{name}", longest)
    for long, short in (
        ("=40", "=4"),
        ("% 20", "% 2"),
        ("epochs=20", "epochs=2"),
        ("1, episodes=20)", "1, episodes=2)"),
    ):
        code = code.replace(long, short)
    (here / "example.py").write_text(code)
    run_path("example.py", run_name="__main__")
    assert said in capsys.readouterr().out


def test_the_score_of_the_readme_runs_by_its_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "my_score.py").write_text(
        example("example:score", 20) + "\n\ndef untyped(dynamics, *, epochs=3):\n    return dynamics.error[0]\n"
    )
    options = ["--network", "mlp:width=4", "--epochs", "4", "--n", "20"]
    words = ["prune", "--data", "digits", "--rule", "hard", *options]
    for name in ("late", "untyped"):
        assert run([*words, "--score", f"my_score:{name}", "--out", f"{name}.npz"]) == 0
        assert f"score my_score:{name}" in capsys.readouterr().out
        assert (here / f"{name}.npz").is_file()


def test_the_network_and_the_protocol_of_the_readme_judge_a_set(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "my_study.py").write_text(example("example:study", 30))
    yoco.condense("digits", "random", ipc=1, progress=False).save(here / "set.safetensors")
    words = ["--protocol", "my_study:mine", "--network", "my_study:Small:width=32", "--epochs", "2"]
    assert run(["evaluate", "set.safetensors", *words]) == 0
    assert "my_study:Small:width=32" in capsys.readouterr().out
    assert (here / "evaluation-set-my_study-mine.json").is_file()


def test_the_method_of_the_readme_runs_by_its_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "my_paper.py").write_text(example("example:method", 25))
    options = ["--data", "digits", "--ipc", "1", "--real-batch", "32", "--out", "run"]
    assert run(["condense", "--method", "my_paper:MeanPixels", *options]) == 0
    assert "meanpixels on digits" in capsys.readouterr().out
    config = yoco.load("run/condensed.safetensors").config
    assert (config["lr"], config["real_batch"], config["episodes_done"]) == (0.1, 32, 50)
    said = repr(yoco.condense.check("my_paper:MeanPixels"))
    assert said.startswith("CondensedSet(meanpixels on digits: 10 classes, 1 images per class")


def test_the_table_of_methods_names_them_all() -> None:
    (table,) = re.findall(r"## Methods\n\n(.*?)\n\n", README, flags=re.DOTALL)
    first = [row.split("|")[1] for row in table.splitlines()[2:]]
    assert sorted(name for cell in first for name in re.findall(r"`([\w-]+)`", cell)) == sorted(METHODS)


@pytest.mark.parametrize(
    ("pattern", "known"),
    [
        (r"by (\d+) rules", RULES),
        (r"--rule` \((\d+), listed", RULES),
        (r"--score` \((\d+), listed", ALL_SCORES),
        (r"--solver` \((\d+)\)", SOLVERS),
        (r"--at-init` \((\d+)\)", sparsify.METHODS),
    ],
)
def test_the_readme_counts_right(pattern: str, known: Collection[str]) -> None:
    assert re.findall(pattern, README) == [str(len(known))]


def test_the_readme_names_the_rules_that_rank_no_set(
    tiny_set: yoco.CondensedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranked = Selection(indices=torch.arange(len(tiny_set)), checksum="")
    monkeypatch.setattr("yoco.prune.choosing.select", lambda data, **how: ranked)
    monkeypatch.setattr("yoco.prune.choosing.kept_set", lambda step, data, found: data)
    refused = []
    for rule in RULES:
        try:
            yoco.prune.rank(tiny_set, rule, quota="equal")
        except ValueError:
            refused.append(rule)
    (words,) = re.findall(r"any other but (.*?), whose", README, flags=re.DOTALL)
    assert sorted(re.findall(r"`([\w-]+)`", words)) == sorted(refused)


def test_the_tables_of_the_readme_are_up_to_date() -> None:
    python("experiments/readme.py", "--check", cwd=ROOT)


def test_every_result_says_what_made_it() -> None:
    paths = sorted((ROOT / "experiments/results").glob("*.json"))
    assert paths
    for path in paths:
        content = json.loads(path.read_text())
        assert {"command", "commit", "seconds", "cores", "seeds", "protocol", "checksum"} <= set(content), path.name


@pytest.mark.slow
def test_experiments_run_at_toy_size(tmp_path: Path) -> None:
    def run(name: str, *options: str) -> dict[str, Any]:
        python(f"experiments/{name}.py", *options, "--results", str(tmp_path), cwd=ROOT)
        found: dict[str, Any] = json.loads((tmp_path / f"{name}.json").read_text())
        return found

    idc, trials = tmp_path / "idc", ["--out", str(tmp_path / "trials")]
    steps = ["--data", "digits", "--ipc", "2", "--steps", "0", "2", "--out", str(idc), "--evaluate-bf16", "0"]
    steps += ["--timed", "float32"]  # some processors take many times as long in bfloat16
    assert [row["steps"] for row in run("idc_fashion", *steps, "--factor", "1", "--epochs", "4")["rows"]] == [0, 2]
    toy = ["--set", str(idc / "at-2.safetensors"), *trials, "--runs", "1", "--seeds", "1", "--epochs", "2"]
    toy += ["--score-epochs", "100"]
    plain = ["--bf16", "0"]
    python("experiments/table1_digits.py", *toy, "--ipc", "1", "--ablation", "1", "--part", "0", "2", cwd=ROOT)
    assert not (tmp_path / "table1_digits.json").exists()
    for name in ("table1_digits", "table1_fashion"):
        found = run(name, *toy, "--ipc", "1", "--ablation", "1", *(plain if name == "table1_fashion" else ()))
        assert {row["way"] for row in found["rows"]} == {*found["rules"], *found["ablation"].values()}
    found = run("resize_curve", *toy, "--ipc", "1", "--ways", "yoco", "random")
    assert [(row["way"], row["ipc"]) for row in found["rows"]] == [("yoco", 1), ("random", 1), ("whole", 2)]
    assert (tmp_path / "resize_curve.png").stat().st_size > 10_000
    found = run("cross_architecture", *toy, "--ipc", "1", "--networks", "mlp", "lenet")
    assert len(found["rows"]) == 6
    ways = ["--ways", "yoco", "kernel", "kernel-alone"]
    found = run("beat_yoco", *toy, *plain, *ways, "--ipc", "1", "2", "--runs", "2")
    assert set(found["gain"]) == {"kernel", "kernel-alone"}
    road = ["--data", "digits", "--ipc", "1", "--epochs", "2", "--held", "300", *plain, "--out", str(tmp_path / "road")]
    assert [row["steps"] for row in run("road", *road, "--tries", "mixed start")["rows"]] == [0]
    small = ["--data", "digits", "--steps", "4", "--keep", "0.1", "--network", "mlp:width=8", "--seeds", "1"]
    assert len(run("coreset_fashion", *small, "--out", str(tmp_path / "coresets"))["rows"]) == 13
    sparse = ["--data", "digits", "--dense-epochs", "1", *plain, "--out", str(tmp_path / "sparse"), "--seeds", "1"]
    found = run("lobs_table", *sparse, "--networks", "lenet-300-100", "--steps", "3", "--images", "50")
    assert len(found["rows"]) == 2 * len(found["ways"])
    found = run("npb_table", *sparse, "--networks", "convnet:width=4", "--sparsities", "0.5")
    assert len(found["rows"]) == len(found["ways"])
    sources = ["--set", str(idc / "at-2.safetensors"), "--networks", "lenet", "--sparsities", "0.5", "--steps", "2"]
    found = run("condensed_calibration", *sparse, *sources)
    assert (len(found["rows"]), found["epochs"]) == (5, {"lenet": 1})
    assert (tmp_path / "condensed_calibration.png").stat().st_size > 10_000
    speed = ["--layers", "12x5", "--samples", "40", "--out", str(tmp_path / "speed")]
    assert {row["solver"] for row in run("solver_speed", *speed)["rows"]} >= {"literal", "exact", "lobs"}
    bench = ["--n", "200", "--dim", "8", "--rules", "random", "herding", "--out", str(tmp_path / "bench")]
    assert run("prune_benchmark", *bench)["rows"]


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    """Runs a comparison of methods at toy size; its result, or None where it wrote none."""

    def bench(name: str, *options: str) -> dict[str, Any] | None:
        folders = ["--out", str(tmp_path / name), "--results", str(tmp_path)]
        python(f"experiments/{name}.py", *folders, "--epochs", "2", "--episodes", "2", *options, cwd=ROOT)
        path = tmp_path / f"{name}.json"
        return dict(json.loads(path.read_text())) if path.is_file() else None

    return bench


def table_of(name: str, content: dict[str, Any]) -> list[str]:
    """The lines that the README has of a result."""
    code = f"import json, sys, readme; print('\\n'.join(readme.TABLES[{name!r}](json.load(sys.stdin))))"
    said = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(content),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "experiments",
    )
    return said.stdout.splitlines()


@pytest.mark.slow
def test_methods_on_digits_at_toy_size(bench: Any, tmp_path: Path) -> None:
    toy = ["--methods", "random", "rded", "--ipc", "1", "2", "--seeds", "1", "--full-epochs", "1"]
    found = bench("methods_digits", *toy)
    cells = [(row["method"], row["ipc"], row["images"], row["labels"], len(row["last"])) for row in found["rows"]]
    assert cells == [
        (method, ipc, ipc, labels, 1) for ipc in (1, 2) for method, labels in (("random", "hard"), ("rded", "teacher"))
    ]
    assert [row["bytes"] for row in found["rows"]] == [10 * n for n in (264, 304, 528, 608)]
    assert (found["failed"], len(found["full"][0]["last"])) == ([], 1)
    table = table_of("methods_digits", found)
    assert [row.count("|") for row in table[:5]] == [7] * 5
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "methods_digits").glob("*.json")}
    (tmp_path / "methods_digits.json").unlink()
    assert bench("methods_digits", *toy, "--part", "1", "1")["rows"] == found["rows"]
    assert kept == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "methods_digits").glob("*.json")}


@pytest.mark.slow
def test_resized_sets_at_toy_size(bench: Any, tmp_path: Path) -> None:
    nested = "readout:nested=true,pool=20,episodes=1000"
    toy = ["--methods", "idc", "mdc", nested, "--ipc", "1", "--full", "2", "--seeds", "1", "--score-epochs", "100"]
    found = bench("resize_sets", *toy, "--sets", str(tmp_path / "sets"))
    ways = {"idc": ("made at its size", "random-balanced", "yoco", "kernel")}
    ways |= {"mdc": ("first", "yoco", "yoco inside twice its prefix"), nested: ("first",)}
    cells = [(row["set"], row["way"], row["ipc"]) for row in found["rows"]]
    assert cells == [(n, way, 1 + (way == "whole")) for n in ways for way in (*ways[n], "whole")]
    assert (tmp_path / "resize_sets.png").stat().st_size > 10_000
    assert [row.count("|") for row in table_of("resize_sets", found)[:13]] == [5] * 13
    made = {path.stem.rsplit("-", 1)[0] for path in (tmp_path / "sets").glob("*.safetensors")}
    assert made == {"idc-1-0", "idc-2-0", "mdc-2-0", f"{nested.replace(':', '-')}-2-0"}


@pytest.mark.slow
def test_methods_in_the_same_minutes_at_toy_size(bench: Any, tmp_path: Path) -> None:
    toy = ["--data", "digits", "--methods", "random", "rded", "--ipc", "2", "--seeds", "1"]
    toy += ["--networks", "rded=convnet:width=8", "--stops", "1e-6", "5", "6", "--threads", "1"]
    assert bench("methods_fashion", *toy, "--judge", "0") is None
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "methods_fashion").glob("rded-*.safetensors")}
    assert [yoco.load(path).config["network"] for path in made] == ["convnet:width=8"] * 2
    found = bench("methods_fashion", *toy)
    assert made == {path: path.stat().st_mtime_ns for path in made}
    assert (found["changed"]["rded"]["network"], len(found["judged_on"])) == ("convnet:width=8", 1)
    cells = [(row["method"], row["ipc"], row["stop"], row["steps"][0]) for row in found["rows"]]
    assert cells == [("random", 2, 1e-6, 0), ("rded", 2, 1e-6, 0), ("rded", 2, 5, 2)]
    first, last = (row["minutes"][0] for row in found["rows"] if row["method"] == "rded")
    assert 0 < first < last
    assert (tmp_path / "methods_fashion.png").stat().st_size > 10_000
    table = table_of("methods_fashion", found)
    assert [row.split("|")[2].strip() for row in table[2:4]] == ["-"] * 2
    assert all(row.split("|")[3] == row.split("|")[4] for row in table[2:4])
