"""Evaluation protocols by name: how the papers train the networks that a set is judged by.

Not those of FRePo, SRe2L and RDED, which ask for more than a recipe says: regression, or a teacher that looks on.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from augment import Crop, Op, Params, Policy, Rotate, Scale
from yoco.registry import resolve
from yoco.train import Recipe

Protocol = Callable[[str, tuple[int, int, int], int, float], Recipe]
"""(data name, (C, H, W), factor, images per class) -> Recipe."""

PROTOCOLS = {
    "idc": "yoco.protocols:idc",
    "dsa": "yoco.protocols:dsa",
    "dc": "yoco.protocols:dc",
    "mtt": "yoco.protocols:mtt",
}
LEARNED = ("yoco.protocols:mtt",)
"""Protocols whose networks take the step size that was learned with the set."""

IMAGENET = {"imagenet-10": 10, "imagenet-100": 100}
"""Name -> classes of the sets for which IDC's epochs follow the number of images."""
GLYPHS = ("digits", "emnist", "kmnist", "mnist", "svhn")
"""Sets whose classes are told apart by their handedness, so that no image is mirrored."""


@dataclass(frozen=True)
class OnePerImage:
    """An augmentation that gives each image by itself one of several ops."""

    ops: tuple[Op, ...]

    def draw(self, count: int, size: tuple[int, int], generator: torch.Generator) -> tuple[Tensor, tuple[Params, ...]]:
        """The op of each image, long [count], and for every op `count` rows of parameters."""
        choice = torch.randint(len(self.ops), (count,), generator=generator)
        return choice, tuple(op.draw(count, size, generator) for op in self.ops)

    def __call__(self, images: Tensor, draw: tuple[Tensor, tuple[Params, ...]]) -> Tensor:
        """Images float [n, C, H, W], each after its own op."""
        choice, changed = draw[0].to(images.device).view(-1, 1, 1, 1), images
        for at, (op, params) in enumerate(zip(self.ops, draw[1], strict=True)):
            changed = torch.where(choice == at, op.apply(images, params), changed)
        return changed


def recipe(
    protocol: str, data: str, shape: tuple[int, int, int], factor: int, ipc: float, epochs: int | None = None
) -> Recipe:
    """The recipe of a protocol (a name or `module:function`) for a set of this factor and these images per class.

    epochs: in place of the protocol's; the step size falls at the same shares of them.

    Raises:
        ValueError: no such protocol, or epochs below 1.
    """
    protocol_of: Protocol = resolve("protocol", PROTOCOLS, protocol)
    published = protocol_of(data, shape, factor, ipc)
    if epochs is None:
        return published
    if epochs < 1:
        raise ValueError(f"evaluate: epochs must be at least 1, got {epochs}")
    return replace(published, epochs=epochs)


def idc(data: str, shape: tuple[int, int, int], factor: int, ipc: float) -> Recipe:
    """IDC (Kim et al., ICML 2022), also that of DREAM, MDC and YOCO.

    1000 epochs of SGD 0.01 in batches of 64, x0.2 after 2/3 and 5/6; colour, flip and one of crop, scale and rotate;
    half of the batches go through CutMix. Not so MNIST in cells, and SVHN at one whole image a class, which has cutout.

    Of imagenet-10 and imagenet-100 the epochs are those of `imagenet_epochs`. The rest is as for other data, where the
    authors' code has crops of random size and CutMix on all batches, and for 100 classes step size 0.1, decay 1e-4 and
    batches of 128. YOCO's code goes by the images of the set ahead of its pruning: say `epochs` to train as it does.
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

    What has learned none, such as real images beside the set, keeps 0.01. DATM has batches of 128 in place of 256.
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


def _halved(plain: Recipe) -> Recipe:
    """With the schedule of DC: one epoch more, one drop after the middle that loses the momentum."""
    return replace(plain, batch=256, drops=(Fraction(1, 2),), gamma=0.1, extra=1, fresh=True)
