"""images_*.pt and labels_*.pt of MTT (CVPR 2022): whitened (ZCA) or normalised images."""

import warnings

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


def read(origin: Origin) -> CondensedSet:
    """The images with the labels that lie beside them; normalised ones are made plain.

    Whitened ones were whitened by MTT's fit on the training half of the data, which is not said by the file itself.
    Where the space is not said, a set of a size that MTT's authors did not whiten comes with a warning, and images that
    are too large to be whitened are refused.

    Raises:
        FileNotFoundError: there is no such file, or none with the labels beside it.
        ValueError: one is damaged or of another form, or too large to be whitened and its space is not said, or the
            constants of the normalisation are not known.
    """
    name = origin.path.name
    if "images" not in name:
        origin.refuse("the name must begin with images, so that the labels are found", name)
    beside = origin.path.with_name(name.replace("images", "labels", 1))
    images, labels = origin.check_pair(checkpoint.read(origin.path), checkpoint.read(beside))
    if not origin.space_said and images[0].numel() > LARGEST:
        rule = "images of this size were not whitened: add --space normalised and --data"
        origin.refuse(rule, list(images.shape))
    plain, space, undone = plain_or_white(images, origin)
    if space == "zca" and not origin.space_said:
        _doubt(labels, origin)
    fit = {"whitening": {"eps": EPS}} if space == "zca" else {}
    return origin.condensed(plain, labels, space=space, constants=undone, config=fit)


def _doubt(labels: Tensor, origin: Origin) -> None:
    """Warn of a set that is whitened by default alone, and is not if it is MTT's own."""
    counts = torch.bincount(labels).tolist()
    if len(set(counts)) == 1 and (len(counts), counts[0]) in NORMALISED:
        said = "taken as whitened, as DATM's are; MTT's own set of this size is not: add --space normalised"
        warnings.warn(f"convert: {origin.path}: {said}, or --space zca to say that it is", stacklevel=2)
