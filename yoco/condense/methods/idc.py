"""IDC: "Dataset Condensation via Efficient Synthetic-Data Parameterization", Kim et al., ICML 2022, Algorithm 1."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from augment import Policy
from yoco.condense.inner_steps import InnerSteps
from yoco.condense.learner import Learner
from yoco.condense.matching import gradient_distance
from yoco.condense.method import Task
from yoco.condense.siamese import siamese
from yoco.condense.synthetic import Synthetic
from yoco.rng import Rng


@dataclass(frozen=True, kw_only=True)
class IDC(InnerSteps):
    """Match, class by class, the gradients that augmented real and decoded synthetic images give a network."""

    def memory(self, task: Task, rng: Rng) -> Learner:
        """The network that is matched on."""
        return self.learner(task, rng)

    def episode(self, task: Task, synthetic: Synthetic, memory: Learner, rng: Rng) -> Iterator[Tensor]:
        """Lines 3 to 10 of the algorithm, with one inner step."""
        if memory.age == 0 or memory.spent:
            synthetic.clamp()
            self.renew(task, memory, rng)
        for c in task.classes:
            real = task.draw(c, self.real_batch, rng.child("real", c))
            cells = synthetic.of(c, self.synthetic_batch, rng.child("cells", c))
            real, cells = siamese(task, Policy(self.augment, "idc"), real, cells, rng.child("augment", c))
            yield gradient_distance(memory.network, real, cells, self.metric)
        self.train(memory, rng)


# Not in the paper:
# - real batches are drawn anew from (seed, episode), not from a shuffled pass, so a run can go on anywhere;
# - the images of a start are a random choice (`first` gives the first ones of each class);
# - a mixed start with factor 3 fills the tiles that decoding cuts, also where the code's offsets differ by a pixel;
# - MNIST with factor 1 uses color_crop_cutout and CutMix in the authors' runs: pass both to have them;
# - of ImageNet-100 only the step sizes, decay and batch are taken: its pool of ten networks and five processes is not.
