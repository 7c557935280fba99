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
"""What the command and the record of a run have beside the options of `condense`."""


def settings_of(method: str, data: str, ipc: int, shape: tuple[int, int, int] | None, **changes: Any) -> Method:
    """The published settings of a method for this data, with some of them changed.

    Data called digits that are not 8x8 and grey, as scikit-learn's, have those of data that are in no table.

    Raises:
        ValueError: no such method, or it has no such setting, or not this value.
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
    """The class behind a name, which has what `Method` says."""
    cls: Any = resolve("method", METHODS, method)
    check_class(cls, f"method {method}")
    taken = {*signature(condense).parameters, *BESIDE} - ({"labels"} if hasattr(cls, "label_kinds") else set())
    if doubled := [f.name for f in fields(cls) if f.name in taken]:
        raise ValueError(f"method {method}: settings must not be named as options of every run, got {doubled[0]}")
    if doubled := [f.name for f in fields(cls) if f.name in NOTED]:
        raise ValueError(f"method {method}: settings must not be named as what every set notes, got {doubled[0]}")
    return cls


def labels_of(method: str, kind: str | None) -> Labels:
    """Who makes labels of this kind for this method.

    Raises:
        ValueError: no such method, or no such labels.
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

    data, size, grey, download: as `yoco.data.load` takes them; method: a name or "module:Class"; settings: the
    method's own, over its published ones. space: of the pixels that are learned: "unit" ([0, 1]), or "zca" (whitened,
    never cut, as MTT and DATM have some or all of their sets); step sizes act on them as they are.
    minutes: a time budget. out: a folder for checkpoints, metrics and the result; the same call goes on where a killed
    one stopped, and a finished one is only read. sink: tensorboard or wandb, or "module:function", for the metrics of a
    run with a folder; what it answers is called after every episode and, if it has `close`, closed when the run ends,
    however it does. labels: hard, learned where the method learns them, or teacher: those that a network gives which
    learned the real data for `teacher_epochs` (20), unless the method has a teacher of its own; by default those of the
    method. What a teacher takes does not count in minutes; the set without its labels is in the folder meanwhile.
    callbacks: called after every episode with a `Progress`; what they answer is noted in the metrics of the folder,
    and goes to the sink. What they take counts in `minutes`. One that raises `Stop` ends the run as `minutes` does.

    Raises:
        ValueError: an unknown name, an impossible size, or a folder that holds another run.
        Interrupted: Ctrl-C or SIGTERM, at the end of the episode, or at once while a teacher learns; its `condensed` is
            the set as it stands.
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
    """Try with a few episodes on the CPU whether a method, such as one of your own, keeps what all must; their set.

    There are settings for every data set that has a name; the same seed gives the same set; a run that stops after any
    episode goes on to that set; real images stay as they are; and what a run costs can be said ahead. network: of
    methods without a setting `teacher`, which is theirs.

    Raises:
        ValueError: what it does not keep.
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
    """What `condense`, called with the same words, would cost in time and memory: measured by two or three steps.

    Nothing is written; `out` says what is there already. On a CPU the memory is the most that this process has held
    since it began, whatever for. The training of a teacher that only gives labels is not measured, nor are callbacks;
    no progress is shown, and no sink is opened.

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
