"""IDC: "Dataset Condensation via Efficient Synthetic-Data Parameterization", Kim et al., ICML 2022, Algorithm 1."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Self

from torch import Tensor

from yoco.condense.inner_steps import SETTINGS, InnerSteps, nearest
from yoco.condense.learner import Learner
from yoco.condense.method import Task
from yoco.condense.synthetic import Synthetic
from yoco.rng import Rng


@dataclass(frozen=True, kw_only=True)
class IDC(InnerSteps):
    """Match, class by class, the gradients that augmented real and decoded synthetic images give a network.

    One episode is one inner step: an update of the cells for every class, then some training of the network on real
    data. The network is replaced every `inner` episodes.
    """

    pretrain: int = 0
    """epochs on the real data that a new network gets first"""

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """The settings of the paper and its code; for other data those of the nearest set in channels and size.

        The digits of scikit-learn, 8x8 pixels, have settings of our own: whole images, and networks trained first.
        Those of imagenet-10 and imagenet-100 are for `network resnet_ap10`, in pruning and evaluation too.
        """
        return cls(**SETTINGS.get(data, SETTINGS[nearest(shape)]))

    def memory(self, task: Task, rng: Rng) -> Learner:
        """The network that is matched on."""
        return Learner(task, self.recipe(), life=self.inner, rng=rng)

    def episode(self, task: Task, synthetic: Synthetic, memory: Learner, rng: Rng) -> Iterator[Tensor]:
        """Lines 3 to 10 of the algorithm, with one inner step."""
        if memory.due:
            synthetic.clamp()
            memory.renew(rng.child("network"))
            memory.learn(ceil(self.pretrain * len(task.real) / self.network_batch), rng.child("pretrain"))
        for c in task.classes:
            real = task.draw(c, self.real_batch, rng.child("real", c))
            yield self.distance(task, memory.network, real, synthetic, c, rng)
        memory.learn(self.steps, rng.child("train"))
        memory.age += 1

    @property
    def renewals(self) -> int:
        """A new network is trained first."""
        return ceil(self.episodes / self.inner) if self.pretrain else 1


# The settings, the start and the distance are those of `yoco.condense.inner_steps`; not in the paper:
# - real batches are drawn anew from (seed, episode), not from a shuffled pass, so a run can go on anywhere;
# - the images of a start are a random choice (`first` gives the first ones of each class);
# - saved pixels are cut to [0, 1], unless they are whitened; those of the authors' code may lie outside;
# - a mixed start with factor 3 fills the tiles that decoding cuts, also where the code's offsets differ by a pixel;
# - MNIST with factor 1 uses color_crop_cutout and CutMix in the authors' runs: pass both to have them;
# - large sets decode with one factor: the code mixes several for ImageNet at factor 3, up to 128 images of a class;
# - the network is the caller's: the paper's is resnet_ap10 for ImageNet, and a convnet for all others;
# - of ImageNet-100 the pool of ten networks and the five processes are left out: every network is a new one, trained
#   first for as many epochs as those of the pool.
