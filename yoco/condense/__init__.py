"""Condense a data set: the table of methods and the one call that runs them."""

from contextlib import nullcontext
from dataclasses import asdict, fields, replace
from functools import partial
from inspect import signature
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch

from yoco import data as data_sets
from yoco.artefact import python_number
from yoco.condense.asked import (
    check_minutes,
    check_network,
    check_sink,
    check_space,
    has_teacher,
    numbers_of,
    place_of,
    table_name,
    teaching_of,
)
from yoco.condense.contract import keep
from yoco.condense.cost import Estimate, measure
from yoco.condense.ending import Afterwards, finished
from yoco.condense.labels import Labels, relabel
from yoco.condense.loop import NOTED, Callback, Interrupted, Progress, Stop
from yoco.condense.loop import condense as run_episodes
from yoco.condense.method import Method, Task, check_class, check_kept, check_steps, with_factor
from yoco.condense.progress import Bar
from yoco.condense.sinks import closing
from yoco.condense.sinks import sink as make_sink
from yoco.condensed import CondensedSet
from yoco.data.whitened import in_space
from yoco.device import compute_type, cpu_by_default, pick
from yoco.disk import at_home
from yoco.registry import resolve, unknown
from yoco.run import Run
from yoco.verb import make_callable

__all__ = [
    "METHODS",
    "Callback",
    "Estimate",
    "Interrupted",
    "Method",
    "Progress",
    "Stop",
    "Task",
    "check",
    "condense",
    "estimate",
    "relabel",
    "settings_of",
]

METHODS = {
    "idc": "yoco.condense.methods.idc:IDC",
    "mdc": "yoco.condense.methods.mdc:MDC",
    "pdd": "yoco.condense.methods.pdd:PDD",
    "dc": "yoco.condense.methods.dc:DC",
    "dsa": "yoco.condense.methods.dsa:DSA",
    "dm": "yoco.condense.methods.dm:DM",
    "mtt": "yoco.condense.methods.mtt:MTT",
    "datm": "yoco.condense.methods.datm:DATM",
    "frepo": "yoco.condense.methods.frepo:FRePo",
    "readout": "yoco.condense.methods.readout:Readout",
    "idm": "yoco.condense.methods.idm:IDM",
    "accdd": "yoco.condense.methods.acc_dd:AccDD",
    "dream": "yoco.condense.methods.dream:DREAM",
    "datadam": "yoco.condense.methods.datadam:DataDAM",
    "m3d": "yoco.condense.methods.m3d:M3D",
    "cafe": "yoco.condense.methods.cafe:CAFE",
    "sre2l": "yoco.condense.methods.sre2l:SRe2L",
    "rded": "yoco.condense.methods.rded:RDED",
    "best-crops": "yoco.condense.methods.best_crops:BestCrops",
    "k-means": "yoco.condense.methods.k_means:KMeans",
    "herding": "yoco.condense.methods.herding:Herding",
    "random": "yoco.condense.methods.random:Random",
}


BESIDE = ("config", "dry_run", "checksum")
"""Names that the command line and a run's configuration use besides the options of `condense`."""


def settings_of(method: str, data: str, ipc: int, shape: tuple[int, int, int] | None, **changes: Any) -> Method:
    """The published settings of a method for this data, with `changes` in place of some of them.

    Data named "digits" that are not 8x8 and grey, unlike scikit-learn's, get the settings of data in no table.

    Raises:
        ValueError: the method is unknown, it has no such setting, or the setting cannot have this value.
    """
    cls = _class_of(method)
    known = [f.name for f in fields(cls) if f.init]
    ipc = python_number(ipc) if isinstance(ipc, np.generic) else ipc
    changes |= {name: python_number(value) for name, value in changes.items() if isinstance(value, np.generic)}
    changes |= {name: str(value) for name, value in changes.items() if isinstance(value, PurePath)}
    for name in changes:
        if name not in known:
            raise unknown(f"setting of {method}", name, known)
    deciding = {name: changes.pop(name) for name in getattr(cls, "deciding", ()) if name in changes}
    usual = cls.published(table_name(data, shape), ipc, shape, **deciding)
    published: Method = replace(with_factor(usual, {**deciding, **changes}.get("factor")), **changes)
    if published.episodes < 0:
        raise ValueError(f"condense: episodes must be at least 0, got {published.episodes}")
    check_steps(published)
    check_kept(published, method)
    return published


