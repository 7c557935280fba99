"""Training: how networks are trained whose behaviour ranks the samples."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from yoco.condensed import CondensedSet
from yoco.data.source import Source
from yoco.prune.kinds import same_kind
from yoco.prune.material import data_name
from yoco.prune.observe import Passes, recipe_values, yoco_recipe
from yoco.train import Recipe

SOURCE_EPOCHS = 10


@dataclass(frozen=True, kw_only=True)
class Training:
    """How evidence is gathered.

    runs: networks trained, each from its own initial weights; network: its name, for ImageNet `resnet_ap10` as in YOCO;
    passes: see `observe`;
    recipe: by default YOCO's 1000 epochs for a condensed set, and 10 epochs of plain images for other data;
    stage: whose output the features are, from 0, or from the end if negative; device: auto, cpu, cuda or mps;
    bf16: compute networks in bfloat16; progress: show a bar; seed: of all randomness but the first centres of the
    score ssp, which have their own seed, its option `start`.

    Raises:
        ValueError: runs below 1, an unknown word, or an option of the wrong kind.
    """

    runs: int = 1
    network: str = "convnet"
    passes: Passes = "clean"
    recipe: Recipe | None = None
    stage: int = -1
    device: str = "auto"
    bf16: bool = False
    progress: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for f in fields(self):
            same_kind("score", f.name, getattr(self, f.name), f.default)
        if not isinstance(self.recipe, Recipe | None):
            raise ValueError(f"score: recipe must be a yoco.train.Recipe, got {self.recipe!r}")
        if self.runs < 1:
            raise ValueError(f"score: runs must be at least 1, got {self.runs}")
        if self.passes not in ("clean", "train"):
            raise ValueError(f"dynamics: passes must be clean or train, got {self.passes!r}")

    def on(self, data: CondensedSet | Source, epochs: int | None = None) -> Recipe:
        """The given recipe, or the default one for these data; epochs: the length of the default one, if not None."""
        if self.recipe is not None:
            return self.recipe
        usual = yoco_recipe(data_name(data)) if isinstance(data, CondensedSet) else Recipe(epochs=SOURCE_EPOCHS)
        return usual if epochs is None else replace(usual, epochs=epochs).brief()

    def said(self, recipe: Recipe) -> dict[str, Any]:
        """What decides over the result, in JSON values."""
        values = {name: getattr(self, name) for name in ("runs", "network", "passes", "stage", "bf16", "seed")}
        return {**values, "recipe": recipe_values(recipe)}


def split(options: Mapping[str, Any]) -> tuple[Training, dict[str, Any]]:
    """The options of `Training`, and all others; None stands for the default.

    Raises:
        ValueError: an impossible value.
    """
    given = {name: value for name, value in options.items() if value is not None}
    mine = {f.name: given.pop(f.name) for f in fields(Training) if f.name in given}
    return Training(**mine), given


def check_untrained(where: str, evidence: Any, options: Mapping[str, Any]) -> None:
    """Refuse evidence and options of a training where given features are all that is read.

    Raises:
        ValueError: evidence is given, or an option differs from its default.
    """
    if evidence is not None:
        raise ValueError(f"{where}: evidence cannot be used when features are given, got both")
    usual = {f.name: f.default for f in fields(Training)} | {"epochs": None}
    for option in ("epochs", "runs", "network", "stage", "recipe", "bf16"):
        value = options.get(option)
        if value not in (None, usual[option]):
            raise ValueError(f"{where}: trains no network when features are given, got {option}={value!r}")
