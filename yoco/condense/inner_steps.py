"""Inner steps: match gradients class by class, then train the network on the real data (IDC, ICML 2022)."""

from dataclasses import dataclass
from math import ceil
from typing import Any

from torch import Tensor
from torch.optim import SGD, Optimizer

from augment import CutMix, Policy
from yoco.condense.matching import METRICS, gradient_distance
from yoco.condense.method import Task
from yoco.condense.siamese import siamese
from yoco.condense.synthetic import SHRINKS, Synthetic, start
from yoco.data.source import Batch
from yoco.networks.base import Network
from yoco.rng import Rng
from yoco.train import Recipe


@dataclass(frozen=True, kw_only=True)
class InnerSteps:
    """What IDC, DREAM and Acc-DD have in common: all but the networks and the real images that they match on.

    One episode is one inner step: an update of the cells for every class, then some training of the network on real
    data. The network is replaced every `inner` episodes.
    """

    episodes: int = 200_000
    """inner steps; the paper's 2,000 networks of 100 steps"""
    inner: int = 100
    """inner steps with one network"""
    factor: int = 2
    """factor^2 cells share the room of one image: 1 to 4"""
    start: str = "mix"
    """noise, real (whole images, cut into cells), mix (one shrunk image a cell) or k-means (a mix of typical images)"""
    first: bool = False
    """start from the first images of each class, as the paper's code does, not from a random choice"""
    shrink: str = "nearest"
    """how a mixed start shrinks images: nearest or area"""
    metric: str = "mse"
    """distance of gradients: mse (sum of squares) or l1 (sum of absolute values)"""
    lr_image: float = 5e-3
    """step size of the pixels for 10 images per class of side `reference_side`; scaled to other sizes"""
    reference_side: int = 32
    """pixels: the height for which lr_image is meant"""
    momentum_image: float = 0.5
    """momentum of the pixels"""
    real_batch: int = 64
    """real images of a class in one update"""
    synthetic_batch: int = 128
    """decoded images of a class in one update, at most"""
    augment: str = "color_crop_cutout"
    """augmentations shared by real and synthetic images while matching"""
    network_images: int = 2000
    """real images on which the network is trained in one inner step"""
    network_batch: int = 64
    """images in a batch of the network's training"""
    network_augment: str = "color_crop"
    """augmentations of the network's training"""
    cutmix: float = 0.5
    """probability that a batch of the network's training is mixed"""
    lr_network: float = 0.01
    """step size of the network"""
    weight_decay: float = 5e-4
    """weight decay of the network"""

    def __post_init__(self) -> None:
        where = type(self).__name__.lower()
        for name in ("inner", "reference_side", "real_batch", "synthetic_batch", "network_images", "network_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{where}: {name} must be at least 1, got {getattr(self, name)}")
        if self.metric not in METRICS:
            raise ValueError(f"{where}: metric must be one of {', '.join(METRICS)}, got {self.metric!r}")
        if self.shrink not in SHRINKS:
            raise ValueError(f"{where}: shrink must be one of {', '.join(SHRINKS)}, got {self.shrink!r}")
        if self.shrink != "nearest" and self.start in ("real", "noise"):
            raise ValueError(f"{where}: shrink {self.shrink} needs start mix or k-means, got {self.start}")
        if getattr(self, "pretrain", 0) < 0:
            raise ValueError(f"{where}: pretrain must be at least 0, got {self.pretrain}")  # type: ignore[attr-defined]
        if self.first and self.start in ("k-means", "noise"):
            raise ValueError(f"{where}: first needs start real or mix, got {self.start}")
        Policy(self.augment)
        Policy(self.network_augment)
        CutMix(self.cutmix)

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        """Shrunk real images in every cell, unless `start` says otherwise."""
        kind = "real" if self.start == "mix" and self.factor == 1 else self.start
        return start(kind, task.real, task.per_class, self.factor, rng, first=self.first, shrink=self.shrink)

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        """SGD over all cells at once: a class's momentum moves its pixels while other classes are updated."""
        scale = synthetic.images_per_class / 10 * (synthetic.size[0] / self.reference_side) ** 2
        return SGD([synthetic.cells], lr=self.lr_image * scale, momentum=self.momentum_image)

    def recipe(self) -> Recipe:
        """How the network is trained on the real data."""
        return Recipe(
            epochs=1,
            batch=self.network_batch,
            lr=self.lr_network,
            weight_decay=self.weight_decay,
            augment=Policy(self.network_augment, "idc"),
            cutmix=self.cutmix,
        )

    @property
    def steps(self) -> int:
        """Batches on which the network is trained in one inner step."""
        return ceil(self.network_images / self.network_batch)

    def distance(self, task: Task, network: Network, real: Batch, synthetic: Synthetic, label: int, rng: Rng) -> Tensor:
        """Distance of the gradients of real and synthetic images of one class, under the same augmentation."""
        cells = synthetic.of(label, self.synthetic_batch, rng.child("cells", label))
        pair = siamese(task, Policy(self.augment, "idc"), real, cells, rng.child("augment", label))
        return gradient_distance(network, *pair, self.metric)


_TRAINED: dict[str, Any] = {"pretrain": 20, "inner": 20, "network_images": 64}
_FASHION: dict[str, Any] = {"metric": "l1", "lr_image": 1e-4, "network_images": 500}
_IMAGENET: dict[str, Any] = {**_FASHION, "lr_image": 3e-3, "reference_side": 224, "factor": 3, "episodes": 50_000}
SETTINGS: dict[str, dict[str, Any]] = {
    "cifar10": {},
    "cifar100": {},
    "svhn": {"network_images": 500},
    "mnist": {**_FASHION, "reference_side": 28, "augment": "color_crop", "cutmix": 0.0},
    "fashion-mnist": _FASHION,
    "digits": {**_FASHION, **_TRAINED, "factor": 1, "lr_image": 1e-3, "reference_side": 8, "episodes": 100},
    "imagenet-10": {**_IMAGENET, "pretrain": 10},
    "imagenet-100": {
        **_IMAGENET,
        "pretrain": 5,
        "lr_image": 1e-3,
        "lr_network": 0.1,
        "weight_decay": 1e-4,
        "real_batch": 128,
    },
}


def nearest(shape: tuple[int, int, int] | None) -> str:
    """The data set of the paper's table that is most like images of this shape (C, H, W)."""
    if shape is None:
        return "cifar10"
    channels, height, _ = shape
    if height > 64:
        return "imagenet-10"
    return "fashion-mnist" if channels == 1 else "cifar10"
