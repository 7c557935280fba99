"""SRe2L: "Squeeze, Recover and Relabel", Yin, Xing and Shen, NeurIPS 2023, section 3."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import cos, pi
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Adam, Optimizer

from yoco.condense.crops import random_crops
from yoco.condense.method import Task
from yoco.condense.synthetic import Synthetic, start
from yoco.condense.teacher import Teacher, hard_labels, usual
from yoco.networks.base import Network
from yoco.rng import Rng

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True, kw_only=True)
class SRe2L:
    """Images that a teacher classifies as their class and whose statistics match those of its batch norms.

    The first `squeeze` episodes are epochs of the teacher on the real data, the others one update of all cells each;
    at the end of the last one the teacher labels them. A run that ends before has hard labels.
    """

    label_kinds: ClassVar[tuple[str, ...]] = ("teacher", "hard")
    episodes: int = 1100
    """epochs of the teacher plus the updates of the cells after them"""
    squeeze: int = 100
    """epochs of the teacher"""
    teacher: str = "resnet18"
    """the teacher's network, which must have batch norm"""
    lr_teacher: float = 0.1
    """step size of the teacher: SGD with momentum; a fifth of it after 2/3 and again after 5/6 of the epochs"""
    factor: int = 1
    """factor^2 cells share the room of one image: 1 to 4"""
    start: str = "noise"
    """noise, real (whole images, cut into cells), mix (one shrunk image a cell) or k-means (a mix of typical images)"""
    lr_image: float = 0.05
    """step size of the pixels at first: Adam; it falls to 0 along half a cosine"""
    batch: int = 100
    """images whose statistics are taken together: the first of every class, then the second ones, and so on"""
    norm_weight: float = 0.01
    """alpha: weight of the distance to the statistics of the teacher's batch norms"""
    first_norm: float = 10.0
    """weight of the first batch norm among them"""
    jitter: int = 4
    """pixels, at most, by which a batch is rolled down or up and right or left before the teacher sees it"""
    least: float = 1.0
    """smallest share of the image's area in the random crop that the teacher sees, above 0; 1 for whole images"""
    labels: str = "teacher"
    """teacher (its softmax) or hard"""
    temperature: float = 1.0
    """by which the teacher's logits are divided before the softmax"""

    def __post_init__(self) -> None:
        if self.batch < 2:
            raise ValueError(f"sre2l: batch must be at least 2, got {self.batch}")
        for name in ("squeeze", "norm_weight", "first_norm", "jitter"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"sre2l: {name} must be at least 0, got {getattr(self, name):g}")
        if not 0 < self.least <= 1:
            raise ValueError(f"sre2l: least must be above 0 and at most 1, got {self.least:g}")
        if self.labels not in self.label_kinds:
            raise ValueError(f"sre2l: labels must be {' or '.join(self.label_kinds)}, got {self.labels!r}")
        for name in ("temperature", "lr_teacher", "lr_image"):
            if not getattr(self, name) > 0:
                raise ValueError(f"sre2l: {name} must be above 0, got {getattr(self, name):g}")

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """The settings of the authors' code: for ImageNet above 64 pixels, below for CIFAR.

        The digits of scikit-learn have settings of our own, with a small teacher.
        """
        if data == "digits":
            return cls(**DIGITS)
        return cls(**LARGE) if shape and min(shape[1:]) > 64 else cls()

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        """Noise, unless `start` says otherwise, and its labels."""
        plain = start(self.start, task.real, task.per_class, self.factor, rng)
        return Synthetic.extended(plain, {"labels": hard_labels(plain)} if self.labels == "teacher" else {})

    def optimizer(self, synthetic: Synthetic) -> Optimizer:
        """Adam over all cells."""
        return CosineAdam([synthetic.cells], self.lr_image, self.episodes - self.squeeze)

    def memory(self, task: Task, rng: Rng) -> Teacher:
        """The teacher.

        Raises:
            ValueError: it has no batch norm, or there is no episode to recover in.
        """
        if not task.dry:
            self.check()
        task = replace(task, network_name=self.teacher)
        teacher = Teacher(task, replace(usual(task, max(1, self.squeeze)), lr=self.lr_teacher), rng, "lr_teacher")
        if not any(isinstance(module, NORMS) for module in teacher.network.modules()):
            raise ValueError(f"sre2l: teacher must have batch norm, got {self.teacher!r}; use norm=batch")
        return teacher

    def episode(self, task: Task, synthetic: Synthetic, memory: Teacher, rng: Rng) -> Iterator[Tensor]:
        """An epoch of the teacher (squeeze) or an update of all cells (recover); after the last, labels (relabel)."""
        if memory.age < self.squeeze:
            memory.learn()
            return
        memory.network.eval()
        yield synthetic.together(self.losses(task, synthetic, memory.network, rng))
        synthetic.clamp()
        memory.age += 1
        if memory.age == self.episodes and self.labels == "teacher":
            memory.label(synthetic, self.temperature)

    def losses(self, task: Task, synthetic: Synthetic, network: Network, rng: Rng) -> Iterator[Tensor]:
        """Of one batch after another (equations 5 to 7)."""
        order = torch.arange(len(synthetic.cells)).view(synthetic.classes, -1).T.flatten()
        for k, indices in enumerate(order.split(self.batch)):
            images = self.view(synthetic.everything(indices).images, rng.child("view", k))
            logits, apart = statistics_distance(network, task.normalise(images), self.first_norm)
            labels = synthetic.labels[indices.to(synthetic.labels.device)]
            yield cross_entropy(logits, labels) + self.norm_weight * apart

    def view(self, images: Tensor, rng: Rng) -> Tensor:
        """What the teacher sees of images float [n, C, H, W]: a random crop of each, resized, and all of it rolled."""
        if self.least < 1:
            size = (images.shape[-2], images.shape[-1])
            images = random_crops(images, 1, size, self.least, rng.child("crop"))[:, 0]
        generator = rng.child("roll").generator()
        down, right = torch.randint(-self.jitter, self.jitter + 1, (2,), generator=generator).tolist()
        return images.roll((down, right), dims=(2, 3))

    def phases(self, task: Task) -> tuple[Self, ...]:
        """Squeeze, and recover with any teacher: what estimates measure."""
        self.check()
        if not self.squeeze or not self.episodes:
            return (self,)
        recover = replace(self, squeeze=0, episodes=self.episodes - self.squeeze)
        return replace(self, episodes=self.squeeze), recover

    @property
    def changes(self) -> tuple[int, ...]:
        """The episode after which updates begin, whose pace differs from that of the teacher's epochs."""
        return (self.squeeze,)

    def check(self) -> None:
        """Check that a whole run has updates after the teacher's epochs; a phase of an estimate may have none."""
        if 0 < self.episodes <= self.squeeze:
            raise ValueError(f"sre2l: episodes must be above squeeze, {self.squeeze}, got {self.episodes}")


