"""DATM: its window, labels that are learned, iterations that are skipped, and the mean that is kept."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import yoco
from yoco.condense import condense
from yoco.condense.experts import Experts, record
from yoco.condense.method import Task
from yoco.condense.methods import datm
from yoco.condense.methods.datm import DATM, right
from yoco.data import Splits
from yoco.rng import Rng

NETWORK = "convnet:width=4,depth=2"
TOY: dict[str, Any] = {
    "episodes": 4,
    "count": 2,
    "expert_epochs": 4,
    "max_start": 3,
    "student_steps": 2,
    "threshold": 1e9,
    "augment": "",
    "lr_start": 0.05,
    "lr_image": 10.0,
}


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
    return condense(tiny, "datm", **options)


def stepped(method: DATM, task: Task, count: int = 1) -> tuple[Any, Any, int]:
    """The set and the memory after some episodes, and how many steps were taken."""
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(0))
    optimizer, steps = method.optimizer(synthetic), 0
    for k in range(count):
        for loss in method.episode(task, synthetic, memory, Rng(3).child(k)):
            synthetic.take_gradient(loss)
            optimizer.step()
            steps += 1
    return synthetic, memory, steps


def expert(task: Task, method: DATM) -> nn.Module:
    """The first expert after its last epoch."""
    network = task.network(Rng(5)).train()
    row = method.memory(task, Rng(0)).trajectory(0)[-1].to(torch.get_default_dtype())
    nn.utils.vector_to_parameters(row.clone(), network.parameters())
    return network


def test_the_loss_is_the_distance_that_is_left_with_soft_labels(task: Task, double: None) -> None:
    """In NumPy's softmax: cross-entropy against the softmax of learned logits, step by step."""
    method, rng = DATM(**TOY, min_start=2), Rng(3)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(0))
    loss = float(next(method.episode(task, synthetic, memory, rng)).detach())
    path = memory.trajectory(int(rng.child("expert").choice(2, 1))).double()
    network = task.network(rng.child("network"))
    nn.utils.vector_to_parameters(path[2].clone(), network.parameters())
    images = task.normalise(synthetic.beside["pixels"].detach())
    raised = np.exp(synthetic.beside["logits"].detach().numpy())
    targets = torch.from_numpy(raised / raised.sum(1, keepdims=True))
    for _ in range(2):
        entropy = -(targets * network(images).log_softmax(1)).sum(1).mean()
        grads = torch.autograd.grad(entropy, list(network.parameters()))
        with torch.no_grad():
            for weight, grad in zip(network.parameters(), grads, strict=True):
                weight -= 0.05 * grad
    student = nn.utils.parameters_to_vector(network.parameters())
    expected = (student - path[4]).square().sum() / (path[2] - path[4]).square().sum()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-6)


@pytest.mark.parametrize("leaf", ["logits", "pixels"])
def test_logits_and_pixels_get_the_derivatives(task: Task, double: None, leaf: str) -> None:
    method = DATM(**TOY)
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(0))

    def loss() -> Any:
        return next(method.episode(task, synthetic, memory, Rng(3)))

    synthetic.take_gradient(loss())
    value = synthetic.beside[leaf]
    place, h = ((1, 0, 3, 4), 1e-4) if leaf == "pixels" else ((1, 2), 1e-4)
    value.data[place] += h
    above = float(loss().detach())
    value.data[place] -= 2 * h
    below = float(loss().detach())
    variance = task.real.std[0] ** 2 if leaf == "pixels" else 1.0
    assert value.grad is not None
    assert (above - below) / (2 * h) * variance == pytest.approx(float(value.grad[place]), rel=1e-2)


@pytest.mark.parametrize("seen", [{}, {"augment": "crop_scale", "student_batch": 4}])
def test_constant_memory_learns_labels_too(task: Task, double: None, seen: dict[str, Any]) -> None:
    grads = []
    for flag in (False, True):
        method = DATM(**{**TOY, **seen, "student_steps": 1, "constant_memory": flag})
        synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(0))
        synthetic.take_gradient(next(method.episode(task, synthetic, memory, Rng(3))))
        grads.append([synthetic.beside[name].grad for name in ("pixels", "logits", "lr")])
    assert float(grads[0][1].abs().max()) > 0
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


def test_it_starts_from_images_that_the_expert_gets_right_with_its_labels(task: Task) -> None:
    method = DATM(**{**TOY, "expert_epochs": 12, "lr_expert": 0.02})
    synthetic, network = method.synthetic(task, Rng(0)), expert(task, method)
    logits = network(task.normalise(synthetic.cells.detach())).detach()
    assert torch.equal(logits.argmax(1), synthetic.labels)
    torch.testing.assert_close(synthetic.beside["logits"].detach(), logits)
    soft = synthetic.soft_labels().detach()
    torch.testing.assert_close(soft.sum(1), torch.ones(6))
    everything = network(task.normalise(task.real.batch(torch.arange(120)).images)).argmax(1)
    assert not torch.equal(everything, task.real.labels)  # there were wrong ones to avoid
    whole = [task.real.batch(members).images for members in task.real.by_class]
    for cell, label in zip(synthetic.cells.detach(), synthetic.labels.tolist(), strict=True):
        assert (whole[label] == cell).flatten(1).all(1).any()


@pytest.mark.parametrize("hits", [[], [3, 7, 30], list(range(0, 40, 2)), list(range(40))])
def test_images_that_are_right_come_first_and_none_twice(task: Task, hits: list[int]) -> None:
    logits = torch.eye(3)[torch.ones(40, dtype=torch.long)]
    logits[hits] = torch.eye(3)[0]
    found = right(task, logits, 0, Rng(0)).tolist()
    assert sorted(found) == list(range(40))
    assert sorted(found[: len(hits)]) == hits
    assert found != sorted(found)


