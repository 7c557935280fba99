"""The commands `prune` and `score`: every word reaches what chooses and measures."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

import yoco
from yoco.cli import run
from yoco.condensed import CondensedSet
from yoco.prune import Scores, Selection, find

if TYPE_CHECKING:
    from yoco.prune.dynamics import Dynamics

TRAINING = {"epochs": 7, "runs": 3, "passes": "train", "network": "mlp:width=4", "stage": 0, "seed": 9, "device": "cpu"}
CHOICE = {"rule": "ccs", "mode": "repo", "ipc": 1, "quota": "floor", "floor": 0.25, "beta": 0.1, "strata": 7}


def own_score(dynamics: "Dynamics", *, epochs: int | None = None, power: float = 1.0) -> torch.Tensor:
    """The error of the last epoch, to a power."""
    return dynamics.error[-1] ** power


of_three = partial(own_score, power=3.0)


@pytest.fixture
def saved(tiny_set: CondensedSet, tmp_path: Path) -> Path:
    tiny_set.save(tmp_path / "set.safetensors")
    return tmp_path / "set.safetensors"


@pytest.mark.parametrize(
    ("command", "place", "words"),
    [
        ("prune", "yoco.prune.choosing.select", {**CHOICE, **TRAINING, "how": "mean"}),
        ("score", "yoco.prune.score", {"score": "el2n", **TRAINING, "how": "mean"}),
    ],
)
def test_every_word_arrives(
    command: str,
    place: str,
    words: dict[str, Any],
    saved: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: Callable[..., str],
) -> None:
    given: dict[str, Any] = {}

    def seen(whole: Any, **how: Any) -> None:
        given.update(how)
        raise ValueError("seen")

    monkeypatch.setattr(place, seen)
    flags = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    said = fails(command, str(saved), *flags, "--bf16", "--out", str(saved.with_name("x.npz")))
    assert said == "yoco: seen\n"
    assert {**words, "bf16": True}.items() <= given.items()


def test_scores_made_in_bfloat16_are_used_without_the_word(
    saved: Path, tiny_set: CondensedSet, fails: Callable[..., str]
) -> None:
    scores, small = saved.with_name("s.safetensors"), saved.with_name("small.safetensors")
    Scores.of(tiny_set, torch.arange(36.0), "lbpe", network="convnet", bf16=True).save(scores)
    words = [str(saved), "--scores", str(scores), "--ipc", "1", "--out", str(small)]
    assert run(["prune", *words]) == 0
    assert "the existing scores have bf16=True, got bf16=False" in fails("prune", *words, "--no-bf16")


def test_a_file_of_scores_has_its_own_ending(saved: Path, fails: Callable[..., str]) -> None:
    words = ("--ipc", "1", "--out", str(saved.with_name("small.safetensors")))
    said = fails("prune", str(saved), *words, "--scores", "s.csv")
    assert said == "yoco: prune: scores must end in .safetensors, as yoco score --out writes them, got 's.csv'\n"


@pytest.mark.parametrize("name", ["own_score", "of_three"])
def test_options_of_ones_own_score_are_read(
    name: str, saved: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    given: list[Any] = []

    def seen(whole: Any, **how: Any) -> None:
        given.append(how["power"])
        raise ValueError("seen")

    monkeypatch.setattr("yoco.prune.score", seen)
    words = ("score", str(saved), "--score", f"{__name__}:{name}", "--out", str(saved.with_name("s.csv")))
    assert fails(*words) == fails(*words, "--power", "2") == "yoco: seen\n"
    assert given == [None, 2.0]


@pytest.mark.parametrize(
    ("rule", "paper", "repo"),
    [("el2n", "'last' by default", "'sum' by default"), ("forgetting", "'max' by default", "'zero' by default")],
)
def test_the_help_says_what_the_rule_has_for_its_score(
    rule: str, paper: str, repo: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for mode, mine, other in (("paper", paper, repo), ("repo", repo, paper)):
        with pytest.raises(SystemExit):
            run(["prune", "--rule", rule, "--mode", mode, "--help"])
        said = " ".join(re.sub(r"\x1b\[[0-9;]*m|│", "", capsys.readouterr().out).split())
        assert (mine in said, other in said) == (True, False)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--rule", "ccs", "--drop", "agm", "--ipc", "1"], "score: unknown name 'agm'; did you mean 'aum'?"),
        (["--rule", "d2", "--features", "f.npy", "--ipc", "1"], "features: must be [36, ...], got [35, 2]"),
        (["--rule", "yoco"], "budget: give exactly one of ipc, cells, keep, n, got none"),
    ],
)
def test_no_file_of_scores_is_made_for_what_is_refused(
    words: list[str], line: str, saved: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    monkeypatch.setattr("yoco.prune.asked.observe", None)
    monkeypatch.chdir(saved.parent)
    np.save("f.npy", np.zeros((35, 2)))
    said = fails("prune", "set.safetensors", *words, "--scores", "s.safetensors", "--out", "kept.npz")
    assert said.startswith(f"yoco: {line}")


def test_chosen_files_are_named(tmp_path: Path) -> None:
    for k in range(20):
        path = tmp_path / "photos" / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), k, np.uint8)).save(path)
    photos = str(tmp_path / "photos")
    chosen = ["prune", "--data", photos, "--rule", "herding", "--features", "pixels", "--n", "3"]
    assert run([*chosen, "--out", str(tmp_path / "kept.npz")]) == 0
    found, train = Selection.load(tmp_path / "kept.npz"), yoco.data.load(photos).train
    assert len(found) == len(found.files) == 3
    for file, image in zip(found.files, train.images[found.indices], strict=True):
        assert Path(file).stem == str(int(image[0, 0, 0]))
    quick = ["--score", "aum", "--network", "mlp:width=4", "--epochs", "1"]
    assert run(["score", "--data", photos, *quick, "--out", str(tmp_path / "s.csv")]) == 0
    header, *rows = (tmp_path / "s.csv").read_text().splitlines()
    assert header == "index,class,score,rank,file"
    assert tuple(row.rsplit(",", 1)[1] for row in rows) == train.files


def test_the_help_says_what_the_rule_kernel_trains(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        run(["prune", "--help"])
    said = " ".join(re.sub(r"\x1b\[[0-9;]*m|│", " ", capsys.readouterr().out).split())
    settings = find("kernel").settings
    assert f"at most ten; {settings['epochs']} for the rule kernel" in said
    assert f"1 by default, {settings['runs']} for the rule kernel" in said


def test_the_help_of_scores_speaks_of_no_rules(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        run(["score", "--help"])
    said = " ".join(re.sub(r"\x1b\[[0-9;]*m|│", " ", capsys.readouterr().out).split())
    assert "networks trained, whose scores are averaged; 1 by default" in said
    assert "rule" not in said
