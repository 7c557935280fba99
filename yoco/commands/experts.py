"""The command `experts`: record the trajectories that trajectory matching matches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from yoco.cli import parse
from yoco.commands.options import DataOptions, Device, Space


@dataclass(frozen=True, kw_only=True)
class ExpertsOptions(DataOptions):
    """Train networks on the data and note their weights after every epoch: `condense --method mtt --experts OUT`."""

    out: Path = Path("runs/experts")
    """folder: one file for each expert; those that are there must be of the same options, and are left alone"""
    count: int | None = None
    """experts, in place of the published number"""
    ipc: int = 10
    """images per class of the set that they are for; it only picks the published settings"""
    epochs: int | None = None
    """epochs of each; by default those of mtt. For datm give 100, but not on digits"""
    network: str = "convnet"
    """the network"""
    space: Space = "unit"
    """of the pixels: unit ([0, 1]) or zca (whitened); that of the set that they are for"""
    seed: int = 0
    """everything random follows from it"""
    device: Device = "auto"
    """where to compute"""
    bf16: bool = False
    """run networks in bfloat16, for a set that is made so"""


def experts(argv: list[str]) -> None:
    """`yoco experts`."""
    options = parse(ExpertsOptions, argv, "experts")
    from tqdm import tqdm

    from yoco.condense import Task, settings_of
    from yoco.condense.experts import record
    from yoco.data import load
    from yoco.data.whitened import in_space
    from yoco.device import compute_type, pick
    from yoco.screen import hidden

    real = load(options.data, size=options.size, grey=options.grey, download=options.download).train
    method: Any = settings_of("mtt", real.name, options.ipc, real.shape)
    recipe = method.recipe()
    if options.epochs is not None:
        if options.epochs < 1:
            raise ValueError(f"experts: epochs must be at least 1, got {options.epochs}")
        recipe = replace(recipe, epochs=options.epochs)
    place = pick(options.device)
    images, autocast = in_space(options.space, real).to(place), compute_type(options.bf16, place)
    task = method.matched(Task(images, 1, options.network, autocast))
    count = method.count if options.count is None else options.count
    with tqdm(total=count, desc="experts", unit="expert", disable=hidden()) as bar:
        record(task, recipe, options.out, count, seed=options.seed, tell=lambda *_: bar.update())
    print(f"written to {options.out}: {count} experts of {recipe.epochs} epochs")
