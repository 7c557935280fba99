"""Experts: networks trained on the real data whose weights are recorded after every epoch (MTT, CVPR 2022)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from yoco import artefact
from yoco.condense.method import Task
from yoco.disk import at_home, check_place
from yoco.registry import split_options
from yoco.rng import Rng
from yoco.train import Recipe, fit
from yoco.whole import whole_number

KIND, VERSION = "expert", 1


@dataclass
class Experts:
    """Trajectories by number, float32 [epochs + 1, weights] on the CPU; each is recorded when it is first needed.

    A trajectory depends only on its number, the recipe and the random stream, not on which others exist in memory or in
    `folder`. folder: where trajectories are saved, found and read by rows; None keeps all in memory. Those that a
    folder lacks are recorded with the seed of those in it, if these share one: the first run decides.

    Raises:
        ValueError: a file in the folder is damaged, or of other data, another space, normalisation, network or recipe;
            or the network draws random values for something that is not a parameter.
    """

    task: Task
    recipe: Recipe
    rng: Rng
    folder: Path | None = None
    known: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_drawn(self.task)
        self._stream()

    def trajectory(self, number: int) -> Tensor:
        """The weights of one expert before any training, and after each epoch."""
        if path := self._found(number):
            return artefact.read(path, KIND, VERSION)[0]["weights"]
        if number in self.known:
            return self.known[number]
        made = self._recorded(number, self._stream())
        if self.folder is None or self.task.dry:
            self.known[number] = made
        return made

    def weights(self, number: int, *epochs: int) -> list[Tensor]:
        """The weights of one expert after so many epochs, each float32 [weights]."""
        if path := self._found(number):
            return artefact.read_rows(path, KIND, VERSION, "weights", epochs)
        whole = self.trajectory(number)
        return [whole[epoch] for epoch in epochs]

    def _stream(self) -> Rng:
        """The random stream of the seed of the folder's files, which are checked; its own if they share no seed."""
        paths = sorted(self.folder.glob("expert-*.safetensors")) if self.folder else ()
        seeds = {self._check(path) for path in paths} - {None}
        return Rng(seeds.pop()).child("experts") if len(seeds) == 1 else self.rng

    def record(self, number: int) -> bool:
        """Record an expert unless its file exists; return whether it was recorded. Nothing is kept in memory.

        Raises:
            ValueError: it was made with another seed.
        """
        assert self.folder is not None
        if path := self._found(number):
            made = artefact.read_header(path, KIND, VERSION).get("seed", self.rng.seed)
            if made != self.rng.seed:
                raise ValueError(f"experts: {path} must be trained with seed {self.rng.seed}, got {made}")
            return False
        self._recorded(number, self.rng)
        return True

    def _place(self, number: int) -> Path | None:
        """Where the file of an expert belongs, if there is a folder."""
        return None if self.folder is None else self.folder / f"expert-{number}.safetensors"

    def _found(self, number: int) -> Path | None:
        """The file of an expert, if it is there."""
        path = self._place(number)
        return path if path is not None and path.is_file() else None

    def _about(self) -> dict[str, Any]:
        real = self.task.real
        made: dict[str, Any] = {"data": real.checksum, "space": real.space}
        made |= {"network": self.task.network_name, "epochs": self.recipe.epochs}
        made |= {"lr": self.recipe.lr, "batch": self.recipe.batch, "momentum": self.recipe.momentum}
        made |= {"augment": str(self.recipe.augment), "weight_decay": self.recipe.weight_decay}
        return {**made, "autocast": str(self.task.autocast), "mean": list(real.mean), "std": list(real.std)}

    def _check(self, path: Path) -> Any:
        """The seed of an expert, whose file must be of this task and recipe; None where it does not say it."""
        header, wanted = artefact.read_header(path, KIND, VERSION), self._about()
        late = {name: wanted[name] for name in ("augment", "weight_decay", "autocast", "mean", "std")}
        found = {"space": "unit", **late, **header}  # older files do not say these
        for name, value in wanted.items():
            if found.get(name) != value:
                raise ValueError(f"experts: {path} must be trained with {name} {value}, got {found.get(name)}")
        return found.get("seed")

    def _recorded(self, number: int, rng: Rng) -> Tensor:
        """Train one expert, and write its file if there is a folder.

        Raises:
            OSError: the file cannot be written, which is found out ahead of the training.
        """
        stream = rng.child("expert", number)
        if self.task.dry:
            epochs = range(self.recipe.length + 1)
            return torch.stack([flat(self.task.network(stream.child("epoch", epoch))) for epoch in epochs])
        path = self._place(number)
        if path is not None:
            check_place(path)
        network = self.task.network(stream.child("network"))
        noted = [flat(network)]

        def note(_: int) -> None:
            noted.append(flat(network))

        with sdpa_kernel(SDPBackend.MATH):  # as within a run
            fit(network, self.task.real, self.recipe, self.task.normalise, stream.child("train"), after_epoch=note)
        weights = torch.stack(noted)
        if path is not None:
            artefact.write(path, KIND, VERSION, {"weights": weights}, {**self._about(), "seed": rng.seed})
        return weights

    def state_dict(self) -> dict[str, Any]:
        """Nothing: a missing expert is recorded again, to the same bits."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing, see `state_dict`."""


def check_drawn(task: Task) -> None:
    """Check that a custom network draws random values for parameters alone, as an expert records nothing else.

    Raises:
        ValueError: two new networks differ in a buffer.
    """
    if ":" not in split_options("network", task.network_name)[0]:
        return
    one, other = (dict(task.network(Rng(seed)).named_buffers()) for seed in (0, 1))
    for name, buffer in one.items():
        if not torch.equal(buffer, other[name]):
            rule = "what a network draws at random must be a parameter (with requires_grad=False if it is not trained)"
            raise ValueError(f"experts: {rule}, got the buffer {name}")


def flat(network: nn.Module) -> Tensor:
    """All parameters in one row, float32 [weights] on the CPU; a copy, also where the network is on the CPU itself."""
    rows = [parameter.detach().flatten().float() for parameter in network.parameters()]
    return torch.cat(rows).cpu().clone()


def unflat(network: nn.Module, row: Tensor) -> dict[str, Tensor]:
    """The parameters by name, as views of one row [weights]; no gradient comes from those that do not learn."""
    parameters = dict(network.named_parameters())
    parts = dict(zip(parameters, row.split([weight.numel() for weight in parameters.values()]), strict=True))
    held = {name: parts[name].detach() for name, weight in parameters.items() if not weight.requires_grad}
    return {name: part.view_as(parameters[name]) for name, part in (parts | held).items()}


def record(
    task: Task,
    recipe: Recipe,
    folder: str | Path,
    count: int,
    *,
    seed: int = 0,
    tell: Callable[[int, bool], object] = lambda number, made: None,
) -> Experts:
    """Record `count` experts into a folder; those in it are kept, so that a stopped recording can be resumed.

    tell: called with the number of each expert and whether it was made now.

    Raises:
        ValueError: count is below 1, or the seed no whole number.
    """
    if count < 1:
        raise ValueError(f"experts: count must be at least 1, got {count}")
    experts = Experts(task, recipe, Rng(whole_number("experts: seed", seed)).child("experts"), at_home(folder))
    for number in range(count):
        tell(number, experts.record(number))
    return experts
