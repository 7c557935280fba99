"""The command line: help, one-line errors with their exit status, and what prune and score write."""

import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import yoco
from yoco.cli import run
from yoco.commands import COMMANDS
from yoco.condensed import CondensedSet, load
from yoco.prune import ALL_SCORES, RULES, Scores, Selection


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, yoco, yoco.cli; yoco.cli.run(['--help']);"
        "print([m for m in ('torch', 'numpy', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.check_output([sys.executable, "-c", code], text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert said.splitlines()[-1] == "[]"
    assert all(name in said for name in COMMANDS)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2  # 0.05 s on a free machine


@pytest.mark.parametrize("words", [["--version"], ["report", "--help"]])
def test_a_reader_that_has_gone_is_no_mistake(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-m", "yoco", *words], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_no_reader_at_all_is_no_mistake() -> None:
    program = f"exec {sys.executable} -m yoco --version >&-"
    done = subprocess.run(program, shell=True, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


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
        (["condense", "--ipc", "ten"], "--ipc must be INT, got 'ten'"),
        (["condense", "--method", "idcc"], "method: unknown name 'idcc'; did you mean 'idc'?"),
        (["condense", "--data", "digitz"], "data: unknown name 'digitz'; did you mean 'digits'?"),
        (["condense", "--ipc", "0"], "condense: ipc must be at least 1, got 0"),
        (["condense", "--ipc", "500"], "condense: ipc must be at most the size of the smallest class"),
        (["condense", "--minutes", "0"], "condense: minutes must be above 0, got 0"),
        (["condense", "--start", "mixed"], "start must be one of noise, real, mix, k-means, got 'mixed'"),
        (["condense", "--factor", "9"], "factor must be 1, 2, 3 or 4, got 9"),
        (["condense", "--network", "convnett"], "network: unknown name 'convnett'; did you mean 'convnet'?"),
        (["condense", "--labels", "learned"], "condense: labels must be hard or teacher with idc, got 'learned'"),
        (["condense", "--teacher-epochs", "50"], "condense: teacher_epochs can only be used with labels=teacher"),
        (["condense", "--teacher-epochs", "50", "--dry-run"], "condense: teacher_epochs can only be used with label"),
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
    argv: list[str], line: str, fails: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert line in fails(*argv)
    assert list(tmp_path.iterdir()) == []


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
        (["--rule", "yoco", "--ipc", "9", "--scores", "none-yet.safetensors"], "got ipc=9"),
        (["--rule", "random", "--ipc", "1", "--quota", "equal", "--floor", "0.9"], "floor needs the quota floor"),
        (
            ["--rule", "random", "--ipc", "1", "--epochs", "50"],
            "prune: --epochs can only be used with rules that train",
        ),
        (
            ["--rule", "first", "--ipc", "1", "--score", "el2n"],
            "prune: --score can only be used with rules that train",
        ),
        (["--rule", "random", "--ipc", "1", "--top", "5"], "Unrecognized options: --top"),
        (["--rule", "random", "--ipc", "1", "--size", "0"], "data: size, grey and download need --data"),
        (["--rule", "random", "--ipc", "1", "--size", "9"], "data: size, grey and download need --data"),
        (["--rule", "random", "--ipc", "1", "--grey"], "data: size, grey and download need --data"),
        (["--rule", "random"], "exactly one"),
        (["--rule", "random", "--ipc", "1", "--cells", "2"], "exactly one"),
        (["--rule", "random", "--ipc", "1", "--data", "digits"], "data: give either a condensed set or --data"),
        (["--rule", "herding", "--mode", "repo", "--ipc", "1"], "rule herding: mode must be paper"),
        (["--rule", "easy", "--score", "lpbe", "--ipc", "1"], "score: unknown name 'lpbe'; did you mean 'lbpe'?"),
        (["--rule", "easy", "--score", "entropy", "--top", "3", "--ipc", "1"], "--top"),
        (["--rule", "window", "--centre", "2", "--ipc", "1"], "centre must be"),
        (["--rule", "herding", "--scores", "s.safetensors", "--ipc", "1"], "rule herding: does not use scores"),
        (["--rule", "herding", "--features", "pixel", "--ipc", "1"], "features: must be network, pixels or numbers"),
        (["--rule", "random", "--quota", "given", "--ipc", "1"], "prune: shares and the quota given must be used"),
        (["--rule", "random", "--keep", "some"], "yoco: prune: --keep must be FLOAT, got 'some'"),
        (
            ["--rule", "random", "--ipc", "1", "--quota", "even"],
            "yoco: prune: --quota must be one of equal, floor, given, none, proportional, got 'even'",
        ),
        (["--rule", "random", "--ipc", "1", "--beta", "1"], "yoco: prune: Unrecognized options: --beta, 1"),
        (["--rule", "ccs", "--n", "9", "--drop", "margn"], "score: unknown name 'margn'; did you mean 'margin'?"),
        (["--rule", "random", "--ipc", "1", "--uint8", "--out", "x.npz"], "prune: uint8 needs a set (.safetensors)"),
        (["--ipc", "1", "--rule"], "rule: must be a name, or module:Class, got None"),
    ],
)
def test_prune_mistakes(options: list[str], line: str, saved: Path, fails: Callable[..., str]) -> None:
    out = saved.with_name("small.safetensors")
    assert line in fails("prune", str(saved), "--out", str(out), *options)
    assert not out.exists()


