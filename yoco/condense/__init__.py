"""Condense a data set: the table of methods and the one call that runs them."""

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch

from yoco import data as data_sets
from yoco.condense.loop import Callback, Interrupted, Progress
from yoco.condense.loop import condense as run_episodes
from yoco.condense.method import Method, Task
from yoco.condense.progress import Bar
from yoco.condense.sinks import sink as make_sink
from yoco.condensed import CondensedSet, load
from yoco.device import pick
from yoco.registry import resolve, unknown
from yoco.run import Run
from yoco.verb import make_callable

__all__ = ["METHODS", "Callback", "Interrupted", "Method", "Progress", "Task", "condense", "settings_of"]

METHODS = {
    "idc": "yoco.condense.methods.idc:IDC",
    "dc": "yoco.condense.methods.dc:DC",
    "dsa": "yoco.condense.methods.dsa:DSA",
    "dm": "yoco.condense.methods.dm:DM",
    "mtt": "yoco.condense.methods.mtt:MTT",
    "frepo": "yoco.condense.methods.frepo:FRePo",
    "idm": "yoco.condense.methods.idm:IDM",
    "accdd": "yoco.condense.methods.acc_dd:AccDD",
    "dream": "yoco.condense.methods.dream:DREAM",
    "datadam": "yoco.condense.methods.datadam:DataDAM",
}


def settings_of(method: str, data: str, ipc: int, shape: tuple[int, int, int] | None, **changes: Any) -> Method:
    """The published settings of a method for this data, with some of them changed.

    Raises:
        ValueError: no such method, or it has no such setting.
    """
    cls = resolve("method", METHODS, method)
    known = [f.name for f in fields(cls)]
    for name in changes:
        if name not in known:
            raise unknown(f"setting of {method}", name, known)
    published: Method = replace(cls.published(data, ipc, shape), **changes)
    if published.episodes < 0:
        raise ValueError(f"condense: episodes must be at least 0, got {published.episodes}")
    return published


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
    minutes: float | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    bf16: bool = False,
    progress: bool = True,
    sink: str | None = None,
    callbacks: tuple[Callback, ...] = (),
    **settings: Any,
) -> CondensedSet:
    """Condense a data set to `ipc` images per class.

    data, size, grey, download: as `yoco.data.load` takes them; method: a name or "module:Class"; settings: the
    method's own, over its published ones. minutes: a time budget. out: a folder for checkpoints, metrics and the
    result; the same call goes on where a killed one stopped, and a finished one is only read. sink: tensorboard or
    wandb, or "module:function", for the metrics of a run with a folder.

    Raises:
        ValueError: an unknown name, an impossible size, or a folder that holds another run.
    """
    if sink and out is None:
        raise ValueError(f"condense: sink needs a run with a folder, got {sink!r} without out")
    if minutes is not None and minutes <= 0:
        raise ValueError(f"condense: minutes must be above 0, got {minutes:g}")
    real = data_sets.load(data, size=size, grey=grey, download=download).train
    chosen = settings_of(method, real.name, ipc, real.shape, **settings)
    task = Task(real.to(pick(device)), ipc, network, torch.bfloat16 if bf16 else None)
    name = str(data) if isinstance(data, str | Path) else real.name
    made = {"data": name, "size": size, "grey": grey, "checksum": real.checksum, "method": method, "ipc": ipc}
    how = {"seed": seed, "network": network, "bf16": bf16, "minutes": minutes, "device": device}
    run = Run(out, {**made, **how, **asdict(chosen)}) if out is not None else None  # type: ignore[call-overload]
    if run and run.finished:
        return load(run.result)
    shown = [Bar(minutes)] if progress else []
    kept = [make_sink(sink, run.folder)] if sink and run else []
    result = run_episodes(task, chosen, seed=seed, run=run, minutes=minutes, callbacks=[*shown, *kept, *callbacks])
    if run:
        result.save(run.result)
        if result.config["episodes_done"] >= chosen.episodes:
            run.finish()
    return result


make_callable(__name__)
