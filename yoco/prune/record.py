"""Train a network from scratch on a set, and record its dynamics."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal

import torch
from torch import Tensor

from augment import Policy
from yoco.condensed import CondensedSet
from yoco.data.source import Source
from yoco.networks import build
from yoco.protocols import GLYPHS
from yoco.prune.dynamics import Dynamics
from yoco.prune.material import material
from yoco.prune.recorder import Recorder
from yoco.rng import Rng
from yoco.train import Recipe, fit, predict

Mode = Literal["clean", "train"]


def yoco_recipe(data: str) -> Recipe:
    """The recipe of YOCO's dynamics (NeurIPS 2023): 1000 epochs, augmented, half of the batches mixed by CutMix.

    data: name of the data set; images of digits and letters are not mirrored.
    """
    words = "color_crop_scale_rotate" if data in GLYPHS else "color_crop_flip_scale_rotate"
    return Recipe(epochs=1000, augment=Policy(words, "idc"), cutmix=0.5)


def record(
    data: CondensedSet | Source,
    *,
    epochs: int,
    recipe: Recipe,
    rng: Rng,
    network: str = "convnet",
    mode: Mode = "clean",
    device: torch.device | None = None,
    bf16: bool = False,
    progress: Callable[[int], object] | None = None,
) -> Dynamics:
    """Train a new network on the set and note, in each of its first `epochs` epochs, how it takes every sample.

    recipe: the full one; its schedule is that of `recipe.epochs`, whatever `epochs` says.
    mode: "clean" looks at all images, neither augmented nor mixed, after each epoch, in evaluation mode; "train" looks
    at the augmented and perhaps mixed training batches, against each image's own label, as YOCO's code does.
    bf16: compute the network in bfloat16. progress: called with the epoch, from 0, after each one.

    Raises:
        ValueError: an unknown mode, epochs outside of the recipe, or a training that diverges.
    """
    if mode not in ("clean", "train"):
        raise ValueError(f"dynamics: mode must be clean or train, got {mode!r}")
    if not 1 <= epochs <= recipe.length:
        raise ValueError(f"dynamics: epochs must be in 1..{recipe.length}, got {epochs}")
    device = device or (data.images if isinstance(data, Source) else data.cells).device
    what = material(data, device)
    model = build(network, what.shape, what.classes, rng.child("network")).to(device)
    model.autocast = torch.bfloat16 if bf16 else None
    recorder = Recorder(len(data))
    everything = torch.arange(len(data))

    def note(epoch: int, indices: Tensor, logits: Tensor) -> None:
        recorder.log(epoch, indices, logits, what.examples.batch(indices).labels)

    def after(epoch: int) -> None:
        if mode == "clean":
            note(epoch, everything, predict(model, what.examples, what.normalise))
            model.train()
        if progress:
            progress(epoch)

    how: dict[str, Any] = {"after_epoch": after, "observe": note if mode == "train" else None, "stop": epochs}
    fit(model, what.examples, recipe, what.normalise, rng.child("train"), **how)
    return recorder.dynamics(mode=mode, network=network, bf16=bf16, seed=rng.seed, recipe=plain(recipe))


def plain(recipe: Recipe) -> dict[str, object]:
    """The recipe in JSON values."""
    values = {f.name: getattr(recipe, f.name) for f in fields(recipe)}
    return {**values, "drops": [str(share) for share in recipe.drops], "augment": str(recipe.augment)}
