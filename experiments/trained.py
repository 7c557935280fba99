"""Trained networks that several experiments prune, and small files in which each trial is kept as it is done."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import command_line
from claims import Folder, key, once
from safetensors.torch import save_file

from yoco.data import Splits, load
from yoco.sparsify.study import Study

EPOCHS = {"lenet-300-100": 10, "lenet-5": 5, "convnet:width=32": 3}
"""Epochs of training; Fashion-MNIST, batches of 128."""


class Trials(Folder):
    """The folder of an experiment: dense networks by name and seed, and one JSON file for each trial.

    settings: what trials rest on beside the data, the precision and the epochs of the dense networks.
    """

    def __init__(self, options: Namespace, **settings: Any) -> None:
        self.data: Splits = load(options.data)
        self.bf16 = bool(options.bf16)
        self.epochs = dict(EPOCHS)
        self.usual = options.dense_epochs or 3
        if options.dense_epochs:
            self.epochs = dict.fromkeys(EPOCHS, options.dense_epochs)
        self.shared = {"data": self.data.train.checksum, "bf16": self.bf16, "epochs": self.epochs}
        super().__init__(Path(options.out), options.part, **self.shared, **settings)

    def dense(self, network: str, seed: int) -> Path:
        """Where the weights of a trained network are, whatever is done with it."""
        return self.path / f"dense-{network.replace(':', '_')}-{seed}-{key(**self.shared)}.safetensors"

    def study(self, network: str, seed: int, **how: Any) -> Study:
        """A study of a network that is trained once for each seed."""
        training: Any = {"sparsity": 0.0, "epochs": self.epochs.get(network, self.usual), "bf16": self.bf16}

        def make(path: Path) -> None:
            fresh = Study(data=self.data, network=network, seed=seed, **training)
            made = fresh.fresh()
            fresh.train(made)
            save_file(made.state_dict(), path)

        path = once(self.dense(network, seed), make)
        return Study(data=self.data, network=network, seed=seed, weights=path, bf16=self.bf16, **how)


def options(description: str | None, out: str, name: str, condensed: str = "", **defaults: Any) -> Namespace:
    """The command line of these experiments; condensed: the set, where one is needed."""
    return command_line.options(
        description, condensed, out, name, data="fashion-mnist", dense_epochs=0, bf16=1, **defaults
    )


def about(trials: Trials, options: Namespace) -> dict[str, Any]:
    """What every result file says of the data, the seeds and the precision."""
    return {
        "data": trials.data.train.name,
        "checksum": trials.data.train.checksum,
        "seeds": list(range(options.seeds)),
        "computed_in": "bfloat16, but for the pruning itself" if trials.bf16 else "float32",
    }
