"""The command `relabel`: whose labels a set gets, and what is refused."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import yoco
from yoco.cli import run
from yoco.commands.relabel import RelabelOptions
from yoco.condense import relabel
from yoco.condensed import CondensedSet, load


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command for a small set of the digits."""
    yoco.condense("digits", "random", ipc=1, progress=False).save(tmp_path / "set.safetensors")
    return ["relabel", str(tmp_path / "set.safetensors"), "--out", str(tmp_path / "soft.safetensors")]


def test_a_set_gets_the_labels_of_a_network_that_learned_its_data(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    how: dict[str, Any] = {"network": "mlp:width=8", "epochs": 2, "temperature": 2.0, "seed": 5}
    assert run([*words, *(word for name, value in how.items() for word in (f"--{name}", str(value)))]) == 0
    before, made = load(words[1]), load(words[3])
    assert capsys.readouterr().out.splitlines() == [repr(made), f"written to {words[3]}"]
    wanted = relabel(before, "digits", progress=False, **how)
    assert torch.equal(made.soft_labels, wanted.soft_labels)  # type: ignore[arg-type]
    assert torch.equal(made.cells, before.cells)
    assert made.history[-1]["step"] == "relabel"
    assert before.soft_labels is None


def test_every_word_arrives(words: list[str], monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]) -> None:
    seen: list[Any] = []

    def label(condensed: CondensedSet, data: Any, **how: Any) -> CondensedSet:
        seen.append((data.train.name, data.train.shape, how))
        raise ValueError("seen")

    monkeypatch.setattr("yoco.condense.relabel", label)
    plain = {name: p.default for name, p in inspect.signature(relabel).parameters.items()}
    usual = {name: plain[name] for name in ("epochs", "network", "temperature", "seed", "device", "bf16")}
    assert fails(*words) == "yoco: seen\n"
    assert seen.pop() == ("digits", (1, 8, 8), usual)
    given = {"epochs": 3, "network": "mlp", "temperature": 0.5, "seed": 7, "device": "cpu", "bf16": True}
    flags = [word for name, value in given.items() if name != "bf16" for word in (f"--{name}", str(value))]
    assert fails(*words, *flags, "--bf16") == "yoco: seen\n"
    assert seen.pop() == ("digits", (1, 8, 8), given)
    assert {name: getattr(RelabelOptions(set=Path(), out=Path()), name) for name in usual} == usual


def test_the_data_come_in_the_form_of_the_set(tmp_path: Path) -> None:
    small, soft = str(tmp_path / "small.safetensors"), str(tmp_path / "soft.safetensors")
    yoco.condense("digits", "random", ipc=1, size=6, progress=False).save(small)
    assert run(["relabel", small, "--network", "mlp:width=4", "--epochs", "1", "--out", soft]) == 0
    assert load(soft).shape == (1, 6, 6)


def test_what_cannot_be_is_one_line(
    words: list[str], tiny_set: CondensedSet, tmp_path: Path, fails: Callable[..., str]
) -> None:
    before = Path(words[1]).read_bytes()
    assert fails(*words[:3], words[1]).startswith("yoco: relabel: set and out must be different files, got ")
    assert fails(*words[:3], "x.npz") == "yoco: relabel: out must end in .safetensors, got 'x.npz'\n"
    assert fails(*words, "--epochs", "0") == "yoco: relabel: epochs must be at least 1, got 0\n"
    assert fails(*words, "--temperature", "0") == "yoco: relabel: temperature must be above 0, got 0\n"
    assert "--out" in fails("relabel", words[1])
    assert Path(words[1]).read_bytes() == before
    replace(tiny_set, source={"python": True}).save(words[1])
    said = "yoco: relabel: data must be given again for a set made from Python objects, got none\n"
    assert fails(*words) == said
    assert "relabel: classes must be those of the set, 0, 1, 2, got 0, 1, 2, 3" in fails(*words, "--data", "digits")
    assert not Path(words[3]).exists()


def test_a_place_that_cannot_be_written_is_said_before_any_training(
    words: list[str], monkeypatch: pytest.MonkeyPatch, fails: Callable[..., str]
) -> None:
    monkeypatch.setattr("yoco.condense.relabel", None)
    assert "set.safetensors" in fails(*words[:3], str(Path(words[1]) / "soft.safetensors"))


def test_data_come_in_the_form_that_is_asked_for_where_the_set_does_not_say_it(
    tmp_path: Path, fails: Callable[..., str]
) -> None:
    for at in range(10):
        place = tmp_path / "birds" / ("owl", "tit")[at % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8 + at % 3, 8), (200 * (at % 2), at, 0)).save(place / f"{at}.png")
    birds, path = str(tmp_path / "birds"), tmp_path / "set.safetensors"
    words = ["relabel", str(path), "--data", birds, "--out", str(tmp_path / "soft.safetensors")]
    made = yoco.condense(birds, "random", ipc=1, size=8, grey=True, progress=False)
    made.save(path)
    assert fails(*words, "--size", "6") == "yoco: relabel: size must be that of the set, 8, got 6\n"
    replace(made, source={}).save(path)
    assert "choose a --size" in fails(*words)
    assert "relabel: data must have images [1, 8, 8] like the set, got [3, 8, 8]" in fails(*words, "--size", "8")
    assert run([*words, "--size", "8", "--grey", "--network", "mlp:width=4", "--epochs", "1"]) == 0
    assert load(words[-1]).soft_labels is not None
