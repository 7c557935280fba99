"""FRePo: "Dataset Distillation using Neural Feature Regression", Zhou, Nezhadarya and Ba, NeurIPS 2022, Algorithm 1."""

from dataclasses import dataclass
from typing import Any, Self

from torch.nn.functional import mse_loss
from torch.optim import Adam

from augment import Policy
from yoco.condense.method import Task
from yoco.condense.regression import Regressed, Regression
from yoco.networks.base import Network
from yoco.rng import Rng


@dataclass(frozen=True, kw_only=True)
class FRePo(Regression):
    """Ridge regression from the features of the synthetic set shall predict the labels of real images.

    One episode is one step: one network of the pool gives the features, then it takes one step on the synthetic set.
    """

    @classmethod
    def published(cls, data: str, per_class: int, shape: tuple[int, int, int] | None = None) -> Self:
        """The paper's settings, which differ by data in nothing but mirror images.

        They are left out for MNIST and Fashion-MNIST, and from 10 images per class on for CIFAR-100 and Tiny ImageNet.
        The digits of scikit-learn have settings of our own.
        """
        still = data in ("mnist", "fashion-mnist", "digits") or (data in ("cifar100", "tiny") and per_class >= 10)
        words = "color_crop_cutout_scale_rotate" if data in ("mnist", "digits") else cls.augment
        own: dict[str, Any] = {"episodes": 500, "lr": 3e-3, "lr_network": 1e-3} if data == "digits" else {}
        return cls(flip=not still, augment=words, **own)

    def memory(self, task: Task, rng: Rng) -> "Pool":
        """The networks."""
        return Pool(task, self, rng)


class Pool:
    """Networks that are trained on the synthetic set, one step at a time; their ages are spread from the beginning."""

    def __init__(self, task: Task, settings: FRePo, rng: Rng) -> None:
        self.task, self.life, self.lr, count = task, settings.life, settings.lr_network, settings.pool
        self.policy, self.batch = Policy(settings.augment, "dsa"), settings.network_batch
        self.networks: list[Network] = [task.network(rng.child(k)) for k in range(count)]
        self.optimizers = [Adam(network.parameters(), lr=self.lr) for network in self.networks]
        self.ages = [k * self.life // count for k in range(count)]

    def learn(self, k: int, synthetic: Regressed, rng: Rng) -> None:
        """One step of a network on augmented synthetic images; at the end of its life a new one takes its place."""
        if self.ages[k] >= self.life:
            self.networks[k] = self.task.network(rng.child("network"))
            self.optimizers[k] = Adam(self.networks[k].parameters(), lr=self.lr)
            self.ages[k] = 0
        chosen = rng.child("batch").choice(len(synthetic.cells), self.batch)
        images = self.task.normalise(synthetic.everything(chosen).images.detach())
        draw = self.policy.draw(len(images), synthetic.size, rng.child("augment").generator())
        images = self.policy(images, draw)
        loss = mse_loss(self.networks[k].train()(images), synthetic.targets().detach()[chosen])
        self.optimizers[k].zero_grad()
        loss.backward()
        self.optimizers[k].step()
        self.ages[k] += 1

    def state_dict(self) -> dict[str, Any]:
        """Ages, weights and the states of the optimisers."""
        networks = [network.state_dict() for network in self.networks]
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        return {"ages": list(self.ages), "networks": networks, "optimizers": optimizers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.ages = list(state["ages"])
        for network, optimizer, weights, moments in zip(
            self.networks, self.optimizers, state["networks"], state["optimizers"], strict=True
        ):
            network.load_state_dict(weights)
            optimizer.load_state_dict(moments)


# Not in the paper:
# - networks are those of the task, with instance norm, not the paper's wider ones with batch norm;
# - their ages are spread from the beginning, so that they are not all replaced at once;
# - the features of more synthetic images than `graph_batch` are made in parts, which changes nothing but memory; with
#   batch norm each part has its own statistics;
# - pixels are cut to [0, 1] after every step; labels are saved as shares, so that cross-entropy can be trained on them.