def _class_of(method: str) -> Any:
    """The class of a method, checked against `Method`."""
    cls: Any = resolve("method", METHODS, method)
    check_class(cls, f"method {method}")
    taken = {*signature(condense).parameters, *BESIDE} - ({"labels"} if hasattr(cls, "label_kinds") else set())
    if doubled := [f.name for f in fields(cls) if f.name in taken]:
        raise ValueError(f"method {method}: settings must not be named like options of condense, got {doubled[0]}")
    if doubled := [f.name for f in fields(cls) if f.name in NOTED]:
        raise ValueError(f"method {method}: settings must not be named like what every set records, got {doubled[0]}")
    return cls


def labels_of(method: str, kind: str | None) -> Labels:
    """The kind of labels that is wanted of a method, and the kinds that it can make itself.

    Raises:
        ValueError: the method is unknown, or it cannot have such labels.
    """
    own = getattr(resolve("method", METHODS, method), "label_kinds", ("hard",))
    return Labels(kind=kind, method=method, own=own)


@cpu_by_default
def condense(
    data: Any,
    method: str = "idc",
    *,
    ipc: int = 10,
    size: int | None = None,
    grey: bool = False,
    download: bool = False,
    seed: int = 0,
    network: str = "convnet",
    space: str = "unit",
    minutes: float | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    bf16: bool = False,
    progress: bool = True,
    sink: str | None = None,
    callbacks: tuple[Callback, ...] = (),
    labels: str | None = None,
    teacher_epochs: int | None = None,
    **settings: Any,
) -> CondensedSet:
    """Condense a data set to `ipc` images per class.

    data, size, grey, download: as in `yoco.data.load`. method: a name or "module:Class". settings: override the
    method's published ones. space: of the learned pixels: "unit" ([0, 1]) or "zca" (whitened and not clamped, as in all
    sets of DATM and some of MTT); step sizes apply to these pixels directly.
    minutes: a time budget. out: a folder for checkpoints, metrics and the result; the same call resumes a killed run,
    and only reads the result of a finished one. sink: "tensorboard", "wandb" or "module:function", which gets the
    metrics, too; needs `out`. It returns a callback, which is closed, if it has `close`, however the run ends.
    labels: "hard", "learned" (if the method learns them) or "teacher": soft labels of the method's own teacher or, if
    it has none, of a network trained on the real data for `teacher_epochs` (20); by default the method decides. This
    extra training does not count in `minutes`; until it ends, the folder holds the set without these labels.
    callbacks: called after every episode with a `Progress`; the numbers they return go to the metrics in the folder and
    to the sink. Their time counts in `minutes`. One that raises `Stop` ends the run as a spent time budget does.

    Raises:
        ValueError: an unknown name, an impossible size, or a folder that holds another run.
        Interrupted: Ctrl-C or SIGTERM, at the end of the episode, or at once during the extra training of a teacher;
            its `condensed` is the set so far.
    """
    check_sink(sink, out)
    check_minutes(minutes)
    seed, size = numbers_of(seed, size)
    real = data_sets.load(data, size=size, grey=grey, download=download).train
    asked = labels_of(method, labels)
    teaching = teaching_of(teacher_epochs, asked)
    chosen = settings_of(method, real.name, ipc, real.shape, **settings, **asked.settings)
    check_space(space, chosen, real)
    name = str(data) if isinstance(data, str | Path) else real.name
    made = {"data": name, "size": size, "grey": grey, "checksum": real.checksum, "method": method, "ipc": ipc}
    how = {"seed": seed, "network": network, "bf16": bf16, "minutes": minutes, "device": device}
    more: dict[str, Any] = {"labels": "teacher", "teacher_epochs": teaching} if asked.afterwards else {}
    more |= {} if space == "unit" else {"space": space}
    said = {**made, **how, **asdict(chosen), **more}  # type: ignore[call-overload]
    run = Run(out, said, data_sets.SOURCES) if out is not None else None
    if run and run.finished:
        return finished(run, chosen.episodes, asked.afterwards)
    check_network(network, chosen, real, asked)
    place, folder = pick(device), run.folder if run else None
    where = place_of(data, real, size, grey)
    task = Task(in_space(space, real).to(place), ipc, network, compute_type(bf16, place), folder=folder, where=where)
    teacher = Afterwards(task, teaching, seed, run, progress) if asked.afterwards else None
    shown = [Bar.of(chosen, minutes)] if progress else []
    with run.working() if run else nullcontext():
        if run and run.finished:  # by another process, meanwhile
            return finished(run, chosen.episodes, asked.afterwards)
        kept = [make_sink(sink, run.folder)] if sink and run else []
        told: list[Callback] = [*shown, *callbacks, *kept]
        with closing(kept):
            result = run_episodes(task, chosen, seed=seed, run=run, minutes=minutes, callbacks=told, last=bool(teacher))
            result = teacher.label(result) if teacher else result
            if run:
                result.save(run.result)
                if result.config["episodes_done"] >= chosen.episodes:
                    run.finish()
    return result


