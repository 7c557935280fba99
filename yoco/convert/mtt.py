"""images_*.pt and labels_*.pt of MTT (CVPR 2022) and of DATM (ICLR 2024): whitened (ZCA) or normalised images."""

import warnings
from math import inf, nan
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yoco.condensed import CondensedSet
from yoco.convert import checkpoint
from yoco.convert.origin import Origin
from yoco.convert.pixels import plain_or_white
from yoco.data.whitened import EPS, LARGEST

NORMALISED = ((10, 50), (100, 10), (200, 1), (200, 10), (200, 50))
"""(classes, images of each) of MTT's own sets that are not whitened: CIFAR-10, CIFAR-100 and all of Tiny ImageNet.

Sets of other papers in the same form may be, as those of DATM, so that the size alone does not tell.
"""
ROUNDING = 1e-3
"""How far the sum of shares may be from 1."""


def read(origin: Origin) -> CondensedSet:
    """The images with the labels that lie beside them; normalised ones are made plain.

    DATM's labels are logits [n, classes]: soft labels are their softmax, or they themselves if they are probabilities
    already, and the label is the largest. The learned step size is read from lr_*.pt, if that lies beside them.

    Whitened images were whitened by MTT's fit on the training half of the data, which the file itself does not record.
    Without a given space, a set of a size that MTT's authors did not whiten gives a warning, and images that are too
    large to be whitened are refused.

    Raises:
        FileNotFoundError: there is no such file, or none with the labels beside it.
        ValueError: one is damaged or of another form, or too large to be whitened without a given space, or the
            constants of the normalisation are not known.
    """
    name = origin.path.name
    if "images" not in name:
        origin.refuse("the file name must contain 'images', so that its labels are found", name)
    if "images_zca" in name:
        origin.refuse("holds the learned images with the whitening undone; give the file without zca in its name", name)
    learned, said = checkpoint.read(origin.path), checkpoint.read(_beside(origin, "labels"))
    soft = _shares(said)
    images, labels = origin.check_pair(learned, said if soft is None else soft.argmax(1))
    if not origin.space_said and images[0].numel() > LARGEST:
        rule = "images of this size were not whitened: add --space normalised and --data"
        origin.refuse(rule, list(images.shape))
    plain, space, undone = plain_or_white(images, origin)
    if space == "zca" and not origin.space_said and soft is None:
        _doubt(labels, origin)
    told: dict[str, Any] = {"config": {"whitening": {"eps": EPS}} if space == "zca" else {}}
    told["config"] |= _learned(origin)
    if soft is not None:
        names = origin.known.classes if origin.known else tuple(map(str, range(soft.shape[1])))
        told |= {"soft_labels": soft, "classes": names}
    return origin.condensed(plain, labels, space=space, constants=undone, **told)


def _beside(origin: Origin, kind: str) -> Path:
    """The file of the labels, or of the step size, that goes with that of the images."""
    return origin.path.with_name(origin.path.name.replace("images", kind, 1))


def _shares(labels: Any) -> Tensor | None:
    """Soft labels, float32 [n, classes], of logits or of shares; None of anything else."""
    if not isinstance(labels, Tensor) or labels.ndim != 2 or labels.shape[1] < 2 or not labels.is_floating_point():
        return None
    rows = labels.detach().float()
    shares = bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() < ROUNDING).all())
    return rows if shares else rows.softmax(1)


def _learned(origin: Origin) -> dict[str, Any]:
    """The step size that was learned with the images, if its file lies beside them."""
    place = _beside(origin, "lr")
    if not place.is_file():
        return {}
    found = checkpoint.read(place)
    one = isinstance(found, float) or (isinstance(found, Tensor) and found.numel() == 1 and found.is_floating_point())
    lr = float(found) if one else nan
    if not 0 < lr < inf:
        said = f"{place.name} next to it holds no step size above 0, got {lr}; it is left out"
        warnings.warn(f"convert: {origin.path}: {said}", stacklevel=2)
        return {}
    return {"learned": {"lr": lr}}


def _doubt(labels: Tensor, origin: Origin) -> None:
    """Warn of a set that is whitened by default alone, and is not if it is MTT's own."""
    counts = torch.bincount(labels).tolist()
    if len(set(counts)) == 1 and (len(counts), counts[0]) in NORMALISED:
        said = "assumed whitened, like DATM's; MTT's own set of this size is not: add --space normalised"
        warnings.warn(f"convert: {origin.path}: {said}, or --space zca if it is", stacklevel=2)
