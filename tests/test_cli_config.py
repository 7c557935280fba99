"""Settings of a method of one's own on the command line and in the file of a run: mappings, tuples, None."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
import yaml

from yoco.cli import run
from yoco.commands.config import content_of, parted
from yoco.commands.options import named
from yoco.condense import condense, settings_of
from yoco.condense.methods.random import Random
from yoco.condensed import load


@dataclass(frozen=True, kw_only=True)
class Mine(Random):
    """Settings of many kinds; the last one follows from another."""

    rate: float | None = 0.5
    sizes: tuple[int, ...] = (1, 2)
    pairs: tuple[tuple[str, float], ...] = ()
    layers: list[int] = field(default_factory=lambda: [3])
    sure: bool | None = None
    plain: bool = True
    weights: dict[str, float] = field(default_factory=lambda: {"a": 1.0, "long_one": 2.0})
    kind: Literal["x", "y"] = "x"
    doubled: float = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "doubled", 2 * self.weights["a"])


METHOD = f"{__name__}:Mine"
WORDS = ["condense", "--method", METHOD, "--ipc", "1", "--network", "mlp:width=4"]
PUBLISHED: dict[str, Any] = {
    "rate": 0.5,
    "sizes": [1, 2],
    "pairs": [],
    "layers": [3],
    "sure": None,
    "plain": True,
    "weights": {"a": 1.0, "long_one": 2.0},
    "kind": "x",
    "doubled": 2.0,
}
CHANGES: dict[str, Any] = {
    "rate": None,
    "sizes": (4, 5, 6),
    "pairs": (("u", 0.5), ("v", 2.0)),
    "layers": [7, 8],
    "sure": False,
    "plain": False,
    "weights": {"a": 3.0, "other": 0.25},
    "kind": "y",
}
CHANGED = {**CHANGES, "sizes": [4, 5, 6], "pairs": [["u", 0.5], ["v", 2.0]], "doubled": 6.0}


def kept(folder: Path) -> dict[str, Any]:
    """What a set says of its settings."""
    config = load(folder / "condensed.safetensors").config
    return {name: config[name] for name in PUBLISHED}


def test_settings_that_nobody_asks_for_are_those_that_are_published(tmp_path: Path) -> None:
    assert run([*WORDS, "--out", str(tmp_path)]) == 0
    assert kept(tmp_path) == PUBLISHED


@pytest.mark.parametrize("key", ["long_one", "long-one"])
def test_a_key_of_a_mapping_is_asked_for_by_itself(tmp_path: Path, key: str) -> None:
    assert run([*WORDS, "--weights.a", "3", f"--weights.{key}=4", "--out", str(tmp_path)]) == 0
    assert kept(tmp_path) == {**PUBLISHED, "weights": {"a": 3.0, "long_one": 4.0}, "doubled": 6.0}


def test_the_fields_that_stand_on_the_line() -> None:
    argv = ["--weights.long-one=0.1", "--no-plain", "--sizes", "-1.5", "--doubled-up", "rate"]
    assert named(argv, Mine) == ["sizes", "plain", "weights"]


def test_what_follows_from_others_cannot_be_asked_for(fails: Callable[..., str]) -> None:
    assert "--doubled" in fails(*WORDS, "--doubled", "3")
    with pytest.raises(ValueError, match=rf"^setting of {METHOD}: unknown name 'doubled'; "):
        settings_of(METHOD, "digits", 1, None, doubled=3.0)


def test_the_file_of_a_run_has_all_its_settings(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in "abc")
    made = condense("digits", METHOD, ipc=1, network="mlp:width=4", progress=False, out=first, **CHANGES)
    assert kept(first) == CHANGED
    assert yaml.safe_load((first / "config.yaml").read_text())["sizes"] == [4, 5, 6]
    again = ["condense", "--config", str(first / "config.yaml")]
    assert run([*again, "--out", str(second)]) == 0
    assert kept(second) == CHANGED
    assert torch.equal(load(second / "condensed.safetensors").cells, made.cells)
    assert run([*again, "--out", str(first)]) == 0  # which is the same run
    words = ["--sizes", "9", "--weights.a", "2", "--sure", "True", "--rate", "0.25", "--plain"]
    assert run([*again, *words, "--out", str(third)]) == 0
    over = {"sizes": [9], "weights": {"a": 2.0, "other": 0.25}, "sure": True, "rate": 0.25, "plain": True}
    assert kept(third) == {**CHANGED, **over, "doubled": 4.0}


def test_words_of_a_file_and_what_is_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("ipc: 3\nreal-batch: 4\ngrey: true\nseed: null\nchecksum: x\nplain: false\nsure: true\nrate:\n")
    content = content_of(path)
    assert content["real_batch"] == 4
    content |= {"sizes": [1], "layers": [2], "pairs": [["u", 1.0]], "weights": {}, "kind": "y", "doubled": 3.0}
    words, beside = parted(content, Mine)
    assert words == ["--ipc=3", "--real-batch=4", "--grey", "--no-plain", "--kind=y"]
    pairs = (("u", 1.0),)
    assert beside == {"sure": True, "rate": None, "sizes": (1,), "layers": [2], "pairs": pairs, "weights": {}}


@pytest.mark.parametrize(
    ("text", "said"), [("kind: [1]\n", "--kind"), ("ipc: [1]\n", "--ipc"), ("epizodes: [1]\n", "--epizodes")]
)
def test_what_an_option_cannot_be_is_named(tmp_path: Path, fails: Callable[..., str], text: str, said: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"method: {METHOD}\n{text}")
    found = fails("condense", "--config", str(path))
    assert found.startswith(f"yoco: condense: {path}: ")
    assert said in found


def test_a_file_of_options_with_a_teacher_may_be_told_not_to_have_one(tmp_path: Path) -> None:
    quick = ["condense", "--method", "random", "--ipc", "1", "--network", "mlp:width=4"]
    taught = [*quick, "--labels", "teacher", "--teacher-epochs", "1", "--out", str(tmp_path / "taught")]
    assert run(taught) == 0
    again = ["condense", "--config", str(tmp_path / "taught/config.yaml")]
    assert run([*again, "--labels", "hard", "--out", str(tmp_path / "hard")]) == 0
    assert load(tmp_path / "hard/condensed.safetensors").soft_labels is None
    assert run([*again, "--out", str(tmp_path / "same")]) == 0
    assert load(tmp_path / "same/condensed.safetensors").soft_labels is not None