def test_the_help_lists_every_rule_and_every_score(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
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
    assert "| all | 1347 | 135 |" in said
    chosen = Selection.load(file)
    assert "the set:" not in said
    assert run([*common, "--quota", "equal", "--out", str(small)]) == 0
    made = load(small)
    assert f"\nthe set: {made.storage}\nwritten to" in capsys.readouterr().out
    assert (made.method, made.factor, len(made)) == ("real", 1, len(chosen))
    assert max(made.counts) - min(made.counts) <= 1


def test_score_writes_csv_npz_and_what_prune_reads(
    saved: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
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
        "prune", str(saved), "--scores", scores, "--n", "5", "--out", small
    )
    assert "score: out must end in" in fails("score", str(saved), "--out", "s.txt")
    assert "prune: out must end in" in fails("prune", str(saved), "--n", "5", "--out", "s.txt")


def test_features_of_a_file_are_scored(saved: Path) -> None:
    numbers, file = saved.with_name("numbers.npy"), saved.with_name("new.safetensors")
    np.save(numbers, np.random.default_rng(0).random((36, 5)))
    table, small = str(saved.with_name("s.csv")), str(saved.with_name("small.safetensors"))
    assert run(["score", str(saved), "--score", "ssp", "--features", str(numbers), "--out", table]) == 0
    common = ["prune", str(saved), "--rule", "ssp", "--features", str(numbers), "--scores", str(file), "--n", "3"]
    for _ in range(2):
        assert run([*common, "--out", small]) == 0
    assert Scores.load(file).meta["features"] == "given"


@pytest.mark.parametrize("content", [b"", b"PK\3\4 and no more", b"no numbers"])
def test_damaged_features_are_named(content: bytes, saved: Path, fails: Callable[..., str]) -> None:
    saved.with_name("f.npy").write_bytes(content)
    line = fails("score", str(saved), "--score", "ssp", "--features", str(saved.with_name("f.npy")), "--out", "s.csv")
    assert "f.npy cannot be read (" in line


def test_a_set_of_chosen_images_says_where_they_are_from(tmp_path: Path) -> None:
    small, common = str(tmp_path / "small.safetensors"), ["--rule", "random", "--n", "20", "--quota", "equal"]
    assert run(["prune", "--data", "digits", "--size", "6", *common, "--out", small]) == 0
    assert {"data": "digits", "size": 6, "grey": False}.items() <= load(small).source.items()
    assert run(["evaluate", small, "--network", "mlp:width=4", "--epochs", "1", "--seeds", "1"]) == 0
    assert run(["prune", "--data", "digits", *common, "--out", small]) == 0
    assert "data" not in load(small).source


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 9 GiB"),
        RuntimeError("CUDA out of memory. Tried"),
        RuntimeError("other"),
    ],
)
def test_too_little_memory_is_one_line(
    error: Exception, saved: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    def lacking(*words: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("yoco.prune.choosing.select", lacking)
    argv = ("prune", str(saved), "--rule", "random", "--n", "3", "--out", str(saved.with_name("x.npz")))
    if str(error) == "other":
        with pytest.raises(RuntimeError, match=r"^other$"):
            run(list(argv))
    else:
        assert fails(*argv) == f"yoco: not enough memory{f': {error}' if str(error) else ''}\n"


def test_a_place_that_cannot_be_written_is_said_before_any_training(
    saved: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    monkeypatch.setattr("yoco.evaluate.evaluate", None)
    (saved.with_name("file")).write_text("")
    out = str(saved.with_name("file") / "found.json")
    assert "file" in fails("evaluate", str(saved), "--data", "digits", "--out", out)
    assert "Is a folder, name a file" in fails("evaluate", str(saved), "--data", "digits", "--out", str(saved.parent))
    monkeypatch.setattr("yoco.prune.choosing.scores_for", None)
    place = str(saved.with_name("small.safetensors"))
    said = fails("prune", str(saved), "--ipc", "1", "--out", place, "--scores", str(saved.parent))
    assert "Is a folder, name a file" in said


def test_references_come_in_the_size_of_the_set(tmp_path: Path, fails: Callable[..., str]) -> None:
    made, small = str(tmp_path / "set.safetensors"), str(tmp_path / "small.safetensors")
    yoco.condense("digits", "random", ipc=2, size=6, progress=False).save(made)
    quick = ["--features", "pixels", "--ipc", "1", "--out", small]
    assert run(["prune", made, "--rule", "kernel", "--reference", "digits", *quick]) == 0
    wrong = fails("prune", made, "--rule", "kernel", "--reference", "digits", "--size", "7", *quick)
    assert "must have images [1, 6, 6] as the set, got [1, 7, 7]" in wrong


def test_weights_that_a_set_cannot_hold_are_said(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["prune", str(saved), "--rule", "craig", "--n", "5", "--network", "mlp:width=4", "--epochs", "2"]
    for name, lost in (("k.safetensors", True), ("k.npz", False)):
        assert run([*common, "--device", "cpu", "--out", str(saved.with_name(name))]) == 0
        assert ("a set cannot store sample weights: write an index file" in capsys.readouterr().out) == lost
    assert Selection.load(saved.with_name("k.npz")).weights.sum() == len(load(saved))


def test_a_failed_command_writes_over_nothing(saved: Path, fails: Callable[..., str]) -> None:
    out = saved.with_name("old.safetensors")
    out.write_bytes(b"old")
    fails("prune", str(saved), "--out", str(out), "--rule", "random", "--ipc", "50")
    assert out.read_bytes() == b"old"


def test_a_damaged_set_is_named(saved: Path, fails: Callable[..., str]) -> None:
    saved.write_bytes(saved.read_bytes()[:-7])
    assert "damaged" in fails("prune", str(saved), "--out", "x.npz", "--rule", "random", "--ipc", "1")
