"""Siamese pairs: a real and a synthetic batch that pass the same normalisation and the same drawn augmentation."""

from collections.abc import Callable

import torch

from augment import Policy
from yoco.condense.method import Task
from yoco.data.source import Batch
from yoco.protocols import GLYPHS
from yoco.rng import Rng

WORDS = "color_crop_cutout_flip_scale_rotate"
"""All augmentations of DSA (ICML 2021)."""


def words_for(data: str) -> str:
    """DSA's augmentations of these data: digits and letters are not mirrored."""
    return WORDS.replace("_flip", "") if data in GLYPHS else WORDS


def siamese(task: Task, policy: Policy, real: Batch, synthetic: Batch, rng: Rng) -> tuple[Batch, Batch]:
    """Normalise both batches and augment them with one shared draw (DSA, ICML 2021).

    Images come in as float [n, C, H, W] in [0, 1] and leave normalised, the real ones without a graph.
    """
    size = (real.images.shape[-2], real.images.shape[-1])
    both = task.normalise(torch.cat([real.images, synthetic.images]))
    both = policy(both, policy.draw(1, size, rng.generator()))
    n = len(real.images)
    return Batch(both[:n].detach(), real.labels), Batch(both[n:], synthetic.labels)


def one_draw(task: Task, policy: Policy, size: tuple[int, int], rng: Rng) -> Callable[[Batch], Batch]:
    """A function that normalises batches of images [n, C, *size] and augments all of them with the same draw."""
    draw = policy.draw(1, size, rng.generator())
    return lambda batch: Batch(policy(task.normalise(batch.images), draw), batch.labels)


def stepped_normalised(task: Task, synthetic: Batch) -> Batch:
    """The same images, whose gradient is multiplied by std^2 of each channel.

    A paper that learns normalised pixels z = (x - mean) / std steps by lr dD/dz. With this factor a step of SGD on x,
    momentum included, is std times the step on z, so published step sizes hold for pixels in [0, 1].
    """
    variance = synthetic.images.new_tensor(task.real.std).square()[:, None, None]
    images = synthetic.images.view_as(synthetic.images)
    if images.requires_grad:
        images.register_hook(lambda gradient: gradient * variance)
    return Batch(images, synthetic.labels)
