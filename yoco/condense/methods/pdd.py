"""PDD: "Data Distillation Can Be Like Vodka: Distilling More Times For Better Quality", Chen et al., ICLR 2024."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from math import ceil
from typing import Any, ClassVar, Self

from torch import Tensor
from torch.optim import Optimizer

from yoco.condense.alternating import Alternating
from yoco.condense.growing import Growing, Shown, Taught
from yoco.condense.inner_steps import InnerSteps
from yoco.condense.method import Task, check_class, with_factor
from yoco.condense.trajectories import Trajectories
from yoco.registry import join_options, resolve, split_options, typed_options
from yoco.rng import Rng

BASES = {
    "idc": "yoco.condense.methods.idc:IDC",
    "mtt": "yoco.condense.methods.mtt:MTT",
    "dc": "yoco.condense.methods.dc:DC",
    "dsa": "yoco.condense.methods.dsa:DSA",
    "dm": "yoco.condense.methods.dm:DM",
    "datadam": "yoco.condense.methods.datadam:DataDAM",
    "m3d": "yoco.condense.methods.m3d:M3D",
    "cafe": "yoco.condense.methods.cafe:CAFE",
    "idm": "yoco.condense.methods.idm:IDM",
    "accdd": "yoco.condense.methods.acc_dd:AccDD",
    "dream": "yoco.condense.methods.dream:DREAM",
}
"""The methods that learn each cell by itself, and nothing else but single numbers."""
OWN = ("episodes", "factor")
"""Settings that a base takes from PDD."""


@dataclass(frozen=True, kw_only=True)
class PDD:
    """Another method in stages: each learns some new cells of every class, beside those of all stages before it.

    The earlier cells are frozen, so that one run gives a good set at the end of every stage: the first cells of each
    class. In a later stage, new networks are first trained on the earlier cells; a base that follows experts uses later
    epochs of theirs instead. One episode is one of the base; all stages have as many.
    """

    deciding: ClassVar[tuple[str, ...]] = ("base", "stages", "factor")
    episodes: int = 1_000_000
    """episodes of the base, in all stages together"""
    stages: int = 5
    """P: number of stages, at most one for each cell of a class"""
    base: str = "idc"
    """idc, mtt, dc, dsa, dm, datadam, m3d, cafe, idm, accdd, dream or module:Class; or with settings: idc:inner=20"""
    factor: int = 2
    """factor^2 cells share the room of one image: 1 to 4"""
    taught: int = 100
    """training steps that a new network first takes on the cells of the earlier stages"""

    def __post_init__(self) -> None:
        if self.stages < 1:
            raise ValueError(f"pdd: stages must be at least 1, got {self.stages}")
        if self.taught < 0:
            raise ValueError(f"pdd: taught must be at least 0, got {self.taught}")
        for name in {*OWN} & {*split_options("base", self.base)[1]}:
            raise ValueError(f"pdd: base must not set {name}, which pdd sets, got {self.base!r}")
        assert self.base_method

    @cached_property
    def base_method(self) -> Any:
        """The base with its settings.

        Raises:
            ValueError: it has no setting `factor`, and its cells have another factor.
        """
        kind, given = base_of(self.base)
        own = {"factor": self.factor} if "factor" in {f.name for f in fields(kind)} else {}
        method = kind(**{**given, **own})
        if (factor := getattr(method, "factor", 1)) != self.factor:
            raise ValueError(f"pdd: factor must be {factor} with the base {self.base}, got {self.factor}")
        return method

    @classmethod
    def published(
        cls,
        data: str,
        per_class: int,
        shape: tuple[int, int, int] | None = None,
        base: str = "idc",
        stages: int = 5,
        factor: int | None = None,
    ) -> Self:
        """The base's settings for the images of one stage, with the changes of the authors' commands; 5 stages.

        Settings given with the name of the base override these. Each stage has as many episodes as the base alone; on
        the digits of scikit-learn, all stages together have as many.
        """
        kind, given = base_of(base)
        each = max(1, per_class // max(1, stages))
        asked = given if factor is None else {**given, "factor": factor}
        deciding = {name: asked[name] for name in getattr(kind, "deciding", ()) if name in asked}
        usual = with_factor(kind.published(data, each, shape, **deciding), asked.get("factor"))
        method = replace(usual, **{**authors(base, data, each), **given})
        factor = getattr(method, "factor", 1) if factor is None else factor
        made = 1 if data == "digits" else max(1, min(stages, per_class * factor**2))
        return cls(stages=stages, base=named(base, method), factor=factor, episodes=made * method.episodes)

    def synthetic(self, task: Task, rng: Rng) -> Growing:
        """As the base's; it will be ordered."""
        made = Growing.like(self.base_method.synthetic(task, rng), "pdd: base")
        made.order = "pdd"
        return made

    def optimizer(self, synthetic: Growing) -> Optimizer:
        """The base's, for the cells of the first stage."""
        synthetic.optimizer = self.base_method.optimizer(synthetic)
        self.renew(synthetic, self.ends(synthetic)[0])
        return synthetic.optimizer

    def renew(self, synthetic: Growing, count: int) -> None:
        """Let the optimiser begin anew as the base's for this many cells of each class."""
        synthetic.optimizer.load_state_dict(self.base_method.optimizer(synthetic.copy(count)).state_dict())

    def memory(self, task: Task, rng: Rng) -> "Stages":
        """Which stage it is, and what the base remembers."""
        return Stages(self, task, rng)

    def episode(self, task: Task, synthetic: Growing, memory: "Stages", rng: Rng) -> Iterator[Tensor]:
        """One episode of the base on the cells so far, of which the earlier ones are held."""
        ends = [0, *self.ends(synthetic)]
        stage = min(memory.age * (len(ends) - 1) // self.episodes, len(ends) - 2)
        if stage != memory.stage:
            synthetic.clamp()
            self.renew(synthetic, ends[stage + 1])
            memory.enter(stage, Shown(synthetic, ends[stage]).everything().images.detach())
        synthetic.held = ends[stage]
        yield from memory.base.episode(memory.task, Shown(synthetic, ends[stage + 1]), memory.own, rng) or ()
        memory.age += 1

    def ends(self, synthetic: Growing) -> list[int]:
        """Cells of each class at the end of every stage, in units of `unit_of`; every stage has an episode."""
        unit = self.unit_of(synthetic.per_class)
        units, stages = synthetic.per_class // unit, self.made(synthetic.per_class)
        return [unit * (units * (stage + 1) // stages) for stage in range(stages)]

    def unit_of(self, cells: int) -> int:
        """The unit of a stage for this many cells of a class: the cells of an image, if each stage has one, else 1."""
        return self.factor**2 if cells >= self.stages * self.factor**2 else 1

    def made(self, cells: int) -> int:
        """How many stages there are, if each class has so many cells."""
        return min(self.stages, cells // self.unit_of(cells), max(1, self.episodes))

    def at(self, stage: int, stages: int) -> Any:
        """The base in one of so many stages; with experts, segments begin later as far as their epochs have room."""
        base = self.base_method
        if stage == 0 or not isinstance(base, Trajectories):
            return base
        room = (base.expert_epochs - base.expert_steps + 1 - base.max_start) // (stages - 1)
        later = stage * min(room, base.max_start - base.min_start)
        return replace(base, min_start=base.min_start + later, max_start=base.max_start + later)

    def phases(self, task: Task) -> tuple[Any, ...]:
        """The experts of the base, if it has some, and the episodes of all stages: what estimates measure."""
        base = self.base_method
        experts = replace(base, episodes=self.episodes).phases(task)[:-1] if isinstance(base, Trajectories) else ()
        return (*experts, Midway(**{f.name: getattr(self, f.name) for f in fields(self)}))

    def gathers(self, task: Task) -> int:
        """As of the base in its last stage; experts stay over all."""
        stages = 1 if isinstance(self.base_method, Trajectories) else self.made(task.per_class * self.factor**2)
        base = replace(self.base_method, episodes=ceil(self.episodes / stages))
        return int(base.gathers(task)) if hasattr(base, "gathers") else 0

    @property
    def recurs(self) -> bool:
        """As of the base."""
        return bool(getattr(self.base_method, "recurs", True))

    @property
    def renewals(self) -> int:
        """As of the base, which begins anew in every stage, unless it follows experts; each network is taught first."""
        base = self.base_method
        stages = 1 if isinstance(base, Trajectories) else max(1, min(self.stages, self.episodes))
        each = replace(base, episodes=ceil(self.episodes / stages))
        life = base.inner if isinstance(base, InnerSteps) else base.outer if isinstance(base, Alternating) else 0
        networks = ceil(each.episodes / life) if life > 1 and self.taught and self.recurs else 1
        return stages * max(networks, int(getattr(each, "renewals", 1)))


class Midway(PDD):
    """PDD begun halfway, where it has the average number of cells: what estimates measure."""

    name: ClassVar[str] = "pdd"

    def memory(self, task: Task, rng: Rng) -> "Stages":
        """Half of the episodes are done."""
        made = super().memory(task, rng)
        made.age = (self.episodes - 1) // 2
        return made


class Stages:
    """Which stage it is, and the memory of the base, which begins anew with it; experts stay.

    age: episodes done; earlier: the images of the stages before, float [n, C, H, W], class by class; None in the first.
    """

    def __init__(self, pdd: PDD, task: Task, rng: Rng) -> None:
        self.pdd, self.plain, self.rng, self.age = pdd, task, rng, 0
        self.enter(0, None)

    def enter(self, stage: int, earlier: Tensor | None) -> None:
        """Begin a stage."""
        stages = self.pdd.made(self.plain.per_class * self.pdd.factor**2)
        self.stage, self.earlier, self.base = stage, earlier, self.pdd.at(stage, stages)
        experts = isinstance(self.base, Trajectories)
        self.task: Task = self.plain if experts else Taught.by(self.plain, earlier, self.pdd.taught)
        if stage == 0 or not experts:
            self.own = self.base.memory(self.task, self.rng.child("stage", stage) if stage else self.rng)

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        own = None if self.own is None else self.own.state_dict()
        return {"age": self.age, "stage": self.stage, "earlier": self.earlier, "own": own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.age, earlier = state["age"], state["earlier"]
        self.enter(state["stage"], earlier if earlier is None else earlier.to(self.plain.real.device))
        if self.own is not None:
            self.own.load_state_dict(state["own"])


def base_of(text: str) -> tuple[Any, dict[str, Any]]:
    """The class of a base, and the settings that are given with its name.

    Raises:
        ValueError: there is no such base, it is no method, or it has no such settings.
    """
    name, options = split_options("base", text)
    kind = resolve("base", BASES, name)
    check_class(kind, f"base {name}")
    return kind, typed_options(f"base {name}", kind, options)


def named(text: str, method: Any) -> str:
    """The name of a base, and all settings of it that are not those of its class."""
    asked = {f.name: f.default for f in fields(method) if f.init}
    changed = {name: getattr(method, name) for name, usual in asked.items() if getattr(method, name) != usual}
    name, _ = split_options("base", text)
    return join_options(name, {key: value for key, value in changed.items() if key not in OWN})


def authors(text: str, data: str, each: int) -> dict[str, Any]:
    """What the authors' commands change in a base, for the nearest of their numbers of images in a stage."""
    sizes = AUTHORS.get((split_options("base", text)[0], data), {})
    return sizes[min(sizes, key=lambda size: abs(size - each))] if sizes else {}


_MTT: dict[str, Any] = {"student_steps": 20, "expert_steps": 2, "max_start": 20, "lr_image": 1000.0, "lr_start": 1e-2}
AUTHORS: dict[tuple[str, str], dict[int, dict[str, Any]]] = {
    ("idc", "cifar100"): {2: {"episodes": 100_000}},
    ("mtt", "cifar10"): {
        2: {**_MTT, "student_steps": 50, "max_start": 5, "lr_lr": 1e-7},
        10: {**_MTT, "student_steps": 30, "max_start": 15, "lr_lr": 1e-5},
    },
    ("mtt", "cifar100"): {
        2: {**_MTT, "expert_steps": 3, "lr_lr": 1e-5, "student_batch": 0},
        10: {**_MTT, "lr_lr": 1e-5, "student_batch": 512},
    },
}
"""(base, data) -> images of a class in one stage -> settings."""


# `AUTHORS` is what the commands in the authors' notes say; not in the paper:
# - a stage has whole images, as evenly as they go; single cells where there are fewer images than stages, and fewer
#   stages where there are fewer cells;
# - it resets the optimiser, to the base's step size for the cells so far, and the base's memory, but neither the
#   experts nor a student's learned step size;
# - the earlier cells teach a new network by plain SGD, as IDC's evaluation would, before all that the base does;
# - segments of experts begin `max_start` epochs later in each stage, or as much later as all stages have room for;
# - a network that is trained on the set sees all of it from the beginning, not the cells of one stage after another's;
# - all stages have as many episodes; where a run is stopped before its end, the cells of stages to come are those of
#   the start.
