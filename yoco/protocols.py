"""Evaluation protocols by name: how the papers train the networks that a set is judged by."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from operator import index
from typing import Any

from augment import Crop, Flip, InTurn, OnePerImage, Policy, ResizedCrop, Rotate, Scale
from yoco.recipes import Distilled, Regression
from yoco.registry import resolve
from yoco.train import Recipe

Protocol = Callable[[str, tuple[int, int, int], int, float], Recipe]
"""(data name, (C, H, W), factor, images per class) -> Recipe."""

PROTOCOLS = {
    "idc": "yoco.protocols:idc",
    "dsa": "yoco.protocols:dsa",
    "dc": "yoco.protocols:dc",
    "mtt": "yoco.protocols:mtt",
    "frepo": "yoco.protocols:frepo",
    "sre2l": "yoco.protocols:sre2l",
    "rded": "yoco.protocols:rded",
}
LEARNED = ("yoco.protocols:mtt",)
"""Protocols whose networks take the step size that was learned with the set."""

IMAGENET = {"imagenet-10": 10, "imagenet-100": 100}
"""Name -> classes of the sets for which IDC's epochs follow the number of images."""
GLYPHS = ("digits", "emnist", "kmnist", "mnist", "svhn")
"""Sets of digits and letters, which mirroring would change, so that no image is mirrored."""
MANY = ("cifar100", "tiny-imagenet", "imagenet-100")
"""Sets known to have a hundred classes or more, for which RDED's batches are twice as large."""


def recipe(
    protocol: str, data: str, shape: tuple[int, int, int], factor: int, ipc: float, epochs: int | None = None
) -> Recipe:
    """The recipe of a protocol (a name or `module:function`) for a set of this factor and these images per class.

    epochs: in place of the protocol's; the step size drops at the same shares of them, but not before the first epoch.

    Raises:
        ValueError: no such protocol, or it gives no recipe, or epochs below 1.
    """
    protocol_of: Protocol = resolve("protocol", PROTOCOLS, protocol)
    if not callable(protocol_of) or isinstance(protocol_of, type):
        rule = f"protocol {protocol}: must be a function of data, shape, factor and ipc"
        raise ValueError(f"{rule}, got {protocol_of!r}")
    published = protocol_of(data, shape, factor, ipc)
    if not isinstance(published, Recipe):
        raise ValueError(f"protocol {protocol}: must return a yoco.train.Recipe, got {type(published).__name__}")
    if epochs is None:
        return published
    if epochs < 1:
        raise ValueError(f"evaluate: epochs must be at least 1, got {epochs}")
    return replace(published, epochs=index(epochs)).brief()


TEACHER_EPOCHS = 20
"""Default number of epochs of a teacher on real data."""


def teaching(data: str, shape: tuple[int, int, int], images: int, epochs: int) -> Recipe:
    """The recipe of teachers on real data: as IDC's networks, but with ten times the step size, as epochs are few.

    The step size does not drop before the first epoch.
    """
    return replace(recipe("idc", data, shape, 1, images, epochs), lr=0.1)


def idc(data: str, shape: tuple[int, int, int], factor: int, ipc: float) -> Recipe:
    """IDC (Kim et al., ICML 2022), also that of DREAM, MDC and YOCO.

    1000 epochs of SGD 0.01 in batches of 64, x0.2 after 2/3 and 5/6; colour, flip (except `GLYPHS`) and one of crop,
    scale and rotate; half of the batches go through CutMix. There is no CutMix for MNIST with a factor above 1, nor for
    SVHN at one whole image per class, which has cutout.

    imagenet-10 and imagenet-100 have the epochs of `imagenet_epochs`. The rest is as for other data, whereas the
    authors' code has crops of random size and CutMix on all batches, and for 100 classes step size 0.1, decay 1e-4 and
    batches of 128. YOCO's code counts the images of the set before pruning: set `epochs` to train as it does. Their
    networks for these two are `resnet_ap10`: set `network resnet_ap10` to condense, prune and evaluate, as the default
    is a convnet. YOCO's code trains a DenseNet for 400 epochs on sets with a factor above 1 and 50 images per class or
    more: set `epochs`.
    """
    if data in IMAGENET:
        epochs = imagenet_epochs(round(ipc * factor**2), IMAGENET[data])
        return Recipe(epochs=epochs, augment=Policy("color_crop_flip_scale_rotate"), cutmix=0.5)
    if data == "mnist" and factor > 1:
        return Recipe(epochs=1000, augment=Policy("color_crop_scale_rotate"))
    if data == "svhn" and factor == 1 and ipc == 1:
        return Recipe(epochs=1000, augment=Policy("color_crop_cutout_scale_rotate"))
    words = "color_crop_scale_rotate" if data in GLYPHS else "color_crop_flip_scale_rotate"
    return Recipe(epochs=1000, augment=Policy(words), cutmix=0.5)


def imagenet_epochs(images: int, classes: int) -> int:
    """Epochs of IDC for ImageNet, by decoded images per class; at 100 classes 2/3 of them, in whole hundreds."""
    steps = {1: 3000, 10: 2000, 50: 1500, 200: 1000, 500: 500}
    epochs = next((epochs for most, epochs in steps.items() if images <= most), 300)
    return 2 * epochs // 300 * 100 if classes == 100 else epochs


