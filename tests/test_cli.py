"""The command line: help, one-line errors with their exit status, and a run that is killed and goes on."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

import yoco
from yoco.cli import COMMANDS, run
from yoco.condensed import CondensedSet, load
from yoco.prune import ALL_SCORES, RULES, Selection

TOY = [
    "--data",
    "digits",
    "--network",
    "convnet:width=4,depth=2",
    "--network-images",
    "64",
    "--real-batch",
    "8",
    "--pretrain",
    "0",
]


def fails(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line of a command that must exit with 2."""
    assert run(list(argv)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("yoco: ")
    return said


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, yoco, yoco.cli; yoco.cli.run(['--help']);"
        "print([m for m in ('torch', 'numpy', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    began = time.monotonic()
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert said.splitlines()[-1] == "[]"
    assert all(name in said for name in COMMANDS)
    assert time.monotonic() - began < 2  # 0.05 s alone; the bound leaves room for a busy machine


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_of_every_command_shows_defaults(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run([command, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "default:" in said
    assert "usage: yoco " + command in said


def test_help_of_condense_shows_the_options_of_its_method(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["condense", "--data", "cifar10", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--lr-image FLOAT" in said
    assert "(default: 0.005)" in said


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["condens"], "command: unknown name 'condens'; did you mean 'condense'?"),
        (["condense", "--methd", "idc"], "did you mean --method?"),
        (["condense", "--ipc", "ten"], "--ipc: invalid literal for int() with base 10: 'ten'"),
        (["condense", "--method", "idcc"], "method: unknown name 'idcc'; did you mean 'idc'?"),
        (["condense", "--data", "digitz"], "data: unknown name 'digitz'; did you mean 'digits'?"),
        (["condense", "--ipc", "0"], "condense: ipc must be at least 1, got 0"),
        (["condense", "--ipc", "500"], "condense: ipc must be at most the size of the smallest class"),
        (["condense", "--minutes", "0"], "condense: minutes must be above 0, got 0"),
        (["condense", "--start", "mixed"], "start must be one of noise, real, mix, k-means, got 'mixed'"),
        (["condense", "--factor", "9"], "factor must be 1, 2, 3 or 4, got 9"),
        (["condense", "--network", "convnett"], "network: unknown name 'convnett'; did you mean 'convnet'?"),
        (["condense", "--labels", "learned"], "condense: labels must be hard or teacher with idc, got 'learned'"),
        (["condense", "--labels", "teacher", "--teacher-epochs", "0"], "teacher_epochs must be at least 1, got 0"),
        (["condense", "--method", "frepo", "--labels", "soft"], "labels must be hard, teacher or learned with frepo"),
        (["condense", "--method", "rded", "--labels", "learned"], "labels must be hard or teacher with rded"),
        (["condense", "--method", "random", "--episodes", "3"], "random: episodes must be 0"),
        (["prune", "none.safetensors", "--ipc", "1", "--out", "x.npz"], "load: no file at none.safetensors"),
        (["evaluate", "none.safetensors"], "load: no file at none.safetensors"),
        (["evaluate"], "Missing from yoco evaluate: PATH a condensed set"),
    ],
)
def test_mistakes_end_in_one_line(
    argv: list[str], line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert line in fails(capsys, *argv)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["random", "frepo", "rded"])
def test_a_teacher_labels_what_any_method_makes(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--method", method, "--ipc", "1", "--network", "convnet:width=4,depth=2", "--labels", "teacher"]
    words += {"random": ["--teacher-epochs", "1"], "frepo": ["--teacher-epochs", "1", "--episodes", "1"]}.get(
        method, ["--episodes", "1"]
    )
    assert run(["condense", *words, "--out", "r"]) == 0
    made = load("r/condensed.safetensors")
    assert made.soft_labels is not None
    assert Path("r/teacher").is_dir() == (method != "rded")
    assert run(["condense", "--config", "r/config.yaml", "--out", "again"]) == 0
    assert torch.equal(load("again/condensed.safetensors").soft_labels, made.soft_labels)  # type: ignore[arg-type]


@pytest.fixture
def saved(tiny_set: CondensedSet, tmp_path: Path) -> Path:
    path = tmp_path / "set.safetensors"
    tiny_set.save(path)
    return path


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--rule", "yoko", "--ipc", "1"], "unknown name 'yoko'; did you mean 'yoco'?"),
        (["--rule", "random", "--ipc", "9"], "got ipc=9"),
        (["--rule", "random", "--ipc", "0"], "got 0"),
        (["--rule", "random"], "exactly one"),
        (["--rule", "random", "--ipc", "1", "--cells", "2"], "exactly one"),
        (["--rule", "random", "--ipc", "1", "--data", "digits"], "data: give either a condensed set or --data"),
        (["--rule", "herding", "--mode", "repo", "--ipc", "1"], "rule herding: mode must be paper"),
        (["--rule", "easy", "--score", "lpbe", "--ipc", "1"], "score: unknown name 'lpbe'; did you mean 'lbpe'?"),
        (["--rule", "easy", "--score", "entropy", "--top", "3", "--ipc", "1"], "--top"),
        (["--rule", "window", "--centre", "2", "--ipc", "1"], "centre must be"),
        (["--rule", "herding", "--scores", "s.safetensors", "--ipc", "1"], "rule herding: reads no scores"),
        (["--rule", "herding", "--features", "pixel", "--ipc", "1"], "features: must be network, pixels or numbers"),
        (["--rule", "random", "--quota", "given", "--ipc", "1"], "prune: shares go with the quota given"),
        (["--rule", "random", "--keep", "some"], "yoco: prune: --keep must be FLOAT, got 'some'"),
        (["--rule", "random", "--ipc", "1", "--quota", "even"], "yoco: prune: invalid choice 'even' for argument"),
        (["--rule", "random", "--ipc", "1", "--beta", "1"], "yoco: prune: Unrecognized options: --beta, 1"),
        (["--rule", "ccs", "--n", "9", "--drop", "margn"], "score: unknown name 'margn'; did you mean 'margin'?"),
        (["--ipc", "1", "--rule"], "rule: must be a name, or module:Class, got None"),
    ],
)
def test_prune_mistakes(options: list[str], line: str, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = saved.with_name("small.safetensors")
    assert line in fails(capsys, "prune", str(saved), "--out", str(out), *options)
    assert not out.exists()


def test_the_help_lists_every_rule_and_every_score(capsys: pytest.CaptureFixture[str]) -> None:
    for command, names in (("prune", RULES), ("score", ALL_SCORES)):
        with pytest.raises(SystemExit):
            run([command, "--help"])
        said = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
        lines = [line.strip(" │").split("  ")[0] for line in said.splitlines()]
        assert set(names) <= set(lines)
        if command == "prune":
            assert {f"{name:<17}  {row.what}" for name, row in RULES.items()} <= {
                row.strip() for row in said.splitlines()
            }
    with pytest.raises(SystemExit):
        run(["prune", "--rule", "ccs", "--help"])
    assert "--strata" in capsys.readouterr().out


def test_prune_a_data_set_to_an_index_file_and_to_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, small = tmp_path / "kept.npz", tmp_path / "small.safetensors"
    common = ["prune", "--data", "digits", "--rule", "k-center", "--features", "pixels", "--keep", "0.1"]
    assert run([*common, "--out", str(file)]) == 0
    said = capsys.readouterr().out
    assert "| all | 1437 | 144 |" in said or re.search(r"\| all \| \d+ \| \d+ \|", said)
    chosen = Selection.load(file)
    assert "the set:" not in said
    assert run([*common, "--quota", "equal", "--out", str(small)]) == 0
    made = load(small)
    assert f"\nthe set: {made.storage}\nwritten to" in capsys.readouterr().out
    assert (made.method, made.factor, len(made)) == ("real", 1, len(chosen))
    assert max(made.counts) - min(made.counts) <= 1


def test_score_writes_csv_npz_and_what_prune_reads(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--network", "mlp:width=4", "--epochs", "2", "--device", "cpu"]
    assert run(["score", str(saved), "--score", "aum", *quick, "--out", str(saved.with_name("new") / "s.csv")]) == 0
    assert len((saved.with_name("new") / "s.csv").read_bytes().splitlines()) == 1 + len(load(saved))
    for suffix in ("csv", "npz", "safetensors"):
        assert run(["score", str(saved), "--score", "aum", *quick, "--out", str(saved.with_name(f"s.{suffix}"))]) == 0
    assert saved.with_name("s.csv").read_text().startswith("index,class,score,rank\n")
    capsys.readouterr()
    small, scores = str(saved.with_name("small.safetensors")), str(saved.with_name("s.safetensors"))
    assert run(["prune", str(saved), "--rule", "aum", "--scores", scores, "--n", "5", "--out", small]) == 0
    assert "score aum" in capsys.readouterr().out
    assert "ranks by lbpe, got scores of aum" in fails(
        capsys, "prune", str(saved), "--scores", scores, "--n", "5", "--out", small
    )
    assert "score: out must end in" in fails(capsys, "score", str(saved), "--out", "s.txt")
    assert "prune: out must end in" in fails(capsys, "prune", str(saved), "--n", "5", "--out", "s.txt")


def test_weights_that_a_set_cannot_hold_are_said(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["prune", str(saved), "--rule", "craig", "--n", "5", "--network", "mlp:width=4", "--epochs", "2"]
    for name, lost in (("k.safetensors", True), ("k.npz", False)):
        assert run([*common, "--device", "cpu", "--out", str(saved.with_name(name))]) == 0
        assert ("a set holds no weights: write an index file" in capsys.readouterr().out) == lost
    assert Selection.load(saved.with_name("k.npz")).weights.sum() == len(load(saved))


def test_a_failed_command_writes_over_nothing(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = saved.read_bytes()
    fails(capsys, "prune", str(saved), "--out", str(saved), "--rule", "random", "--ipc", "50")
    assert saved.read_bytes() == before


def test_a_damaged_set_is_named(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved.write_bytes(saved.read_bytes()[:-7])
    assert "damaged" in fails(capsys, "prune", str(saved), "--out", "x.npz", "--rule", "random", "--ipc", "1")


def test_condense_writes_its_folder_and_the_config_reruns_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    assert run(["condense", *TOY, "--ipc", "1", "--episodes", "2", "--lr-image", "0.005", "--out", str(first)]) == 0
    names = {path.name for path in first.iterdir()}
    assert names == {"condensed.safetensors", "config.yaml", "metrics.jsonl", "images.png"}
    said = capsys.readouterr().out
    assert "1 images per class" in said
    assert load(first / "condensed.safetensors").storage in said
    assert yaml.safe_load((first / "config.yaml").read_text())["lr_image"] == 0.005
    assert run(["condense", "--config", str(first / "config.yaml"), "--out", str(second)]) == 0
    one, two = (yoco.load(folder / "condensed.safetensors") for folder in (first, second))
    assert torch.equal(one.cells, two.cells)


def test_the_command_line_wins_over_the_config(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("data: digits\nipc: 3\nepisodes: 0\nfactor: 1\n")
    assert run(["condense", "--config", str(path), "--ipc", "2", "--out", str(tmp_path / "run")]) == 0
    assert set(yoco.load(tmp_path / "run" / "condensed.safetensors").counts) == {2}


def test_a_typo_in_the_config_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("epizodes: 3\n")
    assert "did you mean --episodes?" in fails(capsys, "condense", "--config", str(path))


def test_another_command_in_the_same_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["condense", *TOY, "--episodes", "0", "--out", str(tmp_path / "run")]
    assert run([*argv, "--ipc", "1"]) == 0
    before = (tmp_path / "run" / "condensed.safetensors").read_bytes()
    capsys.readouterr()
    assert "holds a run with ipc=1, got 2; choose another folder" in fails(capsys, *argv, "--ipc", "2")
    assert (tmp_path / "run" / "condensed.safetensors").read_bytes() == before


def test_a_file_where_the_folder_should_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").write_text("here")
    fails(capsys, "condense", *TOY, "--ipc", "1", "--episodes", "1", "--out", str(tmp_path / "run"))
    assert (tmp_path / "run").read_text() == "here"


def test_a_full_disk_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    said = fails(capsys, "condense", *TOY, "--ipc", "1", "--episodes", "1", "--out", str(tmp_path / "run"))
    assert "No space left on device" in said


def interrupted(folder: Path, number: int) -> tuple[int, str]:
    """Exit status and stderr of a run in a process of its own that gets this signal once it has a checkpoint."""
    argv = ["condense", *TOY, "--ipc", "1", "--inner", "5", "--episodes", "40", "--out", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import yoco.condense.loop as l; l.CHECKPOINT_SECONDS = 0\nfrom yoco.cli import main\nmain({argv})",
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    deadline = time.monotonic() + 60
    while not (folder / "checkpoint.pt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    return process.returncode, said


def test_killed_and_interrupted_runs_end_in_the_same_bits(tmp_path: Path) -> None:
    argv = ["condense", *TOY, "--ipc", "1", "--inner", "5", "--episodes", "40"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert run([*argv, "--out", str(tmp_path / "whole")]) == 0
    for name, number, status in (("killed", signal.SIGKILL, -signal.SIGKILL), ("asked", signal.SIGINT, 130)):
        found, said = interrupted(tmp_path / name, number)
        assert found == status
        assert status != 130 or "the same command goes on" in said.splitlines()[-1]
        assert not (tmp_path / name / "condensed.safetensors").exists()
        assert run([*argv, "--out", str(tmp_path / name)]) == 0
        one, two = (yoco.load(tmp_path / folder / "condensed.safetensors") for folder in ("whole", name))
        assert torch.equal(one.cells, two.cells)
    torch.set_num_threads(threads)


def test_experts_are_recorded_and_matched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = ["--data", "digits", "--network", "convnet:width=4,depth=2"]
    recording = ["experts", *network, "--count", "2", "--epochs", "3", "--out", str(tmp_path / "experts")]
    assert run(recording) == 0
    assert "2 experts of 3 epochs" in capsys.readouterr().out
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "experts").iterdir()}
    assert run(recording) == 0
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "experts").iterdir()} == before
    few = ["--episodes", "2", "--count", "2", "--expert-epochs", "3", "--max-start", "2", "--student-steps", "2"]
    matching = ["condense", *network, "--method", "mtt", "--ipc", "1", *few, "--experts", str(tmp_path / "experts")]
    assert run([*matching, "--out", str(tmp_path / "set")]) == 0
    assert sorted(before) == sorted(path.name for path in (tmp_path / "experts").iterdir())
    assert fails(capsys, *recording, "--epochs", "0") == "yoco: experts: epochs must be at least 1, got 0\n"


def test_whitened_pixels_from_experts_to_an_evaluation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, white = ["--data", "digits", "--network", "convnet:width=4,depth=2"], ["--space", "zca"]
    folder, out = str(tmp_path / "experts"), str(tmp_path / "set")
    assert run(["experts", *network, *white, "--count", "2", "--epochs", "3", "--out", folder]) == 0
    few = ["--episodes", "2", "--count", "2", "--expert-epochs", "3", "--max-start", "2", "--student-steps", "2"]
    matching = ["condense", *network, "--method", "mtt", "--ipc", "2", *few, "--experts", folder, "--out", out]
    assert run([*matching, *white, "--dry-run"]) == 0
    assert not Path(out).exists()
    assert run([*matching, *white]) == 0
    assert (tmp_path / "set/images.png").is_file()
    made = load(f"{out}/condensed.safetensors")
    assert (made.space, made.whitening["eps"]) == ("zca", 0.1)
    again = ["condense", "--config", f"{out}/config.yaml", "--out", str(tmp_path / "again")]
    assert run(again) == 0
    assert torch.equal(load(tmp_path / "again/condensed.safetensors").cells, made.cells)
    small = str(tmp_path / "small.safetensors")
    assert run(["prune", f"{out}/condensed.safetensors", "--rule", "random", "--ipc", "1", "--out", small]) == 0
    assert run(["evaluate", small, "--epochs", "1", "--seeds", "1", *network[2:]]) == 0
    assert run(["report", out]) == 0
    assert "whitened (ZCA)" in (tmp_path / "set/report.md").read_text()
    capsys.readouterr()
    matching[-1] = str(tmp_path / "plain")
    assert fails(capsys, *matching).endswith("must be of space unit, got zca\n")
    assert "invalid choice 'rgb' for argument '--space'" in fails(capsys, *matching, "--space", "rgb")
