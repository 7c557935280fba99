"""What a selection says of the features and gradients that its rule read."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from yoco.condensed import CondensedSet, load
from yoco.data import Splits
from yoco.prune import Selection, observe, prune, select
from yoco.rng import Rng
from yoco.train import Recipe

RECIPE = Recipe(epochs=2, batch=16)
QUICK: dict[str, Any] = {"network": "mlp:width=4", "recipe": RECIPE, "device": "cpu", "progress": False}


def test_features_of_networks_pixels_and_numbers_are_told_apart(tiny_set: CondensedSet) -> None:
    network = select(tiny_set, rule="herding", ipc=1, seed=3, **QUICK).entry["views"]
    wanted = {"features": "network", "network": "mlp:width=4", "runs": 1, "seed": 3, "epochs": 2, "passes": "clean"}
    assert wanted.items() <= network.items()
    assert network["recipe"]["epochs"] == 2
    assert {"stage", "bf16"} <= set(network)
    assert select(tiny_set, rule="herding", ipc=1, features="pixels").entry["views"] == {"features": "pixels"}
    assert select(tiny_set, rule="herding", ipc=1, features=torch.eye(36)).entry["views"] == {"features": "given"}
    assert "views" not in select(tiny_set, rule="easy", ipc=1, scores=torch.arange(36.0)).entry


def test_evidence_says_how_it_was_gathered(tiny_set: CondensedSet) -> None:
    how: dict[str, Any] = {"epochs": 2, "recipe": RECIPE, "network": "mlp:width=4", "snapshot": True, "passes": "train"}
    seen = [observe(tiny_set, rng=Rng(run), **how) for run in range(2)]
    views = select(tiny_set, rule="herding", ipc=1, evidence=seen).entry["views"]
    wanted = {"features": "network", "network": "mlp:width=4", "runs": 2, "epochs": 2, "passes": "clean"}
    assert wanted.items() <= views.items()
    assert "seed" not in views


def test_references_are_named_by_their_checksum(tiny: Splits, tiny_set: CondensedSet) -> None:
    views = select(tiny_set, rule="kernel", ipc=1, features="pixels", reference=tiny.train).entry["views"]
    wanted = {"name": tiny.train.name, "checksum": tiny.train.checksum}
    assert views == {"features": "pixels", "reference": wanted}


@dataclass(frozen=True, kw_only=True)
class Mine(Recipe):
    """With a field that JSON does not know."""

    weights: Tensor = field(default_factory=lambda: torch.ones(2))


def test_a_recipe_of_ones_own_may_hold_anything(tiny_set: CondensedSet, tmp_path: Path) -> None:
    chosen = select(tiny_set, rule="herding", ipc=1, **{**QUICK, "recipe": Mine(epochs=1)})
    chosen.save(tmp_path / "kept.npz")
    views = Selection.load(tmp_path / "kept.npz").entry["views"]
    assert (views["recipe"]["weights"], views["recipe"]["epochs"]) == ("tensor([1., 1.])", 1)


@pytest.mark.parametrize("rule", ["herding", "d2"])
def test_files_keep_it(tiny_set: CondensedSet, tmp_path: Path, rule: str) -> None:
    chosen = select(tiny_set, rule=rule, ipc=1, **QUICK)
    wanted = json.loads(json.dumps(chosen.entry["views"]))
    chosen.save(tmp_path / "kept.npz")
    assert Selection.load(tmp_path / "kept.npz").entry["views"] == wanted
    prune(tiny_set, rule=rule, ipc=1, **QUICK).save(tmp_path / "small.safetensors")
    assert load(tmp_path / "small.safetensors").history[-1]["views"] == wanted
