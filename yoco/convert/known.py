"""What is published about the data sets that papers condensed: constants of normalisation and names of classes."""

from dataclasses import dataclass

from yoco.data.mnist import CLOTHES, DIGITS, FASHION, MNIST
from yoco.data.vision import CIFAR, SVHN

DC_CIFAR100 = ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762))
"""Mean and std with which DC, DSA and DM normalise CIFAR-100; the others take those of CIFAR-10."""
KIP = {
    "cifar10": ((0.49139968, 0.48215841, 0.44653091), (0.24703223, 0.24348513, 0.26158784)),
    "cifar100": ((0.50707516, 0.48654887, 0.44091784), (0.26733429, 0.25643846, 0.27615047)),
}
"""Mean and std with which KIP normalises: over all pixels of the training half, where others take those of an image."""

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and std of ImageNet, with which DM and MTT normalise Tiny ImageNet, and MTT its subsets of ten classes."""
SUBSETS = ("imagenette", "imagewoof", "imagefruit", "imageyellow", "imagemeow", "imagesquawk")
"""MTT's subsets of ImageNet."""

_THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Known:
    """A data set by the name that `yoco.data` gives it, if any; mean and std in [0, 1], one value a channel."""

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]


_ALL = (
    Known("mnist", *MNIST, DIGITS),
    Known("fashion-mnist", *FASHION, CLOTHES),
    Known("svhn", *SVHN, DIGITS),
    Known("cifar10", *CIFAR, _THINGS),
    Known("cifar100", *CIFAR, tuple(map(str, range(100)))),
    Known("tiny-imagenet", *IMAGENET, tuple(map(str, range(200)))),
    *(Known(name, *IMAGENET, tuple(map(str, range(10)))) for name in SUBSETS),
)


def known(name: str) -> Known | None:
    """The data set of this name, however it is spelt (CIFAR10, cifar-10, FashionMNIST), or None."""
    return next((each for each in _ALL if _plain(each.name) == _plain(name)), None)


def names() -> tuple[str, ...]:
    """The names of all of them."""
    return tuple(each.name for each in _ALL)


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")