@cpu_by_default
def check(
    method: str,
    data: Any = "digits",
    *,
    ipc: int = 1,
    episodes: int = 3,
    network: str = "convnet:width=8,depth=2",
    **settings: Any,
) -> CondensedSet:
    """Check with a few episodes on the CPU that a method, such as your own, keeps the contract; return its set.

    The contract: it has settings for every named data set; the same seed gives the same set; a run stopped after any
    episode resumes to that set; real images are not changed; and `estimate` works. network: ignored for methods with a
    setting `teacher`, which names their network.

    Raises:
        ValueError: the rule that it breaks.
    """
    for name in data_sets.SOURCES:
        settings_of(method, name, ipc, None)
    splits = data_sets.load(data)
    how: dict[str, Any] = {"ipc": ipc, "episodes": episodes, "device": "cpu", **settings}
    how |= {} if has_teacher(settings_of(method, splits.train.name, ipc, None)) else {"network": network}
    made = keep(partial(condense, splits, method, progress=False, **how), splits.train, method)
    estimate(splits, method, **how)
    return made


@cpu_by_default
def estimate(
    data: Any,
    method: str = "idc",
    *,
    ipc: int = 10,
    size: int | None = None,
    grey: bool = False,
    download: bool = False,
    seed: int = 0,
    network: str = "convnet",
    space: str = "unit",
    minutes: float | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    bf16: bool = False,
    progress: bool = True,
    sink: str | None = None,
    callbacks: tuple[Callback, ...] = (),
    labels: str | None = None,
    teacher_epochs: int | None = None,
    **settings: Any,
) -> Estimate:
    """Measure, by two or three steps, what `condense` with the same arguments would cost in time and memory.

    Nothing is written; `out` is only searched for what exists already, such as experts. On a CPU, memory is the peak of
    this process since it started, whatever the cause. Callbacks, and the training of a teacher that only gives labels,
    are not measured; no progress is shown, and no sink is opened.

    Raises:
        ValueError: as `condense`.
    """
    check_sink(sink, out)
    check_minutes(minutes)
    seed, size = numbers_of(seed, size)
    real = data_sets.load(data, size=size, grey=grey, download=download).train
    asked = labels_of(method, labels)
    teaching_of(teacher_epochs, asked)
    chosen = settings_of(method, real.name, ipc, real.shape, **settings, **asked.settings)
    check_space(space, chosen, real)
    check_network(network, chosen, real, asked)
    place, folder = pick(device), None if out is None else at_home(out)
    task = Task(in_space(space, real).to(place), ipc, network, compute_type(bf16, place), dry=True, folder=folder)
    found = measure(task, chosen, seed=seed, minutes=minutes)
    if not asked.afterwards:
        return found
    soft = torch.full((len(found.sample), len(real.classes)), 1 / len(real.classes))
    return replace(found, sample=replace(found.sample, soft_labels=soft))


make_callable(__name__)
