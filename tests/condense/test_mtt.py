"""MTT: experts as recorded and read, published settings, and what may not happen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import yoco
from augment import Policy
from yoco import artefact
from yoco.condense import condense, experts, settings_of
from yoco.condense.experts import KIND, VERSION, Experts, flat, record, unflat
from yoco.condense.method import Task
from yoco.condense.methods.mtt import MTT
from yoco.data import Splits
from yoco.rng import Rng
from yoco.train import Recipe, fit

NAME = "yoco.condense.methods.mtt:MTT"
NETWORK = "convnet:width=4,depth=2"
TOY: dict[str, Any] = {"episodes": 4, "count": 2, "expert_epochs": 3, "max_start": 2, "student_steps": 2}


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, NETWORK)


def made(tiny: Splits, **changes: Any) -> yoco.CondensedSet:
    options = {"ipc": 2, "seed": 0, "network": NETWORK, "progress": False, **TOY, **changes}
    return condense(tiny, NAME, **options)


def test_a_trajectory_is_that_of_the_training(task: Task) -> None:
    method = MTT(**TOY)
    found = method.memory(task, Rng(1)).trajectory(1)
    stream = Rng(1).child("experts", "expert", 1)
    network = task.network(stream.child("network"))
    rows = [flat(network)]
    fit(
        network,
        task.real,
        method.recipe(),
        task.normalise,
        stream.child("train"),
        after_epoch=lambda _: rows.append(flat(network)),
    )
    assert torch.equal(found, torch.stack(rows))
    assert found.shape[0] == 4
    assert all(not torch.equal(found[k], found[k + 1]) for k in range(3))


def test_a_row_of_weights_is_the_network(task: Task) -> None:
    network = task.network(Rng(0))
    found = unflat(network, flat(network))
    assert all(torch.equal(found[name], weight) for name, weight in network.named_parameters())
    row = flat(network)
    with torch.no_grad():
        next(network.parameters()).add_(1)
    assert not torch.equal(row, flat(network))


def test_experts_are_read_where_they_were_recorded(task: Task, tmp_path: Path) -> None:
    recipe, said = MTT(**TOY).recipe(), []
    first = record(task, recipe, tmp_path, 2, seed=5, tell=lambda number, new: said.append((number, new)))
    assert said == [(0, True), (1, True)]
    weights = first.trajectory(1)
    (tmp_path / "expert-1.safetensors").unlink()
    again = record(task, recipe, tmp_path, 2, seed=5, tell=lambda number, new: said.append((number, new)))
    assert said[2:] == [(0, False), (1, True)]
    assert torch.equal(again.trajectory(1), weights)
    read = Experts(task, recipe, Rng(99), tmp_path)
    assert torch.equal(read.trajectory(1), weights)
    others = [
        (Task(task.real, 2, "mlp:width=4"), recipe, "network mlp:width=4, got convnet"),
        (task, replace(recipe, epochs=9), "epochs 9, got 3"),
        (Task(replace(task.real, mean=(0.5,)), 2, NETWORK), recipe, r"mean \[0\.5\], got \["),
        (Task(task.real.take(torch.arange(90)), 2, NETWORK), recipe, "data "),
        (task, replace(recipe, lr=0.5), "lr 0.5, got 0.01"),
        (task, replace(recipe, batch=7), "batch 7, got "),
        (task, replace(recipe, momentum=0.5), "momentum 0.5, got 0.0"),
        (task, replace(recipe, weight_decay=0.5), "weight_decay 0.5, got 0.0"),
        (task, replace(recipe, augment=Policy("crop", "dsa")), r"augment .*crop.*, got "),
    ]
    for whose, how, message in others:
        with pytest.raises(ValueError, match=rf"^experts: .*expert-0.safetensors must be trained with {message}"):
            Experts(whose, how, Rng(0), tmp_path)
        with pytest.raises(ValueError, match=rf"^experts: .*expert-0.safetensors must be trained with {message}"):
            record(whose, how, tmp_path, 2)
    with pytest.raises(ValueError, match=r"^experts: count must be at least 1, got 0$"):
        record(task, recipe, tmp_path, 0)


def test_iterations_have_the_recorded_experts(task: Task, tmp_path: Path) -> None:
    method = MTT(**TOY)
    recorded = record(task, method.recipe(), tmp_path, 1, seed=7).trajectory(0)
    assert torch.equal(method.memory(task, Rng(7).child("memory")).trajectory(0), recorded)


def test_files_of_experts_that_do_not_say_how_images_were_augmented_are_read(task: Task, tmp_path: Path) -> None:
    recipe = MTT(**TOY).recipe()
    record(task, recipe, tmp_path, 1)
    path = tmp_path / "expert-0.safetensors"
    tensors, header = artefact.read(path, KIND, VERSION)
    older = {name: value for name, value in header.items() if name not in ("augment", "weight_decay")}
    assert len(header) - len(older) == 2
    artefact.write(path, KIND, VERSION, tensors, older)
    assert torch.equal(Experts(task, recipe, Rng(0), tmp_path).trajectory(0), tensors["weights"])


def test_experts_of_another_seed_or_precision_are_not_mixed(task: Task, tmp_path: Path) -> None:
    recipe = MTT(**TOY).recipe()
    record(task, recipe, tmp_path, 1, seed=3)
    with pytest.raises(ValueError, match=r"^experts: .*expert-0.safetensors must be trained with seed 4, got 3$"):
        record(task, recipe, tmp_path, 2, seed=4)
    with pytest.raises(ValueError, match=r"must be trained with autocast torch.bfloat16, got None$"):
        Experts(replace(task, autocast=torch.bfloat16), recipe, Rng(3), tmp_path)
    assert Experts(task, recipe, Rng(4), tmp_path).trajectory(0).shape[0] == 4


def test_what_a_folder_lacks_is_recorded_as_what_it_has(task: Task, tmp_path: Path) -> None:
    recipe = MTT(**TOY).recipe()
    whole = record(task, recipe, tmp_path / "whole", 2, seed=3)
    record(task, recipe, tmp_path / "part", 1, seed=3)
    other = Experts(task, recipe, Rng(4).child("experts"), tmp_path / "part")
    assert torch.equal(other.trajectory(1), whole.trajectory(1))
    record(task, recipe, tmp_path / "part", 2, seed=3)
    alone = Experts(task, recipe, Rng(4).child("experts"), tmp_path / "empty")
    assert not torch.equal(alone.trajectory(1), whole.trajectory(1))


def test_a_place_for_experts_that_cannot_be_written_is_said_before_any_training(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experts, "fit", None)
    (tmp_path / "file").write_text("here")
    with pytest.raises(OSError, match="file"):
        record(task, MTT(**TOY).recipe(), tmp_path / "file", 1)


def test_experts_of_a_folder_do_not_fill_the_memory(task: Task, tmp_path: Path) -> None:
    recipe = MTT(**TOY).recipe()
    read = record(task, recipe, tmp_path, 3)
    whole = read.trajectory(1).clone()
    assert [row.tolist() for row in read.weights(1, 0, 2)] == whole[[0, 2]].tolist()
    (tmp_path / "expert-1.safetensors").unlink()
    assert torch.equal(read.weights(1, 3)[0], whole[3])
    assert read.known == {}
    kept = Experts(task, recipe, Rng(0).child("experts"))
    assert all(torch.equal(kept.weights(k, 2)[0], read.weights(k, 2)[0]) for k in range(3))
    assert list(kept.known) == [0, 1, 2]


def test_the_step_size_never_turns_negative(tiny: Splits, task: Task) -> None:
    found = made(tiny, lr_lr=100.0)
    assert found.config["learned"]["lr"] >= 1e-6
    method = MTT(**{**TOY, "lr_start": 0.2})
    synthetic = method.synthetic(task, Rng(0))
    synthetic.beside["lr"].detach().fill_(-1.0)
    method.clamp(synthetic)
    assert synthetic.beside["lr"].item() == pytest.approx(2e-4)


@pytest.mark.parametrize(
    ("data", "ipc", "expected"),
    [
        ("cifar10", 1, (50, 2, 2, 100.0, 1e-7, 1e-2, 0)),
        ("cifar10", 10, (30, 2, 20, 100.0, 1e-5, 1e-3, 0)),
        ("cifar10", 50, (30, 2, 40, 1000.0, 1e-5, 1e-3, 0)),
        ("cifar100", 1, (20, 3, 20, 1000.0, 1e-5, 1e-2, 0)),
        ("cifar100", 10, (20, 2, 20, 1000.0, 1e-5, 1e-2, 0)),
        ("cifar100", 50, (80, 2, 40, 1000.0, 1e-5, 1e-2, 125)),
        ("tiny-imagenet", 1, (10, 2, 10, 1e4, 1e-4, 1e-2, 0)),
        ("tiny-imagenet", 10, (20, 2, 40, 1e4, 1e-4, 1e-2, 200)),
        ("tiny-imagenet", 50, (20, 2, 40, 1e4, 1e-4, 1e-2, 300)),
        ("fashion-mnist", 10, (30, 2, 20, 100.0, 1e-5, 1e-3, 0)),
    ],
)
def test_published_settings(data: str, ipc: int, expected: tuple[Any, ...]) -> None:
    m: Any = settings_of(NAME, data, ipc, None)
    assert (m.student_steps, m.expert_steps, m.max_start, m.lr_image, m.lr_lr, m.lr_start, m.student_batch) == expected
    assert (m.episodes, m.count, m.expert_epochs, m.expert_batch, m.lr_expert) == (5000, 100, 50, 256, 0.01)


def test_digits_have_settings_of_our_own() -> None:
    m: Any = settings_of(NAME, "digits", 10, (1, 8, 8))
    assert (m.episodes, m.count, m.expert_epochs, m.expert_batch, m.lr_expert, m.depth) == (200, 5, 15, 64, 0.1, 2)


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        ("convnet", "convnet:depth=1"),
        ("convnet:width=8", "convnet:width=8,depth=1"),
        ("convnet:depth=2", "convnet:depth=2"),
        ("mlp", "mlp"),
    ],
)
def test_depth_is_that_of_experts_and_student(tiny: Splits, asked: str, used: str) -> None:
    found = MTT(depth=1).memory(Task(tiny.train, 1, asked), Rng(0))
    assert found.task.network_name == used
    assert MTT().memory(Task(tiny.train, 1, asked), Rng(0)).task.network_name == asked


@pytest.mark.parametrize("data", ["cifar10", "svhn"])
def test_experts_are_trained_plainly_but_augmented(task: Task, data: str) -> None:
    method = MTT.published(data, 10)
    words = "color_crop_cutout_scale_rotate" if data == "svhn" else "color_crop_cutout_flip_scale_rotate"
    plain: Any = {"momentum": 0.0, "weight_decay": 0.0, "drops": (), "cutmix": 0.0}
    expected = Recipe(epochs=50, batch=256, lr=0.01, augment=Policy(words, "dsa"), **plain)
    assert method.recipe() == method.memory(task, Rng(0)).recipe == expected
    assert expected.length == 50


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"count": 0}, "mtt: count must be at least 1, got 0"),
        ({"expert_epochs": 20}, "mtt: expert_epochs must be at least 21 for these segments, got 20"),
        ({"min_start": 20}, "mtt: min_start must be at least 0 and below max_start, got 20 and 20"),
        ({"lr_start": 0.0}, "mtt: student_batch must be at least 0 and lr_start above 0, got 0 and 0"),
        ({"depth": -1}, "mtt: depth must be at least 0, got -1"),
    ],
)
def test_impossible_settings(setting: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=f"^{line}$"):
        MTT(**setting)