def dsa(data: str, shape: tuple[int, int, int], factor: int, ipc: float) -> Recipe:
    """DSA (Zhao and Bilen, ICML 2021), also that of DM.

    1000 epochs and one more of SGD 0.01 in batches of 256, x0.1 in the middle with a new optimiser; one augmentation a
    batch.
    """
    words = "color_crop_cutout_scale_rotate" if data in GLYPHS else "color_crop_cutout_flip_scale_rotate"
    return _halved(Recipe(epochs=1000, augment=Policy(words, "dsa")))


def mtt(data: str, shape: tuple[int, int, int], factor: int, ipc: float) -> Recipe:
    """MTT (Cazenavette et al., CVPR 2022): `dsa` with the step size that was learned with the set, see `LEARNED`.

    Baselines of real images, which have none, keep 0.01. DATM has batches of 128 instead of 256.
    """
    return dsa(data, shape, factor, ipc)


def dc(data: str, shape: tuple[int, int, int], factor: int, ipc: float) -> Recipe:
    """DC (Zhao, Mopuri and Bilen, ICLR 2021).

    300 epochs (1000 on MNIST) and one more, scheduled as `dsa`; no augmentation, but on MNIST each image gets one of a
    crop by up to 4 of its 28 pixels, a scale by up to 0.2 and a rotation by up to 45 degrees. Three things differ from
    the authors' code: the shift is -4..4 and not -4..3, each side becomes 1 / U(1/1.2, 1.2) and not U(0.8, 1.2) times
    as long, and what moves in is the mean of the data set and not that of the batch.
    """
    if data != "mnist":
        return _halved(Recipe(epochs=300))
    return _halved(Recipe(epochs=1000, augment=OnePerImage((Crop(4 / 28), Scale(1.2), Rotate(45.0)))))


def frepo(data: str, shape: tuple[int, int, int], factor: int, ipc: float) -> Recipe:
    """FRePo (Zhou, Nezhadarya and Ba, NeurIPS 2022).

    1000 steps of Adam 3e-4 on the squared error to centred labels (CIFAR-100: 2000 from 10 images per class on, 5000
    from 50); one augmentation a batch. An epoch is one such step. Labels that were learned with a set are the shares
    that it holds. The paper's own networks have no norm: `convnet:norm=none` is the nearest here.
    """
    steps = 1000 if data != "cifar100" or ipc < 10 else 2000 if ipc < 50 else 5000
    words = "color_crop_rotate_translate_cutout"
    return Regression(epochs=steps, augment=Policy(words if data in GLYPHS else f"flip_{words}", "dsa"))


def rded(data: str, shape: tuple[int, int, int], factor: int, ipc: float) -> Recipe:
    """RDED (Sun, Shi, Yu and Lin, CVPR 2024): networks learn a teacher's outputs for augmented and mixed images.

    300 epochs of AdamW 0.001, decay 0.01, along a cosine; batches of 10, 50 or 100 for at most 1, at most 10 or more
    images per class, twice as large for tiny-imagenet and imagenet-100; for cifar100, as for the authors' ConvNet,
    batches of 25 and step size 0.002. Only these names count, not the number of classes: other data of a hundred
    classes or more keep the smaller batches, although the paper doubles theirs, too. Crops of random size, mirrored;
    CutMix on all batches; temperature 20.
    """
    batch = (10 if ipc <= 1 else 50 if ipc <= 10 else 100) * (2 if data in MANY else 1)
    sizes: dict[str, Any] = {"batch": 25, "lr": 2e-3} if data == "cifar100" else {"batch": batch}
    return Distilled(epochs=300, augment=_resized(data), **sizes)


def sre2l(data: str, shape: tuple[int, int, int], factor: int, ipc: float) -> Recipe:
    """SRe2L (Yin, Xing and Shen, NeurIPS 2023), third part: networks learn a teacher's outputs for augmented images.

    300 epochs of AdamW along a cosine in batches of 1024; crops of random size, mirrored; CutMix on all batches;
    temperature 20. If a side has at most 64 pixels: 400 epochs in batches of 128, and images are shifted, not resized.
    The authors store the teacher's outputs for the views of each epoch in half precision; here they are computed when
    the views are drawn. Step size 0.001 and decay 0.01 are those of `rded`.
    """
    if min(shape[1:]) > 64:
        return Distilled(epochs=300, batch=1024, augment=_resized(data))
    return Distilled(epochs=400, batch=128, augment=Policy("crop" if data in GLYPHS else "flip_crop"))


def _resized(data: str) -> InTurn:
    return InTurn((ResizedCrop(0.08), *(() if data in GLYPHS else (Flip(),))))


def _halved(plain: Recipe) -> Recipe:
    """The recipe with the schedule of DC: one epoch more, and one drop after the middle, which resets the momentum."""
    return replace(plain, batch=256, drops=(Fraction(1, 2),), gamma=0.1, extra=1, fresh=True)
