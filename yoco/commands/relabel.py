"""The command `relabel`: soft labels for a set that is there already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yoco.cli import parse
from yoco.commands.options import Device, Place, apart, load_for


@dataclass(frozen=True, kw_only=True)
class RelabelOptions:
    """Give a condensed set soft labels: what a network that has learned the real data says of each of its images."""

    set: Place
    """a condensed set (.safetensors)"""
    out: Path
    """the same set with the labels (.safetensors)"""
    data: str | None = None
    """the data whose training half is learned; by default those the set was made from"""
    size: int | None = None
    """pixels: resize and centre-crop the images to this side; by default as for the set"""
    grey: bool = False
    """turn colour images into one channel; by default as for the set"""
    download: bool = False
    """let torchvision fetch the MNIST family, CIFAR or SVHN when they are not there"""
    epochs: int = 20
    """epochs of the network"""
    network: str = "convnet"
    """a name, or module:Class of your own; options may follow: convnet:width=32"""
    temperature: float = 1.0
    """what its outputs are divided by ahead of the softmax; above 1 the labels are softer"""
    seed: int = 0
    """everything random follows from it"""
    device: Device = "auto"
    """where to compute"""
    bf16: bool = False
    """run the network in bfloat16"""


def relabel(argv: list[str]) -> None:
    """`yoco relabel`."""
    options = parse(RelabelOptions, argv, "relabel")
    from yoco.condense import relabel as label
    from yoco.condensed import load
    from yoco.disk import check_place

    if options.out.suffix != ".safetensors":
        raise ValueError(f"relabel: out must end in .safetensors, got {options.out.name!r}")
    apart("relabel", set=options.set, out=options.out)
    condensed = load(options.set)
    data = load_for("relabel", condensed, options)
    check_place(options.out)
    names = ("epochs", "network", "temperature", "seed", "device", "bf16")
    how: dict[str, Any] = {name: getattr(options, name) for name in names}
    made = label(condensed, data, **how)
    made.save(options.out)
    print(made)
    print(f"written to {options.out}")
