"""The interface of condensation methods: what a method implements (Method), and what it is given (Task)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor
from torch.optim import Optimizer

from yoco import networks
from yoco.artefact import is_text, python_number
from yoco.condense.synthetic import Synthetic
from yoco.data.source import Batch, Source
from yoco.networks.base import Network
from yoco.registry import split_options
from yoco.rng import Rng
from yoco.train import Normalise


@dataclass(frozen=True)
class Task:
    """What a method is given: real images on the right device, the size of the set, and networks.

    per_class: images per class (IPC) whose room the cells may fill. dry: whether this is an estimate, in which a method
    must not write files of its own, nor train what `phases` measures. shared: objects that the start makes and the
    memory reuses. folder: that of the run, if it has one; in a folder within, a method may keep results that take long
    and are needed again. where: name, size and colour of the data, as far as `real` does not tell; recorded on the set.
    """

    real: Source
    per_class: int
    network_name: str = "convnet"
    autocast: torch.dtype | None = None
    dry: bool = False
    shared: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    folder: Path | None = field(default=None, compare=False)
    where: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        smallest = min(self.real.by_class, key=len)
        split_options("network", self.network_name)
        if not isinstance(self.per_class, Integral):
            raise ValueError(f"condense: ipc must be a whole number, got {self.per_class!r}")
        object.__setattr__(self, "per_class", int(self.per_class))
        if self.per_class < 1:
            raise ValueError(f"condense: ipc must be at least 1, got {self.per_class}")
        if self.per_class > len(smallest):
            raise ValueError(
                f"condense: ipc must be at most the size of the smallest class, {len(smallest)}, got {self.per_class}"
            )

    @property
    def classes(self) -> range:
        """The labels to condense."""
        return range(len(self.real.classes))

    @cached_property
    def normalise(self) -> Normalise:
        """What stands between images in [0, 1] and a network."""
        return Normalise(self.real.mean, self.real.std)

    def draw(self, label: int, count: int, rng: Rng) -> Batch:
        """Up to `count` distinct real images of one class."""
        members = self.real.by_class[label]
        return self.real.batch(members[rng.choice(len(members), count)])

    def network(self, rng: Rng) -> Network:
        """A new network with random weights, on the device of the data."""
        network = networks.build(self.network_name, self.real.shape, len(self.real.classes), rng)
        network.autocast = self.autocast
        return network.to(self.real.device)


@runtime_checkable
class Stateful(Protocol):
    """An object whose whole state can be saved and restored."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors, Python's numbers and strings, None, and dicts and lists of them; all of NumPy is refused."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; its tensors are on the CPU."""


class Method(Protocol):
    """One method: a frozen dataclass whose fields are its hyper-parameters, none named as an option of `condense`.

    Settings are integers, floats, booleans, strings, None, and tuples, lists and mappings of these; a path given for
    one becomes a string. Fields derived from others (`init=False`) are recorded, but cannot be set.
    All randomness of an episode comes from the `rng` it is given; whatever outlives an episode lives in `memory`.
    A method runs in one thread, which holds the lock under which networks are built and layers draw random numbers. A
    method that waits for threads of its own that do either deadlocks.
    An episode may yield no loss: it may train a network, or write images into the cells itself.
    Estimates run two or three episodes, whatever `episodes` says, all with the `rng` of the first.
    Three class attributes are optional: `name`, recorded on the set in place of the class name in lower case;
    `label_kinds`, the values of a setting `labels`, out of hard, teacher and learned; `deciding`, settings on which
    others depend: those of them that the caller gives are passed to `published`, too.
    With a setting `factor`, factor^2 cells share the room of one image; if a factor above 1 is given, a published
    `start` of real becomes mix.
    Estimates and the progress bar read more attributes, if there are any. `phases(task)`: methods whose runs, in turn,
    cost as much as this one's, if episodes are of several kinds or not all of the work. `unit`: what an episode of such
    a phase is, if it is not one of this method. `changes`: the episodes after which another kind begins. `renewals`:
    how often a whole run does the extra work of its first episode, such as training a new network, at even intervals
    unless `recurs` is False. `gathers(task)`: the bytes by which memory grows after that.
    A setting `teacher` names the method's network; the option `network` is then only for one that labels the set
    afterwards.
    """

    @property
    def episodes(self) -> int:
        """Episodes of a whole run; a field, so that it can be set."""

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """The paper's settings for this data set, or those of the nearest one in its tables."""

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        """How the synthetic set starts."""

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        """The optimiser of the cells."""

    def memory(self, task: Task, rng: Rng) -> Stateful | None:
        """What outlives an episode."""

    def episode(self, task: Task, synthetic: Synthetic, memory: Any, rng: Rng) -> Iterator[Tensor]:
        """Yield scalar losses; the optimiser takes a step in the synthetic set on each before the episode goes on."""


