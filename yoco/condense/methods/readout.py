"""Readout: cells whose features, in networks trained on them as those that will be judged, label real images.

    networks: a pool, each trained on the cells by SGD on cross-entropy under the augmentations and the CutMix of
              protocol `idc` (ICML 2022), and replaced when it is as old as `life`; their ages differ

    in each step, with one of them:
        F, G <- features of all cells, and of a batch of real images
        loss <- |G F' (F F' + ridge I)^-1 Y - Z|^2,   Y, Z the centred labels of the cells and of the real images
        the cells take a step of LAMB; the network takes `network_steps`

The objective is that of FRePo (NeurIPS 2022); which networks it is asked of, cells instead of images, and hard labels
are what makes it quick: see the log of tries in experiments/road.py.
"""

from dataclasses import dataclass
from typing import Any, Self

from augment import CutMix, Policy
from yoco.condense.learner import Learner
from yoco.condense.method import Task
from yoco.condense.regression import Regressed, Regression
from yoco.condensed import Examples
from yoco.networks.base import Network
from yoco.protocols import idc
from yoco.rng import Rng
from yoco.train import Recipe, take_steps


@dataclass(frozen=True, kw_only=True)
class Readout(Regression):
    """Ridge regression from features of the cells, in networks trained on them, shall label real images.

    One episode is one step: one network of the pool gives the features, then it is trained a little on the cells.
    """

    episodes: int = 2000
    """steps"""
    life: int = 200
    """episodes after which a network is replaced"""
    factor: int = 2
    """factor^2 cells share the room of one image: 1 to 4"""
    start: str = "mix"
    """noise, real (whole images), mix (one shrunk image a cell) or k-means (a mix of typical images)"""
    labels: str = "hard"
    """hard or learned"""
    lr: float = 6e-3
    """step size of LAMB for pixels and labels; it falls to a tenth along a cosine"""
    real_batch: int = 768
    """real images in one step"""
    flip: bool = False
    """the synthetic set is doubled by its mirror images"""
    lr_network: float = 0.01
    """step size of SGD for the networks"""
    network_batch: int = 64
    """synthetic images in a step of a network, at most"""
    network_steps: int = 2
    """steps of a network in one episode"""
    augment: str = "color_crop_flip_scale_rotate"
    """augmentations of the networks' training"""
    cutmix: float = 0.5
    """probability that a batch of the networks' training is mixed"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network_steps < 1:
            raise ValueError(f"readout: network_steps must be at least 1, got {self.network_steps}")
        CutMix(self.cutmix)

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """Settings of our own; networks are trained as protocol `idc` does for the data; digits have whole images."""
        own: dict[str, Any] = {"factor": 1, "start": "real", "episodes": 500} if data == "digits" else {}
        judged = idc(data, shape or (3, 32, 32), own.get("factor", cls.factor), per_class)
        assert isinstance(judged.augment, Policy)
        return cls(augment=judged.augment.words, cutmix=judged.cutmix, **own)

    def recipe(self) -> Recipe:
        """How the networks are trained on the cells."""
        words, cutmix = Policy(self.augment), self.cutmix
        return Recipe(epochs=1, batch=self.network_batch, lr=self.lr_network, augment=words, cutmix=cutmix)

    def memory(self, task: Task, rng: Rng) -> "Trainees":
        """The networks."""
        return Trainees(task, self, rng)


class Trainees:
    """Networks that are trained on the cells as protocol `idc` does; their ages are spread from the beginning."""

    def __init__(self, task: Task, settings: Readout, rng: Rng) -> None:
        self.task, self.steps = task, settings.network_steps
        recipe, life = settings.recipe(), settings.life
        self.learners = [Learner(task, recipe, life=life, rng=rng.child(k)) for k in range(settings.pool)]
        for k, learner in enumerate(self.learners):
            learner.age = k * life // settings.pool

    @property
    def networks(self) -> list[Network]:
        """Those of now."""
        return [learner.network for learner in self.learners]

    def learn(self, k: int, synthetic: Regressed, rng: Rng) -> None:
        """Some steps of a network on the cells; at the end of its life a new one takes its place."""
        learner, soft = self.learners[k], synthetic.soft_labels()
        if learner.spent:
            learner.renew(rng.child("network"))
        cells = Examples(
            synthetic.everything().images.detach(), synthetic.labels, None if soft is None else soft.detach()
        )
        normalise = self.task.normalise
        take_steps(learner.network, learner.optimizer, cells, self.steps, learner.recipe, normalise, rng)
        learner.age += 1

    def state_dict(self) -> dict[str, Any]:
        """The state of every learner."""
        return {str(k): learner.state_dict() for k, learner in enumerate(self.learners)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        for k, learner in enumerate(self.learners):
            learner.load_state_dict(state[str(k)])