def test_the_window_grows() -> None:
    method = DATM(min_start=2, grow_from=10, max_start=20, grow_over=1000)
    assert [method.latest(k) for k in (0, 99, 100, 500, 1000, 9999)] == [10, 10, 11, 15, 20, 20]
    assert {DATM(max_start=20).latest(k) for k in (0, 500, 5000)} == {20}


def test_segments_begin_inside_the_window(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    begins: list[int] = []
    monkeypatch.setattr(datm, "FRUITLESS", 1000)
    monkeypatch.setattr(DATM, "segment", lambda *given: begins.append(given[4]) or torch.tensor(99.0))
    method = DATM(
        **{
            **TOY,
            "episodes": 1000,
            "expert_epochs": 12,
            "min_start": 3,
            "grow_from": 5,
            "max_start": 8,
            "grow_over": 40,
            "threshold": 1.0,
        }
    )
    stepped(method, task, 120)
    assert set(begins[:10]) == {3, 4}
    assert set(begins[40:]) == {3, 4, 5, 6, 7}


def test_an_iteration_above_the_threshold_changes_nothing(task: Task) -> None:
    before = DATM(**TOY).synthetic(task, Rng(0))
    skipped, memory, steps = stepped(DATM(**{**TOY, "threshold": 1e-9}), task, 2)
    assert (steps, memory.age) == (0, 2)
    assert all(torch.equal(a, b) for a, b in zip(skipped.parameters(), before.parameters(), strict=True))
    taken, _, steps = stepped(DATM(**TOY), task, 2)
    assert steps == 2
    assert not any(torch.equal(a, b) for a, b in zip(taken.parameters(), before.parameters(), strict=True))


def test_a_loss_that_is_no_number_is_told_and_not_skipped(tiny: Splits) -> None:
    with pytest.raises(ValueError, match="condense: loss must be finite, got nan in episode 0"):
        made(tiny, lr_start=1e38, student_steps=4)


def test_what_is_saved_is_the_running_mean_of_what_the_student_sees(task: Task) -> None:
    method = DATM(**{**TOY, "decay": 0.75})
    synthetic, memory = method.synthetic(task, Rng(0)), method.memory(task, Rng(0))
    optimizer, mean = method.optimizer(synthetic), synthetic.cells.detach().double().numpy()
    for k in range(3):
        for loss in method.episode(task, synthetic, memory, Rng(3).child(k)):
            synthetic.take_gradient(loss)
            optimizer.step()
        mean = 0.75 * mean + 0.25 * synthetic.beside["pixels"].detach().double().numpy()
    np.testing.assert_allclose(synthetic.cells.detach().numpy(), mean, atol=1e-6)
    assert not torch.equal(synthetic.cells, synthetic.beside["pixels"])


def test_pixels_off_the_canvas_never_change(tiny: Splits) -> None:
    found = made(tiny, factor=3, ipc=1, lr_image=1000.0, decay=0.0)
    before = made(tiny, factor=3, ipc=1, episodes=0)
    assert torch.equal(found.cells[8::9, :, 2:], before.cells[8::9, :, 2:])
    assert not torch.equal(found.cells[8::9], before.cells[8::9])


def test_the_set_has_its_learned_labels(tiny: Splits) -> None:
    found, start = made(tiny, lr_labels=100.0), made(tiny, episodes=0)
    assert found.soft_labels is not None
    assert start.soft_labels is not None
    assert not torch.equal(found.soft_labels, start.soft_labels)
    torch.testing.assert_close(found.soft_labels.sum(1), torch.ones(6))
    assert found.config["learned"]["lr"] > 0
    with pytest.raises(ValueError, match=r"^condense: labels must be teacher or learned with datm, got 'hard'$"):
        made(tiny, labels="hard")


def test_start_and_iterations_have_the_recorded_experts(task: Task, tmp_path: Any) -> None:
    method = DATM(**TOY)
    recorded = record(task, method.recipe(), tmp_path, 1, seed=7).trajectory(0)
    for stream in (Rng(7).child("start"), Rng(7).child("memory")):
        assert torch.equal(method.memory(task, stream).trajectory(0), recorded)


@pytest.mark.parametrize(("episodes", "told"), [(4, 4), (200, 50)])
def test_a_threshold_that_nothing_passes_is_said_before_long(task: Task, episodes: int, told: int) -> None:
    method = DATM(**{**TOY, "threshold": 1e-9, "episodes": episodes})
    memory = method.memory(task, Rng(0))
    memory.age = told - 1
    synthetic = method.synthetic(task, Rng(0))
    message = rf"^datm: threshold must not be below all of the first {told} losses, got 1e-09, last loss [\d.]+$"
    with pytest.raises(ValueError, match=message):
        list(method.episode(task, synthetic, memory, Rng(3)))
    again = method.memory(task, Rng(0))
    again.load_state_dict({"age": told - 1, "taken": 1})
    assert list(method.episode(task, synthetic, again, Rng(3))) == []
    assert again.state_dict() == {"age": told, "taken": 1}


def test_the_expert_of_the_start_is_trained_once(tiny: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers: list[int] = []
    plain = Experts._recorded
    monkeypatch.setattr(
        Experts, "_recorded", lambda self, number, rng: numbers.append(number) or plain(self, number, rng)
    )
    made(tiny)
    assert sorted(numbers) == [0, 1]
    made(tiny)
    assert sorted(numbers) == [0, 0, 1, 1]
