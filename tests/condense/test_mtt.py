"""MTT: experts as recorded, the unrolled student, its constant-memory form, and what may not happen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import yoco
from augment import Policy
from yoco import artefact
from yoco.condense import condense, experts, settings_of
from yoco.condense.experts import KIND, VERSION, Experts, flat, record, unflat
from yoco.condense.method import Task
from yoco.condense.methods.mtt import MTT
from yoco.condense.trajectories import student_loss
from yoco.data import Splits
from yoco.rng import Rng
from yoco.train import Recipe, fit

NAME = "yoco.condense.methods.mtt:MTT"
NETWORK = "convnet:width=4,depth=2"
TOY: dict[str, Any] = {"episodes": 4, "count": 2, "expert_epochs": 3, "max_start": 2, "student_steps": 2}
PLAIN: dict[str, Any] = {**TOY, "augment": "", "lr_start": 0.05}


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, NETWORK)


@pytest.fixture
def double() -> Any:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def made(tiny: Splits, **changes: Any) -> yoco.CondensedSet:
    options = {"ipc": 2, "seed": 0, "network": NETWORK, "progress": False, **TOY, **changes}
    return condense(tiny, NAME, **options)


def gradients(method: MTT, task: Task, seed: int = 3) -> tuple[float, Tensor, Tensor]:
    """Loss, and its gradients in pixels and step size, in one iteration."""
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    loss = next(method.episode(task, synthetic, memory, Rng(seed)))
    synthetic.take_gradient(loss)
    assert synthetic.cells.grad is not None
    assert synthetic.beside["lr"].grad is not None
    return float(loss.detach()), synthetic.cells.grad, synthetic.beside["lr"].grad


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
        (task, replace(recipe, augment=Policy("crop", "dsa")), r"augment .*crop.*, got "),
    ]
    for whose, how, message in others:
        with pytest.raises(ValueError, match=rf"^experts: .*expert-0.safetensors must be of {message}"):
            Experts(whose, how, Rng(0), tmp_path)
        with pytest.raises(ValueError, match=rf"^experts: .*expert-0.safetensors must be of {message}"):
            record(whose, how, tmp_path, 2)
    with pytest.raises(ValueError, match=r"^experts: count must be at least 1, got 0$"):
        record(task, recipe, tmp_path, 0)


def test_files_of_experts_that_do_not_say_how_images_were_augmented_are_read(task: Task, tmp_path: Path) -> None:
    recipe = MTT(**TOY).recipe()
    record(task, recipe, tmp_path, 1)
    path = tmp_path / "expert-0.safetensors"
    tensors, header = artefact.read(path, KIND, VERSION)
    older = {name: value for name, value in header.items() if name not in ("augment", "weight_decay")}
    assert len(header) - len(older) == 2
    artefact.write(path, KIND, VERSION, tensors, older)
    assert torch.equal(Experts(task, recipe, Rng(0), tmp_path).trajectory(0), tensors["weights"])


def test_experts_of_a_folder_do_not_fill_the_memory(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experts, "HELD", 2)
    read = record(task, MTT(**TOY).recipe(), tmp_path, 4)
    first = read.trajectory(0).clone()
    assert [(read.trajectory(k), list(read.known))[1] for k in (1, 2, 3)] == [[0, 1], [1, 2], [2, 3]]
    assert torch.equal(read.trajectory(0), first)
    kept = Experts(task, MTT(**TOY).recipe(), Rng(0))
    for k in range(3):
        kept.trajectory(k)
    assert list(kept.known) == [0, 1, 2]


def test_the_loss_is_the_distance_that_is_left(task: Task, double: None) -> None:
    method = MTT(**PLAIN)
    synthetic, memory, rng = method.synthetic(task, Rng(0)), method.memory(task, Rng(1)), Rng(3)
    number, begin = int(rng.child("expert").choice(2, 1)), int(rng.child("epoch").choice(2, 1))
    path = memory.trajectory(number).double()
    network = task.network(rng.child("network"))
    nn.utils.vector_to_parameters(path[begin].clone(), network.parameters())
    images = task.normalise(synthetic.everything().images.detach())
    for _ in range(2):
        grads = torch.autograd.grad(cross_entropy(network(images), synthetic.labels), list(network.parameters()))
        with torch.no_grad():
            for weight, grad in zip(network.parameters(), grads, strict=True):
                weight -= 0.05 * grad
    student, goal = nn.utils.parameters_to_vector(network.parameters()), path[begin + 2]
    expected = (student - goal).square().sum() / (path[begin] - goal).square().sum()
    loss, _, _ = gradients(method, task)
    assert loss == pytest.approx(float(expected.detach()), rel=1e-6)


def test_pixels_and_step_size_get_the_derivatives(task: Task, double: None) -> None:
    method = MTT(**PLAIN)
    _, pixels, lr = gradients(method, task)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))

    def loss() -> float:
        return float(next(method.episode(task, synthetic, memory, Rng(3))).detach())

    def slope(leaf: Tensor, place: tuple[int, ...], h: float) -> float:
        leaf.data[place] += h
        above = loss()
        leaf.data[place] -= 2 * h
        below = loss()
        leaf.data[place] += h
        return (above - below) / (2 * h)

    assert slope(synthetic.beside["lr"], (), 1e-5) == pytest.approx(float(lr), rel=1e-3)
    place = (1, 0, 3, 4)
    variance = task.real.std[0] ** 2
    assert slope(synthetic.cells, place, 1e-4) * variance == pytest.approx(float(pixels[place]), rel=1e-2)


@pytest.mark.parametrize("steps", [1, 3])
def test_constant_memory_has_the_same_value_and_at_one_step_the_same_gradients(
    task: Task, double: None, steps: int
) -> None:
    method = {flag: MTT(**{**PLAIN, "student_steps": steps, "constant_memory": flag}) for flag in (False, True)}
    (loss, pixels, lr), (same, other, other_lr) = (gradients(method[flag], task) for flag in (False, True))
    assert same == pytest.approx(loss, rel=1e-9)
    if steps == 1:
        torch.testing.assert_close(other, pixels)
        torch.testing.assert_close(other_lr, lr)
    else:
        close = torch.nn.functional.cosine_similarity(other.flatten(), pixels.flatten(), dim=0)
        assert 0.8 < float(close) < 1


def test_constant_memory_takes_the_weights_of_each_step_as_given(task: Task, double: None) -> None:
    """Its second pass sees what the first saw, in the same order: here both are one, and in one graph."""
    some = {**PLAIN, "student_steps": 3, "augment": "crop_scale", "student_batch": 4}
    method, rng = MTT(**some, constant_memory=True), Rng(3)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    path = memory.trajectory(int(rng.child("expert").choice(2, 1))).double()
    begin, network = int(rng.child("epoch").choice(2, 1)), task.network(rng.child("network"))
    first, goal, lr = path[begin], path[begin + 2], synthetic.beside["lr"]
    weights, total = first, torch.zeros_like(first)
    for batch in method.batches(task, synthetic, rng.child("student")):
        weights = weights.requires_grad_()
        (step,) = torch.autograd.grad(student_loss(network, weights, batch), weights, create_graph=True)
        total, weights = total + step, (weights - lr * step).detach()
    expected = (first - lr * total - goal).square().sum() / (first - goal).square().sum()
    pixels, rate = torch.autograd.grad(expected, [synthetic.cells, lr])
    loss, ours, our_rate = gradients(method, task)
    assert loss == pytest.approx(expected.item(), rel=1e-9)
    torch.testing.assert_close((ours, our_rate), (pixels, rate))


def test_the_student_sees_augmented_images(task: Task) -> None:
    method, rng = MTT(**{**TOY, "augment": "color_crop", "student_batch": 4}), Rng(3)
    synthetic, policy = method.synthetic(task, Rng(0)), Policy("color_crop", "dsa")
    for step, seen in enumerate(method.batches(task, synthetic, rng)):
        rest = torch.cat([rng.child("order", k).choice(6, 6) for k in range(2)])
        chosen = synthetic.everything(rest[4 * step : 4 * step + 4])
        draw = policy.draw(4, (8, 8), rng.child("augment", step).generator())
        assert torch.equal(seen.images, policy(task.normalise(chosen.images), draw))
        assert torch.equal(seen.labels, chosen.labels)


def test_all_images_are_seen_before_one_is_seen_again(task: Task) -> None:
    method = MTT(**{**PLAIN, "student_steps": 6, "student_batch": 4})
    synthetic = method.synthetic(task, Rng(0))
    labels = [batch.labels for batch in method.batches(task, synthetic, Rng(0))]
    assert [len(part) for part in labels] == [4] * 6
    images = [batch.images.detach() for batch in method.batches(task, synthetic, Rng(0))]
    seen = torch.cat(images).flatten(1)
    own = task.normalise(synthetic.everything().images.detach()).flatten(1)
    counts = torch.bincount(torch.cdist(seen, own).argmin(1), minlength=6)
    assert counts.tolist() == [4] * 6


def test_the_step_size_never_turns_negative(tiny: Splits) -> None:
    found = made(tiny, lr_lr=100.0)
    assert found.config["learned"]["lr"] >= 1e-6


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


def test_it_goes_on_to_the_same_bits_after_every_episode(tiny: Splits, tmp_path: Path) -> None:
    whole = made(tiny)
    for stop in range(1, 4):

        def leave(progress: Any, stop: int = stop) -> None:
            if progress.episode == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            made(tiny, out=tmp_path / str(stop), callbacks=(leave,))
        found = made(tiny, out=tmp_path / str(stop))
        assert torch.equal(found.cells, whole.cells)
        assert found.config["learned"] == whole.config["learned"]


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
