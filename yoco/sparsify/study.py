"""Study: from data to a sparse network and everything that is to be known of it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import count
from math import ceil, inf
from pathlib import Path
from typing import Any

import torch
from torch import nn

from yoco import networks
from yoco.condensed import CondensedSet
from yoco.data.source import Source, Splits
from yoco.device import compute_type, cpu_by_default, pick
from yoco.registry import resolve
from yoco.rng import Rng
from yoco.sparsify import METHODS, sparsify
from yoco.sparsify.calibration import calibration
from yoco.sparsify.certificate import Certificate
from yoco.sparsify.files import Files
from yoco.sparsify.given import check_set
from yoco.sparsify.masks import budget
from yoco.sparsify.measure import measure
from yoco.sparsify.methods import LOOKING
from yoco.sparsify.network import entering
from yoco.sparsify.outcome import Outcome
from yoco.sparsify.patterns import parse
from yoco.sparsify.pruned import Pruned
from yoco.sparsify.pruner import Pruner
from yoco.sparsify.retrain import check_learned, gradually, reestimate, retrain
from yoco.sparsify.shrink import shrink
from yoco.sparsify.watch import Watch
from yoco.sparsify.weights import load_weights
from yoco.train import Examples, Normalise, Recipe, accuracy, fit

BATCH, CERTIFIED = 128, 1024


@dataclass(frozen=True, kw_only=True)
class Study:
    """Train or load a network, prune it, retrain it, measure it.

    data: both halves. weights: a file of trained weights; else the network is trained for `epochs` at step size `lr`.
    sparsity, at_init, images, options: as for `yoco.sparsify`; with at_init, masks come first, then training.
    calibrate, retrain_on: condensed sets, or other sources, in place of the training half. Where no label is read,
    as by solvers that do not weigh by the loss, `calibrate` may lack some classes. rounds: see `gradually`.
    retrain: light retraining, for as many steps as so many epochs on the training half take. bf16: train and evaluate
    in bfloat16. Pruning, which needs precision, stays in float32, on GPUs with TF32 in the precision that
    `torch.backends.cudnn.allow_tf32` gives it. shrink: write the sparse file without dead channels, see `shrink`.

    Raises:
        ValueError: numbers or combinations that make no sense, or a set in ZCA space or of other images or classes.
    """

    data: Splits
    network: str = "lenet-300-100"
    weights: Path | None = None
    epochs: int = 10
    lr: float = 0.02
    sparsity: float | None = None
    at_init: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 1
    images: int | None = None
    calibrate: CondensedSet | Source | None = None
    retrain: float = 0.0
    retrain_on: CondensedSet | Source | None = None
    seed: int = 0
    device: str = "auto"
    bf16: bool = False
    shrink: bool = False

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 1:
            raise ValueError(f"sparsify: images must be at least 1, got {self.images}")
        if self.epochs < 1 or self.retrain < 0 or self.rounds < 1:
            got = f"{self.epochs}, {self.rounds} and {self.retrain:g}"
            raise ValueError(f"sparsify: epochs and rounds must be at least 1 and retrain at least 0, got {got}")
        if not 0 < self.lr < inf or not self.retrain < inf:
            got = f"{self.lr:g} and {self.retrain:g}"
            raise ValueError(f"sparsify: lr must be above 0, retrain at least 0, and both finite, got {got}")
        if self.at_init is not None and (self.weights is not None or self.rounds > 1 or self.retrain):
            raise ValueError("sparsify: at_init is for a fresh network in one round, got weights, rounds or retrain")
        if self.rounds > 1 and (self.sparsity is None or not self.retrain):
            got = f"{self.sparsity} and {self.retrain:g}"
            raise ValueError(f"sparsify: rounds above 1 need sparsity and retrain, got {got}")
        if self.retrain_on is not None and not self.retrain:
            raise ValueError("sparsify: retrain_on needs retrain above 0, got 0")
        pruning = self.at_init is not None or self.options.get("weigh") == "loss"  # whether it reads labels
        for name, labels in (("calibrate", pruning), ("retrain_on", True)):
            if (given := getattr(self, name)) is not None:
                check_set(name, given, self.data.train, labels)
        self._check_words()

    def _check_words(self) -> None:
        """Find mistakes ahead of the training."""
        if self.at_init is not None:
            resolve("method", METHODS, self.at_init)
            if "solver" in self.options:
                raise ValueError("sparsify: solver is for trained networks, got it together with at_init")
            self._check_unread()
        else:
            Pruner.of(self.options).check(self.sparsity)
        fixed = parse(self.options.get("pattern")).group > 0
        if self.sparsity is not None:
            budget(1, self.sparsity)
        if fixed and self.rounds > 1:
            raise ValueError(f"sparsify: rounds above 1 need a growing sparsity, got pattern {self.options['pattern']}")
        told = self.options.get("tolerance") is not None or not isinstance(self.options.get("allocation", ""), str)
        if self.sparsity is None and not fixed and not told:
            raise ValueError("sparsify: needs sparsity, got None")

    def _check_unread(self) -> None:
        """Refuse images for a method that does not look at any."""
        given = {"images": self.images, "calibrate": self.calibrate}
        unread = [name for name, value in given.items() if value is not None]
        if unread and self.at_init in METHODS and self.at_init not in LOOKING:
            rule = f"{unread[0]} needs a method that looks at images ({', '.join(LOOKING)})"
            raise ValueError(f"sparsify: {rule}, got at_init {self.at_init}")

    def check(self, network: nn.Module) -> None:
        """Check before the training that these settings fit a fresh network.

        Raises:
            ValueError: it cannot be pruned with these options, or not be shrunk.
        """
        shape = self.data.train.shape
        if self.at_init is None:
            Pruner.of(self.options).check_network(network, self.sparsity, entering(network, shape))
        if self.shrink:
            shrink(network, shape)

    @cpu_by_default
    def run(self, out: Path | None = None, tell: Callable[[Outcome], object] = lambda _: None) -> Outcome:
        """Run all stages; out: a folder for dense.safetensors, sparse.safetensors and sparsify.json.

        Each is written as soon as it exists: the dense weights before pruning; the sparse ones before retraining, in
        each round, and again after it and after shrinking.
        tell: called with the outcome while no other process works in the folder.
        """
        watch, network, files = Watch(self.accuracy), self.fresh(), Files(out, self.about)
        self.check(network)
        files.check()
        with files.alone():
            found = self._stages(watch, network, files)
            tell(found)
        return found

    def _stages(self, watch: Watch, network: nn.Module, files: Files) -> Outcome:
        """What `run` does, in a folder that no other process works in."""
        certificate: Certificate | None = None
        if self.at_init is None:
            watch("dense", network, self.train)
        dense = deepcopy(network)
        files.dense(dense)
        pruned = watch("pruned", network, lambda net: self.prune(net, files.sparse), judged=self.at_init is None)
        files.sparse(network)
        if self.at_init is not None:
            watch("trained", network, self.train)
        elif self.rounds == 1:
            certificate = pruned.certify(dense, calibration(dense, self.splits.train, self.rng, CERTIFIED))
        if self.retrain:
            watch("retrained", network, self.mend)
        shape, size = self.splits.train.shape, files.sparse(network)
        found = Outcome(
            pruned=pruned,
            measure=measure(network, shape, pruned.masks),
            accuracy=watch.accuracies,
            seconds=watch.seconds,
            size=size,
            certificate=certificate,
            settings=self.settings(),
        )
        files.say(found.json())
        if self.shrink:
            small = shrink(network, shape)
            found = replace(found, shrunk=measure(small, shape).total, size=files.sparse(small, shrunk=True))
            files.say(found.json())
        return found

    @property
    def about(self) -> dict[str, Any]:
        """What the sparse file says of its network, and of the images that it wants."""
        train = self.data.train
        about = {"network": self.network, "shape": list(train.shape), "classes": len(train.classes)}
        return {**about, "mean": list(train.mean), "std": list(train.std)}

    @cached_property
    def rng(self) -> Rng:
        """Everything random follows from it."""
        return Rng(self.seed).child("study")

    @cached_property
    def splits(self) -> Splits:
        """The data on the device."""
        return Splits(self.data.train.to(self.place), self.data.test.to(self.place))

    @cached_property
    def place(self) -> torch.device:
        """Where to compute: "auto" never picks Apple's MPS, which has no float64 for second moments.

        Raises:
            ValueError: the device is "mps".
        """
        found = pick(self.device)
        if found.type == "mps" and self.device != "auto":
            raise ValueError("sparsify: device must be cpu or cuda, as second moments need float64, got mps")
        return torch.device("cpu") if found.type == "mps" else found

    @cached_property
    def normalise(self) -> Normalise:
        """What stands between images and the network."""
        return Normalise(self.data.train.mean, self.data.train.std)

    def fresh(self) -> nn.Module:
        """A network with random weights."""
        shape, classes = self.data.train.shape, len(self.data.train.classes)
        return networks.build(self.network, shape, classes, self.rng.child("network")).to(self.place)

    def train(self, network: nn.Module) -> None:
        """Load the weights, or train on the data: SGD with momentum, dropping at 2/3 and 5/6 of the epochs."""
        if self.weights is not None:
            load_weights(network, self.weights)
            return
        recipe = Recipe(epochs=self.epochs, batch=BATCH, lr=self.lr).brief()
        with self.precision(network):
            fit(network, self.splits.train, recipe, self.normalise, self.rng.child("train"))
        check_learned(network)

    def prune(self, network: nn.Module, keep: Callable[[nn.Module], object] = lambda _: None) -> Pruned:
        """Install masks and weights in the network, and let its batch norms see the images anew.

        keep: called with it ahead of each retraining between rounds.
        """
        examples = self.calibrate or self.splits.train

        def once(network: nn.Module, sparsity: float | None) -> Pruned:
            how: Any = {"images": self.images, "seed": self.seed, "normalise": self.normalise, **self.options}
            return sparsify(network, examples, sparsity=sparsity, at_init=self.at_init, **how)

        if self.rounds > 1:
            assert self.sparsity is not None
            turns = count()

            def mend(network: nn.Module) -> None:
                keep(network)
                self.mend(network, next(turns))

            pruned = gradually(network, once, mend, sparsity=self.sparsity, rounds=self.rounds)
        else:
            pruned = once(network, self.sparsity)
            pruned.install(network)
        if self.at_init is None:
            reestimate(network, self.examples(self.calibrate), self.normalise, self.rng.child("reestimate"))
        return pruned

    def mend(self, network: nn.Module, turn: int | None = None) -> None:
        """Retrain lightly, at the end, or after a round, each of which draws the images in another order."""
        steps = ceil(self.retrain * ceil(len(self.data.train) / BATCH))
        examples, rng = self.examples(self.retrain_on), self.rng.child("retrain", *([] if turn is None else [turn]))
        with self.precision(network):
            retrain(network, examples, self.normalise, rng, steps=steps, batch=min(BATCH, len(examples)))
        check_learned(network)

    def examples(self, given: CondensedSet | Source | None) -> Examples:
        """The decoded cells of a condensed set, or a source, by default the training half, on the device."""
        return self.splits.train if given is None else given.as_dataset().to(self.place)

    def accuracy(self, network: nn.Module) -> float:
        """On the test half, in percent."""
        with self.precision(network):
            return accuracy(network, self.splits.test, self.normalise)

    @contextmanager
    def precision(self, network: nn.Module) -> Iterator[None]:
        """Let the network compute in bfloat16 within, if `bf16`, with autocast around each forward pass.

        Around a whole training, torch.autocast would keep using the weights as it converted them first.
        """
        assert isinstance(network, networks.Network)
        network.autocast = compute_type(self.bf16, self.place)
        try:
            yield
        finally:
            network.autocast = None

    def settings(self) -> dict[str, Any]:
        """The settings of the study, in words and numbers."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("data", "options")}
        plain = {name: value if isinstance(value, int | float | None) else str(value) for name, value in found.items()}
        return {"data": self.data.train.name, "checksum": self.data.train.checksum, **plain, **self.options}
