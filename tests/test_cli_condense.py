"""The command `condense`: its folder, its config, its experts, and a run that is killed and goes on."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import yoco
from yoco.cli import run
from yoco.condense.loop import Journey
from yoco.condensed import load

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


def test_a_run_that_minutes_end_says_how_far_it_came(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["condense", *TOY, "--ipc", "1"]
    cut = ["--episodes", "5000", "--minutes", "0.0001", "--out", str(tmp_path / "cut")]
    assert run([*words, *cut]) == 0
    assert re.search(r"stopped by --minutes after \d+ of 5,000 episodes", capsys.readouterr().out)
    assert run([*words, "--episodes", "1", "--out", str(tmp_path / "whole")]) == 0
    assert "stopped" not in capsys.readouterr().out


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


@pytest.mark.parametrize("words", [["--method", "readout", "--nested"], ["--method", "readout"], ["--method", "idc"]])
def test_the_hint_takes_the_beginning_of_a_set_that_has_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    quick = ["--network", "mlp:width=8", "--episodes", "0", "--ipc", "2", *words]
    assert run(["condense", *quick, "--out", str(tmp_path)]) == 0
    hint = capsys.readouterr().out.splitlines()[-1].partition("#")[0].split()
    assert ("--rule" in hint) == ("--nested" in words)
    if "--nested" in words:
        assert run([*hint[1:-1], str(tmp_path / "small.safetensors")]) == 0
        small, whole = (yoco.load(tmp_path / f"{name}.safetensors") for name in ("small", "condensed"))
        assert torch.equal(small.cells, whole.cells[::2])


def test_the_command_line_wins_over_the_config(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("data: digits\nipc: 3\nepisodes: 0\nfactor: 1\n")
    assert run(["condense", "--config", str(path), "--ipc", "2", "--out", str(tmp_path / "run")]) == 0
    assert set(yoco.load(tmp_path / "run" / "condensed.safetensors").counts) == {2}


def test_a_typo_in_the_config_is_named(tmp_path: Path, fails: Callable[..., str]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("epizodes: 3\n")
    said = fails("condense", "--config", str(path))
    assert said.startswith(f"yoco: condense: {path}: ")
    assert said.endswith("did you mean --episodes?\n")
    path.write_text("ipc: ten\n")
    said = fails("condense", f"--config={path}", "--epizodes", "3")
    assert said.startswith(f"yoco: condense: {path}: ")
    assert "--ipc must be INT, got 'ten'" in said
    path.write_text("ipc: 1\n")
    assert str(path) not in fails("condense", "--config", str(path), "--epizodes", "3")
    path.write_text("a: [1\n")
    assert f"condense: {path} is not valid YAML (while parsing" in fails("condense", "--config", str(path))


def test_another_command_in_the_same_folder_is_refused(
    tmp_path: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["condense", *TOY, "--episodes", "0", "--out", str(tmp_path / "run")]
    assert run([*argv, "--ipc", "1"]) == 0
    before = (tmp_path / "run" / "condensed.safetensors").read_bytes()
    capsys.readouterr()
    assert "holds a run with ipc=1, got 2; choose another folder" in fails(*argv, "--ipc", "2")
    assert (tmp_path / "run" / "condensed.safetensors").read_bytes() == before


def test_a_folder_of_images_may_be_spelt_in_another_way_but_is_no_data_of_a_name(
    tmp_path: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for half in ("train", "test"):
        for label, shade in (("a", 0), ("b", 200)):
            (tmp_path / "digits" / half / label).mkdir(parents=True)
            Image.new("L", (8, 8), shade).save(tmp_path / "digits" / half / label / "0.png")
    (tmp_path / "other").symlink_to("digits")
    argv = ["condense", "--method", "random", "--ipc", "1", "--out", "run", "--data"]
    assert run([*argv, "./digits/"]) == 0  # but digits, without a dot, are other data
    assert "holds a run with data=./digits/, got digits" in fails(*argv, "digits")
    assert run([*argv, str(tmp_path / "digits")]) == 0
    assert run([*argv, "other/"]) == 0


def test_a_file_where_the_folder_should_be(tmp_path: Path, fails: Callable[..., str]) -> None:
    (tmp_path / "run").write_text("here")
    fails("condense", *TOY, "--ipc", "1", "--episodes", "1", "--out", str(tmp_path / "run"))
    assert (tmp_path / "run").read_text() == "here"


def test_a_full_disk_is_one_line(tmp_path: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")  # of a write, which names no file

    monkeypatch.setattr(Path, "write_bytes", full)
    said = fails("condense", *TOY, "--ipc", "1", "--episodes", "1", "--out", str(tmp_path / "run"))
    assert said == f"yoco: {tmp_path / 'run/condensed.safetensors'}: No space left on device\n"


LONG = ["condense", *TOY, "--ipc", "1", "--inner", "5", "--episodes", "4"]


@pytest.fixture
def whole(tmp_path: Path) -> torch.Tensor:
    """The cells of a run that nobody stops."""
    assert run([*LONG, "--out", str(tmp_path / "whole")]) == 0
    return load(tmp_path / "whole/condensed.safetensors").cells


def test_a_killed_run_ends_in_the_same_bits(tmp_path: Path, whole: torch.Tensor) -> None:
    folder = tmp_path / "killed"
    code = f"""