def statistics_distance(network: Network, images: Tensor, first: float = 1.0) -> tuple[Tensor, Tensor]:
    """Logits of normalised images, and their distance to the statistics of a network's batch norms in evaluation mode.

    The distance is the sum, over all batch norms, of the L2 distances of the input's mean and variance, per channel, to
    the running ones (DeepInversion, Yin et al., CVPR 2020). first: the weight of the first norm in the forward pass.
    """
    apart: list[Tensor] = []

    def look(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        held = dict(norm.named_buffers())
        channels = given[0].to(held["running_mean"].dtype).transpose(0, 1).flatten(1)
        mean, variance = channels.mean(1), channels.var(1, unbiased=False)
        apart.append((mean - held["running_mean"]).norm() + (variance - held["running_var"]).norm())

    hooks = [norm.register_forward_pre_hook(look) for norm in network.modules() if isinstance(norm, NORMS)]
    try:
        logits = network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return logits, first * apart[0] + torch.stack([*apart[1:], torch.zeros_like(apart[0])]).sum()


class CosineAdam(Adam):
    """Adam with betas (0.5, 0.9), whose step size falls from lr to 0 along half a cosine over `steps` steps."""

    def __init__(self, params: Iterable[Tensor], lr: float, steps: int) -> None:
        super().__init__(params, lr=lr, betas=(0.5, 0.9))
        for group in self.param_groups:
            group.update(highest=lr, steps=max(1, steps), done=0)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Change every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            share = min(group["done"] / group["steps"], 1.0)
            group["lr"] = group["highest"] * (1 + cos(pi * share)) / 2
            group["done"] += 1
        super().step()


LARGE: dict[str, Any] = {"episodes": 4100, "lr_image": 0.056, "jitter": 32, "least": 0.08}
DIGITS: dict[str, Any] = {"episodes": 115, "squeeze": 15, "teacher": "convnet:width=32,norm=batch", "jitter": 1}


# Not in the paper:
# - the teacher is trained here, much as IDC's evaluation trains networks; the paper's is that of its libraries;
# - pixels are learned in [0, 1] and cut to it; the published step size, 0.25 of normalised pixels, is taken times the
#   usual standard deviation of a channel, 0.2 for CIFAR and 0.225 for ImageNet;
# - all cells are updated side by side, so that a run that is stopped has all classes; as no batch touches another and
#   Adam looks at each pixel alone, this changes nothing;
# - with fewer classes than `batch` images, a batch has more than one image of each;
# - crops keep the sides' ratio of the image;
# - every cell has one soft label, made once from the decoded cell; the authors store one for each augmented image of
#   300 epochs of the student's training, and compare at temperature 20, as evaluation's protocol `sre2l` does.
