"""Places that commands read and write: kept apart, in the home folder, with spaces in their names."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import yoco
from yoco.cli import run
from yoco.condense import settings_of
from yoco.condensed import CondensedSet
from yoco.networks import build
from yoco.prune import Recorder, Selection
from yoco.prune.dynamics import Dynamics
from yoco.rng import Rng
from yoco.sparsify import Masks, load, save


@pytest.fixture
def saved(tiny_set: CondensedSet, tmp_path: Path) -> Path:
    tiny_set.save(tmp_path / "set.safetensors")
    return tmp_path / "set.safetensors"


@pytest.mark.parametrize(
    ("words", "both"),
    [
        (["prune", "set", "--rule", "random", "--ipc", "1", "--out", "set"], "prune: set and out"),
        (["prune", "set", "--ipc", "1", "--scores", "set", "--out", "x.npz"], "prune: set and scores"),
        (["prune", "set", "--ipc", "1", "--scores", "x", "--out", "x"], "prune: scores and out"),
        (["prune", "set", "--rule", "random", "--ipc", "1", "--out", "link"], "prune: set and out"),
        (["score", "set", "--out", "set"], "score: set and out"),
        (["evaluate", "set", "--out", "set"], "evaluate: set and out"),
        (["evaluate", "set", "--teacher", "t.pt", "--out", "t.pt"], "evaluate: teacher and out"),
    ],
)
def test_what_is_read_is_not_written_over(
    words: list[str], both: str, saved: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved.parent)
    Path("link.safetensors").symlink_to(saved)
    before = saved.read_bytes()
    found = fails(*(f"{word}.safetensors" if word in ("set", "x", "link") else word for word in words))
    assert found.startswith(f"yoco: {both} must be different files, got ")
    assert saved.read_bytes() == before
    assert sorted(path.name for path in saved.parent.iterdir()) == ["link.safetensors", "set.safetensors"]


def test_what_a_result_cannot_hold_is_said_before_any_training(
    saved: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yoco.evaluate.evaluate", None)  # no training
    found = fails("evaluate", str(saved), "--protocol", "rded", "--teacher", "caf\udce9.pt")
    assert found == "yoco: evaluate: --teacher must be a path in UTF-8, got 'caf\\udce9.pt'\n"


def test_every_word_reaches_the_experts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def record(task: Any, recipe: Any, out: Path, count: int, *, seed: int, tell: Any) -> None:
        seen.extend([task.real.space, task.network_name, task.autocast, recipe.epochs, out, count, seed])

    monkeypatch.setattr("yoco.condense.experts.record", record)
    words = "--data digits --network mlp:width=4 --space zca --epochs 3 --count 2 --seed 5 --bf16 --device cpu --out"
    assert run(["experts", *words.split(), str(tmp_path)]) == 0
    assert seen == ["zca", "mlp:width=4", torch.bfloat16, 3, tmp_path, 2, 5]


def test_sparse_weights_are_not_written_over(
    saved: Path, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved.parent)
    before = saved.rename("sparse.safetensors").read_bytes()
    network = ["--data", "digits", "--network", "mlp:width=4", "--sparsity", "0.5"]
    found = fails("sparsify", *network, "--weights", "sparse.safetensors", "--out", ".")
    assert found.startswith("yoco: sparsify: weights and out must be different files, got ")
    assert Path("sparse.safetensors").read_bytes() == before


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder, and another one to work in."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def test_commands_know_the_home_folder(home: Path, fails: Callable[..., str]) -> None:
    quick = ["--method", "random", "--ipc", "2", "--network", "mlp:width=4"]
    assert run(["condense", *quick, "--out=~/run"]) == 0
    made, small = "~/run/condensed.safetensors", "~/small.npz"
    assert run(["prune", made, "--rule", "random", "--ipc", "1", f"--out={small}"]) == 0
    assert len(Selection.load(small)) == 10
    assert run(["report", "~/run"]) == 0
    trained = ["--network", "mlp:width=4", "--epochs", "1", "--seeds", "1", "--out=~/found.json"]
    assert run(["evaluate", made, *trained]) == 0
    assert {"run", "small.npz", "found.json"} <= {path.name for path in home.iterdir()}
    assert (home / "run/report.md").is_file()
    assert list(Path().iterdir()) == []
    assert fails("evaluate", "~nobody-at-all/x.safetensors") == "yoco: load: no file at ~nobody-at-all/x.safetensors\n"


def test_calls_know_the_home_folder(home: Path, tiny_set: CondensedSet) -> None:
    made = yoco.condense("digits", "random", ipc=1, out="~/run", progress=False)
    assert yoco.load("~/run/condensed.safetensors").checksum == made.checksum
    tiny_set.save("~/set.safetensors")
    assert yoco.load("~/set.safetensors").checksum == tiny_set.checksum
    network = build("mlp:width=4", (1, 8, 8), 3, Rng(0))
    assert save(network, "~/sparse.safetensors").file == (home / "sparse.safetensors").stat().st_size
    assert isinstance(load("~/sparse.safetensors").masks, Masks)
    assert yoco.report("~/run")[-1] == home / "run/report.md"
    method: Any = settings_of("mtt", "digits", 1, None, experts="~/experts")
    assert method.place(None) == home / "experts"
    for target in ("~/pngs", "~/set.npz"):
        yoco.convert("~/set.safetensors", target)
    assert (home / "pngs").is_dir()
    assert (home / "set.npz").is_file()
    Recorder(4, file="~/tape")
    with pytest.raises(ValueError, match=r"home/tape must hold a finished epoch"):
        Dynamics.open("~/tape")
    assert (home / "tape").is_file()
    assert list(Path().iterdir()) == []


def test_the_hint_may_be_pasted_where_the_folder_has_a_space(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "two words"
    assert run(["condense", "--method", "random", "--ipc", "1", "--out", str(folder)]) == 0
    hint = capsys.readouterr().out.splitlines()[-1].partition("#")[0]
    assert shlex.split(hint)[:3] == ["yoco", "prune", str(folder / "condensed.safetensors")]


def test_a_folder_without_experts_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = ["--network", "convnet:width=4,depth=2"]
    few = ["--episodes", "0", "--count", "1", "--expert-epochs", "3", "--max-start", "2", "--student-steps", "2"]
    matching = ["condense", *network, "--method", "mtt", "--ipc", "1", *few]
    folder = str(tmp_path / "experts")
    assert run([*matching, "--out", str(tmp_path / "own")]) == 0
    assert "experts" not in capsys.readouterr().err
    assert run([*matching, "--experts", folder, "--out", str(tmp_path / "first")]) == 0
    said = f"condense: {folder} holds no experts yet; each is recorded when it is first needed\n"
    assert capsys.readouterr().err == said
    assert run(["experts", *network, "--count", "1", "--epochs", "3", "--out", folder]) == 0
    assert run([*matching, "--experts", folder, "--out", str(tmp_path / "second")]) == 0
    assert capsys.readouterr().err == ""


def test_a_form_of_ones_own_is_converted(saved: Path, fails: Callable[..., str]) -> None:
    target = saved.with_name("set.npz")
    words = ["convert", str(saved), str(target)]
    assert "form: unknown name 'idcc'; did you mean 'idc'?" in fails(*words, "--form", "idcc")
    assert not target.exists()
    assert run([*words, "--form", "yoco.convert.own:read"]) == 0
    assert target.is_file()
