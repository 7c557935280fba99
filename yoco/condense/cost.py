"""The cost of a run: two real steps, three where work recurs, are timed and thrown away."""

import sys
import time
from dataclasses import dataclass
from math import inf

import torch

from yoco.condense.loop import Journey, begin, descend, describe
from yoco.condense.method import Method, Task
from yoco.condensed import CondensedSet
from yoco.rng import Rng

try:
    import resource
except ImportError:  # Windows has no such counts
    resource = None  # type: ignore[assignment]

STEPS = 2


@dataclass(frozen=True, kw_only=True)
class Part:
    """The time of episodes of one kind.

    unit: what an episode is: a step of the method, or of other work that it does.
    start: seconds before the pace is steady: for the set's start, the method's memory, and the first step's extra time.
    pace: seconds of each step: those of the second one, and its share of the work that recurs, if any.
    steps: how many were timed.
    """

    episodes: int
    start: float
    pace: float
    unit: str = "step"
    steps: int = STEPS

    @property
    def seconds(self) -> float:
        """Of the start and all episodes."""
        return self.start + self.pace * self.episodes

    def __str__(self) -> str:
        if not self.episodes:
            return f"{duration(self.start)}, without a step"
        unit = self.unit if self.episodes == 1 else self.unit.replace("step", "steps", 1)
        many = f"{self.episodes:,} {unit} in {duration(self.seconds)}"
        return f"{duration(self.start)} to start, then {self.pace:.3g} s a {self.unit}: {many}"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Time and memory of a whole run, estimated by a few steps of each of its parts.

    parts: one for each kind of episodes that the method names, usually one; minutes: the time budget, if any.
    memory: peak memory in bytes, `of` what; None where the system does not tell.
    sample: the set after the steps, which is like the result except for its pixels.
    """

    parts: tuple[Part, ...]
    minutes: float | None
    memory: int | None
    of: str
    sample: CondensedSet

    @property
    def episodes(self) -> int:
        """Episodes of the whole run, as the method counts them."""
        return sum(part.episodes for part in self.parts if part.unit == "step")

    @property
    def seconds(self) -> float:
        """Seconds of the whole run, without a time budget."""
        return sum(part.seconds for part in self.parts)

    @property
    def fitting(self) -> int:
        """The episodes that fit into the time budget; all of them without one."""
        left, fit = inf if self.minutes is None else 60 * self.minutes, 0
        for part in self.parts:
            whole = left >= part.seconds
            done = part.episodes if whole else int(max(0.0, left - part.start) / part.pace) if part.pace else 0
            fit += done if part.unit == "step" else 0
            if not whole:
                break
            left -= part.seconds
        return fit

    def __str__(self) -> str:
        held = "not known" if self.memory is None else f"{self.memory / 2**20:,.0f} MiB at most, {self.of}"
        steps = max((part.steps for part in self.parts if part.episodes), default=0)
        how = f" by {steps} steps" if steps else ""
        lines = [f"estimate of {self.sample.method}{how}; nothing is written", f"memory   {held}"]
        lines += [f"{'time' if part is self.parts[0] else 'then':8} {part}" for part in self.parts]
        if self.minutes is not None:
            lines.append(f"budget   {self.fitting:,} of {self.episodes:,} steps in {self.minutes:g} min")
        return "\n".join([*lines, f"the set  {self.sample.storage}"])


def measure(task: Task, method: Method, *, seed: int, minutes: float | None = None) -> Estimate:
    """Begin a run, and estimate what all of it will cost.

    Work that recurs, such as the first epochs of a new network, is taken as the extra time of a step with a new memory
    over the second step, as often as the method says (`renewals`). Where steps differ at random, as in a nested
    `readout`, those of one draw stand for all. The bytes that a method `gathers` during a run, such as experts that no
    folder keeps, are added to the measured memory.
    """
    rng, device = Rng(seed), task.real.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    phases: tuple[Method, ...] = method.phases(task) if hasattr(method, "phases") else (method,)
    taken = [two_steps(task, phase, rng) for phase in phases]
    held, of = _peak(device)
    held = None if held is None else held + getattr(method, "gathers", lambda _: 0)(task)
    sample = describe(task, method, seed, taken[-1][1])
    return Estimate(parts=tuple(part for part, _ in taken), minutes=minutes, memory=held, of=of, sample=sample)


def two_steps(task: Task, method: Method, rng: Rng) -> tuple[Part, Journey]:
    """Begin a run and time two steps, if any; both draw the same, so that the second reuses what the first made.

    If the method has work that recurs, a third step follows, with a new memory.
    """
    began = time.monotonic()
    journey = begin(task, method, rng)
    ends = [time.monotonic()]
    if not method.episodes:
        return Part(episodes=0, start=ends[0] - began, pace=0.0), journey
    for _ in range(STEPS):
        descend(task, method, journey, rng.child("episode", 0))
        _wait(task.real.device)
        journey.arrive()
        ends.append(time.monotonic())
    pace, again = ends[-1] - ends[-2], getattr(method, "renewals", 1) - 1
    start = ends[0] - began + max(0.0, ends[1] - ends[0] - pace)
    more = again * max(0.0, _renewed(task, method, journey, rng) - pace) / method.episodes if again > 0 else 0.0
    unit = getattr(method, "unit", "step")
    steps = STEPS + (again > 0)
    return Part(episodes=method.episodes, start=start, pace=pace + more, unit=unit, steps=steps), journey


def _renewed(task: Task, method: Method, journey: Journey, rng: Rng) -> float:
    """Seconds of a step with a new memory, after all that is done once in a process."""
    journey.memory = method.memory(task, rng.child("memory"))
    began = time.monotonic()
    descend(task, method, journey, rng.child("episode", 0))
    _wait(task.real.device)
    return time.monotonic() - began


def duration(seconds: float) -> str:
    """Seconds as people say them: 12 s, 3.4 min, 5.6 h, 7.8 days."""
    for limit, unit, name in ((100.0, 1.0, "s"), (100 * 60.0, 60.0, "min"), (48 * 3600.0, 3600.0, "h")):
        if seconds < limit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds / 86400:,.1f} days"


def _wait(device: torch.device) -> None:
    """Let the device finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _peak(device: torch.device) -> tuple[int | None, str]:
    """Peak memory in bytes, and what it is the memory of."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), "of tensors on the GPU"
    if device.type == "mps":
        return torch.mps.driver_allocated_memory(), "of tensors on the GPU"
    if resource is None:
        return None, ""
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "of the whole process"
