"""Observe a training: its dynamics epoch by epoch, and the network's view of every sample at its end."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from augment import Policy
from yoco import artefact
from yoco.condensed import CondensedSet
from yoco.data.source import Source
from yoco.device import compute_type, cpu_by_default
from yoco.networks import build
from yoco.protocols import GLYPHS
from yoco.prune.dynamics import Dynamics
from yoco.prune.material import check_kind, material
from yoco.prune.recorder import Recorder
from yoco.prune.references import alike, told
from yoco.prune.snapshot import Snapshot, check_stage, look
from yoco.rng import Rng
from yoco.train import Recipe, at_once, fit, predict

Passes = Literal["clean", "train"]
KIND, VERSION = "evidence", 1
SEEN = ("logits", "targets", "features", "inputs")
REFERENCE = ("reference", "reference_labels")
NOTED = 128
"""Batches of a clean pass that are measured together: a multiple of 64, so that vectors of samples begin where they
would in one piece, and numbers have the same bits."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """What one training showed: its dynamics, a snapshot of the network at its end, or both.

    checksum: of the set that was trained on; meta: how, JSON values.
    """

    dynamics: Dynamics | None = None
    snapshot: Snapshot | None = None
    checksum: str
    meta: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write one safetensors file; the network itself is not kept.

        Raises:
            OSError: the place cannot be written; what stood there is as it was.
        """
        tensors = {} if self.dynamics is None else dict(self.dynamics.parts)
        if self.snapshot is not None:
            tensors |= {name: getattr(self.snapshot, name) for name in SEEN}
            tensors |= dict(zip(REFERENCE, self.snapshot.reference or (), strict=False))
        header = {"checksum": self.checksum, "meta": self.meta}
        artefact.write(Path(path), KIND, VERSION, tensors, header)

    @classmethod
    def load(cls, path: str | Path) -> "Evidence":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is damaged, of another kind, of a newer format, or its content breaks a rule.
        """
        tensors, header = artefact.read(Path(path), KIND, VERSION)
        if not {"checksum", "meta"} <= set(header):
            raise ValueError(f"load: {path} is incomplete")
        seen: dict[str, Any] = {name: tensors.pop(name) for name in SEEN if name in tensors}
        if set(REFERENCE) <= set(tensors):
            seen["reference"] = tuple(tensors.pop(name) for name in REFERENCE)
        try:
            dynamics = Dynamics(**tensors, meta=header["meta"]) if tensors else None
            snapshot = Snapshot(**seen) if seen else None
        except TypeError:
            raise ValueError(f"load: {path} has missing or unknown parts") from None
        return cls(dynamics=dynamics, snapshot=snapshot, checksum=header["checksum"], meta=header["meta"])


def yoco_recipe(data: str) -> Recipe:
    """The recipe of YOCO's dynamics (NeurIPS 2023): 1000 epochs, augmented, half of the batches mixed by CutMix.

    data: name of the data set; images of digits and letters are not mirrored. For ImageNet YOCO's network is
    `resnet_ap10`, as for the sets and their evaluation: pass it as `network`.
    """
    words = "color_crop_scale_rotate" if data in GLYPHS else "color_crop_flip_scale_rotate"
    return Recipe(epochs=1000, augment=Policy(words, "idc"), cutmix=0.5)


@cpu_by_default
def observe(
    data: CondensedSet | Source,
    *,
    epochs: int,
    recipe: Recipe,
    rng: Rng,
    network: str = "convnet",
    passes: Passes = "clean",
    dynamics: bool = True,
    shift: bool = False,
    snapshot: bool = False,
    stage: int = -1,
    images: bool = True,
    reference: Source | None = None,
    device: torch.device | None = None,
    bf16: bool = False,
    progress: Callable[[int], object] | None = None,
    since: int = 0,
    until: int | None = None,
) -> Evidence:
    """Train a new network on a set for the first `epochs` epochs of a recipe, and record how it judges every sample.

    recipe: the full one; its schedule spans `recipe.epochs`, whatever `epochs` says.
    passes: which outputs make the dynamics. "clean": all images after each epoch, neither augmented nor mixed, in
    evaluation mode. "train": the training batches, augmented and perhaps mixed, against each image's own label, as in
    YOCO's code.
    dynamics: record them; shift: with the shift, which TDDS needs. snapshot: evaluate all clean images once more at
    the end; stage: the stage whose output gives its features; images: keep the images in it; reference: further
    images for it, of the same classes and shape. For a whitened set these are whitened as it was: by
    `draw_references`, or here if they are the whole training half.
    bf16: compute the network in bfloat16.
    progress: called with the epoch, from 0, after each one. since, until: with clean passes, record the dynamics of
    the epochs since..until - 1 alone, counted from 0; by default of all.

    Raises:
        ValueError: an unknown word, epochs outside of the recipe, references that do not fit the set, or a training
            that diverges.
    """
    check_kind("observe", data)
    _check_epochs(passes, epochs, recipe.length, since, min(until or epochs, epochs))
    others = None if reference is None else alike(data, reference)
    what = material(data, device or (data.images if isinstance(data, Source) else data.cells).device)
    model = build(network, what.shape, what.classes, rng.child("network")).to(what.device)
    model.autocast = compute_type(bf16, what.device)
    if snapshot:
        check_stage(model, stage)
    recorder = Recorder(len(data), shift=shift)
    everything = torch.arange(len(data))
    parts = everything.split(NOTED * at_once(what.shape))
    targets = torch.cat([what.examples.batch(part).labels for part in everything.split(500)])

    def note(epoch: int, indices: Tensor, logits: Tensor) -> None:
        recorder.log(epoch, indices, logits, targets[indices.to(targets.device)])

    def after(epoch: int) -> None:
        if dynamics and passes == "clean" and since <= epoch < (until or epochs):
            for part in parts:
                note(epoch - since, part, predict(model, what.examples, what.normalise, among=part))
            model.train()
        if progress:
            progress(epoch)

    how: dict[str, Any] = {"after_epoch": after, "observe": note if dynamics and passes == "train" else None}
    fit(model, what.examples, recipe, what.normalise, rng.child("train"), stop=epochs, **how)
    meta: dict[str, Any] = {"passes": passes, "network": network, "bf16": bf16, "seed": rng.seed}
    meta |= {"recipe": recipe_values(recipe), **({"unrecorded": since} if since and dynamics else {})}
    met = {"reference": told(others)} if others is not None and snapshot else {}
    return Evidence(
        dynamics=recorder.dynamics(**meta) if dynamics else None,
        snapshot=look(model, what, stage=stage, images=images, reference=others) if snapshot else None,
        checksum=what.checksum,
        meta={**meta, "epochs": epochs, "stage": stage, **met},
    )


def _check_epochs(passes: str, epochs: int, most: int, since: int, until: int) -> None:
    if passes not in ("clean", "train"):
        raise ValueError(f"dynamics: passes must be clean or train, got {passes!r}")
    if not 1 <= epochs <= most:
        raise ValueError(f"dynamics: epochs must be in 1..{most}, got {epochs}")
    last = until - 1 if passes == "clean" else 0
    if not 0 <= since <= last:
        raise ValueError(f"dynamics: since must be in 0..{last}, got {since}")


def recipe_values(recipe: Recipe) -> dict[str, object]:
    """The recipe as JSON values; a custom augmentation that prints only its address is described by its attributes."""
    values = {f.name: _value(getattr(recipe, f.name)) for f in fields(recipe)}
    return {**values, "drops": [str(share) for share in recipe.drops], "augment": _words(recipe.augment)}


def _value(thing: Any) -> Any:
    if isinstance(thing, Real) and not isinstance(thing, int | float):
        return int(thing) if isinstance(thing, Integral) else float(thing)
    return thing if thing is None or isinstance(thing, str | Real) else _words(thing)


def _words(thing: Any) -> str:
    text = str(thing)
    if " at 0x" not in text:
        return text
    if isinstance(thing, tuple | list):
        return f"({', '.join(map(_words, thing))})"
    held = getattr(thing, "__dict__", {})
    if not held:  # a function, one with some arguments, a mapping: what it says, but for where things lie
        return re.sub(r" at 0x[0-9a-f]+", "", text, flags=re.IGNORECASE)
    parts = (f"{name}={_words(value)}" for name, value in held.items() if value is not thing)
    return f"{type(thing).__qualname__}({', '.join(parts)})"
