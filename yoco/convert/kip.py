""".npz of KIP (NeurIPS 2021): images [n, H, W, C], whitened (ZCA) or normalised, and a row of label values for each."""

from dataclasses import replace

import numpy as np
import torch

from yoco.condensed import CondensedSet
from yoco.convert.archive import arrays, need
from yoco.convert.known import KIP
from yoco.convert.origin import Origin
from yoco.convert.pixels import plain_or_white


def read(origin: Origin) -> CondensedSet:
    """The images, the largest label value of each as its class, and all label values as soft labels.

    KIP's labels are centred, 1 - 1/C for the class and -1/C for the others, or learned from there. The soft labels are
    the file's plus 1/C, so that unlearned ones are one-hot. Labels that are not centred stay as they are. `space` must
    be given for grey images, which the authors never whitened, and for images in [0, 1], which may not be KIP's. A name
    with `nozca` in it, as the authors use, says that the images are normalised.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or of another form, or grey or in [0, 1] without a given space, or the constants
            of the normalisation are not known.
    """
    found = arrays(origin.path)
    need(found, ("images", "labels"), origin.path)
    images, labels = found["images"], found["labels"]
    if images.ndim != 4 or images.dtype.kind != "f" or not len(images):
        origin.refuse("images must be float [n, H, W, C] with n > 0", f"{images.dtype} {list(images.shape)}")
    if images.shape[3] not in (1, 3):
        origin.refuse("images must be [n, H, W, C] with 1 or 3 channels", list(images.shape))
    if labels.ndim != 2 or len(labels) != len(images) or labels.dtype.kind not in "iuf" or not labels.shape[1]:
        origin.refuse(f"labels must be numbers [{len(images)}, classes]", f"{labels.dtype} {list(labels.shape)}")
    classes = labels.shape[1]
    names = origin.known.classes if origin.known else tuple(map(str, range(classes)))
    if len(names) != classes:
        origin.refuse(f"labels of {origin.data} must have {len(names)} classes", classes)
    if not origin.space_said and "nozca" in origin.path.name.lower():
        origin = replace(origin, space="normalised", space_said=True)
    if images.shape[3] == 1 and not origin.space_said:
        rule = "grey sets of KIP were normalised, not whitened: add --space normalised and --data"
        origin.refuse(rule, origin.space)
    if not origin.space_said and images.min() >= 0 and images.max() <= 1:
        rule = "pixels of whitened KIP images must go beyond [0, 1]"
        origin.refuse(rule, "none; add --space for a set of KIP, else give labels as whole numbers")
    centred = abs(labels.sum(axis=1).mean()) < 0.5
    soft = labels.astype(np.float64) + (1 / classes if centred else 0)
    channels_first = torch.from_numpy(np.array(images.transpose(0, 3, 1, 2), dtype=np.float32, order="C"))
    plain, space, undone = plain_or_white(channels_first, origin, KIP)
    chosen = torch.from_numpy(labels.argmax(axis=1).astype(np.int64))
    told = {"classes": names, "soft_labels": torch.from_numpy(soft.astype(np.float32))}
    return origin.condensed(plain, chosen, space=space, constants=undone, **told)
