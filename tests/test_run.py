"""Run directories: identity, atomic checkpoints, metrics after a kill."""

import io
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD

from yoco.run import Run, check_state

DAMAGED = r"checkpoint\.pt is damaged; remove it, and condensed\.safetensors if it is there, to start again$"


def test_the_same_configuration_goes_on_and_another_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path, {"ipc": 10, "minutes": 1, "device": "cpu"})
    with run.working():
        pass
    Run(tmp_path, {"ipc": 5})
    run.save({"episode": 1})
    Run(tmp_path, {"ipc": 10, "minutes": 5, "device": "auto"})
    with pytest.raises(ValueError, match=r"holds a run with ipc=10, got 5; choose another folder"):
        Run(tmp_path, {"ipc": 5, "minutes": 1, "device": "cpu"})
    assert "ipc: 10" in (tmp_path / "config.yaml").read_text()


def test_checkpoints_come_back(tmp_path: Path) -> None:
    run = Run(tmp_path, {})
    with run.working():
        pass
    assert run.restore() is None
    run.save({"episode": 3, "cells": torch.arange(4.0)})
    state = Run(tmp_path, {}).restore()
    assert state is not None
    assert state["episode"] == 3
    assert torch.equal(state["cells"], torch.arange(4.0))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_checkpoint_is_tried_out_without_its_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[dict[str, Any]] = []
    load = torch.load

    def spy(*given: Any, **how: Any) -> Any:
        tried.append(load(*given, **how))
        return tried[-1]

    monkeypatch.setattr(torch, "load", spy)
    both = torch.arange(6.0)
    state = {"episode": 1, "some": [both[:4], both[2:]], "none": torch.zeros(0), "weight": nn.Parameter(both)}
    run = Run(tmp_path, {})
    run.save(state)
    (seen,) = tried
    assert {part.device.type for part in (*seen["some"], seen["none"], seen["weight"])} == {"meta"}
    again = run.restore()
    assert again is not None
    assert [part.tolist() for part in again["some"]] == [[0, 1, 2, 3], [2, 3, 4, 5]]


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants:UserWarning")
def test_sparse_tensors_are_kept(tmp_path: Path) -> None:
    run = Run(tmp_path, {})
    run.save({"episode": 1, "sparse": torch.eye(3).to_sparse()})
    state = run.restore()
    assert state is not None
    assert torch.equal(state["sparse"].to_dense(), torch.eye(3))


def test_a_failing_write_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, {})
    run.save({"episode": 3})

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        run.save({"episode": 4})
    assert run.restore() == {"episode": 3}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_full_disk_is_named_with_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, {})

    def full(self: Path, mode: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError) as caught:
        run.log(episode=1)
    assert caught.value.filename == str(run.metrics)


def test_metrics_after_the_checkpoint_and_half_lines_are_dropped(tmp_path: Path) -> None:
    run = Run(tmp_path, {})
    run.save({"episode": 2})
    for episode in (1, 2, 3):
        run.log(episode=episode, loss=0.5)
    with run.metrics.open("a") as file:
        file.write('{"episode": 4, "lo')
    run.restore()
    assert run.metrics.read_text() == '{"episode": 1, "loss": 0.5}\n{"episode": 2, "loss": 0.5}\n'


def test_metrics_of_a_run_without_a_checkpoint_begin_anew(tmp_path: Path) -> None:
    run = Run(tmp_path, {})
    run.log(episode=1, loss=1.0)
    assert run.restore() is None
    assert not run.metrics.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    run = Run(tmp_path, {})
    run.checkpoint.write_bytes(content)
    with pytest.raises(ValueError, match=DAMAGED):
        run.restore()


def test_a_run_is_finished_when_only_its_result_is_there(tmp_path: Path) -> None:
    run = Run(tmp_path, {})
    assert not run.finished
    run.save({"episode": 1})
    run.result.write_bytes(b"")
    assert not run.finished
    run.finish()
    assert run.finished


@pytest.mark.parametrize("content", [b"just words", b"a: [1", b"\xff\xfe", b""])
def test_a_damaged_configuration_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"config\.yaml is missing or damaged"):
        Run(tmp_path, {})


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        Run(tmp_path, {}).working(),
        pytest.raises(ValueError, match="is being worked on by another process"),
        Run(tmp_path, {}).working(),
    ):
        pass
    with Run(tmp_path, {}).working():
        assert (tmp_path / "config.yaml").is_file()


def test_a_run_that_came_between_is_found(tmp_path: Path) -> None:
    late, early = Run(tmp_path, {"a": 1}), Run(tmp_path, {"a": 2})
    with early.working():
        early.save({"episode": 1})
    with pytest.raises(ValueError, match="holds a run with a=2, got 1; choose another folder"), late.working():
        pass
    assert Run(tmp_path, {"a": 2}).checkpoint.is_file()


def test_a_run_that_works_may_say_so_again(tmp_path: Path) -> None:
    run = Run(tmp_path, {})
    with run.working():
        with run.working():
            pass
        with pytest.raises(ValueError, match="is being worked on by another process"), Run(tmp_path, {}).working():
            pass
    with Run(tmp_path, {}).working():
        pass


