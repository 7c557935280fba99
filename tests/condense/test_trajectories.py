"""Trajectories: the unrolled student, its constant-memory form, and what it sees."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from augment import Policy
from yoco.condense.method import Task
from yoco.condense.methods.mtt import MTT
from yoco.condense.trajectories import student_loss
from yoco.data import Splits
from yoco.data.source import Batch
from yoco.networks.base import Network
from yoco.rng import Rng

NETWORK = "convnet:width=4,depth=2"
TOY: dict[str, Any] = {"count": 2, "expert_epochs": 3, "max_start": 2, "student_steps": 2}
PLAIN: dict[str, Any] = {**TOY, "augment": "", "lr_start": 0.05}


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 2, NETWORK)


@pytest.fixture
def double() -> Any:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def gradients(method: MTT, task: Task, seed: int = 3) -> tuple[float, Tensor, Tensor]:
    """Loss, and its gradients in pixels and step size, in one iteration."""
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    loss = next(method.episode(task, synthetic, memory, Rng(seed)))
    synthetic.take_gradient(loss)
    assert synthetic.cells.grad is not None
    assert synthetic.beside["lr"].grad is not None
    return float(loss.detach()), synthetic.cells.grad, synthetic.beside["lr"].grad


def test_segments_begin_at_every_epoch_from_min_start_to_the_one_below_max_start(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins: list[int] = []

    def segment(self: MTT, task: Task, synthetic: Any, memory: Any, begin: int, rng: Rng) -> Tensor:
        begins.append(begin)
        return torch.zeros(())

    monkeypatch.setattr(MTT, "segment", segment)
    method = MTT(**{**TOY, "expert_epochs": 12, "min_start": 3, "max_start": 6})
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(1))
    for seed in range(60):
        assert len(list(method.episode(task, synthetic, memory, Rng(seed)))) == 1
    assert set(begins) == {3, 4, 5}


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
        (step,) = torch.autograd.grad(student_loss(network, weights, batch, Rng(0)), weights, create_graph=True)
        total, weights = total + step, (weights - lr * step).detach()
    expected = (first - lr * total - goal).square().sum() / (first - goal).square().sum()
    pixels, rate = torch.autograd.grad(expected, [synthetic.cells, lr])
    loss, ours, our_rate = gradients(method, task)
    assert loss == pytest.approx(expected.item(), rel=1e-9)
    torch.testing.assert_close((ours, our_rate), (pixels, rate))


@pytest.mark.parametrize("constant", [False, True])
def test_layers_that_draw_do_so_anew_in_each_step_and_as_before_in_the_second_pass(
    task: Task, monkeypatch: pytest.MonkeyPatch, constant: bool
) -> None:
    keys: list[int] = []

    def loss(network: Network, weights: Tensor, batch: Batch, rng: Rng) -> Tensor:
        keys.append(rng.key())
        return student_loss(network, weights, batch, rng)

    monkeypatch.setattr("yoco.condense.trajectories.student_loss", loss)
    gradients(MTT(**{**PLAIN, "student_steps": 3, "constant_memory": constant}), task)
    assert len({*keys[:3]}) == 3
    assert keys[3:] == (keys[:3] if constant else [])


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
