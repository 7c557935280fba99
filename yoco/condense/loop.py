"""The loop of all condensation methods: run episodes, step on each loss, keep time, save and resume."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from math import isfinite, isnan, nan
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import Optimizer

import yoco
from yoco.condense.method import Method, Stateful, Task
from yoco.condense.signals import interruptible
from yoco.condense.synthetic import Synthetic
from yoco.condensed import CondensedSet
from yoco.data.whitened import Whitened
from yoco.device import at_work
from yoco.rng import Rng
from yoco.run import Run, check_state

CHECKPOINT_SECONDS = 30.0
"""Least time between two checkpoints."""
SAVING = 1.5
"""Seconds that writing one may take, a twentieth of that time; if it takes k times as long, so does the wait."""
NOTED = ("autocast", "episodes_done", "seconds", "learned", "whitening")
"""Names recorded in the `config` of sets besides the settings of the method and the options of the run."""


def _no_set() -> CondensedSet:
    raise AssertionError("nobody gave a set")


@dataclass(frozen=True)
class Progress:
    """The state of a run after an episode. episode: how many are done; seconds: spent so far, also before a resume.

    loss: the episode's mean, NaN if it had none. condensed: a function that returns the set so far. answers: the
    numbers that the callbacks before this one returned.
    """

    episode: int
    episodes: int
    loss: float
    seconds: float
    synthetic: Synthetic
    condensed: Callable[[], CondensedSet] = field(default=_no_set, repr=False)
    answers: Mapping[str, float] = field(default_factory=dict)


Callback = Callable[[Progress], Mapping[str, float] | None]
"""Called after every episode; the numbers that it returns, such as an `accuracy`, become a row of the metrics."""


class Stop(Exception):
    """Raised by a callback, ends a run after this episode as its time budget would: with the set so far."""


class Interrupted(KeyboardInterrupt):
    """The run was interrupted; if it has a folder, its state is saved there. condensed: the set so far."""

    def __init__(self, why: str, condensed: CondensedSet) -> None:
        super().__init__(why)
        self.condensed = condensed

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.condensed)


@dataclass
class Journey:
    """The state that a checkpoint holds, and a clock that started at `began`."""

    synthetic: Synthetic
    optimizer: Optimizer
    memory: Stateful | None
    began: float = field(default_factory=time.monotonic)
    episode: int = 0
    before: float = 0.0

    def __post_init__(self) -> None:
        self.saved = time.monotonic()
        self.seconds = self.saved - self.began
        self.saving = 0.0

    def arrive(self) -> None:
        """Count an episode, and look at the clock."""
        self.episode += 1
        self.look()

    def look(self) -> None:
        """Take the seconds spent so far, earlier starts included."""
        self.seconds = self.before + time.monotonic() - self.began

    def restore(self, state: Mapping[str, Any] | None) -> None:
        """Resume from a checkpoint, if there is one, and from its time: making the start again does not count."""
        if state is None:
            return
        self.began = time.monotonic()
        with torch.no_grad():
            self.synthetic.cells.copy_(state["cells"])
            for name, value in self.synthetic.beside.items():
                value.copy_(state["beside"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.memory is not None:
            self.memory.load_state_dict(state["memory"])
        self.episode, self.before = state["episode"], state["seconds"]
        self.seconds = self.before

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        beside = {name: value.detach() for name, value in self.synthetic.beside.items()}
        state = {"cells": self.synthetic.cells.detach(), "beside": beside, "optimizer": self.optimizer.state_dict()}
        memory = None if self.memory is None else self.memory.state_dict()
        return {**state, "memory": memory, "episode": self.episode, "seconds": self.seconds}

    def save(self, run: Run | None) -> None:
        """Write a checkpoint, and see how long that takes."""
        if run is None:
            return
        began = time.monotonic()
        run.save(self.state())
        self.saved = time.monotonic()
        self.saving = self.saved - began

    @property
    def due(self) -> bool:
        """Whether the wait for the next checkpoint is over."""
        return time.monotonic() - self.saved >= CHECKPOINT_SECONDS * max(1.0, self.saving / SAVING)


def condense(
    task: Task,
    method: Method,
    *,
    seed: int,
    run: Run | None = None,
    minutes: float | None = None,
    callbacks: Sequence[Callback] = (),
    last: bool = False,
) -> CondensedSet:
    """Learn a condensed set.

    minutes: stop after this time, which includes making the start, the callbacks, and what the same run took before it
    was resumed. With a `run`, checkpoints are written after episodes, at most every 30 seconds and in at most a
    twentieth of the time; a killed run resumes from the last one and ends in the same bits. last: write one after the
    last episode, too, as more work follows.

    Raises:
        ValueError: a loss is not finite, another process works on the same run, or no checkpoint could hold its state.
        Interrupted: Ctrl-C or SIGTERM, also in a run within a callback; the state is saved, if there is a run.
    """
    rng = Rng(seed)
    inner: Interrupted | None = None
    with run.working() if run else nullcontext(), interruptible() as interrupted:
        journey = begin(task, method, rng)
        journey.restore(run.restore() if run else None)
        standing = partial(describe, task, method, seed, journey)
        standing()  # a start that is no set is refused now, not when all is learned
        if run and not journey.episode:  # so is what no checkpoint could hold
            check_state(journey.state())
        going = True
        while going and journey.episode < method.episodes and not _late(journey, minutes) and not interrupted():
            loss = descend(task, method, journey, rng.child("episode", journey.episode))
            journey.arrive()
            progress = Progress(journey.episode, method.episodes, loss, journey.seconds, journey.synthetic, standing)
            going, inner = _tell(progress, run, callbacks)
            journey.look()
            if journey.due:
                journey.save(run)
        if last or inner or journey.episode < method.episodes or interrupted():
            journey.save(run)
        made = standing()
        if inner or interrupted():
            after = f"stopped after {journey.episode:,} of {method.episodes:,} episodes"
            raise Interrupted(f"{after}; the same call goes on from {run.folder}" if run else after, made) from inner
    return made


def begin(task: Task, method: Method, rng: Rng) -> Journey:
    """A run before its first episode; its pixels are in the space of the real ones.

    Raises:
        ValueError: what the method remembers cannot be saved.
    """
    began = time.monotonic()
    with rng.child("forward").as_global():
        synthetic = method.synthetic(task, rng.child("start"))
        synthetic.space = task.real.space
        memory = method.memory(task, rng.child("memory"))
    if not (memory is None or isinstance(memory, Stateful)):
        rule = "must be None, or have state_dict and load_state_dict"
        raise ValueError(f"condense: memory {rule}, got {type(memory).__name__}")
    return Journey(synthetic, method.optimizer(synthetic), memory, began)


def descend(task: Task, method: Method, journey: Journey, rng: Rng) -> float:
    """Run one episode, with an optimiser step for every loss that the method yields; return their mean, NaN of none.

    Raises:
        ValueError: a loss is not finite.
    """
    losses = []
    plain = sdpa_kernel(SDPBackend.MATH)  # the attention that can be differentiated twice
    with rng.child("forward").as_global(), at_work(task.real.device), plain:  # layers may draw, such as dropout
        for loss in method.episode(task, journey.synthetic, journey.memory, rng) or ():  # a plain function gives None
            journey.synthetic.take_gradient(loss)
            journey.optimizer.step()
            losses.append(loss.detach())
    if not losses:
        return nan
    mean = float(torch.stack(losses).mean())
    if not isfinite(mean):
        raise ValueError(
            f"condense: loss must be finite, got {mean} in episode {journey.episode}; lower the step sizes"
        )
    return mean


def describe(task: Task, method: Method, seed: int, journey: Journey) -> CondensedSet:
    """The condensed set so far, with a record of how it was made."""
    synthetic, real = journey.synthetic, task.real
    settings = asdict(method)  # type: ignore[call-overload]
    teacher = settings.get("teacher")
    network = teacher if isinstance(teacher, str) else task.network_name
    made = {"network": network, "autocast": str(task.autocast) if task.autocast else None}
    spent = {"episodes_done": journey.episode, "seconds": round(journey.seconds, 3)}
    numbers = {name: float(value.detach()) for name, value in synthetic.beside.items() if value.numel() == 1}
    learned = {"learned": numbers} if numbers else {}
    soft, cells = synthetic.soft_labels(), synthetic.cells.detach()
    white = {"whitening": dict(real.whitening)} if isinstance(real, Whitened) else {}
    return CondensedSet(
        cells=(cells.clone() if white else cells.clamp(0, 1)).float().cpu(),
        labels=synthetic.labels.cpu(),
        factor=synthetic.factor,
        size=synthetic.size,
        classes=real.classes,
        mean=real.mean,
        std=real.std,
        method=vars(type(method)).get("name", type(method).__name__.lower()),
        order=synthetic.order,
        space=real.space,
        seed=seed,
        source={"name": real.name, "checksum": real.checksum, "images": len(real), **task.where},
        soft_labels=None if soft is None else soft.detach().clone().float().cpu(),
        config={**settings, "ipc": task.per_class, **made, **spent, **learned, **white},
        versions={"yoco": yoco.__version__, "torch": torch.__version__},
    )


def _late(journey: Journey, minutes: float | None) -> bool:
    return minutes is not None and journey.seconds >= 60 * minutes


def _tell(progress: Progress, run: Run | None, callbacks: Sequence[Callback]) -> tuple[bool, Interrupted | None]:
    """Log an episode and the numbers of the callbacks; return whether the run goes on, and an inner interrupt.

    The interrupt is that of a run within a callback, which received the signal in place of this run.
    """
    going, inner = True, None
    if run:
        loss = {} if isnan(progress.loss) else {"loss": progress.loss}
        run.log(episode=progress.episode, **loss, seconds=round(progress.seconds, 3))
    for callback in callbacks:
        try:
            found = callback(progress)
        except Stop:
            going, found = False, None
        except Interrupted as stopped:
            going, found, inner = False, None, stopped
        if isinstance(found, Mapping):
            numbers = {name: float(value) for name, value in found.items()}
            progress = replace(progress, answers={**progress.answers, **numbers})
            if run:
                run.log(**numbers | {"episode": progress.episode})
    return going, inner