def test_a_run_that_fails_at_once_leaves_no_folder(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    with pytest.raises(ValueError, match="start"), Run(place, {}).working():
        raise ValueError("start")
    assert list(tmp_path.iterdir()) == []
    run = Run(place, {})
    with pytest.raises(TypeError), run.working():
        run.log(episode=object())
    assert sorted(path.name for path in place.iterdir()) == ["config.yaml", "metrics.jsonl"]
    with pytest.raises(ValueError, match="start"), Run(tmp_path, {}).working():
        raise ValueError("start")
    assert (tmp_path / "config.yaml").is_file()


def test_an_error_of_the_run_itself_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError, match="pipe"), Run(tmp_path, {}).working():
        raise BlockingIOError("pipe")


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    config = {"seed": np.int64(3), "lr": np.float64(0.5), "bf16": np.bool_(True)}
    run = Run(tmp_path, config)
    with run.working():
        run.save({"episode": 1})
    assert run.config == Run(tmp_path, {"seed": 3, "lr": 0.5, "bf16": True}).config
    assert "seed: 3\n" in (tmp_path / "config.yaml").read_text()


def test_numbers_of_numpy_in_lists_and_mappings_are_numbers(tmp_path: Path) -> None:
    numpys = {"a": [np.int64(3), (np.float64(0.5),)], "b": {"c": [np.bool_(True)]}, "d": (np.int64(1), 2)}
    run = Run(tmp_path, numpys)
    assert run.config == {"a": [3, [0.5]], "b": {"c": [True]}, "d": [1, 2]}
    assert run.config == Run(tmp_path, {"a": [3, (0.5,)], "b": {"c": [True]}, "d": (1, 2)}).config
    assert run.config == Run(tmp_path, {"a": (3, [0.5]), "b": {"c": (True,)}, "d": [1, 2]}).config
    with run.working():
        run.save({"episode": 1})
    Run(tmp_path, numpys)


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl"])
def test_files_of_somebody_else_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine\n")
    with pytest.raises(
        ValueError, match=rf"^run: .*{name} was not written by this version of yoco; choose another folder$"
    ):
        Run(tmp_path, {})
    assert (tmp_path / name).read_text() == "mine\n"


def test_a_checkpoint_of_the_oldest_form_that_is_cut_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path, {})
    torch.save({"episode": 1, "cells": torch.arange(9.0)}, run.checkpoint, _use_new_zipfile_serialization=False)
    whole = run.checkpoint.read_bytes()
    for kept in range(0, len(whole) - 1, 7):
        run.checkpoint.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match=DAMAGED):
            run.restore()


def test_a_stray_line_among_the_metrics_is_dropped(tmp_path: Path) -> None:
    run = Run(tmp_path, {})
    run.save({"episode": 1})
    run.metrics.write_bytes(b'{"episode": 1, "loss": 2.0}\n6\n{"episode": null}\n{"epi\xff\n')
    assert run.restore() is not None
    assert run.metrics.read_text() == '{"episode": 1, "loss": 2.0}\n'


def test_the_same_data_may_be_at_another_place_but_have_no_other_name(tmp_path: Path) -> None:
    run = Run(tmp_path, {"data": "images/", "checksum": "a"}, ("mnist",))
    with run.working():
        run.save({"episode": 1})
    with Run(tmp_path, {"data": "images", "checksum": "a"}, ("mnist",)).working():
        assert "data: images\n" in (tmp_path / "config.yaml").read_text()
    with pytest.raises(ValueError, match="holds a run with checksum=a, got b; choose another folder"):
        Run(tmp_path, {"data": "images", "checksum": "b"}, ("mnist",))
    with pytest.raises(ValueError, match="holds a run with data=images, got mnist; choose another folder"):
        Run(tmp_path, {"data": "mnist", "checksum": "a"}, ("mnist",))
    (tmp_path / "config.yaml").write_text("data: a\n")  # without a checksum names decide
    with pytest.raises(ValueError, match="holds a run with data=a, got b; choose another folder"):
        Run(tmp_path, {"data": "b"})


@pytest.mark.parametrize(
    "state",
    [
        {"a": torch.arange(4.0), "b": [1, (0.5, "word", None)], "c": {"d": {2: True}}},
        {"network": nn.Linear(2, 2).state_dict(), "weight": nn.Parameter(torch.ones(2)), "size": torch.Size((1, 2))},
        {"optimizer": SGD([torch.ones(2, requires_grad=True)], lr=0.1, momentum=0.9).state_dict()},
    ],
)
def test_a_state_that_comes_back_may_be_kept(tmp_path: Path, state: dict[str, Any]) -> None:
    check_state(state)
    run = Run(tmp_path, {})
    run.save({**state, "episode": 1})
    assert run.restore() is not None


@pytest.mark.parametrize(
    "state",
    [
        {"a": np.zeros(2)},
        {"a": [1, ({"b": np.float64(1.0)},)]},
        {"network": OrderedDict(weight=np.zeros(2))},
        {"place": Path("here")},
    ],
)
def test_a_state_that_would_not_come_back_is_refused(tmp_path: Path, state: dict[str, Any]) -> None:
    rule = "^run: a checkpoint must hold only tensors, Python numbers and strings, and dicts and lists of these, got "
    with pytest.raises(ValueError, match=rule):
        check_state(state)
    with pytest.raises(ValueError, match=rule):
        Run(tmp_path, {}).save(state)


def test_a_state_is_checked_without_what_is_in_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    save = torch.save

    def watched(state: Any, buffer: io.BytesIO) -> None:
        save(state, buffer)
        sizes.append(len(buffer.getbuffer()))

    monkeypatch.setattr(torch, "save", watched)
    networks = [nn.Linear(300, 300).state_dict() for _ in range(3)]
    check_state({"networks": networks, "cells": torch.zeros(10, 3, 32, 32)})
    assert sizes[0] < 20_000
    assert networks[0]["weight"].shape == (300, 300)
