"""Teacher: a network trained on the real data, one epoch at a time, which then gives logits or features of images."""

from collections.abc import Callable
from contextlib import nullcontext
from math import ceil
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from yoco.cells import upsample
from yoco.condense.learner import Trained
from yoco.condense.method import Task
from yoco.condense.synthetic import Synthetic
from yoco.protocols import teaching
from yoco.rng import Rng
from yoco.run import Run
from yoco.screen import hidden
from yoco.train import Recipe, at_once, take_steps


class Teacher(Trained):
    """A network in training, as memory of a method; it depends on the task, the recipe and the random stream alone.

    age: epochs done, out of the `recipe.epochs` of its schedule. setting: the one that is its step size, if any.
    """

    def __init__(self, task: Task, recipe: Recipe, rng: Rng, setting: str = "") -> None:
        self.task, self.recipe, self.rng, self.age = task, recipe, rng, 0
        self.network = task.network(rng.child("network"))
        self.optimizer = recipe.optimizer(self.network)
        self.advice = f"; lower {setting}" if setting else ""

    def learn(self) -> None:
        """One epoch on the real data, at the step size that the recipe has for it.

        Raises:
            ValueError: the training diverges.
        """
        drops = sum(epoch <= self.age for epoch in self.recipe.drop_epochs())
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.lr * self.recipe.gamma**drops
        real, normalise, stream = self.task.real, self.task.normalise, self.rng.child("epoch", self.age)
        steps = ceil(len(real) / self.recipe.batch)
        take_steps(self.network, self.optimizer, real, steps, self.recipe, normalise, stream)
        if not all(bool(weight.isfinite().all()) for weight in self.network.parameters()):
            raise ValueError(f"teacher: weights must be finite, got NaN or infinity in epoch {self.age}{self.advice}")
        self.age += 1

    def logits(self, images: Tensor) -> Tensor:
        """Logits [n, classes] of images float [n, C, H, W] in [0, 1], on any device; classes as in the real data."""
        return self._seen(images, self.network)

    def features(self, images: Tensor) -> Tensor:
        """What the head sees of images float [n, C, H, W] in [0, 1], on any device: [n, D]."""
        return self._seen(images, self.network.seen)

    def logits_of_cells(self, cells: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits [n, classes] of cells float [n, C, h, w], decoded to (height, width) in batches of `at_once`."""
        parts = cells.split(at_once((cells.shape[1], *size)))
        return torch.cat([self.logits(upsample(part, size)) for part in parts])

    @torch.no_grad()
    def label(self, synthetic: Synthetic, temperature: float) -> None:
        """Set the soft labels of the cells to the softmax of its logits / temperature on the decoded cells."""
        logits = self.logits_of_cells(synthetic.cells, synthetic.size)
        synthetic.beside["labels"].copy_((logits / temperature).softmax(1))

    @torch.no_grad()
    def _seen(self, images: Tensor, look: Callable[[Tensor], Tensor]) -> Tensor:
        """The outputs of `look` for images, in batches of `at_once`, each moved to the device of the real data."""
        self.network.eval()
        device, normalise = self.task.real.device, self.task.normalise
        return torch.cat([look(normalise(part.to(device))) for part in images.split(at_once(images.shape[1:]))])


def usual(task: Task, epochs: int) -> Recipe:
    """How a teacher learns the data of a task."""
    return teaching(task.real.name, task.real.shape, len(task.real), epochs)


def hard_labels(synthetic: Synthetic) -> Tensor:
    """One-hot labels, which a set has until its teacher gives others: float [n, classes]."""
    return torch.eye(synthetic.classes, device=synthetic.labels.device)[synthetic.labels]


def room_of(task: Task, epochs: int, seed: int, folder: Path | None) -> Run | None:
    """The run that saves a teacher of these epochs in the folder, if one is given.

    Raises:
        ValueError: the folder holds another teacher.
    """
    if folder is None:
        return None
    about = {"data": task.real.checksum, "network": task.network_name, "epochs": epochs, "seed": seed}
    about |= {} if task.real.space == "unit" else {"space": task.real.space}
    return Run(folder, {**about, "autocast": str(task.autocast)})


def taught(task: Task, epochs: int, seed: int, folder: Path | None = None, progress: bool = False) -> Teacher:
    """A teacher that has learned all its epochs.

    folder: its state is saved there after every epoch; a killed training is resumed from it, and a finished one read.

    Raises:
        ValueError: epochs below 1, or a folder that holds another teacher, or that another process works in.
    """
    teacher = Teacher(task, usual(task, epochs), Rng(seed).child("teacher"))
    run = room_of(task, epochs, seed, folder)
    with run.working() if run else nullcontext():
        before = run.restore() if run else None
        if before:
            teacher.load_state_dict(before["teacher"])
        left = range(teacher.age, teacher.recipe.length)
        for _ in tqdm(left, desc="teacher", unit="epoch", disable=hidden(progress)):
            teacher.learn()
            if run:
                run.save({"teacher": teacher.state_dict(), "episode": teacher.age})
    return teacher