PARTS = ("published", "synthetic", "optimizer", "memory", "episode")
"""The functions that a method must have."""
STEPS = (
    *("lr", "lr_image", "lr_labels", "lr_lr", "lr_start", "lr_network", "lr_head", "lr_expert", "lr_teacher"),
    *("momentum_image", "momentum_labels", "momentum_network", "weight_decay"),
)
"""Settings of the methods here that may not be negative."""


def check_class(cls: Any, where: str) -> None:
    """Check that a class fulfils `Method`. where: its kind and its name, for the message.

    Raises:
        ValueError: it is no frozen dataclass, or lacks a part, or the field `episodes`.
    """
    made: Any = getattr(cls, "__dataclass_params__", None)
    if not isinstance(cls, type) or not getattr(made, "frozen", False):
        raise ValueError(f"{where}: must be a frozen dataclass, got {cls!r}")
    if lacking := [name for name in PARTS if not callable(getattr(cls, name, None))]:
        raise ValueError(f"{where}: must have {', '.join(PARTS)}, got a class without {', '.join(lacking)}")
    if "episodes" not in (settings := [f.name for f in fields(cls) if f.init]):
        raise ValueError(f"{where}: must have a field episodes, got {', '.join(settings) or 'none'}")


def with_factor(published: Any, factor: int | None) -> Any:
    """Published settings of a method with this factor, if one is given and the method has this setting.

    Above 1, a start from whole images becomes a mix, as pieces of an image are no images (IDC, ICML 2022).
    """
    if factor is None or not hasattr(published, "factor"):
        return published
    mixed = {"start": "mix"} if factor != 1 and getattr(published, "start", "") == "real" else {}
    return replace(published, factor=factor, **mixed)


def check_steps(settings: Any) -> None:
    """Check the step sizes, momenta and weight decay of a method; settings of other names for NaN alone.

    settings: a dataclass.

    Raises:
        ValueError: one is below 0, or any setting is NaN.
    """
    for name in (f.name for f in fields(settings)):
        value: Any = getattr(settings, name)
        if not isinstance(value, Real):
            continue
        if name in STEPS and not float(value) >= 0:
            raise ValueError(f"condense: {name} must be at least 0, got {float(value):g}")
        if float(value) != float(value):
            raise ValueError(f"condense: {name} must be a number, got nan")


def check_kept(settings: Any, method: str) -> None:
    """Check ahead that the files of a run can hold the settings of its method, as it would else fail at the end.

    settings: a dataclass; method: its name for the message.

    Raises:
        ValueError: one is not a number, a string, or a list or mapping of these.
    """
    for name in (f.name for f in fields(settings)):
        try:
            _check_plain(getattr(settings, name))
            json.dumps(getattr(settings, name), sort_keys=True, default=python_number)
        except TypeError as error:
            raise ValueError(f"condense: setting {name} of {method}: {error}") from None


def _check_plain(value: Any) -> None:
    """Refuse what only looks like a number, a word or a mapping, such as a member of an enumeration or bytes."""
    if type(value) in (list, tuple, dict):
        for part in (*value, *value.values()) if type(value) is dict else value:
            _check_plain(part)
    elif type(value) is str and not is_text(value):
        raise TypeError(f"must be text, got {value!r}")
    elif value is not None and type(value) not in (bool, int, float, str):
        python_number(value)
