"""Two halves of a data set: paired with checks, or cut out of one source."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from yoco.data.source import Source, Splits, channel_statistics
from yoco.rng import Rng

HELD_OUT = 0.2


def pair(train: Source, test: Source) -> Splits:
    """Both halves, the test half with the mean and std of the training half.

    Raises:
        ValueError: the halves differ in image shape or in classes.
    """
    if train.shape != test.shape:
        got = f"{list(train.shape)} and {list(test.shape)}"
        raise ValueError(f"data {train.name}: training and test images must have one shape, got {got}; choose a --size")
    if train.classes != test.classes:
        differ = sorted(set(train.classes) ^ set(test.classes)) or ["another order"]
        raise ValueError(
            f"data {train.name}: training and test classes must be the same, got a difference in {differ[:3]}"
        )
    return Splits(train, replace(test, mean=train.mean, std=train.std))


def held_out(labels: Tensor, classes: Sequence[str], name: str) -> tuple[Tensor, Tensor]:
    """Indices of a fixed stratified split, each in data order: a fifth of each class, at least one image, is held out.

    The choice depends on the names of the classes and on how many images each has, on nothing else.

    Raises:
        ValueError: a class has fewer than two images.
    """
    kept, out = [], []
    for label, label_name in enumerate(classes):
        members = torch.nonzero(labels.cpu() == label).flatten()
        if len(members) < 2:
            rule = "needs at least 2 images to hold one out for testing"
            raise ValueError(f"data {name}: class {label_name!r} {rule}, got {len(members)}")
        order = Rng(0).child("hold-out", label_name).choice(len(members), len(members))
        count = max(1, round(HELD_OUT * len(members)))
        out.append(members[order[:count]])
        kept.append(members[order[count:]])
    return torch.cat(kept).sort().values, torch.cat(out).sort().values


def hold_out(source: Source) -> Splits:
    """A source cut by `held_out`; mean and std are computed anew, from the images that stay for training.

    Raises:
        ValueError: a class has fewer than two images.
    """
    kept, out = held_out(source.labels, source.classes, source.name)
    mean, std = channel_statistics(source.images[kept.to(source.device)])
    return pair(replace(source.take(kept), mean=mean, std=std), source.take(out))
