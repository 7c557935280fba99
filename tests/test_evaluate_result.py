"""Rows and results: mean and spread, the table, the JSON file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import yoco
from yoco.condensed import CondensedSet
from yoco.data import Splits
from yoco.evaluate import evaluate
from yoco.evaluate.result import Result, Row
from yoco.prune import select


def test_mean_and_sample_deviation() -> None:
    values = (71.5, 70.25, 74.0)
    row = Row(name="full", network="mlp", images=3, epochs=1, seeds=(0, 1, 2), last=values, best=values)
    said = row.to_dict()
    assert said["last_mean"] == pytest.approx(np.mean(values))
    assert said["best_std"] == pytest.approx(np.std(values, ddof=1))
    assert "curves" not in said
    assert replace(row, seeds=(0,), last=(1.0,), best=(2.0,)).to_dict()["last_std"] == 0.0


def result() -> Result:
    row = Row(name="condensed", network="mlp", images=36, epochs=4, seeds=(0, 1), last=(70.0, 72.0), best=(80.0, 81.0))
    full = replace(row, name="full", images=120, seeds=(0,), last=(99.5,), best=(100.0,))
    return Result(
        set="S",
        protocol="idc",
        epochs=4,
        data="digits",
        checksum="abc",
        same_data=None,
        results=(row, full),
        seconds=1.5,
        threads=1,
        device="cpu",
        versions={"torch": "2"},
    )


def test_the_table() -> None:
    assert repr(result()).splitlines() == [
        "digits, protocol idc, 2 seeds: test accuracy in percent",
        "name       network  images  epochs          last          best",
        "condensed  mlp          36       4  71.00 ± 1.41  80.50 ± 0.71",
        "full       mlp         120       4         99.50        100.00",
    ]


def test_the_table_says_the_bytes_of_a_condensed_set() -> None:
    lines = repr(replace(result(), storage="9 bytes: pixels 9")).splitlines()
    assert lines[:2] == ["digits, protocol idc, 2 seeds: test accuracy in percent", "the set: 9 bytes: pixels 9"]
    assert lines[2:] == repr(result()).splitlines()[1:]


def test_the_json_file(tmp_path: Path) -> None:
    result().save(tmp_path / "new" / "result.json")
    said = json.loads((tmp_path / "new" / "result.json").read_text(encoding="utf-8"))
    assert said == result().to_dict()
    wanted = ("set", "protocol", "epochs", "data", "checksum", "results", "seconds", "threads", "versions")
    assert set(wanted) <= set(said)
    assert said["results"][0] == {
        "name": "condensed",
        "network": "mlp",
        "images": 36,
        "epochs": 4,
        "seeds": [0, 1],
        "last": [70.0, 72.0],
        "best": [80.0, 81.0],
        "last_mean": 71.0,
        "last_std": pytest.approx(2**0.5),
        "best_mean": 80.5,
        "best_std": pytest.approx(0.5**0.5),
    }


def test_a_failing_save_leaves_what_stood_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "r.json").write_text("old")

    def full(*_: Any, **__: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        result().save(tmp_path / "r.json")
    assert (tmp_path / "r.json").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "r.json"]


def test_numbers_of_numpy_are_numbers(tiny: Splits, tiny_set: CondensedSet, tmp_path: Path) -> None:
    quick: dict[str, Any] = {"networks": "mlp:width=8", "progress": False, "device": "cpu"}
    found = evaluate(tiny_set, tiny, epochs=1, seeds=np.array([3, 5]), **quick)
    found.save(tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text())["results"][0]["seeds"] == [3, 5]
    assert len(evaluate(tiny_set, tiny, epochs=1, seeds=np.int64(2), **quick).results[0].last) == 2
    made = yoco.condense(tiny, "random", ipc=np.int64(2), seed=np.int64(7), progress=False)
    made.save(tmp_path / "set.safetensors")
    again = yoco.load(tmp_path / "set.safetensors")
    assert (again.seed, again.config["ipc"]) == (7, 2)
    select(made, rule="random", ipc=1, seed=np.int64(1)).save(tmp_path / "kept.npz")


def test_what_decides_an_accuracy_is_said(tiny: Splits, tiny_set: CondensedSet) -> None:
    how: dict[str, Any] = {"networks": "mlp:width=8", "epochs": 2, "seeds": 1, "progress": False, "device": "cpu"}
    usual = evaluate(tiny_set, tiny, **how).to_dict()
    other = evaluate(tiny_set, tiny, bf16=True, measurements=2, **how).to_dict()
    assert (usual["bf16"], usual["measurements"]) == (False, 4)
    assert (other["bf16"], other["measurements"]) == (True, 2)
    assert (usual["checksum"], usual["test_checksum"]) == (tiny.train.checksum, tiny.test.checksum)
