"""The command `sparsify`."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import yoco
from yoco.cli import run
from yoco.commands.sparsify import PRUNER, SparsifyOptions, _settings
from yoco.condensed import CondensedSet
from yoco.run import alone
from yoco.sparsify import Pruner
from yoco.sparsify.sparse import load
from yoco.sparsify.study import Study

QUICK = ["sparsify", "--data", "digits", "--network", "mlp:width=8", "--epochs", "1"]


def test_it_writes_the_sparse_file_the_table_and_the_curves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*QUICK, "--sparsity", "0.9", "--retrain", "1", "--images", "100", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    names = ["curves.png", "dense.safetensors", "sparse.safetensors", "sparsify.json", "table.md"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert (tmp_path / "table.md").read_text().strip() in said
    assert (tmp_path / "curves.png").stat().st_size > 5_000
    assert load(tmp_path / "sparse.safetensors").masks.sparsity == pytest.approx(0.9, abs=0.01)


def test_it_names_what_it_wrote_and_takes_away_curves_of_another_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stray.txt").write_text("mine")
    for options in (["--sparsity", "0.5", "--solver", "magnitude"], ["--pattern", "2:4"]):
        assert run([*QUICK, *options, "--images", "60", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out.splitlines()
    names = "dense.safetensors, sparse.safetensors, sparsify.json, table.md"
    assert [line.partition(": ")[2] for line in said if line.startswith("written to")] == [
        f"curves.png, {names}",
        names,
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names.split(", "), "stray.txt"])


def test_tables_and_curves_are_written_while_nobody_else_works_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Path] = []

    def draw(curves: Any, zeros: Any, path: Path) -> None:
        drawn.append(path)
        with pytest.raises(ValueError, match="is being worked on by another process"), alone(path.parent):
            pass

    monkeypatch.setattr(import_module("yoco.report"), "layer_curves", draw)
    assert run([*QUICK, "--sparsity", "0.5", "--solver", "magnitude", "--images", "60", "--out", str(tmp_path)]) == 0
    assert drawn == [tmp_path / "curves.png"]
    assert (tmp_path / "table.md").is_file()


@pytest.mark.parametrize(
    "options",
    [
        ["--pattern", "2:4"],
        ["--sparsity", "0.5", "--at-init", "npb"],
        ["--sparsity", "0.5", "--at-init", "snip", "--settings", "iterations=3", "redraw=true", "--shrink"],
        ["--sparsity", "0.5", "--at-init", "grasp", "--settings", "temperature=0.5"],
        ["--sparsity", "0.5", "--at-init", "npb", "--settings", "layout=uniform", "beta=2"],
        ["--sparsity", "0.5", "--settings", "swaps=2", "--shrink"],
        ["--allocation", "tolerance", "--tolerance", "0.01"],
        ["--sparsity", "0.5", "--solver", "lobs", "--no-refit", "--allocation", "erk", "--sequential"],
        ["--sparsity", "0.5", "--allocation", "programme", "--cost", "flops", "--weigh", "bound"],
    ],
)
def test_its_options_work(options: list[str], tmp_path: Path) -> None:
    images = [] if "npb" in options else ["--images", "60"]  # it does not look at any
    assert run([*QUICK, *options, *images, "--out", str(tmp_path)]) == 0
    if "0.5" in options[:2] and "flops" not in options:
        total = json.loads((tmp_path / "sparsify.json").read_text())["layers"][-1]
        assert total["sparsity"] == pytest.approx(0.5, abs=0.002)
        if "--shrink" not in options:
            assert load(tmp_path / "sparse.safetensors").masks.sparsity == pytest.approx(0.5, abs=0.002)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Study]:
    """The study that a command would run."""
    said: list[Study] = []
    monkeypatch.setattr("yoco.commands.sparsify._say", lambda study, out: said.append(study))

    def study(words: str) -> Study:
        assert run([*QUICK, *words.split()]) == 0
        return said[-1]

    return study


def test_every_word_reaches_the_pruner(asked: Callable[[str], Study]) -> None:
    plain = {name: getattr(Pruner(), name) for name in PRUNER}
    assert {name: getattr(SparsifyOptions(), name) for name in PRUNER} == plain
    assert asked("--sparsity 0.5").options == plain
    words = (
        "--sparsity 0.5 --solver rounds --settings count=3 --allocation programme --weigh error --cost flops "
        "--pattern row --layers head.weight --sequential --no-refit --ridge 0.001"
    )
    found = {"solver": "rounds", "count": 3, "allocation": "programme", "weigh": "error", "cost": "flops"}
    found |= {"pattern": "row", "layers": ("head.weight",), "sequential": True, "refit": False, "ridge": 0.001}
    assert asked(words).options == {**plain, **found}
    assert asked(words).sparsity == 0.5
    study = asked("--allocation tolerance --tolerance 0.1 --prune-bias")
    assert study.options == {**plain, "allocation": "tolerance", "tolerance": 0.1, "prune_bias": True}
    assert study.sparsity is None


def test_every_word_reaches_the_study(asked: Callable[[str], Study]) -> None:
    words = (
        "--sparsity 0.5 --seed 7 --images 9 --retrain 1.5 --rounds 3 --bf16 --epochs 4 --lr 0.1 --device cpu --shrink"
    )
    found = {"sparsity": 0.5, "seed": 7, "images": 9, "retrain": 1.5, "rounds": 3, "bf16": True, "epochs": 4}
    found |= {"lr": 0.1, "device": "cpu", "shrink": True, "network": "mlp:width=8", "at_init": None}
    assert {name: getattr(asked(words), name) for name in found} == found
    early = asked("--sparsity 0.5 --at-init snip --settings iterations=3")
    assert (early.at_init, early.options) == ("snip", {"iterations": 3})


def test_a_pattern_for_some_layers(tmp_path: Path) -> None:
    words = ["--data", "digits", "--network", "convnet:width=4,depth=2", "--epochs", "1", "--pattern", "2:4"]
    named = ["--layers", "stages.1.0.weight", "head.weight"]
    assert run(["sparsify", *words, *named, "--images", "60", "--out", str(tmp_path)]) == 0
    kept = load(tmp_path / "sparse.safetensors").masks.by_layer()
    assert [kept[name].sparsity for name in ("stages.0.0.weight", *named[1:])] == [0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("asked", "words", "found"),
    [
        ({"at_init": "snip"}, ("redraw=false", "iterations=3"), {"redraw": False, "iterations": 3}),
        ({"at_init": "grasp"}, ("temperature=0.5",), {"temperature": 0.5}),
        ({"at_init": "npb"}, ("cap=9", "beta=2", "mode=repo"), {"cap": 9, "beta": 2.0, "mode": "repo"}),
        ({"solver": "exact"}, ("second=false", "swaps=4"), {"second": False, "swaps": 4}),
    ],
)
def test_words_have_the_types_that_the_options_declare(
    asked: dict[str, Any], words: tuple[str, ...], found: dict[str, Any]
) -> None:
    made = _settings(SparsifyOptions(data="digits", settings=words, **asked))
    assert made == found
    assert [type(value) for value in made.values()] == [type(value) for value in found.values()]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--sparsity", "1.5"], "yoco: sparsity: must be at least 0 and below 1, got 1.5"),
        ([], "yoco: sparsify: needs sparsity, got None"),
        (["--sparsity", "0.5", "--solver", "exat"], "yoco: solver: unknown name 'exat'; did you mean 'exact'?"),
        (["--sparsity", "0.5", "--at-init", "npx"], "yoco: method: unknown name 'npx'; did you mean 'npb'?"),
        (["--sparsity", "0.5", "--settings", "swap=2"], "yoco: option of exact: unknown name 'swap'; did you mean"),
        (["--sparsity", "0.5", "--settings", "second=1"], "yoco: sparsify: second must be true or false, got '1'"),
        (["--sparsity", "0.5", "--settings", "memory"], "yoco: sparsify: memory must be a whole number, got ''"),
        (
            ["--sparsity", "0.5", "--at-init", "npb", "--settings", "shape=1"],
            "yoco: option of npb: unknown name",
        ),
        (["--sparsity", "0.5", "--settings", "swaps=x"], "yoco: sparsify: swaps must be a whole number, got 'x'"),
        (
            ["--sparsity", "0.5", "--solver", "admm", "--settings", "rho"],
            "yoco: sparsify: rho must be a number, got ''",
        ),
        (
            ["--sparsity", "0.5", "--at-init", "npb", "--settings", "layout=erkk"],
            "yoco: layout: unknown name 'erkk'; did you mean 'erk'?",
        ),
        (["--sparsity", "0.5", "--at-init", "npb", "--retrain", "1"], "yoco: sparsify: at_init is for a fresh network"),
        (
            ["--sparsity", "0.5", "--at-init", "snip", "--pattern=2:4"],
            "yoco: sparsify: --pattern cannot be used with --at-init, got both",
        ),
        (
            ["--sparsity", "0.5", "--at-init", "snip", "--layers", "head.weight"],
            "yoco: sparsify: --layers cannot be used with --at-init, got both",
        ),
        (["--sparsity", "0.5", "--layers", "heads"], "yoco: layer: unknown name 'heads'; known: head.weight"),
        (
            ["--sparsity", "0.5", "--at-init", "npb", "--images", "60"],
            "yoco: sparsify: images needs a method that looks at images (snip, iterative_snip, grasp), got at_init",
        ),
        (
            ["--pattern", "2:4", "--allocation", "erk"],
            "yoco: sparsify: pattern 2:4 fixes the number of zeros, got allocation erk as well",
        ),
        (
            ["--sparsity", "0.5", "--at-init", "snip", "--no-refit"],
            "yoco: sparsify: --refit cannot be used with --at-init, got both",
        ),
        (
            ["--sparsity", "0.5", "--weights", __file__],
            "yoco: sparsify: weights must be .safetensors or .pt, got 'test_cli",
        ),
        (["--sparsity", "0.5", "--tolerance", "0.1"], "yoco: sparsify: tolerance must be at least 0 and needs"),
        (
            ["--sparsity", "0.5", "--allocation", "tolerance", "--tolerance", "0.1"],
            "yoco: sparsify: needs either sparsity or tolerance, got 0.5 and 0.1",
        ),
        (
            ["--sparsity", "0.5", "--cost", "flops", "--allocation", "erk"],
            "yoco: sparsify: cost flops needs sparsity and allocation hull or programme or tolerance, "
            "got allocation erk",
        ),
        (["--sparsity", "0.5", "--weights", "none.pt"], "yoco: none.pt: No such file"),
        (["--sparsity", "0.5", "--weights", "."], "yoco: .: Is a folder, name a file"),
        (["--sparsity", "0.5", "--weights", "none.pt", "--epochs", "3"], "yoco: sparsify: --epochs is for training"),
        (["--sparsity", "0.5", "--weights", "none.pt", "--lr", "0.1"], "yoco: sparsify: --lr is for training the"),
        (["--sparsity", "0.5", "--lr", "0"], "yoco: sparsify: lr must be above 0, retrain at least 0, and both finite"),
        (["--sparsity", "0.5", "--settings", "swaps=-1"], "yoco: exact: swaps must be at least 0, got -1"),
        (["--sparsity", "0.5", "--calibrate", "none.safetensors"], "yoco: load: no file at none.safetensors"),
        (["--sparsity", "0.5", "--allocation", "x"], "yoco: allocation: unknown name 'x'; known:"),
    ],
)
def test_mistakes_end_in_one_line(
    options: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = QUICK[: QUICK.index("--epochs")] if "--weights" in options else QUICK
    assert run([*quick, *options, "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1


def test_a_set_of_fewer_classes_is_refused_where_labels_are_read(
    asked: Callable[[str], Study], fails: Callable[..., str], tiny_set: CondensedSet, tmp_path: Path
) -> None:
    path = tmp_path / "three.safetensors"
    tiny_set.save(path)
    quick, rule = [*QUICK, "--sparsity", "0.5"], "must have images [1, 8, 8] and 10 classes as the data, got [1, 8, 8]"
    for words in (["--at-init", "snip", "--calibrate"], ["--retrain", "1", "--retrain-on"]):
        assert f"{rule} and 3 classes" in fails(*quick, *words, str(path))
    assert asked(f"--sparsity 0.5 --calibrate {path}").calibrate is not None


def test_a_set_that_was_made_from_other_images_is_said(
    asked: Callable[[str], Study], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, made = tmp_path / "set.safetensors", yoco.condense("digits", "random", ipc=1, progress=False)
    for source, said in ((made.source, []), ({"name": "digits"}, []), ({**made.source, "checksum": "0"}, ["other"])):
        replace(made, source=source).save(path)
        asked(f"--sparsity 0.5 --calibrate {path}")
        lines = [f"{path} was made from {word} images than those of --data" for word in said]
        assert capsys.readouterr().out.splitlines() == lines
