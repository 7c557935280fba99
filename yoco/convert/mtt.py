"""images_*.pt and labels_*.pt of MTT (CVPR 2022): whitened (ZCA) or normalised images."""

from yoco.condensed import CondensedSet
from yoco.convert import checkpoint
from yoco.convert.origin import Origin
from yoco.convert.pixels import plain_or_white
from yoco.data.whitened import EPS


def read(origin: Origin) -> CondensedSet:
    """The images with the labels that lie beside them; normalised ones are made plain.

    Whitened ones were whitened by MTT's fit on the training half of the data, which is not said by the file itself.

    Raises:
        FileNotFoundError: there is no such file, or none with the labels beside it.
        ValueError: one is damaged or of another form, or the constants of the normalisation are not known.
    """
    name = origin.path.name
    if "images" not in name:
        origin.refuse("the name must begin with images, so that the labels are found", name)
    beside = origin.path.with_name(name.replace("images", "labels", 1))
    images, labels = origin.check_pair(checkpoint.read(origin.path), checkpoint.read(beside))
    plain, space, undone = plain_or_white(images, origin)
    fit = {"whitening": {"eps": EPS}} if space == "zca" else {}
    return origin.condensed(plain, labels, space=space, constants=undone, config=fit)
