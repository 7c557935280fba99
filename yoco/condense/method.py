"""What the loop asks of a paper (Method), and what it gives it (Task)."""

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
    """What a paper may assume: real images on the right device, a size to reach, and networks.

    per_class: images per class (IPC) whose room the cells may fill. dry: an estimate; methods must not write files of
    their own, nor train what `phases` measures. shared: what a start has made and the memory needs, too. folder: of the
    run, if it has one: a method may keep in a folder within what takes long and is asked for again. where: how the data
    were named and brought into form, as far as `real` does not say it; noted on the set.
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
    """Anything whose whole state can be taken and given back."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors, Python's numbers and strings, None, and dicts and lists of them; all of NumPy is refused."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become what `state_dict` described; its tensors come on the CPU."""


class Method(Protocol):
    """One paper: a frozen dataclass whose fields are its hyper-parameters, none named as an option of `condense`.

    Settings are whole numbers, numbers, truth values, words, None, and tuples, lists and mappings of these; a path that
    is given for one becomes a word. Fields that others decide (`init=False`) are noted, but cannot be asked for.
    All randomness of an episode comes from the `rng` it is given; whatever outlives an episode lives in `memory`.
    All of it runs in one thread, which holds the lock under which networks are made and layers draw: one that waits for
    threads of its own that do either waits for ever.
    An episode that yields nothing is welcome: it may train a network, or put images into the cells itself.
    Estimates take two episodes or three, whatever `episodes` says, all with the `rng` of the first.
    Three class attributes may be there: `name`, if it is not that of the class in small letters, is noted on the set;
    `label_kinds` are the values of a setting `labels`, out of hard, teacher and learned, if there is one; `deciding`
    are settings that decide on others: `published` takes those of them that are asked for, too.
    With a setting `factor`, factor^2 cells share the room of one image; a `start` that is real becomes mix where a
    factor above 1 is asked for.
    Where episodes are not all of one kind, or not all there is, `phases(task)` gives methods whose runs, in turn, cost
    as much as this one's; `unit` says what an episode of such a method is, if it is none of these episodes; `changes`
    are the episodes after which others follow. `renewals` is how often a whole run does what its first episode does
    beside, such as the training of a new network, evenly unless `recurs` is False; `gathers(task)` how many bytes it
    comes to hold after that.
    A setting `teacher` is the network; none is asked for beside it, unless it labels the set afterwards.
    """

    @property
    def episodes(self) -> int:
        """How many episodes make a whole run; a field, as it can be asked for."""

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """The paper's settings for this data set, or those of the nearest one in its tables."""

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        """How the synthetic set starts."""

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        """What descends in the cells."""

    def memory(self, task: Task, rng: Rng) -> Stateful | None:
        """What outlives an episode."""

    def episode(self, task: Task, synthetic: Synthetic, memory: Any, rng: Rng) -> Iterator[Tensor]:
        """Yield each scalar that shall be descended in the synthetic set now."""


PARTS = ("published", "synthetic", "optimizer", "memory", "episode")
"""What a method can do."""
STEPS = (
    *("lr", "lr_image", "lr_labels", "lr_lr", "lr_start", "lr_network", "lr_head", "lr_expert", "lr_teacher"),
    *("momentum_image", "momentum_labels", "momentum_network", "weight_decay"),
)
"""Settings of the methods here that may not be negative."""


def check_class(cls: Any, where: str) -> None:
    """Check that a class has what `Method` says. where: its kind and its name, in the message.

    Raises:
        ValueError: it is no frozen dataclass, or lacks a part, or the field `episodes`.
    """
    made: Any = getattr(cls, "__dataclass_params__", None)
    if not isinstance(cls, type) or not getattr(made, "frozen", False):
        raise ValueError(f"{where}: must be a frozen dataclass, got {cls!r}")
    if lacking := [name for name in PARTS if not callable(getattr(cls, name, None))]:
        raise ValueError(f"{where}: must have {', '.join(PARTS)}, got none of {', '.join(lacking)}")
    if "episodes" not in (settings := [f.name for f in fields(cls) if f.init]):
        raise ValueError(f"{where}: must have a field episodes, got {', '.join(settings) or 'none'}")


def with_factor(published: Any, factor: int | None) -> Any:
    """Published settings of a method with the factor that is asked for, if one is, and if it has one.

    Above 1, what would begin with whole images begins with a mix: pieces of an image are no images (IDC, ICML 2022).
    """
    if factor is None or not hasattr(published, "factor"):
        return published
    mixed = {"start": "mix"} if factor != 1 and getattr(published, "start", "") == "real" else {}
    return replace(published, factor=factor, **mixed)


def check_steps(settings: Any) -> None:
    """Check the step sizes of a method, its momenta and its weight decay, of one's own for NaN alone.

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
    """Check that the files of a run can hold the settings of its method, which else fails after the whole run.

    settings: a dataclass; method: its name in the message.

    Raises:
        ValueError: one is no number, no word, and no list or mapping of them.
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
