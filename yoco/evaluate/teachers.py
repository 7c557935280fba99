"""Teachers, for the protocols whose networks learn a teacher's outputs (SRe2L, RDED)."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from yoco import networks
from yoco.evaluate.trials import Plan, Trial, finite
from yoco.protocols import TEACHER_EPOCHS, teaching
from yoco.recipes import Distilled
from yoco.rng import Rng
from yoco.screen import hidden
from yoco.train import accuracy, fit, predict

Teachers = Mapping[str, nn.Module]
"""Name of a network -> its teacher."""


class Cast(nn.Module):
    """A teacher whose images are cast to the dtype of its own weights, or buffers, whatever that of the networks is."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, images: Tensor) -> Any:
        """The logits of images [n, C, H, W]."""
        held = chain(self.teacher.parameters(), self.teacher.buffers())
        kinds = (each.dtype for each in held if each.is_floating_point())
        return self.teacher(images.to(next(kinds, images.dtype)))


def with_teachers(
    plan: Plan, protocol: str, given: nn.Module | None, epochs: int | None, progress: bool
) -> tuple[Plan, tuple[Mapping[str, Any], ...]]:
    """The plan with teachers, if its protocol needs them, and a description of each.

    given: a module that teaches all networks; by default the one in the protocol's recipe, if any. Without either, each
    network has a teacher of the same kind, trained on the training half.

    Raises:
        ValueError: a teacher, or epochs for one, is given but not needed, or needed by some trials only; or a given
            teacher is no better than guessing.
    """
    check_all_ask(plan)
    if not isinstance(plan.trials[0].recipe, Distilled):
        if given is not None or epochs is not None:
            rule = "teacher and teacher_epochs can only be used with a protocol that needs a teacher, such as rded"
            raise ValueError(f"evaluate: {rule}, got {protocol}")
        return plan, ()
    given = plan.trials[0].recipe.teacher if given is None else given
    if given is not None and epochs is not None:
        raise ValueError(f"evaluate: a given teacher is not trained further, got teacher_epochs={epochs}")
    names, epochs = dict.fromkeys(trial.network for trial in plan.trials), epochs or TEACHER_EPOCHS
    if given is None:
        teachers = {name: taught(name, plan, epochs, progress) for name in names}
        about = [{"network": name, "epochs": epochs, "accuracy": grade(teachers[name], plan)} for name in names]
    else:
        own = Cast(deepcopy(given)).eval().requires_grad_(False).to(plan.device)
        right = grade(own, plan)
        check_knows(right, plan)
        teachers, about = dict.fromkeys(names, own), [{"network": type(given).__name__, "accuracy": right}]
    return replace(plan, trials=tuple(with_teacher(trial, teachers) for trial in plan.trials)), tuple(about)


def check_all_ask(plan: Plan) -> None:
    """Check that a protocol needs a teacher in all rows or in none."""
    asking = {trial.name: isinstance(trial.recipe, Distilled) for trial in plan.trials}
    if len({*asking.values()}) > 1:
        names = ", ".join(name for name, asks in asking.items() if asks)
        rule = "a protocol must need a teacher for all rows or for none"
        raise ValueError(f"evaluate: {rule}, got one for {names} only")


def taught(name: str, plan: Plan, epochs: int, progress: bool) -> nn.Module:
    """A network that has learned the training half, normalised as the networks' images are, the same for all seeds."""
    train, rng = plan.splits.train, Rng(0).child("evaluate", "teacher", name)
    network = networks.build(name, train.shape, len(train.classes), rng.child("network")).to(plan.device)
    network.autocast = plan.autocast
    recipe = teaching(train.name, train.shape, len(train), epochs)
    with tqdm(total=epochs, desc="teacher", unit="epoch", disable=hidden(progress)) as bar:
        source, stream = train.to(plan.device), rng.child("train")
        fit(network, source, recipe, plan.normalise, stream, after_epoch=lambda _: bar.update())
    if not finite(network):
        raise ValueError(
            f"evaluate: weights of the teacher {name} must be finite, got NaN or infinity after {epochs} epochs"
        )
    return network.eval().requires_grad_(False)


def grade(teacher: nn.Module, plan: Plan) -> float:
    """The accuracy of a teacher on the test images, in percent.

    Raises:
        ValueError: it has another number of classes.
    """
    test, classes = plan.splits.test.to(plan.device), len(plan.splits.test.classes)
    found = predict(teacher, test.take(torch.arange(1)), plan.normalise)
    if found.shape != (1, classes):
        raise ValueError(f"evaluate: a teacher must return logits [n, {classes}], got {list(found.shape)}")
    return accuracy(teacher, test, plan.normalise)


def check_knows(right: float, plan: Plan) -> None:
    """Refuse a given teacher that is no better than guessing, as with other classes or another order of them."""
    test = plan.splits.test
    if right <= 100 / len(test.classes):
        rule = f"evaluate: a teacher must be better than guessing, got {right:.2f} % of the test images right"
        raise ValueError(f"{rule}; its classes must be in the order of {test.name}")


def with_teacher(trial: Trial, teachers: Teachers) -> Trial:
    """The trial, with its teacher, which is moved to the CPU as everything that is shared."""
    assert isinstance(trial.recipe, Distilled)
    return replace(trial, recipe=replace(trial.recipe, teacher=teachers[trial.network].cpu()))
