"""Which class is taken for which, and the accuracy of each."""

import json
from math import isnan
from pathlib import Path
from typing import Any

import pytest
import torch

import yoco
from yoco.cli import run
from yoco.condensed import CondensedSet
from yoco.data import Splits
from yoco.evaluate.result import Row
from yoco.evaluate.trials import confusion_of
from yoco.networks import build
from yoco.rng import Rng
from yoco.train import Normalise, predict

QUICK: dict[str, Any] = {"networks": "mlp:width=8", "progress": False, "device": "cpu", "epochs": 5}


def test_counts_are_those_of_the_predictions(tiny: Splits) -> None:
    network, normalise = build("mlp:width=8", tiny.test.shape, 3, Rng(0)), Normalise(tiny.test.mean, tiny.test.std)
    part = tiny.test.take(torch.arange(50))
    found = predict(network, part, normalise).argmax(1)
    wanted = [
        [sum(1 for a, b in zip(part.labels, found, strict=True) if (a, b) == (r, c)) for c in range(3)]
        for r in range(3)
    ]
    assert [list(row) for row in confusion_of(network, part, normalise)] == wanted
    assert sum(map(sum, wanted)) == 50


def test_a_result_has_the_accuracy_of_each_class(tiny: Splits, tiny_set: CondensedSet, tmp_path: Path) -> None:
    found = yoco.evaluate(tiny_set, tiny, seeds=2, confusion=True, **QUICK)
    (row,) = found.results
    assert row.confusions is not None
    for last, counts in zip(row.last, row.confusions, strict=True):
        assert [sum(line) for line in counts] == [40, 40, 40]
        assert last == pytest.approx(100 * sum(counts[c][c] for c in range(3)) / 120)
    assert row.by_class == pytest.approx([sum(2.5 * counts[c][c] for counts in row.confusions) / 2 for c in range(3)])
    shares = ", ".join(f"{name} {share:.1f}" for name, share in zip("012", row.by_class, strict=True))
    assert repr(found).splitlines()[-1] == f"condensed, mlp:width=8, by class: {shares}"
    found.save(tmp_path / "found.json")
    kept = json.loads((tmp_path / "found.json").read_text())
    assert kept["classes"] == ["0", "1", "2"]
    assert kept["results"][0]["confusions"] == [[list(line) for line in counts] for counts in row.confusions]


def test_without_it_there_is_none(tiny: Splits, tiny_set: CondensedSet) -> None:
    found = yoco.evaluate(tiny_set, tiny, seeds=1, **QUICK)
    assert "by class" not in repr(found)
    assert "confusions" not in found.to_dict()["results"][0]
    with pytest.raises(ValueError, match=r"^by_class: needs confusions, got none; evaluate with confusion=True$"):
        _ = found.results[0].by_class


def test_a_class_without_test_images_has_no_accuracy() -> None:
    some: dict[str, Any] = {
        "name": "x",
        "network": "y",
        "images": 1,
        "epochs": 1,
        "seeds": (0,),
        "last": (1.0,),
        "best": (1.0,),
    }
    first, second, third = Row(**some, confusions=(((3, 1, 0), (0, 0, 0), (1, 1, 0)),)).by_class
    assert (first, third) == (75.0, 0.0)
    assert isnan(second)


def test_the_command_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yoco.condense("digits", "random", ipc=1, progress=False).save(tmp_path / "set.safetensors")
    words = ["--network", "mlp:width=4", "--epochs", "1", "--seeds", "1", "--confusion"]
    assert run(["evaluate", str(tmp_path / "set.safetensors"), *words]) == 0
    assert "condensed, mlp:width=4, by class: 0 " in capsys.readouterr().out
