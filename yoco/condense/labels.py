"""Soft labels of a teacher for any condensed set (`relabel`), and the kind of labels of a new one (`Labels`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from yoco import data as data_sets
from yoco.condense.method import Task
from yoco.condense.teacher import taught
from yoco.condensed import CondensedSet
from yoco.data.names import by_place, places
from yoco.data.source import Source
from yoco.data.whitened import refit
from yoco.device import compute_type, cpu_by_default, pick
from yoco.protocols import TEACHER_EPOCHS
from yoco.train import Normalise, at_once, evaluating
from yoco.whole import whole_number

KINDS = ("hard", "teacher", "learned")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The kind of labels that is wanted: hard, teacher, learned, or None for the default of the method.

    own: the kinds that the method can make, by its setting `labels` if there is more than one.

    Raises:
        ValueError: no such kind, or learned labels of a method that has none.
    """

    kind: str | None
    method: str
    own: tuple[str, ...] = ("hard",)

    def __post_init__(self) -> None:
        kinds = [kind for kind in KINDS if kind in self.own or kind == "teacher"]
        if self.kind is not None and self.kind not in kinds:
            words = f"{', '.join(kinds[:-1])} or {kinds[-1]}"
            raise ValueError(f"condense: labels must be {words} with {self.method}, got {self.kind!r}")

    @property
    def afterwards(self) -> bool:
        """Whether a teacher labels the set after the method has made it."""
        return self.kind == "teacher" and "teacher" not in self.own

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the method needs for these labels."""
        if self.kind is None or len(self.own) == 1:
            return {}
        return {"labels": "hard" if self.afterwards else self.kind}


@cpu_by_default
def relabel(
    condensed: CondensedSet,
    teacher: Any,
    *,
    temperature: float = 1.0,
    classes: Sequence[str] | None = None,
    epochs: int = TEACHER_EPOCHS,
    network: str = "convnet",
    seed: int = 0,
    device: str = "auto",
    bf16: bool = False,
    out: str | Path | None = None,
    progress: bool = True,
) -> CondensedSet:
    """The same set with soft labels: softmax of a teacher's logits over `temperature`, for each decoded cell.

    teacher: a module that maps images, normalised as the set says, to logits [n, classes]; or data as in
    `yoco.data.load`, on whose training half a network is trained for `epochs`. The data are brought into the size and
    colours that the set records of its own, and whitened if the set was. classes: class names of a module's outputs, in
    order; by default those of the set.
    Soft labels have the class order of the set, whatever the teacher's is; as numbers, 00 and 0 are the same class.
    If the classes are numbers, as in a converted set, they stand for the names of the data that it records, in order.
    out: a folder for the teacher's state, from which a killed training resumes.

    Raises:
        ValueError: the teacher's classes or images are not those of the set, the set was whitened by other images, or a
            module predicts fewer of the set's labels than guessing would.
    """
    if not isinstance(condensed, CondensedSet):
        raise ValueError(f"relabel: needs a condensed set, got {type(condensed).__name__}")
    if not temperature > 0:
        raise ValueError(f"relabel: temperature must be above 0, got {temperature:g}")
    seed, epochs = whole_number("relabel: seed", seed), whole_number("relabel: epochs", epochs)
    if epochs < 1:
        raise ValueError(f"relabel: epochs must be at least 1, got {epochs}")
    if isinstance(teacher, nn.Module):
        if (epochs, network, out, seed, bf16) != (TEACHER_EPOCHS, "convnet", None, 0, False):
            raise ValueError("relabel: a teacher module is not trained, got epochs, network, out, seed or bf16 with it")
        if device != "auto":
            raise ValueError(f"relabel: a teacher module runs on its own device, got device={device} with it")
        names = condensed.classes if classes is None else tuple(classes)
        logits = _logits(condensed, teacher, names)
        _check_knows(condensed, logits)
        return _labelled(condensed, logits, temperature, {"teacher": type(teacher).__name__})
    if classes is not None:
        raise ValueError("relabel: classes can only be used with a teacher module, got them with data")
    place = pick(device)
    real = _alike(condensed, data_sets.load(teacher, **condensed.form).train).to(place)
    task = Task(real, 1, network, compute_type(bf16, place))
    return relabel_from(condensed, task, epochs, seed, temperature, None if out is None else Path(out), progress)


def relabel_from(
    condensed: CondensedSet,
    task: Task,
    epochs: int,
    seed: int,
    temperature: float = 1.0,
    folder: Path | None = None,
    progress: bool = False,
) -> CondensedSet:
    """`relabel` with a teacher that is trained on the real data of a task.

    Raises:
        ValueError: the classes or the images are not those of the set.
    """
    real = task.real
    _check_images(condensed, real)
    same = condensed.source.get("name") in (None, "", real.name)
    order = _order(condensed.classes, real.classes, numbered=same)
    teacher = taught(task, epochs, seed, folder, progress)
    logits = teacher.logits(condensed.decode().to(torch.get_default_dtype())).cpu()[:, order]
    if by_place(condensed.classes, real.classes):  # their order is not known, but taken for granted
        _check_knows(condensed, logits)
    about = {"teacher": task.network_name, "epochs": epochs, "seed": seed, "data": real.checksum}
    return _labelled(condensed, logits, temperature, about)


def _alike(condensed: CondensedSet, real: Source) -> Source:
    """Real images as the set has them: plain, or whitened by the same fit."""
    _check_images(condensed, real)
    return refit(condensed.whitening, real, "relabel")(real) if condensed.space == "zca" else real


def _check_images(condensed: CondensedSet, real: Source) -> None:
    if real.shape != condensed.shape:
        raise ValueError(f"relabel: data must have images {list(condensed.shape)} like the set, got {list(real.shape)}")


def _labelled(condensed: CondensedSet, logits: Tensor, temperature: float, about: Mapping[str, Any]) -> CondensedSet:
    entry = {"step": "relabel", **about, "temperature": temperature}
    soft = (logits.float() / temperature).softmax(1)
    return replace(condensed, soft_labels=soft, scores=None, history=(*condensed.history, entry))


@torch.no_grad()
def _logits(condensed: CondensedSet, teacher: nn.Module, names: tuple[str, ...]) -> Tensor:
    """A module's logits of the decoded cells: float [n, classes] on the CPU, in the class order of the set."""
    order = _order(condensed.classes, names)
    kinds = (weight.dtype for weight in teacher.parameters() if weight.is_floating_point())
    decoded = condensed.decode().to(next(kinds, torch.get_default_dtype()))
    normalise, parts = Normalise(condensed.mean, condensed.std), decoded.split(at_once(decoded.shape[1:]))
    device = next((weight.device for weight in teacher.parameters()), torch.device("cpu"))
    with evaluating(teacher):
        logits = torch.cat([teacher(normalise(part).to(device)).cpu() for part in parts])
    if logits.shape != (len(condensed), len(names)):
        raise ValueError(f"relabel: logits must be [{len(condensed)}, {len(names)}], got {list(logits.shape)}")
    return logits[:, order]


def _order(wanted: tuple[str, ...], names: tuple[str, ...], *, numbered: bool = True) -> Tensor:
    """The position of each class of the set among the teacher's: long [classes]; numbered: numbers may be positions."""
    if numbered and by_place(wanted, names):
        return torch.arange(len(names))
    if (found := places(wanted, names)) is None:
        raise ValueError(f"relabel: classes must be those of the set, {', '.join(wanted)}, got {', '.join(names)}")
    return torch.tensor(found)


def _check_knows(condensed: CondensedSet, logits: Tensor) -> None:
    right = int((logits.argmax(1) == condensed.labels).sum())
    if right * len(condensed.classes) < len(condensed):
        rule = "teacher must get at least as many labels of the set right as guessing"
        raise ValueError(f"relabel: {rule}, got {right} of {len(condensed)}; pass classes in the teacher's order")
