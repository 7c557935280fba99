"""Teacher: its schedule, what it says in evaluation mode, and going on after a kill."""

from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from yoco.condense import teacher as module
from yoco.condense.method import Task
from yoco.condense.teacher import Teacher, taught, usual
from yoco.data import Splits
from yoco.rng import Rng
from yoco.train import accuracy, take_steps

NETWORK = "convnet:width=8,depth=2"


@pytest.fixture
def task(tiny: Splits) -> Task:
    return Task(tiny.train, 1, NETWORK)


def test_the_step_size_follows_the_recipe(task: Task) -> None:
    learner, seen = Teacher(task, usual(task, 6), Rng(0)), []
    for _ in range(6):
        learner.learn()
        seen.append(learner.optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.02, 0.004])


@pytest.mark.parametrize(("setting", "advice"), [("", ""), ("lr_teacher", "; lower lr_teacher")])
def test_a_training_that_diverges_is_said(task: Task, setting: str, advice: str) -> None:
    learner = Teacher(task, replace(usual(task, 6), lr=1e30), Rng(0), setting)
    with pytest.raises(
        ValueError, match=rf"^teacher: weights must be finite, got NaN or infinity in epoch \d{advice}$"
    ):
        deque((learner.learn() for _ in range(6)), maxlen=0)


def test_an_epoch_sees_every_image_once(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, steps = Teacher(task, usual(task, 2), Rng(0)), []
    monkeypatch.setattr(module, "take_steps", lambda *given: steps.append(given[3]) or take_steps(*given))
    learner.learn()
    assert steps == [2]  # 120 images in batches of 64
    assert learner.age == 1


def test_logits_are_those_of_the_evaluation_mode_in_the_order_of_the_data(task: Task) -> None:
    learner = taught(task, 12, seed=0)
    learner.network.train()
    images = task.real.batch(torch.arange(120)).images
    logits = learner.logits(images)
    assert not learner.network.training
    expected = learner.network(task.normalise(images)).detach()
    torch.testing.assert_close(logits, expected)
    assert 100 * float((logits.argmax(1) == task.real.labels).float().mean()) > 80
    seen = learner.features(images)
    torch.testing.assert_close(learner.network.head(seen), expected)


def test_a_killed_training_goes_on_to_the_same_bits(task: Task, tmp_path: Path) -> None:
    whole = taught(task, 4, seed=3)
    for stop in (1, 2, 3):
        folder, learn = tmp_path / str(stop), Teacher.learn

        def killed(self: Teacher, stop: int = stop, learn: object = learn) -> None:
            if self.age == stop:
                raise KeyboardInterrupt
            learn(self)  # type: ignore[operator]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Teacher, "learn", killed)
            with pytest.raises(KeyboardInterrupt):
                taught(task, 4, seed=3, folder=folder)
        again = taught(task, 4, seed=3, folder=folder)
        for one, other in zip(whole.network.parameters(), again.network.parameters(), strict=True):
            assert torch.equal(one, other)


def test_a_finished_teacher_is_only_read(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = taught(task, 2, seed=0, folder=tmp_path)
    monkeypatch.delattr(Teacher, "learn")
    again = taught(task, 2, seed=0, folder=tmp_path)
    assert accuracy(again.network, task.real, task.normalise) == accuracy(first.network, task.real, task.normalise)
    assert torch.equal(again.network.head.weight, first.network.head.weight)


def test_a_folder_of_another_teacher_is_refused(task: Task, tmp_path: Path) -> None:
    taught(task, 1, seed=0, folder=tmp_path)
    with pytest.raises(ValueError, match="holds a run with epochs=1, got 2; choose another folder"):
        taught(task, 2, seed=0, folder=tmp_path)
    others = [
        (replace(task, network_name="mlp"), 0, "network"),
        (task, 1, "seed"),
        (replace(task, autocast=torch.bfloat16), 0, "autocast"),
        (replace(task, real=task.real.take(torch.arange(90))), 0, "data"),
    ]
    for whose, seed, name in others:
        with pytest.raises(ValueError, match=f"holds a run with {name}="):
            taught(whose, 1, seed=seed, folder=tmp_path)


def test_a_teacher_needs_epochs(task: Task) -> None:
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        taught(task, 0, seed=0)


def test_every_epoch_has_a_stream_of_its_own(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, keys = Teacher(task, usual(task, 3), Rng(0)), []
    monkeypatch.setattr("yoco.condense.teacher.take_steps", lambda *given: keys.append(given[6].key()))
    for _ in range(3):
        learner.learn()
    assert len(set(keys)) == 3