import time
import yoco.condense.loop as loop
from yoco.cli import main
loop.CHECKPOINT_SECONDS = 0
save = loop.Journey.save
def wait(self, run):
    save(self, run)
    time.sleep(300)
loop.Journey.save = wait
main({[*LONG, "--out", str(folder)]})
"""
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        while not (folder / "checkpoint.pt").exists() and process.poll() is None:
            time.sleep(0.02)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not (folder / "condensed.safetensors").exists()
    assert run([*LONG, "--out", str(folder)]) == 0
    assert torch.equal(load(folder / "condensed.safetensors").cells, whole)


def test_an_interrupted_run_ends_in_the_same_bits_or_as_it_stands(
    tmp_path: Path, whole: torch.Tensor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save, words = Journey.save, [*LONG, "--out", str(tmp_path / "asked")]

    def stop(self: Journey, of: Any) -> None:
        monkeypatch.setattr(Journey, "save", save)
        save(self, of)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("yoco.condense.loop.CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(Journey, "save", stop)
    assert run(words) == 130
    assert "and with --minutes 0.01 writes the set as it stands" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "asked/condensed.safetensors").exists()
    assert run([*words, "--minutes", "1e-6"]) == 0
    assert load(tmp_path / "asked/condensed.safetensors").config["episodes_done"] < 4
    assert run(words) == 0
    assert torch.equal(load(tmp_path / "asked/condensed.safetensors").cells, whole)


def test_experts_are_recorded_and_matched(
    tmp_path: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
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
    assert fails(*recording, "--epochs", "0") == "yoco: experts: epochs must be at least 1, got 0\n"


def test_whitened_pixels_from_experts_to_an_evaluation(
    tmp_path: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
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
    assert fails(*matching).endswith("must be trained with space unit, got zca\n")
    assert "--space must be one of unit, zca, got 'rgb'" in fails(*matching, "--space", "rgb")


def test_a_set_of_a_folder_is_evaluated_on_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for half, count in (("train", 6), ("test", 2)):
        for label in "ab":
            (tmp_path / "birds" / half / label).mkdir(parents=True)
            for k in range(count):
                noise = np.random.default_rng([k, ord(label)]).integers(0, 256, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(noise).save(tmp_path / "birds" / half / label / f"{k}.png")
    common = ["--data", str(tmp_path / "birds"), "--size", "8", "--grey", "--method", "random", "--ipc", "2"]
    assert run(["condense", *common, "--out", str(tmp_path / "run")]) == 0
    picture = tmp_path / "run/images.png"
    drawn = picture.read_bytes()
    picture.write_bytes(b"of another set, by a clock that was ahead")
    os.utime(picture, (2**32, 2**32))
    assert run(["condense", *common, "--out", str(tmp_path / "run")]) == 0
    assert picture.read_bytes() == drawn
    made = yoco.load(tmp_path / "run/condensed.safetensors")
    assert (made.source["name"], made.source["data"]) == ("birds", str(tmp_path / "birds"))
    assert (made.source["size"], made.source["grey"]) == (8, True)
    quick = ["--network", "mlp:width=4", "--epochs", "1", "--seeds", "1"]
    assert run(["evaluate", str(tmp_path / "run/condensed.safetensors"), *quick]) == 0
    said = capsys.readouterr().out
    assert "birds, protocol idc" in said
    assert "made from other images" not in said
    small = yoco.prune(made, ipc=1, rule="first")
    assert yoco.evaluate(small, networks="mlp:width=4", epochs=1, seeds=1, progress=False).same_data


def test_every_word_of_experts_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        "yoco.condense.experts.record",
        lambda task, recipe, folder, count, *, seed, tell: seen.extend((task, recipe, folder, count, seed)),
    )
    words = ["--network", "mlp:width=4", "--count", "3", "--epochs", "2", "--seed", "7", "--size", "6", "--bf16"]
    assert run(["experts", *words, "--out", str(tmp_path)]) == 0
    task, recipe, *others = seen
    assert (task.network_name, task.real.shape, task.autocast) == ("mlp:width=4", (1, 6, 6), torch.bfloat16)
    assert (recipe.epochs, *others) == (2, tmp_path, 3, 7)
    seen.clear()
    assert run(["experts", "--network", "mlp:width=4", "--out", str(tmp_path)]) == 0
    assert (seen[1].epochs, *seen[2:]) == (15, tmp_path, 5, 0)  # as published for the digits
