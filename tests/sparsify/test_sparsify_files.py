"""Files of a study: places are checked ahead, and what is there already outlives what fails or is stopped later."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from yoco.data import Splits
from yoco.run import alone
from yoco.sparsify.files import Files
from yoco.sparsify.sparse import load, rebuild
from yoco.sparsify.study import Study
from yoco.sparsify.weights import load_weights
from yoco.train import accuracy

MADE = ["dense.safetensors", "sparse.safetensors"]


@pytest.fixture
def study(tiny: Splits) -> Any:
    def study(**how: Any) -> Study:
        return Study(**{"data": tiny, "network": "mlp:width=8", "epochs": 1, "sparsity": 0.8, **how})

    return study


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def stop(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def refuse(*_: Any, **__: Any) -> Any:
    raise ValueError("shrink: no")


@pytest.mark.parametrize("at_init", [None, "random"])
def test_a_place_that_cannot_be_written_is_said_ahead_of_the_work(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_init: str | None
) -> None:
    for work in ("fit", "sparsify"):
        monkeypatch.setattr(f"yoco.sparsify.study.{work}", None)
    (tmp_path / "file").write_text("here")
    with pytest.raises(OSError, match="file"):
        study(at_init=at_init).run(tmp_path / "file")
    (tmp_path / "out" / "sparsify.json").mkdir(parents=True)
    with pytest.raises(OSError, match="Is a folder, name a file"):
        study(at_init=at_init).run(tmp_path / "out")


def test_trained_weights_outlive_a_stop_and_may_be_gone_on_with(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = study().run()
    with monkeypatch.context() as patched:
        patched.setattr("yoco.sparsify.study.sparsify", stop)
        with pytest.raises(KeyboardInterrupt):
            study().run(tmp_path)
    assert names(tmp_path) == MADE[:1]
    again = study(weights=tmp_path / "dense.safetensors").run(tmp_path)
    assert again.accuracy == whole.accuracy
    assert again.pruned.masks == whole.pruned.masks


def test_no_sparse_weights_stand_beside_dense_ones_of_another_run(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study().run(tmp_path)
    (tmp_path / "table.md").write_text("old")
    monkeypatch.setattr("yoco.sparsify.study.sparsify", stop)
    with pytest.raises(KeyboardInterrupt):
        study(seed=1).run(tmp_path)
    assert names(tmp_path) == MADE[:1]


def test_two_studies_do_not_share_a_folder(study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("yoco.sparsify.study.fit", None)
        with alone(tmp_path), pytest.raises(ValueError, match="is being worked on by another process"):
            study().run(tmp_path)
    assert names(tmp_path) == []
    study().run(tmp_path)
    with alone(tmp_path):
        assert names(tmp_path) == [*MADE, "sparsify.json"]


def test_pruned_weights_outlive_a_stop_while_they_are_retrained(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yoco.sparsify.study.retrain", stop)
    with pytest.raises(KeyboardInterrupt):
        study(retrain=1.0).run(tmp_path)
    assert names(tmp_path) == MADE
    assert load(tmp_path / "sparse.safetensors").masks.sparsity == pytest.approx(0.8, abs=0.01)


def test_pruned_weights_of_a_round_outlive_a_stop_while_they_are_retrained(
    study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yoco.sparsify.study.retrain", stop)
    with pytest.raises(KeyboardInterrupt):
        study(retrain=1.0, rounds=2).run(tmp_path)
    assert names(tmp_path) == MADE
    assert load(tmp_path / "sparse.safetensors").masks.sparsity == pytest.approx(1 - 0.2**0.5, abs=0.01)


def test_no_curves_are_made_for_a_picture_alone(study: Any, tmp_path: Path) -> None:
    assert study(options={"allocation": "global"}).run(tmp_path).pruned.curves == {}


def test_a_network_that_cannot_shrink_is_kept_as_it_is(
    study: Any, tiny: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study(retrain=1.0).run(tmp_path)
    before = load_file(tmp_path / "sparse.safetensors")
    turns = iter((lambda *_: None, refuse))  # of a fresh network, then of the sparse one
    monkeypatch.setattr("yoco.sparsify.study.shrink", lambda *given: next(turns)(*given))
    with pytest.raises(ValueError, match=r"^shrink: no$"):
        study(retrain=1.0, shrink=True).run(tmp_path)
    assert names(tmp_path) == [*MADE, "sparsify.json"]
    said = json.loads((tmp_path / "sparsify.json").read_text())
    assert said["settings"]["shrink"] is True  # what was said of the first is not true of the second
    assert "retrained" in said["accuracy"]
    assert "shrunk" not in said
    after = load_file(tmp_path / "sparse.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert load(tmp_path / "sparse.safetensors").about["shrunk"] is False
    assert accuracy(rebuild(tmp_path / "sparse.safetensors"), tiny.test, study().normalise) > 0


def test_shared_weights_and_numbers_of_numpy_are_written(tmp_path: Path) -> None:
    one, other = nn.Linear(3, 3), nn.Linear(3, 3)
    other.weight = one.weight
    files = Files(tmp_path, {})
    files.dense(nn.Sequential(one, other))
    files.say({"kept": np.int64(3)})
    assert torch.equal(load_file(tmp_path / "dense.safetensors")["1.weight"], one.weight)
    assert json.loads((tmp_path / "sparsify.json").read_text()) == {"kept": 3}


def test_files_of_nobody_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files, network = Files(None, {}), nn.Linear(3, 2)
    files.check()
    files.dense(network)
    files.say({})
    assert files.sparse(network) is None
    assert names(tmp_path) == []


def test_what_is_said_of_another_file_goes_and_all_else_stays(study: Any, tmp_path: Path) -> None:
    (tmp_path / "table.md").write_text("mine")
    study().run(tmp_path)
    assert (tmp_path / "table.md").read_text() == "mine"  # there was no sparse file that it could be of
    for name in ("curves.png", "mine.txt"):
        (tmp_path / name).write_text("old")
    made = study(sparsity=0.5)
    made.run(tmp_path)
    assert names(tmp_path) == sorted([*MADE, "mine.txt", "sparsify.json"])
    load_weights(made.fresh(), tmp_path / "dense.safetensors")


def test_what_came_out_is_told_while_nobody_else_works_in_the_folder(study: Any, tmp_path: Path) -> None:
    told: list[Any] = []

    def tell(found: Any) -> None:
        told.append(found)
        with pytest.raises(ValueError, match="is being worked on by another process"), alone(tmp_path):
            pass

    found = study().run(tmp_path, tell)
    assert len(told) == 1
    assert told[0] is found
    with alone(tmp_path):
        assert names(tmp_path) == [*MADE, "sparsify.json"]
