"""MDC: "Multisize Dataset Condensation", He et al., ICLR 2024, Algorithm 1."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Any, Self

from torch import Tensor

from augment import Policy
from yoco.condense.inner_steps import SETTINGS, InnerSteps, nearest
from yoco.condense.learner import Learner
from yoco.condense.matching import distance_to, matched_gradients, prefix_distances
from yoco.condense.method import Task
from yoco.condense.siamese import one_draw
from yoco.condense.synthetic import Synthetic
from yoco.data.source import Batch
from yoco.rng import Rng


@dataclass(frozen=True, kw_only=True)
class MDC(InnerSteps):
    """IDC that matches, besides the whole set, a smaller size of it: the first cells of each class.

    The smaller size is chosen again from time to time: the most learnable one, whose feature distance changed most. One
    run gives a good set of every size: the first n * factor^2 cells of each class are the set of n images per class.
    """

    interval: int = 100
    """networks from one choice of the smaller size to the next"""
    pretrain: int = 0
    """epochs on the real data that a new network gets first"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.interval < 1:
            raise ValueError(f"mdc: interval must be at least 1, got {self.interval}")

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """IDC's settings; for scikit-learn's digits the smaller size is chosen anew with every network."""
        return cls(**{**SETTINGS, "digits": DIGITS}.get(data, SETTINGS[nearest(shape)]))

    def synthetic(self, task: Task, rng: Rng) -> Synthetic:
        """As IDC's; it will be ordered."""
        made = super().synthetic(task, rng)
        made.order = "mdc"
        return made

    def memory(self, task: Task, rng: Rng) -> "Sizes":
        """The network, and the smaller size that is trained."""
        return Sizes(Learner(task, self.recipe(), life=self.inner, rng=rng), task.per_class - 1)

    def episode(self, task: Task, synthetic: Synthetic, memory: "Sizes", rng: Rng) -> Iterator[Tensor]:
        """One inner step: an update of all cells but the frozen ones for every class, then the network's training."""
        learner = memory.learner
        if learner.due:
            synthetic.clamp()
            memory.begin_network()
            learner.renew(rng.child("network"))
            learner.learn(ceil(self.pretrain * len(task.real) / self.network_batch), rng.child("pretrain"))
        synthetic.held = memory.frozen * self.factor**2
        held = synthetic.firsts(synthetic.held)
        kept = held.clone()
        for c in task.classes:
            see = one_draw(task, Policy(self.augment, "idc"), synthetic.size, rng.child("augment", c))
            real = see(task.draw(c, self.real_batch, rng.child("real", c)))
            if memory.measuring(self.interval):
                sizes = range(self.factor**2, synthetic.per_class, self.factor**2)
                memory.note(prefix_distances(learner.network, real, see(synthetic.of(c)), sizes))
            targets = matched_gradients(learner.network, real)
            parts = self.parts(synthetic, memory.size, c, rng)
            yield synthetic.together(distance_to(targets, learner.network, see(p), self.metric) for p in parts)
            held.copy_(kept)  # though their gradient is zero, momentum has moved them
        learner.learn(self.steps, rng.child("train"))
        learner.age += 1

    def parts(self, synthetic: Synthetic, size: int, label: int, rng: Rng) -> Iterator[Batch]:
        """All cells of a class, then those of the trained size; of more than `synthetic_batch` a random choice."""
        yield synthetic.of(label, self.synthetic_batch, rng.child("cells", label))
        if size:
            first, stream = size * self.factor**2, rng.child("first", label)
            yield synthetic.of(label, self.synthetic_batch, stream, first=first)

    @property
    def renewals(self) -> int:
        """A new network is trained first."""
        return ceil(self.episodes / self.inner) if self.pretrain else 1


class Sizes:
    """The network, the smaller size trained with it, and the sizes trained before; in images per class.

    most: the largest smaller size; size: the one in training, 0 if there is none; done: those trained before.
    totals: sums of the `noted` distances of each size; before: their means at the last choice.
    """

    def __init__(self, learner: Learner, most: int) -> None:
        self.learner, self.most = learner, most
        self.networks, self.size, self.done = 0, min(1, most), list[int]()
        self.noted, self.totals, self.before = 0, [0.0] * most, list[float]()

    @property
    def frozen(self) -> int:
        """The largest size below the one in training that was trained before; 0 if there is none."""
        return max((size for size in self.done if size < self.size), default=0)

    def measuring(self, interval: int) -> bool:
        """Whether distances are noted with this network: the first, and every `interval`-th after it."""
        return self.most > 0 and (self.networks - 1) % interval == 0

    def note(self, distances: list[float]) -> None:
        """Add the distances of all sizes in one step and one class."""
        self.totals = [total + distance for total, distance in zip(self.totals, distances, strict=True)]
        self.noted += 1

    def begin_network(self) -> None:
        """Count a new network; if distances were noted with the last one, choose by them."""
        self.networks += 1
        if self.noted:
            self.choose([round(total / self.noted, 2) for total in self.totals])
            self.noted, self.totals = 0, [0.0] * self.most

    def choose(self, distances: list[float]) -> None:
        """Train the size whose distance changed most since the last choice, the least of equals; the first time 1."""
        if self.before:
            changes = [round(abs(new - old), 2) for new, old in zip(distances, self.before, strict=True)]
            self.done = sorted({*self.done, self.size})
            self.size = 1 + changes.index(max(changes))
        self.before = distances

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        counts = {"networks": self.networks, "size": self.size, "done": self.done, "noted": self.noted}
        return {**counts, "totals": self.totals, "before": self.before, "learner": self.learner.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.learner.load_state_dict(state["learner"])
        self.networks, self.size, self.noted = state["networks"], state["size"], state["noted"]
        self.done, self.totals, self.before = (list(state[name]) for name in ("done", "totals", "before"))


DIGITS: dict[str, Any] = {**SETTINGS["digits"], "interval": 1, "episodes": 160}


# Not in the paper:
# - real batches are drawn anew from (seed, episode), not from a shuffled pass, so a run can go on anywhere;
# - the images of a start are a random choice (`first` gives the first ones of each class);
# - before the first choice, size 1 is trained: it is what the first choice takes in any case;
# - saved pixels are cut to [0, 1], unless they are whitened; those of the authors' code may lie outside;
# - frozen cells do not move at all; in the authors' code their momentum goes on for some steps;
# - where a class has more than `synthetic_batch` cells, a smaller size is cut off before the random choice, so that it
#   is always the first cells that are trained; in the authors' code the choice breaks the order;
# - all classes share one choice; a choice for each class alone is not there;
# - features are measured before the step, on the augmented images, of all cells whatever their number;
# - changes of distance are rounded like distances, so that equal ones are equal, and then the smallest size is taken.
