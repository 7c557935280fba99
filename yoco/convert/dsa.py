"""res_*.pt of DC (ICLR 2021), DSA (ICML 2021) and DM (WACV 2023): normalised images of several experiments."""

import re
from dataclasses import replace

import numpy as np
from numpy._core.multiarray import scalar

from yoco.condensed import CondensedSet
from yoco.convert import checkpoint
from yoco.convert.known import DC_CIFAR100, known
from yoco.convert.origin import Origin
from yoco.convert.pixels import constants, denormalise

SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
NUMBERS = (*((scalar, name) for name in SCALARS), np.dtype, np.dtypes.Float64DType)
"""What a NumPy float is made of: the files hold accuracies beside the images."""


def read(origin: Origin) -> CondensedSet:
    """The images of one experiment, made plain by the constants of the data set.

    Method and data set are taken from the name of the file where it is res_METHOD_DATA_NETWORK_NUMBERipc.pt.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged or of another form, there is no such experiment, or the data set is not known.
    """
    content = checkpoint.read(origin.path, NUMBERS)
    if not isinstance(content, dict) or not isinstance(content.get("data"), list) or not content["data"]:
        origin.refuse("must hold a dict with a list `data` of experiments", type(content).__name__)
    experiments = content["data"]
    if not 0 <= origin.experiment < len(experiments):
        origin.refuse(f"experiment must be in 0..{len(experiments) - 1}", origin.experiment)
    pair = experiments[origin.experiment]
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        origin.refuse("an experiment must be [images, labels]", type(pair).__name__)
    images, labels = origin.check_pair(*pair)
    method, data = _named(origin.path.name)
    origin = replace(origin, data=origin.data or data)
    undone = constants(origin, {"cifar100": DC_CIFAR100})
    plain, space = denormalise(images, undone, origin)
    return origin.condensed(plain, labels, space=space, constants=undone, method=method or origin.form)


def _named(file: str) -> tuple[str | None, str | None]:
    """Method and data set out of the name of a file."""
    found = re.match(r"res_(DC|DSA|DM)_([^_]+)_", file)
    if found is None:
        return None, None
    return found[1].lower(), found[2] if known(found[2]) else None
